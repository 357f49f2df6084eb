//! Sizes of the joint energy models of photographs.

use chains_core::schedule::MultiStep;
use serde::{Deserialize, Serialize};
use vera::{EnergyConfig, Entropy, GeneratorConfig, ModelConfig, TrainConfig, config::Output};

use super::{super::game::Recipe, refine::Refinement, sets::Photographs};
use crate::{
    error::Result,
    images::Cut,
    limits::{at_least, bad},
    request::Request,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct JointSettings {
    pub(super) train_images: usize,
    /// Followed over epochs.
    pub(super) validation_images: usize,
    pub(super) test_images: usize,
    /// The wide residual network: layers, how many times 16 channels the first stage has, dropout.
    pub(super) depth: usize,
    pub(super) widening: usize,
    pub(super) dropout: f64,
    /// Channels of the generator's maps.
    pub(super) generator_width: usize,
    /// d.
    pub(super) latent: usize,
    /// k.
    pub(super) proposals: usize,
    /// lambda.
    pub(super) entropy_weight: f64,
    /// gamma.
    pub(super) gradient_penalty: f64,
    /// alpha.
    pub(super) class_weight: f64,
    pub(super) energy_rate: f64,
    pub(super) generator_rate: f64,
    pub(super) posterior_rate: f64,
    /// Updates until the highest rates.
    pub(super) warmup: usize,
    /// Epochs after which rates fall to 0.3 of themselves.
    pub(super) decay_epochs: Vec<usize>,
    pub(super) epochs: usize,
    pub(super) batch_size: usize,
    /// Shifted crops, and mirrored ones.
    pub(super) augment: bool,
    /// Images of every set of outliers, and as many of the test images.
    pub(super) outliers: usize,
    /// Take the gradient of `f` as a score, too, which costs two more passes.
    pub(super) gradient_score: bool,
    /// Samples on the sheet.
    pub(super) shown: usize,
    pub(super) refinement: Refinement,
}

impl JointSettings {
    /// The published command at `paper`: rates 3e-5, 6e-5 and 3e-5, batches of 40, 200 epochs, the
    /// last one counts.
    ///
    /// `quick`: the wide residual network 16-4 and a part of the images, at ten times the rates and
    /// without their decay.
    fn defaults(request: &Request, set: Photographs) -> Self {
        let scale = request.scale;
        let [train, test] = set.sizes();
        Self {
            train_images: scale.pick(4, 2_560, train),
            validation_images: scale.pick(4, 200, 0),
            test_images: scale.pick(6, 1_000, test),
            depth: scale.pick(10, 16, 28),
            widening: scale.pick(1, 4, 10),
            dropout: scale.pick(0.3, 0.0, 0.3),
            generator_width: scale.pick(4, 32, 256),
            latent: scale.pick(4, 128, 128),
            proposals: scale.pick(2, 5, 20),
            entropy_weight: 1e-4,
            gradient_penalty: 0.1,
            class_weight: 100.0,
            energy_rate: scale.pick(3e-4, 3e-4, 3e-5),
            generator_rate: scale.pick(6e-4, 6e-4, 6e-5),
            posterior_rate: scale.pick(3e-4, 3e-4, 3e-5),
            warmup: scale.pick(1, 10, 2_500),
            decay_epochs: scale.pick(vec![], vec![], vec![150, 175]),
            epochs: scale.pick(1, 2, 200),
            batch_size: scale.pick(2, 16, 40),
            augment: true,
            outliers: scale.pick(4, 300, 10_000),
            gradient_score: true,
            shown: scale.pick(4, 60, 100),
            refinement: Refinement {
                samples: scale.pick(2, 20, 100),
                burn_in: scale.pick(2, 60, 500),
                adaptation_rate: scale.pick(0.2, 0.2, 0.02),
                steps: scale.pick(2, 100, 100),
            },
        }
    }

    /// The defaults of the scale with the overrides.
    ///
    /// # Errors
    /// For what cannot be run, before any file is touched.
    pub(super) fn resolve(request: &Request, set: Photographs) -> Result<Self> {
        let settings = request.settings(&Self::defaults(request, set))?;
        at_least(&[
            ("proposals", settings.proposals, 1),
            ("epochs", settings.epochs, 1),
            ("batch_size", settings.batch_size, 2),
            ("train_images", settings.train_images, settings.batch_size),
            ("test_images", settings.test_images, 2),
            ("outliers", settings.outliers, 2),
            ("shown", settings.shown, 2),
            ("refinement.samples", settings.refinement.samples, 1),
        ])?;
        let rate = settings.refinement.adaptation_rate;
        if !(rate > 0.0 && rate < 1.0) {
            return bad("refinement.adaptation_rate", "must be between 0 and 1");
        }
        let recipe = settings.recipe(set);
        recipe.model.validate()?;
        recipe.train.validate()?;
        Ok(settings)
    }

    pub(super) fn cut(&self) -> Cut {
        let [train, validation] = [self.train_images, self.validation_images];
        Cut { train, validation, test: self.test_images, pooled: false }
    }

    pub(super) fn recipe(&self, set: Photographs) -> Recipe {
        let per_epoch = self.train_images / self.batch_size.max(1);
        let rate = |value: f64| MultiStep {
            value,
            warmup: self.warmup,
            milestones: self.decay_epochs.iter().map(|epoch| epoch * per_epoch).collect(),
            factor: 0.3,
        };
        let (channels, output) = (3, Output::Tanh);
        let rates = [self.energy_rate, self.generator_rate, self.posterior_rate];
        Recipe {
            model: ModelConfig::of(
                EnergyConfig::WideResNet {
                    depth: self.depth,
                    widening: self.widening,
                    channels,
                    outputs: set.classes(),
                    dropout: self.dropout,
                },
                GeneratorConfig::ResNet {
                    latent: self.latent,
                    channels,
                    width: self.generator_width,
                    output,
                },
            ),
            train: TrainConfig {
                class_weight: self.class_weight,
                entropy: Entropy::ImportanceSampling { samples: self.proposals },
                gradient_penalty: self.gradient_penalty,
                energy_rate: rate(self.energy_rate),
                generator_rate: rate(self.generator_rate),
                batch_size: self.batch_size,
                ..TrainConfig::density(self.entropy_weight, rates)
            },
            epochs: self.epochs,
        }
    }
}
