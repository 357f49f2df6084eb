//! Transition operators, chains as iterators, clamping, and estimators along paths.

mod blocks;
mod clamp;
mod estimate;
mod generate;
mod kernel;
mod operator;
#[cfg(test)]
mod tests;

pub use blocks::{PathBlock, PathBlocks, PathEstimate, PathWeights};
pub use clamp::{Clamped, Conditional, Half, half_mask, keep};
pub use estimate::{LogMeanExp, LogWeights, PathSummary};
pub use generate::{Generated, generate};
pub use kernel::{Chain, Draw, Kernel, Schedule, chain, check_kernel};
pub use operator::{
    Generation, GenerationInfo, GenerationState, Stationary, StepSchedule, TransitionOperator,
};

/// A moment of chain time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Number of the transition, from 0.
    pub index: usize,
    /// Multiplies the variance of the transition; 1 leaves it.
    pub temperature: f64,
}

impl Step {
    /// The transition with that number at temperature 1.
    pub const fn at(index: usize) -> Self {
        Self { index, temperature: 1.0 }
    }
}
