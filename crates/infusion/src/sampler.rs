//! Generation and inpainting with a trained operator.

use candle_core::Tensor;
use chains_core::{
    HostNoise, Result,
    chain::{Clamped, Generation, GenerationState, Kernel, StepSchedule, chain},
    nn::Statistics,
};

use crate::model::{InfusionModel, Operator};

/// How to generate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleOptions {
    /// Number of steps; more than T keeps the last normalisation (the paper shows MNIST samples
    /// after 30 steps of a model trained with 15).
    pub steps: usize,
    /// Another variance floor than the network's, such as the published code's 1e-5.
    pub variance_floor: Option<f64>,
    /// Running statistics, unless the batch's are asked for.
    pub statistics: Statistics,
}

impl SampleOptions {
    /// `steps` steps with the model's own floor and running statistics.
    pub fn new(steps: usize) -> Self {
        Self { steps, variance_floor: None, statistics: Statistics::Running }
    }
}

/// One step of generated chains.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The drawn states, `(n, D)`: for likelihood-type scores.
    pub position: Tensor,
    /// The means they were drawn around, `(n, D)`: for pictures and Parzen windows.
    pub mean: Tensor,
}

fn operator<'a>(model: &'a InfusionModel, options: &SampleOptions) -> Operator<'a> {
    let operator = model.operator(options.statistics);
    match options.variance_floor {
        Some(floor) => operator.with_floor(floor),
        None => operator,
    }
}

/// `n` chains from the prior; `visit` sees every step, from 0, and the last one is returned.
///
/// # Errors
/// Of `visit`; [`chains_core::Error::Config`] if there is no step.
pub fn generate(
    model: &InfusionModel,
    n: usize,
    options: &SampleOptions,
    noise: &mut HostNoise,
    visit: impl FnMut(usize, &Generated) -> Result<()>,
) -> Result<Generated> {
    let start = model.prior()?.sample(n, noise)?;
    generate_from(model, start, options, noise, visit)
}

/// [`generate`] from given states `z_0`, such as a draw of [`InfusionModel::prior`] that is shown too.
///
/// # Shapes
/// `start`: `(n, D)`.
///
/// # Errors
/// As [`generate`]; [`chains_core::Error::Shape`] if `start` does not fit the model.
pub fn generate_from(
    model: &InfusionModel,
    start: Tensor,
    options: &SampleOptions,
    noise: &mut HostNoise,
    visit: impl FnMut(usize, &Generated) -> Result<()>,
) -> Result<Generated> {
    run(&Generation(operator(model, options)), start, options.steps, noise, visit)
}

/// Completes images whose elements are known where `mask` (u8) is not zero; the known ones are
/// copied bit for bit at the start and after every step, and in the returned mean.
///
/// # Shapes
/// `known`, `mask`: `(n, D)`.
///
/// # Errors
/// [`chains_core::Error::Shape`] if the shapes differ.
pub fn inpaint(
    model: &InfusionModel,
    known: &Tensor,
    mask: &Tensor,
    options: &SampleOptions,
    noise: &mut HostNoise,
    visit: impl FnMut(usize, &Generated) -> Result<()>,
) -> Result<Generated> {
    let start = model.prior()?.sample(known.dim(0)?, noise)?;
    let kernel = Clamped {
        kernel: Generation(operator(model, options)),
        mask: mask.clone(),
        known: known.clone(),
    };
    let mut last = run(&kernel, start, options.steps, noise, visit)?;
    last.mean = chains_core::chain::keep(mask, known, &last.mean)?;
    Ok(last)
}

fn run<K>(
    kernel: &K,
    start: Tensor,
    steps: usize,
    noise: &mut HostNoise,
    mut visit: impl FnMut(usize, &Generated) -> Result<()>,
) -> Result<Generated>
where
    K: Kernel<
            State = GenerationState,
            Info = chains_core::chain::GenerationInfo<chains_core::dist::DiagGaussian>,
        >,
{
    let mut last = None;
    for draw in chain(kernel, start, &StepSchedule { len: steps }, noise)? {
        let draw = draw?;
        let generated =
            Generated { position: draw.state.position, mean: draw.info.conditional.mean().clone() };
        visit(draw.index, &generated)?;
        last = Some(generated);
    }
    last.ok_or_else(|| chains_core::Error::Config {
        field: "steps",
        reason: "must be at least 1".into(),
    })
}
