//! U-GAN: a free-form generator from an unnormalised log density and no data.
//!
//! The divergence from a target `u / Z` is split by a proposal `nu` whose density is cheap to evaluate,
//! `KL(q || u / Z) = E_q[log q - log nu] + E_q[log nu - log u] + log Z`: a critic learns the first ratio
//! from samples, the second is explicit. The proposal follows the generator by maximum likelihood, so
//! that the ratio stays small. With an optimal critic the generator's gradient is exact for any
//! proposal that covers it; a wide Gaussian beside the flow ([`Defence`]) sees to that. The paper names the parts (supplement, sections H, I.1, J.2 and J.3); how
//! they are put together here is a reconstruction.

mod config;
mod estimate;
mod model;
mod networks;
mod objective;
mod proposal;
mod target;
#[cfg(test)]
mod tests;
mod train;

pub use self::{
    config::{UganConfig, UganTraining},
    estimate::{LogPartition, log_partition},
    model::{METHOD, Ugan},
    networks::{Critic, Generator},
    objective::{ratio_loss, sample_gradient},
    proposal::{Defence, Proposal},
    target::{LogDensityFn, Target},
    train::{Terms, TrainState, update},
};
