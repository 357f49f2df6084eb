//! Frozen normalisation statistics over a whole training set.

use candle_core::Tensor;
use chains_core::{Error, Noise, Result, nn::MomentAverage, schedule::InfusionRate};

use crate::{config::ChainConfig, model::InfusionModel};

/// Collects per-step moments on infusion chains, batch by batch, and stores them in the model.
///
/// Every batch runs with its own statistics, as in training; its moments are averaged exactly, with
/// weights for batches of unequal size.
pub struct StatisticsPass<'a> {
    model: &'a InfusionModel,
    chain: ChainConfig,
    layers: Vec<MomentAverage>,
}

impl<'a> StatisticsPass<'a> {
    /// On infused chains with the training rates, as published.
    pub fn new(model: &'a InfusionModel) -> Self {
        Self { model, chain: model.config().chain.clone(), layers: Vec::new() }
    }

    /// On the model's own chain, rate 0, which is what generation runs.
    pub fn on_model_chain(model: &'a InfusionModel) -> Self {
        let mut this = Self::new(model);
        this.chain.rate = InfusionRate::constant(0.0);
        this
    }

    /// Adds a batch, `(b, D)`.
    ///
    /// # Errors
    /// [`Error::Shape`] for another shape.
    pub fn push(&mut self, x: &Tensor, noise: &mut dyn Noise) -> Result<()> {
        let (_, passes) = self.model.infused(&self.chain, x, noise)?;
        let b = x.dim(0)?;
        for (step, pass) in passes.iter().enumerate() {
            self.layers.resize_with(pass.moments.len(), MomentAverage::default);
            for (average, moments) in self.layers.iter_mut().zip(&pass.moments) {
                average.push(step, moments, b)?;
            }
        }
        Ok(())
    }

    /// Stores the averages; [`chains_core::nn::Statistics::Running`] uses them from now on.
    ///
    /// # Errors
    /// [`Error::Config`] if no batch was added.
    pub fn finish(self) -> Result<()> {
        if self.layers.is_empty() {
            let reason = "no batch was added".into();
            return Err(Error::Config { field: "statistics", reason });
        }
        for (layer, average) in self.layers.iter().enumerate() {
            average.store(|step, name| {
                self.model.store().get(&format!("operator.hidden.{layer}.norms.{step}.{name}"))
            })?;
        }
        Ok(())
    }
}
