//! Predictions of a sample of weights.

use candle_core::Tensor;
use chains_core::{Error, Result, host};

/// How well a sample of weights predicts labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Share of the labels with a probability above one half.
    pub accuracy: f64,
    /// Mean over labels of the log of their probability, in nats.
    pub log_likelihood: f64,
}

/// Predictions `p(y | x) = mean over the sample of sigmoid(y w.x)`: the log of the mean, not the mean of
/// the log.
///
/// # Shapes
/// `weights`: `(m, d)`, or `(m, d + 1)` with `log alpha` last, which is not read; `inputs`: `(n, d)`;
/// `labels`: `n` numbers, +1 or -1.
///
/// # Errors
/// [`Error::Shape`] if they do not fit, or one is empty.
pub fn predict(weights: &Tensor, inputs: &Tensor, labels: &[f64]) -> Result<Prediction> {
    let ((m, own), (n, d)) = (weights.dims2()?, inputs.dims2()?);
    if !(own == d || own == d + 1) || n != labels.len() || m == 0 || n == 0 {
        let expected = format!("(m, {d}) or (m, {}) for {n} labels", d + 1);
        let got = vec![m, own, labels.len()];
        return Err(Error::Shape { what: "sample of weights", expected, got });
    }
    let (weights, inputs) = (host::rows(weights)?, host::rows(inputs)?);
    let (mut right, mut sum) = (0, 0.0);
    for (x, y) in inputs.iter().zip(labels) {
        let dot = |w: &Vec<f64>| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
        // The logarithm of the mean in a form that does not underflow.
        let logs: Vec<f64> = weights.iter().map(|w| -softplus(-y * dot(w))).collect();
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mean = logs.iter().map(|log| (log - most).exp()).sum::<f64>() / m as f64;
        let log = most + mean.ln();
        right += usize::from(log > 0.5_f64.ln());
        sum += log;
    }
    Ok(Prediction { accuracy: right as f64 / n as f64, log_likelihood: sum / n as f64 })
}

/// `ln(1 + e^t)`.
pub(super) fn softplus(t: f64) -> f64 {
    t.max(0.0) + (-t.abs()).exp().ln_1p()
}
