//! Signed weights, the temperatures that they stand for, and their course in time.
//!
//! The sign convention of this crate, of its configurations and of every report
//! ([`SIGN_CONVENTION`]): a positive weight of the likelihood form is colder, a positive weight of
//! the entropy form is hotter. Released code of the paper has the opposite sign: its
//! positive bound pushes against the score, which is a negative weight here.

mod schedule;
#[cfg(test)]
mod tests;

use chains_core::{Error, Result, config::positive};
use serde::{Deserialize, Serialize};

pub use self::schedule::{Course, Schedule};

/// What a signed weight means, in the words that stand in every resolved configuration.
pub const SIGN_CONVENTION: &str = "likelihood form: beta = 1 + lambda, positive is colder (seeks modes); \
     entropy form: beta = 1 / (1 + lambda), positive is hotter (spreads)";

/// The least weight of the entropy form that an annealed density objective uses, `beta = 2`; ours, so
/// that a swinging schedule does not come near the pole at -1 ([`Reg::admissible`]).
pub const COLDEST_ENTROPY: f64 = -0.5;

/// What is added to `KL(q || mu)`, with a signed weight `lambda` (corollary 2.2).
///
/// | form | objective | beta |
/// | --- | --- | --- |
/// | likelihood | `KL(q‖mu) - lambda E_q[log mu]` | `1 + lambda` |
/// | entropy | `KL(q‖mu) + lambda E_q[log q]` | `1 / (1 + lambda)` |
///
/// Both are minimised by the normalised `mu^beta`. The entropy form is the annealed divergence divided
/// by `beta`: the minimiser is the same, the gradient another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reg {
    /// Likelihood: a positive weight is colder.
    Likelihood,
    /// Entropy: a positive weight is hotter.
    Entropy,
}

/// The factors of the two parts of an annealed divergence from an unnormalised density,
/// `c_q E_q[log q] - c_u E_q[log u]`, whose minimiser is `u^(c_u / c_q)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// Of the log density of the generator.
    pub c_q: f64,
    /// Of the log density of the target.
    pub c_u: f64,
}

impl Weights {
    /// `c_u / c_q`.
    pub fn beta(self) -> f64 {
        self.c_u / self.c_q
    }
}

impl Reg {
    /// The inverse temperature of a weight.
    ///
    /// # Errors
    /// [`Error::Config`] unless `lambda` is a finite number above -1, where no temperature is.
    pub fn beta(self, lambda: f64) -> Result<f64> {
        Ok(self.weights(lambda)?.beta())
    }

    /// The weight of an inverse temperature, the inverse of [`Reg::beta`].
    ///
    /// # Errors
    /// [`Error::Config`] unless `beta` is positive and finite.
    pub fn lambda(self, beta: f64) -> Result<f64> {
        positive("beta", beta)?;
        Ok(match self {
            Self::Likelihood => beta - 1.0,
            Self::Entropy => 1.0 / beta - 1.0,
        })
    }

    /// The weight of the other form with the same temperature: `-lambda / (1 + lambda)` between unlike
    /// forms.
    ///
    /// # Errors
    /// As [`Reg::beta`].
    pub fn convert(self, lambda: f64, to: Self) -> Result<f64> {
        if self == to {
            return self.beta(lambda).map(|_| lambda);
        }
        self.beta(lambda).map(|_| -lambda / (1.0 + lambda))
    }

    /// The factors of `log q` and `log u`: `(1, 1 + lambda)` or `(1 + lambda, 1)`.
    ///
    /// # Errors
    /// As [`Reg::beta`].
    pub fn weights(self, lambda: f64) -> Result<Weights> {
        if !(lambda.is_finite() && lambda > -1.0) {
            let reason = format!("{lambda} must be above -1; to be hotter use the entropy form");
            return Err(Error::Config { field: "lambda", reason });
        }
        Ok(match self {
            Self::Likelihood => Weights { c_q: 1.0, c_u: 1.0 + lambda },
            Self::Entropy => Weights { c_q: 1.0 + lambda, c_u: 1.0 },
        })
    }

    /// The weight that an exact density objective uses in the place of `lambda`: in the entropy form
    /// not below [`COLDEST_ENTROPY`]; in the likelihood form, where a weight of -1 or less has no
    /// temperature, the same or an error.
    ///
    /// # Errors
    /// [`Error::Config`] for a number that is not finite, or in the likelihood form is not above -1.
    pub fn admissible(self, lambda: f64) -> Result<f64> {
        let lambda = match self {
            Self::Entropy if lambda.is_finite() => lambda.max(COLDEST_ENTROPY),
            _ => lambda,
        };
        self.weights(lambda).map(|_| lambda)
    }
}

/// A schedule with its form: the temperature of an exact density objective in time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Annealing {
    /// What the weights weigh.
    pub reg: Reg,
    /// The weights.
    pub schedule: Schedule,
}

impl Annealing {
    /// No annealing: `beta = 1` throughout.
    pub const fn none() -> Self {
        Self { reg: Reg::Entropy, schedule: Schedule::none() }
    }

    /// The admissible weight of iteration `t` of `total`.
    ///
    /// # Errors
    /// As [`Reg::admissible`].
    pub fn lambda(&self, t: usize, total: usize) -> Result<f64> {
        self.reg.admissible(self.schedule.at(t, total))
    }

    /// The inverse temperature of iteration `t` of `total`.
    ///
    /// # Errors
    /// As [`Reg::admissible`].
    pub fn beta(&self, t: usize, total: usize) -> Result<f64> {
        self.reg.beta(self.lambda(t, total)?)
    }

    /// The factors of iteration `t` of `total`.
    ///
    /// # Errors
    /// As [`Reg::admissible`].
    pub fn weights(&self, t: usize, total: usize) -> Result<Weights> {
        self.reg.weights(self.lambda(t, total)?)
    }

    /// Refuses a schedule that leaves the range of its form at any time: no schedule exceeds its
    /// initial weight in size, and those that change sign reach down to about minus that.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        self.schedule.validate()?;
        let size = self.schedule.initial.abs();
        let least = if self.schedule.course.changes_sign() { -size } else { self.schedule.initial };
        self.reg.admissible(least).map(|_| ())
    }
}

/// How the inner product of score and feature is normalised in a generator's loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LambdaNorm {
    /// Divided by the number of features `F`, as released code has it. Weights of 0.1 to 10 are then
    /// usual; with `F = 2048` they are 0.00005 to 0.005 of the mathematical weight.
    PerElement,
    /// Not divided: the weight of [`Reg::Likelihood`] itself.
    PerSample,
}

impl LambdaNorm {
    /// What the inner product of `features` numbers is divided by.
    pub fn divisor(self, features: usize) -> f64 {
        match self {
            Self::PerElement => features.max(1) as f64,
            Self::PerSample => 1.0,
        }
    }

    /// The mathematical weight, that of [`Reg::Likelihood`].
    pub fn per_sample(self, lambda: f64, features: usize) -> f64 {
        lambda / self.divisor(features)
    }
}
