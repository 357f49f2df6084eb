//! Lower bound and importance-sampling estimate of the log likelihood.

use candle_core::Tensor;
use chains_core::{
    Error, Noise, Result,
    chain::{LogMeanExp, PathBlock, PathBlocks, PathEstimate, TransitionOperator},
    dist::Law,
};

use crate::chain::{WalkbackChain, Weighting, isotropic_log_prob};

/// How much work an estimate is.
#[derive(Clone, Debug, PartialEq)]
pub struct EstimateOptions {
    /// k: paths for each example.
    pub chains: usize,
    /// Rows in one network call; memory depends on this, not on `chains`.
    pub rows: usize,
    /// The weights to compute on the same paths.
    pub variants: Vec<Weighting>,
}

impl EstimateOptions {
    /// Plain weights, `chains` paths, 1000 rows at a time.
    pub fn new(chains: usize) -> Self {
        Self { chains, rows: 1000, variants: vec![Weighting::Plain] }
    }
}

/// Runs `chains` heated paths from every example.
///
/// The result holds for every variant the log weights of every example: their mean is the lower
/// bound, the logarithm of their mean the importance-sampling estimate, except for
/// [`Weighting::Entropy`]; and the mean squared residual of the last mean, which is the isotropic
/// variance with the highest bound.
///
/// # Shapes
/// `x`: `(n, D)`, dequantised. `progress` hears the share that is done.
///
/// # Errors
/// [`Error::NonFinite`] if a weight is NaN, [`Error::Config`] for laws without a density, and those of
/// the operators.
pub fn estimate<O>(
    chain: &WalkbackChain<'_, O>,
    x: &Tensor,
    options: &EstimateOptions,
    noise: &mut dyn Noise,
    progress: &mut dyn FnMut(f64) -> Result<()>,
) -> Result<PathEstimate>
where
    O: TransitionOperator,
    O::Dist: Law,
{
    let blocks = PathBlocks { chains: options.chains, rows: options.rows };
    let variants = &options.variants;
    let mut log_weights = |rows: &Tensor| chain.log_weights(rows, variants, noise);
    blocks.estimate(x, variants.len(), &mut log_weights, progress)
}

/// Paths of a set of examples from which the bound and the importance-sampling estimate follow for any
/// isotropic variance of the last factor, without another run.
#[derive(Clone, Debug)]
pub struct IsotropicPaths {
    d: usize,
    /// By example, for each path the log weight without its last factor, and the mean squared
    /// residual.
    paths: Vec<Vec<[f64; 2]>>,
}

/// Points of the first search for a variance.
const GRID: usize = 61;

impl IsotropicPaths {
    /// Runs the paths of an estimate; two numbers are kept of each.
    ///
    /// # Errors
    /// As [`estimate`].
    pub fn run<O>(
        chain: &WalkbackChain<'_, O>,
        x: &Tensor,
        blocks: PathBlocks,
        noise: &mut dyn Noise,
        progress: &mut dyn FnMut(f64) -> Result<()>,
    ) -> Result<Self>
    where
        O: TransitionOperator,
        O::Dist: Law,
    {
        let (n, d) = x.dims2()?;
        let mut paths = vec![Vec::with_capacity(blocks.chains); n];
        let mut visit = |block: &PathBlock| {
            let found = chain.log_weights(&block.rows, &[Weighting::Isotropic(1.0)], noise)?;
            for (row, (w, r)) in found.weights[0].iter().zip(&found.residual).enumerate() {
                paths[block.example(row)].push([w - isotropic_log_prob(d, 1.0, *r), *r]);
            }
            Ok(())
        };
        blocks.run(x, &mut visit, progress)?;
        Ok(Self { d, paths })
    }

    /// The isotropic variance with the highest lower bound: the mean squared residual of a dimension.
    pub fn best_bound_variance(&self) -> f64 {
        let mean =
            |paths: &Vec<[f64; 2]>| paths.iter().map(|[_, r]| r).sum::<f64>() / paths.len() as f64;
        self.paths.iter().map(mean).sum::<f64>() / self.paths.len() as f64
    }

    /// The mean lower bound of the examples with that variance, nats.
    pub fn lower_bound(&self, variance: f64) -> f64 {
        self.mean(|paths| {
            let weights = paths.iter().map(|path| self.weight(*path, variance));
            weights.sum::<f64>() / paths.len() as f64
        })
    }

    /// The mean importance-sampling estimate of the examples with that variance, nats.
    pub fn importance_sampling(&self, variance: f64) -> f64 {
        self.mean(|paths| {
            let mut stream = LogMeanExp::default();
            paths.iter().for_each(|path| stream.push(self.weight(*path, variance)));
            stream.value()
        })
    }

    /// The isotropic variance with the highest importance-sampling estimate, by a search over four
    /// decades around the one of the bound; use examples that are not scored.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if no variance gives a number.
    pub fn best_sampling_variance(&self) -> Result<f64> {
        let centre = self.best_bound_variance().ln();
        let width = 100_f64.ln();
        let at = |u: f64| self.importance_sampling(u.exp());
        let step = 2.0 * width / (GRID - 1) as f64;
        let grid = (0..GRID).map(|i| centre - width + step * i as f64);
        let best = grid.max_by(|a, b| at(*a).total_cmp(&at(*b))).unwrap_or(centre);
        if !at(best).is_finite() {
            return Err(Error::NonFinite { what: "importance-sampling estimate", step: 0 });
        }
        // Golden section between the neighbours of the best point of the grid.
        let ratio = (5_f64.sqrt() - 1.0) / 2.0;
        let (mut low, mut high) = (best - step, best + step);
        for _ in 0..30 {
            let inner = [high - ratio * (high - low), low + ratio * (high - low)];
            if at(inner[0]) >= at(inner[1]) { high = inner[1] } else { low = inner[0] }
        }
        Ok(f64::midpoint(low, high).exp())
    }

    fn weight(&self, [rest, residual]: [f64; 2], variance: f64) -> f64 {
        rest + isotropic_log_prob(self.d, variance, residual)
    }

    fn mean(&self, f: impl Fn(&[[f64; 2]]) -> f64) -> f64 {
        self.paths.iter().map(|paths| f(paths)).sum::<f64>() / self.paths.len() as f64
    }
}
