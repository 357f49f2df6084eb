//! Infusion training (Bordes, Honari, Vincent, "Learning to Generate Samples from Noise through
//! Infusion Training", ICLR 2017).
//!
//! A transition operator `p_t(z_t | z_{t-1})`, a diagonal Gaussian from a network with batch
//! normalisation of its own for every step, turns factorial Gaussian noise into a sample in T large
//! steps. It is trained on the *infusion chain*: at every step each dimension takes, with a small
//! probability, the value of the training example, otherwise the model's own draw; the operator
//! learns to denoise such states into the example, or to maximise the lower bound that this proposal
//! defines.
//!
//! * [`config`]: networks and chains of the paper as plain structs.
//! * [`InfusionModel`]: network and prior; saves and loads.
//! * [`update`]: one optimiser step of either objective.
//! * [`StatisticsPass`]: frozen normalisation statistics.
//! * [`estimate`]: lower bound and importance sampling with any number of chains.
//! * [`generate`], [`inpaint`]: sampling.

pub mod chain;
pub mod config;
mod likelihood;
mod model;
mod network;
mod objective;
mod sampler;
mod statistics;
mod train;

pub use chain::{InfusionChain, PathWeights, Visit};
pub use chains_core::{chain::Generated, dist::Moments};
pub use config::{Architecture, ChainConfig, ModelConfig, NetworkConfig, Objective, TrainConfig};
pub use likelihood::{Estimate, EstimateOptions, estimate, rate_zero_log_prob};
pub use model::{InfusionModel, METHOD, Operator, Prior};
pub use network::{OperatorNetwork, Pass, heads};
pub use objective::{increasing_weights, weighted_log_likelihood};
pub use sampler::{SampleOptions, generate, generate_from, inpaint};
pub use statistics::StatisticsPass;
pub use train::{update, update_later};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
