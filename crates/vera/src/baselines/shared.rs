//! What the baselines have in common: the network in training, its optimiser, the energy's loss.

use std::collections::BTreeMap;

use candle_core::{Tensor, backprop::GradStore};
use chains_core::{
    Error, Noise, ParamStore, Result, optim::Adam, optim::AdamConfig, schedule::MultiStep,
};
use serde::{Deserialize, Serialize};

use crate::{
    config::TrainConfig,
    generator::GeneratorNetwork,
    network::EnergyNetwork,
    players::Players,
    train::{Labels, Terms, energy_gradients, finite},
};

/// A network in training without a generator: its variables, and the network on them with a graph
/// and without one.
pub struct EnergyPlayer<'a, E> {
    /// Where the variables live. Those without a gradient stay.
    pub store: &'a ParamStore,
    /// The network on the trainable view of the store.
    pub live: &'a E,
    /// The network on the frozen view.
    pub frozen: &'a E,
}

impl<E> Clone for EnergyPlayer<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for EnergyPlayer<'_, E> {}

impl<'a, E: EnergyNetwork, G: GeneratorNetwork> From<&'a Players<E, G>> for EnergyPlayer<'a, E> {
    fn from(players: &'a Players<E, G>) -> Self {
        Self { store: players.store(), live: players.live_energy(), frozen: players.energy() }
    }
}

/// Rate, constants of the optimiser and size of a batch: all that some baselines need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimisation {
    /// The rate.
    pub rate: MultiStep,
    /// Constants of Adam.
    pub adam: AdamConfig,
    /// Examples of an update.
    pub batch_size: usize,
}

impl Optimisation {
    /// A constant rate with the constants of the method itself, Adam(0, 0.9).
    pub fn constant(rate: f64, batch_size: usize) -> Self {
        let adam = AdamConfig { beta1: 0.0, beta2: 0.9, eps: 1e-8 };
        Self { rate: MultiStep::constant(rate), adam, batch_size }
    }

    /// The classifiers of Table 6, "supervised" and "full label": batches of 64, times 0.3 at the
    /// milestones, as [`TrainConfig::tabular`].
    pub fn tabular(rate: f64, milestones: Vec<usize>) -> Self {
        let stepped = MultiStep { value: rate, warmup: 0, milestones, factor: 0.3 };
        Self { rate: stepped, ..Self::constant(rate, 64) }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        self.rate.validate()?;
        self.adam.validate()?;
        at_least_one("batch_size", self.batch_size)
    }
}

/// What an energy's training carries from update to update.
pub struct EnergyState {
    /// The optimiser.
    pub adam: Adam,
    /// Updates done.
    pub iteration: usize,
}

impl EnergyState {
    /// Before the first update.
    pub fn new(config: &Optimisation) -> Self {
        Self { adam: Adam::new(config.adam), iteration: 0 }
    }

    /// The optimiser's moments and its number of steps.
    pub fn tensors(&self) -> (Vec<(String, Tensor)>, u64) {
        (self.adam.tensors(), self.adam.steps())
    }

    /// Takes what [`EnergyState::tensors`] gave.
    ///
    /// # Errors
    /// [`Error::Config`] for moments that do not fit the parameters of `store`.
    pub fn restore(
        config: &Optimisation,
        (tensors, steps): (&BTreeMap<String, Tensor>, u64),
        iteration: usize,
        store: &ParamStore,
    ) -> Result<Self> {
        Ok(Self { adam: Adam::restore(config.adam, steps, tensors, store)?, iteration })
    }

    /// Moves the variables of `store` against the gradients and counts the update.
    pub(super) fn step(
        &mut self,
        store: &ParamStore,
        grads: &GradStore,
        config: &Optimisation,
    ) -> Result<()> {
        self.adam.step(store, grads, config.rate.at(self.iteration))?;
        self.iteration += 1;
        Ok(())
    }
}

/// Weights in the loss of an energy that learns from samples:
/// `-mean f(x) + mean f(samples) + gamma mean |grad f(x)|^2 / 2 + alpha CE + beta H(p(y | x))`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnergyLoss {
    /// gamma.
    pub gradient_penalty: f64,
    /// The penalty has the factor 1/2, as in the published code.
    pub penalty_half: bool,
    /// alpha, of the classification of labelled examples.
    pub class_weight: f64,
    /// beta, of the entropy of predictions; without effect where everything is labelled.
    pub class_entropy_weight: f64,
}

impl EnergyLoss {
    /// No classes.
    pub const fn density(gradient_penalty: f64) -> Self {
        let (class_weight, class_entropy_weight) = (0.0, 0.0);
        Self { gradient_penalty, penalty_half: true, class_weight, class_entropy_weight }
    }

    /// Classes, without penalty.
    pub const fn classes(class_weight: f64, class_entropy_weight: f64) -> Self {
        Self { class_weight, class_entropy_weight, ..Self::density(0.0) }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        not_negative("gradient_penalty", self.gradient_penalty)?;
        not_negative("class_weight", self.class_weight)?;
        not_negative("class_entropy_weight", self.class_entropy_weight)
    }

    /// Gradients of the energy and its terms, of a loss that is a number.
    pub(super) fn gradients<E: EnergyNetwork>(
        &self,
        player: EnergyPlayer<'_, E>,
        batch: (&Tensor, &Tensor, Labels<'_>),
        iteration: usize,
        noise: &mut dyn Noise,
    ) -> Result<(GradStore, EnergyTerms)> {
        let game = TrainConfig {
            gradient_penalty: self.gradient_penalty,
            penalty_half: self.penalty_half,
            class_weight: self.class_weight,
            class_entropy_weight: self.class_entropy_weight,
            ..TrainConfig::density(0.0, [0.0; 3])
        };
        let mut terms = Terms::default();
        let networks = [player.live, player.frozen];
        let grads = energy_gradients(networks, &game, batch, &mut terms, noise)?;
        finite(terms.energy_loss, "energy loss", iteration)?;
        Ok((grads, terms.into()))
    }
}

/// Terms of an energy that learns from samples, before its step; means over examples, nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EnergyTerms {
    /// The whole loss.
    pub loss: f64,
    /// `f` of data.
    pub data: f64,
    /// `f` of samples.
    pub samples: f64,
    /// `|grad_x f|^2 / 2` at data; 0 without penalty.
    pub penalty: f64,
    /// Cross-entropy of labelled examples.
    pub classification: f64,
    /// Entropy of predictions on the batch.
    pub class_entropy: f64,
}

impl From<Terms> for EnergyTerms {
    fn from(terms: Terms) -> Self {
        Self {
            loss: terms.energy_loss,
            data: terms.data,
            samples: terms.samples,
            penalty: terms.penalty,
            classification: terms.classification,
            class_entropy: terms.class_entropy,
        }
    }
}

/// Moments of an optimiser under the name of what it moves.
pub(super) fn named(who: &str, adam: &Adam) -> Vec<(String, Tensor)> {
    adam.tensors().into_iter().map(|(name, tensor)| (format!("{who}.{name}"), tensor)).collect()
}

/// Those of `tensors` under a name, without it.
pub(super) fn under(who: &str, tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let prefix = format!("{who}.");
    let own = |(name, tensor): (&String, &Tensor)| {
        Some((name.strip_prefix(&prefix)?.to_owned(), tensor.clone()))
    };
    tensors.iter().filter_map(own).collect()
}

pub(super) fn not_negative(field: &'static str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Error::Config { field, reason: format!("{value} must be finite and not negative") })
}

pub(super) fn at_least_one(field: &'static str, value: usize) -> Result<()> {
    if value > 0 {
        return Ok(());
    }
    Err(Error::Config { field, reason: "must be one or more".into() })
}

/// The mean of `(b, ..)`, summed over an example, as a factor of sums: `1 / b`.
pub(super) fn share(x: &Tensor) -> f64 {
    1.0 / x.dims().first().copied().unwrap_or(1).max(1) as f64
}
