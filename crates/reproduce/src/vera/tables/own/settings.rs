//! Settings of a training on a user's own table.

use serde::{Deserialize, Serialize};
use vera::{
    EnergyConfig, Entropy, GeneratorConfig, ModelConfig, TrainConfig, baselines::Optimisation,
};

use super::super::methods::Method;
use crate::{
    error::Result,
    limits::{at_least, bad},
    request::Request,
};

/// What `--set` can say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OwnSettings {
    /// The column of the classes.
    pub(super) label: String,
    /// Known labels of a class; 0 for all that the file has.
    pub(super) labels_per_class: usize,
    /// Columns that say nothing, such as a number of the row.
    pub(super) drop: Vec<String>,
    /// Share of the labelled rows on which the classifiers are measured.
    pub(super) held_out: f64,
    /// Units of the classifier's hidden layers.
    pub(super) hidden: Vec<usize>,
    /// Units of the generator's three layers.
    pub(super) generator_width: usize,
    /// d: latent variables.
    pub(super) latent: usize,
    pub(super) updates: usize,
    /// Rate of all optimisers.
    pub(super) rate: f64,
    pub(super) batch_size: usize,
    /// lambda.
    pub(super) entropy_weight: f64,
    /// alpha.
    pub(super) class_weight: f64,
    /// beta; try 0 where classes overlap.
    pub(super) class_entropy_weight: f64,
    /// gamma.
    pub(super) gradient_penalty: f64,
    /// k: proposals of the entropy's gradient.
    pub(super) proposals: usize,
    /// Times at which the accuracy is taken.
    pub(super) looks: usize,
    /// Bins of the calibration.
    pub(super) bins: usize,
}

impl OwnSettings {
    pub(super) fn resolve(request: &Request) -> Result<Self> {
        let scale = request.scale;
        let found = request.settings(&Self {
            label: String::new(),
            labels_per_class: 0,
            drop: Vec::new(),
            held_out: 0.2,
            hidden: scale.pick(vec![16, 16], vec![256, 128, 128], vec![256, 128, 128]),
            generator_width: scale.pick(8, 128, 128),
            latent: scale.pick(4, 16, 16),
            updates: scale.pick(40, 5_000, 20_000),
            rate: 3e-4,
            batch_size: 64,
            entropy_weight: 1e-4,
            class_weight: 1.0,
            class_entropy_weight: 1.0,
            gradient_penalty: 0.1,
            proposals: scale.pick(4, 20, 20),
            looks: 20,
            bins: 10,
        })?;
        found.check()?;
        Ok(found)
    }

    fn check(&self) -> Result<()> {
        at_least(&[
            ("generator_width", self.generator_width, 1),
            ("latent", self.latent, 1),
            ("updates", self.updates, 1),
            ("batch_size", self.batch_size, 2),
            ("proposals", self.proposals, 1),
            ("looks", self.looks, 1),
            ("bins", self.bins, 1),
        ])?;
        if !(0.0..1.0).contains(&self.held_out) {
            return bad("held_out", "must be from 0 to below 1");
        }
        if self.looks > self.updates {
            return bad("looks", "must be at most updates");
        }
        self.model([2, 2]).validate()?;
        self.vera().validate()?;
        self.supervised().validate()?;
        Ok(())
    }

    /// The networks for `[features, classes]`.
    pub(super) fn model(&self, [dim, outputs]: [usize; 2]) -> ModelConfig {
        let hidden = self.hidden.clone();
        ModelConfig::of(
            EnergyConfig::Mlp { dim, hidden, outputs, weight_norm: false },
            GeneratorConfig::softplus(self.latent, self.generator_width, dim),
        )
    }

    pub(super) fn vera(&self) -> Method {
        Method::Vera(TrainConfig {
            entropy_weight: self.entropy_weight,
            entropy: Entropy::ImportanceSampling { samples: self.proposals },
            gradient_penalty: self.gradient_penalty,
            class_entropy_weight: self.class_entropy_weight,
            batch_size: self.batch_size,
            ..TrainConfig::tabular(self.rate, self.class_weight, Vec::new())
        })
    }

    pub(super) fn supervised(&self) -> Method {
        Method::Supervised(Optimisation {
            batch_size: self.batch_size,
            ..Optimisation::tabular(self.rate, Vec::new())
        })
    }
}
