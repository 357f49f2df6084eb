//! Lower bound and importance-sampling estimate of the log likelihood, and the closed form at rate 0.

use candle_core::Tensor;
use chains_core::{
    Error, Noise, Result,
    chain::{LogWeights, TransitionOperator},
    dist::DiagGaussian,
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

/// What [`estimate`] gives.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// For every output variance, the log weights of every example.
    pub weights: Vec<Vec<LogWeights>>,
    /// Mean squared residual of the last mean over chains, examples and dimensions: the isotropic
    /// output variance with the highest lower bound.
    pub residual: f64,
}

/// Runs `chains` infusion chains for every example with the operator of `chain` (section 2.4).
///
/// # Shapes
/// `x`: `(n, D)`, dequantised. `progress` hears the share that is done.
///
/// # Errors
/// [`Error::NonFinite`] if a weight is NaN, and those of the operator.
pub fn estimate<O: TransitionOperator<Dist = DiagGaussian>>(
    chain: &InfusionChain<'_, O>,
    x: &Tensor,
    options: &EstimateOptions,
    noise: &mut dyn Noise,
    progress: &mut dyn FnMut(f64) -> Result<()>,
) -> Result<Estimate> {
    let n = x.dim(0)?;
    if n == 0 || options.chains == 0 || options.rows == 0 {
        let reason = "examples, chains and rows must be at least 1".into();
        return Err(Error::Config { field: "chains", reason });
    }
    let mut weights = vec![vec![LogWeights::default(); n]; options.output_variances.len()];
    let mut residual = 0.0;
    // A block holds either several examples with all their chains or some chains of one example.
    let examples = (options.rows / options.chains).clamp(1, n);
    let chains = options.chains.min(options.rows);
    for start in (0..n).step_by(examples) {
        let count = examples.min(n - start);
        let block = x.narrow(0, start, count)?;
        for first in (0..options.chains).step_by(chains) {
            let repeats = chains.min(options.chains - first);
            let rows = Tensor::cat(&vec![&block; repeats], 0)?;
            let found = chain.log_weights(&rows, &options.output_variances, noise)?;
            residual += found.residual.iter().sum::<f64>();
            for (weights, found) in weights.iter_mut().zip(&found.weights) {
                for (row, weight) in found.iter().enumerate() {
                    if weight.is_nan() {
                        return Err(Error::NonFinite { what: "log weight", step: first });
                    }
                    weights[start + row % count].push(*weight);
                }
            }
            let done = start * options.chains + count * (first + repeats);
            progress(done as f64 / (n * options.chains) as f64)?;
        }
    }
    Ok(Estimate { weights, residual: residual / (n * options.chains) as f64 })
}

/// Mean and population variance of every dimension of a set of rows, added batch by batch in f64.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    count: f64,
    sum: Vec<f64>,
    square: Vec<f64>,
}

impl Moments {
    /// Adds rows `(b, D)` of values in `[0, 1)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if D changes.
    pub fn push(&mut self, x: &Tensor) -> Result<()> {
        let (b, d) = x.dims2()?;
        if self.sum.is_empty() {
            (self.sum, self.square) = (vec![0.0; d], vec![0.0; d]);
        }
        if self.sum.len() != d {
            let expected = format!("(b, {})", self.sum.len());
            return Err(Error::Shape { what: "rows", expected, got: vec![b, d] });
        }
        for row in x.to_device(&candle_core::Device::Cpu)?.to_vec2::<f32>()? {
            for ((sum, square), value) in self.sum.iter_mut().zip(&mut self.square).zip(row) {
                let value = f64::from(value);
                *sum += value;
                *square += value * value;
            }
        }
        self.count += b as f64;
        Ok(())
    }

    /// Means, `D` of them.
    pub fn mean(&self) -> Vec<f64> {
        self.sum.iter().map(|s| s / self.count).collect()
    }

    /// Population variances, `D` of them.
    pub fn variance(&self) -> Vec<f64> {
        let pairs = self.sum.iter().zip(&self.square);
        pairs.map(|(s, q)| (q / self.count - (s / self.count).powi(2)).max(0.0)).collect()
    }
}

/// The best bound of a model whose chain carries no information, rate 0: the factorial Gaussian with
/// the training moments, its variances clipped to the range of the head, `[floor, scale + floor]`.
///
/// Returns the log density of every row of `x`, `(n, D)`, in nats. A trained rate-0 model must agree
/// within a few nats on the same rows.
///
/// # Errors
/// [`Error::Shape`] if D differs.
pub fn rate_zero_log_prob(
    training: &Moments,
    x: &Tensor,
    variance_floor: f64,
    variance_scale: f64,
) -> Result<Vec<f64>> {
    let (mean, variance) = (training.mean(), training.variance());
    let (n, d) = x.dims2()?;
    if d != mean.len() {
        let expected = format!("(n, {})", mean.len());
        return Err(Error::Shape { what: "rows", expected, got: vec![n, d] });
    }
    let rows = x.to_device(&candle_core::Device::Cpu)?.to_vec2::<f32>()?;
    let density = |row: Vec<f32>| {
        let terms = row.iter().zip(mean.iter().zip(&variance)).map(|(x, (m, v))| {
            let v = v.clamp(variance_floor, variance_floor + variance_scale);
            -0.5 * ((2.0 * std::f64::consts::PI * v).ln() + (f64::from(*x) - m).powi(2) / v)
        });
        terms.sum()
    };
    Ok(rows.into_iter().map(density).collect())
}
