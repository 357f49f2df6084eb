//! The three sets of the paper, and its models for them.

use infusion::{Architecture, ModelConfig};

use super::super::settings::TrainSettings;
use crate::{
    colour_sets::Collection,
    error::Result,
    images::{Cut, Images},
    request::{Request, Scale},
};

/// A set of images that is not part of the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// CIFAR-10, 32x32 pixels in colour.
    Cifar10,
    /// Aligned CelebA faces, the largest central square shrunk to 64x64 pixels in colour.
    CelebA,
    /// Toronto Face Database, 48x48 pixels in grey.
    Tfd,
}

impl Set {
    /// The paper's model (section 4).
    fn preset(self) -> ModelConfig {
        match self {
            Self::Cifar10 => ModelConfig::cifar10(),
            Self::CelebA => ModelConfig::celeba(),
            Self::Tfd => ModelConfig::tfd(),
        }
    }

    /// Its files.
    fn collection(self) -> Collection {
        match self {
            Self::Cifar10 => Collection::Cifar10,
            Self::CelebA => Collection::CelebA,
            Self::Tfd => Collection::Tfd,
        }
    }

    /// Channels, height and width of the images that these settings give.
    pub(super) fn event(self, settings: &TrainSettings) -> [usize; 3] {
        self.collection().event(settings.pooled)
    }

    /// Has the network transposed convolutions?
    pub(super) fn is_convolutional(self) -> bool {
        matches!(self.preset().network.architecture, Architecture::Deconv { .. })
    }

    /// How the model is trained.
    ///
    /// `paper`: network, T and rates are the paper's, section 4. Given nowhere, so chosen here: Adam
    /// with 1e-3 as in the published MNIST code, batches of 128, 500 epochs, the epoch with the best
    /// validation bound; CIFAR-10 has its last 5,000 training images for validation, CelebA its own
    /// three parts, TFD 90,000, 5,000 and 5,000 images.
    ///
    /// `quick`: an eighth of the channels (TFD: two layers of 400 units), fewer images and epochs, a
    /// rate that decays by half a cosine. `smoke`: two steps, two updates on synthetic images.
    pub(super) fn training(self, scale: Scale) -> TrainSettings {
        let ModelConfig { network, chain } = self.preset();
        let (Architecture::Deconv { widths: hidden } | Architecture::Mlp { hidden }) =
            network.architecture;
        let [train, validation, test] = self.collection().sizes();
        let paper = TrainSettings {
            train_images: train,
            validation_images: validation,
            test_images: test,
            hidden,
            steps: network.steps,
            rate: chain.rate.initial,
            rate_increment: chain.rate.increment,
            epochs: 500,
            batch_size: 128,
            statistics_images: train,
            ..TrainSettings::paper()
        };
        match scale {
            Scale::Paper => paper,
            Scale::Quick => self.quick(paper),
            Scale::Smoke => self.smoke(paper),
        }
    }

    /// Hidden layers of the small networks.
    fn narrow(self, hidden: &[usize], units: usize) -> Vec<usize> {
        if self.is_convolutional() {
            hidden.iter().map(|width| width / 8).collect()
        } else {
            vec![units; hidden.len()]
        }
    }

    /// Sizes from the time of an update: transposed convolutions take most of it on a CPU, 3 s for 32
    /// images of CIFAR-10 and 4 s for 16 of CelebA; an update of 64 images of TFD takes 0.25 s.
    fn quick(self, paper: TrainSettings) -> TrainSettings {
        let (train, epochs, batch_size) = match self {
            Self::Cifar10 => (1_920, 2, 32),
            Self::CelebA => (800, 2, 16),
            Self::Tfd => (8_000, 10, 64),
        };
        TrainSettings {
            train_images: train,
            validation_images: 256,
            test_images: 256,
            hidden: self.narrow(&paper.hidden, 400),
            epochs,
            batch_size,
            last_learning_rate: 1e-5,
            warmup: 10,
            followed: 64,
            statistics_images: 256,
            ..paper
        }
    }

    fn smoke(self, paper: TrainSettings) -> TrainSettings {
        TrainSettings {
            train_images: 8,
            validation_images: 4,
            test_images: 8,
            hidden: self.narrow(&paper.hidden, 32),
            steps: 2,
            // High enough that a state shows its target after one step.
            rate_increment: 0.2,
            epochs: 1,
            batch_size: 4,
            followed: 0,
            select: false,
            statistics_images: 8,
            ..paper
        }
    }

    /// What stands in the report about images and network.
    pub(super) fn description(self, scale: Scale) -> String {
        let images = self.collection().description();
        let cut = match self {
            Self::CelebA => " (the paper does not give its cut)",
            Self::Cifar10 | Self::Tfd => "",
        };
        match scale {
            Scale::Smoke => {
                "Synthetic images and two updates: this shows that the path works. No number is \
                 claimed at this scale."
                    .to_owned()
            }
            Scale::Quick => format!(
                "{images}{cut}. A network with an eighth of the paper's width and a short training on a \
                 part of the images: pictures fall short of the published ones."
            ),
            Scale::Paper => format!(
                "{images}{cut}. Optimiser, batches, epochs and splits are not in the paper; those used \
                 are below."
            ),
        }
    }

    /// Are the files there? At `smoke` none is needed.
    ///
    /// # Errors
    /// As [`Collection::ready`].
    pub(super) fn ready(self, request: &Request) -> Result<()> {
        self.collection().ready(request)
    }

    /// The images of the settings: files, or synthetic ones at `smoke`.
    ///
    /// # Errors
    /// As [`Collection::images`].
    pub(super) fn images(self, request: &Request, settings: &TrainSettings) -> Result<Images> {
        let cut = Cut {
            train: settings.train_images,
            validation: settings.validation_images,
            test: settings.test_images,
            pooled: settings.pooled,
        };
        self.collection().images(request, &cut, "images")
    }
}
