//! Soft Q-learning with policies that are trained on an unnormalised density (appendix J.3).
//!
//! The policy's target is `pi(a | s) ~ exp(Q(s, a) / alpha)` on `a` in `(-1, 1)^2`. All policies work in
//! the space before the squash, `a = tanh(h)`, where
//!
//! ```text
//! log u(h | s) = Q(s, tanh h) / alpha + sum_i log(1 - tanh(h_i)^2)
//! ```
//!
//! and `Q` is fitted to `y = reward_scale r + gamma (1 - done) V(s')` with the soft value
//!
//! ```text
//! V(s') = alpha [ logsumexp_j (Q(s', a_j) / alpha - log p(a_j | s')) - log J ],   a_j ~ p
//! ```
//!
//! of a target network that is copied at intervals. `p` is uniform on the square, so that `-log p = 2 log
//! 2`, or the policy's own density where it has one.
//!
//! The paper's supplement names the task, two hidden layers of 128, the flow (4 blocks of [512, 512]), the
//! batch of 128, Adam at 4e-4 and a replay pool of 1e6; reward scale, discount, particles, the copies and the
//! kernel of the Stein policy are those of the public soft Q-learning code (Haarnoja and others 2017), and
//! how the pieces fit together is a reconstruction.

mod actor;
mod agent;
mod config;
mod policy;
mod q_function;
mod replay;
mod squash;
mod value;

pub use self::{
    actor::{Actor, Episode, Gait, Greedy, RandomActions, Sampled, episodes},
    agent::{METHOD, SoftQ, SoftQProgress, SoftQTerms},
    config::{GaussianConfig, PolicyConfig, Proposal, SoftQConfig, SteinConfig, UganPolicyConfig},
    policy::{
        GaussianPolicy, LogTarget, Policy, PolicyStep, PolicyTerms, SteinPolicy, UganPolicy,
        stein_directions,
    },
    q_function::QNetwork,
    replay::{Batch, Transition, Transitions},
    squash::{log_squash, squashed_log_target},
    value::{bellman_targets, soft_value},
};

/// Numbers that a policy sees.
pub const OBSERVED: usize = 13;
/// Numbers of an action.
pub const ACTIONS: usize = 2;

#[cfg(test)]
mod tests;
