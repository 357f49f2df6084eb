//! Sizes of the digit experiments.

use serde::{Deserialize, Serialize};
use vaebm::{
    ChainConfig, ConvEnergyConfig, EnergyTrainConfig, NvaeConfig, NvaeTrainConfig, ReplayConfig,
};

use super::{
    autoencoder::NvaeRecipe,
    data::SIDE,
    energy::EnergyRecipe,
    stored::{SHIPPED, stored_ready},
};
use crate::{
    digits,
    error::Result,
    limits::{at_least, bad},
    request::Request,
};

/// The usual buffer of the experiment with one.
const BUFFER: ReplayConfig =
    ReplayConfig { capacity: 2_000, probability: 0.6, ramp: 150, pixels: false };

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DigitSettings {
    /// The first digits of the training file.
    pub(crate) train_images: usize,
    /// The next ones: followed, chosen on.
    pub(crate) validation_images: usize,
    /// The folder of a model whose autoencoder is taken; empty: one is trained.
    pub(crate) model: String,
    pub(crate) autoencoder: NvaeConfig,
    pub(crate) autoencoder_training: NvaeTrainConfig,
    /// Validation images that the bound is followed on.
    pub(crate) followed: usize,
    /// Channels of the energy.
    pub(crate) energy_width: usize,
    pub(crate) energy_training: EnergyTrainConfig,
    /// Dequantise the digits that the energy sees.
    pub(crate) dequantise: bool,
    /// Standard deviation of noise on the digits that the energy sees, which are then clamped; half the
    /// autoencoder's floor is what samples have on black ground.
    pub(crate) data_noise: f64,
    /// Updates of the energy.
    pub(crate) updates: usize,
    /// Updates whose means are a point of the curves.
    pub(crate) follow_every: usize,
    /// Points of the curves from one network that may be chosen to the next; 0: the last one is taken.
    pub(crate) choose_every: usize,
    /// Samples of each of them, compared with as many validation digits.
    pub(crate) choice_samples: usize,
    /// Samples that the digit networks judge.
    pub(crate) samples: usize,
    /// Samples on a sheet.
    pub(crate) shown: usize,
    /// Round trained parameters to f16 before they are measured and saved.
    pub(crate) half_precision: bool,
}

impl DigitSettings {
    fn defaults(request: &Request) -> Self {
        let scale = request.scale;
        let small = NvaeTrainConfig::small_mnist();
        let energy = EnergyTrainConfig::small_mnist();
        Self {
            train_images: scale.pick(64, 9_000, 9_000),
            validation_images: scale.pick(16, 1_000, 1_000),
            model: String::new(),
            autoencoder: scale.pick(
                NvaeConfig::nano(),
                NvaeConfig::small_mnist(),
                NvaeConfig::small_mnist(),
            ),
            autoencoder_training: NvaeTrainConfig {
                epochs: scale.pick(2, 8, 10),
                batch: scale.pick(16, 64, 64),
                ..small
            },
            followed: scale.pick(8, 500, 1_000),
            energy_width: scale.pick(2, 16, 16),
            energy_training: EnergyTrainConfig {
                batch_size: scale.pick(4, 32, 32),
                // 4e-4 with steps of 1e-3 ran away after 50 updates, 2e-4 with these steps after 110.
                learning_rate: scale.pick(2e-4, 2e-4, 1e-4),
                chains: ChainConfig { steps: scale.pick(2, 10, 10), step_size: 3e-3 },
                test_steps: scale.pick(3, 16, 16),
                ..energy
            },
            dequantise: false,
            data_noise: 0.05,
            updates: scale.pick(4, 80, 200),
            follow_every: scale.pick(1, 10, 10),
            choose_every: scale.pick(2, 4, 4),
            choice_samples: scale.pick(4, 500, 1_000),
            samples: scale.pick(8, 2_000, 5_000),
            shown: scale.pick(4, 100, 100),
            half_precision: false,
        }
    }

    /// The defaults of the scale with the overrides.
    ///
    /// # Errors
    /// For what cannot be run, before any file is touched.
    pub(crate) fn resolve(request: &Request) -> Result<Self> {
        Self::checked(request, Self::defaults(request))
    }

    /// The same with a buffer, beginning with the shipped autoencoder from quick on.
    ///
    /// # Errors
    /// As [`DigitSettings::resolve`].
    pub(crate) fn resolve_buffer(request: &Request) -> Result<Self> {
        let model = request.scale.pick("", SHIPPED, SHIPPED).to_owned();
        let defaults = Self::defaults(request);
        let energy_training =
            EnergyTrainConfig { replay: Some(BUFFER), ..defaults.energy_training.clone() };
        Self::checked(request, Self { model, energy_training, ..defaults })
    }

    fn checked(request: &Request, defaults: Self) -> Result<Self> {
        let settings: Self = request.settings(&defaults)?;
        at_least(&[
            ("train_images", settings.train_images, settings.autoencoder_training.batch),
            ("train_images", settings.train_images, settings.energy_training.batch_size),
            ("autoencoder_training.batch", settings.autoencoder_training.batch, 2),
            ("energy_width", settings.energy_width, 1),
            ("updates", settings.updates, 1),
            ("follow_every", settings.follow_every, 1),
            ("samples", settings.samples, 2),
            ("shown", settings.shown, 1),
        ])?;
        if settings.choose_every > 0 {
            at_least(&[("choice_samples", settings.choice_samples, 2)])?;
            if settings.choice_samples > settings.validation_images {
                return bad("choice_samples", "must be at most validation_images");
            }
        }
        if !(settings.data_noise >= 0.0 && settings.data_noise.is_finite()) {
            return bad("data_noise", "must be zero or a positive number");
        }
        if settings.shown > settings.samples {
            return bad("shown", "must be at most samples");
        }
        if !settings.updates.is_multiple_of(settings.follow_every) {
            return bad("updates", "must be a multiple of follow_every");
        }
        if settings.autoencoder.event() != [1, SIDE, SIDE] {
            return bad("autoencoder", "must be of grey images of side 32");
        }
        settings.autoencoder.validate()?;
        settings.autoencoder_training.validate()?;
        settings.energy_training.validate()?;
        settings.energy().model().validate()?;
        Ok(settings)
    }

    /// Can it run?
    ///
    /// # Errors
    /// As [`digits::ready`] and [`stored_ready`].
    pub(crate) fn ready(&self, request: &Request) -> Result<()> {
        digits::ready(&request.root)?;
        if self.model.is_empty() { Ok(()) } else { stored_ready(request, &self.model) }
    }

    /// The first stage.
    pub(crate) fn autoencoder(&self) -> NvaeRecipe {
        NvaeRecipe {
            model: self.autoencoder.clone(),
            train: self.autoencoder_training.clone(),
            dequantise: true,
            followed: self.followed,
        }
    }

    /// The second stage without a buffer.
    pub(crate) fn energy(&self) -> EnergyRecipe {
        EnergyRecipe {
            model: ConvEnergyConfig::mnist(1, self.energy_width),
            train: EnergyTrainConfig { replay: None, ..self.energy_training.clone() },
            dequantise: self.dequantise,
            data_noise: self.data_noise,
            updates: self.updates,
            follow_every: self.follow_every,
            keep_every: match self.choose_every {
                0 => usize::MAX,
                every => every,
            },
        }
    }

    /// The second stage with a buffer: 2,000 chains, 0.6 after 150 updates, 6 steps instead of 10, unless
    /// the settings say otherwise.
    pub(crate) fn energy_with_buffer(&self) -> EnergyRecipe {
        let train = &self.energy_training;
        let replay = Some(train.replay.unwrap_or(BUFFER));
        let steps = (6 * train.chains.steps).div_ceil(10);
        let chains = ChainConfig { steps, ..train.chains };
        EnergyRecipe {
            train: EnergyTrainConfig { replay, chains, ..train.clone() },
            ..self.energy()
        }
    }
}
