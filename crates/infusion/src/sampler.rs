//! Generation and inpainting with a trained operator.

use candle_core::Tensor;
use chains_core::{
    Noise, Result,
    chain::{self, Clamped, Generated, Generation, StepSchedule},
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
    noise: &mut dyn Noise,
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
    noise: &mut dyn Noise,
    visit: impl FnMut(usize, &Generated) -> Result<()>,
) -> Result<Generated> {
    let schedule = StepSchedule { len: options.steps };
    chain::generate(&Generation(operator(model, options)), start, &schedule, noise, visit)
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
    noise: &mut dyn Noise,
    visit: impl FnMut(usize, &Generated) -> Result<()>,
) -> Result<Generated> {
    let start = model.prior()?.sample(known.dim(0)?, noise)?;
    let kernel = Clamped {
        kernel: Generation(operator(model, options)),
        mask: mask.clone(),
        known: known.clone(),
    };
    let schedule = StepSchedule { len: options.steps };
    let mut last = chain::generate(&kernel, start, &schedule, noise, visit)?;
    last.mean = chain::keep(mask, known, &last.mean)?;
    Ok(last)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use chains_core::{
        Error, Seed,
        chain::{Step, TransitionOperator},
    };

    use super::*;
    use crate::config::{Architecture, ChainConfig, ModelConfig, NetworkConfig};

    /// T.
    const STEPS: usize = 2;

    /// A model with random weights whose steps are normalised differently.
    fn model() -> Result<InfusionModel> {
        let network = NetworkConfig::with([1, 2, 3], Architecture::Mlp { hidden: vec![8] }, STEPS);
        let config = ModelConfig { network, chain: ChainConfig::paper() };
        let model = InfusionModel::new(config, Seed::new(5), &Device::Cpu)?;
        let norms =
            model.store().trainable().into_iter().filter(|(name, _)| name.contains("norms"));
        for (index, (_, var)) in norms.enumerate() {
            var.set(&var.affine(1.0, 0.5 * index as f64)?.detach())?;
        }
        model.set_prior(&[0.5; 6], &[0.05; 6])?;
        Ok(model)
    }

    fn bits(x: &Tensor) -> Result<Vec<u32>> {
        Ok(x.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
    }

    fn both(step: &Generated) -> Result<[Vec<u32>; 2]> {
        Ok([bits(&step.position)?, bits(&step.mean)?])
    }

    /// Every step from `start`, the last one being what is returned.
    fn from(
        model: &InfusionModel,
        start: &Tensor,
        noise: &mut dyn Noise,
    ) -> Result<Vec<Generated>> {
        let (mut seen, options) = (Vec::new(), SampleOptions::new(3 * STEPS));
        let last = generate_from(model, start.clone(), &options, noise, |index, step| {
            assert_eq!(index, seen.len());
            seen.push(step.clone());
            Ok(())
        })?;
        assert_eq!(seen.len(), options.steps);
        assert_eq!(both(&last)?, both(&seen[options.steps - 1])?);
        Ok(seen)
    }

    #[test]
    fn chains_from_a_draw_of_the_prior_are_those_of_generate() -> Result<()> {
        let model = model()?;
        let mut noise = Seed::new(7).host_noise();
        let start = model.prior()?.sample(3, &mut noise)?;
        let seen = from(&model, &start, &mut noise)?;
        let (mut want, options) = (Vec::new(), SampleOptions::new(3 * STEPS));
        generate(&model, 3, &options, &mut Seed::new(7).host_noise(), |_, step| {
            want.push(both(step)?);
            Ok(())
        })?;
        assert_eq!(seen.iter().map(both).collect::<Result<Vec<_>>>()?, want);
        // The start counts: with the same noise another one leads elsewhere.
        let mut noise = Seed::new(7).host_noise();
        model.prior()?.sample(3, &mut noise)?;
        let other = from(&model, &(start + 0.5)?, &mut noise)?;
        assert_ne!(both(&other[0])?, want[0]);
        Ok(())
    }

    #[test]
    fn steps_beyond_the_last_keep_its_index() -> Result<()> {
        let model = model()?;
        let operator = model.operator(Statistics::Running);
        let mut z = Tensor::full(0.25_f32, (3, 6), &Device::Cpu)?;
        for (index, step) in from(&model, &z, &mut Seed::new(1).host_noise())?.iter().enumerate() {
            let mean = |index| bits(operator.conditional(&z, Step::at(index))?.mean());
            let last = STEPS - 1;
            assert_eq!(bits(&step.mean)?, mean(index.min(last))?, "step {index}");
            assert_ne!(mean(0)?, mean(last)?, "the steps do not differ");
            z = step.position.clone();
        }
        Ok(())
    }

    #[test]
    fn starts_that_do_not_fit_and_chains_without_a_step_are_errors() -> Result<()> {
        let model = model()?;
        let from = |d, steps| {
            let start = Tensor::zeros((3, d), DType::F32, &Device::Cpu)?;
            let mut noise = Seed::new(1).host_noise();
            generate_from(&model, start, &SampleOptions::new(steps), &mut noise, |_, _| Ok(()))
        };
        assert!(matches!(from(5, 1), Err(Error::Shape { .. })));
        assert!(matches!(from(6, 0), Err(Error::Config { field: "steps", .. })));
        Ok(())
    }
}
