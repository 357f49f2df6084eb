//! Trains the models of walkback experiments.

use std::{collections::BTreeMap, path::Path};

use candle_core::Tensor;
use chains_core::{
    ParamStore, Seed, noise,
    optim::Adam,
    train::{Event, Observer},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use walkback::{
    ModelConfig, Moments, Statistics, TrainConfig, TrainState, WalkbackChain, WalkbackModel,
    freeze, score, update,
};

use super::examples::{Examples, Split};
use crate::{
    error::{Error, Result},
    images::blocks,
    request::Request,
    run::Run,
    training::{self, EpochEnd, Finished, Followed, Plan, UpdateAt, json, load_best, save_best},
};

/// Rows of a network call that no batch size decides.
const ROWS: usize = 500;

/// Everything that determines a trained model besides the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Recipe {
    /// Network, operator and chain.
    pub(super) model: ModelConfig,
    /// Objective and optimiser.
    pub(super) train: TrainConfig,
    /// Examples of each split that are followed over epochs; 0 follows nothing.
    pub(super) followed: usize,
    /// Epochs from one look at them to the next.
    pub(super) follow_every: usize,
    /// Keep the epoch with the best validation bound, or score where there is no bound, instead of
    /// the last.
    pub(super) select: bool,
    /// Decay of the exponential average of weights that is followed and kept; 0 for the raw weights.
    pub(super) weight_average: f64,
    /// Training examples in the frozen statistics and the fitted start.
    pub(super) statistics: usize,
    /// Number of the repetition, from 0: another one has other noise and other initial weights.
    pub(super) repetition: u64,
}

impl Recipe {
    /// The root of all randomness of this training.
    fn seed(&self, request: &Request) -> Seed {
        match self.repetition {
            0 => request.stream(),
            other => request.stream().indexed(other),
        }
    }
}

/// What is followed, with batch statistics: examples interact, so bounds are not strict.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct EpochScores {
    /// Epochs done.
    pub(super) epoch: usize,
    /// Mean over the epoch of the losses of a walk, summed over its transitions.
    pub(super) loss: f64,
    /// Walkback score of training examples: log densities of the steps back and of the end, or minus
    /// reconstruction errors. A monitor, no bound.
    pub(super) score_train: f64,
    /// The same of validation examples.
    pub(super) score_validation: f64,
    /// Lower bound of training examples in nats, one path each, where there is a density.
    pub(super) bound_train: Option<f64>,
    /// The same of validation examples.
    pub(super) bound_validation: Option<f64>,
}

impl EpochScores {
    /// What the best epoch has most of.
    fn criterion(&self) -> f64 {
        self.bound_validation.unwrap_or(self.score_validation)
    }
}

impl Followed for EpochScores {
    fn epoch(&self) -> usize {
        self.epoch
    }

    fn values(&self) -> Vec<(&'static str, f64)> {
        let mut values = vec![
            ("epoch", self.epoch as f64),
            ("epoch_loss", self.loss),
            ("score_train", self.score_train),
            ("score_validation", self.score_validation),
        ];
        values.extend(self.bound_train.map(|bound| ("bound_train", bound)));
        values.extend(self.bound_validation.map(|bound| ("bound_validation", bound)));
        values
    }
}

/// A trained model with frozen statistics.
pub(super) struct Trained {
    /// The model.
    pub(super) model: WalkbackModel,
    /// What was followed.
    pub(super) curve: Vec<EpochScores>,
    /// Seconds spent in updates, over all resumed parts.
    pub(super) seconds: f64,
    /// Minibatches that walks were made from.
    pub(super) updates: usize,
    /// Moments of the training examples.
    pub(super) moments: Moments,
}

impl Trained {
    /// How long training took, in words.
    pub(super) fn sentence(&self) -> String {
        training::took(self.updates, self.seconds)
    }
}

/// Trains as `recipe` says, or takes the model that this command has trained already; see
/// [`training::train`].
///
/// # Errors
/// [`chains_core::Error::NonFinite`] if a loss or what is followed breaks; the last saved state stays.
/// [`Error::Format`] if a file of a finished training is missing or damaged.
pub(super) fn train<D: Examples>(
    run: &mut Run<'_>,
    data: &D,
    recipe: &Recipe,
    stage: &str,
) -> Result<Trained> {
    recipe.model.validate()?;
    recipe.train.validate()?;
    let request = run.request;
    let name = training::name(request, &[json(recipe)?, json(&data.digest())?])?;
    let mut learner = Walkback::new(request, data, recipe)?;
    let plan = Plan {
        examples: data.count(Split::Train),
        batch_size: recipe.train.batch_size,
        epochs: recipe.train.epochs,
        learning_rate: recipe.train.learning_rate,
        adam: recipe.train.adam,
        weight_average: recipe.weight_average,
        order: recipe.seed(request).child("data"),
    };
    let Finished { dir, curve, seconds, updates } =
        training::train(run, stage, name, &plan, &mut learner)?;
    let model = WalkbackModel::load(&dir.join("model"), &request.device)?;
    Ok(Trained { model, curve, seconds, updates, moments: learner.moments })
}

/// A model in training.
struct Walkback<'a, D> {
    data: &'a D,
    recipe: &'a Recipe,
    seed: Seed,
    model: WalkbackModel,
    state: TrainState,
    moments: Moments,
}

impl<'a, D: Examples> Walkback<'a, D> {
    fn new(request: &Request, data: &'a D, recipe: &'a Recipe) -> Result<Self> {
        let seed = recipe.seed(request);
        let model = WalkbackModel::new(recipe.model.clone(), seed, &request.device)?;
        let mut moments = Moments::default();
        let mut noise = seed.child("moments").host_noise();
        for block in blocks(data.count(Split::Train), 1000) {
            moments.push(&data.rows(Split::Train, &block, &mut noise, &request.device)?)?;
        }
        let state = TrainState::new(recipe.train.adam);
        Ok(Self { data, recipe, seed, model, state, moments })
    }

    /// Examples to follow, in batches as large as those of training.
    fn batches(&self, split: Split) -> Result<Vec<Tensor>> {
        let size = self.recipe.train.batch_size.max(100);
        let n = self.recipe.followed.min(self.data.count(split));
        let mut noise = self.seed.child("followed").host_noise();
        blocks(n, size)
            // A short last block would have poor statistics.
            .filter(|block| block[0] == 0 || 2 * block.len() >= size)
            .map(|block| self.data.rows(split, &block, &mut noise, self.model.device()))
            .collect()
    }

    fn score(&self, split: Split) -> Result<f64> {
        let mut noise = noise::of_device(self.seed.child("followed-walk"), self.model.device());
        let (mut sum, mut count) = (0.0, 0);
        for x in self.batches(split)? {
            let both = [Statistics::Batch; 2];
            let rows = x.dims()[0];
            sum += rows as f64 * score(&self.model, &self.recipe.train, both, &x, &mut *noise)?;
            count += rows;
        }
        Ok(sum / count.max(1) as f64)
    }

    /// The lower bound, if there is one.
    fn bound(&self, split: Split) -> Result<Option<f64>> {
        let (config, start) = (self.model.config(), self.model.start()?);
        let heating = self.model.heating(0);
        let reversible = config.chain.temperatures.is_reversible();
        if !(config.operator.has_density() && start.has_density() && reversible) {
            return Ok(None);
        }
        let operator = self.model.operator(Statistics::Batch);
        let chain = WalkbackChain { heat: &operator, cool: &operator, start: &start, heating };
        let mut noise = noise::of_device(self.seed.child("followed-walk"), self.model.device());
        let (mut sum, mut count) = (0.0, 0);
        for x in self.batches(split)? {
            let found = chain.log_weights(&x, &[walkback::Weighting::Plain], &mut *noise)?;
            sum += found.weights[0].iter().sum::<f64>();
            count += found.weights[0].len();
        }
        Ok(Some(sum / count.max(1) as f64))
    }

    fn follow(&self, at: &EpochEnd<'_, EpochScores>) -> Result<EpochScores> {
        let scores = EpochScores {
            epoch: at.epoch,
            loss: at.loss,
            score_train: self.score(Split::Train)?,
            score_validation: self.score(Split::Validation)?,
            bound_train: self.bound(Split::Train)?,
            bound_validation: self.bound(Split::Validation)?,
        };
        if scores.values().iter().any(|(_, value)| !value.is_finite()) {
            let (what, step) = ("followed score", at.update);
            return Err(chains_core::Error::NonFinite { what, step }.into());
        }
        let best = at.curve.iter().map(EpochScores::criterion).fold(f64::NEG_INFINITY, f64::max);
        if self.recipe.select && scores.criterion() > best {
            save_best(self.model.store(), at.dir)?;
        }
        Ok(scores)
    }
}

impl<D: Examples> training::Learner for Walkback<'_, D> {
    type Epoch = EpochScores;

    fn store(&self) -> &ParamStore {
        self.model.store()
    }

    fn update(&mut self, adam: &mut Adam, at: &UpdateAt<'_>) -> Result<f64> {
        let device = self.model.device();
        let stream =
            |name: &str| noise::of_device(self.seed.child(name).indexed(at.update as u64), device);
        let mut noise = stream("dequantise");
        let x = self.data.rows(Split::Train, at.indices, &mut *noise, device)?;
        let (config, mut noise) = (&self.recipe.train, stream("walk"));
        // The loop owns the optimiser, which it saves; the walk borrows it.
        std::mem::swap(adam, &mut self.state.adam);
        let walked =
            update(&self.model, &mut self.state, config, at.learning_rate, &x, &mut *noise);
        std::mem::swap(adam, &mut self.state.adam);
        Ok(walked?.losses.iter().sum())
    }

    fn carried(&self) -> Result<Value> {
        serde_json::to_value(&self.state.ends)
            .map_err(|error| Error::Usage(format!("moments of the ends: {error}")))
    }

    fn restore(&mut self, carried: Value, _: BTreeMap<String, Tensor>) -> Result<()> {
        self.state.ends = serde_json::from_value(carried)
            .map_err(|error| Error::Usage(format!("moments of the ends: {error}")))?;
        Ok(())
    }

    fn end_epoch(&mut self, at: &EpochEnd<'_, EpochScores>) -> Result<Option<EpochScores>> {
        let due = at.epoch.is_multiple_of(self.recipe.follow_every.max(1));
        let last = at.epoch == self.recipe.train.epochs;
        let found = (self.recipe.followed > 0 && (due || last)).then(|| self.follow(at));
        self.state.begin_epoch();
        found.transpose()
    }

    /// Takes the best epoch, freezes statistics and fits the start, saves the model.
    fn finish(
        &mut self,
        dir: &Path,
        curve: &[EpochScores],
        observer: &mut dyn Observer,
    ) -> Result<()> {
        if self.recipe.select && !curve.is_empty() {
            load_best(self.model.store(), dir)?;
        }
        let seed = self.seed.child("statistics");
        let device = self.model.device();
        let x = self.data.first(Split::Train, self.recipe.statistics, seed, device)?;
        let total = 1000;
        let stage = "statistics";
        observer.observe(&Event::Started { stage, step: 0, total: Some(total) })?;
        let mut noise = noise::of_device(seed.child("walk"), device);
        freeze(&self.model, &x, ROWS, &mut *noise, &mut |share| {
            let step = (share * total as f64) as usize;
            observer.observe(&Event::Scalars { step, values: &[] })
        })?;
        observer.observe(&Event::Finished { step: total })?;
        Ok(self.model.save(&dir.join("model"))?)
    }
}
