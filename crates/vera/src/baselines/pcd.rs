//! Persistent contrastive divergence with Langevin chains, and joint energy models trained by it.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Error, Noise, ParamStore, Result,
    chain::{StepSchedule, chain},
    mcmc::{Langevin, ReplayBuffer},
    optim::AdamConfig,
    schedule::MultiStep,
};
use serde::{Deserialize, Serialize};

use super::shared::{
    EnergyLoss, EnergyPlayer, EnergyState, EnergyTerms, Optimisation, at_least_one, not_negative,
};
use crate::{
    network::{EnergyNetwork, EnergyOf},
    train::Labels,
};

/// Name of the replay buffer among the tensors of a state.
const BUFFER: &str = "buffer";

/// Persistent contrastive divergence: `x <- x + step_size grad f(x) + noise_scale N(0, I)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PcdConfig {
    /// Coefficient of the gradient in a step of the chains. The paper's equation 16 has half the
    /// square of the noise's; joint energy models 1 with noise of 0.01.
    pub step_size: f64,
    /// Coefficient of the noise.
    pub noise_scale: f64,
    /// Steps of a chain in an update.
    pub steps: usize,
    /// Positions of chains that are kept; 10,000.
    pub buffer: usize,
    /// With what probability a chain begins afresh; 0.05.
    pub restart_probability: f64,
    /// Where fresh chains begin, uniformly in every number; `[-1, 1]` in the published code, whatever
    /// the range of the data.
    pub start: [f64; 2],
    /// Standard deviation of the noise on data; 0.03 in joint energy models, else 0.
    pub data_noise: f64,
    /// Weights of the loss.
    pub loss: EnergyLoss,
    /// The energy's optimiser.
    pub optimisation: Optimisation,
}

impl PcdConfig {
    /// Matched coefficients, `step_size = noise_scale^2 / 2`, without penalty or classes.
    pub fn matched(noise_scale: f64, steps: usize, optimisation: Optimisation) -> Self {
        Self {
            step_size: 0.5 * noise_scale * noise_scale,
            noise_scale,
            steps,
            buffer: 10_000,
            restart_probability: 0.05,
            start: [-1.0, 1.0],
            data_noise: 0.0,
            loss: EnergyLoss::density(0.0),
            optimisation,
        }
    }

    /// Figure 1 and Table 10: 20 steps, rate 1e-3, batches of 200 (the published script's default).
    /// The noise was searched over; the values tried are not in the paper.
    pub fn toy(noise_scale: f64) -> Self {
        Self::matched(noise_scale, 20, Optimisation::constant(1e-3, 200))
    }

    /// Table 2, the best of the search: noise 0.1, 40 steps, rate 3e-6, no penalty, which harms here.
    pub fn nice() -> Self {
        Self::matched(0.1, 40, Optimisation::constant(3e-6, 128))
    }

    /// Joint energy models of images (Grathwohl et al. 2020): coefficients 1 and 0.01, 20 steps,
    /// Adam(0.9, 0.999) at 1e-4 with a warm-up of 1000 updates, times 0.3 at epochs 160 and 180 of
    /// `per_epoch` updates, batches of 64, noise of 0.03 on data.
    pub fn jem(per_epoch: usize) -> Self {
        let rate = MultiStep {
            value: 1e-4,
            warmup: 1000,
            milestones: vec![160 * per_epoch, 180 * per_epoch],
            factor: 0.3,
        };
        let optimisation = Optimisation { rate, adam: AdamConfig::standard(), batch_size: 64 };
        Self {
            step_size: 1.0,
            data_noise: 0.03,
            loss: EnergyLoss::classes(1.0, 0.0),
            ..Self::matched(0.01, 20, optimisation)
        }
    }

    /// Tables 6 and 8, "JEM": coefficients 1 and 0.01; `steps` are 20 for HEPMASS and CROP, 40 for
    /// HUMAN, 80 for MNIST. Weight of classes, rate and milestones as
    /// [`TrainConfig::tabular`](crate::TrainConfig::tabular) has them.
    pub fn tabular(steps: usize, class_weight: f64, rate: f64, milestones: Vec<usize>) -> Self {
        Self {
            step_size: 1.0,
            loss: EnergyLoss::classes(class_weight, 1.0),
            ..Self::matched(0.01, steps, Optimisation::tabular(rate, milestones))
        }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        chains_core::config::positive("step_size", self.step_size)?;
        not_negative("noise_scale", self.noise_scale)?;
        not_negative("data_noise", self.data_noise)?;
        at_least_one("buffer", self.buffer)?;
        if !(0.0..=1.0).contains(&self.restart_probability) {
            let reason = format!("{} is not from 0 to 1", self.restart_probability);
            return Err(Error::Config { field: "restart_probability", reason });
        }
        let [low, high] = self.start;
        if !(low < high && low.is_finite() && high.is_finite()) {
            let reason = format!("[{low}, {high}] must be finite and not empty");
            return Err(Error::Config { field: "start", reason });
        }
        self.loss.validate()?;
        self.optimisation.validate()
    }

    /// `n` fresh positions.
    fn fresh(
        &self,
        n: usize,
        event: &[usize],
        dtype: DType,
        device: &Device,
        noise: &mut dyn Noise,
    ) -> Result<Tensor> {
        let [low, high] = self.start;
        let shape = [&[n], event].concat();
        Ok(noise.uniform(&shape.into(), dtype, device)?.affine(high - low, low)?)
    }
}

/// What the training carries from update to update.
pub struct PcdState {
    /// The optimiser.
    pub energy: EnergyState,
    /// The persistent chains.
    pub buffer: ReplayBuffer,
}

impl PcdState {
    /// Before the first update, every chain at a fresh position, of the type and on the device of the
    /// variables of `store`.
    ///
    /// # Errors
    /// If the configuration is invalid or the device cannot hold the chains.
    pub fn new(
        config: &PcdConfig,
        event: &[usize],
        store: &ParamStore,
        noise: &mut dyn Noise,
    ) -> Result<Self> {
        config.validate()?;
        let dtype = store.trainable().first().map_or(DType::F32, |(_, var)| var.dtype());
        let rows = config.fresh(config.buffer, event, dtype, store.device(), noise)?;
        let energy = EnergyState::new(&config.optimisation);
        Ok(Self { energy, buffer: ReplayBuffer::from_tensor(&rows)? })
    }

    /// The optimiser's moments and the chains, and the optimiser's number of steps.
    ///
    /// # Errors
    /// If the device cannot hold a copy of the chains.
    pub fn tensors(&self) -> Result<(Vec<(String, Tensor)>, u64)> {
        let (mut tensors, steps) = self.energy.tensors();
        tensors.push((BUFFER.to_owned(), self.buffer.tensor()?));
        Ok((tensors, steps))
    }

    /// Takes what [`PcdState::tensors`] gave.
    ///
    /// # Errors
    /// [`Error::Config`] if there are no chains or moments do not fit the parameters of `store`.
    pub fn restore(
        config: &PcdConfig,
        (tensors, steps): (&BTreeMap<String, Tensor>, u64),
        iteration: usize,
        store: &ParamStore,
    ) -> Result<Self> {
        let Some(rows) = tensors.get(BUFFER) else {
            let reason = format!("there is no `{BUFFER}`");
            return Err(Error::Config { field: "state", reason });
        };
        let buffer = ReplayBuffer::from_tensor(rows)?;
        let from = (tensors, steps);
        let energy = EnergyState::restore(&config.optimisation, from, iteration, store)?;
        Ok(Self { energy, buffer })
    }
}

/// What an update gives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PcdTerms {
    /// Terms of the energy; its samples are the ends of the chains.
    pub energy: EnergyTerms,
    /// Share of the chains that began afresh.
    pub restarted: f64,
}

/// One update: as many chains as examples are drawn from the buffer, run, and are the samples of the
/// energy's loss; then they go back where they were drawn, of several for one place the last.
///
/// The chains see the network in evaluation; no gradient passes them.
///
/// # Shapes
/// `x`: `(b, ..event)`.
///
/// # Errors
/// [`Error::NonFinite`] if the loss is no number or beyond [`DIVERGED`](crate::DIVERGED): neither
/// parameters nor chains have moved. [`Error::Shape`] for another event than the buffer's.
pub fn pcd_update<E: EnergyNetwork>(
    player: EnergyPlayer<'_, E>,
    state: &mut PcdState,
    config: &PcdConfig,
    (x, labels): (&Tensor, Labels<'_>),
    noise: &mut dyn Noise,
) -> Result<PcdTerms> {
    let n = x.dims().first().copied().unwrap_or(0);
    let event = state.buffer.event().to_vec();
    let (dtype, device) = (x.dtype(), x.device());
    let drawn = state.buffer.draw(n, config.restart_probability, noise, |count, noise| {
        config.fresh(count, &event, dtype, device, noise)
    })?;
    let kernel = Langevin::new(EnergyOf(player.frozen), config.step_size, config.noise_scale)?;
    let mut ends = drawn.positions;
    let schedule = StepSchedule { len: config.steps };
    for draw in chain(&kernel, ends.clone(), &schedule, noise)? {
        ends = draw?.state.position;
    }
    let x = noisy(x, config.data_noise, noise)?;
    let (grads, energy) = match labels {
        Labels::Other(other, classes) => {
            let other = noisy(other, config.data_noise, noise)?;
            let batch = (&x, &ends, Labels::Other(&other, classes));
            config.loss.gradients(player, batch, state.energy.iteration, noise)?
        }
        _ => config.loss.gradients(player, (&x, &ends, labels), state.energy.iteration, noise)?,
    };
    state.energy.step(player.store, &grads, &config.optimisation)?;
    state.buffer.put_back(&drawn.indices, &ends)?;
    let restarted = drawn.restarted.iter().filter(|restarted| **restarted).count();
    Ok(PcdTerms { energy, restarted: restarted as f64 / n.max(1) as f64 })
}

fn noisy(x: &Tensor, deviation: f64, noise: &mut dyn Noise) -> Result<Tensor> {
    if deviation <= 0.0 {
        return Ok(x.clone());
    }
    Ok((x + (noise.normal(x.shape(), x.dtype(), x.device())? * deviation)?)?)
}
