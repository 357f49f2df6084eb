//! Lower bound and importance-sampling estimate of the log likelihood, and the closed form at rate 0.

use candle_core::Tensor;
pub use chains_core::chain::PathEstimate as Estimate;
use chains_core::{
    Noise, Result,
    chain::{PathBlocks, TransitionOperator},
    dist::{DiagGaussian, Moments},
};

use crate::chain::InfusionChain;

/// How much work an estimate is.
#[derive(Clone, Debug, PartialEq)]
pub struct EstimateOptions {
    /// k: chains for each example.
    pub chains: usize,
    /// Rows in one network call; memory depends on this, not on `chains`.
    pub rows: usize,
    /// Variances of the last factor to evaluate on the same chains; `None` is the model's own.
    pub output_variances: Vec<Option<f64>>,
}

impl EstimateOptions {
    /// The model's own output variance, `chains` chains, 1000 rows at a time.
    pub fn new(chains: usize) -> Self {
        Self { chains, rows: 1000, output_variances: vec![None] }
    }
}

/// Runs `chains` infusion chains for every example with the operator of `chain` (section 2.4).
///
/// # Shapes
/// `x`: `(n, D)`, dequantised. `progress` hears the share that is done.
///
/// # Errors
/// [`chains_core::Error::NonFinite`] if a weight is NaN, and those of the operator.
pub fn estimate<O: TransitionOperator<Dist = DiagGaussian>>(
    chain: &InfusionChain<'_, O>,
    x: &Tensor,
    options: &EstimateOptions,
    noise: &mut dyn Noise,
    progress: &mut dyn FnMut(f64) -> Result<()>,
) -> Result<Estimate> {
    let blocks = PathBlocks { chains: options.chains, rows: options.rows };
    let variances = &options.output_variances;
    let mut log_weights = |rows: &Tensor| chain.log_weights(rows, variances, noise);
    blocks.estimate(x, variances.len(), &mut log_weights, progress)
}

/// The best bound of a model whose chain carries no information, rate 0: the factorial Gaussian with
/// the training moments, its variances clipped to the range of the head, `[floor, scale + floor]`.
///
/// Returns the log density of every row of `x`, `(n, D)`, in nats. A trained rate-0 model must agree
/// within a few nats on the same rows.
///
/// # Errors
/// [`chains_core::Error::Shape`] if D differs.
pub fn rate_zero_log_prob(
    training: &Moments,
    x: &Tensor,
    variance_floor: f64,
    variance_scale: f64,
) -> Result<Vec<f64>> {
    training.log_prob(x, [variance_floor, variance_floor + variance_scale])
}
