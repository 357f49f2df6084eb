//! Networks and constants of soft Q-learning.

use chains_core::{Error, Result, config::positive, optim::AdamConfig};
use serde::{Deserialize, Serialize};

use super::{ACTIONS, OBSERVED};
use crate::{
    maf::MafConfig,
    ugan::{UganConfig, UganTraining},
};

/// Where the actions of the soft value come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proposal {
    /// Uniform on the square, as in the public soft Q-learning code.
    Uniform,
    /// The policy's tractable law: the flow of a U-GAN, the Gaussian (a reconstruction).
    Policy,
}

/// Everything of soft Q-learning but the policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftQConfig {
    /// Units of the hidden layers of Q; two of 128 in the paper.
    pub hidden: Vec<usize>,
    /// `alpha`; 1, the reward scale plays its part.
    pub temperature: f64,
    /// 30, that of the public soft Q-learning code for this swimmer.
    pub reward_scale: f64,
    /// `gamma`; 0.99 (same code).
    pub discount: f64,
    /// `J`, actions of the soft value; 16 (same code).
    pub particles: usize,
    /// Where they come from.
    pub proposal: Proposal,
    /// Transitions of an update; 128 in the paper.
    pub batch_size: usize,
    /// Adam's rate; 4e-4 in the paper, for Q and for the policy.
    pub learning_rate: f64,
    /// Adam's constants for Q: the usual ones.
    pub adam: AdamConfig,
    /// Updates between two copies of Q to the target network; 1000 (same code).
    pub target_every: usize,
    /// Transitions that are kept; 1e6 in the paper.
    pub pool: usize,
}

impl SoftQConfig {
    /// Appendix J.3 for `hidden`, `batch_size`, `learning_rate` and `pool`; the public soft Q-learning code
    /// for the rest.
    pub fn published() -> Self {
        Self {
            hidden: vec![128, 128],
            temperature: 1.0,
            reward_scale: 30.0,
            discount: 0.99,
            particles: 16,
            proposal: Proposal::Uniform,
            batch_size: 128,
            learning_rate: 4e-4,
            adam: AdamConfig::standard(),
            target_every: 1_000,
            pool: 1_000_000,
        }
    }

    /// Can it be learned with?
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        positive("temperature", self.temperature)?;
        positive("reward_scale", self.reward_scale)?;
        positive("learning_rate", self.learning_rate)?;
        if !(0.0..1.0).contains(&self.discount) {
            let reason = format!("{} is not from 0 to below 1", self.discount);
            return Err(Error::Config { field: "discount", reason });
        }
        for (field, value) in [
            ("particles", self.particles),
            ("batch_size", self.batch_size),
            ("target_every", self.target_every),
            ("pool", self.pool),
        ] {
            at_least_one(field, value)?;
        }
        widths("hidden", &self.hidden)
    }
}

pub(super) fn at_least_one(field: &'static str, value: usize) -> Result<()> {
    if value > 0 {
        return Ok(());
    }
    Err(Error::Config { field, reason: "must be one or more".into() })
}

/// Are layers of these widths possible?
pub(super) fn widths(field: &'static str, widths: &[usize]) -> Result<()> {
    widths.iter().try_for_each(|width| at_least_one(field, *width))
}

/// The policy `h = mean(s) + deviation(s) e`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GaussianConfig {
    /// Units of the hidden layers.
    pub hidden: Vec<usize>,
    /// Adam's constants.
    pub adam: AdamConfig,
}

/// A generator trained by amortised Stein variational gradients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SteinConfig {
    /// Units of the generator's hidden layers.
    pub hidden: Vec<usize>,
    /// Particles of a state; 16 in the public soft Q-learning code.
    pub particles: usize,
    /// The share of them that moves, the others attract and repel; 0.5 (same code).
    pub update_ratio: f64,
    /// Adam's constants.
    pub adam: AdamConfig,
}

impl SteinConfig {
    /// Particles that stay and particles that move.
    pub fn split(&self) -> [usize; 2] {
        let moving = (self.particles as f64 * self.update_ratio) as usize;
        [self.particles - moving.min(self.particles), moving]
    }
}

/// A generator trained as a U-GAN on `log u(h | s)`, with the state as context of all three networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UganPolicyConfig {
    /// Generator, critic and proposal.
    pub networks: UganConfig,
    /// How they are trained; rates, annealing and the number of updates are the learner's.
    pub training: UganTraining,
}

/// A policy and its networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum PolicyConfig {
    /// A diagonal Gaussian before the squash, with its exact entropy (as soft actor-critic has it).
    Gaussian(GaussianConfig),
    /// Amortised Stein variational gradient descent.
    Stein(SteinConfig),
    /// A conditional U-GAN, the paper's.
    Ugan(Box<UganPolicyConfig>),
}

impl PolicyConfig {
    /// The Gaussian with hidden layers of these widths; Adam's usual constants.
    pub fn gaussian(hidden: &[usize]) -> Self {
        Self::Gaussian(GaussianConfig { hidden: hidden.to_vec(), adam: AdamConfig::standard() })
    }

    /// 16 particles, half of which move.
    pub fn stein(hidden: &[usize]) -> Self {
        let (hidden, adam) = (hidden.to_vec(), AdamConfig::standard());
        Self::Stein(SteinConfig { hidden, particles: 16, update_ratio: 0.5, adam })
    }

    /// A U-GAN whose generator and critic have hidden layers of these widths, with a proposal of `blocks`
    /// blocks; 4 of \[512, 512\] in the paper.
    pub fn ugan(hidden: &[usize], blocks: usize, flow: &[usize]) -> Self {
        let whole = UganConfig::policy(OBSERVED, ACTIONS);
        let flow = MafConfig { blocks, hidden: flow.to_vec(), ..whole.flow.clone() };
        let (generator, critic) = (hidden.to_vec(), hidden.to_vec());
        let networks = UganConfig { generator, critic, flow, ..whole };
        // The learner's annealing goes by its own clock. A Gaussian beside the flow would be that of the
        // samples of all states, not of each; the trainings that were measured did without one.
        let training = UganTraining { defence: None, ..UganTraining::policy(1) };
        Self::Ugan(Box::new(UganPolicyConfig { networks, training }))
    }

    /// Can the policy be built?
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Gaussian(config) => widths("hidden", &config.hidden),
            Self::Ugan(config) => {
                let flow = &config.networks.flow;
                if [flow.dim, flow.context] != [ACTIONS, OBSERVED] {
                    let reason = format!("must have dimension {ACTIONS} and context {OBSERVED}");
                    return Err(Error::Config { field: "networks.flow", reason });
                }
                config.networks.validate()?;
                config.training.validate()
            }
            Self::Stein(config) => {
                // The kernel's width is a median over the logarithm of the particles that stay.
                let [fixed, moving] = config.split();
                if fixed < 2 || moving == 0 {
                    let reason = format!(
                        "of {} particles {fixed} stay and {moving} move; two and one at least must",
                        config.particles
                    );
                    return Err(Error::Config { field: "update_ratio", reason });
                }
                widths("hidden", &config.hidden)
            }
        }
    }
}
