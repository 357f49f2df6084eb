//! Tables in the format of the KEEL repository.

use std::path::Path;

use csv::StringRecord;

use crate::{
    csv_table::{Rows, read_csv_where},
    error::Result,
    lines::Lines,
    table::Table,
};

/// Reads a table of a user: KEEL's format if the name ends in `.dat` or `.dat.gz`, see [`read_keel`],
/// else CSV, see [`read_csv`](crate::read_csv).
///
/// # Errors
/// As [`read_keel`] and [`read_csv`](crate::read_csv).
pub fn read_table(path: &Path, label: Option<&str>) -> Result<Table> {
    read_table_where(path, label, &|_| true)
}

/// [`read_table`] of the features whose names `keep` takes, which is asked for every column once; cells
/// of the others may hold anything.
///
/// # Errors
/// As [`read_table`].
pub fn read_table_where(
    path: &Path,
    label: Option<&str>,
    keep: &dyn Fn(&str) -> bool,
) -> Result<Table> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if name.trim_end_matches(".gz").ends_with(".dat") {
        return parse(Lines::open(path)?, path, label, keep);
    }
    read_csv_where(path, label, keep)
}

/// Reads a `.dat` file of the KEEL repository, plain or gzip.
///
/// Lines `@relation`, `@attribute NAME TYPE`, `@inputs` and `@outputs` (any case), then `@data` and comma
/// separated rows, blanks around cells ignored; lines that begin with `%` are comments. The classes are
/// in the column `label`, if none is named in that of `@outputs`, else in the last one. Cells are read
/// as [`read_csv`](crate::read_csv) reads them, whatever the types.
///
/// # Errors
/// [`Error::Cell`](crate::Error::Cell) with line and column for a cell that cannot be used,
/// [`Error::Format`](crate::Error::Format) with the line if the file is no such table,
/// [`Error::Io`](crate::Error::Io) if it cannot be opened.
pub fn read_keel(path: &Path, label: Option<&str>) -> Result<Table> {
    parse(Lines::open(path)?, path, label, &|_| true)
}

fn parse(
    mut lines: Lines,
    path: &Path,
    label: Option<&str>,
    keep: &dyn Fn(&str) -> bool,
) -> Result<Table> {
    let header = Header::read(&mut lines)?;
    let label = header.label(&lines, label)?;
    let columns = StringRecord::from(header.attributes.clone());
    let mut rows = Rows::new(path, columns, Some(label), keep);
    let mut record = StringRecord::new();
    while advance(&mut lines)? {
        record.clear();
        lines.text()?.split(',').for_each(|cell| record.push_field(cell.trim()));
        let (got, expected) = (record.len(), header.attributes.len());
        if got != expected {
            return Err(lines.format(format!("{got} cells, but {expected} attributes")));
        }
        rows.push(&record, lines.number())?;
    }
    rows.finish(&header.relation)
}

/// The next line that is no comment.
fn advance(lines: &mut Lines) -> Result<bool> {
    while lines.advance()? {
        if !lines.bytes().starts_with(b"%") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What stands before `@data`.
#[derive(Default)]
struct Header {
    relation: String,
    attributes: Vec<String>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Header {
    fn read(lines: &mut Lines) -> Result<Self> {
        let mut header = Self::default();
        while advance(lines)? {
            let line = lines.text()?;
            let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let rest = rest.trim();
            match keyword.to_ascii_lowercase().as_str() {
                "@relation" => rest.clone_into(&mut header.relation),
                "@attribute" => header.attributes.push(attribute(rest)),
                "@inputs" | "@input" => header.inputs.extend(names(rest)),
                "@outputs" | "@output" => header.outputs.extend(names(rest)),
                "@data" => return Ok(header),
                _ => {
                    let word: String = keyword.chars().take(32).collect();
                    let reason =
                        format!("`{word}` is no line of a KEEL header; expected @data before rows");
                    return Err(lines.format(reason));
                }
            }
        }
        Err(lines.format("the file ends before @data"))
    }

    /// The number of the column of classes.
    fn label(&self, lines: &Lines, label: Option<&str>) -> Result<usize> {
        let place = |name: &str| self.attributes.iter().position(|attribute| attribute == name);
        let unknown = |name: &str| {
            let known = self.attributes.join(", ");
            lines.format(format!("no attribute `{name}`; the header has {known}"))
        };
        for name in self.inputs.iter().chain(&self.outputs) {
            place(name).ok_or_else(|| unknown(name))?;
        }
        let listed = |name: &String| self.inputs.contains(name) || self.outputs.contains(name);
        let both = !self.inputs.is_empty() && !self.outputs.is_empty();
        if let Some(name) = self.attributes.iter().find(|name| both && !listed(name)) {
            return Err(lines.format(format!("`{name}` is neither input nor output; remove it")));
        }
        match (label, self.outputs.as_slice()) {
            (Some(name), _) => place(name).ok_or_else(|| unknown(name)),
            (None, [name]) => place(name).ok_or_else(|| unknown(name)),
            (None, []) if !self.attributes.is_empty() => Ok(self.attributes.len() - 1),
            (None, []) => Err(lines.format("no @attribute before @data")),
            (None, _) => Err(lines.format("several outputs; name the column of the classes")),
        }
    }
}

/// The name in `NAME TYPE`, where the type may be a list in braces and the name may be quoted.
fn attribute(text: &str) -> String {
    if let Some((name, _)) = text.strip_prefix('\'').and_then(|rest| rest.split_once('\'')) {
        return name.to_owned();
    }
    let end = |c: char| c.is_whitespace() || c == '{' || c == '[';
    text.split(end).next().unwrap_or_default().to_owned()
}

fn names(text: &str) -> impl Iterator<Item = String> {
    text.split(',').map(|name| name.trim().trim_matches('\'').to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::Source;

    const HEADER: &str = "@relation tiny\n@attribute A1 real [0.0, 9.5]\n@attribute a2{x, y}\n\
                          @attribute Class {2,10}\n@inputs A1, a2\n@outputs Class\n@data\n";

    fn read(text: &str, label: Option<&str>) -> Result<Table> {
        let path = Path::new("tiny.dat");
        parse(Lines::new(Source::from_bytes(path, text.into())?), path, label, &|_| true)
    }

    #[track_caller]
    fn fails(text: &str, needle: &str) {
        let error = read(text, None).unwrap_err().to_string();
        assert!(error.contains("tiny.dat") && error.contains(needle), "{error}");
    }

    #[test]
    fn rows_follow_the_header_with_blanks_and_comments() {
        let text = format!("% by hand\n{HEADER}1.5, x, 10\n% none\n\n -2e1,y,2\n3, x,<null>\n");
        let table = read(&text, None).unwrap();
        assert_eq!((table.name.as_str(), table.len()), ("tiny", 3));
        assert_eq!(table.columns, ["A1", "a2=x", "a2=y"]);
        assert_eq!(table.features, [1.5, 1.0, 0.0, -20.0, 0.0, 1.0, 3.0, 1.0, 0.0]);
        assert_eq!(table.classes, ["2", "10"]);
        assert_eq!(table.labels, [Some(1), Some(0), None]);
    }

    #[test]
    fn the_label_is_the_one_named_or_the_output_or_the_last() {
        let text = format!("{HEADER}1.5, x, 10\n2, y, 2\n");
        assert_eq!(read(&text, Some("a2")).unwrap().columns, ["A1", "Class"]);
        let swapped = text.replace("@inputs A1, a2", "@inputs Class, a2");
        let swapped = swapped.replace("@outputs Class", "@output A1");
        assert_eq!(read(&swapped, None).unwrap().columns, ["a2=x", "a2=y", "Class"]);
        let bare = text.replace("@inputs A1, a2\n@outputs Class\n", "").replace("@data", "@DATA");
        assert_eq!(read(&bare, None).unwrap().classes, ["2", "10"]);
        assert!(read(&text, Some("no")).unwrap_err().to_string().contains("A1, a2, Class"));
        assert_eq!(attribute("'two words' integer [0, 1]"), "two words");
    }

    #[test]
    fn files_that_are_no_such_table_name_file_and_line() {
        fails("", "the file ends before @data");
        fails("a,b\n1,2\n", "line 1: `a,b` is no line of a KEEL header");
        fails("@relation x\n@data\n1\n", "line 2: no @attribute");
        fails(HEADER, "no rows");
        fails(&format!("{HEADER}1,x\n"), "line 8: 2 cells, but 3 attributes");
        fails(&format!("{HEADER}1,x,2\n1,x,2,3\n"), "line 9: 4 cells");
        fails(
            &format!("{HEADER}1,x,2\nu,x,2\n"),
            "line 9, column `A1`: `u` is not a finite number",
        );
        fails(&format!("{HEADER}<null>,x,2\n"), "column `A1`: `<null>` means that the value is");
        fails(&HEADER.replace("@inputs A1, a2", "@inputs A1, a3"), "no attribute `a3`");
        fails(&HEADER.replace("@inputs A1, a2", "@inputs A1"), "`a2` is neither input nor output");
        fails(&HEADER.replace("@outputs Class", "@outputs a2, Class"), "several outputs");
    }

    #[test]
    fn the_name_of_the_file_chooses_the_reader() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("t.DAT"), format!("{HEADER}1,x,2\n2,y,10\n")).unwrap();
        std::fs::write(path("t.csv"), "a,y\n1,u\n").unwrap();
        assert_eq!(read_table(&path("t.DAT"), None).unwrap().name, "tiny");
        assert_eq!(read_table(&path("t.csv"), Some("y")).unwrap().classes, ["u"]);
        assert!(read_table(&path("none.dat"), None).is_err());
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(text: String, lines: Vec<u8>) {
            let _ = read(&text, None);
            let _ = read(&format!("{HEADER}{}", String::from_utf8_lossy(&lines)), None);
            let _ = read(&format!("@attribute {text}\n@data\n1\n"), Some("a"));
        }
    }
}
