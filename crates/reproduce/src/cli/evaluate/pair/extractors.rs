//! The networks behind scores of images, by the name that the command line has for them.

use std::path::Path;

use candle_core::Device;
use chains_core::checkpoint::CONFIG_FILE;
use eval_metrics::networks::{DigitClassifier, FeatureExtractor};

use super::settings::Classifier;
use crate::{
    cli::models::input,
    error::{Error, Result},
    inception,
};

/// What is compared: the features of a network, or the rows themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Features {
    /// Final pool of the ImageNet network of 2015 (`cargo xtask fetch inception`).
    Inception,
    /// Last hidden layer of the digit network in `checkpoints/mnist-classifier`.
    Mnist,
    /// The rows as they are; pixels as value / 255.
    None,
}

impl Features {
    /// As on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Inception => "inception",
            Self::Mnist => "mnist",
            Self::None => "none",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Inception, Self::Mnist, Self::None].into_iter().find(|this| this.name() == name)
    }

    /// Images at a time, unless somebody says otherwise.
    pub(super) fn batch(self) -> usize {
        match self {
            Self::Inception => 32,
            Self::Mnist => 500,
            Self::None => 1000,
        }
    }
}

/// Opens the network of a kind of features.
pub(super) trait Extractors {
    /// # Errors
    /// [`Error::Missing`] for a network that is not there, with how to get it.
    fn open(&self, features: Features) -> Result<Box<dyn FeatureExtractor>>;
}

/// The networks of the repository.
pub(super) struct Repository<'a> {
    pub(super) root: &'a Path,
    pub(super) device: &'a Device,
    /// Which digit network.
    pub(super) classifier: Classifier,
}

impl Extractors for Repository<'_> {
    fn open(&self, features: Features) -> Result<Box<dyn FeatureExtractor>> {
        let missing =
            |advice: String| Error::Missing(format!("--features {}: {advice}", features.name()));
        match features {
            Features::Inception => {
                if let Some(what) = inception::missing(self.root) {
                    let instead = "or compare pixels or features of your own with --features none";
                    return Err(missing(format!("{what}, {instead}")));
                }
                Ok(Box::new(inception::open(self.root, self.device).map_err(input)?))
            }
            Features::Mnist => {
                let name = match self.classifier {
                    Classifier::A => "mnist-classifier",
                    Classifier::B => "mnist-classifier-b",
                };
                let dir = self.root.join("checkpoints").join(name);
                if !dir.join(CONFIG_FILE).is_file() {
                    let dir = dir.display();
                    return Err(missing(format!(
                        "{dir} is not there; restore it from the repository"
                    )));
                }
                Ok(Box::new(DigitClassifier::load(&dir, self.device).map_err(input)?))
            }
            Features::None => Err(missing("rows need no network".into())),
        }
    }
}
