//! The second stage as plain structs; presets are the columns of Table 8.

use chains_core::{
    Error, Result,
    config::positive,
    optim::{AdamConfig, MomentClip, Regularisation},
};
use serde::{Deserialize, Serialize};

use crate::{potential::Potential, replay::ReplayConfig, sampler::ChainConfig};

/// Which image of the end of a chain the energy is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Negatives {
    /// The sample, clamped: CIFAR-10 in the published code.
    Sample,
    /// The decoder's mean, not clamped: larger images in the published code.
    Mean,
}

/// Training of the energy with the autoencoder frozen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnergyTrainConfig {
    /// Examples and chains of an update.
    pub batch_size: usize,
    /// Adam's rate, constant.
    pub learning_rate: f64,
    /// Adam; 0.99, 0.999 and 1e-8 in the published code.
    pub adam: AdamConfig,
    /// Coupled decay, 3e-5 (appendix E), and the clip of the published code.
    pub regularisation: Regularisation,
    /// Weight of the sum of spectral norms, `alpha_s`; 0.2 (appendix E).
    pub spectral_weight: f64,
    /// Chains of an update.
    pub chains: ChainConfig,
    /// Steps of the chains that samples are made by; their step size is that of training.
    pub test_steps: usize,
    /// What the chains run on.
    pub potential: Potential,
    /// What the energy is trained on.
    pub negatives: Negatives,
    /// The buffer; none begins every chain at fresh noise.
    pub replay: Option<ReplayConfig>,
    /// Begin lengths and biases by five batches of data (section 5, appendix E).
    pub data_dependent_init: bool,
}

/// `M`, `p` and its ramp of CIFAR-10 and LSUN (appendix E).
const REPLAY: ReplayConfig =
    ReplayConfig { capacity: 10_000, probability: 0.6, ramp: 5000, pixels: false };

impl EnergyTrainConfig {
    /// What the published settings share; the rest is that of CIFAR-10 without a buffer.
    fn published() -> Self {
        Self {
            batch_size: 32,
            learning_rate: 4e-5,
            adam: AdamConfig { beta1: 0.99, beta2: 0.999, eps: 1e-8 },
            regularisation: Regularisation {
                weight_decay: 3e-5,
                clip: Some(MomentClip::published()),
            },
            spectral_weight: 0.2,
            chains: ChainConfig { steps: 10, step_size: 8e-5 },
            test_steps: 16,
            potential: Potential::Official,
            negatives: Negatives::Sample,
            replay: None,
            data_dependent_init: true,
        }
    }

    /// CIFAR-10 without a buffer (Table 8). Not in the table: `adam`, the clip, `negatives` and
    /// `potential` (published code).
    pub fn cifar10() -> Self {
        Self::published()
    }

    /// CIFAR-10 with a buffer (Table 8, appendix E).
    pub fn cifar10_replay() -> Self {
        let chains = ChainConfig { steps: 6, step_size: 6e-5 };
        Self { chains, replay: Some(REPLAY), ..Self::published() }
    }

    /// CIFAR-10 with the smaller autoencoder of the ablation (section 5.3).
    pub fn cifar10_ablation() -> Self {
        Self {
            learning_rate: 5e-5,
            chains: ChainConfig { steps: 5, step_size: 8e-5 },
            test_steps: 15,
            replay: Some(REPLAY),
            ..Self::published()
        }
    }

    /// CelebA at 64 pixels (Table 8); means as negatives from the published code.
    pub fn celeba64() -> Self {
        Self {
            learning_rate: 5e-5,
            chains: ChainConfig { steps: 10, step_size: 5e-6 },
            test_steps: 20,
            negatives: Negatives::Mean,
            ..Self::published()
        }
    }

    /// LSUN church outdoor at 64 pixels (Table 8, appendix E); means from the published code.
    pub fn lsun_church64() -> Self {
        Self {
            chains: ChainConfig { steps: 10, step_size: 4e-6 },
            test_steps: 20,
            negatives: Negatives::Mean,
            replay: Some(REPLAY),
            ..Self::published()
        }
    }

    /// CelebA-HQ at 256 pixels (Table 8, appendix E). From the published command: `spectral_weight`
    /// 0.3 where the paper says 0.2, no initialisation by data, means.
    pub fn celeba_hq256() -> Self {
        Self {
            batch_size: 16,
            spectral_weight: 0.3,
            chains: ChainConfig { steps: 6, step_size: 3e-6 },
            test_steps: 24,
            negatives: Negatives::Mean,
            replay: Some(ReplayConfig { capacity: 8000, ramp: 3000, ..REPLAY }),
            data_dependent_init: false,
            ..Self::published()
        }
    }

    /// MNIST with our small networks; everything that is not of [`EnergyTrainConfig::cifar10`] is our
    /// choice.
    pub fn small_mnist() -> Self {
        let chains = ChainConfig { steps: 10, step_size: 3e-4 };
        Self { learning_rate: 1e-4, chains, ..Self::published() }
    }

    /// 25 Gaussians: our choices, as the paper prints none. Chains on the paper's potential; the buffer keeps
    /// all noise.
    pub fn plane() -> Self {
        Self {
            batch_size: 256,
            learning_rate: 3e-4,
            adam: AdamConfig::standard(),
            regularisation: Regularisation { weight_decay: 0.0, clip: None },
            spectral_weight: 0.0,
            chains: ChainConfig { steps: 20, step_size: 1e-3 },
            test_steps: 500,
            potential: Potential::Paper,
            negatives: Negatives::Sample,
            replay: Some(ReplayConfig {
                capacity: 10_000,
                probability: 0.9,
                ramp: 500,
                pixels: true,
            }),
            data_dependent_init: false,
        }
    }

    /// The chains that samples are made by.
    pub fn test_chains(&self) -> ChainConfig {
        ChainConfig { steps: self.test_steps, ..self.chains }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.batch_size == 0 {
            return Err(Error::Config { field: "batch_size", reason: "must be 1 or more".into() });
        }
        positive("learning_rate", self.learning_rate)?;
        self.adam.validate()?;
        for (field, value) in [
            ("weight_decay", self.regularisation.weight_decay),
            ("spectral_weight", self.spectral_weight),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                let reason = format!("{value} is not zero or a positive number");
                return Err(Error::Config { field, reason });
            }
        }
        self.chains.validate()?;
        self.replay.map_or(Ok(()), |replay| replay.validate())
    }
}
