//! The game as a training that is resumed exactly.

use std::{collections::BTreeMap, mem, path::Path};

use candle_core::Tensor;
use chains_core::{ParamStore, Seed, noise, optim::Adam, train::Observer};
use datasets::{ImageSet, permutation};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use variational_annealing::{GanModel, Terms, TrainState, update};

use super::settings::PhotographSettings;
use crate::{
    data::usage,
    error::{Error, Result},
    training::{EpochEnd, Followed, Learner, Sums, UpdateAt, mean_of},
};

/// What is followed: means over some iterations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Point {
    /// Stretches of iterations done.
    pub(super) epoch: usize,
    /// The critic's loss.
    pub(super) loss: f64,
    /// Other terms, see [`NAMES`].
    pub(super) means: Vec<f64>,
}

/// The terms that are followed.
const NAMES: [&str; 8] =
    ["generator", "denoiser", "annealing", "lambda", "real", "fake", "penalty", "gradient_norm"];

fn values(terms: &Terms) -> [f64; NAMES.len()] {
    [
        terms.generator,
        terms.denoiser,
        terms.annealing,
        terms.lambda,
        terms.real,
        terms.fake,
        terms.penalty,
        terms.gradient_norm,
    ]
}

impl Point {
    /// The mean of a term.
    pub(super) fn mean(&self, name: &str) -> f64 {
        mean_of(&NAMES, &self.means, name)
    }
}

impl Followed for Point {
    fn epoch(&self) -> usize {
        self.epoch
    }

    fn values(&self) -> Vec<(&'static str, f64)> {
        let mut values = vec![("epoch", self.epoch as f64), ("epoch_loss", self.loss)];
        values.extend(NAMES.into_iter().zip(self.means.iter().copied()));
        values
    }
}

/// What a state holds as JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Carried {
    /// Steps of the optimisers of generator and denoiser.
    steps: [u64; 2],
    iteration: usize,
    /// Sums of the terms of the stretch that runs.
    #[serde(flatten)]
    sums: Sums,
}

/// Three networks in training.
pub(super) struct Game<'a> {
    images: &'a ImageSet,
    settings: &'a PhotographSettings,
    seed: Seed,
    model: GanModel,
    /// Its optimiser of the critic is a stand-in: the loop has the real one.
    state: TrainState,
    sums: Sums,
    /// An epoch with its order.
    order: (usize, Vec<usize>),
}

impl<'a> Game<'a> {
    pub(super) fn new(
        images: &'a ImageSet,
        settings: &'a PhotographSettings,
        seed: Seed,
        device: &candle_core::Device,
    ) -> Result<Self> {
        let model = GanModel::new(settings.networks.clone(), seed.child("model"), device)?;
        let state = TrainState::new(&settings.training);
        let order = (0, permutation(images.len(), seed.child("images").indexed(0)));
        let sums = Sums::default();
        Ok(Self { images, settings, seed, model, state, sums, order })
    }

    /// The images of an iteration, every one once in an epoch; `(rows, c, h, w)`.
    fn batch(&mut self, iteration: usize) -> Result<Tensor> {
        let config = &self.settings.training;
        let rows = config.batch_size * config.critic_steps;
        let per_epoch = self.images.len() / rows;
        let (epoch, at) = (iteration / per_epoch, iteration % per_epoch * rows);
        if self.order.0 != epoch {
            let seed = self.seed.child("images").indexed(epoch as u64);
            self.order = (epoch, permutation(self.images.len(), seed));
        }
        let [c, h, w] = self.settings.networks.discriminator.event;
        let x = self.images.symmetric(&self.order.1[at..at + rows]).map_err(usage)?;
        Ok(x.reshape((rows, c, h, w))?.to_device(self.model.store().device())?)
    }
}

impl Learner for Game<'_> {
    type Epoch = Point;

    fn store(&self) -> &ParamStore {
        self.model.store()
    }

    fn update(&mut self, adam: &mut Adam, at: &UpdateAt<'_>) -> Result<f64> {
        let x = self.batch(at.update)?;
        let seed = self.seed.child("noise").indexed(at.update as u64);
        let mut noise = noise::of_device(seed, self.model.store().device());
        mem::swap(adam, &mut self.state.critic);
        let config = &self.settings.training;
        let found = update(&self.model, &mut self.state, config, &x, &mut *noise);
        mem::swap(adam, &mut self.state.critic);
        let terms = found?;
        self.sums.push(&values(&terms));
        Ok(terms.critic)
    }

    fn carried(&self) -> Result<Value> {
        let steps = [self.state.generator.steps(), self.state.denoiser.steps()];
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
        let Carried { steps: [generator, denoiser], iteration, sums } = found;
        let from = (&tensors, [0, generator, denoiser]);
        let config = &self.settings.training;
        self.state = TrainState::restore(config, from, iteration, self.model.store())?;
        self.sums = sums;
        Ok(())
    }

    fn end_epoch(&mut self, at: &EpochEnd<'_, Point>) -> Result<Option<Point>> {
        let means = self.sums.means();
        Ok(Some(Point { epoch: at.epoch, loss: at.loss, means }))
    }

    fn finish(&mut self, dir: &Path, _: &[Point], _: &mut dyn Observer) -> Result<()> {
        Ok(self.model.save(&dir.join("model"))?)
    }
}
