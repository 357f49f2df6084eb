//! Markov chain Monte Carlo on batches of chains: Langevin steps, the Metropolis-adjusted Langevin
//! algorithm, Hamiltonian Monte Carlo, their step sizes, and a buffer of persistent chains.
//!
//! A chain is a row of the batch, and every kernel moves on an [`Energy`](crate::density::Energy):
//!
//! | kernel | law of the chains | gradients a step |
//! | --- | --- | --- |
//! | [`Langevin`] | near the target for small matched steps | 1 |
//! | [`Mala`] | the target | 1 |
//! | [`Hmc`] | the target | as many as leapfrog steps |
//!
//! What kernels have in common stands in files of its own: [`accept`] and [`select`] decide between
//! a proposal and where the chain was; a rule ([`StepSizeAdaptation`]) adapts the step sizes of any
//! kernel that has them ([`StepSized`]), each chain's by its own acceptance ([`StepSizeRule`]) or all
//! by that of the batch ([`ProportionalRule`]). [`ReplayBuffer`] keeps positions between runs.
//!
//! A number that is not finite is told in a kernel's `Info` and is no error: kernels with an accept
//! step stay where they were, Langevin chains go there, and what becomes of them is their owner's
//! choice.

mod adapt;
mod hmc;
mod langevin;
mod mala;
mod metropolis;
mod replay;
mod rules;
#[cfg(test)]
mod tests;

pub use adapt::{Adapted, AdaptedState, StepSized};
pub use hmc::{Hmc, HmcInfo, HmcState, Phase, leapfrog};
pub use langevin::{Langevin, LangevinInfo, LangevinState};
pub use mala::{Mala, MalaInfo, MalaState};
pub use metropolis::{accept, select};
pub use replay::{Drawn, ReplayBuffer};
pub use rules::{ProportionalRule, StepSizeAdaptation, StepSizeRule};
