//! Kernels with step sizes, and their adaptation.

use candle_core::Tensor;

use super::rules::{StepSizeAdaptation, StepSizeRule};
use crate::{
    chain::{Kernel, Step},
    error::Result,
    mcmc::{Hmc, HmcInfo, HmcState},
    noise::Noise,
};

/// A kernel whose chains have step sizes and accept or reject proposals.
pub trait StepSized: Kernel {
    /// The step size of every chain, `(b,)`.
    fn step_size<'a>(&self, state: &'a Self::State) -> &'a Tensor;

    /// The same state with other step sizes, `(b,)`.
    fn with_step_size(&self, state: Self::State, step_size: Tensor) -> Self::State;

    /// One where the proposal was accepted, `(b,)`, u8.
    fn accepted<'a>(&self, info: &'a Self::Info) -> &'a Tensor;
}

impl<E: crate::density::Energy> StepSized for Hmc<E> {
    fn step_size<'a>(&self, state: &'a HmcState) -> &'a Tensor {
        &state.step_size
    }

    fn with_step_size(&self, state: HmcState, step_size: Tensor) -> HmcState {
        HmcState { step_size, ..state }
    }

    fn accepted<'a>(&self, info: &'a HmcInfo) -> &'a Tensor {
        &info.accepted
    }
}

/// A kernel whose step sizes adapt after every transition.
///
/// While they adapt the chains have no invariant law: adapt during burn-in and go on with the kernel
/// itself, from [`AdaptedState::state`], which keeps the step sizes.
#[derive(Clone, Debug)]
pub struct Adapted<K, R = StepSizeRule> {
    kernel: K,
    rule: R,
}

/// The state of [`Adapted`].
#[derive(Clone, Debug)]
pub struct AdaptedState<S> {
    /// The kernel's own state, with the step sizes of the next transition.
    pub state: S,
    /// What the rule keeps of the acceptance, `(b,)`: the running average of every chain
    /// ([`StepSizeRule`]), or the share of the batch in the last transition
    /// ([`ProportionalRule`](super::ProportionalRule)).
    pub acceptance: Tensor,
}

impl<K: StepSized, R: StepSizeAdaptation> Adapted<K, R> {
    /// The kernel `kernel` with step sizes adapted by `rule`.
    ///
    /// # Errors
    /// As [`StepSizeAdaptation::validate`].
    pub fn new(kernel: K, rule: R) -> Result<Self> {
        rule.validate()?;
        Ok(Self { kernel, rule })
    }

    /// The kernel with step sizes that stay.
    pub fn kernel(&self) -> &K {
        &self.kernel
    }
}

impl<K: StepSized, R: StepSizeAdaptation> Kernel for Adapted<K, R> {
    type State = AdaptedState<K::State>;
    type Info = K::Info;

    fn init(&self, position: Tensor) -> Result<Self::State> {
        let state = self.kernel.init(position)?;
        let acceptance = (self.kernel.step_size(&state).ones_like()? * self.rule.target())?;
        Ok(AdaptedState { state, acceptance })
    }

    fn step(
        &self,
        state: &Self::State,
        at: Step,
        noise: &mut dyn Noise,
    ) -> Result<(Self::State, Self::Info)> {
        let (next, info) = self.kernel.step(&state.state, at, noise)?;
        let accepted = self.kernel.accepted(&info);
        let step_size = self.kernel.step_size(&next);
        let (step_size, acceptance) = self.rule.update(step_size, &state.acceptance, accepted)?;
        let state = self.kernel.with_step_size(next, step_size);
        Ok((AdaptedState { state, acceptance }, info))
    }

    fn position<'a>(&self, state: &'a Self::State) -> &'a Tensor {
        self.kernel.position(&state.state)
    }

    fn moved(&self, state: Self::State, position: Tensor) -> Result<Self::State> {
        let AdaptedState { state, acceptance } = state;
        Ok(AdaptedState { state: self.kernel.moved(state, position)?, acceptance })
    }
}
