//! Section 8 of the supplement: how far the chain at temperature 1 is from its own reverse.

use candle_core::Tensor;
use chains_core::Seed;
use serde::{Deserialize, Serialize};
use walkback::{
    ModelConfig, Reversibility, ReversibilityOptions, SampleOptions, Statistics, TrainConfig,
    WalkbackModel, freeze, generate, reversibility,
};

use super::{
    super::{
        examples::Split,
        plane::{EVENT, PlaneSettings},
        settings::TrainSettings,
        training::train,
    },
    bound,
};
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
    /// Passes over the points of the spiral, for the operator in the plane.
    spiral_epochs: usize,
}

fn resolve(request: &Request) -> Result<Settings> {
    let ReversibilityOptions { burn_in, steps } = ReversibilityOptions::published();
    let settings: Settings = request.settings(&Settings {
        train: bound::training(request.scale),
        chains: request.scale.pick(8, 64, 100),
        burn_in: request.scale.pick(2, burn_in, burn_in),
        measured_steps: request.scale.pick(5, steps, steps),
        repeats: request.scale.pick(1, 3, 10),
        spiral_epochs: request.scale.pick(2, 40, 190),
    })?;
    bound::validate(&settings.train)?;
    at_least(&[
        ("chains", settings.chains, 2),
        ("measured_steps", settings.measured_steps, 1),
        ("repeats", settings.repeats, 1),
        ("spiral_epochs", settings.spiral_epochs, 1),
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
    let stream = run.request.stream();
    let n = settings.train.statistics_examples.min(images.train.len());
    let device = trained.model.device();
    let x = images.first(&images.train, n, stream.child("statistics"), device)?;
    let digits = Measured::of(&trained.model, &x, &settings, stream)?;
    let spiral = spiral(run, &settings)?;
    let mut table = Table::new([
        ("Network", Align::Left),
        ("D, nats a step", Align::Right),
        ("H, nats a step", Align::Right),
        ("D / H", Align::Right),
        ("D / |H|", Align::Right),
        ("D / H at 8 bits", Align::Right),
    ]);
    table.row(["published", "", "", "3.6 %, of an entropy that is not named", "", ""]);
    for (what, measured) in [("", &digits), ("spiral, ", &spiral)] {
        // Points have no pixels.
        let pixels = what.is_empty();
        for (repeat, found) in measured.trained.iter().enumerate() {
            row(&mut table, &format!("{what}trained, repetition {}", repeat + 1), found, pixels);
        }
        row(&mut table, &format!("{what}untrained"), &measured.untrained, pixels);
    }
    run.table(table);
    record(run, &digits, &settings, "");
    ratios(run, &digits.trained, &settings);
    record(run, &spiral, &settings, "_spiral");
    Ok(())
}

fn row(table: &mut Table, name: &str, found: &Reversibility, pixels: bool) {
    let ((divergence, d_se), (entropy, h_se)) = (found.divergence(), found.entropy());
    let percent = |ratio: f64| format!("{} %", format_number(100.0 * ratio));
    table.row([
        name.to_owned(),
        format_with_error(divergence, d_se),
        format_with_error(entropy, h_se),
        percent(found.ratio()),
        percent(found.absolute_ratio()),
        if pixels { percent(found.discretised_ratio()) } else { String::new() },
    ]);
}

/// A trained operator, and the same network before training.
struct Measured {
    /// Repetitions.
    trained: Vec<Reversibility>,
    /// With moments frozen on the same examples.
    untrained: Reversibility,
}

impl Measured {
    /// `x`: `(n, D)`, training examples.
    fn of(model: &WalkbackModel, x: &Tensor, settings: &Settings, seed: Seed) -> Result<Self> {
        let chains = seed.child("reversibility");
        let trained = (0..settings.repeats)
            .map(|repeat| one(model, settings, chains.indexed(repeat as u64)))
            .collect::<Result<Vec<_>>>()?;
        let new = WalkbackModel::new(model.config().clone(), seed, model.device())?;
        freeze(&new, x, 500, &mut seed.child("untrained").host_noise(), &mut |_| Ok(()))?;
        let untrained = one(&new, settings, chains.child("untrained"))?;
        Ok(Self { trained, untrained })
    }

    /// Mean over repetitions with its standard error.
    fn mean(&self, of: fn(&Reversibility) -> (f64, f64)) -> (f64, f64) {
        let n = self.trained.len() as f64;
        let mean = self.trained.iter().map(|found| of(found).0).sum::<f64>() / n;
        // Repetitions are independent, so their errors add up in squares.
        let squares = self.trained.iter().map(|found| of(found).1.powi(2)).sum::<f64>();
        (mean, squares.sqrt() / n)
    }
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

/// The operator of the spiral, trained for seconds: that of `quick`, also at `paper`.
fn spiral(run: &mut Run<'_>, settings: &Settings) -> Result<Measured> {
    let scale = run.request.scale.pick(Scale::Smoke, Scale::Quick, Scale::Quick);
    let mut plane = PlaneSettings::curve(scale);
    plane.train.epochs = settings.spiral_epochs;
    plane.train.followed = 0;
    let points = plane.points("spiral", run.request)?;
    let recipe = plane.recipe(ModelConfig::spiral(), &TrainConfig::curve());
    let trained = train(run, &points, &recipe, "train spiral")?;
    run.paragraph(format!(
        "Spiral: an operator in the plane beside that of digits. {} {}",
        plane.train.sentence(EVENT),
        trained.sentence()
    ));
    let x = points.part(Split::Train).to_device(&run.request.device)?;
    Measured::of(&trained.model, &x, settings, run.request.stream().child("spiral"))
}

/// Divergences and the entropy, with `ending` behind their names.
fn record(run: &mut Run<'_>, measured: &Measured, settings: &Settings, ending: &str) {
    let (divergence, d_se) = measured.mean(Reversibility::divergence);
    let (entropy, h_se) = measured.mean(Reversibility::entropy);
    let metric = |name: &str, value: f64, se: f64| {
        let metric = Metric::new(format!("{name}{ending}"), value, "nats a step").std_error(se);
        metric.setting("steps", settings.measured_steps)
    };
    let all = |metric: Metric| {
        metric.n(settings.chains * settings.repeats).setting("burn_in", settings.burn_in)
    };
    run.metric(all(metric("divergence", divergence, d_se)));
    let unit = if ending.is_empty() { "pixels from 0 to 1" } else { "points of the plane" };
    let of = format!("differential, {unit}");
    run.metric(all(metric("entropy", entropy, h_se)).setting("of", of));
    let (value, se) = measured.untrained.divergence();
    run.metric(metric("divergence_untrained", value, se).n(settings.chains));
    if run.request.scale != Scale::Smoke {
        let of = if ending.is_empty() { "" } else { " of the spiral's operator" };
        run.check(Check::new(
            format!("the divergence{of} is not negative beyond three standard errors"),
            divergence >= -3.0 * d_se,
            format!("{divergence:.4}, standard error {d_se:.4}"),
        ));
    }
}

/// Divergence over entropy in every convention, means over repetitions.
fn ratios(run: &mut Run<'_>, trained: &[Reversibility], settings: &Settings) {
    let n = trained.len() as f64;
    let mean = |of: fn(&Reversibility) -> f64| trained.iter().map(of).sum::<f64>() / n;
    for (name, value, of) in [
        ("ratio", mean(Reversibility::ratio), "D / H, differential entropy"),
        ("ratio_absolute", mean(Reversibility::absolute_ratio), "D / |H|"),
        ("ratio_8_bits", mean(Reversibility::discretised_ratio), "D / (H + D_x ln 256)"),
    ] {
        let metric = Metric::new(name, 100.0 * value, "%")
            .n(settings.chains * settings.repeats)
            .setting("steps", settings.measured_steps)
            .setting("burn_in", settings.burn_in)
            .setting("convention", of);
        // One number is printed; it stands beside the one ratio that is always positive.
        let beside = name == "ratio_8_bits" && run.request.scale != Scale::Smoke;
        run.metric(if beside { metric.published(3.6) } else { metric });
    }
}
