//! Layers on [`crate::ops`]. Tensor names and shapes follow PyTorch.

mod batch_norm;
mod conv;
mod linear;
mod norm;
mod orthogonal;
mod spectral_norm;
mod step_norm;
#[cfg(test)]
mod tests;
mod weight_norm;

pub use batch_norm::{BatchNorm, BatchNormConfig, BatchNormMoments};
pub use conv::{Conv2d, Conv2dConfig, ConvTranspose2d};
pub use linear::{Linear, LinearInit, fan_in_uniform};
pub use norm::{Gains, MomentSource, Norm, NormConfig, NormKind};
pub use orthogonal::orthogonal;
pub use spectral_norm::SpectralNorms;
pub use step_norm::{MomentAverage, Statistics, StepNorm, StepNormConfig};
pub use weight_norm::{WeightNormConfig, WeightNormConv2d};
