//! One update of the autoencoder, and its batch norms for samples of low temperature.

use std::collections::BTreeMap;

use candle_core::Tensor;
use chains_core::{
    Error, Noise, Result,
    autograd::value_and_gradients,
    host,
    nn::SpectralNorms,
    optim::{Adamax, AdamaxConfig},
};

use crate::{
    config::NvaeTrainConfig,
    model::NvaeModel,
    nvae::Pass,
    objective::{LossParts, LossWeights, balance, group_sizes, kl_weight},
};

/// What training carries from update to update beside the model.
pub struct NvaeTrainState {
    /// The optimiser.
    pub adamax: Adamax,
    /// Updates done.
    pub update: usize,
    /// Updates in an epoch.
    pub per_epoch: usize,
    norms: SpectralNorms,
}

impl NvaeTrainState {
    /// Before the first update.
    pub fn new(config: &NvaeTrainConfig, per_epoch: usize) -> Self {
        let (adamax, norms) = (Adamax::new(config.adamax), SpectralNorms::new());
        Self { adamax, update: 0, per_epoch, norms }
    }

    /// The optimiser's moments and the vectors of the spectral norms by name; with the number of updates
    /// the whole state.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let mut tensors = self.adamax.tensors();
        tensors.extend(self.norms.tensors()?);
        Ok(tensors)
    }

    /// After `update` updates, with what [`NvaeTrainState::tensors`] gave. Without vectors of spectral
    /// norms, as older states are, they begin anew, with 40 iterations.
    ///
    /// # Errors
    /// [`Error::Config`] for tensors that do not fit the parameters of the model.
    pub fn restore(
        config: AdamaxConfig,
        [update, per_epoch]: [usize; 2],
        tensors: &BTreeMap<String, Tensor>,
        model: &NvaeModel,
    ) -> Result<Self> {
        let adamax = Adamax::restore(config, update as u64, tensors, model.store())?;
        Ok(Self { adamax, update, per_epoch, norms: SpectralNorms::restore(tensors)? })
    }
}

/// What an update gives, measured before its step; nats, means over the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct NvaeTerms {
    /// The loss, all terms.
    pub loss: f64,
    /// `-ln p(x|z)`.
    pub reconstruction: f64,
    /// `KL_l` of every group, in the order of generation.
    pub kl: Vec<f64>,
    /// Sum of spectral norms.
    pub spectral: f64,
    /// Sum of greatest gains.
    pub gains: f64,
    /// `beta`, the weight of the divergences.
    pub kl_weight: f64,
    /// The learning rate of the step.
    pub learning_rate: f64,
}

impl NvaeTerms {
    /// The negative bound, `reconstruction + sum_l KL_l`.
    pub fn negative_bound(&self) -> f64 {
        self.reconstruction + self.kl.iter().sum::<f64>()
    }
}

/// One update with images `x`, `(b, c, h, w)` in `[0, 1]`: the loss of [`LossParts`] with one draw of the
/// posterior, a step of Adamax, and the running moments.
///
/// # Errors
/// [`Error::NonFinite`] if the loss is no number (the model is then unchanged), [`Error::Shape`] for other
/// images.
pub fn update_vae(
    model: &NvaeModel,
    state: &mut NvaeTrainState,
    config: &NvaeTrainConfig,
    x: &Tensor,
    noise: &mut dyn Noise,
) -> Result<NvaeTerms> {
    let network = model.network();
    let total = config.epochs * state.per_epoch;
    let beta = kl_weight(state.update, total, [config.kl_constant, config.kl_anneal]);
    let latents = network.draw_latents(x.dims().first().copied().unwrap_or(0), noise)?;
    let (norms, mut kept) = (&mut state.norms, None);
    let (loss, grads) = value_and_gradients(|| {
        let mut pass = Pass::training();
        let inferred = network.infer(x, &latents, &mut pass)?;
        let parts = LossParts::new(&inferred, x, config.margin, &pass, norms, noise)?;
        let groups = if config.balance && beta < 1.0 {
            balance(&parts.mean_sizes()?, &group_sizes(network.config()))
        } else {
            vec![1.0; latents.len()]
        };
        let weights = LossWeights { kl: beta, groups, spectral: config.spectral.at(beta) };
        let loss = parts.total(&weights)?;
        kept = Some((told(&parts)?, pass.moments_only()));
        Ok(loss)
    })?;
    let mut terms = None;
    if let Some((told, pass)) = kept {
        terms = Some((read(&loss, &told)?, pass));
    }
    let Some((terms, pass)) = terms.filter(|(terms, _)| terms.loss.is_finite()) else {
        return Err(Error::NonFinite { what: "loss of the autoencoder", step: state.update });
    };
    let learning_rate = config.rate(state.update, state.per_epoch);
    state.adamax.step(model.store(), &grads, learning_rate)?;
    pass.follow(model.store())?;
    state.update += 1;
    Ok(NvaeTerms { kl_weight: beta, learning_rate, ..terms })
}

/// What an update tells beside its loss, still on the device: `[reconstruction, spectral, gains, KL_1, ..]`.
fn told(parts: &LossParts) -> Result<Vec<Tensor>> {
    let mut told = vec![
        parts.reconstruction.detach().mean_all()?,
        parts.spectral.detach(),
        parts.gains.detach(),
    ];
    let kl = parts.kl.detach().mean(1)?;
    for group in 0..kl.dims1()? {
        told.push(kl.get(group)?);
    }
    Ok(told)
}

/// Reads the loss and what [`told`] gave at once, so that a device is waited for once.
fn read(loss: &Tensor, told: &[Tensor]) -> Result<NvaeTerms> {
    let all: Vec<&Tensor> = std::iter::once(loss).chain(told).collect();
    let mut found = host::scalars(&all)?.into_iter();
    let mut next = || found.next().unwrap_or(f64::NAN);
    let [loss, reconstruction, spectral, gains] = [next(), next(), next(), next()];
    let (kl, kl_weight, learning_rate) = (found.collect(), 0.0, 0.0);
    Ok(NvaeTerms { loss, reconstruction, kl, spectral, gains, kl_weight, learning_rate })
}

/// Moves the running moments of the decoder to those of samples at a temperature: as many passes of
/// training mode as `rounds`, each with `b` samples (500 of 16 for samples in the published code, of 2 in
/// its script of scores).
///
/// Take [`NvaeModel::statistics`] before, to put them back.
///
/// # Errors
/// Of the tensor library.
pub fn readjust(
    model: &NvaeModel,
    temperature: f64,
    [rounds, b]: [usize; 2],
    noise: &mut dyn Noise,
) -> Result<()> {
    let network = model.fixed()?;
    for _ in 0..rounds {
        let mut pass = Pass::training();
        let latents = network.draw_latents(b, noise)?;
        network.generate(&latents, temperature, &mut pass)?;
        pass.follow(model.store())?;
    }
    Ok(())
}
