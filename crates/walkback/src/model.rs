//! The model: network and start, as it is trained, saved and loaded.

use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::Init;
use chains_core::{
    Error, ParamStore, Result, Seed, checkpoint,
    dist::FactorialGaussian,
    nn::orthogonal,
    schedule::{Cooling, Heating},
};

use crate::{
    config::{DenseInit, ModelConfig, OperatorConfig, StartConfig},
    network::{OperatorNetwork, Statistics},
    operator::Operator,
    start::Start,
};

/// The method's name in checkpoints.
pub const METHOD: &str = "walkback";

/// A learned transition operator with the start of its chains.
pub struct WalkbackModel {
    config: ModelConfig,
    store: ParamStore,
    live: OperatorNetwork,
    frozen: OperatorNetwork,
}

impl WalkbackModel {
    /// A model with initial parameters from `seed` and, if it is fitted, a standard normal start.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn new(config: ModelConfig, seed: Seed, device: &Device) -> Result<Self> {
        let model = Self::build(config, seed, device)?;
        if let DenseInit::Orthogonal { .. } = model.config.network.dense_init {
            model.make_square_weights_orthogonal(seed)?;
        }
        Ok(model)
    }

    fn build(config: ModelConfig, seed: Seed, device: &Device) -> Result<Self> {
        config.validate()?;
        let store = ParamStore::new(seed, DType::F32, device);
        let [live, frozen] = [store.builder(), store.frozen()].map(|vb| vb.pp("operator"));
        // A branch that no loss reads stays as it began.
        let learns = config.operator.learns_variance();
        let variance = if learns { live.clone() } else { frozen.clone() };
        let live = OperatorNetwork::new(&config.network, live, variance)?;
        let frozen = OperatorNetwork::new(&config.network, frozen.clone(), frozen)?;
        let start = store.builder().pp("start");
        start.get_with_hints(config.network.dim(), "running_mean", Init::Const(0.0))?;
        start.get_with_hints(config.network.dim(), "running_var", Init::Const(1.0))?;
        Ok(Self { config, store, live, frozen })
    }

    fn make_square_weights_orthogonal(&self, seed: Seed) -> Result<()> {
        for index in 0..self.config.network.dense_widths().len() {
            let name = format!("operator.hidden.{index}.weight");
            let Some(weight) = self.store.get(&name) else { continue };
            let (rows, columns) = weight.dims2()?;
            if rows == columns {
                let mut noise = seed.child("init").child(&name).host_noise();
                weight.set(&orthogonal(rows, &mut noise)?.to_device(self.device())?)?;
            }
        }
        Ok(())
    }

    /// Reads a model directory.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the file and everything that does not fit.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let config: ModelConfig = checkpoint::read_config(dir, METHOD)?;
        let model = Self::build(config, Seed::new(0), device)?;
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

    /// [`WalkbackModel::save`] with trainable tensors rounded to f16, half the size. A number of the
    /// rounded model must be measured on the model loaded back.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save_half(&self, dir: &Path) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        checkpoint::save_model(dir, METHOD, version, &self.config, &self.store.half_tensors()?)
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// All parameters and statistics.
    pub fn store(&self) -> &ParamStore {
        &self.store
    }

    /// What training moves: everything but statistics and, unless the operator is Gaussian, the
    /// variance branch.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        let learns = self.config.operator.learns_variance();
        let mut all = self.store.trainable();
        all.retain(|(name, _)| learns || !name.starts_with("operator.variance"));
        all
    }

    /// The device.
    pub fn device(&self) -> &Device {
        self.store.device()
    }

    /// The trainable network.
    pub fn network(&self) -> &OperatorNetwork {
        &self.live
    }

    /// The same network without a graph.
    pub fn frozen(&self) -> &OperatorNetwork {
        &self.frozen
    }

    /// The operator without a graph.
    pub fn operator(&self, statistics: Statistics) -> Operator<'_> {
        let ModelConfig { operator, chain, .. } = &self.config;
        Operator::new(&self.frozen, *operator, chain, statistics)
    }

    /// The operator with batch statistics and a graph.
    pub fn live_operator(&self) -> Operator<'_> {
        let ModelConfig { operator, chain, .. } = &self.config;
        Operator::new(&self.live, *operator, chain, Statistics::Batch)
    }

    /// The schedule of the walk away from data, `extra` steps at temperature 1 in front.
    pub fn heating(&self, extra: usize) -> Heating {
        let (temperatures, steps) = (self.config.chain.temperatures, self.config.network.steps);
        Heating { temperatures, steps, extra }
    }

    /// The schedule of `steps` cooling transitions and `extra` ones at temperature 1.
    pub fn cooling(&self, steps: usize, extra: usize) -> Cooling {
        Cooling { temperatures: self.config.chain.temperatures, steps, extra }
    }

    /// `p*` as configured, detached.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn start(&self) -> Result<Start> {
        self.start_of(self.config.chain.start)
    }

    /// Another start for states of this model; a fitted one has the stored moments.
    ///
    /// # Errors
    /// [`Error::Config`] if it is invalid.
    pub fn start_of(&self, config: StartConfig) -> Result<Start> {
        config.validate()?;
        let d = self.config.network.dim();
        let row = |value: f64| Tensor::full(value as f32, d, self.device());
        Ok(match config {
            StartConfig::Fitted { .. } => {
                let get = |name: &str| self.store.frozen().pp("start").get(d, name);
                let law = FactorialGaussian::new(get("running_mean")?, get("running_var")?)?;
                // Without densities states are clipped, from the first one on.
                match self.config.operator {
                    OperatorConfig::Reconstruction { .. } => Start::Clipped(law),
                    _ => Start::Gaussian(law),
                }
            }
            StartConfig::Clipped { mean, stdev } => {
                Start::Clipped(FactorialGaussian::new(row(mean)?, row(stdev * stdev)?)?)
            }
            StartConfig::Bernoulli { probability } => {
                Start::Bernoulli(row((probability / (1.0 - probability)).ln())?)
            }
        })
    }

    /// Stores the moments of a fitted start: means, and variances of at least its floor.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are D of each, [`Error::Config`] if the start is not fitted; the
    /// start is then unchanged.
    pub fn set_start(&self, mean: &[f64], variance: &[f64]) -> Result<()> {
        let StartConfig::Fitted { floor } = self.config.chain.start else {
            let reason = "is not fitted, so it has no moments to set".into();
            return Err(Error::Config { field: "start", reason });
        };
        let d = self.config.network.dim();
        for got in [mean.len(), variance.len()] {
            if got != d {
                let expected = format!("({d},)");
                return Err(Error::Shape {
                    what: "moments of the start",
                    expected,
                    got: vec![got],
                });
            }
        }
        let floored: Vec<f64> = variance.iter().map(|v| v.max(floor)).collect();
        for (name, values) in [("running_mean", mean), ("running_var", floored.as_slice())] {
            if let Some(variable) = self.store.get(&format!("start.{name}")) {
                let narrow: Vec<f32> = values.iter().map(|v| *v as f32).collect();
                variable.set(&Tensor::from_vec(narrow, d, self.device())?)?;
            }
        }
        Ok(())
    }
}
