//! Settings of the comparisons: `spiral.` and `digits.` in front of the keys of each part.

use serde::{Deserialize, Serialize};
use walkback::{ModelConfig, TrainConfig};

use super::{
    super::{plane::PlaneSettings, settings::TrainSettings},
    compare::Look,
};
use crate::{
    error::{Error, Result},
    images::Images,
    limits::at_least,
    request::{Request, Scale},
};

/// A comparison on points and one on digits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) spiral: PlaneSettings,
    pub(super) digits: DigitSettings,
}

/// Training on digits, and how much is looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct DigitSettings {
    #[serde(flatten)]
    pub(super) train: TrainSettings,
    /// Chains that are scored, and test digits that they are compared with.
    pub(super) samples: usize,
    /// Test digits in the bound, the first ones.
    pub(super) bound_examples: usize,
    /// k: paths of each in the bound.
    pub(super) bound_chains: usize,
}

impl DigitSettings {
    /// The second recorded command line of bounds on MNIST; small networks on digits averaged to
    /// 14x14 except at `paper`.
    fn of(scale: Scale) -> Self {
        let examples = scale.pick([200, 100, 100], [8_000, 1_000, 1_000], [50_000, 10_000, 10_000]);
        let train = TrainSettings::of(&Self::model(), &Self::training(), examples);
        let small = TrainSettings { pooled: true, batch_size: 100, ..train.clone() };
        let train = match scale {
            Scale::Smoke => {
                TrainSettings { hidden: vec![16, 16], steps: 3, epochs: 1, followed: 100, ..small }
            }
            Scale::Quick => TrainSettings {
                hidden: vec![256, 256],
                steps: 8,
                epochs: 12,
                learning_rate: 1e-3,
                last_learning_rate: 1e-5,
                followed: 500,
                ..small
            },
            Scale::Paper => train,
        };
        Self {
            train,
            samples: scale.pick(20, 500, 5_000),
            bound_examples: scale.pick(10, 200, 1_000),
            bound_chains: scale.pick(2, 20, 100),
        }
    }

    pub(super) fn model() -> ModelConfig {
        ModelConfig::mnist_mlp_long()
    }

    pub(super) fn training() -> TrainConfig {
        TrainConfig::images()
    }

    /// The digits that these settings ask for.
    ///
    /// # Errors
    /// Of [`Images::mnist`].
    pub(super) fn images(&self, request: &Request) -> Result<Images> {
        Images::mnist(request, &self.train.cut())
    }

    pub(super) fn look(&self) -> Look {
        Look {
            set: "digits",
            samples: self.samples.min(self.train.test_examples),
            bound_examples: self.bound_examples,
            bound_chains: self.bound_chains,
        }
    }

    fn validate(&self) -> Result<()> {
        at_least(&[
            ("digits.samples", self.samples, 2),
            ("digits.bound_examples", self.bound_examples, 2),
            ("digits.bound_chains", self.bound_chains, 1),
            // Scores of the last epoch are compared.
            ("digits.followed", self.train.followed, 1),
        ])?;
        let side = if self.train.pooled { 14 } else { 28 };
        self.train.validate(&Self::model(), &Self::training(), [1, side, side])
    }
}

/// Refuses overrides of keys that a comparison decides itself, in whichever part.
///
/// # Errors
/// [`Error::Usage`] naming the key.
pub(super) fn refuse_within(request: &Request, keys: &[&str], decided_by: &str) -> Result<()> {
    let last = |key: &str| key.rsplit('.').next().is_some_and(|last| keys.contains(&last));
    match request.overrides.iter().find(|(key, _)| last(key)) {
        Some((key, _)) => {
            Err(Error::Usage(format!("--set {key}: has no effect here; {decided_by}")))
        }
        None => Ok(()),
    }
}

/// Training on the spiral that is compared: shorter than that of Figure 6, as there are several.
pub(super) fn spiral(scale: Scale) -> PlaneSettings {
    let mut spiral = PlaneSettings::curve(scale);
    if scale == Scale::Quick {
        spiral.train.epochs = 100;
        spiral.train.follow_every = 5;
    }
    spiral
}

impl Settings {
    /// The defaults of the scale with the overrides.
    ///
    /// # Errors
    /// [`Error::Usage`] or of the configurations, before any file is touched.
    pub(super) fn resolve(request: &Request) -> Result<Self> {
        let scale = request.scale;
        let defaults = Self { spiral: spiral(scale), digits: DigitSettings::of(scale) };
        let settings: Self = request.settings(&defaults)?;
        let (model, train) = (ModelConfig::spiral(), TrainConfig::curve());
        settings.spiral.validate(request, &model, &train)?;
        at_least(&[("spiral.followed", settings.spiral.train.followed, 1)])?;
        settings.digits.validate()?;
        Ok(settings)
    }
}
