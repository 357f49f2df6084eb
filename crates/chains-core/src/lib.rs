//! The tensor layer of learned Markov chains and energy-based generative models.
//!
//! Everything that two methods share lives here, on top of candle: named seed streams and
//! reproducible noise, an ordered parameter store, layers, distributions, transition operators and
//! chains, estimators of likelihoods along a path, optimisers, training state, checkpoints.

pub mod autograd;
pub mod chain;
pub mod checkpoint;
pub mod config;
#[cfg(feature = "cuda")]
mod cuda;
pub mod density;
pub mod device;
pub mod dist;
pub mod error;
pub mod host;
pub mod hub;
pub mod mcmc;
pub mod nn;
pub mod noise;
pub mod ops;
pub mod optim;
pub mod params;
pub mod schedule;
pub mod seed;
pub mod tangent;
#[cfg(test)]
mod testing;
pub mod train;

pub use error::{Error, Result};
pub use noise::{HostNoise, Noise, NoiseState};
pub use params::ParamStore;
pub use seed::Seed;
