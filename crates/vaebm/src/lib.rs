//! VAEBM: a hierarchical variational autoencoder times an energy network.
//!
//! Z. Xiao, K. Kreis, J. Kautz, A. Vahdat, *VAEBM: A Symbiosis between Variational Autoencoders and
//! Energy-based Models*, ICLR 2021; the autoencoder is that of A. Vahdat, J. Kautz, *NVAE: A Deep
//! Hierarchical Variational Autoencoder*, NeurIPS 2020.
//!
//! # The method
//!
//! The model multiplies a trained autoencoder by a small convolutional energy on pixels,
//!
//! ```text
//! h(x, z) = p(x, z) exp(-E(x)) / Z
//! ```
//!
//! so that regions which the autoencoder wrongly finds likely are suppressed and samples become
//! sharp. Training has two stages:
//!
//! 1. The autoencoder, with groups of latent variables from coarse to fine and a Gaussian pixel
//!    decoder, by the usual bound.
//! 2. The energy, the autoencoder frozen, by maximum likelihood: the gradient is the mean of
//!    `-grad E` over data plus the mean of `grad E` over samples of the product.
//!
//! Those samples come from short Langevin chains in the *noise* space. Every latent group and every
//! pixel is a location and a scale of standard normal noise, `x` is a function of all that noise,
//! and the product density becomes
//!
//! ```text
//! h(e) ~ exp(-E(x(e))) N(e; 0, I)
//! ```
//!
//! in which every coordinate has the same scale, so one step size serves them all. Chains start from
//! fresh noise or, for the latent part, from a replay buffer.
//!
//! # What the crate contains
//!
//! | module | holds |
//! | --- | --- |
//! | [`config`] | the published autoencoders, energy networks and trainings, one preset a row of the tables, and small ones |
//! | [`nvae`] | the hierarchical autoencoder: cells, towers, flows, heads; as a map of noise |
//! | [`energy`] | the energy networks of images and points, the critic of the ablation |
//! | [`NoiseSpace`], [`run_chains`], [`SampleStream`] | the potentials, Langevin chains, samples in batches |
//! | [`objective`], [`preprocess`] | the loss of the first stage and its schedules; bits and dequantisation |
//! | [`train`] | one update of either stage, the steps of ablation and extension, a rule when to stop |
//! | [`VaebmModel`] | both networks in one directory, as samples are drawn of them |
//! | [`baselines`] | energies on pixels without an autoencoder |
//! | [`plane`] | autoencoder and exact partition function of points in the plane |
//! | [`published_tensors`], [`infer_config`] | names of the official checkpoints' tensors |
//!
//! Two potentials are offered by name ([`Potential`]). The *paper's* is the density above and serves everything
//! that claims to be a density. The *official* program differentiates a potential without the
//! Jacobian of the reparameterisation, which is another density; it is needed to repeat published
//! image scores. A report says which one ran.
//!
//! The official program is under a licence for non-commercial use; this crate is written from a
//! description and takes nothing from its source.
//!
//! # What it builds on
//!
//! Noise, parameters, layers, Langevin kernels, the replay buffer and checkpoints come from
//! [`chains_core`].

pub mod baselines;
pub mod config;
mod data_space;
pub mod energy;
mod import;
mod joint;
mod likelihood;
mod model;
mod noise_decoder;
pub mod nvae;
pub mod objective;
pub mod plane;
mod potential;
pub mod preprocess;
mod replay;
mod sampler;
pub mod train;

pub use config::{
    ConvEnergyConfig, EnergyConfig, EnergyTrainConfig, Head, NvaeConfig, NvaeTrainConfig,
    SpectralWeight,
};
pub use data_space::DataSpace;
pub use energy::{EnergyModel, EnergyNetwork};
pub use import::{infer_config, published_tensors, read_published};
pub use joint::{METHOD, VaebmConfig, VaebmModel, VaebmSpace};
pub use likelihood::{importance_weights, unnormalised_log_density};
pub use model::{NVAE_METHOD, NvaeModel};
pub use noise_decoder::{
    Decoded, Group, JointNoise, NoiseDecoder, NoiseShapes, PixelLaw, PixelRange,
};
pub use nvae::{Nvae, Pass, Pixels};
pub use potential::{Evaluated, NoiseSpace, Potential};
pub use replay::{Begun, NoiseBuffer, ReplayConfig};
pub use sampler::{ChainConfig, Ended, Health, SampleStream, run_chains};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
