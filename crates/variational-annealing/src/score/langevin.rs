//! Langevin chains along a score.

use candle_core::Tensor;
use chains_core::{
    Error, Noise, Result,
    chain::{Schedule as Steps, Step, chain},
    config::positive,
    density::Energy,
    mcmc::Langevin,
};
use serde::{Deserialize, Serialize};

use crate::anneal::Annealing;

/// A score as the gradient of minus an energy that nobody knows.
///
/// For kernels that ask for gradients only. The energy is not a number that could be had; where a kernel
/// looks whether it is finite it is zero.
#[derive(Clone, Debug)]
pub struct ScoreField<F>(
    /// `(b, ..)` -> the score of the same shape.
    pub F,
);

impl<F: Fn(&Tensor) -> Result<Tensor>> Energy for ScoreField<F> {
    fn energy(&self, _: &Tensor) -> Result<Tensor> {
        let reason = "a score field has none; choose a kernel that needs gradients only".into();
        Err(Error::Config { field: "energy", reason })
    }

    fn energy_and_grad(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let rows = x.dims().first().copied().unwrap_or(0);
        let energy = Tensor::zeros(rows, x.dtype(), x.device())?;
        Ok((energy, (self.0)(&x.detach())?.neg()?.detach()))
    }
}

/// A Langevin sampler.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LangevinConfig {
    /// `h`.
    pub step_size: f64,
    /// Steps.
    pub steps: usize,
    /// The inverse temperature over the steps.
    pub annealing: Annealing,
}

impl LangevinConfig {
    /// 1000 steps of 0.01 at `beta = 1`: a reconstruction, for figure 2.
    pub const fn figure_2() -> Self {
        Self { step_size: 0.01, steps: 1000, annealing: Annealing::none() }
    }

    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        positive("step_size", self.step_size)?;
        self.annealing.validate()
    }
}

struct Annealed {
    temperatures: Vec<f64>,
}

impl Steps for Annealed {
    fn at(&self, index: usize) -> Step {
        Step { index, temperature: self.temperatures.get(index).copied().unwrap_or(1.0) }
    }

    fn len(&self) -> Option<usize> {
        Some(self.temperatures.len())
    }
}

/// The end of chains `x <- x + h s(x) + sqrt(2 h / beta_t) N(0, I)`.
///
/// The score is not multiplied by `beta`; the noise is what a temperature changes. See [`euler_variance`]
/// for what the finite step does.
///
/// # Shapes
/// `start`, the result and `score(x)`: `(b, ..event)`.
///
/// # Errors
/// [`Error::Config`] for a configuration out of range; [`Error::NonFinite`] if a chain is lost; those of
/// the score.
pub fn langevin(
    score: impl Fn(&Tensor) -> Result<Tensor>,
    config: &LangevinConfig,
    start: &Tensor,
    noise: &mut dyn Noise,
) -> Result<Tensor> {
    config.validate()?;
    let beta = |t| config.annealing.beta(t, config.steps);
    let temperatures = (0..config.steps).map(|t| Ok(1.0 / beta(t)?)).collect::<Result<_>>()?;
    let kernel = Langevin::matched(ScoreField(score), (2.0 * config.step_size).sqrt())?;
    let mut last = start.detach();
    for draw in chain(&kernel, start.detach(), &Annealed { temperatures }, noise)? {
        let draw = draw?;
        if draw.info.non_finite_count()? > 0 {
            return Err(Error::NonFinite { what: "position of a chain", step: draw.index });
        }
        last = draw.state.position;
    }
    Ok(last)
}

/// The variance at which chains of step `h` settle on a normal of variance `v`:
/// `(v / beta) / (1 - h / (2 v))`.
///
/// # Errors
/// [`Error::Config`] unless all are positive and `h < 2 v`, without which there is no law.
pub fn euler_variance(v: f64, beta: f64, h: f64) -> Result<f64> {
    for (field, value) in [("variance", v), ("beta", beta), ("step_size", h)] {
        positive(field, value)?;
    }
    if h >= 2.0 * v {
        let reason = format!("{h} must be below {}", 2.0 * v);
        return Err(Error::Config { field: "step_size", reason });
    }
    Ok(v / beta / (1.0 - h / (2.0 * v)))
}
