//! Networks and training of a generator without data.

use chains_core::{Error, Result, optim::AdamConfig};
use serde::{Deserialize, Serialize};

use super::Defence;
use crate::{
    anneal::{Annealing, Reg, Schedule},
    maf::MafConfig,
};

/// Generator, critic and proposal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UganConfig {
    /// Dimension of the generator's noise, which is standard normal.
    pub latent: usize,
    /// Widths of the generator's hidden layers.
    pub generator: Vec<usize>,
    /// Scale that every coordinate of the generator begins with; `None` for a generator whose output is
    /// that of its last layer. With one the output is `loc + scale * last layer`, `loc` from 0.
    pub output_scale: Option<f64>,
    /// Widths of the critic's hidden layers.
    pub critic: Vec<usize>,
    /// Slope of the leaky ReLU of generator and critic below zero; 0 for ReLU.
    pub slope: f64,
    /// The proposal. Its dimension and context are those of all three networks.
    pub flow: MafConfig,
}

impl UganConfig {
    /// Two-dimensional targets: generator 8 -> 128 x 3 -> D, critic D -> 128 x 3 -> 1, slope 0.2, and the
    /// paper's proposal of 8 blocks of \[512, 512\] (supplement). Sizes of generator and critic are not
    /// in the paper: ours.
    pub fn toy(dim: usize) -> Self {
        let wide = vec![128; 3];
        Self {
            latent: 8,
            generator: wide.clone(),
            output_scale: None,
            critic: wide,
            slope: 0.2,
            flow: MafConfig::new(dim, 8, &[512, 512]),
        }
    }

    /// [`UganConfig::toy`] for a laptop: widths of 64, 4 blocks of \[64, 64\]; all ours.
    pub fn small(dim: usize) -> Self {
        let narrow = vec![64; 3];
        let flow = MafConfig::new(dim, 4, &[64, 64]);
        Self { generator: narrow.clone(), critic: narrow, flow, ..Self::toy(dim) }
    }

    /// Bayesian logistic regression: as much noise as dimensions, hidden layers of 256, a location and a
    /// scale of 0.1 for every coordinate (all ours), the paper's proposal.
    pub fn logistic(dim: usize) -> Self {
        Self {
            latent: dim,
            generator: vec![256; 3],
            output_scale: Some(0.1),
            critic: vec![256; 3],
            ..Self::toy(dim)
        }
    }

    /// [`UganConfig::logistic`] for a laptop: widths of 128, 4 blocks of \[128, 128\]; all ours.
    pub fn logistic_small(dim: usize) -> Self {
        let narrow = vec![128; 3];
        let flow = MafConfig::new(dim, 4, &[128, 128]);
        Self { generator: narrow.clone(), critic: narrow, flow, ..Self::logistic(dim) }
    }

    /// A policy of `actions` coordinates given `observations`: two hidden layers of 128 with ReLU in the
    /// generator, noise of the actions' dimension, 4 blocks of \[512, 512\] (supplement; the critic is
    /// ours).
    pub fn policy(observations: usize, actions: usize) -> Self {
        let flow = MafConfig { context: observations, ..MafConfig::new(actions, 4, &[512, 512]) };
        Self {
            latent: actions,
            generator: vec![128; 2],
            output_scale: None,
            critic: vec![128; 2],
            slope: 0.0,
            flow,
        }
    }

    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        let bad = |field, reason: &str| Err(Error::Config { field, reason: reason.into() });
        if self.latent == 0 {
            return bad("latent", "must be at least 1");
        }
        if self.generator.contains(&0) || self.critic.contains(&0) {
            return bad("generator, critic", "a hidden layer has no units");
        }
        if !(0.0..=1.0).contains(&self.slope) {
            return bad("slope", "must be between 0 and 1");
        }
        if self.output_scale.is_some_and(|scale| !(scale.is_finite() && scale > 0.0)) {
            return bad("output_scale", "must be positive and finite");
        }
        self.flow.validate()
    }
}

/// How they are trained. Nothing of it is in the paper but that there is a schedule; all values are
/// ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UganTraining {
    /// Samples of an update.
    pub batch_size: usize,
    /// Updates of the generator, `T` of the schedule.
    pub updates: usize,
    /// Updates of critic and proposal before the first of the generator.
    pub warm_up: usize,
    /// Constants of all three optimisers: 0.5, 0.9, 1e-8.
    pub adam: AdamConfig,
    /// Learning rate of the generator.
    pub generator_rate: f64,
    /// Learning rate of the critic.
    pub critic_rate: f64,
    /// Learning rate of the proposal.
    pub flow_rate: f64,
    /// Steps of the critic in an update. They share the samples of the proposal, which are what an
    /// update spends its time on.
    pub critic_steps: usize,
    /// Steps of the proposal in an update.
    pub flow_steps: usize,
    /// Length that the generator's gradient is clipped at.
    pub gradient_limit: f64,
    /// Decay of the average of the generator's weights, which is what is evaluated.
    pub average: f64,
    /// Standard deviation of noise on the critic's inputs at the beginning.
    pub input_noise: f64,
    /// The share of the updates that has it.
    pub input_noise_share: f64,
    /// The wide Gaussian beside the flow; without one a generator that leaves the flow runs away.
    pub defence: Option<Defence>,
    /// Signed weights in time.
    pub annealing: Annealing,
}

impl UganTraining {
    /// Two-dimensional targets: batches of 128, rates 5e-4 (generator) and 1e-3, one step of each network,
    /// a warm-up of 200, no annealing.
    pub fn toy(updates: usize) -> Self {
        Self {
            batch_size: 128,
            updates,
            warm_up: 200,
            adam: AdamConfig { beta1: 0.5, beta2: 0.9, eps: 1e-8 },
            generator_rate: 5e-4,
            critic_rate: 1e-3,
            flow_rate: 1e-3,
            critic_steps: 1,
            flow_steps: 1,
            gradient_limit: 10.0,
            average: 0.999,
            input_noise: 0.05,
            input_noise_share: 0.1,
            defence: Some(Defence::standard()),
            annealing: Annealing::none(),
        }
    }

    /// Bayesian logistic regression: half the rates, two steps of critic and proposal.
    pub fn logistic(updates: usize) -> Self {
        Self {
            generator_rate: 2.5e-4,
            critic_rate: 5e-4,
            flow_rate: 5e-4,
            critic_steps: 2,
            flow_steps: 2,
            ..Self::toy(updates)
        }
    }

    /// A policy: all rates 4e-4 and batches of 128 (supplement), one step of each network for each of
    /// the agent's, no warm-up, no noise, no annealing.
    pub fn policy(updates: usize) -> Self {
        let rate = 4e-4;
        Self {
            warm_up: 0,
            generator_rate: rate,
            critic_rate: rate,
            flow_rate: rate,
            input_noise: 0.0,
            ..Self::toy(updates)
        }
    }

    /// The same with the entropy form, weighted by this schedule.
    #[must_use]
    pub fn annealed(self, schedule: Schedule) -> Self {
        Self { annealing: Annealing { reg: Reg::Entropy, schedule }, ..self }
    }

    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        let bad = |field, reason: &str| Err(Error::Config { field, reason: reason.into() });
        if self.batch_size == 0 {
            return bad("batch_size", "must be at least 1");
        }
        if self.critic_steps == 0 || self.flow_steps == 0 {
            return bad("critic_steps, flow_steps", "must be at least 1");
        }
        for (field, value) in [
            ("generator_rate", self.generator_rate),
            ("critic_rate", self.critic_rate),
            ("flow_rate", self.flow_rate),
            ("gradient_limit", self.gradient_limit),
        ] {
            chains_core::config::positive(field, value)?;
        }
        if !(self.input_noise >= 0.0 && self.input_noise.is_finite()) {
            return bad("input_noise", "must be 0 or positive");
        }
        if !(0.0..=1.0).contains(&self.input_noise_share) {
            return bad("input_noise_share", "must be between 0 and 1");
        }
        if let Some(defence) = &self.defence {
            defence.validate()?;
        }
        self.annealing.validate()
    }
}
