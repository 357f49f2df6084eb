//! Figure 3.

use std::sync::Arc;

use candle_core::Device;
use chains_core::Seed;
use serde::{Deserialize, Serialize};
use vera::config::HmcGradient;

use super::{
    super::flow::data::{FlowData, Size},
    measure::{Effort, Estimator, Found, adapt, learn_width, measure},
    outcome::{outcome, predicted},
    ppca::{Components, Convention, Ppca},
};
use crate::{
    error::Result,
    limits::{at_least, beside},
    report::{Align, Table, format_number, format_with_error},
    request::{Request, Scale},
    results::Metric,
    run::Run,
    run_dir::settings_table,
    training::{Cell, Ticker, cells, json},
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ScoreSettings {
    /// Which digits.
    size: Size,
    /// Images that the components are of.
    images: usize,
    /// d.
    components: Vec<usize>,
    /// k.
    proposals: Vec<usize>,
    /// Transitions of chains before any is kept.
    burn_in: Vec<usize>,
    /// Steps and batch by which the posterior learns its width.
    width_steps: usize,
    width_batch: usize,
    /// Transitions and chains by which the step size is found.
    adapt_steps: usize,
    adapt_chains: usize,
    /// How often estimates are repeated.
    effort: Effort,
}

pub(super) fn resolve(request: &Request) -> Result<ScoreSettings> {
    let scale = request.scale;
    let settings = request.settings(&ScoreSettings {
        size: scale.pick(Size::Mnist14, Size::Mnist28, Size::Mnist28),
        images: scale.pick(300, 10_000, 60_000),
        components: scale.pick(vec![3], vec![10, 32, 100], vec![10, 32, 100]),
        proposals: scale.pick(vec![5, 20], vec![5, 20, 100, 500], vec![5, 20, 100, 500]),
        burn_in: scale.pick(vec![1], vec![2, 20, 200], vec![2, 20, 200, 500]),
        // The published 500 do not reach the small widths of the script's sigma.
        width_steps: scale.pick(10, 1_000, 500),
        width_batch: scale.pick(50, 1_000, 5_000),
        adapt_steps: scale.pick(5, 300, 500),
        adapt_chains: scale.pick(10, 50, 200),
        effort: Effort {
            samples: scale.pick(3, 10, 10),
            estimates: scale.pick(10, 2_000, 5_000),
            pairs: scale.pick(20, 2_000, 5_000),
            passes: scale.pick(2_000, 400_000, 20_000_000),
        },
    })?;
    at_least(&[
        ("images", settings.images, 2),
        ("components", settings.components.len(), 1),
        ("proposals", settings.proposals.len(), 1),
        ("width_batch", settings.width_batch, 1),
        ("adapt_chains", settings.adapt_chains, 1),
        ("effort.samples", settings.effort.samples, 1),
        ("effort.estimates", settings.effort.estimates, 2),
        ("effort.pairs", settings.effort.pairs, 2),
    ])?;
    for d in &settings.components {
        at_least(&[("components", *d, 1)])?;
    }
    for k in &settings.proposals {
        at_least(&[("proposals", *k, 1)])?;
    }
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn ready(request: &Request) -> Result<()> {
    let settings = resolve(request)?;
    FlowData::load(request, settings.size, [settings.images, 0, 2]).map(drop)
}

impl ScoreSettings {
    pub(super) fn estimators(&self) -> Vec<Estimator> {
        let mut all: Vec<Estimator> =
            self.proposals.iter().map(|k| Estimator::Importance(*k)).collect();
        for gradient in [HmcGradient::Exact, HmcGradient::Reference] {
            all.extend(self.burn_in.iter().map(|burn_in| Estimator::Hmc(*burn_in, gradient)));
        }
        all
    }
}

/// The estimators on one model.
#[derive(Clone, Debug, Serialize)]
struct Part {
    what: &'static str,
    settings: ScoreSettings,
    d: usize,
    convention: Convention,
    seed: u64,
    digest: String,
}

/// What was found on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PartFound {
    sigma: f64,
    /// Largest distance of `ln eta` from its optimum.
    pub(super) width_gap: f64,
    pub(super) found: Vec<Found>,
}

impl Part {
    fn cell(self, components: Arc<Components>, device: Device) -> Result<Cell<'static, PartFound>> {
        let (key, updates) = (json(&self)?, self.settings.estimators().len());
        let work = Box::new(move |ticker: &Ticker| self.run(&components, &device, ticker));
        Ok(Cell { key, updates, work })
    }

    fn run(&self, components: &Components, device: &Device, ticker: &Ticker) -> Result<PartFound> {
        let settings = &self.settings;
        let seed = Seed::new(self.seed).child("score-bias").child(self.convention.words());
        let ppca = Ppca::new(components, self.d, self.convention, device)?;
        let mut noise = seed.child("width").host_noise();
        let widths = (settings.width_steps, settings.width_batch);
        let width_gap = learn_width(&ppca, widths, &mut noise)?;
        let transitions = (settings.adapt_steps, settings.adapt_chains);
        let [exact, reference] = [HmcGradient::Exact, HmcGradient::Reference]
            .map(|gradient| adapt(&ppca, gradient, transitions, &mut noise));
        let (exact, reference) = (exact?, reference?);
        let mut found = Vec::new();
        for estimator in settings.estimators() {
            let size = match estimator {
                Estimator::Hmc(_, HmcGradient::Reference) => reference,
                _ => exact,
            };
            found.push(measure(&ppca, (estimator, size), &settings.effort, seed)?);
            ticker.at(found.len(), &[]);
        }
        Ok(PartFound { sigma: ppca.sigma, width_gap, found })
    }
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let data = FlowData::load(run.request, settings.size, [settings.images, 0, 2])?;
    let indices: Vec<usize> = (0..data.train.len()).collect();
    let images = data.train.symmetric(&indices)?;
    let components = Arc::new(Components::of(&images)?);
    let conventions = [Convention::Deviation, Convention::Variance];
    let models: Vec<(usize, Convention)> = settings
        .components
        .iter()
        .flat_map(|d| conventions.map(|convention| (*d, convention)))
        .collect();
    let mut parts = Vec::new();
    for (d, convention) in &models {
        let part = Part {
            what: "score-bias",
            settings: settings.clone(),
            d: *d,
            convention: *convention,
            seed: run.request.seed,
            digest: data.train.digest(),
        };
        parts.push(part.cell(Arc::clone(&components), run.request.device.clone())?);
    }
    let found = cells(run, "measure", parts)?;
    introduction(run, &settings, &data);
    for (model, part) in models.iter().zip(&found) {
        table(run, &settings, *model, part);
    }
    outcome(run, &settings, &models, &found);
    Ok(())
}

fn introduction(run: &mut Run<'_>, settings: &ScoreSettings, data: &FlowData) {
    let Effort { samples, estimates, pairs, passes } = settings.effort;
    run.paragraph(format!(
        "A linear generator with the principal components of {} digits in [-1, 1], D = {}; its score is \
         known exactly. At {samples} of its samples every estimator is repeated {estimates} times, \
         expensive ones less often, so that none takes more than {passes} passes of the generator (a \
         gradient counts as three); the number is in the table. Bias: mean of the exact score minus the \
         mean estimate, over samples and dimensions, in which errors of both signs cancel. RMSE: root \
         mean square of the same, without what the noise of the mean explains. Std: root of the mean \
         variance of one estimate.",
        data.train.len(),
        data.dim(),
    ));
    run.paragraph(format!(
        "r is the share of the entropy's gradient that is found: an estimate is not independent of the \
         latent it starts from, and for orthogonal components r of importance sampling is a function of \
         d and k alone. A weight lambda of the entropy counts as r lambda. r = 1 is exact; r = 0 is a \
         chain that stays at the latent. r and the effective number (ESS) are of {pairs} samples with one \
         estimate each, or as many as the passes allow."
    ));
    run.paragraph(
        "sigma^2 = variance is the model of principal components. The published script sets ln sigma to \
         the logarithm of the variance, so that sigma is the variance; its exact score has the same sigma. \
         Published numbers are of d = 100 and the script's sigma, their sign is not defined; that of 500 \
         burn-in transitions stands beside the longest chain of the code's gradient here.",
    );
}

/// The published bias.
fn published(settings: &ScoreSettings, d: usize, estimator: Estimator) -> Option<f64> {
    let longest = settings.burn_in.iter().copied().max();
    match estimator {
        _ if d != 100 => None,
        Estimator::Importance(20) => Some(0.12),
        Estimator::Hmc(2, HmcGradient::Reference) => Some(0.48),
        Estimator::Hmc(n, HmcGradient::Reference) if n >= 200 && Some(n) == longest => Some(0.20),
        _ => None,
    }
}

fn table(
    run: &mut Run<'_>,
    settings: &ScoreSettings,
    (d, convention): (usize, Convention),
    part: &PartFound,
) {
    run.heading(format!("d = {d}, {}", convention.words()));
    run.paragraph(format!(
        "sigma = {}; after {} steps the largest distance of ln eta from its optimum is {}; the \
         predictions are for the optimum.",
        format_number(part.sigma),
        settings.width_steps,
        format_number(part.width_gap)
    ));
    let right = |name| (name, Align::Right);
    let mut table = Table::new([
        ("estimator", Align::Left),
        right("bias"),
        right("published"),
        right("RMSE"),
        right("std"),
        right("r"),
        right("r predicted"),
        right("ESS"),
        right("ESS predicted"),
        right("estimates"),
        right("ms an estimate"),
    ]);
    let number = |value: Option<f64>| value.map_or(String::new(), format_number);
    let short = match convention {
        Convention::Deviation => "model",
        Convention::Variance => "script",
    };
    for (estimator, found) in settings.estimators().into_iter().zip(&part.found) {
        let (share, size) = match estimator {
            Estimator::Importance(k) => predicted(d, k),
            Estimator::Hmc(..) => (None, None),
        };
        let theirs = published(settings, d, estimator)
            .filter(|_| convention == Convention::Variance && run.request.scale != Scale::Smoke);
        table.row([
            estimator.words(),
            format_number(found.bias),
            number(theirs),
            format_number(found.rmse),
            format_number(found.deviation),
            format_with_error(found.share[0], found.share[1]),
            number(share),
            found.effective.map_or(String::new(), |[size, error]| format_with_error(size, error)),
            number(size),
            found.estimates.to_string(),
            format_number(1e3 * found.seconds),
        ]);
        let name = format!("{} d{d} {short}", estimator.words());
        metrics(run, &name, found, theirs);
    }
    run.table(table);
}

fn metrics(run: &mut Run<'_>, name: &str, found: &Found, theirs: Option<f64>) {
    let bias = Metric::new(format!("bias {name}"), found.bias, "").n(found.estimates);
    run.metric(match theirs {
        Some(theirs) => beside(bias, theirs, true),
        None => bias,
    });
    let share = Metric::new(format!("r {name}"), found.share[0], "").n(found.pairs);
    run.metric(share.std_error(found.share[1]));
}
