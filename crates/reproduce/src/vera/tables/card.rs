//! What a model of tables needs to read another table: `table.json` beside its `config.json`.

use std::{cell::Cell, collections::BTreeSet, path::Path};

use candle_core::Tensor;
use datasets::{Standardiser, Table, read_table_where};
use serde::{Deserialize, Serialize};

use crate::{
    data::usage,
    error::{Error, Result},
    results::{read_json, write_json},
};

/// The file's name.
pub(crate) const CARD_FILE: &str = "table.json";
/// Names that a message lists at most, from the front and from the back.
const FIRST: usize = 20;
const LAST: usize = 5;
/// The newest layout, and the one that is written.
const VERSION: u32 = 1;

/// Columns and classes of a model of tables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableCard {
    format_version: u32,
    /// The column of the classes.
    pub(crate) label: String,
    /// Names of the classes in the order of the model's outputs.
    pub(crate) classes: Vec<String>,
    /// The model's inputs in order.
    pub(crate) columns: Vec<Column>,
}

/// An input of the model: `(value - mean) / std` of a column, `x=word` being 1 where the column `x` holds
/// that word, else 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) mean: f64,
    pub(crate) std: f64,
}

/// Rows of a file as the model sees them.
pub(crate) struct Rows {
    /// `(n, D)`, standardised.
    pub(crate) x: Tensor,
    /// Classes of the model, `None` where the file has none that the model knows.
    pub(crate) labels: Vec<Option<u32>>,
    /// Rows with a class that the model does not know.
    pub(crate) foreign: usize,
}

/// Names with commas, of very many the first and the last, where the label often is.
pub(crate) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let all: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    if all.len() <= FIRST + LAST {
        return all.join(", ");
    }
    let (first, last) = (&all[..FIRST], &all[all.len() - LAST..]);
    format!("{}, .. ({} more), {}", first.join(", "), all.len() - FIRST - LAST, last.join(", "))
}

/// The error of a file without some of the model's columns.
fn absent(columns: &[&str], path: &Path) -> Error {
    let names: Vec<String> = columns.iter().map(|name| format!("`{name}`")).collect();
    let reason = format!("the model needs the columns {}, which are not there", listed(&names));
    Error::format(path, reason)
}

impl TableCard {
    /// Of a table before it was standardised.
    pub(crate) fn new(table: &Table, standardiser: &Standardiser, label: &str) -> Self {
        let statistics = standardiser.mean.iter().zip(&standardiser.std);
        let column = |(name, (mean, std)): (&String, (&f64, &f64))| Column {
            name: name.clone(),
            mean: *mean,
            std: *std,
        };
        Self {
            format_version: VERSION,
            label: label.to_owned(),
            classes: table.classes.clone(),
            columns: table.columns.iter().zip(statistics).map(column).collect(),
        }
    }

    /// Writes the file into a model directory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        write_json(&dir.join(CARD_FILE), self)
    }

    /// Reads the file of a model directory, if there is one.
    ///
    /// # Errors
    /// [`Error::Format`] naming the field that does not fit.
    pub(crate) fn load(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(CARD_FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let card: Self = read_json(&path)?;
        if card.format_version != VERSION {
            let reason =
                format!("field `format_version`: {} is not {VERSION}", card.format_version);
            return Err(Error::format(path, reason));
        }
        let usable = |c: &Column| c.mean.is_finite() && c.std.is_finite() && c.std > 0.0;
        if let Some(column) = card.columns.iter().find(|column| !usable(column)) {
            let reason = format!("column `{}`: mean or deviation is unusable", column.name);
            return Err(Error::format(path, reason));
        }
        Ok(Some(card))
    }

    /// Reads a CSV (or KEEL) file with at least the model's columns, in any order; its classes may be
    /// missing.
    ///
    /// # Errors
    /// If columns are missing, or a categorical one has a word that the model has never seen.
    pub(crate) fn read(&self, path: &Path) -> Result<Rows> {
        // A categorical column gives several inputs; others may hold anything.
        let base = |name: &str| name.split_once('=').map_or(name, |(base, _)| base).to_owned();
        let used: BTreeSet<String> = self
            .columns
            .iter()
            .flat_map(|column| [column.name.clone(), base(&column.name)])
            .collect();
        let any = Cell::new(false);
        let keep = |name: &str| {
            let kept = used.contains(name);
            any.set(any.get() || kept);
            kept
        };
        let table = match read_table_where(path, Some(&self.label), &keep) {
            Err(datasets::Error::Format { reason, .. }) if reason.contains("no label column") => {
                read_table_where(path, None, &keep)
            }
            found => found,
        };
        if !any.get() && matches!(table, Err(datasets::Error::Format { .. })) {
            let all: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
            return Err(absent(&all, path));
        }
        self.rows(&table.map_err(usage)?, path)
    }

    fn rows(&self, table: &Table, path: &Path) -> Result<Rows> {
        let at = self.places(table, path)?;
        let mut values = Vec::with_capacity(table.len() * self.columns.len());
        for row in (0..table.len()).map(|i| table.row(i)) {
            values.extend(at.iter().zip(&self.columns).map(|(place, column)| {
                let value = place.map_or(0.0, |j| f64::from(row[j]));
                ((value - column.mean) / column.std) as f32
            }));
        }
        let known = |name: &String| self.classes.iter().position(|c| c == name).map(|k| k as u32);
        let classes: Vec<Option<u32>> = table.classes.iter().map(known).collect();
        let labels: Vec<Option<u32>> =
            table.labels.iter().map(|label| classes[(*label)? as usize]).collect();
        let labelled = |labels: &[Option<u32>]| labels.iter().flatten().count();
        let foreign = labelled(&table.labels) - labelled(&labels);
        let shape = (table.len(), self.columns.len());
        let x = Tensor::from_vec(values, shape, &candle_core::Device::Cpu)?;
        Ok(Rows { x, labels, foreign })
    }

    /// Where in a row of the table the model's inputs are; a word that this table does not have is
    /// nowhere, and 0.
    fn places(&self, table: &Table, path: &Path) -> Result<Vec<Option<usize>>> {
        let base = |name: &str| name.split_once('=').map(|(base, _)| base.to_owned());
        let bases: Vec<String> = table.columns.iter().filter_map(|name| base(name)).collect();
        let mut missing = Vec::new();
        let mut places = Vec::with_capacity(self.columns.len());
        for Column { name, .. } in &self.columns {
            let found = table.columns.iter().position(|column| column == name);
            if found.is_none() && !base(name).is_some_and(|base| bases.contains(&base)) {
                missing.push(name.as_str());
            }
            places.push(found);
        }
        if !missing.is_empty() {
            return Err(absent(&missing, path));
        }
        let own: Vec<String> = self.columns.iter().filter_map(|c| base(&c.name)).collect();
        let strange = |name: &&String| {
            base(name).is_some_and(|base| own.contains(&base))
                && !self.columns.iter().any(|column| column.name == **name)
        };
        if let Some(name) = table.columns.iter().find(strange) {
            let reason = format!("`{name}`: the model was trained without this value");
            return Err(Error::format(path, reason));
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use datasets::read_table;

    use super::*;

    fn table(dir: &Path, text: &str) -> std::path::PathBuf {
        let path = dir.join("t.csv");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Of columns `a` and the word `c`.
    fn card(dir: &Path) -> TableCard {
        let path = table(dir, "a,c,y\n1,u,no\n3,v,yes\n");
        let table = read_table(&path, Some("y")).unwrap();
        TableCard::new(&table, &Standardiser::fit(&table, &[0, 1]).unwrap(), "y")
    }

    #[test]
    fn a_card_comes_back_and_reads_columns_by_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let card = card(dir.path());
        assert_eq!(TableCard::load(dir.path()).unwrap(), None);
        card.save(dir.path()).unwrap();
        assert_eq!(TableCard::load(dir.path()).unwrap().as_ref(), Some(&card));
        let path = table(dir.path(), "y,c,other,a\nyes,v,9,5\n,v,,1\nmaybe,v,free text,2\n");
        let rows = card.read(&path).unwrap();
        assert_eq!(rows.x.to_vec2::<f32>().unwrap()[0], [3.0, -1.0, 1.0]);
        assert_eq!((rows.labels, rows.foreign), (vec![Some(1), None, None], 1));
        let rows = card.read(&table(dir.path(), "a,c\n1,u\n")).unwrap();
        assert_eq!(rows.x.to_vec2::<f32>().unwrap(), [[-1.0, 1.0, -1.0]]);
        assert_eq!((rows.labels, rows.foreign), (vec![None], 0));
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(listed(&["a", "b"]), "a, b");
        let many: Vec<String> = (0..33).map(|j| j.to_string()).collect();
        assert!(listed(&many).ends_with("18, 19, .. (8 more), 28, 29, 30, 31, 32"));
    }

    #[test]
    fn what_the_model_cannot_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let card = card(dir.path());
        let says = |text: &str| card.read(&table(dir.path(), text)).err().unwrap().to_string();
        let missing = says("b,y\n1,no\n");
        assert!(missing.contains("`a`, `c=u`, `c=v`"), "{missing}");
        let strange = says("a,c,y\n1,w,no\n");
        assert!(strange.contains("`c=w`") && strange.contains("trained without"), "{strange}");
        std::fs::write(dir.path().join(CARD_FILE), "{\"format_version\": 1}").unwrap();
        assert!(TableCard::load(dir.path()).err().unwrap().to_string().contains("label"));
    }
}
