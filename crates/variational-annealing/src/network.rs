//! Critic, generator and denoiser. Tensor names and shapes follow PyTorch.

mod denoiser;
mod discriminator;
mod generator;
mod standardiser;
#[cfg(test)]
mod tests;

use chains_core::{
    ParamStore, Result,
    nn::{BatchNorm, BatchNormConfig, BatchNormMoments},
    ops::NormActivation,
};

pub use self::{
    denoiser::Denoiser,
    discriminator::{Criticised, Discriminator},
    generator::Generator,
    standardiser::Standardiser,
};
use crate::config::SLOPE;

/// Added to the variance in every batch norm (released code; PyTorch has half of it).
pub(crate) const EPS: f64 = 2e-5;
/// Standard deviation of initial weights of critic and generator.
pub(crate) const STDEV: f64 = 0.02;

/// The leaky ReLU behind a batch norm, in its pass over memory.
pub(crate) const LEAKY: NormActivation = NormActivation::LeakyRelu(SLOPE as f32);

/// A batch norm of this crate.
pub(crate) fn norm(channels: usize, gain: bool, activation: NormActivation) -> BatchNormConfig {
    BatchNormConfig { channels, eps: EPS, gain, activation }
}

/// Moves the running moments of the norms under `root` a tenth of the way to those of a pass.
pub(crate) fn follow(store: &ParamStore, root: &str, moments: &BatchNormMoments) -> Result<()> {
    for (i, found) in moments.found().iter().enumerate() {
        BatchNorm::follow(store, &format!("{root}.norms.{i}"), found)?;
    }
    Ok(())
}
