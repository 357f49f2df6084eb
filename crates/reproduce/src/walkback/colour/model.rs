//! The models of the supplement for sets of colour images, and how they are trained.

use walkback::{ModelConfig, TrainConfig};

use super::super::settings::TrainSettings;
use crate::{colour_sets::Collection, error::Result, request::Scale};

/// Mean variance of a pixel of the training images of CIFAR-10, dequantised to [0, 1): 0.0616 of
/// the first 45,000, 0.0608 of the first 2,560.
pub(super) const PIXEL_VARIANCE: f64 = 0.0616;
/// `sigma_0` of the bound and the factor of its ladder at `quick`: the first recorded command line of
/// bounds on MNIST.
const BOUND_SCALE: f64 = 0.009;
const BOUND_FACTOR: f64 = 1.5;
/// Gives 30 temperatures by the rule, the longer of the chains that the method's bits per dimension
/// are recalled for.
const LONG_BOUND_FACTOR: f64 = 1.083;
/// `f` of a chain of 30 steps.
const PUBLISHED_FACTOR: f64 = 2.0;

/// A model for a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    /// Samples of CIFAR-10, Table 3: learns by reconstruction error, has no bound.
    Cifar10,
    /// The same network with a learned variance, for bounds.
    Cifar10Bound,
    /// Samples of SVHN, Table 4.
    Svhn,
    /// Samples of CelebA, Table 2.
    CelebA,
}

impl Model {
    /// Its images.
    pub(super) fn collection(self) -> Collection {
        match self {
            Self::Cifar10 | Self::Cifar10Bound => Collection::Cifar10,
            Self::Svhn => Collection::Svhn,
            Self::CelebA => Collection::CelebA,
        }
    }

    /// Channels, height and width of the images that these settings give.
    pub(super) fn event(self, settings: &TrainSettings) -> [usize; 3] {
        self.collection().event(settings.pooled)
    }

    /// Network, operator and chain at the scale of the paper.
    ///
    /// The supplement has no bound on these images, so ladder and `sigma_0` of the bound are ours.
    pub(super) fn preset(self) -> Result<ModelConfig> {
        Ok(match self {
            Self::Cifar10 => ModelConfig::cifar10(),
            Self::Cifar10Bound => {
                ModelConfig::cifar10_bound(BOUND_SCALE, LONG_BOUND_FACTOR, PIXEL_VARIANCE)?
            }
            Self::Svhn => ModelConfig::svhn(),
            Self::CelebA => ModelConfig::celeba(),
        })
    }

    /// How it is trained at the scale of the paper.
    pub(super) fn training_preset(self) -> TrainConfig {
        match self {
            Self::Svhn => TrainConfig::svhn(),
            Self::Cifar10 | Self::Cifar10Bound | Self::CelebA => TrainConfig::images(),
        }
    }

    /// How it is trained.
    ///
    /// `paper`: the presets of the library; splits are ours. `quick`: the same network on fewer images,
    /// a shorter chain whose ladder ends at the same temperature, and a higher rate that decays by
    /// half a cosine. `smoke`: an eighth of the width, a few walks from synthetic images.
    pub(super) fn training(self, scale: Scale) -> Result<TrainSettings> {
        let (preset, train) = (self.preset()?, self.training_preset());
        let sizes = self.collection().sizes();
        let [train_examples, ..] = sizes;
        let paper = TrainSettings {
            // Of pictures the last epoch is kept: reconstruction errors do not say how good they are.
            select: preset.operator.has_density(),
            // Pictures are made with the moments of their own batch: stored ones are for other uses.
            statistics_examples: if preset.operator.has_density() { train_examples } else { 5_000 },
            ..TrainSettings::of(&preset, &train, sizes)
        };
        Ok(match scale {
            Scale::Paper => paper,
            Scale::Quick => self.quick(paper),
            Scale::Smoke => self.smoke(paper),
        })
    }

    /// The factor with which `steps` temperatures end where 30 doubling ones do.
    fn shortened(steps: usize) -> f64 {
        PUBLISHED_FACTOR.powf(29.0 / (steps - 1) as f64)
    }

    /// Sizes from the time of a transition with its update on two cores: 0.22 s for 64 images of
    /// CIFAR-10.
    fn quick(self, paper: TrainSettings) -> TrainSettings {
        let (examples, batch_size) = match self {
            Self::Cifar10 | Self::Cifar10Bound | Self::Svhn => (1_920, 64),
            Self::CelebA => (800, 32),
        };
        let (steps, factor, statistics_examples) = match self {
            // The rule gives 7 steps.
            Self::Cifar10Bound => (7, BOUND_FACTOR, 500),
            Self::Cifar10 | Self::Svhn | Self::CelebA => (10, Self::shortened(10), 200),
        };
        TrainSettings {
            train_examples: examples,
            validation_examples: 100,
            test_examples: 500,
            steps,
            factor,
            epochs: 5,
            batch_size,
            learning_rate: 1e-3,
            last_learning_rate: 1e-5,
            warmup: 10,
            followed: 100,
            select: false,
            statistics_examples,
            ..paper
        }
    }

    fn smoke(self, paper: TrainSettings) -> TrainSettings {
        let narrow = |widths: &[usize]| widths.iter().map(|width| width / 8).collect();
        let factor = if self == Self::Cifar10Bound { paper.factor } else { Self::shortened(3) };
        TrainSettings {
            train_examples: 32,
            validation_examples: 8,
            test_examples: 8,
            channels: narrow(&paper.channels),
            hidden: narrow(&paper.hidden),
            steps: 3,
            factor,
            epochs: 3,
            batch_size: 8,
            learning_rate: 1e-3,
            last_learning_rate: 1e-3,
            followed: 8,
            select: false,
            statistics_examples: 32,
            ..paper
        }
    }

    /// What stands in the report about images and network.
    pub(super) fn description(self, scale: Scale) -> String {
        let images = self.collection().description();
        match scale {
            Scale::Smoke => {
                "Synthetic images, an eighth of the width and a few walks: this shows that the path \
                 works. No number is claimed at this scale."
                    .to_owned()
            }
            Scale::Quick => {
                let outcome = if self == Self::Cifar10Bound {
                    "the bound falls short of what the method can reach"
                } else {
                    "pictures fall far short of the published ones"
                };
                format!(
                    "{images}. The supplement's network, trained for minutes on a part of the images \
                     with a shorter chain: {outcome}."
                )
            }
            Scale::Paper => format!(
                "{images}. Batches, epochs and constants of the noise are those of the published code \
                 where the supplement does not print them; splits are ours."
            ),
        }
    }
}
