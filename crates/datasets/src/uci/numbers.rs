//! Rows of numbers from text, without a string for each cell.

use std::path::Path;

use crate::{
    error::{Error, Result},
    lines::Lines,
};

/// How the cells of a line are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Separator {
    Comma,
    Blanks,
}

/// The form of a file of numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) separator: Separator,
    /// Is the first line the names of the columns?
    pub(super) header: bool,
    /// Cells that are read from each line.
    pub(super) columns: usize,
    /// May more cells follow? They are not looked at.
    pub(super) more: bool,
}

/// A file of numbers, row by row.
pub(super) struct Numbers {
    lines: Lines,
    form: Form,
    names: Vec<String>,
    row: Vec<f64>,
}

impl Numbers {
    pub(super) fn open(path: &Path, form: Form) -> Result<Self> {
        Self::new(Lines::open(path)?, form)
    }

    fn new(mut lines: Lines, form: Form) -> Result<Self> {
        let mut names: Vec<String> = (1..=form.columns).map(|j| j.to_string()).collect();
        if form.header && lines.advance()? {
            let cells: Vec<&str> = lines.text()?.split(',').map(str::trim).collect();
            if cells.iter().all(|cell| cell.parse::<f64>().is_ok()) {
                return Err(lines.format("numbers where the names of the columns should be"));
            }
            for (name, cell) in names.iter_mut().zip(cells) {
                cell.clone_into(name);
            }
        }
        Ok(Self { lines, form, names, row: Vec::with_capacity(form.columns) })
    }

    /// Reads the next row; false at the end of the file.
    pub(super) fn advance(&mut self) -> Result<bool> {
        self.row.clear();
        if !self.lines.advance()? {
            return Ok(false);
        }
        let line = self.lines.bytes();
        let extra = match self.form.separator {
            Separator::Comma => {
                let mut cells = line.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
                fill(&mut self.row, self.form.columns, &mut cells).is_ok() && cells.next().is_some()
            }
            Separator::Blanks => {
                let blank = |byte: &u8| byte.is_ascii_whitespace();
                let mut cells = line.split(blank).filter(|cell| !cell.is_empty());
                fill(&mut self.row, self.form.columns, &mut cells).is_ok() && cells.next().is_some()
            }
        };
        if self.row.len() < self.form.columns {
            return Err(self.broken());
        }
        if extra && !self.form.more {
            let reason = format!("the row goes on behind it; {} numbers expected", self.row.len());
            return Err(self.cell(self.form.columns - 1, reason));
        }
        Ok(true)
    }

    /// The complaint about the first cell that is missing or no number.
    fn broken(&self) -> Error {
        let (line, at) = (self.lines.bytes(), self.row.len());
        let cell = match self.form.separator {
            Separator::Comma => line.split(|&byte| byte == b',').nth(at),
            Separator::Blanks => {
                line.split(u8::is_ascii_whitespace).filter(|cell| !cell.is_empty()).nth(at)
            }
        };
        let reason = match cell {
            None => format!("the row ends before it; {} numbers expected", self.form.columns),
            Some(cell) => {
                let cell = String::from_utf8_lossy(cell.trim_ascii());
                let cell: String = cell.chars().take(32).collect();
                format!("`{cell}` is not a finite number")
            }
        };
        self.cell(at, reason)
    }

    /// The numbers of the current row.
    pub(super) fn row(&self) -> &[f64] {
        &self.row
    }

    /// Names of the columns, from the header or from 1 on.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of the current line.
    pub(super) fn line(&self) -> u64 {
        self.lines.number()
    }

    /// A complaint about a cell of the current row.
    pub(super) fn cell(&self, column: usize, reason: impl Into<String>) -> Error {
        self.lines.cell(self.names[column].as_str(), reason)
    }

    /// A complaint about the file.
    pub(super) fn format(&self, reason: &str) -> Error {
        self.lines.format(reason)
    }
}

/// Fills a row until it is full or a cell is missing or no finite number.
fn fill<'a>(
    row: &mut Vec<f64>,
    columns: usize,
    cells: &mut impl Iterator<Item = &'a [u8]>,
) -> Result<(), ()> {
    while row.len() < columns {
        let text = cells.next().and_then(|cell| std::str::from_utf8(cell).ok()).ok_or(())?;
        // What is finite in 64 bits may not be in the 32 that are kept.
        let value = text.parse().ok().filter(|value: &f64| (*value as f32).is_finite());
        row.push(value.ok_or(())?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::Source;

    const COMMAS: Form = Form { separator: Separator::Comma, header: true, columns: 3, more: true };
    const BLANKS: Form =
        Form { separator: Separator::Blanks, header: false, columns: 3, more: false };

    fn read(text: &[u8], form: Form) -> Result<Vec<Vec<f64>>> {
        let source = Source::from_bytes(Path::new("file.txt"), text.to_vec())?;
        let mut numbers = Numbers::new(Lines::new(source), form)?;
        let mut rows = Vec::new();
        while numbers.advance()? {
            rows.push(numbers.row().to_vec());
        }
        Ok(rows)
    }

    #[track_caller]
    fn fails(text: &[u8], form: Form, needle: &str) {
        let error = read(text, form).unwrap_err().to_string();
        assert!(error.contains("file.txt") && error.contains(needle), "{error}");
    }

    #[test]
    fn commas_and_blanks_give_the_same_numbers() {
        let rows = [[1.0, -2.5, 3e-3], [0.0, 288.58, -4e5]];
        let text = b"a, b ,c\n1.0,-2.5, 3e-003,9,x\r\n\n 0 ,2.8858000e+002,-4e5\n";
        assert_eq!(read(text, COMMAS).unwrap(), rows);
        let text = b"  1.0 -2.5  3.0000000e-003\n\t0 2.8858000e+002\t-4e5  \n\n";
        assert_eq!(read(text, BLANKS).unwrap(), rows);
        assert_eq!(read(b"", BLANKS).unwrap(), Vec::<Vec<f64>>::new());
        assert_eq!(read(b"a,b,c\n", COMMAS).unwrap(), Vec::<Vec<f64>>::new());
    }

    #[test]
    fn bad_rows_name_file_line_and_column() {
        fails(b"a,b,c\n1,2,3\n1,2\n", COMMAS, "line 3, column `c`: the row ends before it");
        fails(b"a,b,c\n1,x,3\n", COMMAS, "line 2, column `b`: `x` is not a finite number");
        fails(b"a,b,c\n1,,3\n", COMMAS, "column `b`: `` is not");
        fails(b"a,b,c\n1,nan,3\n", COMMAS, "`nan` is not");
        fails(b"a,b,c\n1,2,1e39\n", COMMAS, "`1e39` is not");
        fails(b"a,b,c\n1,2,\xff\n", COMMAS, "column `c`");
        fails(b"a,b\n1,2\n", COMMAS, "column `3`: the row ends");
        fails(b"1,2,3\n1,2,3\n", COMMAS, "line 1: numbers where the names");
        fails(b"1 2 3\n1 2\n", BLANKS, "line 2, column `3`: the row ends before it; 3 numbers");
        fails(b"1 2 3 4\n", BLANKS, "line 1, column `3`: the row goes on");
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>, comma: bool) {
            let _ = read(&bytes, if comma { COMMAS } else { BLANKS });
            let _ = read(&[b"a,b,c\n1,2,3\n", &bytes[..]].concat(), COMMAS);
        }
    }
}
