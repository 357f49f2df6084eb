//! What the grid is set by.

use serde::{Deserialize, Serialize};
use variational_annealing::{AnnealTerm, GanConfig, Objective, Schedule, TrainConfig};

use super::cell::GanCell;
use crate::{
    error::Result,
    limits::{at_least, bad},
    request::Request,
    seeds::seeds,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct GridSettings {
    /// Rows of the grid.
    pub(super) objectives: Vec<Objective>,
    /// Columns of the grid, of [`TERMS`] and [`OTHERS`].
    pub(super) terms: Vec<String>,
    /// Also the Wasserstein GAN whose denoiser never learns: the released script never steps it.
    pub(super) untrained_denoiser: bool,
    /// Seeds, from the root seed on.
    pub(super) seeds: usize,
    /// The first images of the training file.
    pub(super) train_images: usize,
    /// Iterations of every training.
    pub(super) iterations: usize,
    /// Images in a step.
    pub(super) batch_size: usize,
    /// Rates of generator and critic, of both divergences; the denoiser has the generator's.
    pub(super) rates: [f64; 2],
    /// The same of the Wasserstein distance.
    pub(super) wasserstein_rates: [f64; 2],
    /// Iterations without a weight at the beginning.
    pub(super) denoiser_warm_up: usize,
    /// Samples that are scored, and test digits that they are compared with.
    pub(super) samples: usize,
    /// Samples on a sheet.
    pub(super) shown: usize,
}

/// Names of the columns.
pub(super) const TERMS: [&str; 6] = ["none", "dfm", "linear+1", "linear-1", "sine", "zigzag"];

/// Columns at `quick`.
const ALONE: [&str; 2] = ["none", "linear-1"];

/// Columns by request only: the released script's gradient, and scores of residuals.
pub(super) const OTHERS: [&str; 2] = ["reference-compat-1", "residual-1"];

/// What a column is, in words.
pub(super) fn meaning(name: &str) -> &'static str {
    match name {
        "none" => "no term",
        "dfm" => "denoising feature matching with its constant weight 0.06",
        "linear+1" => "a linear weight from +1",
        "linear-1" => "a linear weight from -1",
        "sine" => "a sine of five cycles from 1",
        "zigzag" => "a zigzag of five cycles from 1",
        "reference-compat-1" => "the released program's gradient, its weight linear from -1",
        _ => "scores of residuals, their weight linear from -1",
    }
}

/// Term and schedule of a column.
fn term(name: &str, iterations: usize) -> Option<(AnnealTerm, Schedule)> {
    let score = |schedule| (AnnealTerm::Score, schedule);
    Some(match name {
        "none" => (AnnealTerm::Off, Schedule::none()),
        "dfm" => (AnnealTerm::Dfm, Schedule::constant(0.06)),
        "linear+1" => score(Schedule::linear(1.0)),
        "linear-1" => score(Schedule::linear(-1.0)),
        "sine" => score(Schedule::sine(1.0)),
        "reference-compat-1" => (AnnealTerm::ReferenceCompat, Schedule::linear(-1.0)),
        "residual-1" => (AnnealTerm::Residual, Schedule::linear(-1.0)),
        // Five cycles.
        "zigzag" => score(Schedule::zigzag(1.0, (iterations / 10).max(1))),
        _ => return None,
    })
}

impl GridSettings {
    pub(super) fn resolve(request: &Request) -> Result<Self> {
        let scale = request.scale;
        let names = TERMS.map(str::to_owned).to_vec();
        let few = ALONE.map(str::to_owned).to_vec();
        let rates = |objective| {
            let config = TrainConfig::mnist(objective);
            [config.learning_rate, config.critic_rate()]
        };
        let settings: Self = request.settings(&Self {
            objectives: match scale.pick(false, true, true) {
                true => vec![Objective::Jsd, Objective::Rkl, Objective::WGanGp],
                false => vec![Objective::Jsd, Objective::WGanGp],
            },
            terms: scale.pick(names[..3].to_vec(), few, names),
            untrained_denoiser: scale.pick(false, false, true),
            seeds: scale.pick(1, 1, 2),
            train_images: scale.pick(200, 9_000, 9_000),
            iterations: scale.pick(2, 3_000, 3_000),
            batch_size: scale.pick(16, 64, 64),
            rates: rates(Objective::Jsd),
            wasserstein_rates: rates(Objective::WGanGp),
            denoiser_warm_up: scale.pick(1, 100, 100),
            samples: scale.pick(20, 1_000, 1_000),
            shown: scale.pick(10, 100, 100),
        })?;
        at_least(&[
            ("seeds", settings.seeds, 1),
            ("iterations", settings.iterations, 1),
            ("batch_size", settings.batch_size, 2),
            ("train_images", settings.train_images, settings.batch_size),
            ("samples", settings.samples, 10),
            ("shown", settings.shown, 1),
        ])?;
        if let Some(name) = settings.terms.iter().find(|name| term(name, 1).is_none()) {
            return bad(
                "terms",
                &format!("`{name}` is none of {}, {}", TERMS.join(", "), OTHERS.join(", ")),
            );
        }
        if settings.shown > settings.samples {
            return bad("shown", "must not be above samples");
        }
        for cell in settings.cells(request) {
            cell.train.validate()?;
        }
        Ok(settings)
    }

    fn train(&self, objective: Objective, (term, schedule): (AnnealTerm, Schedule)) -> TrainConfig {
        let config = TrainConfig::mnist(objective).annealed(term, schedule);
        let [learning_rate, critic_rate] = match objective {
            Objective::WGanGp => self.wasserstein_rates,
            _ => self.rates,
        };
        TrainConfig {
            iterations: self.iterations,
            batch_size: self.batch_size,
            learning_rate,
            critic_rate: Some(critic_rate),
            denoiser_warm_up: self.denoiser_warm_up,
            ..config
        }
    }

    /// All trainings, the seed varying fastest, then the untrained generators.
    pub(super) fn cells(&self, request: &Request) -> Vec<GanCell> {
        let seeds = seeds(request.seed, self.seeds);
        let mut all = Vec::new();
        let mut add = |name: &str, train: &TrainConfig, iterations| {
            let networks = match train.objective {
                Objective::WGanGp => GanConfig::mnist().without_critic_norm(),
                _ => GanConfig::mnist(),
            };
            all.extend(seeds.iter().map(|seed| GanCell {
                term: name.to_owned(),
                networks: networks.clone(),
                train: train.clone(),
                seed: *seed,
                iterations,
                samples: self.samples,
                shown: self.shown,
            }));
        };
        for objective in &self.objectives {
            for name in &self.terms {
                if let Some(term) = term(name, self.iterations) {
                    add(name, &self.train(*objective, term), self.iterations);
                }
            }
        }
        if self.untrained_denoiser
            && let Some(term) = term("linear-1", self.iterations)
        {
            let train = self.train(Objective::WGanGp, term);
            let train = TrainConfig { train_denoiser: false, ..train };
            add("linear-1, untrained denoiser", &train, self.iterations);
        }
        if let Some(term) = term("none", self.iterations) {
            add("untrained generator", &self.train(Objective::Jsd, term), 0);
        }
        all
    }
}
