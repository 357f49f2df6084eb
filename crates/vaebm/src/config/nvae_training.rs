//! How the autoencoder is trained.

use chains_core::{Error, Result, config::positive, optim::AdamaxConfig};
use serde::{Deserialize, Serialize};

/// The weight of the spectral regularisation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum SpectralWeight {
    /// Always the same.
    Constant {
        /// `lambda`.
        value: f64,
    },
    /// `exp((1 - beta) ln first + beta ln last)` with the weight `beta` of the divergences.
    Annealed {
        /// `lambda` at the beginning.
        first: f64,
        /// `lambda` when divergences count in full.
        last: f64,
    },
}

/// Constants of stage 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NvaeTrainConfig {
    /// Passes over the data.
    pub epochs: usize,
    /// Images in an update; of all devices together in the published commands.
    pub batch: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Learning rate of the last epoch; 1e-4 in the published code.
    pub last_rate: f64,
    /// Epochs in which the learning rate rises; less than `epochs`.
    pub warmup_epochs: usize,
    /// The optimiser.
    pub adamax: AdamaxConfig,
    /// `lambda`.
    pub spectral: SpectralWeight,
    /// The part of all updates in which divergences have the least weight; 1e-4 in the published code.
    pub kl_constant: f64,
    /// The part of all updates in which that weight rises to one; 0.3 in the published code.
    pub kl_anneal: f64,
    /// Divergences are balanced between groups while they rise.
    pub balance: bool,
    /// Outermost pixels that the reconstruction leaves out; 2 in the published code of MNIST, whose border
    /// then is not trained and shows in samples.
    pub margin: usize,
}

impl NvaeTrainConfig {
    fn published(epochs: usize, batch: usize, spectral: SpectralWeight) -> Self {
        Self {
            epochs,
            batch,
            learning_rate: 1e-2,
            last_rate: 1e-4,
            warmup_epochs: 5,
            adamax: AdamaxConfig::nvae(),
            spectral,
            kl_constant: 1e-4,
            kl_anneal: 0.3,
            balance: true,
            margin: 0,
        }
    }

    /// The backbone of VAEBM on CIFAR-10 (published command).
    pub fn cifar10() -> Self {
        Self::published(400, 256, SpectralWeight::Constant { value: 0.1 })
    }

    /// The backbone of VAEBM on CelebA-64 (published command).
    pub fn celeba64() -> Self {
        Self { epochs: 50, warmup_epochs: 1, ..Self::cifar10() }
    }

    /// The backbone of VAEBM on LSUN churches of side 64 (published command).
    pub fn lsun_church64() -> Self {
        Self { epochs: 60, warmup_epochs: 1, ..Self::cifar10() }
    }

    /// The backbone of VAEBM on CelebA-HQ-256 (published command).
    pub fn celeba_hq256() -> Self {
        let spectral = SpectralWeight::Annealed { first: 10.0, last: 1e-2 };
        Self { learning_rate: 6e-3, ..Self::published(200, 64, spectral) }
    }

    /// The original NVAE of binary MNIST (published command).
    pub fn nvae_mnist() -> Self {
        let spectral = SpectralWeight::Constant { value: 1e-2 };
        Self { margin: 2, ..Self::published(400, 400, spectral) }
    }

    /// The small models of MNIST on a processor (this crate's own).
    pub fn small_mnist() -> Self {
        let spectral = SpectralWeight::Constant { value: 1e-2 };
        Self { learning_rate: 5e-3, warmup_epochs: 1, ..Self::published(8, 64, spectral) }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field, reason| Err(Error::Config { field, reason });
        for (field, value) in [("epochs", self.epochs), ("batch", self.batch)] {
            if value == 0 {
                return refuse(field, "0 must be positive".into());
            }
        }
        if self.warmup_epochs >= self.epochs {
            let reason = format!("{} of {} epochs", self.warmup_epochs, self.epochs);
            return refuse("warmup_epochs", reason);
        }
        positive("learning_rate", self.learning_rate)?;
        positive("last_rate", self.last_rate)?;
        positive("kl_anneal", self.kl_anneal)?;
        if !(0.0..=1.0).contains(&self.kl_constant) {
            return refuse("kl_constant", format!("{} is not 0 to 1", self.kl_constant));
        }
        self.adamax.validate()?;
        match self.spectral {
            SpectralWeight::Constant { value } if value.is_finite() && value >= 0.0 => Ok(()),
            SpectralWeight::Constant { value } => {
                refuse("spectral", format!("{value} must not be negative"))
            }
            SpectralWeight::Annealed { first, last } => {
                positive("spectral", first)?;
                positive("spectral", last)
            }
        }
    }
}
