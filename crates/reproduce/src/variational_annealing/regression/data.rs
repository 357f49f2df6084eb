//! The four tables and their splits.

use candle_core::{DType, Device, Tensor};
use chains_core::Seed;
use datasets::{Standardiser, Table, load_table, random_split};

use crate::{
    data::usage,
    error::{Error, Result},
    request::Request,
};

/// A table of the experiment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set {
    /// Of the file.
    pub(super) name: &'static str,
    /// In Table S3.
    pub(super) title: &'static str,
    /// Rows that are trained on; the others are tested.
    pub(super) train: usize,
    /// The class with the label +1.
    pub(super) positive: &'static str,
}

pub(super) const SETS: [Set; 4] = [
    Set { name: "heart", title: "Heart", train: 135, positive: "2" },
    Set { name: "sonar", title: "Sonar", train: 104, positive: "M" },
    Set { name: "wdbc", title: "Cancer", train: 285, positive: "M" },
    Set { name: "german", title: "German", train: 500, positive: "2" },
];

/// The set of that name.
///
/// # Errors
/// [`Error::Usage`] with the known names.
pub(super) fn find(name: &str) -> Result<Set> {
    let known = SETS.map(|set| set.name).join(", ");
    let found = SETS.into_iter().find(|set| set.name == name);
    found.ok_or_else(|| Error::Usage(format!("--set sets: `{name}` is none of {known}")))
}

pub(super) fn ready(request: &Request) -> Result<()> {
    let settings = super::settings::RegressionSettings::resolve(request)?;
    settings.sets.iter().try_for_each(|name| load(request, find(name)?, false).map(drop))
}

/// Reads a table; without `one_hot` a categorical column is one number, the rank of its code.
pub(super) fn load(request: &Request, set: Set, one_hot: bool) -> Result<Table> {
    let table = load_table(set.name, request.data.as_deref(), &request.root).map_err(usage)?;
    if one_hot { Ok(table) } else { ordinal(&table) }
}

/// One column for each categorical one: the index of its value by the number at the end of the code, so
/// that A410 comes after A49.
fn ordinal(table: &Table) -> Result<Table> {
    let part = |name: &str| name.split_once('=').map(|(of, value)| (of.to_owned(), code(value)));
    let parts: Vec<_> = table.columns.iter().map(|name| part(name)).collect();
    let (mut names, mut columns) = (Vec::<String>::new(), Vec::new());
    for (j, (name, part)) in table.columns.iter().zip(&parts).enumerate() {
        let values = (0..table.len()).map(|i| table.row(i)[j]);
        match part {
            None => {
                names.push(name.clone());
                columns.push(values.collect::<Vec<f32>>());
            }
            Some((of, code)) => {
                let family = parts.iter().flatten().filter(|(other, _)| other == of);
                let rank = family.filter(|(_, other)| other < code).count() as f32;
                if names.last() != Some(of) {
                    names.push(of.clone());
                    columns.push(vec![0.0; table.len()]);
                }
                if let Some(column) = columns.last_mut() {
                    column.iter_mut().zip(values).for_each(|(sum, one)| *sum += rank * one);
                }
            }
        }
    }
    let features = (0..table.len()).flat_map(|i| columns.iter().map(move |column| column[i]));
    let (labels, classes) = (table.labels.clone(), table.classes.clone());
    Table::new(table.name.clone(), names, features.collect(), labels, classes).map_err(usage)
}

/// The number at the end of a code such as `A34`, and the whole for codes without one.
fn code(value: &str) -> (u64, String) {
    let digits = value.trim_start_matches(|c: char| !c.is_ascii_digit());
    (digits.parse().unwrap_or(u64::MAX), value.to_owned())
}

/// Half of a split: standardised inputs with a constant 1 behind them, and labels of either sign.
pub(super) struct Half {
    /// `(n, p + 1)`, f32.
    pub(super) inputs: Tensor,
    pub(super) labels: Vec<f64>,
}

/// A random permutation cut into training and test rows, standardised by the former.
pub(super) fn split(table: &Table, set: Set, index: u64) -> Result<[Half; 2]> {
    let share = set.train as f64 / table.len() as f64;
    let seed = Seed::new(index).child("split").child(set.name);
    let parts = random_split(table.len(), &[share, 1.0 - share], seed).map_err(usage)?;
    let scaled = Standardiser::fit(table, &parts[0]).map_err(usage)?;
    let table = scaled.apply(table).map_err(usage)?;
    let positive = table.classes.iter().position(|class| class == set.positive);
    let half = |rows: &[usize]| -> Result<Half> {
        let x = table.tensor(rows).map_err(usage)?;
        let one = Tensor::ones((rows.len(), 1), DType::F32, &Device::Cpu)?;
        let label = |row: &usize| {
            let own = table.labels[*row].map(|label| label as usize);
            if own.is_some() && own == positive { 1.0 } else { -1.0 }
        };
        let labels = rows.iter().map(label).collect();
        Ok(Half { inputs: Tensor::cat(&[x, one], 1)?, labels })
    };
    Ok([half(&parts[0])?, half(&parts[1])?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{request::Scale, testing::request};

    #[test]
    fn tables_have_the_sizes_and_shares_of_their_sources() {
        for (name, inputs, positive, test) in [
            ("heart", 13, 120, 135),
            ("sonar", 60, 111, 104),
            ("wdbc", 30, 212, 284),
            ("german", 20, 300, 500),
        ] {
            let (request, set) = (request(Scale::Smoke, &[]), find(name).unwrap());
            let table = load(&request, set, false).unwrap();
            assert_eq!(table.dim(), inputs, "{name}: {:?}", table.columns);
            let halves = split(&table, set, 3).unwrap();
            assert_eq!(halves.each_ref().map(|half| half.labels.len()), [set.train, test]);
            let all = halves.iter().flat_map(|half| &half.labels).filter(|label| **label > 0.0);
            assert_eq!(all.count(), positive, "{name}");
            // Means 0 and squares 1 on the training half, the constant behind.
            let x = &halves[0].inputs;
            let mean = x.mean(0).unwrap().to_vec1::<f32>().unwrap();
            let square = x.sqr().unwrap().mean(0).unwrap().to_vec1::<f32>().unwrap();
            assert!(mean[..inputs].iter().all(|m| m.abs() < 1e-4) && mean[inputs] > 0.999);
            assert!(square.iter().all(|s| (s - 1.0).abs() < 1e-3 || *s == 0.0), "{square:?}");
        }
    }

    #[test]
    fn codes_are_ranked_by_their_number() {
        let columns = ["x1=A49", "x1=A410", "x1=A40", "x2"].map(str::to_owned).to_vec();
        let features = vec![1.0, 0.0, 0.0, 7.0, 0.0, 1.0, 0.0, 8.0, 0.0, 0.0, 1.0, 9.0];
        let labels = vec![Some(0); 3];
        let table = Table::new("t", columns, features, labels, vec!["a".into()]).unwrap();
        let found = ordinal(&table).unwrap();
        assert_eq!(found.columns, ["x1", "x2"]);
        assert_eq!(found.features, [1.0, 7.0, 2.0, 8.0, 0.0, 9.0]);
    }
}
