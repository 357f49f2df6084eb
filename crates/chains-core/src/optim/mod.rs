//! Optimisers and weight averages with state that saves.

mod adam;
mod adamax;
mod average;
mod clip;
mod moments;

pub use adam::{Adam, AdamConfig, MomentClip, Regularisation};
pub use adamax::{Adamax, AdamaxConfig};
pub use average::WeightAverage;
pub use clip::clip_norm;
