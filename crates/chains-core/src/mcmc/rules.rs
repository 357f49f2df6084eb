//! Rules by which step sizes follow the acceptance of their chains.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How step sizes follow the acceptance, for [`Adapted`](super::Adapted).
pub trait StepSizeAdaptation {
    /// The acceptance that is sought, where [`AdaptedState::acceptance`](super::AdaptedState) begins.
    fn target(&self) -> f64;

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    fn validate(&self) -> Result<()>;

    /// Step sizes and what the rule keeps of the acceptance, after a transition.
    ///
    /// # Shapes
    /// All `(b,)`; `accepted` u8, one for an accepted proposal.
    ///
    /// # Errors
    /// If the shapes differ.
    fn update(
        &self,
        step_size: &Tensor,
        acceptance: &Tensor,
        accepted: &Tensor,
    ) -> Result<(Tensor, Tensor)>;
}

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

impl StepSizeAdaptation for StepSizeRule {
    fn target(&self) -> f64 {
        self.target
    }

    fn validate(&self) -> Result<()> {
        Self::validate(self)
    }

    fn update(
        &self,
        step_size: &Tensor,
        acceptance: &Tensor,
        accepted: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        Self::update(self, step_size, acceptance, accepted)
    }
}

/// A step size that moves by a share of itself, in proportion to how far the acceptance is from its
/// target: `step_size <- step_size + rate (acceptance - target) step_size`.
///
/// The acceptance is the share of the batch's chains that accepted in the last transition, so that
/// chains which begin with one step size keep sharing it; of unequal ones the ratios stay. There are
/// no limits: where every step is accepted, steps grow for ever.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProportionalRule {
    /// Relative change per unit of acceptance.
    pub rate: f64,
    /// Acceptance at which steps stay.
    pub target: f64,
}

impl ProportionalRule {
    /// Of the public code of VERA for Hamiltonian Monte Carlo: rate 0.02, target 0.67.
    pub const fn vera_hmc() -> Self {
        Self { rate: 0.02, target: 0.67 }
    }

    /// Of the public code of VERA for [`Mala`](super::Mala): rate 0.02, target 0.57.
    ///
    /// There it is applied once after a chain of 100 steps, to the mean acceptance of the chain; for
    /// that call [`ProportionalRule::next`].
    pub const fn vera_mala() -> Self {
        Self { rate: 0.02, target: 0.57 }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("rate", self.rate), ("target", self.target)] {
            if !(value > 0.0 && value < 1.0) {
                let reason = format!("{value} is not between 0 and 1");
                return Err(Error::Config { field, reason });
            }
        }
        Ok(())
    }

    /// The step size after transitions of which the share `acceptance` was accepted.
    pub fn next(&self, step_size: f64, acceptance: f64) -> f64 {
        step_size + self.rate * (acceptance - self.target) * step_size
    }
}

impl StepSizeAdaptation for ProportionalRule {
    fn target(&self) -> f64 {
        self.target
    }

    fn validate(&self) -> Result<()> {
        Self::validate(self)
    }

    fn update(
        &self,
        step_size: &Tensor,
        acceptance: &Tensor,
        accepted: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        for (what, tensor) in [("acceptance", acceptance), ("accepted chains", accepted)] {
            if tensor.dims() != step_size.dims() {
                let (expected, got) = (format!("{:?}", step_size.dims()), tensor.dims().to_vec());
                return Err(Error::Shape { what, expected, got });
            }
        }
        let share = accepted.to_dtype(step_size.dtype())?.mean_all()?;
        let factor = share.affine(self.rate, 1.0 - self.rate * self.target)?;
        let acceptance = share.broadcast_as(step_size.shape())?.contiguous()?;
        Ok((step_size.broadcast_mul(&factor)?, acceptance))
    }
}
