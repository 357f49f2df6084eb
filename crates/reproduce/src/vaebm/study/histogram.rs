//! Figure 6: likelihoods of digits that were trained on, and of others.

use datasets::ImageSet;
use serde::{Deserialize, Serialize};

use super::{
    super::digits::data::SIDE,
    model::{open, usual},
    scores::{Scored, bound_name, moments, training_noise},
};
use crate::{
    arrays::score,
    data::{self, usage},
    error::Result,
    limits::{at_least, finite_check},
    plots::{Plot, Series},
    report::{Align, Table, format_number},
    request::Request,
    results::Metric,
    run::Run,
    run_dir::settings_table,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HistogramSettings {
    /// The folder of the model; empty: a tiny one that is not trained.
    pub(super) model: String,
    /// Digits of each set.
    images: usize,
    /// Draws of the posterior for the bound of a digit.
    draws: usize,
    bins: usize,
}

pub(super) fn resolve(request: &Request) -> Result<HistogramSettings> {
    let scale = request.scale;
    let settings = request.settings(&HistogramSettings {
        model: usual(request),
        images: scale.pick(12, 1_000, 9_000),
        draws: scale.pick(2, 10, 100),
        bins: 40,
    })?;
    at_least(&[
        ("images", settings.images, 2),
        ("draws", settings.draws, 1),
        ("bins", settings.bins, 1),
    ])?;
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let model = open(run, &settings.model)?;
    let files = data::mnist(run.request)?;
    let first =
        |set: &ImageSet| set.range(0..settings.images.min(set.len())).padded(SIDE).map_err(usage);
    let (train, test) = (first(&files.train)?, first(&files.test)?);
    let seed = run.request.stream().child("posterior");
    let of = |run: &mut Run<'_>, set: &ImageSet| {
        Scored::of(&model, set, settings.draws, seed, run.observer()?)
    };
    let [train, test] = [of(run, &train)?, of(run, &test)?];
    run.paragraph(format!(
        "ln h = bound - E, nats up to the partition function, of the first {} digits of the training file, \
         which model and energy were trained on, and of the first {} of the test file; the bound is the \
         {} of {} draws a digit. The paper shows histograms that overlap, which is to say that nothing was learnt by heart.",
        train.product.len(),
        test.product.len(),
        bound_name(settings.draws),
        settings.draws,
    ));
    training_noise(run, &settings.model);
    plot(run, &settings, &train.product, &test.product)?;
    tests(run, &train, &test)?;
    finite_check(run, "log-likelihoods", &[train.product, test.product].concat());
    Ok(())
}

/// Outlines of both histograms on common bins.
fn plot(
    run: &mut Run<'_>,
    settings: &HistogramSettings,
    train: &[f64],
    test: &[f64],
) -> Result<()> {
    let all = || train.iter().chain(test).copied();
    let (low, high) =
        (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let width = ((high - low) / settings.bins as f64).max(f64::MIN_POSITIVE);
    let outline = |values: &[f64]| {
        let mut counts = vec![0_usize; settings.bins];
        for value in values {
            let bin = ((value - low) / width) as usize;
            counts[bin.min(settings.bins - 1)] += 1;
        }
        let mut points = vec![(low, 0.0)];
        for (bin, count) in counts.into_iter().enumerate() {
            let share = count as f64 / values.len() as f64;
            points.extend([bin, bin + 1].map(|edge| (low + width * edge as f64, share)));
        }
        points.push((high, 0.0));
        points
    };
    let mut plot = Plot::new("Likelihoods of digits", "ln h, nats", "share of the digits");
    plot.series(Series::line("trained on", outline(train)));
    plot.series(Series::line("test", outline(test)));
    run.plot("histogram", &plot, &format!("{} common bins.", settings.bins))
}

fn tests(run: &mut Run<'_>, train: &Scored, test: &Scored) -> Result<()> {
    let columns = ["Score", "trained on", "test", "deviation", "KS statistic", "p"];
    let align = |name| if name == "Score" { Align::Left } else { Align::Right };
    let mut table = Table::new(columns.map(|name| (name, align(name))));
    for (name, key, [a, b]) in [
        ("ln h", "product", [&train.product, &test.product]),
        ("bound of the autoencoder", "bound", [&train.bound, &test.bound]),
        ("energy", "energy", [&train.energy, &test.energy]),
    ] {
        let found = score(eval_metrics::kolmogorov_smirnov(a, b))?;
        let [mean, _] = moments(a);
        let [other, deviation] = moments(b);
        table.row([
            name.to_owned(),
            format_number(mean),
            format_number(other),
            format_number(deviation),
            format!("{:.4}", found.statistic),
            format!("{:.3e}", found.p_value),
        ]);
        run.metric(Metric::new(format!("ks_{key}"), found.statistic, "").n(found.n.iter().sum()));
        run.metric(Metric::new(format!("ks_p_{key}"), found.p_value, ""));
    }
    run.table(table);
    run.paragraph(
        "The statistic of Kolmogorov and Smirnov is the largest distance of the two distribution functions, \
         p the probability of one as large between samples of one law. The first test digits were written \
         by other people than the first training digits, so that a small p need not mean memory.",
    );
    Ok(())
}
