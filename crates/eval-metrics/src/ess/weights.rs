//! Effective sample size of importance weights.

use serde::Serialize;

use crate::{
    error::{Error, Result},
    real::Real,
};

/// How evenly importance weights are spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WeightEss {
    /// `1 / sum w^2` of the normalised weights (Kong, 1992), from one to `n`.
    pub ess: f64,
    /// The exponential of the weights' entropy, from one to `n`; falls later than `ess` does.
    pub entropy_ess: f64,
    /// The largest normalised weight: near one, a single draw carries the estimate.
    pub largest_weight: f64,
    /// `ln (1/n sum w)` of the weights as they came: the estimate of the log normaliser, nats.
    pub log_mean_weight: f64,
    /// Draws.
    pub n: usize,
}

/// Effective sample size of draws with these log weights, which need not be normalised.
///
/// Weights are normalised in log space. A log weight of minus infinity is a weight of zero.
///
/// # Errors
/// [`Error::TooFew`] for no weights, [`Error::NonFinite`] for a log weight of plus infinity or that
/// is not a number, [`Error::Argument`] when all weights are zero.
///
/// # Example
/// ```
/// let even = eval_metrics::weight_ess(&[-1000.0; 8])?;
/// assert!((even.ess - 8.0).abs() < 1e-9 && (even.log_mean_weight + 1000.0).abs() < 1e-9);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn weight_ess<T: Real>(log_weights: &[T]) -> Result<WeightEss> {
    let n = log_weights.len();
    if n == 0 {
        return Err(Error::TooFew { what: "log_weights", needed: 1, got: 0 });
    }
    let logs: Vec<f64> = log_weights.iter().map(|&log| log.into()).collect();
    if let Some(row) = logs.iter().position(|log| log.is_nan() || *log >= f64::INFINITY) {
        return Err(Error::NonFinite { what: "log_weights", row, column: 0 });
    }
    let largest = logs.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
    if largest.is_infinite() {
        let reason = "every weight is zero; no draw lies where the target has mass".into();
        return Err(Error::Argument { name: "log_weights", reason });
    }
    // Relative to the largest first, so that a common factor costs no digits.
    let sum: f64 = logs.iter().map(|log| (log - largest).exp()).sum();
    let (mut squares, mut entropy) = (0.0, 0.0);
    for log in logs {
        let log = log - largest - sum.ln();
        let weight = log.exp();
        squares += weight * weight;
        // A weight of zero adds nothing, and its logarithm must not be multiplied.
        if weight > 0.0 {
            entropy -= weight * log;
        }
    }
    // Rounding must not leave the range.
    let bounded = |value: f64| value.clamp(1.0, n as f64);
    Ok(WeightEss {
        ess: bounded(1.0 / squares),
        entropy_ess: bounded(entropy.exp()),
        largest_weight: 1.0 / sum,
        log_mean_weight: largest + (sum / n as f64).ln(),
        n,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{array as golden, assert_close};

    fn logs() -> Vec<f64> {
        golden(8, 50, 1).iter().map(|u| 3.0 * u).collect()
    }

    #[test]
    fn golden_values_are_met() -> Result<()> {
        let found = weight_ess(&logs())?;
        assert_close(found.ess, 28.239221394296003, 1e-12);
        assert_close(found.log_mean_weight, 1.8049586674197209, 1e-12);
        assert_eq!(found.n, 50);
        Ok(())
    }

    #[test]
    fn even_weights_count_fully_and_one_weight_counts_once() -> Result<()> {
        let even = weight_ess(&[-700.0_f32; 12])?;
        for value in [even.ess, even.entropy_ess, 1.0 / even.largest_weight] {
            assert_close(value, 12.0, 1e-13);
        }
        let one = weight_ess(&[f64::NEG_INFINITY, -3e5, 0.0])?;
        assert_eq!((one.ess, one.entropy_ess, one.largest_weight), (1.0, 1.0, 1.0));
        assert_close(one.log_mean_weight, -(3.0_f64.ln()), 1e-15);
        Ok(())
    }

    #[test]
    fn three_to_one_is_counted_by_hand() -> Result<()> {
        let found = weight_ess(&[3.0_f64.ln(), 0.0])?;
        assert_close(found.ess, 1.0 / (0.75 * 0.75 + 0.25 * 0.25), 1e-14);
        assert_close(found.entropy_ess, 4.0 / 3.0_f64.powf(0.75), 1e-14);
        assert_close(found.largest_weight, 0.75, 1e-15);
        assert_close(found.log_mean_weight, 2.0_f64.ln(), 1e-15);
        Ok(())
    }

    #[test]
    fn a_common_factor_order_and_precision_do_not_matter() -> Result<()> {
        let logs = logs();
        let found = weight_ess(&logs)?;
        for shift in [-5e4, 5e4] {
            let moved = weight_ess(&logs.iter().map(|log| log + shift).collect::<Vec<_>>())?;
            assert_close(moved.ess, found.ess, 1e-10);
            assert_close(moved.log_mean_weight - shift, found.log_mean_weight, 1e-10);
        }
        let reversed = weight_ess(&logs.iter().rev().copied().collect::<Vec<_>>())?;
        assert_close(reversed.ess, found.ess, 1e-14);
        let narrow = weight_ess(&logs.iter().map(|&log| log as f32).collect::<Vec<_>>())?;
        assert_close(narrow.ess, found.ess, 1e-5);
        Ok(())
    }

    #[test]
    fn unusable_weights_are_named() {
        let text = |logs: &[f64]| weight_ess(logs).unwrap_err().to_string();
        assert!(text(&[]).contains("log_weights: 0 rows"));
        assert!(text(&[0.0, f64::NAN]).contains("row 1"));
        assert!(text(&[f64::INFINITY, 0.0]).contains("row 0"));
        assert!(text(&[f64::NEG_INFINITY; 3]).contains("every weight is zero"));
    }
}
