//! Points of a plane: an autoencoder small enough that everything about the product can be measured.
//!
//! In two dimensions the partition function `Z = int p(x) exp(-E(x)) dx` is a sum over a [`Grid`], so
//! that the product has a likelihood (experiment of 25 Gaussians, section 5.2). [`Kernels`] give the
//! density of the autoencoder at its nodes, [`monte_carlo`] is the estimator without a grid.

mod partition;
mod vae;

pub use partition::{Grid, GridPartition, Kernels, LogPartition, monte_carlo};
pub use vae::{PlaneConfig, PlaneModel, PlaneTerms, PlaneVae, update_plane, update_plane_weighted};
