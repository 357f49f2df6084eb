//! The model: network, prior and chain, as it is trained, saved and loaded.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::Init;
use chains_core::{
    Error, Noise, ParamStore, Result, Seed,
    chain::{Step, TransitionOperator},
    checkpoint,
    dist::{DiagGaussian, Masks},
    nn::Statistics,
};

use crate::{
    chain::InfusionChain,
    config::{Architecture, ChainConfig, ModelConfig},
    network::{OperatorNetwork, Pass},
};

/// Share of its range that a head begins with, at least: a sigmoid nearer to its ends hardly learns.
const LEAST_SHARE: f64 = 1e-4;

/// The factorial Gaussian `p^(0)`.
pub use chains_core::dist::FactorialGaussian as Prior;

/// The method's name in checkpoints.
pub const METHOD: &str = "infusion";

/// A learned transition operator with its prior.
pub struct InfusionModel {
    config: ModelConfig,
    store: ParamStore,
    live: OperatorNetwork,
    frozen: OperatorNetwork,
}

impl InfusionModel {
    /// A model with initial parameters from `seed` and a standard normal prior.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn new(config: ModelConfig, seed: Seed, device: &Device) -> Result<Self> {
        config.validate()?;
        let store = ParamStore::new(seed, DType::F32, device);
        let live = OperatorNetwork::new(&config.network, store.builder().pp("operator"))?;
        let frozen = OperatorNetwork::new(&config.network, store.frozen().pp("operator"))?;
        let prior = store.builder().pp("prior");
        prior.get_with_hints(config.network.dim(), "running_mean", Init::Const(0.0))?;
        prior.get_with_hints(config.network.dim(), "running_var", Init::Const(1.0))?;
        Ok(Self { config, store, live, frozen })
    }

    /// Reads a model directory.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the file and everything that does not fit.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let config: ModelConfig = checkpoint::read_config(dir, METHOD)?;
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

    /// [`InfusionModel::save`] with trainable tensors rounded to f16, half the size. A number of the
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

    /// The operator with the given statistics, without a graph.
    pub fn operator(&self, statistics: Statistics) -> Operator<'_> {
        let floor = self.config.network.variance_floor;
        Operator { network: &self.frozen, statistics, floor }
    }

    /// The operator with batch statistics and a graph, for training through the chain.
    pub fn live_operator(&self) -> Operator<'_> {
        let floor = self.config.network.variance_floor;
        Operator { network: &self.live, statistics: Statistics::Batch, floor }
    }

    /// The infusion chain of this model around one of its operators.
    pub fn infusion_chain<'a, O>(
        &'a self,
        operator: &'a O,
        prior: &'a Prior,
    ) -> InfusionChain<'a, O> {
        let ModelConfig { network, chain } = &self.config;
        InfusionChain { operator, prior, config: chain, steps: network.steps }
    }

    /// The states that [`InfusionChain::states`] has with batch statistics and these rates, and the pass over
    /// each.
    ///
    /// # Shapes
    /// `x`: `(b, D)`.
    ///
    /// # Errors
    /// [`Error::Shape`] for another target.
    pub(crate) fn infused(
        &self,
        config: &ChainConfig,
        x: &Tensor,
        noise: &mut dyn Noise,
    ) -> Result<(Vec<Tensor>, Vec<Pass>)> {
        let (operator, prior) = (self.operator(Statistics::Batch), self.prior()?);
        let chain = InfusionChain { config, ..self.infusion_chain(&operator, &prior) };
        let steps = chain.steps;
        let spike = chain.spike(x)?;
        let first = chain.proposal(0, prior.batch(x.dim(0)?)?, spike.clone())?.draw(noise)?;
        let (mut z, mut states, mut passes) = (first.detach(), Vec::new(), Vec::new());
        for t in 1..=steps {
            let pass = operator.pass(&z, Step::at(t - 1))?;
            states.push(z.clone());
            if t < steps {
                z = match config.masks {
                    Masks::PerDimension => {
                        let target = (x, config.target_variance);
                        self.frozen.infused(&pass, config.rate.at(t), target, noise)?
                    }
                    Masks::PerPixel { .. } => {
                        let base = self.frozen.conditional(&pass, operator.floor)?;
                        chain.proposal(t, base, spike.clone())?.draw(noise)?.detach()
                    }
                };
            }
            passes.push(pass);
        }
        Ok((states, passes))
    }

    /// The prior, detached.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn prior(&self) -> Result<Prior> {
        let get = |name: &str| -> Result<Tensor> {
            Ok(self.store.frozen().pp("prior").get(self.config.network.dim(), name)?)
        };
        Prior::new(get("running_mean")?, get("running_var")?)
    }

    /// Sets the prior to the maximum-likelihood Gaussian of training moments, equation 1: their mean
    /// and their variance plus `prior_floor`.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are D of each; the prior is then unchanged.
    pub fn set_prior(&self, mean: &[f64], variance: &[f64]) -> Result<()> {
        self.check_moments(mean, variance)?;
        let floor = self.config.chain.prior_floor;
        let floored: Vec<f64> = variance.iter().map(|v| v + floor).collect();
        self.set("prior.running_mean", mean)?;
        self.set("prior.running_var", &floored)
    }

    /// Sets the biases of both heads so that, without their weights, every conditional would be the
    /// Gaussian of training moments. A head of maps has one bias a channel: that of its pixels.
    ///
    /// Not in the paper, whose biases begin at zero. Common for output units (Hinton 2010, "A
    /// practical guide to training restricted Boltzmann machines", section 8.1); a short training
    /// then need not move the variance of hardly ever lit pixels over three orders of magnitude,
    /// which Adam does with weights, at the price of noise.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are D of each; the biases are then unchanged.
    pub fn set_head_biases(&self, mean: &[f64], variance: &[f64]) -> Result<()> {
        self.check_moments(mean, variance)?;
        let network = &self.config.network;
        let (mean, variance) = match network.architecture {
            Architecture::Mlp { .. } => (mean.to_vec(), variance.to_vec()),
            Architecture::Deconv { .. } => {
                let pixels = network.dim() / network.event[0];
                let average = |values: &[f64]| values.iter().sum::<f64>() / pixels as f64;
                let maps =
                    mean.chunks(pixels).zip(variance.chunks(pixels)).map(|(mean, variance)| {
                        let centre = average(mean);
                        let spread: Vec<_> = mean.iter().map(|m| (m - centre).powi(2)).collect();
                        (centre, average(variance) + average(&spread))
                    });
                maps.unzip()
            }
        };
        let logit = |share: f64| {
            let share = share.clamp(LEAST_SHARE, 1.0 - LEAST_SHARE);
            (share / (1.0 - share)).ln()
        };
        let scaled = |v: &f64| logit((v - network.variance_floor) / network.variance_scale);
        self.set("operator.mean_head.bias", &mean.into_iter().map(logit).collect::<Vec<_>>())?;
        self.set("operator.variance_head.bias", &variance.iter().map(scaled).collect::<Vec<_>>())
    }

    /// Are there D of both?
    fn check_moments(&self, mean: &[f64], variance: &[f64]) -> Result<()> {
        let dim = self.config.network.dim();
        for got in [mean.len(), variance.len()] {
            if got != dim {
                let expected = format!("({dim},)");
                return Err(Error::Shape { what: "training moments", expected, got: vec![got] });
            }
        }
        Ok(())
    }

    fn set(&self, name: &str, values: &[f64]) -> Result<()> {
        if let Some(variable) = self.store.get(name) {
            let narrow: Vec<f32> = values.iter().map(|v| *v as f32).collect();
            variable.set(&Tensor::from_vec(narrow, values.len(), self.device())?)?;
        }
        Ok(())
    }
}

/// `p^(t)(z_t | z_{t-1})` with chosen statistics. Transition `index` 0 is step 1 of the paper; one
/// beyond the last uses the last's normalisation.
#[derive(Clone, Copy, Debug)]
pub struct Operator<'a> {
    network: &'a OperatorNetwork,
    statistics: Statistics,
    floor: f64,
}

impl Operator<'_> {
    /// The same operator with another variance floor; the published code samples with 1e-5.
    pub fn with_floor(self, floor: f64) -> Self {
        Self { floor, ..self }
    }

    fn pass(&self, x: &Tensor, at: Step) -> Result<Pass> {
        self.network.pass(&x.unsqueeze(0)?, &[at.index], self.statistics, &[])
    }
}

impl TransitionOperator for Operator<'_> {
    type Dist = DiagGaussian;

    /// `(b, D)` -> Gaussians `(b, D)`; the temperature multiplies the variance.
    fn conditional(&self, x: &Tensor, at: Step) -> Result<DiagGaussian> {
        let pass = self.pass(x, at)?;
        let conditional = self.network.conditional(&pass, self.floor)?;
        if (at.temperature - 1.0).abs() < f64::EPSILON {
            return Ok(conditional);
        }
        let variance = (conditional.variance() * at.temperature)?;
        DiagGaussian::new(conditional.mean().clone(), variance)
    }
}
