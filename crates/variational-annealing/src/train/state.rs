//! What a training carries.

use std::collections::BTreeMap;

use candle_core::Tensor;
use chains_core::{ParamStore, Result, optim::Adam};

use crate::{
    config::TrainConfig,
    model::{DENOISER, DISCRIMINATOR, GENERATOR},
};

/// What training carries from iteration to iteration beside the model: all of it is saved for an exact
/// resume.
pub struct TrainState {
    /// The optimiser of the critic.
    pub critic: Adam,
    /// The optimiser of the generator.
    pub generator: Adam,
    /// The optimiser of the denoiser.
    pub denoiser: Adam,
    /// Iterations done.
    pub iteration: usize,
}

impl TrainState {
    /// Before the first iteration.
    pub fn new(config: &TrainConfig) -> Self {
        let adam = || Adam::new(config.adam);
        Self { critic: adam(), generator: adam(), denoiser: adam(), iteration: 0 }
    }

    fn parts(&self) -> [(&'static str, &Adam); 3] {
        [(DISCRIMINATOR, &self.critic), (GENERATOR, &self.generator), (DENOISER, &self.denoiser)]
    }

    /// Moments of all three optimisers by name, and their numbers of steps.
    pub fn tensors(&self) -> (Vec<(String, Tensor)>, [u64; 3]) {
        let parts = self.parts();
        let moments = parts.iter().flat_map(|(who, adam)| adam.tensors_of(who)).collect();
        (moments, parts.map(|(_, adam)| adam.steps()))
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
        let one = |who, steps| Adam::restore_of(who, config.adam, steps, tensors, store);
        Ok(Self {
            critic: one(DISCRIMINATOR, steps[0])?,
            generator: one(GENERATOR, steps[1])?,
            denoiser: one(DENOISER, steps[2])?,
            iteration,
        })
    }
}
