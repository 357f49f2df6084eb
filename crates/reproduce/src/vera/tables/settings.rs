//! Sizes and rates of Table 6, at every scale.

use serde::{Deserialize, Serialize};
use vera::{
    EnergyConfig, Entropy, GeneratorConfig, ModelConfig, TrainConfig,
    baselines::{MegConfig, Optimisation, PcdConfig, VatConfig},
    config::{GeneratorActivation, Output},
};

use super::{
    data::{MNIST, Parts, known},
    fit::Fit,
    methods::Method,
};
use crate::{
    error::Result,
    limits::{at_least, bad},
    request::{Request, Scale},
};

/// Settings of the comparison. What is absent has a value of its own for every set: the paper's
/// (Table 8) for its four sets at paper scale.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Settings {
    /// Sets of the repository, or of the paper.
    pub(super) sets: Vec<String>,
    /// Known labels of a class.
    pub(super) labels_per_class: usize,
    /// Units of the classifier's hidden layers.
    pub(super) hidden: Vec<usize>,
    /// Units of the generator's three layers.
    pub(super) generator_width: usize,
    /// Units of the three layers of MEG's statistics network.
    pub(super) statistics_width: usize,
    /// d: latent variables.
    pub(super) latent: Option<usize>,
    /// Updates, the same for all methods.
    pub(super) updates: Option<usize>,
    /// Rate of all optimisers.
    pub(super) rate: Option<f64>,
    pub(super) batch_size: usize,
    /// lambda.
    pub(super) entropy_weight: f64,
    /// alpha.
    pub(super) class_weight: Option<f64>,
    /// beta; of several the best on validation, for VERA and VAT each.
    pub(super) class_entropy_weights: Vec<f64>,
    /// eps of VAT; of several the best on validation, of none that of Table 8.
    pub(super) vat_radii: Vec<f64>,
    /// Weight of MEG's mutual information.
    pub(super) information_weight: f64,
    /// gamma.
    pub(super) gradient_penalty: f64,
    /// k: proposals of the entropy's gradient.
    pub(super) proposals: usize,
    /// Steps of the chains of JEM an update.
    pub(super) chain_steps: Option<usize>,
    /// Seeds that are reported; those after the root seed, which chooses eps and beta.
    pub(super) seeds: usize,
    /// Times at which the accuracy is taken.
    pub(super) looks: usize,
}

/// A column of Table 8.
struct Published {
    set: &'static str,
    rate: f64,
    epochs: usize,
    /// Epochs after which the rate falls to 0.3 of itself.
    milestones: &'static [f64],
    latent: usize,
    class_weight: f64,
    vat_radius: f64,
    chain_steps: usize,
}

/// Table 8.
const PUBLISHED: [Published; 4] = [
    Published {
        set: "hepmass",
        rate: 1e-5,
        epochs: 1,
        milestones: &[0.05, 0.1],
        latent: 10,
        class_weight: 1.0,
        vat_radius: 0.1,
        chain_steps: 20,
    },
    Published {
        set: "crop",
        rate: 1e-4,
        epochs: 20,
        milestones: &[15.0, 17.0],
        latent: 128,
        class_weight: 1.0,
        vat_radius: 3.0,
        chain_steps: 20,
    },
    Published {
        set: "human",
        rate: 1e-5,
        epochs: 800,
        milestones: &[200.0, 300.0, 400.0, 600.0],
        latent: 128,
        class_weight: 10.0,
        vat_radius: 0.1,
        chain_steps: 40,
    },
    Published {
        set: MNIST,
        rate: 1e-5,
        epochs: 200,
        milestones: &[150.0, 175.0],
        latent: 128,
        class_weight: 1.0,
        vat_radius: 3.0,
        chain_steps: 80,
    },
];

/// Sets of the repository on which the method is compared.
pub(super) const SHIPPED: [&str; 5] = ["optdigits", "penbased", "satimage", "letter", "magic"];

impl Settings {
    pub(super) fn resolve(request: &Request) -> Result<Self> {
        let scale = request.scale;
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let paper: Vec<&str> = PUBLISHED.iter().map(|column| column.set).collect();
        let layers = vec![1000, 500, 500, 250, 250, 250];
        let found = request.settings(&Self {
            sets: scale.pick(names(&["optdigits"]), names(&SHIPPED), names(&paper)),
            labels_per_class: 10,
            hidden: scale.pick(vec![16, 16], vec![256, 128, 128], layers),
            generator_width: scale.pick(8, 128, 500),
            statistics_width: scale.pick(8, 128, 500),
            latent: None,
            updates: scale.pick(Some(30), Some(UPDATES), None),
            rate: scale.pick(Some(3e-4), Some(3e-4), None),
            batch_size: 64,
            entropy_weight: 1e-4,
            class_weight: scale.pick(Some(1.0), Some(1.0), None),
            class_entropy_weights: scale.pick(vec![0.0, 1.0], vec![0.0, 1.0], vec![1.0]),
            vat_radii: scale.pick(vec![1.0], vec![0.3, 1.0, 3.0], vec![]),
            information_weight: 1e-4,
            gradient_penalty: 0.1,
            proposals: scale.pick(4, 20, 20),
            chain_steps: scale.pick(Some(3), Some(20), None),
            seeds: scale.pick(1, 3, 3),
            looks: scale.pick(6, 20, 100),
        })?;
        found.check()?;
        Ok(found)
    }

    fn check(&self) -> Result<()> {
        self.sets.iter().try_for_each(|set| known(set))?;
        at_least(&[
            ("sets", self.sets.len(), 1),
            ("labels_per_class", self.labels_per_class, 1),
            ("generator_width", self.generator_width, 1),
            ("statistics_width", self.statistics_width, 1),
            ("latent", self.latent.unwrap_or(1), 1),
            ("updates", self.updates.unwrap_or(1), 1),
            ("batch_size", self.batch_size, 2),
            ("class_entropy_weights", self.class_entropy_weights.len(), 1),
            ("proposals", self.proposals, 1),
            ("chain_steps", self.chain_steps.unwrap_or(1), 1),
            ("seeds", self.seeds, 1),
            ("looks", self.looks, 1),
        ])?;
        if self.updates.is_some_and(|updates| self.looks > updates) {
            return bad("looks", "must be at most updates");
        }
        for set in &self.sets {
            let recipe = Recipe::of(self, set, 1_000);
            for beta in &self.class_entropy_weights {
                for method in recipe.every(self, *beta) {
                    method.validate()?;
                }
            }
            recipe.model(self, [2, 2]).validate()?;
        }
        Ok(())
    }
}

/// Updates at quick scale.
const UPDATES: usize = 3_000;
/// Updates of a set that is none of the paper's, at paper scale.
const FULL: usize = 20_000;

/// What a set is trained with.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    set: String,
    rate: f64,
    milestones: Vec<usize>,
    latent: usize,
    class_weight: f64,
    pub(super) updates: usize,
    pub(super) vat_radii: Vec<f64>,
    chain_steps: usize,
}

impl Recipe {
    /// Of a set with so many training rows.
    pub(super) fn of(settings: &Settings, set: &str, rows: usize) -> Self {
        let published = PUBLISHED.iter().find(|column| column.set == set);
        let batches = (rows / settings.batch_size).max(1);
        let epochs = |epochs: f64| (epochs * batches as f64) as usize;
        // Decays belong to the paper's number of epochs.
        let milestones = match (published, settings.updates) {
            (Some(column), None) => column.milestones.iter().map(|at| epochs(*at)).collect(),
            _ => Vec::new(),
        };
        let small = ["penbased", "magic"].contains(&set);
        let latent = published.map_or(if small { 10 } else { 16 }, |column| column.latent);
        let radius = published.map_or(1.0, |column| column.vat_radius);
        let whole = published.map_or(FULL, |column| epochs(column.epochs as f64));
        let own = settings.vat_radii.is_empty();
        Self {
            set: set.to_owned(),
            rate: settings.rate.unwrap_or(published.map_or(3e-4, |column| column.rate)),
            milestones,
            latent: settings.latent.unwrap_or(latent),
            class_weight: settings
                .class_weight
                .unwrap_or(published.map_or(1.0, |column| column.class_weight)),
            updates: settings.updates.unwrap_or(whole),
            vat_radii: if own { vec![radius] } else { settings.vat_radii.clone() },
            chain_steps: settings
                .chain_steps
                .unwrap_or(published.map_or(20, |column| column.chain_steps)),
        }
    }

    /// The networks for `[features, classes]`; for pixels of MNIST with weight normalisation and a
    /// tanh, as in the paper's code.
    pub(super) fn model(&self, settings: &Settings, [dim, outputs]: [usize; 2]) -> ModelConfig {
        let (hidden, pixels) = (settings.hidden.clone(), self.set == MNIST);
        ModelConfig::of(
            EnergyConfig::Mlp { dim, hidden, outputs, weight_norm: pixels },
            GeneratorConfig::Mlp {
                latent: self.latent,
                width: settings.generator_width,
                layers: 3,
                dim,
                activation: GeneratorActivation::Softplus,
                output: if pixels { Output::Tanh } else { Output::Linear },
            },
        )
    }

    fn optimisation(&self, settings: &Settings) -> Optimisation {
        let tabular = Optimisation::tabular(self.rate, self.milestones.clone());
        Optimisation { batch_size: settings.batch_size, ..tabular }
    }

    pub(super) fn supervised(&self, settings: &Settings) -> Method {
        Method::Supervised(self.optimisation(settings))
    }

    pub(super) fn full_label(&self, settings: &Settings) -> Method {
        Method::FullLabel(self.optimisation(settings))
    }

    pub(super) fn vat(&self, settings: &Settings, radius: f64, beta: f64) -> Method {
        let milestones = self.milestones.clone();
        Method::Vat(VatConfig {
            class_entropy_weight: beta,
            optimisation: self.optimisation(settings),
            ..VatConfig::tabular(radius, self.rate, self.class_weight, milestones)
        })
    }

    pub(super) fn vera(&self, settings: &Settings, beta: f64) -> Method {
        Method::Vera(TrainConfig {
            entropy_weight: settings.entropy_weight,
            entropy: Entropy::ImportanceSampling { samples: settings.proposals },
            gradient_penalty: settings.gradient_penalty,
            class_entropy_weight: beta,
            batch_size: settings.batch_size,
            ..TrainConfig::tabular(self.rate, self.class_weight, self.milestones.clone())
        })
    }

    pub(super) fn meg(&self, settings: &Settings, beta: f64) -> Method {
        let mut config = MegConfig {
            information_weight: settings.information_weight,
            hidden: vec![settings.statistics_width; 3],
            batch_size: settings.batch_size,
            ..MegConfig::tabular(self.rate, self.class_weight, self.milestones.clone())
        };
        config.loss.class_entropy_weight = beta;
        config.loss.gradient_penalty = settings.gradient_penalty;
        Method::Meg(config)
    }

    pub(super) fn jem(&self, settings: &Settings, beta: f64) -> Method {
        let (steps, milestones) = (self.chain_steps, self.milestones.clone());
        let mut config = PcdConfig {
            optimisation: self.optimisation(settings),
            ..PcdConfig::tabular(steps, self.class_weight, self.rate, milestones)
        };
        config.loss.class_entropy_weight = beta;
        Method::Jem(config)
    }

    /// All methods with one weight.
    fn every(&self, settings: &Settings, beta: f64) -> Vec<Method> {
        let radii = self.vat_radii.iter().map(|radius| self.vat(settings, *radius, beta));
        let others = [
            self.supervised(settings),
            self.meg(settings, beta),
            self.jem(settings, beta),
            self.vera(settings, beta),
        ];
        radii.chain(others).collect()
    }

    pub(super) fn fit(&self, settings: &Settings, parts: &Parts, method: Method, seed: u64) -> Fit {
        let all = method.uses_all_labels();
        Fit {
            set: self.set.clone(),
            model: self.model(settings, [parts.train.dim(), parts.classes()]),
            method,
            seed,
            labels_per_class: if all { 0 } else { settings.labels_per_class },
            updates: self.updates,
            batch_size: settings.batch_size,
            looks: settings.looks,
        }
    }
}

/// Accuracies of Table 6 in per cent: supervised, VAT, MEG, JEM, VERA, full label.
pub(super) const TABLE_6: [(&str, [f64; 6]); 4] = [
    ("hepmass", [81.2, 86.7, 72.1, 54.2, 88.3, 90.9]),
    ("crop", [87.8, 94.5, 87.5, 18.5, 94.9, 99.7]),
    ("human", [81.0, 84.0, 83.5, 77.2, 89.9, 98.0]),
    (MNIST, [91.0, 98.6, 94.7, 10.2, 98.6, 99.5]),
];

/// Is the number of the paper comparable? Only with its settings.
pub(super) fn published(request: &Request, set: &str, row: usize) -> Option<f64> {
    let (_, column) = TABLE_6.iter().find(|(name, _)| *name == set)?;
    (request.scale == Scale::Paper).then_some(column[row])
}
