//! Plain configuration structs; one preset for every network of the supplement.

mod network;
mod presets;
#[cfg(test)]
mod tests;

use chains_core::{
    Error, Result,
    config::positive,
    optim::AdamConfig,
    schedule::{LearningRate, Temperatures},
};
use serde::{Deserialize, Serialize};

pub use self::network::{Architecture, DenseInit, DenseNorm, NetworkConfig, NormEps};

/// What the temperature multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TemperatureEffect {
    /// The variance: `v = T u`. The method as it is described.
    Variance,
    /// The root of it is taken first: `v = sqrt(T) u`; one published script for toys.
    RootOfTemperature,
    /// The standard deviation: `v = T^2 u`.
    Deviation,
}

impl TemperatureEffect {
    /// What multiplies the base variance at this temperature.
    pub fn factor(self, temperature: f64) -> f64 {
        match self {
            Self::Variance => temperature,
            Self::RootOfTemperature => temperature.sqrt(),
            Self::Deviation => temperature * temperature,
        }
    }
}

/// The law of a transition, with `mu = a s + (1 - a) F_mu(s)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum OperatorConfig {
    /// `N(mu, v)` with `u = scale softplus(F_sig) + floor` and `v = T u`: learns its variance, has
    /// densities and so bounds, never clips.
    Gaussian {
        /// sigma_0.
        scale: f64,
        /// eps_u; without one the bound has no maximum on data without noise. Not in the paper.
        floor: f64,
        /// How the temperature enters.
        effect: TemperatureEffect,
    },
    /// `clip(a s + (1 - a) (F_mu + noise sqrt(T softplus(F_sig)) e), 0, 1)`: as the published code
    /// draws images. Learns by reconstruction error, its variance stays as it began; it has no
    /// density, so no bound.
    Reconstruction {
        /// c, 1e-5 in the code.
        noise: f64,
        /// The noise stands outside of `1 - a`, as in the published script for LSUN.
        outside: bool,
    },
    /// `Bernoulli(sigmoid(mu / T))` for binary data.
    Bernoulli,
}

impl OperatorConfig {
    /// [`OperatorConfig::Gaussian`] with a variance that is linear in the temperature.
    pub const fn gaussian(scale: f64, floor: f64) -> Self {
        Self::Gaussian { scale, floor, effect: TemperatureEffect::Variance }
    }

    /// The published constant of images, 1e-5, within the mixture.
    pub const fn reconstruction() -> Self {
        Self::Reconstruction { noise: 1e-5, outside: false }
    }

    /// Does the law have a density, and so a bound?
    pub fn has_density(self) -> bool {
        !matches!(self, Self::Reconstruction { .. })
    }

    /// Does the variance branch of the network learn?
    pub fn learns_variance(self) -> bool {
        matches!(self, Self::Gaussian { .. })
    }

    fn validate(self) -> Result<()> {
        match self {
            Self::Gaussian { scale, floor, .. } => {
                positive("scale", scale)?;
                positive("floor", floor)
            }
            Self::Reconstruction { noise, .. } => positive("noise", noise),
            Self::Bernoulli => Ok(()),
        }
    }
}

/// The weight of the old state in the mean, `a_t = initial + (t - 1) increment`, kept in `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixing {
    /// `a_1`; 0.5 in all scripts but one.
    pub initial: f64,
    /// From one step to the next; 0 is the constant weight.
    pub increment: f64,
}

impl Mixing {
    /// The same weight at every step.
    pub const fn constant(initial: f64) -> Self {
        Self { initial, increment: 0.0 }
    }

    /// The weight at transition `index`, from 0.
    pub fn at(self, index: usize) -> f64 {
        (self.initial + index as f64 * self.increment).clamp(0.0, 1.0)
    }

    fn validate(self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.initial) {
            let reason = format!("{} is no weight between 0 and 1", self.initial);
            return Err(Error::Config { field: "mixing.initial", reason });
        }
        if !self.increment.is_finite() {
            let reason = "must be finite".into();
            return Err(Error::Config { field: "mixing.increment", reason });
        }
        Ok(())
    }
}

/// `p*`, where generation starts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum StartConfig {
    /// The factorial Gaussian with the moments of the heated states, variances at least `floor`.
    Fitted {
        /// Least variance, 1e-6. Not in the paper.
        floor: f64,
    },
    /// `clip(N(mean, stdev^2), 0, 1)`, as the published code starts images.
    Clipped {
        /// 0.5.
        mean: f64,
        /// 2.
        stdev: f64,
    },
    /// Independent bits.
    Bernoulli {
        /// Probability of one.
        probability: f64,
    },
}

impl StartConfig {
    /// [`StartConfig::Fitted`] with floor 1e-6.
    pub const fn fitted() -> Self {
        Self::Fitted { floor: 1e-6 }
    }

    /// The published code's start of images.
    pub const fn clipped() -> Self {
        Self::Clipped { mean: 0.5, stdev: 2.0 }
    }

    pub(crate) fn validate(self) -> Result<()> {
        match self {
            Self::Fitted { floor } => positive("start.floor", floor),
            Self::Clipped { mean, stdev } if mean.is_finite() => positive("start.stdev", stdev),
            Self::Clipped { mean, .. } => {
                let reason = format!("{mean} must be finite");
                Err(Error::Config { field: "start.mean", reason })
            }
            Self::Bernoulli { probability } => {
                if probability > 0.0 && probability < 1.0 {
                    return Ok(());
                }
                let reason = format!("{probability} must be between 0 and 1");
                Err(Error::Config { field: "start.probability", reason })
            }
        }
    }
}

/// The chain: how it heats, mixes and starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// Temperatures of the K transitions.
    pub temperatures: Temperatures,
    /// Weights of the old state.
    pub mixing: Mixing,
    /// `p*`.
    pub start: StartConfig,
    /// N_ex: sampling steps at temperature 1 after cooling.
    pub extra_steps: usize,
}

impl ChainConfig {
    /// Temperatures that grow by `factor`, equal weights of old state and network.
    pub fn with(factor: f64, start: StartConfig, extra_steps: usize) -> Self {
        let (temperatures, mixing) = (Temperatures::Geometric { factor }, Mixing::constant(0.5));
        Self { temperatures, mixing, start, extra_steps }
    }

    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        self.temperatures.validate()?;
        self.mixing.validate()?;
        self.start.validate()
    }
}

/// What a checkpoint carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The operator's network.
    pub network: NetworkConfig,
    /// The law of its transitions.
    pub operator: OperatorConfig,
    /// The chain it was trained on.
    pub chain: ChainConfig,
}

impl ModelConfig {
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        self.network.validate()?;
        self.operator.validate()?;
        self.chain.validate()?;
        let fits = match (self.operator, self.chain.start) {
            (OperatorConfig::Gaussian { .. }, start) => matches!(start, StartConfig::Fitted { .. }),
            (OperatorConfig::Bernoulli, start) => matches!(start, StartConfig::Bernoulli { .. }),
            (OperatorConfig::Reconstruction { .. }, start) => {
                !matches!(start, StartConfig::Bernoulli { .. })
            }
        };
        if fits {
            return Ok(());
        }
        let reason = "does not fit the operator: a Gaussian one starts fitted, a Bernoulli one with \
                      bits, reconstruction fitted or clipped";
        Err(Error::Config { field: "start", reason: reason.into() })
    }
}

/// What training follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// The method: `ln p(s_{t-1} | s_t)` with both states constant.
    Walkback,
    /// What the published code computes: the density of a state under the mean made from that very
    /// state. Degenerate with a learned variance; for comparison.
    SelfReconstruct,
    /// The gradient of the lower bound itself, through reparameterised states and all K steps. Not in
    /// the paper.
    FullBound,
}

/// When the optimiser steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Updates {
    /// After every transition; "better results" (supplement, section 9).
    Online,
    /// Once a walk, along the plain sum over its transitions.
    Accumulated,
    /// After so many transitions, along their sum.
    Every {
        /// At least 1.
        steps: usize,
    },
}

impl Updates {
    /// Transitions behind one optimiser step.
    pub(crate) fn group(self) -> usize {
        match self {
            Self::Online => 1,
            Self::Accumulated => usize::MAX,
            Self::Every { steps } => steps.max(1),
        }
    }
}

/// The error that [`OperatorConfig::Reconstruction`] minimises: summed over dimensions, against
/// `F_mu` and not the mixed mean, mean over the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReconstructionError {
    /// `0.5 (s - F_mu)^2`.
    Squared,
    /// `0.5 |s - F_mu|`; published scripts for SVHN and for CIFAR-10 without per-step norms.
    Absolute,
}

/// How the operator is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// What training follows.
    pub objective: Objective,
    /// When the optimiser steps; [`Objective::FullBound`] steps once a walk.
    pub updates: Updates,
    /// The error of the regime without densities.
    pub error: ReconstructionError,
    /// N_1: a walk begins with 0 to this many transitions at temperature 1, their number uniform.
    pub extra_steps: usize,
    /// Adam's constants.
    pub adam: AdamConfig,
    /// Rate over the whole training.
    pub learning_rate: LearningRate,
    /// Examples in a walk.
    pub batch_size: usize,
    /// Passes over the training set.
    pub epochs: usize,
}

impl TrainConfig {
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        self.learning_rate.validate()?;
        if self.batch_size < 2 {
            let reason = "batch statistics need at least 2".into();
            return Err(Error::Config { field: "batch_size", reason });
        }
        if self.updates == (Updates::Every { steps: 0 }) {
            return Err(Error::Config { field: "updates", reason: "must be at least 1".into() });
        }
        Ok(())
    }
}
