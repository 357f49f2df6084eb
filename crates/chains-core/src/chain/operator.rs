//! Learned transitions, and generation with them.

use candle_core::Tensor;

use super::{Kernel, Schedule, Step};
use crate::{
    density::{LogDensity, Sample},
    error::Result,
    noise::Noise,
};

/// A learned transition returns a *distribution*, so sampling and likelihood cannot disagree.
pub trait TransitionOperator {
    /// The conditional law of the next position.
    type Dist: LogDensity + Sample;

    /// The law of the position after transition `at` from `x`, `(b, ..event)`.
    ///
    /// # Errors
    /// If `x` has not the shape that the operator documents.
    fn conditional(&self, x: &Tensor, at: Step) -> Result<Self::Dist>;
}

/// Generation: the kernel that draws from an operator's conditional at every step.
#[derive(Clone, Debug)]
pub struct Generation<O>(pub O);

/// The state of [`Generation`].
#[derive(Clone, Debug)]
pub struct GenerationState {
    /// Where the chains are, detached.
    pub position: Tensor,
}

/// What a step of [`Generation`] tells.
#[derive(Clone, Debug)]
pub struct GenerationInfo<D> {
    /// The law from which the position was drawn; its mean is what papers show as pictures.
    pub conditional: D,
}

impl<O: TransitionOperator> Kernel for Generation<O> {
    type State = GenerationState;
    type Info = GenerationInfo<O::Dist>;

    fn init(&self, position: Tensor) -> Result<GenerationState> {
        Ok(GenerationState { position: position.detach() })
    }

    fn step(
        &self,
        state: &GenerationState,
        at: Step,
        noise: &mut dyn Noise,
    ) -> Result<(GenerationState, Self::Info)> {
        let conditional = self.0.conditional(&state.position, at)?;
        let position = conditional.sample(1, noise)?.detach();
        Ok((GenerationState { position }, GenerationInfo { conditional }))
    }

    fn position<'a>(&self, state: &'a GenerationState) -> &'a Tensor {
        &state.position
    }
}

/// Transitions `0, 1, .., len - 1` at temperature 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSchedule {
    /// Number of steps.
    pub len: usize,
}

impl Schedule for StepSchedule {
    fn at(&self, index: usize) -> Step {
        Step::at(index)
    }

    fn len(&self) -> Option<usize> {
        Some(self.len)
    }
}

/// The same transition again and again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stationary {
    /// The transition.
    pub step: Step,
    /// Number of steps; `None` goes on for ever.
    pub len: Option<usize>,
}

impl Schedule for Stationary {
    fn at(&self, _: usize) -> Step {
        self.step
    }

    fn len(&self) -> Option<usize> {
        self.len
    }
}
