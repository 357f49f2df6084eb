//! Langevin chains over all latent groups and pixels at once.

use candle_core::Tensor;
use chains_core::{
    Error, Noise, Result, Seed,
    chain::{StepSchedule, chain},
    config::positive,
    density::Energy,
    host,
    mcmc::Langevin,
};
use serde::{Deserialize, Serialize};

use crate::{
    noise_decoder::{Decoded, JointNoise, NoiseDecoder},
    potential::NoiseSpace,
};

/// Length and step of the chains.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// Steps, `K`; none decodes the noise as it is.
    pub steps: usize,
    /// `eta` of `e' = e - eta/2 grad U(e) + sqrt(eta) N(0, I)` (equation 2, Table 8).
    pub step_size: f64,
}

impl ChainConfig {
    /// Checks the step size.
    ///
    /// # Errors
    /// [`Error::Config`] unless it is positive and finite.
    pub fn validate(&self) -> Result<()> {
        positive("step_size", self.step_size)
    }
}

/// Whether chains did anything, and whether they went wild.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Mean energy of the images of the start.
    pub energy_start: f64,
    /// Mean energy of the images of the end; below the start once the energy has learnt anything.
    pub energy_end: f64,
    /// Root mean square of the sum of the gradient displacements, over all coordinates, divided by that
    /// of the noise, `sqrt(K eta)`. Far below one the chains are noise alone.
    pub drift_to_noise: f64,
    /// Root mean square of the latent noise at the end, near one for healthy chains.
    pub latent_rms: f64,
    /// Share of pixels that were clamped at the end.
    pub clamped_share: f64,
    /// Chains whose end is not finite.
    pub non_finite: usize,
}

/// The end of a batch of chains; all detached.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Where the chains are.
    pub noise: JointNoise,
    /// The decoder there.
    pub decoded: Decoded,
    /// Energy of the images there, `(b,)`.
    pub energy: Tensor,
    /// Diagnostics.
    pub health: Health,
}

/// Runs chains from `start`.
///
/// Groups and pixels move together by one gradient a step; nothing is clipped, accepted or clamped but
/// the image. `visit` sees the position after every step, counted from 1.
///
/// # Errors
/// [`Error::Shape`] if the noise does not fit, [`Error::Config`] for a step size that is not positive,
/// those of the networks and of `visit`.
pub fn run_chains<D: NoiseDecoder, E: Energy>(
    space: &NoiseSpace<D, E>,
    config: &ChainConfig,
    start: &JointNoise,
    noise: &mut dyn Noise,
    mut visit: impl FnMut(usize, &JointNoise) -> Result<()>,
) -> Result<Ended> {
    config.validate()?;
    start.check(space.shapes())?;
    let eta = config.step_size;
    let kernel = Langevin::new(space, 0.5 * eta, eta.sqrt())?;
    let mut position = start.flat()?;
    let energy_start = space.decode(start)?.1.mean_all()?.detach();
    let schedule = StepSchedule { len: config.steps };
    let mut drift: Option<Tensor> = None;
    for draw in chain(&kernel, position.clone(), &schedule, noise)? {
        let draw = draw?;
        position = draw.state.position;
        drift = Some(match drift {
            Some(sum) => (sum + &draw.info.grad)?,
            None => draw.info.grad,
        });
        visit(draw.index + 1, &JointNoise::from_flat(&position, space.shapes())?)?;
    }
    let noise = JointNoise::from_flat(&position, space.shapes())?;
    let (decoded, energy) = space.decode(&noise)?;
    let latents = position.narrow(1, 0, space.shapes().latent_width())?;
    // Read at once, so that a device is waited for once.
    let squares = |x: &Tensor| match x.elem_count() {
        0 => Ok::<_, Error>(None),
        _ => Ok(Some(x.sqr()?.mean_all()?.detach())),
    };
    let all = [
        Some(energy_start),
        Some(energy.mean_all()?.detach()),
        Some(finite_rows(&position, &energy)?),
        drift.as_ref().map(squares).transpose()?.flatten(),
        squares(&latents)?,
        decoded.beyond()?,
    ];
    let [energy_start, energy_end, finite, drift, latents, clamped_share] =
        host::scalars_or_zero(all.each_ref().map(Option::as_ref))?;
    let health = Health {
        energy_start,
        energy_end,
        drift_to_noise: match config.steps {
            0 => 0.0,
            steps => 0.5 * eta * drift.sqrt() / (steps as f64 * eta).sqrt(),
        },
        latent_rms: latents.sqrt(),
        clamped_share,
        non_finite: energy.elem_count() - finite as usize,
    };
    Ok(Ended { noise, decoded, energy, health })
}

/// Independent samples in batches: an iterator, so that memory is that of one batch.
///
/// Chains begin at fresh noise. Batch `i` draws from `seed.indexed(i)` alone, whatever came before.
pub struct SampleStream<'a, D, E> {
    space: &'a NoiseSpace<D, E>,
    config: ChainConfig,
    left: usize,
    batch: usize,
    seed: Seed,
    index: u64,
}

impl<'a, D: NoiseDecoder, E: Energy> SampleStream<'a, D, E> {
    /// `n` samples, `batch` at a time, the last batch shorter if need be.
    ///
    /// # Errors
    /// [`Error::Config`] for an empty batch or a step size that is not positive.
    pub fn new(
        space: &'a NoiseSpace<D, E>,
        config: ChainConfig,
        n: usize,
        batch: usize,
        seed: Seed,
    ) -> Result<Self> {
        config.validate()?;
        if batch == 0 {
            return Err(Error::Config { field: "batch", reason: "must be one or more".into() });
        }
        Ok(Self { space, config, left: n, batch, seed, index: 0 })
    }
}

impl<D: NoiseDecoder, E: Energy> Iterator for SampleStream<'_, D, E> {
    type Item = Result<Ended>;

    fn next(&mut self) -> Option<Self::Item> {
        let b = self.left.min(self.batch);
        if b == 0 {
            return None;
        }
        let mut noise = self.seed.indexed(self.index).host_noise();
        let drawn = self.space.decoder().draw_noise(b, &mut noise);
        let ended = drawn.and_then(|start| {
            run_chains(self.space, &self.config, &start, &mut noise, |_, _| Ok(()))
        });
        self.index += 1;
        // After an error the iterator ends.
        self.left = if ended.is_ok() { self.left - b } else { 0 };
        Some(ended)
    }
}

/// Rows in which a position and its energy are finite.
fn finite_rows(position: &Tensor, energy: &Tensor) -> Result<Tensor> {
    // Zero for a finite number, NaN for any other.
    let rows = ((position * 0.0)?.sum(1)? + (energy * 0.0)?)?.detach();
    Ok(rows.eq(0.0)?.to_dtype(rows.dtype())?.sum_all()?)
}
