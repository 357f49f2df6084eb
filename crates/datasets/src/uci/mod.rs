//! HEPMASS, CROP and HUMAN, as the UCI Machine Learning Repository ships them.

mod numbers;

use std::path::{Path, PathBuf};

use self::numbers::{Form, Numbers, Separator};
use crate::{
    columns::{SmallestValues, correlated_columns},
    digest::verify,
    error::{Error, Result},
    table::Table,
    table_split::{SPLIT_SEED, TableSplit, tabular_split},
};

/// What is known about one of [`UCI_TABLES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UciInfo {
    /// Name on the command line, and of the folder in which the files are looked for.
    pub name: &'static str,
    /// Name of the data set at archive.ics.uci.edu.
    pub title: &'static str,
    /// The files, each plain or with `.gz`.
    pub files: &'static [&'static str],
    /// Number of features in the files.
    pub features: usize,
    /// Number of features that VERA's rule leaves.
    pub kept: usize,
    /// Number of published rows: those that are split, those of the test that comes along or 0.
    pub rows: [usize; 2],
    /// Names of the classes in the order of their numbers.
    pub classes: &'static [&'static str],
    /// The number that the files write for the first class.
    pub first_class: u32,
    /// Are the rows shuffled before they are split?
    pub shuffled: bool,
}

/// The large tables of the VERA paper (Table 6), which do not ship with the repository.
pub const UCI_TABLES: [UciInfo; 3] = [
    UciInfo {
        name: "hepmass",
        title: "HEPMASS",
        files: &["1000_train.csv", "1000_test.csv"],
        features: 27,
        kept: 15,
        rows: [7_000_000, 3_500_000],
        classes: &["background", "signal"],
        first_class: 0,
        shuffled: false,
    },
    UciInfo {
        name: "crop",
        title: "Crop mapping using fused optical-radar data set",
        files: &["WinnipegDataset.txt"],
        features: 174,
        kept: 174,
        rows: [325_834, 0],
        classes: &["corn", "peas", "canola", "soybeans", "oats", "wheat", "broadleaf"],
        first_class: 1,
        shuffled: true,
    },
    UciInfo {
        name: "human",
        title: "Human Activity Recognition Using Smartphones",
        files: &["train/X_train.txt", "train/y_train.txt", "test/X_test.txt", "test/y_test.txt"],
        features: 561,
        kept: 523,
        rows: [7352, 2947],
        classes: &["walking", "upstairs", "downstairs", "sitting", "standing", "laying"],
        first_class: 1,
        shuffled: true,
    },
];

/// One of [`UCI_TABLES`], discrete or correlated columns left out, not yet split.
#[derive(Clone, Debug, PartialEq)]
pub struct UciTable {
    /// The rows that are split, in the order of the file.
    pub table: Table,
    /// The test rows, if the set has its own.
    pub test: Option<Table>,
    /// What is known about the set.
    pub info: UciInfo,
}

impl UciTable {
    /// The split of the paper, see [`tabular_split`].
    ///
    /// # Errors
    /// As [`tabular_split`].
    pub fn split(self) -> Result<TableSplit> {
        tabular_split(self.table, self.test, self.info.shuffled.then_some(SPLIT_SEED))
    }
}

/// Reads one of [`UCI_TABLES`].
///
/// The files are looked for in the folders `data`, `data/NAME` and `root/datasets/NAME`, for `human`
/// also in their `UCI HAR Dataset`; each may be plain or gzip with `.gz`. If the folder has a
/// `SHA256SUMS`, the files must agree with it.
///
/// * `hepmass`: of each line the label and 27 features, whatever follows; columns whose smallest value
///   occurs more than five times in the training file are left out, as
///   [`discrete_columns`](crate::discrete_columns) says (15 remain).
/// * `crop`: label and 174 features; [`correlated_columns`] are left out (none is).
/// * `human`: 561 features in one file, labels in another; discrete columns are left out (523 remain).
///
/// Features are kept in f32; repeats are counted in f64. `hepmass` needs about 1.3 GB of memory
/// while it is read and 0.7 GB after.
///
/// # Errors
/// [`Error::Argument`] with the known names if there is no such set, [`Error::Missing`] with the files,
/// the places searched and where the files come from, [`Error::Cell`] with line and column,
/// [`Error::Format`] if a file is damaged or empty, or if the published rows leave another number of
/// columns than the published one.
pub fn load_uci(name: &str, data: Option<&Path>, root: &Path) -> Result<UciTable> {
    let Some(info) = UCI_TABLES.iter().find(|info| info.name == name) else {
        let names = UCI_TABLES.map(|info| info.name).join(", ");
        return Err(Error::argument("UCI table", format!("`{name}` is none of {names}")));
    };
    load(info, &find(info, data, root)?)
}

/// The files of a set, in the order of its list.
fn find(info: &UciInfo, data: Option<&Path>, root: &Path) -> Result<Vec<PathBuf>> {
    let mut places = Vec::new();
    if let Some(data) = data {
        places.extend([data.to_owned(), data.join(info.name)]);
    }
    places.push(root.join("datasets").join(info.name));
    if info.name == "human" {
        let inner: Vec<PathBuf> = places.iter().map(|dir| dir.join("UCI HAR Dataset")).collect();
        places.extend(inner);
    }
    for dir in &places {
        let file = |name: &&str| {
            [dir.join(name), dir.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file())
        };
        if let Some(files) = info.files.iter().map(file).collect::<Option<Vec<_>>>() {
            verify(dir, &files)?;
            return Ok(files);
        }
    }
    let advice = format!(
        "take {} from the data set `{}` of the UCI Machine Learning Repository, \
         https://archive.ics.uci.edu, and put them there, plain or with `.gz`",
        info.files.join(", "),
        info.title
    );
    Err(Error::Missing { what: format!("table `{}`", info.name), searched: places, advice })
}

fn load(info: &UciInfo, files: &[PathBuf]) -> Result<UciTable> {
    let (table, test, dropped) = match files {
        [features, labels, test_features, test_labels] => {
            let (table, dropped) = read_pair(info, features, labels)?;
            (table, Some(read_pair(info, test_features, test_labels)?.0), dropped)
        }
        [train, test] => {
            let (table, dropped) = read(info, train, true)?;
            (table, Some(read(info, test, true)?.0), dropped)
        }
        _ => {
            let table = read(info, &files[0], false)?.0;
            let dropped = correlated_columns(&table)?;
            (table, None, dropped)
        }
    };
    let table = table.drop_columns(&dropped);
    // Columns go by position: the header of a test file may differ.
    let test =
        test.map(|test| Table { columns: table.columns.clone(), ..test.drop_columns(&dropped) });
    if table.dim() == 0 || (table.len() == info.rows[0] && table.dim() != info.kept) {
        let reason = format!(
            "{} columns remain of {} rows, {} were published; is the file complete and unchanged?",
            table.dim(),
            table.len(),
            info.kept
        );
        return Err(Error::format(&files[0], 0, reason));
    }
    Ok(UciTable { table, test, info: *info })
}

/// Reads a file with a header and the label in the first column, and finds the discrete columns.
fn read(info: &UciInfo, path: &Path, more: bool) -> Result<(Table, Vec<usize>)> {
    let columns = info.features + 1;
    let form = Form { separator: Separator::Comma, header: true, columns, more };
    let mut numbers = Numbers::open(path, form)?;
    let mut parts = Parts::new(info);
    while numbers.advance()? {
        let class = class(info, &numbers)?;
        parts.push(&numbers.row()[1..], class);
    }
    let names = numbers.names()[1..].to_vec();
    parts.finish(info, names, &numbers)
}

/// Reads features and labels from two files without headers, and finds the discrete columns.
fn read_pair(info: &UciInfo, features: &Path, labels: &Path) -> Result<(Table, Vec<usize>)> {
    let form =
        Form { separator: Separator::Blanks, header: false, columns: info.features, more: false };
    let mut numbers = Numbers::open(features, form)?;
    let mut classes = Numbers::open(labels, Form { columns: 1, ..form })?;
    let mut parts = Parts::new(info);
    loop {
        match (numbers.advance()?, classes.advance()?) {
            (true, true) => parts.push(numbers.row(), class(info, &classes)?),
            (false, false) => break,
            (true, false) => {
                let reason =
                    format!("the labels end before row {} of the features", numbers.line());
                return Err(classes.format(&reason));
            }
            (false, true) => {
                return Err(numbers.format("the features end before the labels do"));
            }
        }
    }
    let names = (1..=info.features).map(|j| format!("x{j}")).collect();
    parts.finish(info, names, &numbers)
}

/// The class that the first number of a row stands for.
fn class(info: &UciInfo, numbers: &Numbers) -> Result<u32> {
    let first = info.first_class;
    let last = first + info.classes.len() as u32 - 1;
    let label = numbers.row()[0];
    let is_label = |class: &u32| (f64::from(*class) - label).abs() < f64::EPSILON;
    let found = (first..=last).find(is_label).map(|class| class - first);
    found.ok_or_else(|| numbers.cell(0, format!("label {label} is none of {first} to {last}")))
}

/// A table as it grows.
struct Parts {
    features: Vec<f32>,
    labels: Vec<Option<u32>>,
    smallest: SmallestValues,
}

impl Parts {
    fn new(info: &UciInfo) -> Self {
        let smallest = SmallestValues::new(info.features);
        Self { features: Vec::new(), labels: Vec::new(), smallest }
    }

    fn push(&mut self, row: &[f64], class: u32) {
        self.features.extend(row.iter().map(|&value| value as f32));
        self.labels.push(Some(class));
        self.smallest.push(row.iter().copied());
    }

    fn finish(
        self,
        info: &UciInfo,
        names: Vec<String>,
        numbers: &Numbers,
    ) -> Result<(Table, Vec<usize>)> {
        if self.labels.is_empty() {
            return Err(numbers.format("no rows"));
        }
        let classes = info.classes.iter().map(ToString::to_string).collect();
        let table = Table::new(info.name, names, self.features, self.labels, classes)?;
        Ok((table, self.smallest.discrete()))
    }
}

#[cfg(test)]
mod tests;
