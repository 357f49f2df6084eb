//! The normalising constant, by importance sampling from the proposal.

use chains_core::{Noise, Result, density::Sample, host};

use super::Target;
use crate::maf::Maf;

/// An estimate of `log Z = log of the integral of u`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogPartition {
    /// `log mean_j exp(log u(y_j) - log nu(y_j))`, `y ~ nu`, in nats: a lower bound in expectation.
    pub log_z: f64,
    /// Standard error of it, by the delta method.
    pub std_error: f64,
    /// Effective number of samples as a share of all, `(sum w)^2 / (n sum w^2)`.
    pub effective_share: f64,
}

impl LogPartition {
    /// From the logarithms of the weights.
    pub fn from_log_weights(log_weights: &[f64]) -> Self {
        let n = log_weights.len() as f64;
        let most = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights = log_weights.iter().map(|w| (w - most).exp());
        let (sum, square) = weights.fold((0.0, 0.0), |(s, q), w| (s + w, q + w * w));
        let effective_share = sum * sum / (n * square);
        Self {
            log_z: most + (sum / n).ln(),
            std_error: ((1.0 / effective_share - 1.0).max(0.0) / n).sqrt(),
            effective_share,
        }
    }
}

/// [`LogPartition`] of a target without context from `n` samples of the proposal.
///
/// # Errors
/// Of target and proposal.
pub fn log_partition(
    flow: &Maf,
    target: &dyn Target,
    n: usize,
    noise: &mut dyn Noise,
) -> Result<LogPartition> {
    let y = flow.sample(n, noise)?;
    let log_u = target.log_density(&y, None)?;
    let log_nu = flow.log_prob_given(&y, None)?;
    let pairs = host::vector(&log_u)?.into_iter().zip(host::vector(&log_nu)?);
    let weights: Vec<f64> = pairs.map(|(u, nu)| u - nu).collect();
    Ok(LogPartition::from_log_weights(&weights))
}
