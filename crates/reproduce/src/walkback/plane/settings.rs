//! Settings of the experiments in the plane.

use serde::{Deserialize, Serialize};
use walkback::{DenseInit, DenseNorm, ModelConfig, NetworkConfig, TrainConfig};

use super::super::{examples::Points, settings::TrainSettings, training::Recipe};
use crate::{
    error::Result,
    limits::{at_least, bad, refuse},
    request::{Request, Scale},
};

/// Channels, height and width of a point.
pub(in crate::walkback) const EVENT: [usize; 3] = [1, 1, 2];
/// Units of the published layers, for which their weights begin with deviation 0.01.
const PUBLISHED_UNITS: f64 = 4096.0;

/// Training of an operator in the plane, and how much is looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::walkback) struct PlaneSettings {
    #[serde(flatten)]
    pub(in crate::walkback) train: TrainSettings,
    /// Standard deviation that the weights of layers without normalisation begin with.
    pub(in crate::walkback) weight_deviation: f64,
    /// Chains that are scored.
    pub(in crate::walkback) samples: usize,
    /// Test points in the bound, the first ones.
    pub(in crate::walkback) bound_points: usize,
    /// k: paths of each in the bound.
    pub(in crate::walkback) bound_chains: usize,
    /// Points in a panel of a picture.
    pub(in crate::walkback) shown: usize,
}

impl PlaneSettings {
    /// The spiral's and the circle's: the paper's own, and small ones.
    pub(in crate::walkback) fn curve(scale: Scale) -> Self {
        let (model, train) = (ModelConfig::spiral(), TrainConfig::curve());
        let examples = scale.pick([200, 100, 100], [4_000, 1_000, 2_000], [20_000, 2_000, 10_000]);
        let train = TrainSettings::of(&model, &train, examples);
        let train = match scale {
            Scale::Smoke => smoke(train),
            Scale::Quick => TrainSettings {
                hidden: vec![128, 128],
                steps: 12,
                factor: 1.5,
                transitions_per_update: 1,
                epochs: 190,
                batch_size: 500,
                learning_rate: 3e-3,
                last_learning_rate: 1e-5,
                follow_every: 10,
                ..train
            },
            Scale::Paper => train,
        };
        Self::with(train, scale)
    }

    /// With how much is looked at.
    pub(in crate::walkback) fn with(train: TrainSettings, scale: Scale) -> Self {
        // Sums over the inputs of a unit begin with the deviation that they have in the published
        // network, however wide the layer.
        let units = train.hidden.last().copied().unwrap_or(1) as f64;
        let weight_deviation = 0.01 * (PUBLISHED_UNITS / units).sqrt();
        Self {
            train,
            weight_deviation: (1e4 * weight_deviation).round() / 1e4,
            samples: scale.pick(100, 2_000, 10_000),
            bound_points: scale.pick(50, 500, 500),
            bound_chains: scale.pick(2, 100, 100),
            shown: scale.pick(50, 500, 1_000),
        }
    }

    /// A preset whose layers without normalisation begin as these settings say.
    pub(in crate::walkback) fn preset(&self, mut model: ModelConfig) -> ModelConfig {
        if model.network.dense_norm == DenseNorm::None {
            model.network.dense_init = DenseInit::Normal { stdev: self.weight_deviation };
        }
        model
    }

    /// Everything that determines the trained operator.
    pub(in crate::walkback) fn recipe(&self, model: ModelConfig, train: &TrainConfig) -> Recipe {
        self.train.recipe(&self.preset(model), train, EVENT)
    }

    /// The points that these settings ask for.
    ///
    /// # Errors
    /// Of [`Points::new`].
    pub(in crate::walkback) fn points(
        &self,
        toy: &'static str,
        request: &Request,
    ) -> Result<Points> {
        let train = &self.train;
        let sizes = [train.train_examples, train.validation_examples, train.test_examples];
        Points::new(toy, sizes, request.stream().child("points"))
    }

    /// What of the published training is not kept, in a sentence.
    pub(in crate::walkback) fn differences(&self, scale: Scale) -> String {
        match scale {
            Scale::Paper => {
                "As published, where the supplement or the published code decides.".into()
            }
            _ => format!(
                "The paper trains layers of 4096 units (the mixture: 256) on 20,000 points in batches \
                 of 5000 (2500) with one accumulated update a walk and a constant rate of 1e-4. Here \
                 the network, the points and the batches are small, updates come after every \
                 transition, the rate of Adam falls from {} to {}, and weights without normalisation \
                 begin with deviation {}, which gives sums of the published size.",
                self.train.learning_rate, self.train.last_learning_rate, self.weight_deviation
            ),
        }
    }

    /// Can an operator be trained and scored with these?
    ///
    /// # Errors
    /// [`crate::Error::Usage`] naming the key, or of the model's and the training's configuration.
    pub(in crate::walkback) fn validate(
        &self,
        request: &Request,
        model: &ModelConfig,
        train: &TrainConfig,
    ) -> Result<()> {
        refuse(request, &["channels", "pooled"], "points of the plane are no images")?;
        at_least(&[
            ("samples", self.samples, 2),
            ("bound_points", self.bound_points, 2),
            ("bound_chains", self.bound_chains, 1),
            ("shown", self.shown, 1),
        ])?;
        if self.bound_points > self.train.test_examples {
            return bad("bound_points", "must be at most test_examples");
        }
        self.train.validate(&self.preset(model.clone()), train, EVENT)
    }
}

/// A training of seconds: nothing is learnt, everything is run.
pub(in crate::walkback) fn smoke(train: TrainSettings) -> TrainSettings {
    TrainSettings {
        hidden: vec![16, 16],
        steps: 4,
        transitions_per_update: if train.transitions_per_update == 1 { 1 } else { 4 },
        epochs: 2,
        batch_size: 100,
        followed: 100,
        ..train
    }
}

/// The network of the mixture without any normalisation, in the published layout of the curves.
pub(in crate::walkback) fn plain(model: ModelConfig) -> ModelConfig {
    let ModelConfig { network, .. } = &model;
    let plain = NetworkConfig::mlp(network.event, Vec::new(), network.steps);
    let network = NetworkConfig { architecture: network.architecture.clone(), ..plain };
    ModelConfig { network, ..model }
}
