//! Policies that are trained on an unnormalised density, behind one trait.

mod gaussian;
mod stein;
mod ugan;

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Tensor, backprop::GradStore};
use chains_core::{
    Error, Noise, ParamStore, Result, Seed,
    optim::{Adam, AdamConfig},
};

pub use self::{
    gaussian::GaussianPolicy,
    stein::{SteinPolicy, stein_directions},
    ugan::UganPolicy,
};
use super::config::PolicyConfig;
use crate::{
    anneal::{Reg, Weights},
    mlp::Mlp,
};

/// `log u(h | s)`, `(n, 13)` and `(n, 2)` -> `(n,)`, differentiable in `h`, up to a constant for each state.
pub type LogTarget<'a> = &'a dyn Fn(&Tensor, &Tensor) -> Result<Tensor>;

/// What an update of a policy gave, measured before its steps: means over the batch by name, nats where
/// nothing else is said.
pub type PolicyTerms = Vec<(&'static str, f64)>;

/// A stochastic policy in the space before the squash.
pub trait Policy: Send {
    /// One `h` for each state, without a graph.
    ///
    /// # Shapes
    /// `states`: `(n, 13)`; the result `(n, 2)`.
    ///
    /// # Errors
    /// Of the network.
    fn draw(&self, states: &Tensor, noise: &mut dyn Noise) -> Result<Tensor>;

    /// `h` for each state from a law with a density that covers the policy's, and its log density,
    /// both without a graph; none where the policy has no such law.
    ///
    /// # Errors
    /// Of the network.
    fn propose(
        &self,
        _states: &Tensor,
        _noise: &mut dyn Noise,
    ) -> Result<Option<(Tensor, Tensor)>> {
        Ok(None)
    }

    /// A step towards the minimiser of `(1 + lambda) E[log q] - E[log u]`, the normalised `u^beta` with
    /// `beta = 1 / (1 + lambda)`.
    ///
    /// # Errors
    /// [`chains_core::Error::NonFinite`] if a loss is no number, before anything moves by it.
    fn update(
        &mut self,
        states: &Tensor,
        target: LogTarget<'_>,
        step: PolicyStep,
        noise: &mut dyn Noise,
    ) -> Result<PolicyTerms>;

    /// All parameters by name.
    fn tensors(&self) -> Vec<(String, Tensor)>;

    /// Takes what [`Policy::tensors`] gave, which came from `path`.
    ///
    /// # Errors
    /// [`chains_core::Error::Checkpoint`] naming every tensor that does not fit.
    fn assign(&self, path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()>;

    /// Moments of the optimisers by name, and their counters: with [`Policy::tensors`] what an exact
    /// resume needs.
    fn moments(&self) -> (Vec<(String, Tensor)>, Vec<u64>);

    /// Takes what [`Policy::moments`] gave.
    ///
    /// # Errors
    /// [`chains_core::Error::Config`] for a state that does not fit.
    fn restore(&mut self, moments: &BTreeMap<String, Tensor>, counters: &[u64]) -> Result<()>;
}

/// The size of a policy's step, and what it is a step towards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolicyStep {
    /// Rate of all optimisers.
    pub rate: f64,
    /// The signed weight of the entropy form, above -1: positive is hotter.
    pub lambda: f64,
    /// Number of the update, for errors.
    pub update: usize,
}

impl PolicyStep {
    /// `c_q` and `c_u`.
    fn weights(self) -> Result<Weights> {
        Reg::Entropy.weights(self.lambda)
    }
}

impl PolicyConfig {
    /// The policy with initial parameters from `seed`.
    ///
    /// # Errors
    /// [`chains_core::Error::Config`] for a configuration that cannot be.
    pub fn build(&self, seed: Seed, device: &Device) -> Result<Box<dyn Policy>> {
        self.validate()?;
        Ok(match self {
            Self::Gaussian(config) => Box::new(GaussianPolicy::new(config.clone(), seed, device)?),
            Self::Stein(config) => Box::new(SteinPolicy::new(config.clone(), seed, device)?),
            Self::Ugan(config) => Box::new(UganPolicy::new((**config).clone(), seed, device)?),
        })
    }
}

/// A network with and without a graph, and its optimiser.
struct Trained {
    store: ParamStore,
    live: Mlp,
    frozen: Mlp,
    constants: AdamConfig,
    adam: Adam,
}

impl Trained {
    fn new(widths: &[usize], constants: AdamConfig, seed: Seed, device: &Device) -> Result<Self> {
        let store = ParamStore::new(seed, DType::F32, device);
        let live = Mlp::new(widths, 0.0, &store.builder())?;
        let frozen = Mlp::new(widths, 0.0, &store.frozen())?;
        Ok(Self { store, live, frozen, constants, adam: Adam::new(constants) })
    }

    fn step(&mut self, grads: &GradStore, rate: f64) -> Result<()> {
        self.adam.step(&self.store, grads, rate)
    }

    fn moments(&self) -> (Vec<(String, Tensor)>, Vec<u64>) {
        (self.adam.tensors(), vec![self.adam.steps()])
    }

    fn restore(&mut self, moments: &BTreeMap<String, Tensor>, counters: &[u64]) -> Result<()> {
        let [steps] = counted(counters)?;
        self.adam = Adam::restore(self.constants, steps, moments, &self.store)?;
        Ok(())
    }
}

/// As many counters as a policy has.
fn counted<const N: usize>(counters: &[u64]) -> Result<[u64; N]> {
    counters.try_into().map_err(|_| {
        let reason = format!("{} counters of optimisers, {N} are needed", counters.len());
        Error::Config { field: "counters", reason }
    })
}
