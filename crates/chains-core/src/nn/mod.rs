//! Layers on [`crate::ops`]. Tensor names and shapes follow PyTorch.

mod batch_norm;
mod conv;
mod linear;
mod norm;
mod orthogonal;
mod step_norm;
#[cfg(test)]
mod tests;

pub use batch_norm::{BatchNorm, BatchNormMoments};
pub use conv::{Conv2d, Conv2dConfig, ConvTranspose2d};
pub use linear::{Linear, LinearInit, fan_in_uniform};
pub use norm::{Gains, MomentSource, Norm, NormConfig, NormKind};
pub use orthogonal::orthogonal;
pub use step_norm::{MomentAverage, Statistics, StepNorm, StepNormConfig};
