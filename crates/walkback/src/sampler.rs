//! Heating, cooling and inpainting with a trained operator.

use candle_core::Tensor;
use chains_core::{
    Noise, Result,
    chain::{self, Clamped, Generated, Generation},
};

use crate::{config::StartConfig, model::WalkbackModel, network::Statistics, start::Start};

/// How to generate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleOptions {
    /// N: cooling steps. 0 with some `extra` ones stays at temperature 1 throughout.
    pub steps: usize,
    /// N_ex: further steps at temperature 1 with the normalisation of step 1.
    pub extra: usize,
    /// Which moments normalise.
    pub statistics: Statistics,
    /// Where chains start.
    pub start: StartConfig,
}

impl SampleOptions {
    /// As the model was trained: K steps and its further ones, from its start. Without densities the
    /// batch's own moments (all chains are at the same step, as in the published code), else those
    /// stored for cooling.
    pub fn of(model: &WalkbackModel) -> Self {
        let config = model.config();
        let statistics =
            if config.operator.has_density() { Statistics::Cooling } else { Statistics::Batch };
        let (steps, extra) = (config.network.steps, config.chain.extra_steps);
        Self { steps, extra, statistics, start: config.chain.start }
    }

    /// `steps` steps at temperature 1 and nothing else.
    pub fn at_rest(model: &WalkbackModel, steps: usize) -> Self {
        Self { steps: 0, extra: steps, ..Self::of(model) }
    }
}

/// `n` chains from the start; `visit` sees every step, from 0, and the last one is returned. Memory
/// does not grow with the number of steps.
///
/// # Errors
/// Of `visit`; [`chains_core::Error::Config`] if there is no step.
pub fn generate(
    model: &WalkbackModel,
    n: usize,
    options: &SampleOptions,
    noise: &mut dyn Noise,
    visit: impl FnMut(usize, &Generated) -> Result<()>,
) -> Result<Generated> {
    let start = model.start_of(options.start)?.sample(n, noise)?;
    generate_from(model, start, options, noise, visit)
}

/// [`generate`] from given states, such as a draw of [`WalkbackModel::start`] that is shown too, or
/// the ends of other chains.
///
/// # Shapes
/// `start`: `(n, D)`.
///
/// # Errors
/// As [`generate`]; [`chains_core::Error::Shape`] if `start` does not fit the model.
pub fn generate_from(
    model: &WalkbackModel,
    start: Tensor,
    options: &SampleOptions,
    noise: &mut dyn Noise,
    visit: impl FnMut(usize, &Generated) -> Result<()>,
) -> Result<Generated> {
    let kernel = Generation(model.operator(options.statistics));
    let schedule = model.cooling(options.steps, options.extra);
    chain::generate(&kernel, start, &schedule, noise, visit)
}

/// The walk away from the rows of `x`: K heated steps, which `visit` sees from 0.
///
/// # Shapes
/// `x`: `(n, D)`.
///
/// # Errors
/// As [`generate_from`].
pub fn heat(
    model: &WalkbackModel,
    x: &Tensor,
    statistics: Statistics,
    noise: &mut dyn Noise,
    visit: impl FnMut(usize, &Generated) -> Result<()>,
) -> Result<Generated> {
    let kernel = Generation(model.operator(statistics));
    chain::generate(&kernel, x.clone(), &model.heating(0), noise, visit)
}

/// Completes images whose elements are known where `mask` (u8) is not zero; the known ones are
/// copied bit for bit at the start and after every step, and in the returned mean.
///
/// The published script for faces cools; the one for MNIST stays at temperature 1 and starts unknown
/// elements as fair bits: [`SampleOptions::at_rest`] with
/// [`StartConfig::Bernoulli`](crate::config::StartConfig::Bernoulli).
///
/// # Shapes
/// `known`, `mask`: `(n, D)`; for the halves of an image see [`chains_core::chain::half_mask`].
///
/// # Errors
/// [`chains_core::Error::Shape`] if the shapes differ.
pub fn inpaint(
    model: &WalkbackModel,
    known: &Tensor,
    mask: &Tensor,
    options: &SampleOptions,
    noise: &mut dyn Noise,
    visit: impl FnMut(usize, &Generated) -> Result<()>,
) -> Result<Generated> {
    let start: Start = model.start_of(options.start)?;
    let start = start.sample(known.dim(0)?, noise)?;
    let kernel = Clamped {
        kernel: Generation(model.operator(options.statistics)),
        mask: mask.clone(),
        known: known.clone(),
    };
    let schedule = model.cooling(options.steps, options.extra);
    let mut last = chain::generate(&kernel, start, &schedule, noise, visit)?;
    last.mean = chain::keep(mask, known, &last.mean)?;
    Ok(last)
}
