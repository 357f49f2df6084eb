//! The user's file as rows to train on and rows to measure on.

use std::{cell::RefCell, fs, path::Path};

use chains_core::Seed;
use datasets::{
    Standardiser, Table, labelled_subset, read_table, read_table_where, stratified_split,
};
use sha2::{Digest, Sha256};

use super::{
    super::{
        card::{TableCard, listed},
        data::Parts,
    },
    settings::OwnSettings,
};
use crate::{
    data::usage,
    error::{Error, Result},
};

/// The table, and what every row is for.
pub(super) struct Own {
    /// As in the file, without columns that are dropped or the same everywhere; standardised.
    pub(super) table: Table,
    /// Columns in which all rows agree.
    pub(super) constant: Vec<String>,
    pub(super) card: TableCard,
    /// Rows to train on: those whose labels are used, then all others.
    pub(super) parts: Parts,
    /// Of every row of the file.
    pub(super) uses: Vec<Use>,
    /// Of the file's bytes.
    pub(super) digest: String,
}

/// What a row of the file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Trained on with its label.
    Labelled,
    /// Trained on; its label is not used, or there is none.
    Unlabelled,
    /// Not trained on.
    HeldOut,
}

impl Use {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Labelled => "labelled",
            Self::Unlabelled => "unlabelled",
            Self::HeldOut => "held-out",
        }
    }
}

impl Own {
    /// Rows with this use.
    pub(super) fn rows(&self, wanted: Use) -> Vec<usize> {
        (0..self.uses.len()).filter(|&i| self.uses[i] == wanted).collect()
    }
}

/// Names of the file's columns, for advice: as the reader lists them when it misses one.
fn columns(path: &Path) -> Result<String> {
    match read_table(path, Some("")) {
        Err(datasets::Error::Format { reason, .. }) if reason.contains("the header has ") => {
            let (_, names) = reason.split_once("the header has ").unwrap_or_default();
            Ok(listed(&names.split(", ").collect::<Vec<_>>()))
        }
        found => Ok(listed(&found.map_err(usage)?.columns)),
    }
}

/// Reads the file and says what every row is for.
///
/// # Errors
/// That name the column or the class that does not do, and what would.
pub(super) fn prepare(path: &Path, settings: &OwnSettings, seed: u64) -> Result<Own> {
    if settings.label.is_empty() {
        let columns = columns(path)?;
        return Err(Error::Usage(format!(
            "--set label=COLUMN: say which column of {} holds the classes; there are {columns}",
            path.display()
        )));
    }
    let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
    let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let whole = read(path, settings)?;
    if whole.classes.len() < 2 {
        return Err(Error::Usage(format!(
            "{}: the column `{}` has {}; a classifier needs two classes or more",
            path.display(),
            settings.label,
            match whole.classes.as_slice() {
                [] => "no labels".to_owned(),
                only => format!("the one class `{}`", only.join(", ")),
            }
        )));
    }
    let table = whole.clone().without_constant_columns();
    if table.dim() == 0 {
        return Err(Error::Usage(format!("{}: all rows are the same", path.display())));
    }
    let constant: Vec<String> =
        whole.columns.into_iter().filter(|name| !table.columns.contains(name)).collect();
    let uses = uses(&table, settings, seed)?;
    divide(table, constant, uses, settings, digest)
}

/// The file without the columns that the user drops, whatever stands in those.
fn read(path: &Path, settings: &OwnSettings) -> Result<Table> {
    let header = RefCell::new(Vec::new());
    let keep = |name: &str| {
        header.borrow_mut().push(name.to_owned());
        !settings.drop.iter().any(|dropped| dropped == name)
    };
    let found = read_table_where(path, Some(&settings.label), &keep);
    let header = header.into_inner();
    if !header.is_empty() {
        if let Some(name) = settings.drop.iter().find(|name| !header.contains(*name)) {
            return Err(Error::Usage(format!(
                "--set drop: there is no column `{name}`; there are {}",
                listed(&header)
            )));
        }
        if header.iter().all(|name| settings.drop.contains(name) || *name == settings.label) {
            return Err(Error::Usage("--set drop: no column would be left".into()));
        }
    }
    found.map_err(usage)
}

/// Holds out a share of the labelled rows of every class, and chooses the labels to use of the others.
fn uses(table: &Table, settings: &OwnSettings, seed: u64) -> Result<Vec<Use>> {
    let seed = Seed::new(seed).child("vera").child("table");
    let labelled = table.labelled_rows();
    let labels: Vec<Option<u32>> = labelled.iter().map(|&i| table.labels[i]).collect();
    let held = stratified_split(&labels, &[settings.held_out], seed.child("held-out"));
    let held: Vec<usize> = held.map_err(usage)?.concat().iter().map(|&i| labelled[i]).collect();
    let mut uses = vec![Use::Unlabelled; table.len()];
    held.iter().for_each(|&i| uses[i] = Use::HeldOut);
    let left: Vec<usize> = labelled.into_iter().filter(|&i| uses[i] == Use::Unlabelled).collect();
    let labels: Vec<Option<u32>> = left.iter().map(|&i| table.labels[i]).collect();
    for (class, name) in table.classes.iter().enumerate() {
        let n = labels.iter().flatten().filter(|&&label| label as usize == class).count();
        let needed = settings.labels_per_class.max(1);
        if n < needed {
            let whole = table.labels.iter().flatten().filter(|&&l| l as usize == class).count();
            return Err(Error::Usage(format!(
                "--set labels_per_class={}: class `{name}` has {whole} labelled rows, of which {n} are left \
                 to train on beside those held out (held_out={}); ask for fewer labels, hold out less, or \
                 label more rows",
                settings.labels_per_class, settings.held_out
            )));
        }
    }
    let used = match settings.labels_per_class {
        0 => left,
        n => {
            let chosen = labelled_subset(&labels, n, seed.child("labels")).map_err(usage)?;
            chosen.iter().map(|&i| left[i]).collect()
        }
    };
    used.iter().for_each(|&i| uses[i] = Use::Labelled);
    Ok(uses)
}

/// Standardises by the training rows, and hides labels that are not used.
fn divide(
    mut table: Table,
    constant: Vec<String>,
    uses: Vec<Use>,
    settings: &OwnSettings,
    digest: String,
) -> Result<Own> {
    let of = |wanted: &[Use]| -> Vec<usize> {
        (0..uses.len()).filter(|&i| wanted.contains(&uses[i])).collect()
    };
    let trained = of(&[Use::Labelled, Use::Unlabelled]);
    if trained.len() < 2 {
        return Err(Error::Usage(format!("{} rows to train on are too few", trained.len())));
    }
    let standardiser = Standardiser::fit(&table, &trained).map_err(usage)?;
    let card = TableCard::new(&table, &standardiser, &settings.label);
    standardiser.apply_in_place(&mut table).map_err(usage)?;
    let mut train = table.select(&trained);
    for (label, &i) in train.labels.iter_mut().zip(&trained) {
        if uses[i] == Use::Unlabelled {
            *label = None;
        }
    }
    let validation = table.select(&of(&[Use::HeldOut]));
    let parts = Parts { name: table.name.clone(), train, validation, test: None };
    Ok(Own { table, constant, card, parts, uses, digest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{request::Scale, testing::request};

    /// Rows of classes `a` (20), `b` (10) and none (5); `same` is constant, `id` a number of the row.
    fn file(dir: &Path) -> std::path::PathBuf {
        let mut text = String::from("id,x,colour,same,kind\n");
        for i in 0..35 {
            let kind = if i < 20 {
                "a"
            } else if i < 30 {
                "b"
            } else {
                ""
            };
            let colour = ["red", "blue"][i % 2];
            text += &format!("{i},{},{colour},7,{kind}\n", (i * i) % 11);
        }
        let path = dir.join("mine.csv");
        fs::write(&path, text).unwrap();
        path
    }

    fn settings(overrides: &[(&str, &str)]) -> OwnSettings {
        OwnSettings::resolve(&request(Scale::Smoke, overrides)).unwrap()
    }

    #[test]
    fn every_row_has_its_use_and_only_chosen_labels_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path());
        let set = [("label", "kind"), ("labels_per_class", "3"), ("drop", "[\"id\"]")];
        let own = prepare(&path, &settings(&set), 5).unwrap();
        assert_eq!(own.table.columns, ["x", "colour=blue", "colour=red"]);
        assert_eq!(own.constant, ["same"]);
        assert_eq!(own.rows(Use::Labelled).len(), 6);
        assert_eq!(own.rows(Use::HeldOut).len(), 6);
        assert!((30..35).all(|i| own.uses[i] == Use::Unlabelled));
        assert_eq!(own.parts.train.labels.iter().flatten().count(), 6);
        assert_eq!((own.parts.train.len(), own.parts.validation.len()), (29, 6));
        // Mean 0 and variance 1 over rows to train on, whether labelled or not.
        let x = |i: usize| f64::from(own.parts.train.row(i)[0]);
        let n = own.parts.train.len() as f64;
        let mean = (0..29).map(x).sum::<f64>() / n;
        let square = (0..29).map(|i| x(i).powi(2)).sum::<f64>() / n;
        assert!(mean.abs() < 1e-6 && (square - 1.0).abs() < 1e-5, "{mean} {square}");
        // A column that is dropped may hold anything.
        let text =
            fs::read_to_string(&path).unwrap().replace("\n3,", "\n?,").replace("\n4,", "\n,");
        fs::write(&path, text).unwrap();
        assert_eq!(prepare(&path, &settings(&set), 5).unwrap().uses, own.uses);
        file(dir.path());
        // All labels but those held out.
        let own = prepare(&path, &settings(&set[..1]), 5).unwrap();
        assert_eq!(own.rows(Use::Labelled).len(), 24);
        assert_ne!(own.uses, prepare(&path, &settings(&set[..1]), 6).unwrap().uses);
    }

    #[test]
    fn what_does_not_do_is_named_with_what_would() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path());
        let says = |set: &[(&str, &str)], parts: &[&str]| {
            let error = prepare(&path, &settings(set), 0).err().unwrap();
            let message = error.to_string();
            assert_eq!(error.exit_status(), 2, "{message}");
            parts.iter().for_each(|part| assert!(message.contains(part), "{part}: {message}"));
        };
        says(&[], &["--set label=COLUMN", "id, x, colour, same, kind"]);
        says(&[("label", "species")], &["species", "kind"]);
        says(
            &[("label", "kind"), ("labels_per_class", "9")],
            &["class `b`", "10 labelled", "8 are left", "held_out=0.2", "labels_per_class=9"],
        );
        says(&[("label", "kind"), ("drop", "[\"nr\"]")], &["no column `nr`", "id"]);
        let all = "[\"id\", \"x\", \"colour\", \"same\"]";
        says(&[("label", "kind"), ("drop", all)], &["no column would be left"]);
        fs::write(&path, "x,same\n1,7\n2,7\n3,7\n").unwrap();
        says(&[("label", "same")], &["`same`", "the one class `7`", "two classes"]);
        fs::write(&path, "x,kind\n1,\n2,\n").unwrap();
        says(&[("label", "kind")], &["no labels"]);
        fs::write(&path, "x,kind\n1,a\nlong,b\n").unwrap();
        says(&[("label", "kind")], &["mine.csv", "`x`", "long"]);
    }
}
