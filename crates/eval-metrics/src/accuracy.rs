//! Top-1 accuracy of a classifier.

use ndarray::{ArrayView1, ArrayView2};
use serde::Serialize;

use crate::{
    error::{Error, Result},
    real::{Real, check_rows},
};

/// The share of rows whose largest score is that of their label.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// `correct / n`.
    pub value: f64,
    /// Binomial standard error, `sqrt(value (1 - value) / n)`.
    pub std_error: f64,
    /// Rows classified correctly.
    pub correct: usize,
    /// Rows.
    pub n: usize,
}

impl Accuracy {
    pub(crate) fn of(correct: usize, n: usize) -> Self {
        let value = correct as f64 / n as f64;
        Self { value, std_error: (value * (1.0 - value) / n as f64).sqrt(), correct, n }
    }

    /// Wilson's interval, which stays inside `[0, 1]` and does not collapse at its ends.
    ///
    /// `z` is the normal quantile: 1.96 for 95 per cent.
    pub fn wilson_interval(&self, z: f64) -> (f64, f64) {
        let n = self.n as f64;
        let z2 = z * z;
        let centre = (self.value + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let spread = self.value * (1.0 - self.value) / n + z2 / (4.0 * n * n);
        let half = z / (1.0 + z2 / n) * spread.sqrt();
        ((centre - half).max(0.0), (centre + half).min(1.0))
    }
}

/// Accuracy of `scores` (logits, probabilities: anything whose largest entry is the answer).
///
/// Of equal scores the first class is the answer.
///
/// # Shapes
/// `scores`: `(n, classes)`; `labels`: `n` class numbers from zero, of any integer type.
///
/// # Errors
/// [`Error::TooFew`], [`Error::NonFinite`] for unusable scores, [`Error::Mismatch`] for another
/// number of labels, [`Error::Label`] for a label that is no class.
///
/// # Example
/// ```
/// use ndarray::array;
/// let scores = array![[0.9_f32, 0.1], [0.2, 0.8], [0.6, 0.4]];
/// assert_eq!(eval_metrics::accuracy(scores.view(), &[0_u8, 1, 1])?.correct, 2);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn accuracy<T: Real, L: Copy + TryInto<usize>>(
    scores: ArrayView2<'_, T>,
    labels: &[L],
) -> Result<Accuracy> {
    let answers = answers(scores, labels)?;
    let correct = answers.iter().filter(|answer| answer.correct()).count();
    Ok(Accuracy::of(correct, answers.len()))
}

/// What a classifier says of one row, and what it is.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    /// The class of the largest score; of equal scores the first.
    pub(crate) class: usize,
    pub(crate) label: usize,
}

impl Answer {
    pub(crate) fn correct(self) -> bool {
        self.class == self.label
    }
}

/// The answer to every row, errors as [`accuracy()`] has them.
pub(crate) fn answers<T: Real, L: Copy + TryInto<usize>>(
    scores: ArrayView2<'_, T>,
    labels: &[L],
) -> Result<Vec<Answer>> {
    check_rows("scores", scores, 1)?;
    let (n, classes) = scores.dim();
    if labels.len() != n {
        return Err(Error::Mismatch {
            what: "labels",
            unit: "labels",
            expected: n,
            got: labels.len(),
        });
    }
    let answer = |(row, (scores, &label)): (usize, (ArrayView1<'_, T>, &L))| {
        let label = label.try_into().ok().filter(|&label| label < classes);
        let label = label.ok_or(Error::Label { row, classes })?;
        let mut best = (0, f64::NEG_INFINITY);
        for (class, &score) in scores.iter().enumerate() {
            if score.into() > best.1 {
                best = (class, score.into());
            }
        }
        Ok(Answer { class: best.0, label })
    };
    scores.outer_iter().zip(labels).enumerate().map(answer).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;
    use crate::golden::assert_close;

    #[test]
    fn rows_are_counted_and_ties_go_to_the_first_class() -> Result<()> {
        let scores = array![[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0, 5.0], [3.0, 0.0, 0.0]];
        let result = accuracy(scores.view(), &[0_i64, 1, 1, 0])?;
        assert_eq!((result.correct, result.n), (3, 4));
        assert_close(result.std_error, (0.75_f64 * 0.25 / 4.0).sqrt(), 1e-15);
        assert_eq!(accuracy(scores.view(), &[1_u8, 1, 2, 0])?.correct, 3);
        Ok(())
    }

    #[test]
    fn wilson_interval_solves_its_equation() -> Result<()> {
        let result =
            accuracy(Array2::from_elem((10, 2), 0.0).view(), &[0, 0, 0, 0, 0, 0, 0, 1, 1, 1])?;
        // The ends are where the test of that proportion is just rejected: |p - q| = z sqrt(q(1-q)/n).
        let (low, high) = result.wilson_interval(1.96);
        for q in [low, high] {
            assert_close((0.7 - q).abs(), 1.96 * (q * (1.0 - q) / 10.0).sqrt(), 1e-12);
        }
        assert!(low < 0.7 && high > 0.7);
        Ok(())
    }

    #[test]
    fn labels_that_are_no_class_are_named() {
        let scores = Array2::<f32>::zeros((2, 3));
        let text = |labels: &[i32]| accuracy(scores.view(), labels).unwrap_err().to_string();
        assert!(text(&[0, 3]).contains("number 1 is none of the 3 classes"));
        assert!(text(&[-1, 0]).contains("number 0"));
        assert!(text(&[0]).contains("expected 2 labels, got 1"));
    }
}
