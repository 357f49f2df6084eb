//! Variational annealing: generators trained along a path of temperatures.
//!
//! C. Tao, S. Dai, L. Chen, K. Bai, J. Chen, C. Liu, R. Zhang, G. Bobashev, L. Carin, *Variational
//! Annealing of GANs: A Langevin Perspective*, ICML 2019 (PMLR volume 97).
//!
//! # The method
//!
//! Langevin dynamics at inverse temperature `beta` on the potential `-log mu` settle at a density
//! proportional to `mu^beta`. The paper reads regularised GAN objectives as the same thing: with
//! `q` the generator's density, both
//!
//! ```text
//! KL(q || mu) - lambda E_q[log mu]      likelihood form,  beta = 1 + lambda
//! KL(q || mu) + lambda E_q[log q]       entropy form,     beta = 1 / (1 + lambda)
//! ```
//!
//! are minimised by the normalised `mu^beta`. A weight that moves in time anneals: above one in
//! `beta` the generator seeks modes, below one it spreads, and only a schedule that ends at
//! `lambda = 0` leaves an unbiased model. Weights are signed and must stay above `-1` wherever the
//! objective is an exact functional of densities.
//!
//! The paper applies this twice:
//!
//! * **From samples.** `grad log mu` is not known, and a denoising autoencoder in the critic's
//!   feature space estimates it: with corruption of standard deviation `sigma`, the score is
//!   `(phi(f) - f) / sigma^2` at the optimum. The inner product of this score, held constant, with
//!   the feature of a generated image joins the generator's loss with weight `-lambda_t`. Critics:
//!   Jensen-Shannon, reverse Kullback-Leibler, Wasserstein with gradient penalty.
//! * **From an unnormalised density.** With `log u(x)` and no data, a free-form generator is trained
//!   against a masked autoregressive flow as proposal and a paired critic (U-GAN); applications are
//!   two-dimensional targets, Bayesian logistic regression and soft Q-learning.
//!
//! # What is where
//!
//! | module | holds |
//! | --- | --- |
//! | [`anneal`] | signed weights, the temperatures that they stand for, schedules; the sign convention |
//! | [`config`] | networks and training of the image GANs, with the source of every value |
//! | [`network`], [`GanModel`] | critics, generators, the denoiser of features |
//! | [`objective`] | adversarial losses, annealing terms and the gradient penalty as pure functions |
//! | [`update`], [`losses`] | one iteration of critic, denoiser and generator |
//! | [`score`] | denoiser and residual scores, and a Langevin sampler that follows them |
//! | [`Maf`], [`ugan`] | the autoregressive flow, and the generator trained on an unnormalised density |
//! | [`logistic`], [`svgd`] | Bayesian logistic regression, and particles to compare with |
//! | [`soft_q`], [`swimmer`] | soft Q-learning and its environment |
//!
//! # What can be compared
//!
//! The result tables of the main paper could not be recovered when this page was written. Reports
//! therefore state our numbers beside those of baselines that we run or that are published, and say so.
//!
//! # What it builds on
//!
//! Noise, parameters, Langevin and Hamiltonian kernels, directional derivatives for the gradient
//! penalty and optimisers come from [`chains_core`].

pub mod anneal;
pub mod config;
pub mod logistic;
mod maf;
mod mlp;
mod model;
pub mod network;
pub mod objective;
pub mod score;
pub mod soft_q;
pub mod svgd;
pub mod swimmer;
mod train;
pub mod ugan;

pub use anneal::{Annealing, Course, LambdaNorm, Reg, Schedule};
pub use config::{
    DenoiserConfig, DiscriminatorConfig, GanConfig, GenWidth, GeneratorConfig, Order, TrainConfig,
};
pub use maf::{Made, Maf, MafConfig};
pub use model::{
    DENOISER, DISCRIMINATOR, FEATURES, GENERATOR, GanModel, METHOD, Networks, quantise,
};
pub use objective::{AnnealTerm, Objective};
pub use score::{ScoreModel, dae_score, langevin, residual_score};
pub use train::{DIVERGED, Losses, Terms, TrainState, Turn, losses, update};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
