//! The model: both players, as they are trained, saved and loaded.

use std::{ops::Deref, path::Path};

use candle_core::{DType, Device};
use chains_core::{ParamStore, Result, Seed, checkpoint};

use crate::{
    config::{EnergyConfig, ModelConfig},
    generator::GeneratorNet,
    network::EnergyNet,
    players::{Begin, ENERGY, Players},
};

/// The method's name in checkpoints.
pub const METHOD: &str = "vera";

/// An energy network and its generator. Everything of [`Players`] is at hand.
pub struct VeraModel {
    config: ModelConfig,
    players: Players<EnergyNet, GeneratorNet>,
}

impl Deref for VeraModel {
    type Target = Players<EnergyNet, GeneratorNet>;

    fn deref(&self) -> &Self::Target {
        &self.players
    }
}

impl VeraModel {
    /// A model with initial parameters from `seed`.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn new(config: ModelConfig, seed: Seed, device: &Device) -> Result<Self> {
        Self::of_type(config, seed, DType::F32, device)
    }

    /// As [`VeraModel::new`], of another type of numbers: f64 for tests of formulas.
    ///
    /// # Errors
    /// As there.
    pub fn of_type(config: ModelConfig, seed: Seed, dtype: DType, device: &Device) -> Result<Self> {
        config.validate()?;
        let begin = Begin {
            sigma: config.initial_sigma,
            sigma_range: config.sigma_range,
            eta: config.initial_eta,
        };
        let players = Players::new(
            ParamStore::new(seed, dtype, device),
            begin,
            |vb| EnergyNet::new(&config.energy, vb),
            |vb| GeneratorNet::new(&config.generator, vb),
        )?;
        let model = Self { config, players };
        model.begin_weight_norm()?;
        Ok(model)
    }

    /// Gains of weight-normalised layers begin at the lengths of the rows.
    fn begin_weight_norm(&self) -> Result<()> {
        let EnergyConfig::Mlp { weight_norm: true, hidden, .. } = &self.config.energy else {
            return Ok(());
        };
        for i in 0..hidden.len() {
            let get = |leaf: &str| self.players.store().get(&format!("{ENERGY}.layers.{i}.{leaf}"));
            if let (Some(gain), Some(direction)) = (get("weight_g"), get("weight_v")) {
                gain.set(&direction.as_detached_tensor().sqr()?.sum_keepdim(1)?.sqrt()?)?;
            }
        }
        Ok(())
    }

    /// Reads a model directory.
    ///
    /// # Errors
    /// [`chains_core::Error::Checkpoint`] naming the file and everything that does not fit.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let config: ModelConfig = checkpoint::read_config(dir, METHOD)?;
        let model = Self::new(config, Seed::new(0), device)?;
        model.store().load_strict(&dir.join("model.safetensors"))?;
        Ok(model)
    }

    /// Writes a model directory: `config.json` and `model.safetensors`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        checkpoint::save_model(dir, METHOD, version, &self.config, &self.store().tensors())
    }

    /// [`VeraModel::save`] with trainable tensors rounded to f16, half the size. A number of the
    /// rounded model must be measured on the model loaded back.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save_half(&self, dir: &Path) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        checkpoint::save_model(dir, METHOD, version, &self.config, &self.store().half_tensors()?)
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }
}
