//! The second stage: the energy by maximum likelihood, negatives by chains.

use std::collections::BTreeMap;

use candle_core::Tensor;
use chains_core::{
    Error, Noise, ParamStore, Result, Seed, autograd::value_and_gradients, host, nn::SpectralNorms,
    optim::Adam,
};

use crate::{
    config::{EnergyTrainConfig, Negatives},
    energy::{EnergyNetwork, EnergyPair},
    noise_decoder::{NoiseDecoder, NoiseShapes},
    potential::NoiseSpace,
    replay::NoiseBuffer,
    sampler::{Health, run_chains},
};

/// The name of the buffer among the tensors of a state.
const BUFFER: &str = "buffer";

/// What the second stage carries from update to update beside the network.
pub struct EnergyState {
    /// The optimiser.
    pub adam: Adam,
    /// The vectors of the spectral norms. The published code begins them anew after a resume; here they
    /// are part of the state.
    pub norms: SpectralNorms,
    /// The buffer, if the configuration has one.
    pub buffer: Option<NoiseBuffer>,
    /// Updates made.
    pub update: usize,
}

impl EnergyState {
    /// Before the first update.
    ///
    /// # Errors
    /// [`Error::Config`] for a configuration out of range.
    pub fn new(config: &EnergyTrainConfig, shapes: &NoiseShapes) -> Result<Self> {
        config.validate()?;
        let buffer = config.replay.map(|replay| NoiseBuffer::new(replay, shapes.clone()));
        let adam = Adam::new(config.adam);
        Ok(Self { adam, norms: SpectralNorms::new(), buffer: buffer.transpose()?, update: 0 })
    }

    /// Moments, chains and vectors of spectral norms by name; with the numbers of steps and updates the
    /// whole state.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let mut tensors = self.adam.tensors();
        if let Some(rows) = self.buffer.as_ref().map(NoiseBuffer::tensor).transpose()?.flatten() {
            tensors.push((BUFFER.into(), rows));
        }
        tensors.extend(self.norms.tensors()?);
        Ok(tensors)
    }

    /// Takes what [`EnergyState::tensors`] gave, after `steps` of the optimiser and `update` updates.
    /// Without vectors of spectral norms, as older states are, they begin anew.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Shape`] for tensors that do not fit, or without the chains of a buffer
    /// after the first update.
    pub fn restore(
        config: &EnergyTrainConfig,
        shapes: &NoiseShapes,
        (tensors, steps): (&BTreeMap<String, Tensor>, u64),
        update: usize,
        store: &ParamStore,
    ) -> Result<Self> {
        let mut state = Self::new(config, shapes)?;
        state.adam = Adam::restore(config.adam, steps, tensors, store)?;
        state.norms = SpectralNorms::restore(tensors)?;
        match (config.replay, tensors.get(BUFFER)) {
            (Some(replay), Some(rows)) => {
                state.buffer = Some(NoiseBuffer::restore(replay, shapes.clone(), rows)?);
            }
            (Some(_), None) if update > 0 => {
                let reason = "the chains of the buffer are missing".into();
                return Err(Error::Config { field: BUFFER, reason });
            }
            _ => {}
        }
        Ok(Self { update, ..state })
    }
}

/// The negative phase of an update.
#[derive(Clone, Copy, Debug)]
pub struct NegativeBatch<'a> {
    /// Images, `(n, ..event)`.
    pub x: &'a Tensor,
    /// Their weights, `(n,)`, summing to one; none means the mean.
    pub weights: Option<&'a Tensor>,
}

/// What an update sees, before its step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Contrast {
    /// Mean energy of data.
    pub data: f64,
    /// Mean energy of negatives; above that of data when they are told apart.
    pub negatives: f64,
    /// Sum of the spectral norms; 0 without that term.
    pub spectral: f64,
    /// `data - negatives + alpha_s spectral`.
    pub loss: f64,
}

/// What an update of the second stage tells.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EnergyTerms {
    /// Energies and loss.
    pub contrast: Contrast,
    /// Of the chains.
    pub health: Health,
    /// Chains that began in the buffer.
    pub replayed: usize,
}

/// One step of the energy on data and negatives, `mean E(x+) - mean E(x-) + alpha_s S` (equation 4 with
/// the spectral term of appendix E), by Adam with decay and clip.
///
/// Data and negatives pass the network as one batch with kernels normalised once; apart, if the rows of
/// a batch interact.
///
/// # Shapes
/// `x`: `(b, ..event)`.
///
/// # Errors
/// [`Error::NonFinite`] if the loss is no number, before anything moves.
pub fn contrastive_update<N: EnergyNetwork>(
    model: &EnergyPair<N>,
    state: &mut EnergyState,
    config: &EnergyTrainConfig,
    x: &Tensor,
    negatives: NegativeBatch<'_>,
) -> Result<Contrast> {
    let (b, n) = (x.dims()[0], negatives.x.dims()[0]);
    let halves = [x.detach(), negatives.x.detach()];
    // Read with the loss, so that a device is waited for once.
    let (mut of_data, mut of_negatives, mut spectral) = (None, None, None);
    let (loss, grads) = value_and_gradients(|| {
        let network = model.live().normalised()?;
        let [data, energy] = if network.rows_interact() {
            [network.energy(&halves[0])?, network.energy(&halves[1])?]
        } else {
            let energy = network.energy(&Tensor::cat(&halves, 0)?)?;
            [energy.narrow(0, 0, b)?, energy.narrow(0, b, n)?]
        };
        let data = data.mean_all()?;
        let negative = match negatives.weights {
            Some(weights) => energy.mul(&weights.detach())?.sum_all()?,
            None => energy.mean_all()?,
        };
        (of_data, of_negatives) = (Some(data.detach()), Some(negative.detach()));
        let mut loss = (data - negative)?;
        let kernels = match config.spectral_weight > 0.0 {
            true => network.kernels()?,
            false => Vec::new(),
        };
        if !kernels.is_empty() {
            // A stream of its own, so that a resume does not shift the noise of the chains.
            let mut noise = Seed::new(0).child("spectral norms").host_noise();
            let total = state.norms.total(&kernels, &mut noise)?;
            spectral = Some(total.detach());
            loss = (loss + (total * config.spectral_weight)?)?;
        }
        Ok(loss)
    })?;
    let all = [Some(&loss), of_data.as_ref(), of_negatives.as_ref(), spectral.as_ref()];
    let [loss, data, negatives, spectral] = host::scalars_or_zero(all)?;
    let terms = Contrast { loss, data, negatives, spectral };
    if !terms.loss.is_finite() {
        return Err(Error::NonFinite { what: "energy loss", step: state.update });
    }
    let rate = config.learning_rate;
    state.adam.step_regularised(model.store(), &grads, rate, &config.regularisation)?;
    state.update += 1;
    Ok(terms)
}

/// One update of the second stage in the order of the published code: noise, chains, negatives, step of
/// the energy, chains into the buffer.
///
/// The decoder must hold detached parameters. There are as many chains as examples in `x`.
///
/// # Shapes
/// `x`: `(b, ..event)` in the range of [`Decoded::image`](crate::Decoded::image).
///
/// # Errors
/// [`Error::NonFinite`] if a chain or the loss is no number, before anything moves.
pub fn update_energy<N: EnergyNetwork, D: NoiseDecoder>(
    model: &EnergyPair<N>,
    decoder: &D,
    state: &mut EnergyState,
    config: &EnergyTrainConfig,
    x: &Tensor,
    noise: &mut dyn Noise,
) -> Result<EnergyTerms> {
    let fresh = decoder.draw_noise(x.dims().first().copied().unwrap_or(0), noise)?;
    let (start, replayed) = match &state.buffer {
        Some(buffer) => {
            let begun = buffer.begin(fresh, state.update, noise)?;
            (begun.noise, begun.replayed)
        }
        None => (fresh, 0),
    };
    let space = NoiseSpace::new(decoder, model.frozen().normalised()?, config.potential);
    let ended = run_chains(&space, &config.chains, &start, noise, |_, _| Ok(()))?;
    if ended.health.non_finite > 0 {
        return Err(Error::NonFinite { what: "chain", step: state.update });
    }
    let negatives = match config.negatives {
        Negatives::Sample => ended.decoded.image.clone(),
        Negatives::Mean => ended.decoded.mean_image()?,
    };
    let batch = NegativeBatch { x: &negatives, weights: None };
    let contrast = contrastive_update(model, state, config, x, batch)?;
    if let Some(buffer) = &mut state.buffer {
        buffer.push(&ended.noise)?;
    }
    Ok(EnergyTerms { contrast, health: ended.health, replayed })
}
