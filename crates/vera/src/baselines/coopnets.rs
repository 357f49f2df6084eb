//! Cooperative networks: a generator begins chains of the energy and learns where they end.

use std::collections::BTreeMap;

use candle_core::Tensor;
use chains_core::{
    Noise, ParamStore, Result,
    autograd::value_and_gradients,
    chain::{StepSchedule, chain},
    config::positive,
    density::Energy,
    host,
    mcmc::Langevin,
    nn::BatchNormMoments,
    optim::{Adam, AdamConfig},
    schedule::MultiStep,
};
use serde::{Deserialize, Serialize};

use super::{
    meg::latents,
    shared::{EnergyLoss, EnergyTerms, at_least_one, named, share, under},
};
use crate::{
    config::HmcGradient,
    generator::GeneratorNetwork,
    network::{EnergyNetwork, EnergyOf},
    players::Players,
    posterior_hmc::PosteriorEnergy,
    train::{Labels, finite},
};

/// Cooperative networks (Xie et al. 2018) as in the comparison of Table 2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoopConfig {
    /// l, Langevin steps of the energy from a generated sample.
    pub steps: usize,
    /// delta: a step is `x + (delta^2 / 2) grad f(x) + delta N(0, I)`.
    pub noise_scale: f64,
    /// Langevin steps of the latent towards where the chain ended; 0 in the code of the method, 10 the
    /// reading of the paper.
    pub latent_steps: usize,
    /// As `noise_scale`, of the latent; 0.1.
    pub latent_noise_scale: f64,
    /// Standard deviation of the generator's reconstruction; 0.3.
    pub deviation: f64,
    /// Weights of the energy's loss.
    pub loss: EnergyLoss,
    /// The rate of the energy's optimiser.
    pub energy_rate: MultiStep,
    /// The rate of the generator's.
    pub generator_rate: MultiStep,
    /// Constants of both optimisers.
    pub adam: AdamConfig,
    /// Examples of an update.
    pub batch_size: usize,
}

impl CoopConfig {
    /// Table 2: 10 steps with delta 0.1, rates 3e-6 and 3e-4, batches of 128. Not in the paper:
    /// Adam(0, 0.9) as everywhere else in it, no penalty, no latent steps.
    pub const fn nice() -> Self {
        Self {
            steps: 10,
            noise_scale: 0.1,
            latent_steps: 0,
            latent_noise_scale: 0.1,
            deviation: 0.3,
            loss: EnergyLoss::density(0.0),
            energy_rate: MultiStep::constant(3e-6),
            generator_rate: MultiStep::constant(3e-4),
            adam: AdamConfig { beta1: 0.0, beta2: 0.9, eps: 1e-8 },
            batch_size: 128,
        }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`chains_core::Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        positive("noise_scale", self.noise_scale)?;
        positive("latent_noise_scale", self.latent_noise_scale)?;
        positive("deviation", self.deviation)?;
        self.loss.validate()?;
        self.energy_rate.validate()?;
        self.generator_rate.validate()?;
        self.adam.validate()?;
        // A batch norm of one example knows nothing.
        at_least_one("batch_size", self.batch_size.saturating_sub(1))
    }
}

/// What the training carries from update to update.
pub struct CoopState {
    /// The optimiser of the energy.
    pub energy: Adam,
    /// The optimiser of the generator.
    pub generator: Adam,
    /// Updates done.
    pub iteration: usize,
}

impl CoopState {
    /// Before the first update.
    pub fn new(config: &CoopConfig) -> Self {
        let [energy, generator] = [(); 2].map(|()| Adam::new(config.adam));
        Self { energy, generator, iteration: 0 }
    }

    /// Moments of both optimisers, and their numbers of steps.
    pub fn tensors(&self) -> (Vec<(String, Tensor)>, [u64; 2]) {
        let mut tensors = named("energy", &self.energy);
        tensors.extend(named("generator", &self.generator));
        (tensors, [self.energy.steps(), self.generator.steps()])
    }

    /// Takes what [`CoopState::tensors`] gave.
    ///
    /// # Errors
    /// [`chains_core::Error::Config`] for moments that do not fit the parameters of `store`.
    pub fn restore(
        config: &CoopConfig,
        (tensors, steps): (&BTreeMap<String, Tensor>, [u64; 2]),
        iteration: usize,
        store: &ParamStore,
    ) -> Result<Self> {
        let one = |who, steps| Adam::restore(config.adam, steps, &under(who, tensors), store);
        Ok(Self {
            energy: one("energy", steps[0])?,
            generator: one("generator", steps[1])?,
            iteration,
        })
    }
}

/// What an update gives, measured before its steps; means over examples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CoopTerms {
    /// Terms of the energy; its samples are the ends of the chains.
    pub energy: EnergyTerms,
    /// The generator's loss, `|x - g(z)|^2 / (2 deviation^2)`, summed over an example.
    pub reconstruction: f64,
}

/// One update: `g(z)` without noise begins Langevin chains of the energy, the energy learns from where
/// they end, and the generator to map `z` there.
///
/// The chains see the energy in evaluation. With latent steps `z` first moves along
/// `-|z|^2 / 2 - |x - g(z)|^2 / (2 deviation^2)`, the batch norms at the moments of the sampling pass.
///
/// # Shapes
/// `x`: `(b, ..event)`, `b > 1`.
///
/// # Errors
/// [`chains_core::Error::NonFinite`] if a loss is no number or beyond
/// [`DIVERGED`](crate::DIVERGED), and nothing has moved.
pub fn coop_update<E: EnergyNetwork, G: GeneratorNetwork>(
    players: &Players<E, G>,
    state: &mut CoopState,
    config: &CoopConfig,
    (x, labels): (&Tensor, Labels<'_>),
    noise: &mut dyn Noise,
) -> Result<CoopTerms> {
    let b = x.dims().first().copied().unwrap_or(0);
    let generator = players.generator();
    let mut sampled = BatchNormMoments::batch();
    let z = latents(generator, b, noise)?;
    let begun = generator.network.mean(&z, &mut sampled)?.detach();
    let energy = EnergyOf(players.energy());
    let ends = langevin(energy, begun, (config.noise_scale, config.steps), noise)?;
    let posterior = PosteriorEnergy {
        generator,
        x: &ends,
        moments: sampled.fixed(),
        gradient: HmcGradient::Exact,
        variance: config.deviation * config.deviation,
    };
    let steps = (config.latent_noise_scale, config.latent_steps);
    let z = langevin(&posterior, z, steps, noise)?;
    let iteration = state.iteration;
    let (energy_grads, energy) =
        config.loss.gradients(players.into(), (x, &ends, labels), iteration, noise)?;
    let mut moments = BatchNormMoments::batch();
    let (loss, grads) = value_and_gradients(|| {
        let mean = players.live_generator().network.mean(&z, &mut moments)?;
        let square = (mean - &ends)?.sqr()?.sum_all()?;
        Ok((square * (0.5 * share(&ends) / posterior.variance))?)
    })?;
    let reconstruction = host::scalar(&loss)?;
    finite(reconstruction, "generator loss", iteration)?;
    state.energy.step(players.store(), &energy_grads, config.energy_rate.at(iteration))?;
    state.generator.step(players.store(), &grads, config.generator_rate.at(iteration))?;
    players.follow(&moments)?;
    state.iteration += 1;
    Ok(CoopTerms { energy, reconstruction })
}

/// Where chains of matched Langevin steps end.
fn langevin(
    energy: impl Energy,
    begun: Tensor,
    (noise_scale, steps): (f64, usize),
    noise: &mut dyn Noise,
) -> Result<Tensor> {
    let kernel = Langevin::matched(energy, noise_scale)?;
    let mut end = begun.clone();
    for draw in chain(&kernel, begun, &StepSchedule { len: steps }, noise)? {
        end = draw?.state.position;
    }
    Ok(end)
}
