//! Settings of the experiments: flat, so that `--set key=value` reaches everything.

use std::sync::Arc;

use chains_core::{Seed, optim::AdamConfig, schedule::LearningRate};
use datasets::{ImageSet, Mnist};
use serde::{Deserialize, Serialize};

use crate::{
    data,
    error::{Error, Result},
    request::{Request, Scale},
    training::Plan,
};

/// Training of the digit networks. All values are our own choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TrainSettings {
    /// Training images, the first of the training file.
    pub(super) train_images: usize,
    /// Test images, the first of the test file.
    pub(super) test_images: usize,
    /// Passes over the training images.
    pub(super) epochs: usize,
    /// Images in an update.
    pub(super) batch_size: usize,
    /// Highest rate of Adam, where it begins.
    pub(super) learning_rate: f64,
    /// Rate at the end of half a cosine.
    pub(super) last_learning_rate: f64,
    /// Training digits are moved by up to so many pixels along both axes.
    pub(super) shift: usize,
    /// Share of features that are dropped in an update.
    pub(super) dropout: f64,
    /// Test images classified after every epoch, to be looked at: nothing is chosen by them.
    pub(super) followed: usize,
}

impl TrainSettings {
    /// The settings of a scale.
    pub(super) fn of_scale(scale: Scale) -> Self {
        let paper = Self {
            train_images: 60_000,
            test_images: 10_000,
            epochs: 10,
            batch_size: 64,
            learning_rate: 1e-3,
            last_learning_rate: 1e-6,
            shift: 2,
            dropout: 0.5,
            followed: 10_000,
        };
        match scale {
            Scale::Paper => paper,
            Scale::Quick => Self { epochs: 4, followed: 2_000, ..paper },
            Scale::Smoke => Self {
                train_images: 256,
                test_images: 64,
                epochs: 2,
                batch_size: 32,
                followed: 64,
                ..paper
            },
        }
    }

    /// # Errors
    /// [`Error::Usage`] that names the key.
    pub(super) fn resolve(request: &Request) -> Result<Self> {
        let settings: Self = request.settings(&Self::of_scale(request.scale))?;
        settings.validate()?;
        Ok(settings)
    }

    fn validate(&self) -> Result<()> {
        let bad = |key: &str, reason: &str| Err(Error::Usage(format!("--set {key}: {reason}")));
        for (key, value) in [("test_images", self.test_images), ("epochs", self.epochs)] {
            if value == 0 {
                return bad(key, "must be at least 1");
            }
        }
        if self.batch_size == 0 || self.batch_size > self.train_images {
            return bad("batch_size", "must be at least 1 and at most train_images");
        }
        if self.shift > 13 {
            return bad("shift", "must be at most 13 pixels, of 28");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return bad("dropout", "must be at least 0 and below 1");
        }
        Ok(self.learning_rate().validate()?)
    }

    fn learning_rate(&self) -> LearningRate {
        let (value, last) = (self.learning_rate, self.last_learning_rate);
        LearningRate::Cosine { value, last, warmup: 0 }
    }

    /// The loop of one network, whose streams come from `seed`.
    pub(super) fn plan(&self, seed: Seed) -> Plan {
        Plan {
            examples: self.train_images,
            batch_size: self.batch_size,
            epochs: self.epochs,
            learning_rate: self.learning_rate(),
            adam: AdamConfig::standard(),
            weight_average: 0.0,
            order: seed.child("data"),
        }
    }

    /// The digits that are trained on and tested on.
    ///
    /// # Errors
    /// As [`whole`] and [`cut`].
    pub(super) fn data(&self, request: &Request) -> Result<Mnist> {
        let all = whole(request)?;
        let train = cut(&all.train, self.train_images, "train_images")?;
        Ok(Mnist { train, test: cut(&all.test, self.test_images, "test_images")? })
    }
}

/// All digits.
///
/// # Errors
/// As [`data::mnist`]; [`Error::Usage`] if they are not grey 28x28 pixels.
pub(super) fn whole(request: &Request) -> Result<Arc<Mnist>> {
    let all = data::mnist(request)?;
    for set in [&all.train, &all.test] {
        let (c, h, w) = (set.channels, set.height, set.width);
        if (c, h, w) != (1, 28, 28) {
            let message = format!("`{}` has images of {c}x{h}x{w}, not 1x28x28", set.name);
            return Err(Error::Usage(message));
        }
    }
    Ok(all)
}

/// The first `n` images, as many as the setting `key` asks for.
///
/// # Errors
/// [`Error::Usage`] if there are fewer.
pub(super) fn cut(set: &ImageSet, n: usize, key: &str) -> Result<ImageSet> {
    if n > set.len() {
        let (name, got) = (&set.name, set.len());
        return Err(Error::Usage(format!("--set {key}={n}: `{name}` has {got} images")));
    }
    Ok(set.range(0..n))
}
