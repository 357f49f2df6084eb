//! The model: three networks in one store, as they are trained, saved and loaded.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use chains_core::{Noise, ParamStore, Result, Seed, checkpoint, nn::BatchNormMoments};

use crate::{
    config::GanConfig,
    network::{Denoiser, Discriminator, Generator, Standardiser},
};

/// The method's name in checkpoints.
pub const METHOD: &str = "variational-annealing";
/// Name of the critic in the store.
pub const DISCRIMINATOR: &str = "discriminator";
/// Name of the generator in the store.
pub const GENERATOR: &str = "generator";
/// Name of the denoiser in the store.
pub const DENOISER: &str = "denoiser";
/// Name of the moving moments of features in the store, of critics without batch norm.
pub const FEATURES: &str = "features";

/// The networks on one view of a store.
#[derive(Clone, Debug)]
pub struct Networks {
    /// The critic.
    pub discriminator: Discriminator,
    /// The generator.
    pub generator: Generator,
    /// The denoiser of features.
    pub denoiser: Denoiser,
    /// What features pass before the denoiser, if the critic has no batch norm.
    pub standardiser: Option<Standardiser>,
}

impl Networks {
    fn new(config: &GanConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let standardiser = match config.discriminator.batch_norm {
            true => None,
            false => Some(Standardiser::new(config.discriminator.feature()?, vb.pp(FEATURES))?),
        };
        Ok(Self {
            discriminator: Discriminator::new(&config.discriminator, vb.pp(DISCRIMINATOR))?,
            generator: Generator::new(&config.generator, vb.pp(GENERATOR))?,
            denoiser: Denoiser::new(&config.denoiser, vb.pp(DENOISER))?,
            standardiser,
        })
    }

    /// Features as the denoiser sees them, `(b, F)` -> `(b, F)`.
    ///
    /// # Errors
    /// [`chains_core::Error::Shape`] for other features.
    pub fn framed(&self, features: &Tensor) -> Result<Tensor> {
        match &self.standardiser {
            Some(standardiser) => standardiser.forward(features),
            None => Ok(features.clone()),
        }
    }
}

/// Critic, generator and denoiser.
pub struct GanModel {
    config: GanConfig,
    store: ParamStore,
    live: Networks,
    frozen: Networks,
}

impl GanModel {
    /// A model with initial parameters from `seed`.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn new(config: GanConfig, seed: Seed, device: &Device) -> Result<Self> {
        Self::of_type(config, seed, DType::F32, device)
    }

    /// As [`GanModel::new`], of another type of numbers: f64 for tests of formulas.
    ///
    /// # Errors
    /// As there.
    pub fn of_type(config: GanConfig, seed: Seed, dtype: DType, device: &Device) -> Result<Self> {
        config.validate()?;
        let store = ParamStore::new(seed, dtype, device);
        let live = Networks::new(&config, &store.builder())?;
        let frozen = Networks::new(&config, &store.frozen())?;
        Ok(Self { config, store, live, frozen })
    }

    /// Reads a model directory.
    ///
    /// # Errors
    /// [`chains_core::Error::Checkpoint`] naming the file and everything that does not fit.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let config: GanConfig = checkpoint::read_config(dir, METHOD)?;
        let model = Self::new(config, Seed::new(0), device)?;
        model.store.load_strict(&dir.join("model.safetensors"))?;
        Ok(model)
    }

    /// Writes a model directory: `config.json` and `model.safetensors`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        checkpoint::save_model(dir, METHOD, version, &self.config, &self.store.tensors())
    }

    /// The configuration.
    pub fn config(&self) -> &GanConfig {
        &self.config
    }

    /// All parameters and statistics.
    pub fn store(&self) -> &ParamStore {
        &self.store
    }

    /// The networks, trainable.
    pub fn live(&self) -> &Networks {
        &self.live
    }

    /// The networks without a graph in their parameters.
    pub fn frozen(&self) -> &Networks {
        &self.frozen
    }

    /// `n` images `(n, c, h, w)` in `[-1, 1]`, the generator with its running moments.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn sample(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let z = self.latents(n, noise)?;
        self.frozen.generator.forward(&z, &mut BatchNormMoments::Running)
    }

    /// Latent rows for `n` images.
    pub(crate) fn latents(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        self.live.generator.latents(n, noise, (self.dtype(), self.store.device()))
    }

    pub(crate) fn dtype(&self) -> DType {
        let some = self.store.get(&format!("{GENERATOR}.dense.weight"));
        some.map_or(DType::F32, |var| var.dtype())
    }
}

/// `clip(127.5 x + 127.5)` cut to whole numbers: pixels for scores that take bytes.
///
/// # Errors
/// Of the tensor library.
pub fn quantise(x: &Tensor) -> Result<Tensor> {
    Ok(x.detach().affine(127.5, 127.5)?.clamp(0.0, 255.0)?.to_dtype(DType::U8)?)
}
