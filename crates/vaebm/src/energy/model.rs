//! An energy network as it is trained, saved and loaded.

use std::{ops::Deref, path::Path};

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use chains_core::{ParamStore, Result, Seed, checkpoint};

use super::{EnergyNet, EnergyNetwork};
use crate::config::EnergyConfig;

/// The name of energy networks in checkpoints.
pub const ENERGY_METHOD: &str = "vaebm-energy";

/// A network on one store, trainable and frozen.
pub struct EnergyPair<N> {
    store: ParamStore,
    live: N,
    frozen: N,
}

impl<N: EnergyNetwork> EnergyPair<N> {
    /// Builds the network twice on one store.
    ///
    /// # Errors
    /// Of the network.
    pub fn new(
        store: ParamStore,
        build: impl Fn(VarBuilder<'static>) -> Result<N>,
    ) -> Result<Self> {
        let (live, frozen) = (build(store.builder())?, build(store.frozen())?);
        Ok(Self { store, live, frozen })
    }

    /// All parameters.
    pub fn store(&self) -> &ParamStore {
        &self.store
    }

    /// The network with a graph in its parameters.
    pub fn live(&self) -> &N {
        &self.live
    }

    /// The network without one, for chains and scores. Follows every update.
    pub fn frozen(&self) -> &N {
        &self.frozen
    }
}

/// An energy network with its configuration. Everything of [`EnergyPair`] is at hand.
pub struct EnergyModel {
    config: EnergyConfig,
    pair: EnergyPair<EnergyNet>,
}

impl Deref for EnergyModel {
    type Target = EnergyPair<EnergyNet>;

    fn deref(&self) -> &Self::Target {
        &self.pair
    }
}

impl EnergyModel {
    /// A network with initial parameters from `seed`, f32.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn new(config: EnergyConfig, seed: Seed, device: &Device) -> Result<Self> {
        let store = ParamStore::new(seed, DType::F32, device);
        let pair = EnergyPair::new(store, |vb| EnergyNet::new(&config, vb))?;
        Ok(Self { config, pair })
    }

    /// Reads a model directory.
    ///
    /// # Errors
    /// [`chains_core::Error::Checkpoint`] naming the file and everything that does not fit.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let config: EnergyConfig = checkpoint::read_config(dir, ENERGY_METHOD)?;
        let model = Self::new(config, Seed::new(0), device)?;
        model.store().load_strict(&dir.join(checkpoint::WEIGHTS_FILE))?;
        Ok(model)
    }

    /// Writes a model directory: `config.json` and `model.safetensors`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        checkpoint::save_model(dir, ENERGY_METHOD, version, &self.config, &self.store().tensors())
    }

    /// The configuration.
    pub fn config(&self) -> &EnergyConfig {
        &self.config
    }
}
