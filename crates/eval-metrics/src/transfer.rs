//! Train on generated rows, test on real ones.

use ndarray::ArrayView2;
use serde::Serialize;

use crate::{
    accuracy::{Accuracy, accuracy},
    error::{Error, Result},
    mlp::{Mlp, MlpConfig},
    real::{Real, check_rows},
    scale::Scale,
};

/// Rows with their class numbers.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a, T, L> {
    /// `(n, d)`.
    pub rows: ArrayView2<'a, T>,
    /// `n` class numbers from zero.
    pub labels: &'a [L],
}

/// The accuracy on one set of a classifier trained on another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TransferAccuracy {
    /// On the test rows, with its binomial error; see [`Accuracy::wilson_interval`].
    pub test: Accuracy,
    /// The same classifier on the rows that it was trained on.
    pub train: Accuracy,
    /// Classes.
    pub classes: usize,
    /// The classifier.
    pub network: MlpConfig,
    /// The seed of its first weights and of the order of its batches.
    pub seed: u64,
}

/// Accuracy on real rows of a small network trained on generated ones, or the other way round.
///
/// The score of conditional generators of Ravuri and Vinyals (2019), and of generated tables: it falls
/// when classes are mixed up and when parts of a class are missing. Report beside it the value for as
/// many real training rows, which is what a perfect generator reaches. Columns are brought to mean
/// zero and variance one by the training rows.
///
/// # Shapes
/// Rows `(n, d)` and `(m, d)`; labels below `classes`.
///
/// # Errors
/// [`Error::TooFew`], [`Error::Mismatch`], [`Error::NonFinite`] for unusable rows; [`Error::Label`] for
/// a label that is no class; [`Error::Argument`] for fewer than two classes, settings out of their
/// range or magnitudes whose squares overflow; [`Error::Numerical`] for a network that diverges.
///
/// # Example
/// ```
/// use eval_metrics::{Labelled, MlpConfig, transfer_accuracy};
/// use ndarray::Array2;
/// let labels: Vec<u8> = (0..60).map(|row| row % 2).collect();
/// let rows = Array2::from_shape_fn((60, 2), |(row, _)| f64::from(labels[row]));
/// let (fake, real) = (&rows + 0.1, rows.clone());
/// let train = Labelled { rows: fake.view(), labels: &labels };
/// let test = Labelled { rows: real.view(), labels: &labels };
/// let found = transfer_accuracy(train, test, 2, &MlpConfig::small(), 0)?;
/// assert_eq!(found.test.correct, 60);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn transfer_accuracy<T: Real, L: Copy + TryInto<usize>>(
    train: Labelled<'_, T, L>,
    test: Labelled<'_, T, L>,
    classes: usize,
    network: &MlpConfig,
    seed: u64,
) -> Result<TransferAccuracy> {
    network.validate()?;
    if classes < 2 {
        let reason = format!("{classes} is below two");
        return Err(Error::Argument { name: "classes", reason });
    }
    let (train_labels, test_labels) =
        (checked("train", train, classes)?, checked("test", test, classes)?);
    let (expected, got) = (train.rows.ncols(), test.rows.ncols());
    if expected != got {
        return Err(Error::Mismatch { what: "test", unit: "columns", expected, got });
    }
    let wide = |rows: ArrayView2<'_, T>| rows.mapv(Into::<f64>::into);
    let (train, test) = (wide(train.rows), wide(test.rows));
    let scale = Scale::of(&train);
    let (train, test) = (scale.apply(train), scale.apply(test));
    let mlp = Mlp::fit(train.view(), &train_labels, classes, network, seed)?;
    Ok(TransferAccuracy {
        test: accuracy(mlp.logits(test.view())?.view(), &test_labels)?,
        train: accuracy(mlp.logits(train.view())?.view(), &train_labels)?,
        classes,
        network: *network,
        seed,
    })
}

fn checked<T: Real, L: Copy + TryInto<usize>>(
    what: &'static str,
    set: Labelled<'_, T, L>,
    classes: usize,
) -> Result<Vec<usize>> {
    let largest = check_rows(what, set.rows, 1)?;
    if largest > 1e150 {
        let reason = format!("magnitudes up to {largest:e} overflow when squared; rescale");
        return Err(Error::Argument { name: what, reason });
    }
    let (expected, got) = (set.rows.nrows(), set.labels.len());
    if expected != got {
        return Err(Error::Mismatch { what, unit: "labels", expected, got });
    }
    let label = |(row, label): (usize, &L)| {
        let label = (*label).try_into().ok().filter(|label| *label < classes);
        label.ok_or(Error::Label { row, classes })
    };
    set.labels.iter().enumerate().map(label).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::golden::normals;

    /// Three Gaussians of unit variance in the plane, 3 apart on average.
    fn classes(seed: u32, n: usize) -> (Array2<f64>, Vec<u8>) {
        let labels: Vec<u8> = (0..n).map(|row| (row % 3) as u8).collect();
        let centres = [[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]];
        let noise = normals(seed, 2 * n);
        let rows = Array2::from_shape_fn((n, 2), |(row, column)| {
            centres[row % 3][column] + noise[(2 * row + column, 0)]
        });
        (rows, labels)
    }

    fn run(
        train: &(Array2<f64>, Vec<u8>),
        test: &(Array2<f64>, Vec<u8>),
    ) -> Result<TransferAccuracy> {
        transfer_accuracy(
            Labelled { rows: train.0.view(), labels: &train.1 },
            Labelled { rows: test.0.view(), labels: &test.1 },
            3,
            &MlpConfig { epochs: 15, ..MlpConfig::small() },
            1,
        )
    }

    #[test]
    fn the_true_distribution_reaches_the_rate_of_the_best_rule() -> Result<()> {
        // The best rule takes the nearest centre.
        let (train, test) = (classes(1, 3000), classes(2, 3000));
        let best = {
            let right = |row: usize| {
                let (x, y) = (test.0[(row, 0)], test.0[(row, 1)]);
                let answer = if x.max(y) < 1.5 {
                    0
                } else if x > y {
                    1
                } else {
                    2
                };
                answer == usize::from(test.1[row])
            };
            (0..3000).filter(|&row| right(row)).count() as f64 / 3000.0
        };
        let found = run(&train, &test)?;
        // Answers of the two rules differ on few rows only.
        assert!((found.test.value - best).abs() < 0.015, "{found:?} {best}");
        assert_eq!((found.test.n, found.train.n, found.classes), (3000, 3000, 3));
        assert!((found.train.value - found.test.value).abs() < 0.03);
        Ok(())
    }

    #[test]
    fn mixed_up_and_missing_classes_lower_it() -> Result<()> {
        let test = classes(2, 900);
        let good = run(&classes(1, 900), &test)?.test.value;
        let mut swapped = classes(1, 900);
        swapped.1.iter_mut().for_each(|label| *label = [0, 2, 1][usize::from(*label)]);
        let found = run(&swapped, &test)?;
        assert!(found.test.value < 0.4 && found.train.value > 0.8, "{found:?}");
        let mut missing = classes(1, 900);
        missing.1.iter_mut().for_each(|label| *label = (*label).min(1));
        let found = run(&missing, &test)?.test;
        // All rows of the third class are wrong.
        assert!(found.value < 2.0 / 3.0 && found.value > good - 0.4, "{found:?}");
        Ok(())
    }

    #[test]
    fn scale_shift_and_precision_hardly_matter() -> Result<()> {
        let (train, test) = (classes(1, 600), classes(2, 600));
        let found = run(&train, &test)?;
        let moved = |set: &(Array2<f64>, Vec<u8>)| (&set.0 * 1024.0 + 4096.0, set.1.clone());
        let other = run(&moved(&train), &moved(&test))?;
        assert!((other.test.value - found.test.value).abs() < 0.01);
        Ok(())
    }

    #[test]
    fn unusable_input_is_named() {
        let good = classes(1, 9);
        let text = |train: &(Array2<f64>, Vec<u8>), test: &(Array2<f64>, Vec<u8>)| {
            run(train, test).unwrap_err().to_string()
        };
        let wrong = |rows: Array2<f64>| (rows, good.1.clone());
        assert!(text(&wrong(&good.0 * f64::NAN), &good).contains("train: row 0, column 0"));
        assert!(text(&good, &wrong(Array2::zeros((0, 2)))).contains("test: 0 rows"));
        assert!(
            text(&good, &wrong(Array2::zeros((8, 2)))).contains("test: expected 8 labels, got 9")
        );
        assert!(text(&good, &wrong(Array2::zeros((9, 3)))).contains("test: expected 2 columns"));
        assert!(text(&wrong(&good.0 * 1e200), &good).contains("rescale"));
        let label = (good.0.clone(), vec![3; 9]);
        assert!(text(&good, &label).contains("none of the 3 classes"));
        let set = Labelled { rows: good.0.view(), labels: &good.1 };
        let few = transfer_accuracy(set, set, 1, &MlpConfig::small(), 0).unwrap_err().to_string();
        assert!(few.contains("`classes`"), "{few}");
    }
}
