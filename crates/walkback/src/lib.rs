//! Variational Walkback (Goyal, Ke, Ganguli, Bengio, "Variational Walkback: Learning a Transition
//! Operator as a Stochastic Recurrent Net", NIPS 2017).
//!
//! The model is one stochastic operator `p_T(s' | s)` on data space with a temperature `T`. Applied
//! again and again while `T` falls, it turns broad noise into data; applied for ever at `T = 1` it
//! should stay on the data. It is taught in two movements: walk away from an example with the very
//! same operator at rising temperatures, and learn to give, at every step, the earlier state from the
//! later one. The heated walk is the proposal of a lower bound on the log density.
//!
//! * [`config`]: networks, operators and chains of the supplement as plain structs.
//! * [`WalkbackModel`]: network and start; saves and loads. [`Operator`]: its transitions.
//! * [`update`]: one walk with its optimiser steps, online or accumulated; [`Learner`] does the same
//!   for any operator. [`score`]: the monitor of training on other rows.
//! * [`freeze`]: stored normalisation moments and the fitted start, which every density needs.
//! * [`WalkbackChain`], [`estimate`], [`IsotropicPaths`]: lower bound, also with the entropy of the
//!   proposal, importance sampling, isotropic output variances.
//! * [`generate`], [`heat`], [`inpaint`]: chains. [`reversibility`]: how far they are from detailed
//!   balance.
//!
//! Two regimes are kept apart, because the published code mixes them. A *Gaussian* operator learns its
//! variance, never clips and has bounds. A *reconstructing* operator minimises reconstruction error,
//! clips states to `[0, 1]`, hardly adds noise and has none: it gives pictures, never nats.

pub mod chain;
pub mod config;
mod likelihood;
mod model;
mod network;
mod objective;
mod operator;
mod reversibility;
mod sampler;
mod start;
mod statistics;
mod train;

pub use chain::{Visit, WalkbackChain, Weighting};
pub use chains_core::{
    chain::{Generated, PathEstimate, PathWeights},
    dist::Moments,
    schedule::{Cooling, Heating, Temperatures},
};
pub use config::{
    Architecture, ChainConfig, DenseInit, DenseNorm, Mixing, ModelConfig, NetworkConfig, NormEps,
    Objective, OperatorConfig, ReconstructionError, StartConfig, TemperatureEffect, TrainConfig,
    Updates,
};
pub use likelihood::{EstimateOptions, IsotropicPaths, estimate};
pub use model::{METHOD, WalkbackModel};
pub use network::{OperatorNetwork, Outputs, Raw, Statistics};
pub use objective::{StepLoss, negative_log_likelihood, reconstruction_error};
pub use operator::{Clipped, Conditional, Operator};
pub use reversibility::{Reversibility, ReversibilityOptions, reversibility};
pub use sampler::{SampleOptions, generate, generate_from, heat, inpaint};
pub use start::Start;
pub use statistics::{freeze, refit_start};
pub use train::{Learner, TrainState, Walked, score, update};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
