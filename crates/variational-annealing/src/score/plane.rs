//! A denoiser of points, to be trained on its own.

use candle_core::{Device, Tensor};
use chains_core::{
    Error, Noise, ParamStore, Result, Seed,
    autograd::value_and_gradients,
    host,
    nn::BatchNormMoments,
    optim::{Adam, AdamConfig},
};

use super::{dae_score, residual_score};
use crate::{
    config::DenoiserConfig, model::DENOISER, network::Denoiser, objective::denoising_loss,
};

/// A denoiser on data themselves, without batch norm, with its optimiser.
pub struct ScoreModel {
    store: ParamStore,
    live: Denoiser,
    frozen: Denoiser,
    adam: Adam,
    sigma: f64,
}

impl ScoreModel {
    /// A model with initial parameters from `seed`, of corruption `sigma`.
    ///
    /// # Errors
    /// [`Error::Config`] for a configuration out of range or with batch norm, by which rows interact.
    pub fn new(config: &DenoiserConfig, sigma: f64, seed: Seed, device: &Device) -> Result<Self> {
        chains_core::config::positive("sigma", sigma)?;
        if config.batch_norm {
            let reason = "a score of points needs a function of single points".into();
            return Err(Error::Config { field: "denoiser.batch_norm", reason });
        }
        let store = ParamStore::new(seed, candle_core::DType::F32, device);
        let live = Denoiser::new(config, store.builder().pp(DENOISER))?;
        let frozen = Denoiser::new(config, store.frozen().pp(DENOISER))?;
        Ok(Self { store, live, frozen, adam: Adam::new(AdamConfig::standard()), sigma })
    }

    /// All parameters.
    pub fn store(&self) -> &ParamStore {
        &self.store
    }

    /// One step on `mean (phi(x + sigma e) - x)^2`; the loss before it.
    ///
    /// # Shapes
    /// `x`: `(b, d)`.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if the loss is no number, before anything moves.
    pub fn update(&mut self, x: &Tensor, rate: f64, noise: &mut dyn Noise) -> Result<f64> {
        let draw = noise.normal(x.shape(), x.dtype(), x.device())?;
        let noisy = (x + (draw * self.sigma)?)?.detach();
        let (loss, grads) = value_and_gradients(|| {
            let denoised = self.live.forward(&noisy, &mut BatchNormMoments::Running)?;
            denoising_loss(&denoised, x)
        })?;
        let step = usize::try_from(self.adam.steps()).unwrap_or(usize::MAX);
        let loss = host::finite(&loss, "denoiser loss", step)?;
        self.adam.step(&self.store, &grads, rate)?;
        Ok(loss)
    }

    /// `phi(y)`, `(b, d)` -> `(b, d)`.
    ///
    /// # Errors
    /// [`Error::Shape`] for other points.
    pub fn denoise(&self, y: &Tensor) -> Result<Tensor> {
        self.frozen.forward(y, &mut BatchNormMoments::Running)
    }

    /// [`dae_score`] of this denoiser.
    ///
    /// # Errors
    /// As [`ScoreModel::denoise`].
    pub fn score(&self, y: &Tensor) -> Result<Tensor> {
        dae_score(y, &self.denoise(y)?, self.sigma)
    }

    /// [`residual_score`] of this denoiser.
    ///
    /// # Errors
    /// As [`ScoreModel::denoise`].
    pub fn residual(&self, y: &Tensor) -> Result<Tensor> {
        residual_score(y, |y| self.denoise(y))
    }
}
