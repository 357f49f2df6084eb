//! Settings of annealed importance sampling.

use chains_core::{Error, Result, mcmc::StepSizeRule};
use serde::{Deserialize, Serialize};

/// How the inverse temperatures `b_0 = 0, .., b_T = 1` are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum AisSchedule {
    /// `b_t = (g_t - g_0) / (g_T - g_0)`, `g_t = 1 / (1 + exp(-rad (2 t / T - 1)))`: dense at both ends.
    Sigmoid {
        /// Half the range of the logistic function that is used; 4 in the published study.
        rad: f64,
    },
    /// `b_t = t / T`.
    Linear,
}

/// Where the step sizes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AisAdaptation {
    /// From a pilot run with the same schedule, by the rule: at every temperature the mean over the
    /// chains of a row. They stay as they are in a run with fresh noise, so weights are unbiased.
    Frozen,
    /// By the rule while weights are collected, as published codes have it. Transitions then depend on
    /// the past and the mean weight is not exactly the likelihood.
    Online,
}

/// Settings of annealed importance sampling.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AisSettings {
    /// `T`, how often weights grow: there are `T - 1` transitions.
    pub steps: usize,
    /// Spacing of the inverse temperatures.
    pub schedule: AisSchedule,
    /// Chains for every row.
    pub chains: usize,
    /// Leapfrog steps of a transition.
    pub leapfrog_steps: usize,
    /// Step size of the first transition.
    pub step_size: f64,
    /// How step sizes adapt.
    pub rule: StepSizeRule,
    /// When they do.
    pub adaptation: AisAdaptation,
    /// Chains that are computed together at most, which bounds the memory.
    pub block: usize,
    /// Everything random follows from it.
    pub seed: u64,
}

impl AisSettings {
    /// Wu, Burda, Salakhutdinov and Grosse (2017): 16 chains, 10,000 steps, sigmoid schedule with rad 4,
    /// 10 leapfrog steps, first step size 0.01, the rule of their code.
    ///
    /// Ours: frozen step sizes where theirs adapt online, blocks of 1,024 chains, seed 0. On two cores
    /// take 1,000 steps.
    pub const fn published() -> Self {
        Self {
            steps: 10_000,
            schedule: AisSchedule::Sigmoid { rad: 4.0 },
            chains: 16,
            leapfrog_steps: 10,
            step_size: 0.01,
            rule: StepSizeRule::decoder_models(),
            adaptation: AisAdaptation::Frozen,
            block: 1024,
            seed: 0,
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("steps", self.steps),
            ("chains", self.chains),
            ("leapfrog_steps", self.leapfrog_steps),
            ("block", self.block),
        ] {
            if value == 0 {
                return Err(Error::Config { field, reason: "must be one or more".into() });
            }
        }
        let positive = |field: &'static str, value: f64| {
            if value > 0.0 && value.is_finite() {
                return Ok(());
            }
            Err(Error::Config { field, reason: format!("{value} is not a positive number") })
        };
        positive("step_size", self.step_size)?;
        if let AisSchedule::Sigmoid { rad } = self.schedule {
            positive("rad", rad)?;
            if rad > 30.0 {
                let reason = format!("{rad} is above 30, where steps vanish in rounding");
                return Err(Error::Config { field: "rad", reason });
            }
        }
        self.rule.validate()
    }

    /// The `T + 1` inverse temperatures, from exactly 0 to exactly 1.
    pub(super) fn betas(&self) -> Result<Vec<f64>> {
        self.validate()?;
        let last = self.steps;
        let at = |t: usize| t as f64 / last as f64;
        let level = |t: usize| match self.schedule {
            AisSchedule::Linear => at(t),
            AisSchedule::Sigmoid { rad } => 1.0 / (1.0 + (-rad * (2.0 * at(t) - 1.0)).exp()),
        };
        let (low, high) = (level(0), level(last));
        Ok((0..=last).map(|t| (level(t) - low) / (high - low)).collect())
    }
}
