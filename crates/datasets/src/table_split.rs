//! The split of a table into rows to train on, to validate and to test, as VERA makes it.

use crate::{
    error::{Error, Result},
    legacy,
    table::{Standardiser, Table},
};

/// The seed with which VERA's code shuffles a table before the split.
pub const SPLIT_SEED: u32 = 1234;

/// A table cut in three, every part standardised by the training rows.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSplit {
    /// Rows to train on.
    pub train: Table,
    /// Rows on which settings are chosen; VERA reports its accuracy on them.
    pub validation: Table,
    /// Rows kept apart.
    pub test: Table,
    /// Mean and standard deviation of the training rows, before.
    pub standardiser: Standardiser,
}

/// Splits and standardises as VERA's code does (`N` rows, divisions rounded down):
///
/// 1. with a seed ([`SPLIT_SEED`] in the paper's runs), the rows are put in the order of
///    [`legacy::shuffle`];
/// 2. without a `test`, the last `N / 10` rows become the test;
/// 3. the last tenth of the rows that remain becomes the validation;
/// 4. all parts are standardised by mean and population standard deviation of the training rows, in
///    f64; a column constant there is only shifted.
///
/// Rows without a label are kept in every part. [`legacy::labelled_subset`] never chooses them, and
/// [`Table::labelled_rows`] leaves them out of a score.
///
/// # Errors
/// If a part would have no row (11 rows are enough, 10 beside a `test`), there is no column, or `test`
/// has other columns or classes.
pub fn tabular_split(table: Table, test: Option<Table>, seed: Option<u32>) -> Result<TableSplit> {
    if table.dim() == 0 {
        return Err(Error::argument("table", format!("`{}` has no columns left", table.name)));
    }
    let fits = |test: &Table| test.columns == table.columns && test.classes == table.classes;
    if let Some(test) = test.as_ref().filter(|test| !fits(test)) {
        let reason =
            format!("`{}` must have the columns and classes of `{}`", test.name, table.name);
        return Err(Error::argument("test table", reason));
    }
    let rows = table.len();
    let mut train = match seed {
        Some(seed) => {
            let shuffled = table.select(&legacy::shuffle(rows, seed));
            drop(table);
            shuffled
        }
        None => table,
    };
    let mut test = test.unwrap_or_else(|| train.split_off(rows - rows / 10));
    let mut validation = train.split_off(train.len() - train.len() / 10);
    if [&train, &validation, &test].iter().any(|part| part.is_empty()) {
        let reason = format!(
            "{rows} rows of `{}` leave {} to train on, {} to validate and {} to test; 11 are enough",
            train.name,
            train.len(),
            validation.len(),
            test.len()
        );
        return Err(Error::argument("table split", reason));
    }
    let all: Vec<usize> = (0..train.len()).collect();
    let standardiser = Standardiser::fit(&train, &all)?;
    for part in [&mut train, &mut validation, &mut test] {
        standardiser.apply_in_place(part)?;
    }
    Ok(TableSplit { train, validation, test, standardiser })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows `(i, 7)`; row `i` has class `i mod 3`, every fifth no label.
    fn table(n: usize) -> Table {
        let columns = vec!["i".to_owned(), "seven".to_owned()];
        let features = (0..n).flat_map(|i| [i as f32, 7.0]).collect();
        let labels = (0..n).map(|i| (i % 5 != 4).then_some(i as u32 % 3)).collect();
        let classes = ["a", "b", "c"].map(String::from).to_vec();
        Table::new("t", columns, features, labels, classes).unwrap()
    }

    /// The rows of a part by their numbers in the table.
    fn rows(split: &TableSplit, part: &Table) -> Vec<usize> {
        let (mean, std) = (split.standardiser.mean[0], split.standardiser.std[0]);
        let row = |i| (f64::from(part.row(i)[0]) * std + mean).round() as usize;
        (0..part.len()).map(row).collect()
    }

    #[test]
    fn without_a_shuffle_the_last_tenths_are_test_and_validation() {
        let split = tabular_split(table(125), None, None).unwrap();
        assert_eq!(rows(&split, &split.train), (0..102).collect::<Vec<_>>());
        assert_eq!(rows(&split, &split.validation), (102..113).collect::<Vec<_>>());
        assert_eq!(rows(&split, &split.test), (113..125).collect::<Vec<_>>());
        assert_eq!(split.test.labels[1..3], [None, Some(1)]);
        assert_eq!(split.test.labelled_rows().len(), 9);
    }

    #[test]
    fn a_shuffled_split_cuts_numpys_order() {
        let order = legacy::shuffle(125, SPLIT_SEED);
        let split = tabular_split(table(125), None, Some(SPLIT_SEED)).unwrap();
        let parts = [&split.train, &split.validation, &split.test].map(|part| rows(&split, part));
        assert_eq!(parts.concat(), order);
        for (i, &row) in order[..102].iter().enumerate() {
            assert_eq!(split.train.labels[i], table(125).labels[row]);
        }
    }

    #[test]
    fn rows_without_a_label_are_split_but_neither_chosen_nor_scored() {
        let split = tabular_split(table(125), None, Some(3)).unwrap();
        let parts = [&split.train, &split.validation, &split.test];
        let unlabelled = |part: &Table| part.labels.iter().filter(|label| label.is_none()).count();
        assert_eq!(parts.iter().map(|part| unlabelled(part)).sum::<usize>(), 25);
        assert!(unlabelled(&split.train) > 0);
        let chosen = legacy::labelled_subset(&split.train.labels, 10, 0).unwrap();
        assert_eq!(chosen.len(), 30);
        assert!(chosen.iter().all(|&i| split.train.labels[i].is_some()));
        for part in parts {
            assert_eq!(part.labelled_rows().len(), part.len() - unlabelled(part));
        }
        // A table of nothing else is split all the same.
        let none = Table { labels: vec![None; 20], classes: vec![], ..table(20) };
        assert!(tabular_split(none, None, Some(3)).unwrap().test.labelled_rows().is_empty());
    }

    #[test]
    fn training_rows_alone_give_mean_and_deviation() {
        let split = tabular_split(table(125), None, None).unwrap();
        // 0..102: mean 50.5, variance (102^2 - 1) / 12.
        let std = ((102.0_f64 * 102.0 - 1.0) / 12.0).sqrt();
        assert!((split.standardiser.mean[0] - 50.5).abs() < 1e-12);
        assert!((split.standardiser.std[0] - std).abs() < 1e-12);
        let last = split.test.row(11);
        assert!((f64::from(last[0]) - (124.0 - 50.5) / std).abs() < 1e-6);
        assert!(last[1].abs() < f32::EPSILON);
    }

    #[test]
    fn a_given_test_is_not_cut_from_the_training_rows() {
        let split = tabular_split(table(7352), Some(table(2947)), Some(SPLIT_SEED)).unwrap();
        let sizes = [&split.train, &split.validation, &split.test].map(Table::len);
        assert_eq!(sizes, [6617, 735, 2947]);
        assert_eq!(rows(&split, &split.train)[..3], [1470, 4840, 4452]);
        assert_eq!(rows(&split, &split.validation)[732..], [1318, 723, 2863]);
        assert_eq!(rows(&split, &split.test)[..3], [0, 1, 2]);
    }

    #[test]
    fn sizes_are_those_of_the_published_sets() {
        // CROP of 325,834 rows: 263,926 + 29,325 + 32,583.
        let split = tabular_split(table(325_834), None, Some(SPLIT_SEED)).unwrap();
        let sizes = [&split.train, &split.validation, &split.test].map(Table::len);
        assert_eq!(sizes, [263_926, 29_325, 32_583]);
    }

    #[test]
    fn tables_that_cannot_be_split_are_refused() {
        assert!(tabular_split(table(11), None, None).is_ok());
        let error = tabular_split(table(10), None, None).unwrap_err().to_string();
        assert!(error.contains("0 to validate"), "{error}");
        assert!(tabular_split(table(0), None, Some(1)).is_err());
        assert!(tabular_split(table(10), Some(table(1)), None).is_ok());
        assert!(tabular_split(table(10), Some(table(0)), None).is_err());
        assert!(tabular_split(table(99).drop_columns(&[0, 1]), None, None).is_err());
        assert!(tabular_split(table(99), Some(table(9).drop_columns(&[1])), None).is_err());
        let other = Table { classes: vec!["a".into(); 4], ..table(9) };
        assert!(tabular_split(table(99), Some(other), None).is_err());
    }
}
