//! Plain configuration structs; presets cite the papers' tables or the published commands.

mod energy;
mod energy_training;
mod nvae;
mod nvae_training;
#[cfg(test)]
mod tests;

pub use energy::{BlockConfig, ConvEnergyConfig, EnergyConfig};
pub use energy_training::{EnergyTrainConfig, Negatives};
pub use nvae::{Head, NvaeConfig, adaptive_groups};
pub use nvae_training::{NvaeTrainConfig, SpectralWeight};
