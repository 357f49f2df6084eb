//! Step sizes that follow the acceptance of their chains.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::{
    chain::{Kernel, Step},
    error::{Error, Result},
    mcmc::{Hmc, HmcInfo, HmcState},
    noise::Noise,
};

/// A step size that grows or shrinks by a fixed factor as a running average of the acceptance is
/// above its target or not.
///
/// After each transition, for each chain: `step_size` is multiplied by `increase` if `average >
/// target` and by `decrease` otherwise, and clipped to `[smallest, largest]`; then
/// `average <- decay average + (1 - decay) accepted`. In this order the codes that the rule comes from
/// have it, so a transition tells one transition later.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSizeRule {
    /// Acceptance above which steps grow, and where the average begins.
    pub target: f64,
    /// Weight of the past in the running average.
    pub decay: f64,
    /// Factor of growth, above one.
    pub increase: f64,
    /// Factor of shrinking, below one.
    pub decrease: f64,
    /// No step size is below.
    pub smallest: f64,
    /// No step size is above.
    pub largest: f64,
}

impl StepSizeRule {
    /// The rule of the public code of Wu, Burda, Salakhutdinov and Grosse (2017) for decoder-based
    /// models: target 0.65, average 0.9 to 0.1, factors 1.02 and 0.98, steps within `[1e-4, 0.5]`.
    ///
    /// There the average runs over all chains, which share one step size; here each has its own.
    pub const fn decoder_models() -> Self {
        Self {
            target: 0.65,
            decay: 0.9,
            increase: 1.02,
            decrease: 0.98,
            smallest: 1e-4,
            largest: 0.5,
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        let inside = |value: f64| value > 0.0 && value < 1.0;
        let checks = [
            ("target", self.target, inside(self.target), "between 0 and 1"),
            ("decay", self.decay, self.decay >= 0.0 && self.decay < 1.0, "from 0 to below 1"),
            (
                "increase",
                self.increase,
                self.increase >= 1.0 && self.increase.is_finite(),
                "one or more",
            ),
            (
                "decrease",
                self.decrease,
                self.decrease > 0.0 && self.decrease <= 1.0,
                "above 0, at most 1",
            ),
            (
                "smallest",
                self.smallest,
                self.smallest > 0.0 && self.smallest <= self.largest,
                "above 0, at most `largest`",
            ),
            ("largest", self.largest, self.largest.is_finite(), "finite"),
        ];
        for (field, value, holds, allowed) in checks {
            if !holds {
                return Err(Error::Config { field, reason: format!("{value} is not {allowed}") });
            }
        }
        Ok(())
    }

    /// Step sizes and averages after a transition.
    ///
    /// # Shapes
    /// All `(b,)`; `accepted` u8, one for an accepted proposal.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn update(
        &self,
        step_size: &Tensor,
        average: &Tensor,
        accepted: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let above = average.gt(self.target)?;
        let grown =
            above.where_cond(&(step_size * self.increase)?, &(step_size * self.decrease)?)?;
        let accepted = accepted.to_dtype(average.dtype())?.affine(1.0 - self.decay, 0.0)?;
        let average = ((average * self.decay)? + accepted)?;
        Ok((grown.clamp(self.smallest, self.largest)?, average))
    }
}

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
pub struct Adapted<K> {
    kernel: K,
    rule: StepSizeRule,
}

/// The state of [`Adapted`].
#[derive(Clone, Debug)]
pub struct AdaptedState<S> {
    /// The kernel's own state, with the step sizes of the next transition.
    pub state: S,
    /// Running average of the acceptance of every chain, `(b,)`.
    pub acceptance: Tensor,
}

impl<K: StepSized> Adapted<K> {
    /// The kernel `kernel` with step sizes adapted by `rule`.
    ///
    /// # Errors
    /// As [`StepSizeRule::validate`].
    pub fn new(kernel: K, rule: StepSizeRule) -> Result<Self> {
        rule.validate()?;
        Ok(Self { kernel, rule })
    }

    /// The kernel with step sizes that stay.
    pub fn kernel(&self) -> &K {
        &self.kernel
    }
}

impl<K: StepSized> Kernel for Adapted<K> {
    type State = AdaptedState<K::State>;
    type Info = K::Info;

    fn init(&self, position: Tensor) -> Result<Self::State> {
        let state = self.kernel.init(position)?;
        let acceptance = (self.kernel.step_size(&state).ones_like()? * self.rule.target)?;
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
