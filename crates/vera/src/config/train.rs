//! The game: weights of its terms, rates, estimators.

use chains_core::{Error, Result, config::positive, optim::AdamConfig, schedule::MultiStep};
use serde::{Deserialize, Serialize};

/// How the gradient of the generator's entropy is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Entropy {
    /// Self-normalised importance sampling around the latent that gave the sample (section 3.2).
    ImportanceSampling {
        /// k; 20 everywhere in the paper.
        samples: usize,
    },
    /// Hamiltonian Monte Carlo on the latent posterior (VERA-HMC, appendix B.4).
    Hmc(HmcConfig),
}

/// Settings of the Hamiltonian estimator.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HmcConfig {
    /// L; 5 in the published code.
    pub leapfrog_steps: usize,
    /// Transitions before any is kept; 2.
    pub burn_in: usize,
    /// Transitions that are kept; 2.
    pub samples: usize,
    /// Acceptance at which the step size stays; 0.67.
    pub target_acceptance: f64,
    /// How fast the step size follows it during burn-in; 0.02.
    pub adaptation_rate: f64,
    /// Which force moves the chain.
    pub gradient: HmcGradient,
}

/// The force of the leapfrog integrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HmcGradient {
    /// That of the whole potential.
    Exact,
    /// That of the prior alone, as the published code computes it, which lost the gradient of the
    /// generator: still a valid chain, one that hardly moves.
    Reference,
}

impl HmcConfig {
    /// The published constants with the exact gradient.
    pub const fn published() -> Self {
        Self {
            leapfrog_steps: 5,
            burn_in: 2,
            samples: 2,
            target_acceptance: 0.67,
            adaptation_rate: 0.02,
            gradient: HmcGradient::Exact,
        }
    }
}

/// Everything that an update needs besides networks and data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// lambda, the weight of the entropy; 0 leaves entropy and posterior out.
    pub entropy_weight: f64,
    /// How the entropy's gradient is estimated.
    pub entropy: Entropy,
    /// Batch norms of the generator use the moments of the batch that was sampled, for the proposals
    /// too. The published code normalises every pass by its own moments.
    pub fixed_moments: bool,
    /// gamma, the weight of the gradient penalty; 0.1 everywhere in the paper.
    pub gradient_penalty: f64,
    /// The penalty is `gamma 0.5 |grad|^2`, as in the code, not `gamma |grad|^2` of the paper.
    pub penalty_half: bool,
    /// Weight of `mean f(x)^2` over data; 0 in all experiments.
    pub data_control: f64,
    /// Weight of `mean f(x)^2` over samples; 0 in all experiments.
    pub sample_control: f64,
    /// alpha, the weight of the classification of labelled examples.
    pub class_weight: f64,
    /// beta, the weight of the entropy of predictions on unlabelled examples, which is minimised. It
    /// has no effect where everything is labelled.
    pub class_entropy_weight: f64,
    /// The rate of the energy's optimiser.
    pub energy_rate: MultiStep,
    /// The rate of the generator's.
    pub generator_rate: MultiStep,
    /// The rate of the posterior's.
    pub posterior_rate: f64,
    /// Constants of the optimisers of energy and generator.
    pub adam: AdamConfig,
    /// Constants of the posterior's optimiser.
    pub posterior_adam: AdamConfig,
    /// The energy is updated in every so manieth iteration.
    pub energy_every: usize,
    /// The generator is.
    pub generator_every: usize,
    /// The posterior is updated before the weights are computed, as in the paper's algorithm; after,
    /// as in the code, if false.
    pub posterior_first: bool,
    /// Examples of an update, unlabelled and, at most, labelled ones.
    pub batch_size: usize,
}

impl TrainConfig {
    /// A density without classes: Adam(0, 0.9) for both players, gamma 0.1, k = 20.
    pub fn density(entropy_weight: f64, [energy, generator, posterior]: [f64; 3]) -> Self {
        Self {
            entropy_weight,
            entropy: Entropy::ImportanceSampling { samples: 20 },
            fixed_moments: false,
            gradient_penalty: 0.1,
            penalty_half: true,
            data_control: 0.0,
            sample_control: 0.0,
            class_weight: 0.0,
            class_entropy_weight: 0.0,
            energy_rate: MultiStep::constant(energy),
            generator_rate: MultiStep::constant(generator),
            posterior_rate: posterior,
            adam: AdamConfig { beta1: 0.0, beta2: 0.9, eps: 1e-8 },
            posterior_adam: AdamConfig::standard(),
            energy_every: 1,
            generator_every: 1,
            posterior_first: false,
            batch_size: 128,
        }
    }

    /// Figure 1 and Table 10: all rates 1e-3, batches of 200 (the published script's default).
    pub fn toy(entropy_weight: f64) -> Self {
        Self { batch_size: 200, ..Self::density(entropy_weight, [1e-3; 3]) }
    }

    /// Table 2: 3e-6 for the flow, 3e-4 for the generator. Not in the paper: the posterior's rate,
    /// which is the generator's.
    pub fn nice(entropy_weight: f64) -> Self {
        Self::density(entropy_weight, [3e-6, 3e-4, 3e-4])
    }

    /// StackedMNIST: all rates 1e-3, batches of 100. Not in the paper: lambda 1.
    pub fn stacked_mnist() -> Self {
        Self { batch_size: 100, ..Self::density(1.0, [1e-3; 3]) }
    }

    /// Table 3, the published command: rates 3e-5, 6e-5 and 3e-5, batches of 40, alpha 100, lambda
    /// 1e-4, warm-up over 2500 updates, times 0.3 at epochs 150 and 175 of `per_epoch` updates.
    pub fn jem(per_epoch: usize) -> Self {
        let rate = |value: f64| MultiStep {
            value,
            warmup: 2500,
            milestones: vec![150 * per_epoch, 175 * per_epoch],
            factor: 0.3,
        };
        Self {
            class_weight: 100.0,
            energy_rate: rate(3e-5),
            generator_rate: rate(6e-5),
            batch_size: 40,
            ..Self::density(1e-4, [3e-5, 6e-5, 3e-5])
        }
    }

    /// Table 8: all rates the same, batches of 64, lambda 1e-4, beta 1, times 0.3 at the milestones.
    pub fn tabular(rate: f64, class_weight: f64, milestones: Vec<usize>) -> Self {
        let stepped = MultiStep { value: rate, warmup: 0, milestones, factor: 0.3 };
        Self {
            class_weight,
            class_entropy_weight: 1.0,
            energy_rate: stepped.clone(),
            generator_rate: stepped,
            batch_size: 64,
            ..Self::density(1e-4, [rate; 3])
        }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        let weights = [
            ("entropy_weight", self.entropy_weight),
            ("gradient_penalty", self.gradient_penalty),
            ("data_control", self.data_control),
            ("sample_control", self.sample_control),
            ("class_weight", self.class_weight),
            ("class_entropy_weight", self.class_entropy_weight),
            ("posterior_rate", self.posterior_rate),
        ];
        for (field, value) in weights {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::Config { field, reason: format!("{value} is negative") });
            }
        }
        self.energy_rate.validate()?;
        self.generator_rate.validate()?;
        self.adam.validate()?;
        self.posterior_adam.validate()?;
        let counts = [
            ("energy_every", self.energy_every),
            ("generator_every", self.generator_every),
            // A batch norm of one example knows nothing.
            ("batch_size", self.batch_size.saturating_sub(1)),
        ];
        if let Some((field, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return Err(Error::Config { field, reason: "is too small".into() });
        }
        match self.entropy {
            Entropy::ImportanceSampling { samples: 0 } => {
                Err(Error::Config { field: "samples", reason: "must be at least 1".into() })
            }
            Entropy::ImportanceSampling { .. } => Ok(()),
            Entropy::Hmc(hmc) => hmc.validate(),
        }
    }
}

impl HmcConfig {
    fn validate(&self) -> Result<()> {
        if self.leapfrog_steps == 0 || self.samples == 0 {
            let reason = "leapfrog steps and samples must be at least 1".into();
            return Err(Error::Config { field: "hmc", reason });
        }
        positive("target_acceptance", self.target_acceptance)?;
        if !(0.0..1.0).contains(&self.adaptation_rate) {
            let reason = format!("{} is not from 0 to below 1", self.adaptation_rate);
            return Err(Error::Config { field: "adaptation_rate", reason });
        }
        Ok(())
    }
}
