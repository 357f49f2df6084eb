//! Tables to train on, to choose settings on and to test on.

use std::path::PathBuf;

use candle_core::{Device, Tensor};
use datasets::{
    ImageSet, SPLIT_SEED, TABLES, Table, TableSplit, UCI_TABLES, load_table, load_uci,
    tabular_split,
};

use crate::{
    data::{mnist, usage},
    error::{Error, Result},
    request::Request,
};

/// MNIST as a table of pixels.
pub(super) const MNIST: &str = "mnist";
/// Test digits at smoke scale, where nothing is measured.
const FEW: usize = 200;

/// A set in three parts.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) train: Table,
    /// Settings are chosen on it, and the paper reports on it.
    pub(super) validation: Table,
    pub(super) test: Option<Table>,
}

impl Parts {
    pub(super) fn classes(&self) -> usize {
        self.train.classes.len()
    }
}

/// Names of all sets.
pub(super) fn names() -> Vec<&'static str> {
    let uci = UCI_TABLES.iter().map(|info| info.name);
    TABLES.iter().map(|info| info.name).chain(uci).chain([MNIST]).collect()
}

/// Is it the name of a set?
pub(super) fn known(set: &str) -> Result<()> {
    if names().contains(&set) {
        return Ok(());
    }
    Err(Error::Usage(format!("--set sets: `{set}` is none of {}", names().join(", "))))
}

/// Reads and splits a set as the paper does; `few` keeps a small part of MNIST.
///
/// # Errors
/// If the files are not there or damaged.
pub(super) fn load(request: &Request, set: &str, few: bool) -> Result<Parts> {
    let data = request.data.as_deref();
    if set == MNIST {
        return digits(request, few);
    }
    let split = if UCI_TABLES.iter().any(|info| info.name == set) {
        load_uci(set, data, &request.root).and_then(datasets::UciTable::split)
    } else {
        load_table(set, data, &request.root)
            .map(|table| table.without_constant_columns())
            .and_then(|table| tabular_split(table, None, Some(SPLIT_SEED)))
    };
    let TableSplit { train, validation, test, .. } = split.map_err(usage)?;
    Ok(Parts { name: set.to_owned(), train, validation, test: Some(test) })
}

/// Can the set be read? The paper's large files are only looked for.
///
/// # Errors
/// As [`load`].
pub(super) fn ready(request: &Request, set: &str, few: bool) -> Result<()> {
    if let Some(info) = UCI_TABLES.iter().find(|info| info.name == set)
        && let Some(data) = &request.data
    {
        let places = [data.clone(), data.join(info.name), data.join("UCI HAR Dataset")];
        let file = |name: &str| {
            let there = |dir: &PathBuf| {
                dir.join(name).is_file() || dir.join(format!("{name}.gz")).is_file()
            };
            places.iter().any(there)
        };
        if info.files.iter().all(|name| file(name)) {
            return Ok(());
        }
    }
    load(request, set, few).map(|_| ())
}

/// Pixels in `[-1, 1]`; the last tenth of the training digits is the validation.
fn digits(request: &Request, few: bool) -> Result<Parts> {
    let files = mnist(request)?;
    let least = |n: usize| if few { n.min(10 * FEW) } else { n };
    let (n, tests) = (least(files.train.len()), least(files.test.len()));
    let mut train = pixels(&files.train, n)?;
    let validation = train.split_off(n - n / 10);
    let test = pixels(&files.test, tests)?;
    Ok(Parts { name: MNIST.into(), train, validation, test: Some(test) })
}

fn pixels(set: &ImageSet, n: usize) -> Result<Table> {
    let rows: Vec<usize> = (0..n).collect();
    let features = set.gather(&rows).iter().map(|v| f32::from(*v) / 127.5 - 1.0).collect();
    let columns = (0..set.pixels()).map(|j| format!("pixel{j}")).collect();
    let labels = rows.iter().map(|&i| Some(u32::from(set.labels[i]))).collect();
    let classes = (0..10).map(|class: u32| class.to_string()).collect();
    Table::new(MNIST, columns, features, labels, classes).map_err(usage)
}

/// Classes of labelled rows, `(n,)`.
pub(super) fn classes(table: &Table, rows: &[usize], device: &Device) -> Result<Tensor> {
    let classes = rows.iter().map(|&i| table.labels[i].unwrap_or(0)).collect();
    Ok(Tensor::from_vec(classes, rows.len(), device)?)
}
