//! Trains the models of infusion experiments.

mod learner;

use candle_core::Tensor;
use infusion::{InfusionModel, ModelConfig, Moments, TrainConfig};
use serde::{Deserialize, Serialize};

use self::learner::Infusion;
use crate::{
    error::Result,
    images::Images,
    run::Run,
    training::{self, Followed, Plan, json},
};

/// Everything that determines a trained model besides the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Network and chain.
    pub model: ModelConfig,
    /// Objective and optimiser.
    pub train: TrainConfig,
    /// Examples of each split whose bound is followed over epochs; 0 follows nothing.
    pub followed: usize,
    /// Keep the epoch with the best validation bound instead of the last.
    pub select: bool,
    /// Decay of the exponential average of weights that is scored and kept; 0 for the raw weights.
    pub weight_average: f64,
    /// Begin with head biases that give the training moments.
    pub data_biases: bool,
    /// Training images in the frozen statistics.
    pub statistics: usize,
    /// Collect them on the model's own chain instead of infused ones.
    // Left out where it is false: models trained before there was a choice keep their names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub statistics_on_model_chain: bool,
    /// Keep the infusion chain of one training image after every epoch (Figure 2).
    pub snapshots: bool,
}

/// Bounds after an epoch, with batch statistics, in nats: examples interact, so these are not strict
/// bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochBounds {
    /// Epochs done.
    pub epoch: usize,
    /// Mean training loss of the epoch, nats per dimension.
    pub loss: f64,
    /// Bound of the first training images.
    pub train: f64,
    /// Bound of the first validation images.
    pub validation: f64,
    /// Bound of the first test images.
    pub test: f64,
}

impl Followed for EpochBounds {
    fn epoch(&self) -> usize {
        self.epoch
    }

    fn values(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("epoch", self.epoch as f64),
            ("epoch_loss", self.loss),
            ("bound_train", self.train),
            ("bound_validation", self.validation),
            ("bound_test", self.test),
        ]
    }
}

/// A trained model with frozen statistics.
pub struct Trained {
    /// The model.
    pub model: InfusionModel,
    /// Bounds by epoch, if they were followed.
    pub curve: Vec<EpochBounds>,
    /// Seconds spent in updates, over all resumed parts.
    pub seconds: f64,
    /// Updates made.
    pub updates: usize,
    /// Moments of the training images behind the prior.
    pub moments: Moments,
    /// States of the followed infusion chain: before training, then after each epoch, `(T, D)`.
    pub snapshots: Vec<Tensor>,
}

impl Trained {
    /// How long training took, in words.
    pub fn sentence(&self) -> String {
        training::took(self.updates, self.seconds)
    }
}

/// Trains as `recipe` says, or takes the model that this command has trained already; see
/// [`training::train`].
///
/// # Errors
/// [`chains_core::Error::NonFinite`] if the loss or a followed bound breaks; the last saved state
/// stays. [`Error::Format`](crate::Error::Format) if a file of a finished training is missing or
/// damaged.
pub fn train(run: &mut Run<'_>, images: &Images, recipe: &Recipe, stage: &str) -> Result<Trained> {
    recipe.model.validate()?;
    recipe.train.validate()?;
    let request = run.request;
    let parts = [json(recipe)?, json(&images.digest())?, json(&images.pooled)?];
    let name = training::name(request, &parts)?;
    let mut learner = Infusion::new(request, images, recipe)?;
    let plan = Plan {
        examples: images.train.len(),
        batch_size: recipe.train.batch_size,
        epochs: recipe.train.epochs,
        learning_rate: recipe.train.learning_rate,
        adam: recipe.train.adam,
        weight_average: recipe.weight_average,
        order: request.stream().child("data"),
    };
    let done = training::train(run, stage, name, &plan, &mut learner)?;
    learner.into_trained(done)
}
