//! One update of either stage as a function.

mod energy;
mod generator;
mod importance;
mod stopping;
mod vae;

pub use energy::{
    Contrast, EnergyState, EnergyTerms, NegativeBatch, contrastive_update, update_energy,
};
pub use generator::{generator_gradients, update_generator};
pub use importance::{Weighted, importance_negatives};
pub use stopping::DivergenceRule;
pub use vae::{NvaeTerms, NvaeTrainState, readjust, update_vae};
