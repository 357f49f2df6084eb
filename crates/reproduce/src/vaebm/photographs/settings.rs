//! Sizes of both stages on photographs.

use serde::{Deserialize, Serialize};
use vaebm::{
    ChainConfig, ConvEnergyConfig, EnergyConfig, EnergyTrainConfig, Head, NvaeConfig,
    NvaeTrainConfig,
};

use super::set::{Photographs, Published};
use crate::{
    error::Result,
    limits::{at_least, bad},
    request::{Request, Scale},
    vaebm::digits::{autoencoder::NvaeRecipe, energy::EnergyRecipe},
};

/// What the published energies are narrowed by below `paper`.
const NARROWER: usize = 8;

/// Everything of the experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PhotographSettings {
    /// The first images of the training part.
    pub(super) train_images: usize,
    /// Images that nobody trains on: followed.
    pub(super) validation_images: usize,
    pub(super) autoencoder: NvaeConfig,
    pub(super) autoencoder_training: NvaeTrainConfig,
    /// Dequantise images in both stages; levels / 255 in the published code.
    pub(super) dequantise: bool,
    /// Validation images that the bound is followed on.
    pub(super) followed: usize,
    pub(super) energy: ConvEnergyConfig,
    pub(super) energy_training: EnergyTrainConfig,
    /// Updates of the energy.
    pub(super) updates: usize,
    /// Updates whose means are a point of the curves.
    pub(super) follow_every: usize,
    /// Points of the curves from one kept network to the next; 0: the last one is kept.
    pub(super) keep_every: usize,
    /// Samples of the autoencoder and of the product.
    pub(super) shown: usize,
    /// Chains on a sheet.
    pub(super) chains: usize,
}

/// A network of fewer channels.
fn narrowed(config: ConvEnergyConfig, by: usize) -> ConvEnergyConfig {
    let narrow = |width: usize| (width / by).max(1);
    let mut blocks = config.blocks;
    blocks.iter_mut().for_each(|block| block.output = narrow(block.output));
    ConvEnergyConfig { width: narrow(config.width), blocks, ..config }
}

impl PhotographSettings {
    fn defaults(scale: Scale, set: Photographs) -> Self {
        let published = set.published();
        if scale == Scale::Paper {
            return Self::paper(set, published);
        }
        let quick = scale == Scale::Quick;
        let side = set.side();
        let small = match (quick, side) {
            (true, _) => NvaeConfig::small_stacked_mnist(),
            (false, ..=64) => NvaeConfig::nano(),
            // Seconds at 256 pixels, too.
            (false, _) => {
                NvaeConfig { encoder_width: 2, decoder_width: 2, latent: 1, ..NvaeConfig::nano() }
            }
        };
        // Larger images take as many operations as more of the small ones.
        let fewer = (side / 32).pow(2);
        let train = NvaeTrainConfig::small_mnist();
        Self {
            train_images: if quick { (6_400 / fewer).max(400) } else { 4 },
            validation_images: if quick { 200 } else { 2 },
            autoencoder: NvaeConfig {
                side,
                channels: 3,
                head: Head::Gaussian { floor: 0.01 },
                ..small
            },
            autoencoder_training: NvaeTrainConfig {
                epochs: if quick { 3 } else { 2 },
                batch: if quick { (64 / fewer).max(8) } else { 2 },
                ..train
            },
            dequantise: false,
            followed: scale.pick(2, 200, 0),
            energy: narrowed(published.energy, if quick { NARROWER } else { 64 }),
            energy_training: EnergyTrainConfig {
                batch_size: if quick { (32 / fewer).max(4) } else { 2 },
                chains: ChainConfig { steps: scale.pick(2, 10, 10), step_size: 3e-4 },
                test_steps: scale.pick(4, 16, 16),
                replay: None,
                ..published.energy_training
            },
            updates: scale.pick(2, 120, 0),
            follow_every: scale.pick(1, 10, 1),
            keep_every: 0,
            shown: scale.pick(2, 50, 100),
            chains: scale.pick(1, 8, 10),
        }
    }

    fn paper(set: Photographs, published: Published) -> Self {
        let [train_images, validation_images, _] = match set {
            // The paper trains on all of the training file.
            Photographs::Cifar10 => [50_000, 0, 0],
            _ => set.collection().sizes(),
        };
        Self {
            train_images,
            validation_images,
            autoencoder: published.autoencoder,
            autoencoder_training: published.autoencoder_training,
            dequantise: false,
            followed: 1_000.min(validation_images),
            energy: published.energy,
            energy_training: published.energy_training,
            updates: published.updates,
            follow_every: 100,
            keep_every: 5,
            shown: 100,
            chains: 10,
        }
    }

    /// The defaults of the scale with the overrides.
    ///
    /// # Errors
    /// For what cannot be run, before any file is touched.
    pub(super) fn resolve(request: &Request, set: Photographs) -> Result<Self> {
        let settings: Self = request.settings(&Self::defaults(request.scale, set))?;
        at_least(&[
            ("train_images", settings.train_images, settings.autoencoder_training.batch),
            ("train_images", settings.train_images, settings.energy_training.batch_size),
            ("updates", settings.updates, 1),
            ("follow_every", settings.follow_every, 1),
            ("shown", settings.shown, 1),
            ("chains", settings.chains, 1),
        ])?;
        if !settings.updates.is_multiple_of(settings.follow_every) {
            return bad("updates", "must be a multiple of follow_every");
        }
        let event = settings.autoencoder.event();
        if event != set.collection().event(false) {
            return bad("autoencoder", &format!("must be of images {event:?}"));
        }
        if [settings.energy.channels, settings.energy.side] != [3, set.side()] {
            return bad("energy", "must be of the autoencoder's images");
        }
        settings.autoencoder.validate()?;
        settings.autoencoder_training.validate()?;
        settings.energy_training.validate()?;
        EnergyConfig::Convolutional(settings.energy.clone()).validate()?;
        Ok(settings)
    }

    /// The first stage.
    pub(super) fn first(&self) -> NvaeRecipe {
        NvaeRecipe {
            model: self.autoencoder.clone(),
            train: self.autoencoder_training.clone(),
            dequantise: self.dequantise,
            followed: self.followed,
        }
    }

    /// The second stage.
    pub(super) fn second(&self) -> EnergyRecipe {
        EnergyRecipe {
            model: self.energy.clone(),
            train: self.energy_training.clone(),
            dequantise: self.dequantise,
            data_noise: 0.0,
            updates: self.updates,
            follow_every: self.follow_every,
            keep_every: match self.keep_every {
                0 => usize::MAX,
                every => every,
            },
        }
    }
}
