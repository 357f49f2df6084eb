//! Likelihood estimates of many examples with many chains, in blocks of rows.

use candle_core::Tensor;

use super::LogWeights;
use crate::error::{Error, Result};

/// The log weights of one chain for each row of a block.
#[derive(Clone, Debug)]
pub struct PathWeights {
    /// For every output variance, the log weight of every row, nats.
    pub weights: Vec<Vec<f64>>,
    /// Mean squared residual of the last mean over dimensions, for every row.
    pub residual: Vec<f64>,
}

/// The log weights of all chains of a set of examples.
#[derive(Clone, Debug)]
pub struct PathEstimate {
    /// For every output variance, the log weights of every example.
    pub weights: Vec<Vec<LogWeights>>,
    /// Mean squared residual of the last mean over chains, examples and dimensions: the isotropic
    /// output variance with the highest lower bound.
    pub residual: f64,
}

/// How the work of an estimate is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathBlocks {
    /// Chains for each example.
    pub chains: usize,
    /// Rows in one call; memory depends on this, not on `chains`.
    pub rows: usize,
}

/// Rows that are walked together: some examples, each as often as the others.
#[derive(Clone, Debug)]
pub struct PathBlock {
    /// `(rows, D)`.
    pub rows: Tensor,
    first: usize,
    examples: usize,
}

impl PathBlock {
    /// The number of the example in a row.
    pub fn example(&self, row: usize) -> usize {
        self.first + row % self.examples
    }
}

impl PathBlocks {
    /// Shows blocks in which every row of `x` occurs `chains` times in all. `progress` hears the share
    /// that is done.
    ///
    /// # Errors
    /// [`Error::Config`] if there is nothing to do, and those of the closures.
    pub fn run(
        self,
        x: &Tensor,
        visit: &mut dyn FnMut(&PathBlock) -> Result<()>,
        progress: &mut dyn FnMut(f64) -> Result<()>,
    ) -> Result<()> {
        let n = x.dim(0)?;
        if n == 0 || self.chains == 0 || self.rows == 0 {
            let reason = "examples, chains and rows must be at least 1".into();
            return Err(Error::Config { field: "chains", reason });
        }
        // A block holds either several examples with all their chains or some chains of one example.
        let examples = (self.rows / self.chains).clamp(1, n);
        let chains = self.chains.min(self.rows);
        for start in (0..n).step_by(examples) {
            let count = examples.min(n - start);
            let block = x.narrow(0, start, count)?;
            for first in (0..self.chains).step_by(chains) {
                let repeats = chains.min(self.chains - first);
                let rows = Tensor::cat(&vec![&block; repeats], 0)?;
                visit(&PathBlock { rows, first: start, examples: count })?;
                let done = start * self.chains + count * (first + repeats);
                progress(done as f64 / (n * self.chains) as f64)?;
            }
        }
        Ok(())
    }

    /// Runs `log_weights` on blocks of rows, every example `chains` times, and gathers the results.
    ///
    /// `variants` is how many weights a row has. `progress` hears the share that is done.
    ///
    /// # Shapes
    /// `x`: `(n, D)`; `log_weights` sees `(rows, D)`.
    ///
    /// # Errors
    /// [`Error::Config`] if there is nothing to do, [`Error::NonFinite`] if a weight is NaN, and
    /// those of the closures.
    pub fn estimate(
        self,
        x: &Tensor,
        variants: usize,
        log_weights: &mut dyn FnMut(&Tensor) -> Result<PathWeights>,
        progress: &mut dyn FnMut(f64) -> Result<()>,
    ) -> Result<PathEstimate> {
        let n = x.dim(0)?;
        let mut weights = vec![vec![LogWeights::default(); n]; variants];
        let mut residual = 0.0;
        let mut visit = |block: &PathBlock| {
            let found = log_weights(&block.rows)?;
            residual += found.residual.iter().sum::<f64>();
            for (weights, found) in weights.iter_mut().zip(&found.weights) {
                for (row, weight) in found.iter().enumerate() {
                    let weights = &mut weights[block.example(row)];
                    if weight.is_nan() {
                        let step = usize::try_from(weights.chains()).unwrap_or(usize::MAX);
                        return Err(Error::NonFinite { what: "log weight", step });
                    }
                    weights.push(*weight);
                }
            }
            Ok(())
        };
        self.run(x, &mut visit, progress)?;
        Ok(PathEstimate { weights, residual: residual / (n * self.chains) as f64 })
    }
}
