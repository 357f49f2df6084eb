//! Lines of a text file, plain or gzip, one at a time in one buffer.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    source::Source,
};

/// A longer line is not text of the expected kind; it is not read to its end.
const LONGEST: u64 = 1 << 20;

/// A file read line by line. Blank lines are passed over but counted.
pub(crate) struct Lines {
    path: PathBuf,
    input: BufReader<Source>,
    line: Vec<u8>,
    number: u64,
    offset: u64,
}

impl Lines {
    /// Opens a file; gzip is recognised by its first two bytes.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self::new(Source::open(path)?))
    }

    pub(crate) fn new(source: Source) -> Self {
        let path = source.path().to_owned();
        let input = BufReader::with_capacity(1 << 16, source);
        Self { path, input, line: Vec::new(), number: 0, offset: 0 }
    }

    /// Reads the next line that is not blank; false at the end of the file.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        loop {
            self.line.clear();
            self.number += 1;
            let read = (&mut self.input).take(LONGEST + 1).read_until(b'\n', &mut self.line);
            let length = read.map_err(|e| self.format(format!("cannot read on: {e}")))? as u64;
            if length > LONGEST {
                return Err(self.format(format!("longer than {LONGEST} bytes")));
            }
            if length == 0 {
                return Ok(false);
            }
            self.offset += length;
            if !self.line.iter().all(u8::is_ascii_whitespace) {
                return Ok(true);
            }
        }
    }

    /// The current line without blanks around it.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.line.trim_ascii()
    }

    /// The current line as text.
    pub(crate) fn text(&self) -> Result<&str> {
        std::str::from_utf8(self.bytes()).map_err(|_| self.format("not UTF-8 text"))
    }

    /// Number of the current line, the first being 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// A complaint about a cell of the current line.
    pub(crate) fn cell(&self, column: impl Into<String>, reason: impl Into<String>) -> Error {
        Error::Cell {
            path: self.path.clone(),
            line: self.number,
            column: column.into(),
            reason: reason.into(),
        }
    }

    /// A complaint about the current line as a whole.
    pub(crate) fn format(&self, reason: impl Into<String>) -> Error {
        let reason = format!("line {}: {}", self.number, reason.into());
        Error::format(&self.path, self.offset, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Lines {
        Lines::new(Source::from_bytes(Path::new("some.txt"), text.to_vec()).unwrap())
    }

    #[test]
    fn blank_lines_are_passed_over_but_counted() {
        let mut lines = lines(b"\n a \r\n\r\n  \nb");
        assert!(lines.advance().unwrap());
        assert_eq!((lines.text().unwrap(), lines.number()), ("a", 2));
        assert!(lines.advance().unwrap());
        assert_eq!((lines.bytes(), lines.number()), (&b"b"[..], 5));
        assert!(!lines.advance().unwrap());
    }

    #[test]
    fn endless_lines_and_foreign_bytes_are_errors_that_name_file_and_line() {
        let mut long = lines(&[b"a\n".to_vec(), vec![b'7'; 2 << 20]].concat());
        assert!(long.advance().unwrap());
        let error = long.advance().unwrap_err().to_string();
        assert!(error.contains("some.txt: byte 2: line 2: longer"), "{error}");
        let mut foreign = lines(b"\xff\xfe");
        assert!(foreign.advance().unwrap());
        assert!(foreign.text().unwrap_err().to_string().contains("line 1: not UTF-8"));
    }
}
