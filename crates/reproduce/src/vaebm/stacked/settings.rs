//! Sizes of the networks and both trainings.

use serde::{Deserialize, Serialize};
use vaebm::{
    ChainConfig, ConvEnergyConfig, EnergyTrainConfig, NvaeConfig, NvaeTrainConfig,
    config::Negatives,
};

use super::super::digits::{autoencoder::NvaeRecipe, data::SIDE, energy::EnergyRecipe};
use crate::{
    error::Result,
    limits::{at_least, bad},
    request::Request,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StackedSettings {
    /// The first digits of the training file, of which images are stacked.
    pub(super) digits: usize,
    /// Stacked images to train on.
    pub(super) triples: usize,
    /// Stacked images of the next digits that the bound is followed on, and those digits.
    pub(super) validation_images: usize,
    pub(super) autoencoder: NvaeConfig,
    pub(super) autoencoder_training: NvaeTrainConfig,
    /// Channels of the energy.
    pub(super) energy_width: usize,
    pub(super) energy_training: EnergyTrainConfig,
    /// Standard deviation of noise on the images that the energy sees beside samples, which are then
    /// clamped: half the autoencoder's floor, what samples have on black ground. Means have none.
    pub(super) data_noise: f64,
    /// Updates of the energy.
    pub(super) updates: usize,
    /// Updates whose means are a point of the curves.
    pub(super) follow_every: usize,
    /// Samples that are classified, and as many real stacked images.
    pub(super) samples: usize,
    /// Samples on a sheet.
    pub(super) shown: usize,
}

impl StackedSettings {
    fn defaults(request: &Request) -> Self {
        let scale = request.scale;
        let energy = EnergyTrainConfig::small_mnist();
        let small = NvaeConfig::small_stacked_mnist();
        Self {
            digits: scale.pick(64, 10_000, 10_000),
            triples: scale.pick(32, 10_000, 20_000),
            validation_images: scale.pick(8, 500, 1_000),
            autoencoder: scale.pick(
                NvaeConfig { channels: 3, ..NvaeConfig::nano() },
                small.clone(),
                small,
            ),
            autoencoder_training: NvaeTrainConfig {
                epochs: scale.pick(2, 8, 16),
                batch: scale.pick(16, 64, 64),
                ..NvaeTrainConfig::small_mnist()
            },
            energy_width: scale.pick(2, 24, 24),
            energy_training: EnergyTrainConfig {
                batch_size: scale.pick(4, 32, 32),
                // Of CIFAR-10; at five times as much the energy is lost within thirty updates.
                learning_rate: 4e-5,
                chains: ChainConfig { steps: scale.pick(2, 10, 10), step_size: 3e-3 },
                test_steps: scale.pick(3, 16, 16),
                ..energy
            },
            data_noise: 0.05,
            updates: scale.pick(4, 80, 120),
            follow_every: scale.pick(2, 10, 10),
            samples: scale.pick(16, 1_500, 5_000),
            shown: scale.pick(10, 60, 100),
        }
    }

    /// The defaults of the scale with the overrides.
    ///
    /// # Errors
    /// For what cannot be run, before any file is touched.
    pub(super) fn resolve(request: &Request) -> Result<Self> {
        let settings: Self = request.settings(&Self::defaults(request))?;
        let energy = &settings.energy_training;
        at_least(&[
            ("digits", settings.digits, 1),
            ("triples", settings.triples, settings.autoencoder_training.batch),
            ("triples", settings.triples, energy.batch_size),
            ("validation_images", settings.validation_images, 1),
            ("autoencoder_training.batch", settings.autoencoder_training.batch, 2),
            ("energy_width", settings.energy_width, 1),
            ("follow_every", settings.follow_every, 1),
            ("updates", settings.updates, settings.follow_every),
            ("samples", settings.samples, 1),
            ("shown", settings.shown, 1),
        ])?;
        if !(settings.data_noise >= 0.0 && settings.data_noise.is_finite()) {
            return bad("data_noise", "must be zero or a positive number");
        }
        if settings.shown > settings.samples {
            return bad("shown", "must be at most samples");
        }
        if !settings.updates.is_multiple_of(settings.follow_every) {
            return bad("updates", "must be a multiple of follow_every");
        }
        if settings.autoencoder.event() != [3, SIDE, SIDE] {
            return bad("autoencoder", "must be of images of three channels and side 32");
        }
        settings.autoencoder.validate()?;
        settings.autoencoder_training.validate()?;
        energy.validate()?;
        settings.energy().model().validate()?;
        Ok(settings)
    }

    /// The first stage.
    pub(super) fn autoencoder(&self) -> NvaeRecipe {
        NvaeRecipe {
            model: self.autoencoder.clone(),
            train: self.autoencoder_training.clone(),
            followed: self.validation_images,
            dequantise: true,
        }
    }

    /// The second stage.
    pub(super) fn energy(&self) -> EnergyRecipe {
        EnergyRecipe {
            model: ConvEnergyConfig::mnist(3, self.energy_width),
            train: self.energy_training.clone(),
            dequantise: false,
            data_noise: match self.energy_training.negatives {
                Negatives::Sample => self.data_noise,
                Negatives::Mean => 0.0,
            },
            updates: self.updates,
            follow_every: self.follow_every,
            keep_every: usize::MAX,
        }
    }
}
