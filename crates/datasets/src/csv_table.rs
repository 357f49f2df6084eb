//! Tables from CSV files, plain or gzip.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::{self, Read},
    path::{Path, PathBuf},
    rc::Rc,
};

use csv::{ReaderBuilder, StringRecord, Trim};

use crate::{
    error::{Error, Result},
    source::Source,
    table::Table,
};

/// More words than this in one column are names or free text, not categories.
const MOST_CATEGORIES: usize = 256;

/// More features of all rows together are no table for memory: two GiB.
const MOST_VALUES: usize = 1 << 29;

/// Bytes of a row.
const LONGEST_ROW: u64 = 1 << 24;

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
    let since = Rc::new(Cell::new(0));
    let input = Bounded { input, since: Rc::clone(&since) };
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(input);
    let header = reader.headers().map_err(|e| broken(path, &e))?.clone();
    let label = label.map(|label| find_label(path, &header, label)).transpose()?;
    let mut rows = Rows::new(path, header, label, keep);
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| broken(path, &e))? {
        since.set(0);
        let line = record.position().map_or(0, csv::Position::line);
        rows.push(&record, line)?;
    }
    rows.finish(name)
}

/// Input that ends in an error after too many bytes without a row: a compressed line may be endless.
struct Bounded<R> {
    input: R,
    /// Bytes since the last row.
    since: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.since.get() > LONGEST_ROW {
            return Err(io::Error::other(format!("a row of more than {LONGEST_ROW} bytes")));
        }
        let n = self.input.read(into)?;
        self.since.set(self.since.get() + n as u64);
        Ok(n)
    }
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
        let width = |column: &Column| match column {
            Column::Numbers(_) => 1,
            Column::Words(codes, _) => codes.len(),
            Column::Skipped | Column::Labels(..) => 0,
        };
        let columns: usize = self.columns.iter().map(width).sum();
        if columns == 0 {
            let reason = if self.n == 0 { "no rows" } else { "no feature columns" };
            return Err(Error::format(&self.path, 0, reason));
        }
        // A word of two letters may stand for hundreds of features.
        if columns.saturating_mul(self.n) > MOST_VALUES {
            let reason = format!(
                "{} rows of {columns} features, with one for every value of a column of words; remove \
                 columns or rows",
                self.n
            );
            return Err(Error::format(&self.path, 0, reason));
        }
        let mut names = Vec::with_capacity(columns);
        let mut rows = vec![0.0; columns * self.n];
        let (mut labels, mut classes) = (vec![None; self.n], Vec::new());
        for (title, column) in self.header.iter().zip(self.columns) {
            let first = names.len();
            match column {
                Column::Numbers(values) => {
                    names.push(title.to_owned());
                    for (row, value) in rows.chunks_exact_mut(columns).zip(values) {
                        row[first] = value;
                    }
                }
                Column::Words(codes, words) => {
                    let mut places = vec![0; codes.len()];
                    for (place, (word, code)) in codes.into_iter().enumerate() {
                        names.push(format!("{title}={word}"));
                        places[code as usize] = first + place;
                    }
                    for (row, word) in rows.chunks_exact_mut(columns).zip(words) {
                        row[places[word as usize]] = 1.0;
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
mod tests;
