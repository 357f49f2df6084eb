//! How far a chain at temperature 1 is from its own reverse (supplement, section 8).

use candle_core::Tensor;
use chains_core::{
    Error, Noise, Result,
    chain::{Step, TransitionOperator},
    density::{LogDensity, Sample},
    dist::Law,
    host,
};

/// How long to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReversibilityOptions {
    /// Steps whose states are ignored; 50 in the supplement.
    pub burn_in: usize,
    /// n: steps that are measured; 1000 in the supplement.
    pub steps: usize,
}

impl ReversibilityOptions {
    /// Supplement, section 8: 50 and 1000.
    pub const fn published() -> Self {
        Self { burn_in: 50, steps: 1000 }
    }
}

/// The forward and backward densities of many chains, averaged over their steps.
///
/// The published ratio is 3.6 %, "nats/nats"; the supplement does not say of which entropy. That of
/// real-valued states is differential: it may be negative or near zero, and the ratio then means
/// nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Reversibility {
    /// Of every chain `(1/n) sum_t [ln p(s_{t+1} | s_t) - ln p(s_t | s_{t+1})]`, nats a step.
    pub divergences: Vec<f64>,
    /// Of every chain `-(1/n) sum_t ln p(s_{t+1} | s_t)`, nats a step.
    pub entropies: Vec<f64>,
    /// D.
    pub dim: usize,
}

impl Reversibility {
    /// Mean divergence and its standard error over chains. It estimates a divergence, so it is not
    /// negative but for its error and a part of order 1/n.
    pub fn divergence(&self) -> (f64, f64) {
        mean_and_error(&self.divergences)
    }

    /// Mean entropy and its standard error over chains.
    pub fn entropy(&self) -> (f64, f64) {
        mean_and_error(&self.entropies)
    }

    /// `D / H`.
    pub fn ratio(&self) -> f64 {
        self.divergence().0 / self.entropy().0
    }

    /// `D / |H|`.
    pub fn absolute_ratio(&self) -> f64 {
        self.divergence().0 / self.entropy().0.abs()
    }

    /// `D / (H + D ln 256)`, dimensions times `ln 256`: the entropy of states in steps of 1/256.
    pub fn discretised_ratio(&self) -> f64 {
        self.divergence().0 / (self.entropy().0 + self.dim as f64 * 256_f64.ln())
    }
}

/// Runs the chains from `start` with transition 0 at temperature 1. The same operator gives both
/// densities; with stored moments, so that chains do not interact.
///
/// # Shapes
/// `start`: `(b, D)`, such as samples of the model.
///
/// # Errors
/// [`Error::Config`] if no step is measured or the operator has no density, [`Error::NonFinite`] if a
/// density is not a number.
pub fn reversibility<O>(
    operator: &O,
    start: &Tensor,
    options: ReversibilityOptions,
    noise: &mut dyn Noise,
) -> Result<Reversibility>
where
    O: TransitionOperator,
    O::Dist: Law,
{
    let (b, dim) = start.dims2()?;
    if options.steps == 0 {
        return Err(Error::Config { field: "steps", reason: "must be at least 1".into() });
    }
    let mut divergences = vec![0.0; b];
    let mut entropies = vec![0.0; b];
    let mut state = start.detach();
    let mut law = operator.conditional(&state, Step::at(0))?;
    for step in 0..options.burn_in + options.steps {
        let next = law.sample(1, noise)?.detach();
        let next_law = operator.conditional(&next, Step::at(0))?;
        if step >= options.burn_in {
            let forward = host::values(&law.log_prob(&next)?)?;
            let backward = host::values(&next_law.log_prob(&state)?)?;
            for (row, (forward, backward)) in forward.iter().zip(&backward).enumerate() {
                if !(forward.is_finite() && backward.is_finite()) {
                    return Err(Error::NonFinite { what: "transition density", step });
                }
                divergences[row] += (forward - backward) / options.steps as f64;
                entropies[row] -= forward / options.steps as f64;
            }
        }
        (state, law) = (next, next_law);
    }
    Ok(Reversibility { divergences, entropies, dim })
}

/// The mean of at least one value, and its standard error; no number for one value.
fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let scatter = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    (mean, (scatter / (n - 1.0) / n).sqrt())
}
