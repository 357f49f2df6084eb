//! What a training carries.

use std::collections::BTreeMap;

use candle_core::Tensor;
use chains_core::{ParamStore, Result, optim::Adam};

use crate::config::TrainConfig;

/// What training carries from update to update beside the players: all of it is saved for an exact
/// resume.
pub struct TrainState {
    /// The optimiser of the energy.
    pub energy: Adam,
    /// The optimiser of the generator.
    pub generator: Adam,
    /// The optimiser of the approximate posterior.
    pub posterior: Adam,
    /// Iterations done.
    pub iteration: usize,
}

impl TrainState {
    /// Before the first iteration.
    pub fn new(config: &TrainConfig) -> Self {
        Self {
            energy: Adam::new(config.adam),
            generator: Adam::new(config.adam),
            posterior: Adam::new(config.posterior_adam),
            iteration: 0,
        }
    }

    /// Moments of all three optimisers, and their numbers of steps by name.
    pub fn tensors(&self) -> (Vec<(String, Tensor)>, [u64; 3]) {
        let parts = [
            ("energy", &self.energy),
            ("generator", &self.generator),
            ("posterior", &self.posterior),
        ];
        let steps = [self.energy.steps(), self.generator.steps(), self.posterior.steps()];
        (parts.into_iter().flat_map(|(who, adam)| adam.tensors_of(who)).collect(), steps)
    }

    /// Takes what [`TrainState::tensors`] gave.
    ///
    /// # Errors
    /// [`chains_core::Error::Config`] for moments that do not fit the parameters of `store`.
    pub fn restore(
        config: &TrainConfig,
        (tensors, steps): (&BTreeMap<String, Tensor>, [u64; 3]),
        iteration: usize,
        store: &ParamStore,
    ) -> Result<Self> {
        let one =
            |who: &str, constants, steps| Adam::restore_of(who, constants, steps, tensors, store);
        Ok(Self {
            energy: one("energy", config.adam, steps[0])?,
            generator: one("generator", config.adam, steps[1])?,
            posterior: one("posterior", config.posterior_adam, steps[2])?,
            iteration,
        })
    }
}
