//! Settings of the experiments: flat, so that `--set key=value` reaches everything.

use chains_core::schedule::{LearningRate, Temperatures};
use serde::{Deserialize, Serialize};
use walkback::{
    Architecture, Mixing, ModelConfig, Objective, OperatorConfig, StartConfig, TrainConfig, Updates,
};

use super::training::Recipe;
use crate::{
    error::{Error, Result},
    images::Cut,
    limits::{at_least, bad},
    report::format_number,
};

/// Training of one model. What a preset decides besides (norms, slopes, how weights begin, the kind of
/// operator) stays as it is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TrainSettings {
    /// Training examples, the first of the training file.
    pub(super) train_examples: usize,
    /// Validation examples, behind the first 50,000 of the training file of MNIST.
    pub(super) validation_examples: usize,
    /// Test examples, the first of the test file.
    pub(super) test_examples: usize,
    /// Average 2x2 blocks of pixels.
    pub(super) pooled: bool,
    /// Channels of the convolutions; none for dense layers alone.
    pub(super) channels: Vec<usize>,
    /// Units of the hidden dense layers.
    pub(super) hidden: Vec<usize>,
    /// K.
    pub(super) steps: usize,
    /// f: the temperature of a step over that of the step before.
    pub(super) factor: f64,
    /// `a_1`, the weight of the old state.
    pub(super) mixing: f64,
    /// What it grows by from step to step.
    pub(super) mixing_increment: f64,
    /// `sigma_0` of an operator with a density, c of a reconstructing one.
    pub(super) noise: f64,
    /// `eps_u`, the least variance of an operator with a density.
    pub(super) variance_floor: f64,
    /// `N_ex`: sampling steps at temperature 1 after cooling.
    pub(super) extra_steps: usize,
    /// `N_1`: training walks begin with 0 to this many steps at temperature 1.
    pub(super) train_extra_steps: usize,
    /// `walkback`, `self-reconstruct` or `full-bound`.
    pub(super) objective: Objective,
    /// Transitions behind one step of the optimiser: 1 is online, `steps` + `train_extra_steps` or more
    /// are accumulated over a walk. `full-bound` makes one step a walk whatever this is.
    pub(super) transitions_per_update: usize,
    /// Passes over the training examples.
    pub(super) epochs: usize,
    /// Examples in a walk.
    pub(super) batch_size: usize,
    /// Highest rate of Adam.
    pub(super) learning_rate: f64,
    /// Rate at the end; equal to `learning_rate` for a constant one, else half a cosine.
    pub(super) last_learning_rate: f64,
    /// Walks until the highest rate, where the rate is not constant.
    pub(super) warmup: usize,
    /// Examples of each split that are followed over epochs; 0 for none.
    pub(super) followed: usize,
    /// Epochs between two looks at them.
    pub(super) follow_every: usize,
    /// Keep the epoch with the best validation bound (score, where there is none), not the last.
    pub(super) select: bool,
    /// Decay of the exponential average of weights that is scored and kept; 0 for the raw weights.
    /// Not in the paper.
    pub(super) weight_average: f64,
    /// Training examples in the frozen statistics and the fitted start.
    pub(super) statistics_examples: usize,
}

impl TrainSettings {
    /// What a preset of the library says, with so many examples in each split.
    pub(super) fn of(model: &ModelConfig, train: &TrainConfig, examples: [usize; 3]) -> Self {
        let (channels, hidden) = match &model.network.architecture {
            Architecture::Mlp { hidden } => (Vec::new(), hidden.clone()),
            Architecture::Conv { channels, hidden } => (channels.clone(), hidden.clone()),
        };
        let factor = match model.chain.temperatures {
            Temperatures::Geometric { factor } => factor,
            _ => 1.0,
        };
        let (noise, variance_floor) = match model.operator {
            OperatorConfig::Gaussian { scale, floor, .. } => (scale, floor),
            OperatorConfig::Reconstruction { noise, .. } => (noise, 0.0),
            OperatorConfig::Bernoulli => (0.0, 0.0),
        };
        let transitions_per_update = match train.updates {
            Updates::Online => 1,
            Updates::Accumulated => model.network.steps + train.extra_steps,
            Updates::Every { steps } => steps,
        };
        let (value, last, warmup) = match train.learning_rate {
            LearningRate::Cosine { value, last, warmup } => (value, last, warmup),
            rate => (rate.at(0, 1), rate.at(0, 1), 0),
        };
        let [train_examples, validation_examples, test_examples] = examples;
        Self {
            train_examples,
            validation_examples,
            test_examples,
            pooled: false,
            channels,
            hidden,
            steps: model.network.steps,
            factor,
            mixing: model.chain.mixing.initial,
            mixing_increment: model.chain.mixing.increment,
            noise,
            variance_floor,
            extra_steps: model.chain.extra_steps,
            train_extra_steps: train.extra_steps,
            objective: train.objective,
            transitions_per_update,
            epochs: train.epochs,
            batch_size: train.batch_size,
            learning_rate: value,
            last_learning_rate: last,
            warmup,
            followed: 1000,
            follow_every: 1,
            select: false,
            weight_average: 0.0,
            statistics_examples: train_examples,
        }
    }

    /// Which images of MNIST.
    pub(super) fn cut(&self) -> Cut {
        Cut {
            train: self.train_examples,
            validation: self.validation_examples,
            test: self.test_examples,
            pooled: self.pooled,
        }
    }

    /// Channels, height and width of digits as these settings have them.
    pub(super) fn digits(&self) -> [usize; 3] {
        let side = if self.pooled { 14 } else { 28 };
        [1, side, side]
    }

    /// The preset with these settings, for events of this shape.
    pub(super) fn model(&self, preset: &ModelConfig, event: [usize; 3]) -> ModelConfig {
        let mut model = preset.clone();
        let hidden = self.hidden.clone();
        model.network.architecture = match self.channels.clone() {
            channels if channels.is_empty() => Architecture::Mlp { hidden },
            channels => Architecture::Conv { channels, hidden },
        };
        model.network.event = event;
        model.network.steps = self.steps;
        model.operator = match model.operator {
            OperatorConfig::Gaussian { effect, .. } => {
                OperatorConfig::Gaussian { scale: self.noise, floor: self.variance_floor, effect }
            }
            OperatorConfig::Reconstruction { outside, .. } => {
                OperatorConfig::Reconstruction { noise: self.noise, outside }
            }
            OperatorConfig::Bernoulli => OperatorConfig::Bernoulli,
        };
        model.chain.temperatures = Temperatures::Geometric { factor: self.factor };
        model.chain.mixing = Mixing { initial: self.mixing, increment: self.mixing_increment };
        model.chain.extra_steps = self.extra_steps;
        model
    }

    /// When the optimiser steps, unless the objective is the bound.
    fn updates(&self) -> Updates {
        match self.transitions_per_update {
            1 => Updates::Online,
            n if n >= self.steps + self.train_extra_steps => Updates::Accumulated,
            steps => Updates::Every { steps },
        }
    }

    /// Everything that determines the trained model.
    pub(super) fn recipe(
        &self,
        preset: &ModelConfig,
        train: &TrainConfig,
        event: [usize; 3],
    ) -> Recipe {
        let (value, last) = (self.learning_rate, self.last_learning_rate);
        let learning_rate = if (value - last).abs() < f64::EPSILON {
            LearningRate::Constant { value }
        } else {
            LearningRate::Cosine { value, last, warmup: self.warmup }
        };
        Recipe {
            model: self.model(preset, event),
            train: TrainConfig {
                objective: self.objective,
                updates: self.updates(),
                error: train.error,
                extra_steps: self.train_extra_steps,
                adam: train.adam,
                learning_rate,
                batch_size: self.batch_size,
                epochs: self.epochs,
            },
            followed: self.followed,
            follow_every: self.follow_every,
            select: self.select,
            weight_average: self.weight_average,
            statistics: self.statistics_examples,
            repetition: 0,
        }
    }

    /// Can a model be trained, followed and frozen with these, on events of this shape?
    ///
    /// # Errors
    /// [`Error::Usage`] naming the key, or of the model's and the training's configuration.
    pub(super) fn validate(
        &self,
        preset: &ModelConfig,
        train: &TrainConfig,
        event: [usize; 3],
    ) -> Result<()> {
        at_least(&[
            ("validation_examples", self.validation_examples, 2),
            ("test_examples", self.test_examples, 2),
            ("statistics_examples", self.statistics_examples, 2),
            ("epochs", self.epochs, 1),
            ("follow_every", self.follow_every, 1),
            ("transitions_per_update", self.transitions_per_update, 1),
        ])?;
        if self.batch_size < 2 || self.batch_size > self.train_examples {
            return bad("batch_size", "must be at least 2 and at most train_examples");
        }
        if self.select && self.followed == 0 {
            return bad("followed", "must be at least 1, or `--set select=false`");
        }
        if !(0.0..1.0).contains(&self.weight_average) {
            return bad("weight_average", "must be from 0 to below 1");
        }
        if matches!(preset.chain.start, StartConfig::Clipped { .. })
            && self.objective == Objective::FullBound
        {
            return bad(
                "objective",
                "this operator has no density, so there is no bound to train on",
            );
        }
        let recipe = self.recipe(preset, train, event);
        recipe.model.validate()?;
        recipe.train.validate().map_err(Error::from)
    }

    /// The model in a sentence of a report.
    pub(super) fn sentence(&self, event: [usize; 3]) -> String {
        let [_, h, w] = event;
        let shape =
            if [h, w] == [1, 2] { "points".to_owned() } else { format!("images of {h}x{w}") };
        let maps = if self.channels.is_empty() {
            String::new()
        } else {
            format!("maps of {:?} channels, ", self.channels)
        };
        let rhythm = match (self.objective, self.updates()) {
            (Objective::FullBound, _) => "one optimiser step a walk".to_owned(),
            (_, Updates::Online) => "one optimiser step a transition (online)".to_owned(),
            (_, Updates::Accumulated) => "one optimiser step a walk (accumulated)".to_owned(),
            (_, Updates::Every { steps }) => {
                format!("one optimiser step every {steps} transitions and at the end of a walk")
            }
        };
        let walks = self.epochs * (self.train_examples / self.batch_size.max(1));
        let target = match self.objective {
            Objective::Walkback => "the earlier state from the later one, as the paper has it",
            Objective::SelfReconstruct => {
                "each state from itself, as the published code has it (an ablation, not the method)"
            }
            Objective::FullBound => {
                "the bound itself, through all states of a walk (not in the paper)"
            }
        };
        format!(
            "Network: {maps}hidden layers {:?}; K = {}, temperatures times {} a step. Trained on {} \
             {shape}: {walks} walks from batches of {} ({} epochs), {rhythm}. Target: {target}.",
            self.hidden,
            self.steps,
            format_number(self.factor),
            self.train_examples,
            self.batch_size,
            self.epochs
        )
    }
}

/// Refuses to show or score more test examples than there are.
///
/// # Errors
/// [`Error::Usage`] naming the key.
pub(super) fn at_most_test(train: &TrainSettings, key: &str, value: usize) -> Result<()> {
    if value <= train.test_examples {
        return Ok(());
    }
    bad(key, &format!("must be at most `test_examples`, {}", train.test_examples))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_says_when_the_optimiser_steps() {
        // K = 5, and up to two transitions at temperature 1 before them.
        let (model, train) = (ModelConfig::mnist_mlp_short(), TrainConfig::mnist_mlp_short());
        let settings = TrainSettings::of(&model, &train, [100, 10, 10]);
        let settings = TrainSettings { train_extra_steps: 2, ..settings };
        let walkback = Objective::Walkback;
        for (transitions_per_update, objective, rhythm) in [
            (1, walkback, "a transition (online)"),
            (5, walkback, "every 5 transitions and at the end of a walk"),
            (7, walkback, "a walk (accumulated)"),
            (1, Objective::SelfReconstruct, "a transition (online)"),
            (1, Objective::FullBound, "a walk"),
            (5, Objective::FullBound, "a walk"),
        ] {
            let settings = TrainSettings { transitions_per_update, objective, ..settings.clone() };
            let (sentence, rhythm) = (settings.sentence([1, 28, 28]), format!("step {rhythm}. "));
            assert!(sentence.contains(&rhythm), "`{rhythm}` is not in: {sentence}");
        }
    }
}
