//! The tables that ship with the repository.

use std::path::Path;

use crate::{
    digest::verify,
    error::{Error, Result},
    keel::read_table,
    table::Table,
};

/// What is known about a table of the repository's `datasets/tabular`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableInfo {
    /// Name on the command line.
    pub name: &'static str,
    /// File in `datasets/tabular`.
    pub file: &'static str,
    /// The column of the classes.
    pub label: &'static str,
    /// Number of rows.
    pub rows: usize,
    /// Number of features, after categorical columns have become one for each of their values.
    pub features: usize,
    /// Number of classes.
    pub classes: usize,
}

/// The tables of `datasets/tabular`; its README tells their origin.
pub const TABLES: [TableInfo; 9] = [
    info("german", "german.csv.gz", [1_000, 61, 2]),
    info("heart", "heart.csv.gz", [270, 13, 2]),
    info("letter", "letter.csv.gz", [20_000, 16, 26]),
    info("magic", "magic.csv.gz", [19_020, 10, 2]),
    info("optdigits", "optdigits.csv.gz", [5_620, 64, 10]),
    info("penbased", "penbased.csv.gz", [10_992, 16, 10]),
    info("satimage", "satimage.csv.gz", [6_435, 36, 6]),
    info("sonar", "sonar.csv.gz", [208, 60, 2]),
    info("wdbc", "wdbc.csv.gz", [569, 30, 2]),
];

const fn info(name: &'static str, file: &'static str, sizes: [usize; 3]) -> TableInfo {
    let [rows, features, classes] = sizes;
    TableInfo { name, file, label: "label", rows, features, classes }
}

/// Reads one of [`TABLES`] from the folder `data` or `data/tabular` if given and the file is there,
/// else from `root/datasets/tabular`, `root` being the root of the repository. A file `NAME.dat` of the
/// KEEL repository does as well as the CSV.
///
/// If the folder has a `SHA256SUMS`, the file must agree with it.
///
/// # Errors
/// [`Error::Argument`] with the known names if there is no such table, [`Error::Missing`] with the
/// places searched if the file is in none, else as [`read_table`].
pub fn load_table(name: &str, data: Option<&Path>, root: &Path) -> Result<Table> {
    let Some(info) = TABLES.iter().find(|info| info.name == name) else {
        let names = TABLES.map(|info| info.name).join(", ");
        return Err(Error::argument("table", format!("`{name}` is none of {names}")));
    };
    let mut places = Vec::with_capacity(3);
    if let Some(data) = data {
        places.extend([data.to_owned(), data.join("tabular")]);
    }
    places.push(root.join("datasets").join("tabular"));
    let keel = format!("{name}.dat");
    for dir in &places {
        if let Some(file) = [info.file, &keel].into_iter().find(|file| dir.join(file).is_file()) {
            let path = dir.join(file);
            verify(dir, std::slice::from_ref(&path))?;
            return read_table(&path, (file == info.file).then_some(info.label));
        }
    }
    let advice = format!("put {} or KEEL's {keel} there", info.file);
    Err(Error::Missing { what: format!("table `{name}`"), searched: places, advice })
}
