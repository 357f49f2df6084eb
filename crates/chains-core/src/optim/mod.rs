//! Optimisers and weight averages with state that saves.

mod adam;
mod average;

pub use adam::{Adam, AdamConfig};
pub use average::WeightAverage;
