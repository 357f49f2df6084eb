//! Effective sample sizes: how many independent draws an estimate from weighted or correlated draws
//! is worth.

mod chains;
mod weights;

pub use chains::{ChainEss, Convergence, chain_ess, convergence};
pub use weights::{WeightEss, weight_ess};
