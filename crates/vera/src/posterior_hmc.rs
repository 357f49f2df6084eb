//! The score by Hamiltonian Monte Carlo on the latent posterior (VERA-HMC).

use candle_core::Tensor;
use chains_core::{
    Noise, Result,
    chain::{Kernel, Step},
    density::{Energy, value_and_grad},
    mcmc::{Hmc, ProportionalRule},
    nn::BatchNormMoments,
};

use crate::{
    config::{HmcConfig, HmcGradient},
    entropy::ScoreEstimate,
    generator::{Drawn, Generator, GeneratorNetwork},
};

/// `U(z) = |z|^2 / 2 + |x - g(z)|^2 / (2 sigma^2)`, minus `ln q(z | x)` up to a constant.
pub struct PosteriorEnergy<'a, G> {
    /// The generator, frozen.
    pub generator: &'a Generator<G>,
    /// The samples, `(b, ..event)`.
    pub x: &'a Tensor,
    /// What its batch norms use: constants, so that chains do not interact.
    pub moments: BatchNormMoments,
    /// Which force moves chains.
    pub gradient: HmcGradient,
    /// `sigma^2`.
    pub variance: f64,
}

impl<G: GeneratorNetwork> Energy for PosteriorEnergy<'_, G> {
    fn energy(&self, z: &Tensor) -> Result<Tensor> {
        let mean = self.generator.network.mean(z, &mut self.moments.clone())?;
        let residual = (mean - self.x)?.flatten_from(1)?.sqr()?.sum(1)?;
        Ok(((residual * (0.5 / self.variance))? + (z.sqr()?.sum(1)? * 0.5)?)?)
    }

    fn energy_and_grad(&self, z: &Tensor) -> Result<(Tensor, Tensor)> {
        match self.gradient {
            HmcGradient::Exact => value_and_grad(z, |z| self.energy(z)),
            // The prior's force alone; the acceptance still sees the whole potential.
            HmcGradient::Reference => Ok((self.energy(z)?.detach(), z.detach())),
        }
    }
}

/// Minus the score by `samples` transitions behind `burn_in` ones, begun at the latent that gave the
/// sample, which is an exact draw of the posterior.
///
/// The step size follows the acceptance of all chains in each burn-in transition, `s <- s + rate
/// (acceptance - target) s`; what it ends at is returned, for the next call. Batch norms use `moments`
/// as constants.
///
/// # Errors
/// Of the network.
pub fn hmc_score<G: GeneratorNetwork>(
    generator: &Generator<G>,
    drawn: &Drawn,
    config: &HmcConfig,
    moments: BatchNormMoments,
    mut step_size: f64,
    noise: &mut dyn Noise,
) -> Result<(ScoreEstimate, f64)> {
    let x = drawn.x.detach();
    let variance = generator.sigma()?.powi(2);
    let energy = PosteriorEnergy {
        generator,
        x: &x,
        moments: moments.fixed(),
        gradient: config.gradient,
        variance,
    };
    let rule = ProportionalRule { rate: config.adaptation_rate, target: config.target_acceptance };
    let mut kernel = Hmc::new(&energy, config.leapfrog_steps, step_size)?;
    let mut state = kernel.init(drawn.latent.detach())?;
    for index in 0..config.burn_in {
        let (next, info) = kernel.step(&state, Step::at(index), noise)?;
        step_size = rule.next(step_size, info.acceptance()?);
        kernel = Hmc::new(&energy, config.leapfrog_steps, step_size)?;
        let sizes = next.step_size.ones_like()?.affine(step_size, 0.0)?;
        state = chains_core::mcmc::HmcState { step_size: sizes, ..next };
    }
    let mut sum = x.zeros_like()?;
    for index in 0..config.samples {
        state = kernel.step(&state, Step::at(config.burn_in + index), noise)?.0;
        let mean = generator.network.mean(&state.position, &mut energy.moments.clone())?;
        sum = (sum + mean.detach())?;
    }
    let share = 1.0 / config.samples as f64;
    let minus_score = ((&x - (sum * share)?)? * (1.0 / variance))?;
    let weights = Tensor::full(share as f32, (config.samples, x.dims()[0]), x.device())?;
    Ok((ScoreEstimate { minus_score, weights: weights.to_dtype(x.dtype())? }, step_size))
}
