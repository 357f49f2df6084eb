//! Section 8 of the supplement: how far the chain at temperature 1 is from its own reverse.

use chains_core::Seed;
use serde::{Deserialize, Serialize};
use walkback::{
    Reversibility, ReversibilityOptions, SampleOptions, Statistics, WalkbackModel, freeze,
    generate, reversibility,
};

use super::{super::settings::TrainSettings, bound};
use crate::{
    error::Result,
    images::Images,
    limits::at_least,
    report::{Align, Table, format_number, format_with_error},
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Settings {
    #[serde(flatten)]
    train: TrainSettings,
    /// Chains.
    chains: usize,
    /// Steps before the first one that counts.
    burn_in: usize,
    /// Steps that count.
    measured_steps: usize,
    /// Repetitions with other chains.
    repeats: usize,
}

fn resolve(request: &Request) -> Result<Settings> {
    let ReversibilityOptions { burn_in, steps } = ReversibilityOptions::published();
    let settings: Settings = request.settings(&Settings {
        train: bound::training(request.scale),
        chains: request.scale.pick(8, 64, 100),
        burn_in: request.scale.pick(2, burn_in, burn_in),
        measured_steps: request.scale.pick(5, steps, steps),
        repeats: request.scale.pick(1, 3, 10),
    })?;
    bound::validate(&settings.train)?;
    at_least(&[
        ("chains", settings.chains, 2),
        ("measured_steps", settings.measured_steps, 1),
        ("repeats", settings.repeats, 1),
    ])?;
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn ready(request: &Request) -> Result<()> {
    Images::mnist(request, &resolve(request)?.train.cut()).map(drop)
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let (images, trained) = bound::trained(run, &settings.train, "train")?;
    run.heading("Forward against backward densities");
    run.paragraph(
        "At temperature 1, with the stored moments of cooling in both densities and without clipping: \
         D is the mean of ln p(s' | s) - ln p(s | s') over the steps of many chains, an estimate of \
         the divergence between the stationary chain and its reverse, zero for a reversible one; H is \
         the mean of -ln p(s' | s). H is a differential entropy: it depends on the unit of a pixel, \
         may be negative, and D / H then means nothing. H at 8 bits adds D_x ln 256, with D_x pixels \
         of 1/256 each. The supplement prints 3.6 % \"nats/nats\" and not of which entropy, so no \
         agreement with any of the ratios is claimed.",
    );
    let trained_runs = measure(run, &trained.model, &settings)?;
    let untrained = untrained(run, &images, &trained.model, &settings)?;
    let mut table = Table::new([
        ("Network", Align::Left),
        ("D, nats a step", Align::Right),
        ("H, nats a step", Align::Right),
        ("D / H", Align::Right),
        ("D / |H|", Align::Right),
        ("D / H at 8 bits", Align::Right),
    ]);
    table.row(["published", "", "", "3.6 %, of an entropy that is not named", "", ""]);
    for (name, found) in trained_runs
        .iter()
        .enumerate()
        .map(|(repeat, found)| (format!("trained, repetition {}", repeat + 1), found))
        .chain([("untrained".to_owned(), &untrained)])
    {
        row(&mut table, &name, found);
    }
    run.table(table);
    record(run, &trained_runs, &untrained, &settings);
    Ok(())
}

fn row(table: &mut Table, name: &str, found: &Reversibility) {
    let ((divergence, d_se), (entropy, h_se)) = (found.divergence(), found.entropy());
    let percent = |ratio: f64| format!("{} %", format_number(100.0 * ratio));
    table.row([
        name.to_owned(),
        format_with_error(divergence, d_se),
        format_with_error(entropy, h_se),
        percent(found.ratio()),
        percent(found.absolute_ratio()),
        percent(found.discretised_ratio()),
    ]);
}

fn measure(
    run: &mut Run<'_>,
    model: &WalkbackModel,
    settings: &Settings,
) -> Result<Vec<Reversibility>> {
    let seed = run.request.stream().child("reversibility");
    (0..settings.repeats).map(|repeat| one(model, settings, seed.indexed(repeat as u64))).collect()
}

/// Chains that begin at cooled samples.
fn one(model: &WalkbackModel, settings: &Settings, seed: Seed) -> Result<Reversibility> {
    let mut noise = seed.host_noise();
    let options = SampleOptions::of(model);
    let start = generate(model, settings.chains, &options, &mut noise, |_, _| Ok(()))?.position;
    let Settings { burn_in, measured_steps: steps, .. } = *settings;
    let operator = model.operator(Statistics::Cooling);
    let options = ReversibilityOptions { burn_in, steps };
    Ok(reversibility(&operator, &start, options, &mut noise)?)
}

/// The same network before training, with moments frozen on the same digits.
fn untrained(
    run: &mut Run<'_>,
    images: &Images,
    trained: &WalkbackModel,
    settings: &Settings,
) -> Result<Reversibility> {
    let seed = run.request.stream();
    let model = WalkbackModel::new(trained.config().clone(), seed, &run.request.device)?;
    let n = settings.train.statistics_examples;
    let x = images.first(
        &images.train,
        n.min(images.train.len()),
        seed.child("statistics"),
        model.device(),
    )?;
    freeze(&model, &x, 500, &mut seed.child("untrained").host_noise(), &mut |_| Ok(()))?;
    one(&model, settings, seed.child("reversibility").child("untrained"))
}

fn record(
    run: &mut Run<'_>,
    trained: &[Reversibility],
    untrained: &Reversibility,
    settings: &Settings,
) {
    let n = trained.len() as f64;
    let mean = |of: fn(&Reversibility) -> f64| trained.iter().map(of).sum::<f64>() / n;
    // Repetitions are independent, so their errors add up in squares.
    let error = |of: fn(&Reversibility) -> f64| {
        trained.iter().map(|found| of(found).powi(2)).sum::<f64>().sqrt() / n
    };
    let with = |metric: Metric| {
        metric
            .n(settings.chains * settings.repeats)
            .setting("steps", settings.measured_steps)
            .setting("burn_in", settings.burn_in)
    };
    let (divergence, d_se) = (mean(|f| f.divergence().0), error(|f| f.divergence().1));
    run.metric(with(Metric::new("divergence", divergence, "nats a step").std_error(d_se)));
    run.metric(with(
        Metric::new("entropy", mean(|f| f.entropy().0), "nats a step")
            .std_error(error(|f| f.entropy().1))
            .setting("of", "differential, pixels from 0 to 1"),
    ));
    for (name, value, of) in [
        ("ratio", mean(Reversibility::ratio), "D / H, differential entropy"),
        ("ratio_absolute", mean(Reversibility::absolute_ratio), "D / |H|"),
        ("ratio_8_bits", mean(Reversibility::discretised_ratio), "D / (H + D_x ln 256)"),
    ] {
        let metric = with(Metric::new(name, 100.0 * value, "%").setting("convention", of));
        // One number is printed; it stands beside the one ratio that is always positive.
        let beside = name == "ratio_8_bits" && run.request.scale != Scale::Smoke;
        run.metric(if beside { metric.published(3.6) } else { metric });
    }
    let (value, se) = untrained.divergence();
    let metric = Metric::new("divergence_untrained", value, "nats a step").std_error(se);
    run.metric(metric.n(settings.chains).setting("steps", settings.measured_steps));
    if run.request.scale != Scale::Smoke {
        run.check(Check::new(
            "the divergence is not negative beyond three standard errors",
            divergence >= -3.0 * d_se,
            format!("{divergence:.4}, standard error {d_se:.4}"),
        ));
    }
}
