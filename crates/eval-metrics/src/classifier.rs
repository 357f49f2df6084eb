//! The inception-score formula on the predictions of any classifier.
//!
//! `exp(mean KL(p(y|x) || p(y)))` with `p(y)` the mean prediction of the split. With the ImageNet
//! network of 2015 it is the inception score; with any other classifier it is reported as a
//! *classifier score* and compares only with numbers of the same classifier.

use ndarray::{ArrayView2, Axis};
use serde::Serialize;

use crate::{
    error::{Error, Result},
    probabilities::{checked_probabilities, log_softmax},
    real::{Real, check_rows},
    sampling::Stream,
};

/// A classifier score with its spread over splits.
///
/// The mean prediction is estimated inside each split, which biases the score low: ten splits of
/// 5,000 rows do not compare with one of 50,000.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassifierScore {
    /// Mean over the splits, from 1 to the number of classes.
    pub mean: f64,
    /// Standard error of the mean over the splits (`n - 1` in the variance); none for one split.
    pub std_error: Option<f64>,
    /// Population standard deviation over the splits, the spread that papers print.
    pub std_dev: f64,
    /// The score of each split, in order.
    pub splits: Vec<f64>,
    /// The seed by which rows were shuffled before they were split, if they were.
    pub shuffle_seed: Option<u64>,
    /// Rows.
    pub n: usize,
}

/// The score of rows of probabilities.
///
/// Split `i` of `s` holds rows `i n / s` to `(i + 1) n / s`; rows are not shuffled, so shuffle
/// predictions that are ordered by class. `0 log 0` is zero.
///
/// # Shapes
/// `probabilities`: `(n, classes)`, every row summing to one within `1e-3`, `n >= splits >= 1`.
///
/// # Errors
/// [`Error::TooFew`], [`Error::NonFinite`] for unusable rows, [`Error::Probability`] for a row that
/// is negative somewhere or does not sum to one, [`Error::Argument`] for no splits.
///
/// # Example
/// ```
/// use ndarray::array;
/// let sure = array![[1.0, 0.0], [0.0, 1.0]];
/// let score = eval_metrics::classifier_score(sure.view(), 1)?;
/// assert!((score.mean - 2.0).abs() < 1e-12);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn classifier_score<T: Real>(
    probabilities: ArrayView2<'_, T>,
    splits: usize,
) -> Result<ClassifierScore> {
    check("probabilities", probabilities, splits)?;
    Ok(score(checked_probabilities(probabilities)?.mapv(f64::ln).view(), splits, None))
}

/// The score of rows of logits, which loses nothing to probabilities that round to zero.
///
/// # Shapes
/// `logits`: `(n, classes)`, `n >= splits >= 1`.
///
/// # Errors
/// As [`classifier_score`], without [`Error::Probability`].
pub fn classifier_score_from_logits<T: Real>(
    logits: ArrayView2<'_, T>,
    splits: usize,
) -> Result<ClassifierScore> {
    inception_score(logits, splits, None)
}

/// The inception score (Salimans and others, 2016), with rows shuffled on request.
///
/// The published protocol takes the ImageNet network of 2015 with its 1,008 logits, 50,000 samples
/// and ten splits, and prints `mean` and `std_dev`. The original code leaves out the bias of the
/// last layer and does not shuffle; other codes shuffle by a fixed seed, which samples in the order
/// of their classes need. With any other classifier call the result a classifier score.
///
/// # Shapes
/// `logits`: `(n, classes)`, `n >= splits >= 1`.
///
/// # Errors
/// As [`classifier_score_from_logits`].
///
/// # Example
/// ```
/// use ndarray::array;
/// let logits = array![[40.0, 0.0], [40.0, 0.0], [0.0, 40.0], [0.0, 40.0]];
/// // In this order, each split sees one class only.
/// assert!((eval_metrics::inception_score(logits.view(), 2, None)?.mean - 1.0).abs() < 1e-12);
/// assert!((eval_metrics::inception_score(logits.view(), 1, Some(7))?.mean - 2.0).abs() < 1e-12);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn inception_score<T: Real>(
    logits: ArrayView2<'_, T>,
    splits: usize,
    shuffle_seed: Option<u64>,
) -> Result<ClassifierScore> {
    check("logits", logits, splits)?;
    let logs = log_softmax(logits);
    let logs = match shuffle_seed {
        None => logs,
        Some(seed) => logs.select(Axis(0), &Stream::new(seed, 0).shuffled(logs.nrows())),
    };
    Ok(score(logs.view(), splits, shuffle_seed))
}

fn check<T: Real>(what: &'static str, rows: ArrayView2<'_, T>, splits: usize) -> Result<()> {
    if splits == 0 {
        let reason = "must be one or more".into();
        return Err(Error::Argument { name: "splits", reason });
    }
    check_rows(what, rows, splits).map(|_| ())
}

/// Log probabilities to scores; every split has at least one row.
fn score(logs: ArrayView2<'_, f64>, splits: usize, shuffle_seed: Option<u64>) -> ClassifierScore {
    let n = logs.nrows();
    let scores: Vec<f64> = (0..splits)
        .map(|split| {
            let rows = split * n / splits..(split + 1) * n / splits;
            mean_divergence(logs.slice(ndarray::s![rows, ..])).exp()
        })
        .collect();
    let count = splits as f64;
    let mean = scores.iter().sum::<f64>() / count;
    let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
    ClassifierScore {
        mean,
        std_error: (splits > 1).then(|| (squares / (count * (count - 1.0))).sqrt()),
        std_dev: (squares / count).sqrt(),
        splits: scores,
        shuffle_seed,
        n,
    }
}

/// `mean_x sum_y p(y|x) (log p(y|x) - log p(y))`.
fn mean_divergence(logs: ArrayView2<'_, f64>) -> f64 {
    let rows = logs.nrows() as f64;
    let mut marginal = vec![0.0_f64; logs.ncols()];
    for row in logs.outer_iter() {
        for (sum, log) in marginal.iter_mut().zip(row) {
            *sum += log.exp() / rows;
        }
    }
    let mut total = 0.0;
    for row in logs.outer_iter() {
        for (log, marginal) in row.iter().zip(&marginal) {
            // A class of probability zero adds nothing, and its logarithm must not be multiplied; the
            // mean of the smallest numbers may be zero though they are not.
            let p = log.exp();
            if p > 0.0 && *marginal > 0.0 {
                total += p * (log - marginal.ln());
            }
        }
    }
    total / rows
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;
    use crate::golden::{array as golden, assert_close};

    #[test]
    fn a_class_of_the_smallest_numbers_adds_nothing() {
        // exp(-742) is the smallest number but one; its share of 1,000 rows is zero.
        let rows = Array2::from_shape_fn((1000, 2), |(_, class)| [0.0, -742.0][class]);
        assert!(mean_divergence(rows.view()).abs() < 1e-12);
    }

    #[test]
    fn golden_values_are_met_from_logits_and_from_probabilities() -> Result<()> {
        let logits = golden(3, 100, 5) * 6.0;
        let mut probabilities = logits.mapv(f64::exp);
        for mut row in probabilities.outer_iter_mut() {
            let sum = row.sum();
            row /= sum;
        }
        for score in [
            classifier_score_from_logits(logits.view(), 10)?,
            classifier_score(probabilities.view(), 10)?,
        ] {
            assert_close(score.mean, 1.6608228893757009, 1e-12);
            assert_close(score.std_dev, 0.16491800329906683, 1e-12);
            assert_close(score.std_error.unwrap(), 0.16491800329906683 / 3.0, 1e-12);
        }
        let whole = classifier_score_from_logits(logits.view(), 1)?;
        assert_close(whole.mean, 1.7333279057700037, 1e-12);
        assert_eq!((whole.std_error, whole.n), (None, 100));
        Ok(())
    }

    #[test]
    fn sure_and_balanced_predictions_over_c_classes_score_c() -> Result<()> {
        let sure = Array2::from_shape_fn((70, 7), |(row, class)| f32::from(row % 7 == class));
        let score = classifier_score(sure.view(), 5)?;
        score.splits.iter().for_each(|split| assert_close(*split, 7.0, 1e-12));
        assert_close(score.std_dev, 0.0, 1e-12);
        Ok(())
    }

    #[test]
    fn equal_predictions_score_one() -> Result<()> {
        let equal = Array2::from_shape_fn((12, 3), |(_, class)| [0.2, 0.5, 0.3][class]);
        assert_close(classifier_score(equal.view(), 2)?.mean, 1.0, 1e-14);
        Ok(())
    }

    #[test]
    fn two_sure_groups_score_the_exponential_of_their_entropy() -> Result<()> {
        let groups = Array2::from_shape_fn((10, 4), |(row, class)| {
            f64::from(class == if row < 3 { 0 } else { 2 })
        });
        let entropy = -(0.3 * 0.3_f64.ln() + 0.7 * 0.7_f64.ln());
        assert_close(classifier_score(groups.view(), 1)?.mean, entropy.exp(), 1e-14);
        Ok(())
    }

    #[test]
    fn splits_follow_the_floor_rule() -> Result<()> {
        // Seven rows in three splits: 0..2, 2..4, 4..7. Only the last sees two classes.
        let sure = array![[1., 0.], [1., 0.], [0., 1.], [0., 1.], [1., 0.], [0., 1.], [0., 1.]];
        let score = classifier_score(sure.view(), 3)?;
        let entropy = -(1. / 3. * (1_f64 / 3.).ln() + 2. / 3. * (2_f64 / 3.).ln());
        for (split, expected) in score.splits.iter().zip([1.0, 1.0, entropy.exp()]) {
            assert_close(*split, expected, 1e-14);
        }
        Ok(())
    }

    #[test]
    fn shuffled_rows_are_all_there_and_mix_the_classes() -> Result<()> {
        let logits = golden(3, 100, 5) * 6.0;
        let (plain, shuffled) =
            (inception_score(logits.view(), 1, None)?, inception_score(logits.view(), 1, Some(9))?);
        assert_close(shuffled.mean, plain.mean, 1e-12);
        assert_eq!((plain.shuffle_seed, shuffled.shuffle_seed), (None, Some(9)));
        assert_eq!(inception_score(logits.view(), 10, Some(9))?.splits, {
            let order = Stream::new(9, 0).shuffled(100);
            classifier_score_from_logits(logits.select(Axis(0), &order).view(), 10)?.splits
        });
        // Ten classes of a hundred sure rows each, in order: a split of one class scores one.
        let ordered =
            Array2::from_shape_fn(
                (1000, 10),
                |(row, class)| {
                    if row / 100 == class { 50.0_f32 } else { 0.0 }
                },
            );
        assert_close(inception_score(ordered.view(), 10, None)?.mean, 1.0, 1e-12);
        assert!(inception_score(ordered.view(), 10, Some(1))?.mean > 9.0);
        Ok(())
    }

    #[test]
    fn order_within_a_split_and_single_precision_do_not_matter() -> Result<()> {
        let logits = golden(3, 100, 5) * 6.0;
        let score = classifier_score_from_logits(logits.view(), 10)?;
        let turned = classifier_score_from_logits(logits.slice(ndarray::s![..;-1, ..]), 10)?;
        for (a, b) in score.splits.iter().zip(turned.splits.iter().rev()) {
            assert_close(*a, *b, 1e-13);
        }
        let narrow = classifier_score_from_logits(logits.mapv(|x| x as f32).view(), 10)?;
        assert_close(narrow.mean, score.mean, 1e-5);
        Ok(())
    }

    #[test]
    fn logits_that_differ_by_more_than_exponentials_hold_are_sure() -> Result<()> {
        let logits = array![[1e308, -1e308], [-1e308, 1e308]];
        assert_close(inception_score(logits.view(), 1, None)?.mean, 2.0, 1e-14);
        assert!(inception_score(array![[0.0, f64::NAN]].view(), 1, None).is_err());
        assert!(inception_score(array![[0.0, f64::INFINITY]].view(), 1, None).is_err());
        Ok(())
    }

    #[test]
    fn rows_that_are_no_probabilities_are_named() {
        let text = |rows: Array2<f64>| classifier_score(rows.view(), 1).unwrap_err().to_string();
        assert!(text(array![[0.5, 0.5], [0.9, 0.3]]).contains("row 1 sums to 1.2"));
        assert!(text(array![[1.5, -0.5]]).contains("row 0 has the negative entry -0.5"));
        assert!(classifier_score(array![[1.0]].view(), 0).is_err());
        assert!(classifier_score(array![[1.0]].view(), 2).is_err());
    }
}
