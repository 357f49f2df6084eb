//! Tables from CSV files, plain or gzip.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

use csv::{ReaderBuilder, StringRecord, Trim};

use crate::{
    error::{Error, Result},
    source::Source,
    table::Table,
};

/// More words than this in one column are names or free text, not categories.
const MOST_CATEGORIES: usize = 256;

/// Reads a CSV file with a header row, comma separated, blanks around cells ignored.
///
/// * A column whose first cell is a number is numeric, and all its cells must be finite numbers. Any
///   other column is categorical: one feature 0/1 for each of its values, in byte order.
/// * The column called `label`, if one is named, gives the classes. Their names are kept in order,
///   numerical if all are numbers, else that of the bytes. A missing cell there means that the row is
///   not labelled; a column of nothing else gives no class.
/// * A missing feature is an error, for there is no right number to put in its place.
/// * A cell is missing if it is empty or one of `?`, `NA`, `<null>` and `nan` (in any case).
///
/// # Errors
/// [`Error::Cell`] with line and column for a cell that cannot be used, [`Error::Format`] if the file
/// is no such table (rows of unequal length, text that is not UTF-8, damaged gzip, no such label
/// column), [`Error::Io`] if it cannot be opened.
pub fn read_csv(path: &Path, label: Option<&str>) -> Result<Table> {
    read_csv_where(path, label, &|_| true)
}

/// [`read_csv`] of the features whose names `keep` takes; cells of the others may hold anything.
pub(crate) fn read_csv_where(
    path: &Path,
    label: Option<&str>,
    keep: &dyn Fn(&str) -> bool,
) -> Result<Table> {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    let name = name.trim_end_matches(".gz").trim_end_matches(".csv").to_owned();
    parse(path, &name, Source::open(path)?, label, keep)
}

fn parse(
    path: &Path,
    name: &str,
    input: impl Read,
    label: Option<&str>,
    keep: &dyn Fn(&str) -> bool,
) -> Result<Table> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(input);
    let header = reader.headers().map_err(|e| broken(path, &e))?.clone();
    let label = label.map(|label| find_label(path, &header, label)).transpose()?;
    let mut rows = Rows::new(path, header, label, keep);
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| broken(path, &e))? {
        let line = record.position().map_or(0, csv::Position::line);
        rows.push(&record, line)?;
    }
    rows.finish(name)
}

fn find_label(path: &Path, header: &StringRecord, label: &str) -> Result<usize> {
    header.iter().position(|column| column == label).ok_or_else(|| {
        let columns = header.iter().collect::<Vec<_>>().join(", ");
        let hint = match header.get(0) {
            Some(all) if header.len() == 1 && all.contains([';', '\t']) => {
                "; put commas between the columns"
            }
            _ => "",
        };
        let reason = format!("no label column `{label}`; the header has {columns}{hint}");
        Error::format(path, 0, reason)
    })
}

fn broken(path: &Path, error: &csv::Error) -> Error {
    let offset = error.position().map_or(0, csv::Position::byte);
    Error::format(path, offset, error.to_string())
}

/// One column as it grows.
enum Column {
    Numbers(Vec<f32>),
    /// Values with the number of their first appearance, and that number for each row.
    Words(BTreeMap<String, u32>, Vec<u32>),
    /// As words, `None` where the cell is missing.
    Labels(BTreeMap<String, u32>, Vec<Option<u32>>),
    /// Nobody asks for it.
    Skipped,
}

/// A table as it grows, whatever the form of its file.
pub(crate) struct Rows {
    path: PathBuf,
    header: StringRecord,
    label: Option<usize>,
    /// Whether a column is asked for.
    kept: Vec<bool>,
    /// Empty until the first row.
    columns: Vec<Column>,
    n: usize,
}

impl Rows {
    /// A table of these columns without rows yet; `label` is the number of the column of classes, the
    /// others are taken if `keep` takes their name.
    pub(crate) fn new(
        path: &Path,
        header: StringRecord,
        label: Option<usize>,
        keep: &dyn Fn(&str) -> bool,
    ) -> Self {
        let kept = header.iter().map(keep).collect();
        Self { path: path.to_owned(), header, label, kept, columns: Vec::new(), n: 0 }
    }

    /// Adds a row of as many cells as there are columns.
    pub(crate) fn push(&mut self, record: &StringRecord, line: u64) -> Result<()> {
        if self.columns.is_empty() {
            let kind = |(j, cell): (usize, &str)| match cell.parse::<f32>() {
                _ if self.label == Some(j) => Column::Labels(BTreeMap::new(), Vec::new()),
                _ if self.kept.get(j) == Some(&false) => Column::Skipped,
                Ok(_) => Column::Numbers(Vec::new()),
                Err(_) => Column::Words(BTreeMap::new(), Vec::new()),
            };
            self.columns = record.iter().enumerate().map(kind).collect();
        }
        self.n += 1;
        for (j, (cell, column)) in record.iter().zip(&mut self.columns).enumerate() {
            push_cell(column, cell).map_err(|reason| Error::Cell {
                path: self.path.clone(),
                line,
                column: self.header.get(j).unwrap_or_default().to_owned(),
                reason,
            })?;
        }
        Ok(())
    }

    pub(crate) fn finish(self, name: &str) -> Result<Table> {
        let mut names = Vec::new();
        let mut features = Vec::new();
        let (mut labels, mut classes) = (vec![None; self.n], Vec::new());
        for (title, column) in self.header.iter().zip(self.columns) {
            match column {
                Column::Numbers(values) => {
                    names.push(title.to_owned());
                    features.push(values);
                }
                Column::Words(codes, rows) => {
                    for (word, code) in codes {
                        names.push(format!("{title}={word}"));
                        let hot = |&row: &u32| if row == code { 1.0 } else { 0.0 };
                        features.push(rows.iter().map(hot).collect());
                    }
                }
                Column::Skipped => {}
                Column::Labels(codes, rows) => {
                    let rank;
                    (classes, rank) = ranked(codes);
                    labels = rows.iter().map(|row| row.map(|code| rank[code as usize])).collect();
                }
            }
        }
        if names.is_empty() {
            let reason = if self.n == 0 { "no rows" } else { "no feature columns" };
            return Err(Error::format(&self.path, 0, reason));
        }
        let mut rows = Vec::with_capacity(self.n * names.len());
        (0..self.n).for_each(|i| rows.extend(features.iter().map(|column: &Vec<f32>| column[i])));
        Table::new(name, names, rows, labels, classes)
    }
}

/// Class names in order, and for each code of first appearance its place in that order.
fn ranked(codes: BTreeMap<String, u32>) -> (Vec<String>, Vec<u32>) {
    let mut names: Vec<(String, u32)> = codes.into_iter().collect();
    let number = |name: &str| name.parse::<f64>().ok().filter(|v| v.is_finite());
    if names.iter().all(|(name, _)| number(name).is_some()) {
        // A stable sort: equal numbers keep their byte order.
        names.sort_by(|a, b| number(&a.0).partial_cmp(&number(&b.0)).unwrap_or(a.0.cmp(&b.0)));
    }
    let mut rank = vec![0; names.len()];
    names.iter().zip(0..).for_each(|((_, code), place)| rank[*code as usize] = place);
    (names.into_iter().map(|(name, _)| name).collect(), rank)
}

fn push_cell(column: &mut Column, cell: &str) -> Result<(), String> {
    let missing = is_missing(cell);
    match column {
        Column::Skipped => {}
        Column::Labels(_, rows) if missing => rows.push(None),
        _ if missing => {
            let what =
                if cell.is_empty() { String::new() } else { format!("`{cell}` means that ") };
            return Err(format!("{what}the value is missing; fill it in or remove the row"));
        }
        Column::Numbers(values) => {
            let value = cell.parse().ok().filter(|value: &f32| value.is_finite());
            values.push(value.ok_or_else(|| {
                let cell: String = cell.chars().take(32).collect();
                format!("`{cell}` is not a finite number, but the column began with a number")
            })?);
        }
        Column::Words(codes, rows) => rows.push(code(codes, cell)?),
        Column::Labels(codes, rows) => rows.push(Some(code(codes, cell)?)),
    }
    Ok(())
}

/// Does a cell stand for no value?
fn is_missing(cell: &str) -> bool {
    matches!(cell, "" | "?" | "NA" | "<null>") || cell.eq_ignore_ascii_case("nan")
}

fn code(codes: &mut BTreeMap<String, u32>, word: &str) -> Result<u32, String> {
    let next = codes.len();
    if let Some(&code) = codes.get(word) {
        return Ok(code);
    }
    if next == MOST_CATEGORIES {
        return Err(format!("more than {MOST_CATEGORIES} different values; remove the column"));
    }
    codes.insert(word.to_owned(), next as u32);
    Ok(next as u32)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, label: Option<&str>) -> Result<Table> {
        parse(Path::new("t.csv"), "t", text.as_bytes(), label, &|_| true)
    }

    fn fails(text: &str, needle: &str) {
        let error = read(text, Some("y")).unwrap_err().to_string();
        assert!(error.contains("t.csv") && error.contains(needle), "{error}");
    }

    #[test]
    fn numbers_words_and_labels_find_their_columns() {
        let text = "a, w ,y,b\n1,red,10,-2.5e1\n2,blue,,0\n3, red,9,7\n4,green,?,8\n5,red,10,9\n";
        let table = read(text, Some("y")).unwrap();
        assert_eq!(table.columns, ["a", "w=blue", "w=green", "w=red", "b"]);
        assert_eq!(table.row(0), [1.0, 0.0, 0.0, 1.0, -25.0]);
        assert_eq!(table.row(1), [2.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(table.row(3), [4.0, 0.0, 1.0, 0.0, 8.0]);
        // Numerical order: 9 before 10.
        assert_eq!(table.classes, ["9", "10"]);
        assert_eq!(table.labels, [Some(1), None, Some(0), None, Some(1)]);
    }

    #[test]
    fn a_missing_label_is_no_class_and_class_names_are_kept() {
        let text = "a,y\n1,cat\n2,\n3,?\n4,NA\n5,nan\n6,NaN\n7,<null>\n8, dog\n9,\"NA\"\n";
        let table = read(text, Some("y")).unwrap();
        assert_eq!(table.classes, ["cat", "dog"]);
        let labels = [Some(0), None, None, None, None, None, None, Some(1), None];
        assert_eq!(table.labels, labels);
        assert_eq!(table.labelled_rows(), [0, 7]);
        // Numbers stay in numerical order beside missing cells.
        let table = read("a,y\n1,10\n2,nan\n3,9\n", Some("y")).unwrap();
        assert_eq!(
            (table.classes, table.labels),
            (vec!["9".into(), "10".into()], vec![Some(1), None, Some(0)])
        );
        let none = read("a,y\n1,\n2,NA\n", Some("y")).unwrap();
        assert_eq!((none.classes.len(), none.labels), (0, vec![None, None]));
    }

    #[test]
    fn a_mark_of_the_editor_before_the_header_is_no_part_of_a_name() {
        let table = read("\u{feff}y,a\r\nu,1\r\nv,2\r\n", Some("y")).unwrap();
        assert_eq!((table.columns, table.classes.len()), (vec!["a".to_owned()], 2));
    }

    #[test]
    fn without_a_label_column_every_column_is_a_feature() {
        let table = read("a,y\n1,2\n3,4\n", None).unwrap();
        assert_eq!(table.columns, ["a", "y"]);
        assert_eq!(table.labels, [None, None]);
        assert!(table.classes.is_empty());
    }

    #[test]
    fn class_names_that_are_words_sort_by_their_bytes() {
        let table = read("x,y\n1,g\n2,10\n3,9\n", Some("y")).unwrap();
        assert_eq!(table.classes, ["10", "9", "g"]);
        assert_eq!(table.labels, [Some(2), Some(0), Some(1)]);
    }

    #[test]
    fn bad_cells_are_named_by_line_and_column() {
        fails("a,y\n1,0\n\n2,1\nx,0\n", "line 5, column `a`: `x` is not a finite number");
        fails("a,y\n1,0\nnan,0\n", "line 3, column `a`: `nan`");
        fails("a,b,y\n1,,0\n", "line 2, column `b`: the value is missing");
        fails("a,b,y\nNA,1,0\n", "line 2, column `a`: `NA` means that the value is missing");
        fails("a,b,y\n1,r,0\n2,NaN,0\n", "line 3, column `b`: `NaN` means that the value");
        fails("a,b,y\n1,r,0\n1,?,0\n", "line 3, column `b`: `?` means that the value is missing");
        fails("a,b\n1,2\n", "no label column `y`; the header has a, b");
        fails("a;y\n1;2\n", "the header has a;y; put commas between the columns");
        fails("a,y\n1,2\n1,2,3\n", "byte 8");
        fails("a,y\n", "no rows");
        fails("y\n1\n", "no feature columns");
        let many: String = (0..300).map(|i| format!("w{i},0\n")).collect();
        fails(&format!("a,y\n{many}"), "line 258, column `a`: more than 256");
    }

    #[test]
    fn gzip_is_recognised_by_its_bytes_and_damage_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some.csv");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(b"a,y\n1,u\n2,v\n").unwrap();
        let mut bytes = encoder.finish().unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let table = read_csv(&path, Some("y")).unwrap();
        assert_eq!((table.name.as_str(), table.len()), ("some", 2));
        let last = bytes.len() - 5;
        bytes[last] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = read_csv(&path, Some("y")).unwrap_err().to_string();
        assert!(error.contains("some.csv"), "{error}");
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            let _ = parse(Path::new("x"), "x", &bytes[..], None, &|_| true);
            let _ = parse(Path::new("x"), "x", &[b"a,y\n1,2\n", &bytes[..]].concat()[..], Some("y"), &|_| true);
        }

        #[test]
        fn numbers_survive_the_file(rows in proptest::collection::vec((-1e6_f32..1e6, 0..3_u32), 1..20)) {
            let body: String = rows.iter().map(|(x, y)| format!("{x},{y}\n")).collect();
            let table = read(&format!("x,y\n{body}"), Some("y")).unwrap();
            for (i, (x, y)) in rows.iter().enumerate() {
                prop_assert_eq!(table.features[i].to_bits(), x.to_bits());
                let class = table.labels[i].map(|label| table.classes[label as usize].clone());
                prop_assert_eq!(class, Some(y.to_string()));
            }
        }
    }
}
