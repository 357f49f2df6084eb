//! What the paper compares with (section 5.3): an energy on pixels without an autoencoder.
//!
//! The adversarial baseline needs nothing of its own: [`contrastive_update`](crate::train::contrastive_update)
//! of a [`CriticEnergy`](crate::energy::CriticEnergy) against samples, then
//! [`update_generator`](crate::train::update_generator) of the decoder. The paper's critic has batch norm:
//! [`CriticEnergy::batch_normalised`](crate::energy::CriticEnergy::batch_normalised). The experiment
//! `ablation` runs one without.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use chains_core::{
    Error, Noise, ParamStore, Result,
    autograd::value_and_gradients,
    config::positive,
    density::Energy,
    host,
    mcmc::ReplayBuffer,
    optim::{Adam, AdamConfig, MomentClip, Regularisation},
};
use serde::{Deserialize, Serialize};

use crate::{
    energy::{EnergyNetwork, EnergyPair},
    train::Contrast,
};

/// The name of the buffer among the tensors of a state.
const BUFFER: &str = "buffer";

/// Chains on pixels: noise, a long clipped step down the energy, back into `[0, 1]`.
///
/// The noise does not match the step, so that the chains have no law that could be written down.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelChainConfig {
    /// Steps.
    pub steps: usize,
    /// What a gradient is multiplied by.
    pub step_size: f64,
    /// Bound of the entries of a gradient.
    pub clip: f64,
    /// Standard deviation of the noise before a step.
    pub noise_scale: f64,
}

impl PixelChainConfig {
    /// 60 steps of 10 (section 5.3); gradients within 0.01 and noise of 0.005 are common practice (Du and
    /// Mordatch 2019) and not in the paper.
    pub const fn published() -> Self {
        Self { steps: 60, step_size: 10.0, clip: 0.01, noise_scale: 0.005 }
    }
}

/// Training of an energy on pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelConfig {
    /// Adam's rate, constant; 1e-4.
    pub learning_rate: f64,
    /// Adam; 0, 0.999 and 1e-8 (common practice).
    pub adam: AdamConfig,
    /// The clip of the published code.
    pub regularisation: Regularisation,
    /// Weight of `mean(E(x+)^2 + E(x-)^2)`; 1 (common practice).
    pub magnitude: f64,
    /// Chains of an update.
    pub chains: PixelChainConfig,
    /// Steps of the chains that samples are made by; 150.
    pub test_steps: usize,
    /// Rows of the buffer; 10,000.
    pub capacity: usize,
    /// The probability that a chain restarts; 0.05.
    pub restart: f64,
}

impl PixelConfig {
    /// CIFAR-10 (section 5.3, appendix E); what each field's line calls common practice is not there.
    pub fn cifar10() -> Self {
        Self {
            learning_rate: 1e-4,
            adam: AdamConfig { beta1: 0.0, beta2: 0.999, eps: 1e-8 },
            regularisation: Regularisation {
                weight_decay: 0.0,
                clip: Some(MomentClip::published()),
            },
            magnitude: 1.0,
            chains: PixelChainConfig::published(),
            test_steps: 150,
            capacity: 10_000,
            restart: 0.05,
        }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        positive("learning_rate", self.learning_rate)?;
        self.adam.validate()?;
        positive("step_size", self.chains.step_size)?;
        positive("clip", self.chains.clip)?;
        for (field, value) in [
            ("weight_decay", self.regularisation.weight_decay),
            ("magnitude", self.magnitude),
            ("noise_scale", self.chains.noise_scale),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                let reason = format!("{value} is not zero or a positive number");
                return Err(Error::Config { field, reason });
            }
        }
        if self.capacity == 0 {
            return Err(Error::Config { field: "capacity", reason: "must be 1 or more".into() });
        }
        if !(0.0..=1.0).contains(&self.restart) {
            let reason = format!("{} is not from 0 to 1", self.restart);
            return Err(Error::Config { field: "restart", reason });
        }
        Ok(())
    }
}

/// Images at the end of chains from `start`, in `[0, 1]`, detached.
///
/// # Shapes
/// `start` and the result: `(b, ..event)`.
///
/// # Errors
/// [`Error::Config`] for a step or bound that is not positive; those of the network.
pub fn run_pixel_chains(
    energy: &impl Energy,
    config: &PixelChainConfig,
    start: &Tensor,
    noise: &mut dyn Noise,
) -> Result<Tensor> {
    positive("step_size", config.step_size)?;
    positive("clip", config.clip)?;
    let mut x = start.detach();
    for _ in 0..config.steps {
        let kicks = noise.normal(x.shape(), x.dtype(), x.device())?;
        x = (x + (kicks * config.noise_scale)?)?;
        let (_, grad) = energy.energy_and_grad(&x)?;
        let grad = grad.clamp(-config.clip, config.clip)?;
        x = (x - (grad * config.step_size)?)?.clamp(0.0, 1.0)?.detach();
    }
    Ok(x)
}

/// What the training carries beside the network.
pub struct PixelState {
    /// The optimiser.
    pub adam: Adam,
    /// Persistent chains.
    pub buffer: ReplayBuffer,
    /// Updates made.
    pub update: usize,
}

impl PixelState {
    /// Before the first update, the buffer full of uniform noise.
    ///
    /// # Errors
    /// As [`PixelState::from_images`].
    pub fn new(
        config: &PixelConfig,
        event: &[usize],
        noise: &mut dyn Noise,
        device: &Device,
    ) -> Result<Self> {
        Self::from_images(config, &uniform_images(config.capacity, event, noise, device)?)
    }

    /// Before the first update, the buffer full of these images, whatever the configured number of rows:
    /// the samples of an autoencoder, for the baseline whose chains begin there.
    ///
    /// # Shapes
    /// `images`: `(n, ..event)` in `[0, 1]`.
    ///
    /// # Errors
    /// [`Error::Config`] for a configuration out of range, [`Error::Shape`] without rows or pixels.
    pub fn from_images(config: &PixelConfig, images: &Tensor) -> Result<Self> {
        config.validate()?;
        let buffer = ReplayBuffer::from_tensor(images)?;
        Ok(Self { adam: Adam::new(config.adam), buffer, update: 0 })
    }

    /// Moments and chains by name; with the numbers of steps and updates the whole state.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let mut tensors = self.adam.tensors();
        tensors.push((BUFFER.into(), self.buffer.tensor()?));
        Ok(tensors)
    }

    /// Takes what [`PixelState::tensors`] gave, after `steps` of the optimiser and `update` updates.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Shape`] for tensors that do not fit.
    pub fn restore(
        config: &PixelConfig,
        (tensors, steps): (&BTreeMap<String, Tensor>, u64),
        update: usize,
        store: &ParamStore,
    ) -> Result<Self> {
        let Some(rows) = tensors.get(BUFFER) else {
            let reason = "the chains of the buffer are missing".into();
            return Err(Error::Config { field: BUFFER, reason });
        };
        let adam = Adam::restore(config.adam, steps, tensors, store)?;
        Ok(Self { adam, buffer: ReplayBuffer::from_tensor(rows)?, update })
    }
}

/// `n` images of uniform noise in `[0, 1)`, f32: where chains begin without an autoencoder.
///
/// # Errors
/// If the device cannot hold them.
pub fn uniform_images(
    n: usize,
    event: &[usize],
    noise: &mut dyn Noise,
    device: &Device,
) -> Result<Tensor> {
    noise.uniform(&[&[n], event].concat().into(), candle_core::DType::F32, device)
}

/// One update of an energy on pixels: chains from the buffer, `mean E(x+) - mean E(x-) + c mean(E(x+)^2 +
/// E(x-)^2)`, chains back into the buffer.
///
/// `fresh` makes restarted chains' images: [`uniform_images`] or, for the baseline that begins there,
/// samples of the autoencoder.
///
/// # Shapes
/// `x`: `(b, ..event)` in `[0, 1]`.
///
/// # Errors
/// [`Error::NonFinite`] if the loss is no number, before anything moves.
pub fn update_pixel_energy<N: EnergyNetwork>(
    model: &EnergyPair<N>,
    state: &mut PixelState,
    config: &PixelConfig,
    x: &Tensor,
    fresh: impl FnMut(usize, &mut dyn Noise) -> Result<Tensor>,
    noise: &mut dyn Noise,
) -> Result<Contrast> {
    let b = x.dims().first().copied().unwrap_or(0);
    let drawn = state.buffer.draw(b, config.restart, noise, fresh)?;
    let frozen = model.frozen().normalised()?;
    let ended = run_pixel_chains(&frozen, &config.chains, &drawn.positions, noise)?;
    let both = Tensor::cat(&[&x.detach(), &ended], 0)?;
    let (mut of_data, mut of_negatives) = (None, None);
    let (loss, grads) = value_and_gradients(|| {
        let energy = model.live().normalised()?.energy(&both)?;
        let (data, negatives) = (energy.narrow(0, 0, b)?, energy.narrow(0, b, b)?);
        let squares = (data.sqr()?.mean_all()? + negatives.sqr()?.mean_all()?)?;
        let (data, negatives) = (data.mean_all()?, negatives.mean_all()?);
        (of_data, of_negatives) = (Some(data.detach()), Some(negatives.detach()));
        let difference = (data - negatives)?;
        Ok((difference + (squares * config.magnitude)?)?)
    })?;
    let [loss, data, negatives] =
        host::scalars_or_zero([Some(&loss), of_data.as_ref(), of_negatives.as_ref()])?;
    let terms = Contrast { loss, data, negatives, spectral: 0.0 };
    if !terms.loss.is_finite() {
        return Err(Error::NonFinite { what: "energy loss", step: state.update });
    }
    let rate = config.learning_rate;
    state.adam.step_regularised(model.store(), &grads, rate, &config.regularisation)?;
    state.buffer.put_back(&drawn.indices, &ended)?;
    state.update += 1;
    Ok(terms)
}
