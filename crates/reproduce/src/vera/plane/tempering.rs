//! The equilibrium of the game on Gaussians, whose place is known in closed form.

use std::time::Instant;

use candle_core::{DType, Device};
use chains_core::{Seed, noise, schedule::MultiStep};
use serde::{Deserialize, Serialize};
use vera::{
    EnergyConfig, Entropy, GeneratorConfig, Labels, ModelConfig, TrainConfig, TrainState,
    VeraModel, update,
};

use super::super::seeds::{all, mean, mean_error, seeds};
use crate::{
    error::{Error, Result},
    limits::{at_least, bad, finite_check},
    plots::{Plot, Series},
    report::{Align, Table, format_number},
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
    training::{Cell, Ticker, cells, json},
};

/// `r(1, 20)`: the share of the entropy's gradient that 20 proposals find in one latent dimension.
const SHARE: f64 = 0.785;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct TemperingSettings {
    /// Weights of the entropy.
    entropy_weights: Vec<f64>,
    /// gamma.
    gradient_penalties: Vec<f64>,
    /// k; the closed form's share of the entropy is that of 20.
    proposals: usize,
    updates: usize,
    batch_size: usize,
    /// Seeds, from the root seed on.
    seeds: usize,
}

fn resolve(request: &Request) -> Result<TemperingSettings> {
    let scale = request.scale;
    let settings = request.settings(&TemperingSettings {
        entropy_weights: scale.pick(
            vec![1.0],
            vec![0.25, 0.5, 1.0],
            vec![0.1, 0.25, 0.5, 0.75, 1.0],
        ),
        gradient_penalties: vec![0.0, 0.1],
        proposals: 20,
        updates: scale.pick(100, 3_000, 10_000),
        batch_size: scale.pick(64, 256, 1_024),
        seeds: scale.pick(1, 3, 3),
    })?;
    at_least(&[
        ("updates", settings.updates, 3),
        ("batch_size", settings.batch_size, 2),
        ("proposals", settings.proposals, 1),
        ("seeds", settings.seeds, 1),
        ("entropy_weights", settings.entropy_weights.len(), 1),
        ("gradient_penalties", settings.gradient_penalties.len(), 1),
    ])?;
    if settings.entropy_weights.iter().any(|weight| weight.is_nan() || *weight <= 0.0) {
        return bad("entropy_weights", "must be positive: without entropy there is no equilibrium");
    }
    if settings.gradient_penalties.iter().any(|gamma| gamma.is_nan() || *gamma < 0.0) {
        return bad("gradient_penalties", "must not be negative");
    }
    Ok(settings)
}

/// The precision at which the energy `-p x^2 / 2` of unit data rests: `(-1 + sqrt(1 + 8 gamma lambda))
/// / (4 gamma)`, for gamma 0 lambda itself.
fn equilibrium(lambda: f64, gamma: f64) -> f64 {
    if gamma <= 0.0 {
        return lambda;
    }
    ((1.0 + 8.0 * gamma * lambda).sqrt() - 1.0) / (4.0 * gamma)
}

/// Mean precision over the last third of the updates.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Rest {
    precision: f64,
    sigma: f64,
    seconds: f64,
}

#[derive(Clone, Debug, Serialize)]
struct Training {
    what: &'static str,
    train: TrainConfig,
    updates: usize,
    seed: u64,
}

impl Training {
    fn cell(self, device: Device) -> Result<Cell<'static, Rest>> {
        let (key, updates) = (json(&self)?, self.updates);
        Ok(Cell { key, updates, work: Box::new(move |ticker| self.run(&device, ticker)) })
    }

    fn run(&self, device: &Device, ticker: &Ticker) -> Result<Rest> {
        let seed = Seed::new(self.seed).child("tempering");
        let config = ModelConfig::of(
            EnergyConfig::Gaussian { dim: 1 },
            GeneratorConfig::Linear { latent: 1, dim: 1 },
        );
        let model = VeraModel::new(config, seed.child("model"), device)?;
        let mut state = TrainState::new(&self.train);
        let [mut data, mut noise] =
            ["data", "noise"].map(|name| noise::of_device(seed.child(name), device));
        let (started, from) = (Instant::now(), self.updates - self.updates / 3);
        let mut sum = 0.0;
        for index in 0..self.updates {
            let x = data.normal(&(self.train.batch_size, 1).into(), DType::F32, device)?;
            let batch = (&x, Labels::None);
            let terms = update(&model, &mut state, &self.train, batch, &mut *noise)?;
            if index >= from {
                sum += precision(&model)?;
            }
            if index % 100 == 0 {
                ticker.at(index, &[("loss", terms.energy_loss)]);
            }
        }
        Ok(Rest {
            precision: sum / (self.updates - from) as f64,
            sigma: model.generator().sigma()?,
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}

fn precision(model: &VeraModel) -> Result<f64> {
    let name = format!("{}.log_precision", vera::ENERGY);
    let Some(found) = model.store().get(&name) else {
        return Err(Error::Usage(format!("the model has no `{name}`")));
    };
    let values = found.as_detached_tensor().to_device(&Device::Cpu)?.to_vec1::<f32>()?;
    Ok(values.iter().map(|v| f64::from(*v).exp()).sum::<f64>() / values.len().max(1) as f64)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let seeds = seeds(run.request.seed, settings.seeds);
    let mut all_cells = Vec::new();
    let mut games = Vec::new();
    for gamma in &settings.gradient_penalties {
        for lambda in &settings.entropy_weights {
            games.push((*lambda, *gamma));
            for seed in &seeds {
                let train = TrainConfig {
                    gradient_penalty: *gamma,
                    batch_size: settings.batch_size,
                    entropy: Entropy::ImportanceSampling { samples: settings.proposals },
                    energy_rate: MultiStep::constant(2e-3),
                    generator_rate: MultiStep::constant(1e-2),
                    posterior_rate: 2e-2,
                    ..TrainConfig::toy(*lambda)
                };
                let training =
                    Training { what: "tempering", train, updates: settings.updates, seed: *seed };
                all_cells.push(training.cell(run.request.device.clone())?);
            }
        }
    }
    let rests = cells(run, "train", all_cells)?;
    run.paragraph(
        "Data are N(0, 1), the energy is -p x^2 / 2, the generator is linear. With the exact score the \
         game rests at p = (-1 + sqrt(1 + 8 gamma lambda)) / (4 gamma) (lambda for gamma 0): the energy \
         becomes too wide by about 1 / lambda. Twenty proposals find 0.785 of the entropy's gradient in \
         one dimension, so that the weight counts as 0.785 lambda; and the gradient of ln sigma stays \
         positive, so that sigma ends at its upper limit.",
    );
    table(run, &settings, &games, &rests)
}

fn table(
    run: &mut Run<'_>,
    settings: &TemperingSettings,
    games: &[(f64, f64)],
    rests: &[Rest],
) -> Result<()> {
    let right = |name: &str| (name.to_owned(), Align::Right);
    let mut table = Table::new([
        right("lambda"),
        right("gamma"),
        right("p, measured"),
        right("p, closed form with 0.785 lambda"),
        right("p, exact score"),
        right("sigma"),
    ]);
    let mut plot = Plot::new("Precision at rest", "lambda", "p");
    for gamma in &settings.gradient_penalties {
        let form = games.iter().filter(|(_, g)| (g - gamma).abs() < 1e-12);
        let points: Vec<(f64, f64)> =
            form.map(|(lambda, gamma)| (*lambda, equilibrium(SHARE * lambda, *gamma))).collect();
        plot.series(Series::line(format!("closed form, gamma {gamma}"), points));
    }
    let mut measured = Vec::new();
    for ((lambda, gamma), group) in games.iter().zip(rests.chunks(settings.seeds)) {
        let values: Vec<f64> = group.iter().map(|rest| rest.precision).collect();
        let [form, exact] = [SHARE * lambda, *lambda].map(|lambda| equilibrium(lambda, *gamma));
        table.row([
            lambda.to_string(),
            gamma.to_string(),
            all(&values),
            format_number(form),
            format_number(exact),
            format_number(mean(&group.iter().map(|rest| rest.sigma).collect::<Vec<_>>())),
        ]);
        let name = format!("precision_lambda{lambda}_gamma{gamma}");
        let metric = Metric::new(name, mean(&values), "").n(values.len());
        run.metric(match mean_error(&values) {
            Some(error) => metric.std_error(error),
            None => metric,
        });
        measured.push((*lambda, mean(&values)));
        if run.request.scale != Scale::Smoke && settings.proposals == 20 {
            // Two per cent: the approximate posterior itself learns on the way.
            run.check(Check::close(
                format!("lambda {lambda}, gamma {gamma}: p is that of the closed form"),
                mean(&values),
                form,
                0.02 * form.max(0.5),
            ));
        }
    }
    plot.series(Series::scatter("measured", measured));
    finite_check(run, "precisions", &rests.iter().map(|rest| rest.precision).collect::<Vec<_>>());
    run.table(table);
    run.plot("precision", &plot, "Mean over the last third of the updates and over seeds.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_form_has_the_published_values() {
        for (lambda, gamma, want) in
            [(1.0, 0.1, 0.854), (SHARE, 0.1, 0.690), (SHARE, 0.0, 0.785), (0.5 * SHARE, 0.1, 0.366)]
        {
            assert!((equilibrium(lambda, gamma) - want).abs() < 6e-4, "{lambda} {gamma}");
        }
    }
}
