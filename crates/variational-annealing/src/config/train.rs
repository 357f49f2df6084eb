//! Training.

use chains_core::{Error, Result, config::positive, optim::AdamConfig};
use serde::{Deserialize, Serialize};

use crate::{
    anneal::{LambdaNorm, Reg, SIGN_CONVENTION, Schedule},
    objective::{AnnealTerm, Objective},
};

/// The order of the steps of an iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// All three losses at the same weights and on the same images, then three steps (released code).
    Simultaneous,
    /// The generator first. As in the code base, critic and denoiser learn from the images that were
    /// made before its step, so that with one critic step this is the arithmetic of
    /// [`Order::Simultaneous`]; further critic steps see images of the moved generator.
    GeneratorFirst,
    /// Critic and denoiser first, then the generator against the moved critic on new images.
    CriticFirst,
}

/// Training of an image GAN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The adversarial losses.
    pub objective: Objective,
    /// What joins the generator's loss.
    pub term: AnnealTerm,
    /// The signed weight of that term over the iterations, in the convention of [`crate::anneal`].
    pub schedule: Schedule,
    /// How the weight is normalised; per element in released code.
    pub lambda_norm: LambdaNorm,
    /// Standard deviation of the corruption that the denoiser undoes; 1 in released code.
    pub sigma: f64,
    /// Iterations at the beginning whose weight is zero, until the denoiser's running moments are warm;
    /// 100, a reconstruction.
    pub denoiser_warm_up: usize,
    /// Does the denoiser learn? Without it the score is that of a random network, as in the released
    /// script of the Wasserstein GAN, whose optimiser is never stepped.
    pub train_denoiser: bool,
    /// Weight of the gradient penalty of [`Objective::WGanGp`]; 10.
    pub penalty: f64,
    /// Steps of the critic in an iteration; 1 in released code, 5 in its code base for Wasserstein.
    pub critic_steps: usize,
    /// The order of the steps.
    pub order: Order,
    /// Images of a step; 64.
    pub batch_size: usize,
    /// Iterations of the training; 150,000.
    pub iterations: usize,
    /// Of all three optimisers; 1e-4.
    pub learning_rate: f64,
    /// Another rate of the critic's optimiser; none in released code.
    pub critic_rate: Option<f64>,
    /// Of all three optimisers; 0.5, 0.9, 1e-8.
    pub adam: AdamConfig,
}

impl TrainConfig {
    /// Supplement, section J.1, with the constants of released code: CIFAR-10 without annealing. The
    /// released default rate for Wasserstein is 2e-4; the supplement says 1e-4 for all.
    pub fn cifar10(objective: Objective) -> Self {
        let order = match objective {
            Objective::WGanGp => Order::GeneratorFirst,
            _ => Order::Simultaneous,
        };
        Self {
            objective,
            term: AnnealTerm::Off,
            schedule: Schedule::none(),
            lambda_norm: LambdaNorm::PerElement,
            sigma: 1.0,
            denoiser_warm_up: 100,
            train_denoiser: true,
            penalty: 10.0,
            critic_steps: 1,
            order,
            batch_size: 64,
            iterations: 150_000,
            learning_rate: 1e-4,
            critic_rate: None,
            adam: AdamConfig { beta1: 0.5, beta2: 0.9, eps: 1e-8 },
        }
    }

    /// CelebA: as CIFAR-10; the supplement says nothing else.
    pub fn celeba(objective: Objective) -> Self {
        Self::cifar10(objective)
    }

    /// Ours, for digits: 3,000 iterations at ten times the rate of 150,000. The generator of a Wasserstein
    /// critic, which makes one step as it does, learns at a fifth of its rate (two time scales, Heusel et
    /// al. 2017): at the same rate the critic does not keep up.
    pub fn mnist(objective: Objective) -> Self {
        let learning_rate = if objective == Objective::WGanGp { 2e-4 } else { 1e-3 };
        let iterations = 3_000;
        Self { iterations, learning_rate, critic_rate: Some(1e-3), ..Self::cifar10(objective) }
    }

    /// The same with a term in the generator's loss.
    #[must_use]
    pub fn annealed(self, term: AnnealTerm, schedule: Schedule) -> Self {
        Self { term, schedule, ..self }
    }

    /// The rate of the critic's optimiser.
    pub fn critic_rate(&self) -> f64 {
        self.critic_rate.unwrap_or(self.learning_rate)
    }

    /// The weight of iteration `t`: zero while the denoiser warms up, or without a term.
    pub fn lambda(&self, t: usize) -> f64 {
        if self.term == AnnealTerm::Off || t < self.denoiser_warm_up {
            return 0.0;
        }
        self.schedule.at(t, self.iterations)
    }

    /// The weights that an iteration uses and the temperatures that they stand for, at eleven times from
    /// beginning to end.
    pub fn resolved(&self, features: usize) -> Resolved {
        let last = self.iterations.saturating_sub(1);
        let times = (0..=10).map(|tenth| last * tenth / 10);
        let course = times.map(|iteration| {
            let lambda = self.lambda(iteration);
            let per_sample = self.lambda_norm.per_sample(lambda, features);
            let beta = Reg::Likelihood.beta(per_sample).ok();
            BetaAt { iteration, lambda, lambda_per_sample: per_sample, beta }
        });
        Resolved {
            sign_convention: SIGN_CONVENTION.to_owned(),
            form: Reg::Likelihood,
            features,
            ends_at_zero: self.term == AnnealTerm::Off
                || self.schedule.ends_at_zero(self.iterations),
            course: course.collect(),
            train: self.clone(),
        }
    }

    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        self.schedule.validate()?;
        positive("sigma", self.sigma)?;
        positive("learning_rate", self.learning_rate)?;
        positive("critic_rate", self.critic_rate())?;
        if !(self.penalty >= 0.0 && self.penalty.is_finite()) {
            let reason = format!("{} must not be negative", self.penalty);
            return Err(Error::Config { field: "penalty", reason });
        }
        if self.batch_size < 2 {
            let reason = "at least 2 images have moments".into();
            return Err(Error::Config { field: "batch_size", reason });
        }
        if self.critic_steps == 0 || (self.order == Order::Simultaneous && self.critic_steps > 1) {
            let reason = format!("{}; a simultaneous iteration has exactly 1", self.critic_steps);
            return Err(Error::Config { field: "critic_steps", reason });
        }
        Ok(())
    }
}

/// A configuration with what follows from it, to be written beside a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// What the sign of a weight means.
    pub sign_convention: String,
    /// The form that weights belong to.
    pub form: Reg,
    /// `F`, by which a weight per element exceeds that per sample.
    pub features: usize,
    /// Is the weight zero at the end, so that the model is not biased by it?
    pub ends_at_zero: bool,
    /// Weights and temperatures in time.
    pub course: Vec<BetaAt>,
    /// The configuration.
    pub train: TrainConfig,
}

/// Weight and temperature of an iteration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BetaAt {
    /// From 0.
    pub iteration: usize,
    /// As the schedule gives it.
    pub lambda: f64,
    /// The mathematical weight.
    pub lambda_per_sample: f64,
    /// `1 + lambda_per_sample`; none where there is no temperature.
    pub beta: Option<f64>,
}
