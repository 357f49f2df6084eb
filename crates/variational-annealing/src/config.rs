//! Plain configuration structs of the image GANs; presets cite the paper's tables, and say what is ours.

mod network;
#[cfg(test)]
mod tests;
mod train;

pub use self::{
    network::{
        ConvLayer, DenoiserConfig, DiscriminatorConfig, GanConfig, GenWidth, GeneratorConfig, SLOPE,
    },
    train::{BetaAt, Order, Resolved, TrainConfig},
};
