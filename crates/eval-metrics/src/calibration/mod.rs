//! Does a classifier that is 80 per cent sure answer rightly in 80 of 100 cases?
//!
//! Rows are put into bins by the confidence of the answer, that is its probability; the calibration
//! error of a bin is the distance between its accuracy and its mean confidence (Guo and others,
//! 2017). All binned errors are biased upward, more so for few rows and many bins.

mod bins;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::Serialize;

use crate::{
    accuracy::answers,
    error::{Error, Result},
    probabilities::{checked_probabilities, log_softmax},
    real::{Real, check_rows},
    sampling::Stream,
    summary::{mean_and_error, quantile},
};
use bins::{equal_mass, equal_width};

/// How the interval of a calibration error is found: rows are drawn again with replacement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bootstrap {
    /// Number of drawn sets, two or more; a thousand is usual.
    pub resamples: usize,
    /// Share of them inside the interval, between zero and one; 0.95 is usual.
    pub level: f64,
    /// Everything drawn follows from it.
    pub seed: u64,
}

/// Calibration of a classifier with its settings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Expected calibration error: the errors of bins of equal width, weighted by their rows.
    pub ece: f64,
    /// Percentile interval of the expected calibration error. Drawing again adds to the upward bias,
    /// so for a well calibrated classifier it may lie above the value.
    pub ece_interval: (f64, f64),
    /// Maximum calibration error: the largest of the same bins.
    pub mce: f64,
    /// The expected calibration error over bins of equally many rows.
    pub adaptive_ece: f64,
    /// Mean negative log probability of the label, nats.
    pub nll: f64,
    /// Its standard error; none for one row.
    pub nll_std_error: Option<f64>,
    /// Mean squared distance between the probabilities and the one-hot label, summed over classes.
    pub brier: f64,
    /// Its standard error; none for one row.
    pub brier_std_error: Option<f64>,
    /// Share of right answers.
    pub accuracy: f64,
    /// Number of bins.
    pub bins: usize,
    /// Settings of the interval.
    pub bootstrap: Bootstrap,
    /// Rows.
    pub n: usize,
}

/// Calibration from rows of probabilities.
///
/// Bin `b` of `B` holds confidences in `(b / B, (b + 1) / B]`, and fifteen bins are usual. Of equal
/// probabilities the first class is the answer.
///
/// # Shapes
/// `probabilities`: `(n, classes)`, every row summing to one within `1e-3`; `labels`: `n` class
/// numbers from zero, of any integer type.
///
/// # Errors
/// [`Error::TooFew`], [`Error::NonFinite`], [`Error::Mismatch`], [`Error::Label`] for unusable input;
/// [`Error::Probability`] for a row that is negative somewhere, does not sum to one, or gives its
/// label no probability at all; [`Error::Argument`] for no bins or an impossible bootstrap.
///
/// # Example
/// ```
/// use eval_metrics::{Bootstrap, calibration};
/// use ndarray::array;
///
/// let bootstrap = Bootstrap { resamples: 200, level: 0.95, seed: 1 };
/// let probabilities = array![[0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.8, 0.2]];
/// let found = calibration(probabilities.view(), &[0, 0, 0, 0, 1], 15, bootstrap)?;
/// assert!(found.ece < 1e-12 && found.accuracy == 0.8);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn calibration<T: Real, L: Copy + TryInto<usize>>(
    probabilities: ArrayView2<'_, T>,
    labels: &[L],
    bins: usize,
    bootstrap: Bootstrap,
) -> Result<Calibration> {
    check_rows("probabilities", probabilities, 1)?;
    let values = checked_probabilities(probabilities)?;
    let logs = values.mapv(f64::ln);
    measure(&rows_of(probabilities, values.view(), logs.view(), labels)?, bins, bootstrap)
}

/// Calibration from rows of logits, which loses nothing to probabilities that round to zero.
///
/// # Shapes
/// `logits`: `(n, classes)`; `labels`: `n` class numbers from zero.
///
/// # Errors
/// As [`calibration()`]; [`Error::Probability`] only where logits differ by more than f64 can hold.
pub fn calibration_from_logits<T: Real, L: Copy + TryInto<usize>>(
    logits: ArrayView2<'_, T>,
    labels: &[L],
    bins: usize,
    bootstrap: Bootstrap,
) -> Result<Calibration> {
    check_rows("logits", logits, 1)?;
    let logs = log_softmax(logits);
    let values = logs.mapv(f64::exp);
    measure(&rows_of(logits, values.view(), logs.view(), labels)?, bins, bootstrap)
}

/// What the scores need to know of one row.
#[derive(Clone, Copy, Debug)]
struct Row {
    confidence: f64,
    correct: bool,
    nll: f64,
    brier: f64,
}

impl Row {
    /// Confidence less accuracy.
    fn gap(&self) -> f64 {
        self.confidence - f64::from(self.correct)
    }
}

/// The rows in ascending order of confidence; `scores` have the same order as the probabilities.
fn rows_of<T: Real, L: Copy + TryInto<usize>>(
    scores: ArrayView2<'_, T>,
    probabilities: ArrayView2<'_, f64>,
    logs: ArrayView2<'_, f64>,
    labels: &[L],
) -> Result<Vec<Row>> {
    let answers = answers(scores, labels)?;
    let mut rows = Vec::with_capacity(answers.len());
    for (row, answer) in answers.into_iter().enumerate() {
        let nll = -logs[(row, answer.label)];
        if !nll.is_finite() {
            let reason = "gives its label no probability".into();
            return Err(Error::Probability { row, reason });
        }
        let one_hot = |class| f64::from(class == answer.label);
        let values = probabilities.row(row);
        let squares = values.indexed_iter().map(|(class, p)| (p - one_hot(class)).powi(2));
        rows.push(Row {
            confidence: probabilities[(row, answer.class)],
            correct: answer.correct(),
            nll,
            brier: squares.sum(),
        });
    }
    // By all fields, so that the order of the input does not change a bit.
    let key = |row: &Row| [row.confidence, row.nll, row.brier];
    rows.sort_by(|a, b| {
        key(a).iter().zip(key(b)).fold(Ordering::Equal, |order, (a, b)| order.then(a.total_cmp(&b)))
    });
    Ok(rows)
}

fn measure(rows: &[Row], bins: usize, bootstrap: Bootstrap) -> Result<Calibration> {
    let argument = |name, reason: &str| Err(Error::Argument { name, reason: reason.into() });
    if bins == 0 {
        return argument("bins", "must be one or more");
    }
    if bootstrap.resamples < 2 {
        return argument("resamples", "must be two or more");
    }
    if !(bootstrap.level > 0.0 && bootstrap.level < 1.0) {
        return argument("level", "must lie between zero and one");
    }
    let n = rows.len();
    let (mut ece, mut mce) = (0.0, 0.0_f64);
    for bin in equal_width(rows, bins) {
        let gap = bin.iter().map(Row::gap).sum::<f64>().abs();
        ece += gap / n as f64;
        mce = mce.max(gap / bin.len() as f64);
    }
    let gaps = equal_mass(rows, bins).map(|bin| bin.iter().map(Row::gap).sum::<f64>().abs());
    let (nll, nll_std_error) = mean_and_error(&rows.iter().map(|row| row.nll).collect::<Vec<_>>());
    let (brier, brier_std_error) =
        mean_and_error(&rows.iter().map(|row| row.brier).collect::<Vec<_>>());
    Ok(Calibration {
        ece,
        ece_interval: interval(rows, bins, bootstrap),
        mce,
        adaptive_ece: gaps.sum::<f64>() / n as f64,
        nll,
        nll_std_error,
        brier,
        brier_std_error,
        accuracy: rows.iter().filter(|row| row.correct).count() as f64 / n as f64,
        bins,
        bootstrap,
        n,
    })
}

/// Percentile interval of the expected calibration error.
fn interval(rows: &[Row], bins: usize, bootstrap: Bootstrap) -> (f64, f64) {
    // Bins that hold a row, numbered in order, so that many empty ones cost nothing.
    let (mut terms, mut used) = (Vec::with_capacity(rows.len()), 0);
    for bin in equal_width(rows, bins) {
        terms.extend(bin.iter().map(|row| (used, row.gap())));
        used += 1;
    }
    let resample = |index: usize| {
        let mut stream = Stream::new(bootstrap.seed, index as u64);
        let mut gaps = vec![0.0_f64; used];
        for _ in 0..terms.len() {
            let (bin, gap) = terms[stream.below(terms.len())];
            gaps[bin] += gap;
        }
        gaps.iter().map(|gap| gap.abs()).sum::<f64>() / terms.len() as f64
    };
    let mut values: Vec<f64> = (0..bootstrap.resamples).into_par_iter().map(resample).collect();
    let tail = 0.5 * (1.0 - bootstrap.level);
    (quantile(&mut values, tail), quantile(&mut values, 1.0 - tail))
}
