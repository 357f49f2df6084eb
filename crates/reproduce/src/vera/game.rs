//! The game as a training that resumes: three optimisers, one of them the loop's own.

use std::{collections::BTreeMap, mem, path::Path};

use candle_core::{Device, Tensor};
use chains_core::{
    HostNoise, ParamStore, Seed, noise, optim::Adam, schedule::LearningRate, train::Observer,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vera::{Labels, ModelConfig, Terms, TrainConfig, TrainState, VeraModel, update};

use crate::{
    error::{Error, Result},
    plots::{Plot, Series},
    run::Run,
    training::{self, EpochEnd, Finished, Followed, Learner, Plan, Sums, UpdateAt, json, mean_of},
};

/// What is trained on.
pub(super) trait Examples {
    /// Number of examples.
    fn count(&self) -> usize;

    /// What tells them from all others.
    fn digest(&self) -> String;

    /// Examples `(b, ..event)` and, of a set with classes, those, `(b,)` of u32.
    ///
    /// # Errors
    /// Of the data.
    fn batch(
        &self,
        indices: &[usize],
        noise: &mut HostNoise,
        device: &Device,
    ) -> Result<(Tensor, Option<Tensor>)>;

    /// The share of followed examples that are classified correctly.
    ///
    /// # Errors
    /// Of the network.
    fn accuracy(&self, _model: &VeraModel) -> Result<Option<f64>> {
        Ok(None)
    }
}

/// Everything that determines a trained model besides data and seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Recipe {
    /// Networks.
    pub(super) model: ModelConfig,
    /// The game.
    pub(super) train: TrainConfig,
    /// Passes over the examples.
    pub(super) epochs: usize,
}

/// What is followed: means over an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct GameEpoch {
    /// Epochs done.
    pub(super) epoch: usize,
    /// The energy's loss.
    pub(super) loss: f64,
    /// Other terms, see [`NAMES`].
    pub(super) means: Vec<f64>,
    /// Share of the followed examples that are classified correctly.
    pub(super) accuracy: Option<f64>,
}

/// The terms that are followed.
const NAMES: [&str; 7] =
    ["data", "samples", "penalty", "classification", "score_norm", "effective_samples", "sigma"];

fn values(terms: &Terms) -> [f64; NAMES.len()] {
    [
        terms.data,
        terms.samples,
        terms.penalty,
        terms.classification,
        terms.score_norm,
        terms.effective_samples,
        terms.sigma,
    ]
}

impl GameEpoch {
    /// The mean of a term.
    pub(super) fn mean(&self, name: &str) -> f64 {
        mean_of(&NAMES, &self.means, name)
    }
}

impl Followed for GameEpoch {
    fn epoch(&self) -> usize {
        self.epoch
    }

    fn values(&self) -> Vec<(&'static str, f64)> {
        let mut values = vec![("epoch", self.epoch as f64), ("epoch_loss", self.loss)];
        values.extend(NAMES.into_iter().zip(self.means.iter().copied()));
        values.extend(self.accuracy.map(|accuracy| ("accuracy", accuracy)));
        values
    }
}

/// What a state holds as JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Carried {
    /// Steps of the optimisers of generator and posterior.
    steps: [u64; 2],
    /// Iterations of the game.
    iteration: usize,
    /// Sums of the terms of the epoch that runs.
    #[serde(flatten)]
    sums: Sums,
}

/// Both players in training.
struct Game<'a, X> {
    examples: &'a X,
    recipe: &'a Recipe,
    seed: Seed,
    model: VeraModel,
    /// Its optimiser of the energy is a stand-in: the loop has the real one.
    state: TrainState,
    sums: Sums,
}

impl<'a, X: Examples> Game<'a, X> {
    fn new(examples: &'a X, recipe: &'a Recipe, seed: Seed, device: &Device) -> Result<Self> {
        recipe.train.validate()?;
        let model = VeraModel::new(recipe.model.clone(), seed.child("model"), device)?;
        let state = TrainState::new(&recipe.train);
        Ok(Self { examples, recipe, seed, model, state, sums: Sums::default() })
    }
}

impl<X: Examples> Learner for Game<'_, X> {
    type Epoch = GameEpoch;

    fn store(&self) -> &ParamStore {
        self.model.store()
    }

    fn update(&mut self, adam: &mut Adam, at: &UpdateAt<'_>) -> Result<f64> {
        let seed = |name: &str| self.seed.child(name).indexed(at.update as u64);
        let device = self.model.store().device();
        let (x, y) = self.examples.batch(at.indices, &mut seed("data").host_noise(), device)?;
        let labels = y.as_ref().map_or(Labels::None, Labels::Same);
        mem::swap(adam, &mut self.state.energy);
        let config = &self.recipe.train;
        let mut noise = noise::of_device(seed("noise"), device);
        let found = update(&self.model, &mut self.state, config, (&x, labels), &mut *noise);
        mem::swap(adam, &mut self.state.energy);
        let terms = found?;
        self.sums.push(&values(&terms));
        Ok(terms.energy_loss)
    }

    fn learning_rate(&self, update: usize, _: f64) -> f64 {
        self.recipe.train.energy_rate.at(update)
    }

    fn carried(&self) -> Result<Value> {
        let steps = [self.state.generator.steps(), self.state.posterior.steps()];
        let (iteration, sums) = (self.state.iteration, self.sums.clone());
        let carried = Carried { steps, iteration, sums };
        serde_json::to_value(carried).map_err(|error| Error::Usage(format!("game: {error}")))
    }

    fn carried_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        // The stand-in has never made a step, so that it has no moments.
        Ok(self.state.tensors().0)
    }

    fn restore(&mut self, carried: Value, tensors: BTreeMap<String, Tensor>) -> Result<()> {
        let found: Carried = serde_json::from_value(carried)
            .map_err(|error| Error::Usage(format!("state of the game: {error}")))?;
        let Carried { steps: [generator, posterior], iteration, sums } = found;
        let from = (&tensors, [0, generator, posterior]);
        let store = self.model.store();
        self.state = TrainState::restore(&self.recipe.train, from, iteration, store)?;
        self.sums = sums;
        Ok(())
    }

    fn end_epoch(&mut self, at: &EpochEnd<'_, GameEpoch>) -> Result<Option<GameEpoch>> {
        let means = self.sums.means();
        let accuracy = self.examples.accuracy(&self.model)?;
        Ok(Some(GameEpoch { epoch: at.epoch, loss: at.loss, means, accuracy }))
    }

    fn finish(&mut self, dir: &Path, _: &[GameEpoch], _: &mut dyn Observer) -> Result<()> {
        Ok(self.model.save(&dir.join("model"))?)
    }
}

/// A trained model.
pub(super) struct Trained {
    pub(super) model: VeraModel,
    pub(super) curve: Vec<GameEpoch>,
    pub(super) seconds: f64,
    pub(super) updates: usize,
}

impl Trained {
    /// How long training took, in words.
    pub(super) fn sentence(&self) -> String {
        training::took(self.updates, self.seconds)
    }

    /// `f` of data and samples over updates.
    pub(super) fn plot(&self, run: &mut Run<'_>, name: &str, title: &str) -> Result<()> {
        let epochs = self.curve.len().max(1);
        let at = |epoch: &GameEpoch| (epoch.epoch * self.updates / epochs) as f64;
        let mut plot = Plot::new(title, "update", "f, nats");
        for (label, term) in [("data", "data"), ("generated", "samples")] {
            let points = self.curve.iter().map(|epoch| (at(epoch), epoch.mean(term)));
            plot.series(Series::line(label, points));
        }
        run.plot(name, &plot, "Means over epochs; the constant of f is free.")
    }
}

/// Trains as `recipe` says, or takes the model that this command has trained already; see
/// [`training::train`].
///
/// # Errors
/// [`Error::Diverged`] if a loss is no number: the last saved state stays.
pub(super) fn train<X: Examples>(
    run: &mut Run<'_>,
    examples: &X,
    recipe: &Recipe,
    stage: &str,
) -> Result<Trained> {
    let request = run.request;
    let seed = request.stream().child("vera");
    let name = training::name(request, &[json(recipe)?, json(&examples.digest())?])?;
    let mut learner = Game::new(examples, recipe, seed, &request.device)?;
    let plan = Plan {
        examples: examples.count(),
        batch_size: recipe.train.batch_size,
        epochs: recipe.epochs,
        learning_rate: LearningRate::Constant { value: recipe.train.energy_rate.value },
        adam: recipe.train.adam,
        weight_average: 0.0,
        order: seed.child("order"),
    };
    let Finished { dir, curve, seconds, updates } =
        training::train(run, stage, name, &plan, &mut learner)?;
    let model = VeraModel::load(&dir.join("model"), &request.device)?;
    Ok(Trained { model, curve, seconds, updates })
}

#[cfg(test)]
mod tests;
