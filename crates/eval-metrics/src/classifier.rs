//! The inception-score formula on the predictions of any classifier.
//!
//! `exp(mean KL(p(y|x) || p(y)))` with `p(y)` the mean prediction of the split. With the ImageNet
//! network of 2015 it is the inception score; with any other classifier it is reported as a
//! *classifier score* and compares only with numbers of the same classifier.

use ndarray::{Array2, ArrayView2};
use serde::Serialize;

use crate::{
    error::{Error, Result},
    real::{Real, check_rows},
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
    let mut logs = Array2::zeros(probabilities.dim());
    for (row, (line, mut logs)) in probabilities.outer_iter().zip(logs.outer_iter_mut()).enumerate()
    {
        let mut sum = 0.0;
        for (log, &value) in logs.iter_mut().zip(line) {
            let value: f64 = value.into();
            if value < 0.0 {
                let reason = format!("has the negative entry {value}");
                return Err(Error::Probability { row, reason });
            }
            sum += value;
            *log = value.ln();
        }
        if (sum - 1.0).abs() > 1e-3 {
            return Err(Error::Probability { row, reason: format!("sums to {sum}") });
        }
    }
    Ok(score(logs.view(), splits))
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
    check("logits", logits, splits)?;
    let mut logs = logits.mapv(Into::<f64>::into);
    for mut row in logs.outer_iter_mut() {
        let largest = row.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        let sum: f64 = row.iter().map(|value| (value - largest).exp()).sum();
        row.mapv_inplace(|value| value - largest - sum.ln());
    }
    Ok(score(logs.view(), splits))
}

fn check<T: Real>(what: &'static str, rows: ArrayView2<'_, T>, splits: usize) -> Result<()> {
    if splits == 0 {
        let reason = "must be one or more".into();
        return Err(Error::Argument { name: "splits", reason });
    }
    check_rows(what, rows, splits).map(|_| ())
}

/// Log probabilities to scores; every split has at least one row.
fn score(logs: ArrayView2<'_, f64>, splits: usize) -> ClassifierScore {
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
            // A class of probability zero adds nothing, and its logarithm must not be multiplied.
            let p = log.exp();
            if p > 0.0 {
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
    fn rows_that_are_no_probabilities_are_named() {
        let text = |rows: Array2<f64>| classifier_score(rows.view(), 1).unwrap_err().to_string();
        assert!(text(array![[0.5, 0.5], [0.9, 0.3]]).contains("row 1 sums to 1.2"));
        assert!(text(array![[1.5, -0.5]]).contains("row 0 has the negative entry -0.5"));
        assert!(classifier_score(array![[1.0]].view(), 0).is_err());
        assert!(classifier_score(array![[1.0]].view(), 2).is_err());
    }
}
