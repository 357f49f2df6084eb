//! The three networks, as they are trained, saved and loaded.

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Tensor};
use chains_core::{ParamStore, Result, Seed, checkpoint, density::value_and_grad};

use super::{Critic, Generator, Proposal, UganConfig};
use crate::maf::Maf;

/// The method's name in checkpoints.
pub const METHOD: &str = "ugan";

const GENERATOR: &str = "generator";
const CRITIC: &str = "critic";
const FLOW: &str = "flow";

/// Generator, critic and proposal, each with parameters of its own.
pub struct Ugan {
    config: UganConfig,
    /// Of generator, critic and proposal.
    stores: [ParamStore; 3],
    /// Trainable, and without a graph in the parameters.
    generator: [Generator; 2],
    critic: [Critic; 2],
    flow: [Maf; 2],
}

impl Ugan {
    /// Networks with initial parameters from `seed`.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn new(config: &UganConfig, seed: Seed, device: &Device) -> Result<Self> {
        Self::of_type(config, seed, DType::F32, device)
    }

    /// As [`Ugan::new`], of another type of numbers.
    ///
    /// # Errors
    /// As there.
    pub fn of_type(config: &UganConfig, seed: Seed, dtype: DType, device: &Device) -> Result<Self> {
        config.validate()?;
        let stores = [(); 3].map(|()| ParamStore::new(seed, dtype, device));
        let views =
            |i: usize, name: &str| [stores[i].builder().pp(name), stores[i].frozen().pp(name)];
        let [live, frozen] = views(0, GENERATOR);
        let generator = [Generator::new(config, live)?, Generator::new(config, frozen)?];
        let [live, frozen] = views(1, CRITIC);
        let critic = [Critic::new(config, live)?, Critic::new(config, frozen)?];
        let [live, frozen] = views(2, FLOW);
        let flow = [Maf::new(&config.flow, live)?, Maf::new(&config.flow, frozen)?];
        Ok(Self { config: config.clone(), stores, generator, critic, flow })
    }

    /// The configuration.
    pub fn config(&self) -> &UganConfig {
        &self.config
    }

    /// The generator without a graph in its parameters.
    pub fn generator(&self) -> &Generator {
        &self.generator[1]
    }

    /// The critic without a graph in its parameters.
    pub fn critic(&self) -> &Critic {
        &self.critic[1]
    }

    /// The proposal without a graph in its parameters.
    pub fn flow(&self) -> &Maf {
        &self.flow[1]
    }

    /// The generator, trainable.
    pub fn live_generator(&self) -> &Generator {
        &self.generator[0]
    }

    /// The critic, trainable.
    pub fn live_critic(&self) -> &Critic {
        &self.critic[0]
    }

    /// The proposal, trainable.
    pub fn live_flow(&self) -> &Maf {
        &self.flow[0]
    }

    /// Parameters of the generator.
    pub fn generator_store(&self) -> &ParamStore {
        &self.stores[0]
    }

    /// Parameters of the critic.
    pub fn critic_store(&self) -> &ParamStore {
        &self.stores[1]
    }

    /// Parameters of the proposal.
    pub fn flow_store(&self) -> &ParamStore {
        &self.stores[2]
    }

    /// An estimate of the generator's log density, the critic's logit plus the log density of the
    /// proposal that it was trained against, `(b,)`, in nats, and its gradient in `x`, `(b, d)`.
    ///
    /// # Shapes
    /// `x`: `(b, d)`; `context`: `(b, c)` where there is one.
    ///
    /// # Errors
    /// [`chains_core::Error::Shape`] if the operands do not fit.
    pub fn log_density_and_grad(
        &self,
        proposal: &Proposal<'_>,
        x: &Tensor,
        context: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let (ratio, of_ratio) = value_and_grad(x, |x| self.critic().logit(x, context))?;
        let (log_nu, of_nu) = proposal.log_density_and_grad(x, context)?;
        Ok(((ratio + log_nu)?, (of_ratio + of_nu)?))
    }

    /// All parameters by name: those of `generator`, `critic` and `flow`.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        self.stores.iter().flat_map(ParamStore::tensors).collect()
    }

    /// Takes what [`Ugan::tensors`] gave, which came from `path`.
    ///
    /// # Errors
    /// [`chains_core::Error::Checkpoint`] naming every tensor of one network that does not fit.
    pub fn assign(&self, path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        for (i, (store, name)) in self.stores.iter().zip([GENERATOR, CRITIC, FLOW]).enumerate() {
            let other = [GENERATOR, CRITIC, FLOW].map(|root| format!("{root}."));
            let own = format!("{name}.");
            // What belongs to no network is the first one's to complain of.
            let mine = |key: &str| {
                key.starts_with(&own)
                    || (i == 0 && !other.iter().any(|root| key.starts_with(root.as_str())))
            };
            let part = tensors.iter().filter(|(key, _)| mine(key));
            let part = part.map(|(key, tensor)| (key.clone(), tensor.clone())).collect();
            store.assign(path, &part)?;
        }
        Ok(())
    }

    /// Writes a model directory: `config.json` and `model.safetensors`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        checkpoint::save_model(dir, METHOD, version, &self.config, &self.tensors())
    }

    /// Reads a model directory.
    ///
    /// # Errors
    /// [`chains_core::Error::Checkpoint`] naming the file and what does not fit.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let config: UganConfig = checkpoint::read_config(dir, METHOD)?;
        let model = Self::new(&config, Seed::new(0), device)?;
        let path = dir.join("model.safetensors");
        model.assign(&path, &checkpoint::load_tensors(&path, device)?)?;
        Ok(model)
    }
}
