//! Markov chain Monte Carlo on batches of chains: Hamiltonian Monte Carlo and its step sizes.
//!
//! A chain is a row of the batch, with a step size of its own. What kernels have in common stands in
//! files of its own: [`accept`] and [`select`] decide between a proposal and where the chain was,
//! [`StepSizeRule`] adapts step sizes of any kernel that has them ([`StepSized`]).

mod adapt;
mod hmc;
mod metropolis;
#[cfg(test)]
mod tests;

pub use adapt::{Adapted, AdaptedState, StepSizeRule, StepSized};
pub use hmc::{Hmc, HmcInfo, HmcState, Phase, leapfrog};
pub use metropolis::{accept, select};
