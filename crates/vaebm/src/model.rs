//! The autoencoder with its parameters, as it is trained, saved and loaded.

use std::{collections::BTreeSet, path::Path};

use candle_core::{DType, Device, Tensor};
use chains_core::{Error, Noise, ParamStore, Result, Seed, checkpoint};

use crate::{
    config::NvaeConfig,
    nvae::{Nvae, NvaeDecoder, Pass},
};

/// The method's name in checkpoints of an autoencoder.
pub const NVAE_METHOD: &str = "nvae";

/// A hierarchical autoencoder and its parameters.
pub struct NvaeModel {
    store: ParamStore,
    network: Nvae,
}

impl NvaeModel {
    /// A model with initial parameters from `seed`.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn new(config: &NvaeConfig, seed: Seed, device: &Device) -> Result<Self> {
        Self::of_type(config, seed, DType::F32, device)
    }

    /// As [`NvaeModel::new`], of another type of numbers: f64 for tests of formulas.
    ///
    /// # Errors
    /// As there.
    pub fn of_type(config: &NvaeConfig, seed: Seed, dtype: DType, device: &Device) -> Result<Self> {
        let store = ParamStore::new(seed, dtype, device);
        let network = Nvae::new(config, store.builder())?;
        Ok(Self { store, network })
    }

    /// The parameters and the running moments.
    pub fn store(&self) -> &ParamStore {
        &self.store
    }

    /// The network, whose parameters have gradients.
    pub fn network(&self) -> &Nvae {
        &self.network
    }

    /// The network without gradients of its parameters, its kernels as they are now: for chains, samples
    /// and estimates.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn fixed(&self) -> Result<Nvae> {
        Nvae::fixed(self.network.config(), self.store.frozen())
    }

    /// [`NvaeModel::fixed`] as a map of noise to images.
    ///
    /// # Errors
    /// [`chains_core::Error::Config`] unless pixels are Gaussian.
    pub fn decoder(&self) -> Result<NvaeDecoder> {
        NvaeDecoder::new(self.fixed()?)
    }

    /// Images in `[0, 1]`, `(n, c, h, w)`: of the law of the pixels, or its mean, from priors at a
    /// temperature.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn sample(
        &self,
        n: usize,
        temperature: f64,
        mean: bool,
        noise: &mut dyn Noise,
    ) -> Result<Tensor> {
        let network = self.fixed()?;
        let latents = network.draw_latents(n, noise)?;
        let pixels = network.generate(&latents, temperature, &mut Pass::evaluation())?.pixels;
        if mean { Ok(pixels.mean()?.clamp(0.0, 1.0)?) } else { pixels.sample(noise) }
    }

    /// A copy of the running moments by name.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn statistics(&self) -> Result<Vec<(String, Tensor)>> {
        let trained: BTreeSet<_> =
            self.store.trainable().into_iter().map(|(name, _)| name).collect();
        let running = self.store.tensors().into_iter().filter(|(name, _)| !trained.contains(name));
        running.map(|(name, tensor)| Ok((name, tensor.copy()?))).collect()
    }

    /// Puts running moments back that [`NvaeModel::statistics`] gave.
    ///
    /// # Errors
    /// [`Error::Config`] for a tensor that the model has not.
    pub fn set_statistics(&self, statistics: &[(String, Tensor)]) -> Result<()> {
        for (name, tensor) in statistics {
            let Some(var) = self.store.get(name) else {
                let reason = format!("no variable {name}");
                return Err(Error::Config { field: "statistics", reason });
            };
            var.set(tensor)?;
        }
        Ok(())
    }

    /// Writes a model directory.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        let (config, tensors) = (self.network.config(), self.store.tensors());
        checkpoint::save_model(dir, NVAE_METHOD, version, config, &tensors)
    }

    /// [`NvaeModel::save`] with trainable tensors rounded to f16, half the size. A number of the rounded
    /// model must be measured on the model loaded back.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save_half(&self, dir: &Path) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        let (config, tensors) = (self.network.config(), self.store.half_tensors()?);
        checkpoint::save_model(dir, NVAE_METHOD, version, config, &tensors)
    }

    /// Reads a model directory.
    ///
    /// # Errors
    /// [`chains_core::Error::Checkpoint`] that lists every missing, extra and misshapen tensor.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let config: NvaeConfig = checkpoint::read_config(dir, NVAE_METHOD)?;
        let model = Self::new(&config, Seed::new(0), device)?;
        model.store.load_strict(&dir.join(checkpoint::WEIGHTS_FILE))?;
        Ok(model)
    }
}
