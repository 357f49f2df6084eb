//! Q function, target network and policy, and one update of all of them.

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Error, Noise, ParamStore, Result, Seed, autograd::value_and_gradients, checkpoint, host, ops,
    optim::Adam,
};
use serde::{Deserialize, Serialize};

use super::{
    ACTIONS,
    config::{PolicyConfig, Proposal, SoftQConfig},
    policy::{Policy, PolicyStep, PolicyTerms},
    q_function::{QNetwork, repeated},
    replay::Batch,
    squash::{log_squash, squashed_log_target},
    value::{bellman_targets, soft_value},
};

/// The method's name in checkpoints.
pub const METHOD: &str = "soft-q";
/// Names of Q, of its copy and of the policy.
const Q: &str = "q";
const TARGET: &str = "target";
const POLICY: &str = "policy.";
/// What names of the policy's moments begin with.
const MOMENTS: &str = "moments.";

/// A learner: networks, optimisers, and how far it is.
pub struct SoftQ {
    config: Config,
    /// Q and its copy.
    store: ParamStore,
    live: QNetwork,
    frozen: QNetwork,
    target: QNetwork,
    adam: Adam,
    policy: Box<dyn Policy>,
    updates: usize,
}

/// What `config.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    learning: SoftQConfig,
    policy: PolicyConfig,
}

/// What an update gave, measured before its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftQTerms {
    /// `0.5 mean (Q - y)^2`.
    pub q_loss: f64,
    /// Mean of Q at the transitions.
    pub q: f64,
    /// Mean of `y`.
    pub target: f64,
    /// What the policy gives.
    pub policy: PolicyTerms,
}

/// What an exact resume needs besides tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftQProgress {
    /// Updates made.
    pub updates: usize,
    /// The counters of the policy's optimisers.
    pub counters: Vec<u64>,
}

impl SoftQ {
    /// A learner with initial parameters from `seed`; the target network begins as a copy of Q.
    ///
    /// # Errors
    /// [`Error::Config`] for a configuration that cannot be.
    pub fn new(
        learning: SoftQConfig,
        policy: PolicyConfig,
        seed: Seed,
        device: &Device,
    ) -> Result<Self> {
        learning.validate()?;
        let store = ParamStore::new(seed, DType::F32, device);
        let network = |vb| QNetwork::new(&learning.hidden, vb);
        let live = network(store.builder().pp(Q))?;
        let (frozen, target) =
            (network(store.frozen().pp(Q))?, network(store.frozen().pp(TARGET))?);
        let built = policy.build(seed.child("policy"), device)?;
        let adam = Adam::new(learning.adam);
        let config = Config { learning, policy };
        let learner = Self { config, store, live, frozen, target, adam, policy: built, updates: 0 };
        if lacks_density(&learner.config) {
            let reason = "this policy has no density to propose actions from".into();
            return Err(Error::Config { field: "proposal", reason });
        }
        learner.copy_to_target()?;
        Ok(learner)
    }

    /// Parameters of Q and of its copy, `q.*` and `target.*`.
    pub fn store(&self) -> &ParamStore {
        &self.store
    }

    /// The optimiser of Q.
    pub fn adam(&self) -> &Adam {
        &self.adam
    }

    /// All parameters by name: those of [`SoftQ::store`] and `policy.*`.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let own = self.policy.tensors().into_iter();
        let own = own.map(|(name, tensor)| (format!("{POLICY}{name}"), tensor));
        self.store.tensors().into_iter().chain(own).collect()
    }

    /// The constants.
    pub fn config(&self) -> &SoftQConfig {
        &self.config.learning
    }

    /// The policy.
    pub fn policy(&self) -> &dyn Policy {
        self.policy.as_ref()
    }

    /// Q, without a graph to its weights.
    pub fn q(&self) -> &QNetwork {
        &self.frozen
    }

    /// Updates made.
    pub fn updates(&self) -> usize {
        self.updates
    }

    fn copy_to_target(&self) -> Result<()> {
        for (name, var) in self.store.all() {
            if let Some(rest) = name.strip_prefix("target.")
                && let Some(from) = self.store.get(&format!("{Q}.{rest}"))
            {
                var.set(&from.as_detached_tensor())?;
            }
        }
        Ok(())
    }

    /// `V(s)` of the target network.
    ///
    /// # Shapes
    /// `states`: `(b, 13)`; the result `(b,)`.
    ///
    /// # Errors
    /// Of the networks.
    pub fn value(&self, states: &Tensor, noise: &mut dyn Noise) -> Result<Tensor> {
        let SoftQConfig { particles, proposal, temperature, .. } = self.config.learning;
        let b = states.dim(0)?;
        let shape = (b * particles, ACTIONS);
        let (actions, log_p) = match proposal {
            Proposal::Uniform => {
                let drawn = noise.uniform(&shape.into(), states.dtype(), states.device())?;
                // Uniform on a square of side two.
                let log_p = -(ACTIONS as f64) * std::f64::consts::LN_2;
                let shape = (b, particles).into();
                let log_p = host::full(log_p, &shape, states.dtype(), states.device())?;
                (drawn.affine(2.0, -1.0)?, log_p)
            }
            Proposal::Policy => {
                let proposed = self.policy.propose(&repeated(states, particles)?, noise)?;
                let Some((h, log_prob)) = proposed else {
                    let reason = "this policy has no density to propose actions from".into();
                    return Err(Error::Config { field: "proposal", reason });
                };
                let log_p = (log_prob - log_squash(&h)?)?;
                (ops::tanh(&h)?, log_p.reshape((b, particles))?)
            }
        };
        soft_value(&self.target.of_particles(states, &actions)?, &log_p, temperature)
    }

    /// One step of Q towards its targets and one of the policy towards `exp(Q / alpha)`, or towards
    /// its tempered form with `beta = 1 / (1 + lambda)`; after every [`SoftQConfig::target_every`]th update Q
    /// is copied.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if a loss is no number, before anything moves by it.
    pub fn update(
        &mut self,
        batch: &Batch,
        lambda: f64,
        noise: &mut dyn Noise,
    ) -> Result<SoftQTerms> {
        let mut terms = self.update_q(batch, noise)?;
        let (q, temperature) = (&self.frozen, self.config.learning.temperature);
        let log_target =
            |states: &Tensor, h: &Tensor| squashed_log_target(q, temperature, states, h);
        let rate = self.config.learning.learning_rate;
        let step = PolicyStep { rate, lambda, update: self.updates };
        terms.policy = self.policy.update(&batch.states, &log_target, step, noise)?;
        self.updates += 1;
        if self.updates.is_multiple_of(self.config.learning.target_every) {
            self.copy_to_target()?;
        }
        Ok(terms)
    }

    /// The step of Q alone, down `0.5 mean (Q - y)^2` with `y` held constant.
    ///
    /// # Errors
    /// As [`SoftQ::update`].
    pub fn update_q(&mut self, batch: &Batch, noise: &mut dyn Noise) -> Result<SoftQTerms> {
        let targets = self.targets(batch, noise)?;
        let mut q = None;
        let (loss, grads) = value_and_gradients(|| {
            let values = self.live.forward(&batch.states, &batch.actions)?;
            q = Some(values.detach().mean_all()?);
            Ok(((values - &targets)?.sqr()?.mean_all()? * 0.5)?)
        })?;
        let target = targets.mean_all()?;
        let [q_loss, q, target] = host::scalars_or_zero([Some(&loss), q.as_ref(), Some(&target)])?;
        if !q_loss.is_finite() {
            return Err(Error::NonFinite { what: "loss of Q", step: self.updates });
        }
        self.adam.step(&self.store, &grads, self.config.learning.learning_rate)?;
        Ok(SoftQTerms { q_loss, q, target, policy: PolicyTerms::new() })
    }

    /// `y` of a batch, `(b,)`, without a graph.
    ///
    /// # Errors
    /// Of the networks.
    pub fn targets(&self, batch: &Batch, noise: &mut dyn Noise) -> Result<Tensor> {
        let SoftQConfig { reward_scale, discount, .. } = self.config.learning;
        let values = self.value(&batch.next_states, noise)?;
        bellman_targets(&batch.rewards, &batch.done, &values, [reward_scale, discount])
    }

    /// What an exact resume needs besides [`SoftQ::store`] and [`SoftQ::adam`].
    pub fn carried(&self) -> (Vec<(String, Tensor)>, SoftQProgress) {
        let (moments, counters) = self.policy.moments();
        let named = |prefix: &'static str| {
            move |(name, tensor): (String, Tensor)| (format!("{prefix}{name}"), tensor)
        };
        let tensors = self.policy.tensors().into_iter().map(named(POLICY));
        let tensors = tensors.chain(moments.into_iter().map(named(MOMENTS))).collect();
        (tensors, SoftQProgress { updates: self.updates, counters })
    }

    /// Takes what [`SoftQ::carried`] gave, read from `path`, and the optimiser of Q.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Checkpoint`] for what does not fit.
    pub fn restore(
        &mut self,
        path: &Path,
        adam: Adam,
        tensors: &BTreeMap<String, Tensor>,
        progress: &SoftQProgress,
    ) -> Result<()> {
        self.policy.assign(path, &with_prefix(tensors, POLICY))?;
        self.policy.restore(&with_prefix(tensors, MOMENTS), &progress.counters)?;
        (self.adam, self.updates) = (adam, progress.updates);
        Ok(())
    }

    /// Writes a model directory.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        checkpoint::save_model(dir, METHOD, version, &self.config, &self.tensors())
    }

    /// Reads a model directory; optimisers begin anew.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the file and everything that does not fit.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let Config { learning, policy } = checkpoint::read_config(dir, METHOD)?;
        let learner = Self::new(learning, policy, Seed::new(0), device)?;
        let path = dir.join(checkpoint::WEIGHTS_FILE);
        let tensors = checkpoint::load_tensors(&path, device)?;
        let (own, rest) = tensors.into_iter().partition(|(name, _)| name.starts_with(POLICY));
        learner.store.assign(&path, &rest)?;
        learner.policy.assign(&path, &with_prefix(&own, POLICY))?;
        Ok(learner)
    }
}

/// Those whose names begin with it, without it.
fn with_prefix(tensors: &BTreeMap<String, Tensor>, prefix: &str) -> BTreeMap<String, Tensor> {
    let own = |(name, tensor): (&String, &Tensor)| {
        Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
    };
    tensors.iter().filter_map(own).collect()
}

fn lacks_density(config: &Config) -> bool {
    config.learning.proposal == Proposal::Policy && matches!(config.policy, PolicyConfig::Stein(_))
}
