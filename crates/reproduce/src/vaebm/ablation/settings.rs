//! Rows and sizes of the ablation.

use chains_core::optim::{AdamConfig, Regularisation};
use serde::{Deserialize, Serialize};
use vaebm::{
    ChainConfig, ConvEnergyConfig, EnergyConfig, EnergyTrainConfig, NvaeConfig, NvaeTrainConfig,
    baselines::{PixelChainConfig, PixelConfig},
    config::Negatives,
};

use super::{
    super::digits::{
        autoencoder::NvaeRecipe,
        data::SIDE,
        energy::EnergyRecipe,
        stored::{SHIPPED, stored_ready},
    },
    game::GameRecipe,
    pixels::PixelRecipe,
};
use crate::{
    digits,
    error::Result,
    limits::{at_least, bad},
    request::Request,
};

/// The rows of Table 4 and the extension of appendix C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Row {
    /// Samples of the autoencoder.
    Nvae,
    /// An energy on pixels, chains from uniform noise.
    Pixels,
    /// The same, chains from samples of the autoencoder.
    PixelsNvae,
    /// The decoder as the generator of a Wasserstein game.
    Wgan,
    /// The product of autoencoder and energy.
    Vaebm,
    /// The same, its decoder moved too (appendix C).
    VaebmDecoder,
}

impl Row {
    pub(super) const ALL: [Self; 6] =
        [Self::Nvae, Self::Pixels, Self::PixelsNvae, Self::Wgan, Self::Vaebm, Self::VaebmDecoder];

    /// In names of metrics and files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nvae => "nvae",
            Self::Pixels => "pixels",
            Self::PixelsNvae => "pixels_nvae",
            Self::Wgan => "wgan",
            Self::Vaebm => "vaebm",
            Self::VaebmDecoder => "vaebm_decoder",
        }
    }

    /// In tables.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Nvae => "a: autoencoder",
            Self::Pixels => "b: energy on pixels, from noise",
            Self::PixelsNvae => "c: energy on pixels, from the autoencoder",
            Self::Wgan => "d: Wasserstein game of the decoder",
            Self::Vaebm => "e: VAEBM",
            Self::VaebmDecoder => "e and steps of the decoder (appendix C)",
        }
    }

    /// FID and inception score on CIFAR-10 (Table 4, appendix C).
    pub(super) fn published(self) -> [f64; 2] {
        match self {
            Self::Nvae => [55.97, 5.19],
            Self::Pixels => [48.89, 5.85],
            Self::PixelsNvae => [29.32, 7.28],
            Self::Wgan => [20.39, 7.41],
            Self::Vaebm => [12.96, 8.15],
            Self::VaebmDecoder => [14.0, 8.05],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AblationSettings {
    /// The rows that are made.
    pub(super) rows: Vec<Row>,
    /// The folder of a model whose autoencoder is taken; empty: one is trained.
    pub(super) model: String,
    /// The first digits of the training file.
    pub(super) train_images: usize,
    /// The next ones: followed where an autoencoder is trained.
    pub(super) validation_images: usize,
    /// Where one is trained.
    pub(super) autoencoder: NvaeConfig,
    pub(super) autoencoder_training: NvaeTrainConfig,
    /// Channels of all energies.
    pub(super) energy_width: usize,
    /// Updates of the baselines, rows b to d.
    pub(super) updates: usize,
    /// Updates of VAEBM, with steps of the decoder or without, which runs away in long trainings.
    pub(super) energy_updates: usize,
    /// Updates whose means are a point of the curves.
    pub(super) follow_every: usize,
    /// Of VAEBM, with steps of the decoder or without; its batch is that of the game too.
    pub(super) energy_training: EnergyTrainConfig,
    /// Standard deviation of noise on the digits that an energy sees beside samples of a decoder, which are
    /// then clamped: half the autoencoder's floor, what samples have on black ground. Means have none.
    pub(super) data_noise: f64,
    /// Of energies on pixels.
    pub(super) pixel_training: PixelConfig,
    /// Examples and chains of an update on pixels.
    pub(super) pixel_batch: usize,
    /// Of the critic of the game.
    pub(super) critic_rate: f64,
    /// Of the decoder in the game and in the extension.
    pub(super) decoder_rate: f64,
    /// Samples of every row that the digit networks judge.
    pub(super) samples: usize,
    /// Samples on a sheet.
    pub(super) shown: usize,
}

impl AblationSettings {
    fn defaults(request: &Request) -> Self {
        let scale = request.scale;
        let energy = EnergyTrainConfig::small_mnist();
        let pixels = PixelConfig::cifar10();
        Self {
            rows: Row::ALL.to_vec(),
            model: scale.pick("", SHIPPED, SHIPPED).to_owned(),
            train_images: scale.pick(64, 9_000, 9_000),
            validation_images: scale.pick(16, 1_000, 1_000),
            autoencoder: scale.pick(
                NvaeConfig::nano(),
                NvaeConfig::small_mnist(),
                NvaeConfig::small_mnist(),
            ),
            autoencoder_training: NvaeTrainConfig {
                epochs: scale.pick(2, 3, 10),
                batch: scale.pick(16, 64, 64),
                ..NvaeTrainConfig::small_mnist()
            },
            energy_width: scale.pick(2, 16, 16),
            updates: scale.pick(4, 60, 500),
            energy_updates: scale.pick(4, 60, 200),
            follow_every: scale.pick(2, 10, 10),
            energy_training: EnergyTrainConfig {
                batch_size: scale.pick(4, 32, 32),
                learning_rate: scale.pick(2e-4, 2e-4, 1e-4),
                chains: ChainConfig { steps: scale.pick(2, 10, 10), step_size: 3e-3 },
                test_steps: scale.pick(3, 16, 16),
                ..energy
            },
            data_noise: 0.05,
            pixel_training: PixelConfig {
                chains: PixelChainConfig { steps: scale.pick(2, 60, 60), ..pixels.chains },
                test_steps: scale.pick(3, 60, 150),
                capacity: scale.pick(8, 1_000, 10_000),
                ..pixels
            },
            pixel_batch: scale.pick(4, 16, 32),
            // Four times the published ones.
            critic_rate: 2e-4,
            decoder_rate: 2e-5,
            samples: scale.pick(8, 500, 2_000),
            shown: scale.pick(4, 100, 100),
        }
    }

    /// The defaults of the scale with the overrides.
    ///
    /// # Errors
    /// For what cannot be run, before any file is touched.
    pub(super) fn resolve(request: &Request) -> Result<Self> {
        let settings: Self = request.settings(&Self::defaults(request))?;
        let energy = &settings.energy_training;
        if settings.follow_every > 100 {
            return bad(
                "follow_every",
                "must be at most 100: states are saved at points of the curves",
            );
        }
        at_least(&[
            ("rows", settings.rows.len(), 1),
            ("train_images", settings.train_images, settings.pixel_batch.max(energy.batch_size)),
            ("train_images", settings.train_images, settings.autoencoder_training.batch),
            ("autoencoder_training.batch", settings.autoencoder_training.batch, 2),
            ("energy_width", settings.energy_width, 1),
            ("follow_every", settings.follow_every, 1),
            ("updates", settings.updates, settings.follow_every),
            ("energy_updates", settings.energy_updates, settings.follow_every),
            ("pixel_batch", settings.pixel_batch, 1),
            ("pixel_training.capacity", settings.pixel_training.capacity, 1),
            ("samples", settings.samples, 2),
            ("shown", settings.shown, 1),
        ])?;
        let twice = |(at, row): (usize, &Row)| settings.rows[..at].contains(row);
        if settings.rows.iter().enumerate().any(twice) {
            return bad("rows", "names a row twice");
        }
        if settings.shown > settings.samples {
            return bad("shown", "must be at most samples");
        }
        for (key, updates) in
            [("updates", settings.updates), ("energy_updates", settings.energy_updates)]
        {
            if !updates.is_multiple_of(settings.follow_every) {
                return bad(key, "must be a multiple of follow_every");
            }
        }
        if !(0.0..=1.0).contains(&settings.pixel_training.restart) {
            return bad("pixel_training.restart", "must be a probability");
        }
        if !(settings.data_noise >= 0.0 && settings.data_noise.is_finite()) {
            return bad("data_noise", "must be zero or a positive number");
        }
        for (key, rate) in [
            ("critic_rate", settings.critic_rate),
            ("decoder_rate", settings.decoder_rate),
            ("pixel_training.learning_rate", settings.pixel_training.learning_rate),
        ] {
            if !(rate > 0.0 && rate.is_finite()) {
                return bad(key, "must be positive");
            }
        }
        if settings.autoencoder.event() != [1, SIDE, SIDE] {
            return bad("autoencoder", "must be of grey images of side 32");
        }
        settings.autoencoder.validate()?;
        settings.autoencoder_training.validate()?;
        settings.energy_training.validate()?;
        settings.pixel_training.validate()?;
        settings.network().validate()?;
        Ok(settings)
    }

    /// Can it run?
    ///
    /// # Errors
    /// As [`digits::ready`] and [`stored_ready`].
    pub(super) fn ready(&self, request: &Request) -> Result<()> {
        digits::ready(&request.root)?;
        if self.model.is_empty() { Ok(()) } else { stored_ready(request, &self.model) }
    }

    /// The autoencoder, where one is trained.
    pub(super) fn autoencoder(&self) -> NvaeRecipe {
        NvaeRecipe {
            model: self.autoencoder.clone(),
            train: self.autoencoder_training.clone(),
            followed: self.validation_images,
            dequantise: true,
        }
    }

    /// The energy of VAEBM.
    pub(super) fn network(&self) -> EnergyConfig {
        EnergyConfig::Convolutional(ConvEnergyConfig::mnist(1, self.energy_width))
    }

    fn noise(&self, negatives: Negatives) -> f64 {
        match negatives {
            Negatives::Sample => self.data_noise,
            Negatives::Mean => 0.0,
        }
    }

    /// Rows b and c.
    pub(super) fn pixels(&self, from_samples: bool) -> PixelRecipe {
        PixelRecipe {
            width: self.energy_width,
            train: self.pixel_training.clone(),
            batch_size: self.pixel_batch,
            from_samples,
            updates: self.updates,
            follow_every: self.follow_every,
        }
    }

    /// Row d: negatives are the decoder's samples as they are, spectral norms are one by construction.
    pub(super) fn wgan(&self) -> GameRecipe {
        let train = EnergyTrainConfig {
            batch_size: self.energy_training.batch_size,
            learning_rate: self.critic_rate,
            adam: AdamConfig::standard(),
            regularisation: Regularisation { weight_decay: 0.0, clip: None },
            spectral_weight: 0.0,
            chains: ChainConfig { steps: 0, ..self.energy_training.chains },
            test_steps: 0,
            replay: None,
            data_dependent_init: false,
            ..EnergyTrainConfig::cifar10()
        };
        GameRecipe {
            game: "wgan",
            width: self.energy_width,
            train,
            data_noise: self.noise(Negatives::Sample),
            decoder_rate: self.decoder_rate,
            updates: self.updates,
            follow_every: self.follow_every,
        }
    }

    /// Row e.
    pub(super) fn vaebm(&self) -> EnergyRecipe {
        EnergyRecipe {
            model: ConvEnergyConfig::mnist(1, self.energy_width),
            train: self.energy_training.clone(),
            dequantise: false,
            data_noise: self.noise(self.energy_training.negatives),
            updates: self.energy_updates,
            follow_every: self.follow_every,
            keep_every: usize::MAX,
        }
    }

    /// The extension: without a buffer, whose chains would be of an older decoder.
    pub(super) fn extension(&self) -> GameRecipe {
        GameRecipe {
            game: "vaebm",
            updates: self.energy_updates,
            data_noise: self.noise(self.energy_training.negatives),
            train: EnergyTrainConfig { replay: None, ..self.energy_training.clone() },
            ..self.wgan()
        }
    }
}
