//! Figure 7 and the comparisons of the text: schedules, objectives, the target's variance.

use candle_core::Tensor;
use chains_core::chain::PathSummary;
use eval_metrics::parzen;
use infusion::{EstimateOptions, Objective};
use serde::{Deserialize, Serialize};

use super::{
    estimates::frozen_estimate,
    figures::infused_states,
    pictures::{generated_chains_named, generated_means},
    settings::TrainSettings,
    training::{Trained, train},
};
use crate::{
    arrays::{rows, score},
    error::Result,
    images::Images,
    limits::{at_least, bad, finite_check, refuse},
    plots::{Plot, Series},
    report::{Align, Table, format_with_error},
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
    sheet::Sheet,
};

/// Digits averaged to 14x14, except at `paper`: five trainings fit in minutes.
fn pooled(scale: Scale) -> TrainSettings {
    match scale {
        Scale::Smoke => TrainSettings { epochs: 1, ..TrainSettings::smoke() },
        Scale::Quick => TrainSettings {
            train_images: 8_000,
            pooled: true,
            hidden: vec![256, 256],
            epochs: 20,
            batch_size: 50,
            learning_rate: 2e-3,
            last_learning_rate: 1e-5,
            followed: 500,
            ..TrainSettings::small()
        },
        Scale::Paper => TrainSettings::paper(),
    }
}

/// Chains for each test image in the bounds.
const BOUND_CHAINS: usize = 5;

/// The bound of all test images, with frozen statistics; also a metric, and a check that it is finite.
fn test_bound(
    run: &mut Run<'_>,
    images: &Images,
    trained: &Trained,
    name: &str,
) -> Result<PathSummary> {
    let seed = run.request.stream().child("eval");
    let device = trained.model.device();
    let x = images.first(&images.test, images.test.len(), seed.child("test"), device)?;
    let options = EstimateOptions::new(BOUND_CHAINS);
    let found =
        frozen_estimate(&trained.model, &x, &options, seed.child("bound"), run.observer()?)?;
    let bound = PathSummary::of(&found.weights[0]);
    finite_check(run, &format!("{name}: the test bounds"), &[bound.lower_bound]);
    let key = name.replace([' ', '-'], "_");
    let metric = Metric::new(format!("lower_bound_{key}"), bound.lower_bound, "nats")
        .std_error(bound.lower_bound_se)
        .n(bound.examples)
        .setting("k", bound.chains)
        .setting("pixels", images.event().iter().product::<usize>())
        .setting("updates", trained.updates);
    run.metric(metric);
    Ok(bound)
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ScheduleSettings {
    #[serde(flatten)]
    train: TrainSettings,
    /// Constant rates to set beside the increasing one; the paper does not print its own.
    constant_rates: Vec<f64>,
}

fn resolve_schedule(request: &Request) -> Result<ScheduleSettings> {
    let constant_rates = request.scale.pick(vec![0.2], vec![0.05, 0.06], vec![0.05, 0.06]);
    let settings: ScheduleSettings =
        request.settings(&ScheduleSettings { train: pooled(request.scale), constant_rates })?;
    refuse(request, &["rate"], "`constant_rates` and 0 are compared")?;
    at_least(&[("steps", settings.train.steps, 3)])?;
    if settings.constant_rates.iter().any(|rate| !(0.0..=1.0).contains(rate)) {
        return bad("constant_rates", "must be rates from 0 to 1");
    }
    settings.train.validate_mnist()?;
    Ok(settings)
}

pub(super) fn schedule_settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve_schedule(request)?)
}

pub(super) fn schedule_ready(request: &Request) -> Result<()> {
    Images::mnist(request, &resolve_schedule(request)?.train.cut()?).map(drop)
}

/// Figure 7: constant against increasing rate, infused and generated chains.
pub(super) fn schedule(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve_schedule(run.request)?;
    let images = Images::mnist(run.request, &settings.train.cut()?)?;
    run.paragraph(settings.train.sentence(&images));
    let increasing = settings.train.rate_increment;
    let mut variants = vec![(format!("increasing {increasing}"), 0.0, increasing)];
    let constants = settings.constant_rates.iter();
    variants.extend(constants.map(|rate| (format!("constant {rate}"), *rate, 0.0)));
    let mut plot = Plot::new("How fast the target enters the chain", "t", "mean squared distance");
    let mut curves = Vec::new();
    for (name, rate, rate_increment) in variants {
        let own = TrainSettings { rate, rate_increment, ..settings.train.clone() };
        let trained = train(run, &images, &own.recipe(images.event()), &format!("train {name}"))?;
        test_bound(run, &images, &trained, &name)?;
        let n = 100.min(images.test.len());
        let (x, states) = infused_states(run, &images, &trained, n)?;
        let distance = |z: &Tensor| -> Result<f64> {
            Ok(f64::from((z - &x)?.sqr()?.mean_all()?.to_scalar::<f32>()?))
        };
        let curve: Vec<f64> = states.iter().map(distance).collect::<Result<_>>()?;
        plot.series(Series::line(&name, curve.iter().enumerate().map(|(t, d)| (t as f64, *d))));
        run.heading(format!("{name}: chains infused with test images (Figure 7)"));
        let mut shown: Vec<Tensor> =
            states.iter().map(|z| z.narrow(0, 0, n.min(10))).collect::<candle_core::Result<_>>()?;
        shown.push(x.narrow(0, 0, n.min(10))?);
        let file = name.replace(' ', "-");
        let caption = "Columns: z_0, z_1, ..; last: the target.";
        run.chains(&format!("infused-{file}"), images.event(), &shown, caption)?;
        let options = own.sampling(own.steps);
        generated_chains_named(run, &images, &trained.model, &options, &file)?;
        curves.push((name, curve));
    }
    run.heading("Distance of the infused state to its target");
    run.plot("distance", &plot, "Over 100 test images, frozen statistics.")?;
    // The share of the whole approach that the first third of the steps makes.
    let early = |curve: &[f64]| {
        let third = curve.len() / 3;
        let end = curve.last().copied().unwrap_or(0.0);
        (curve[0] - curve[third]) / (curve[0] - end)
    };
    let first = early(&curves[0].1);
    for (name, curve) in &curves {
        let name = format!("early_share_{}", name.replace(' ', "_"));
        run.metric(Metric::new(name, early(curve), "share of the approach in the first third"));
    }
    if run.request.scale != Scale::Smoke {
        for (name, curve) in &curves[1..] {
            run.check(Check::new(
                format!("the increasing rate begins more slowly than {name}"),
                first < early(curve),
                format!("{first:.3} against {:.3}", early(curve)),
            ));
        }
    }
    Ok(())
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ObjectiveSettings {
    #[serde(flatten)]
    train: TrainSettings,
    /// Generated means in the Parzen estimate.
    parzen_samples: usize,
}

fn resolve_objectives(request: &Request) -> Result<ObjectiveSettings> {
    let mut train = pooled(request.scale);
    if request.scale != Scale::Smoke {
        (train.steps, train.rate_increment) = (5, 0.1);
    }
    let parzen_samples = request.scale.pick(50, 1_000, 10_000);
    let settings: ObjectiveSettings =
        request.settings(&ObjectiveSettings { train, parzen_samples })?;
    refuse(request, &["objective"], "all objectives are compared")?;
    at_least(&[("parzen_samples", settings.parzen_samples, 20)])?;
    settings.train.validate_mnist()?;
    Ok(settings)
}

pub(super) fn objective_settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve_objectives(request)?)
}

pub(super) fn objective_ready(request: &Request) -> Result<()> {
    Images::mnist(request, &resolve_objectives(request)?.train.cut()?).map(drop)
}

const OBJECTIVES: [(&str, Objective); 5] = [
    ("denoising", Objective::Denoising),
    ("denoising-per-step", Objective::DenoisingPerStep),
    ("lower-bound", Objective::LowerBound),
    ("lower-bound-detached", Objective::LowerBoundDetached { weighted: false }),
    ("lower-bound-detached-weighted", Objective::LowerBoundDetached { weighted: true }),
];

/// Section 2.4.1: denoising against lower-bound training, with both readings of the latter.
pub(super) fn objectives(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve_objectives(run.request)?;
    let images = Images::mnist(run.request, &settings.train.cut()?)?;
    run.paragraph(settings.train.sentence(&images));
    let mut table = Table::new([
        ("Objective", Align::Left),
        ("test bound, nats", Align::Right),
        ("Parzen of means, nats", Align::Right),
        ("updates", Align::Right),
    ]);
    let test = rows(&images.scaled(&images.test, images.test.len(), &run.request.device)?)?;
    let mut bounds = Vec::new();
    let mut tiles = Vec::new();
    for (name, objective) in OBJECTIVES {
        let own = TrainSettings { objective, ..settings.train.clone() };
        let trained = train(run, &images, &own.recipe(images.event()), &format!("train {name}"))?;
        let bound = test_bound(run, &images, &trained, name)?;
        let (n, options) = (settings.parzen_samples, own.sampling(own.steps));
        let [_, means] = generated_means(run, &trained.model, n, &options)?;
        let found = score(parzen(rows(&means)?.view(), test.view(), 0.17))?;
        let key = name.replace('-', "_");
        run.metric(
            Metric::new(format!("parzen_{key}"), found.mean, "nats")
                .std_error(found.std_error)
                .n(found.n)
                .setting("window", 0.17),
        );
        table.row([
            name.to_owned(),
            format_with_error(bound.lower_bound, bound.lower_bound_se),
            format_with_error(found.mean, found.std_error),
            trained.updates.to_string(),
        ]);
        tiles.push(means.narrow(0, 0, 20.min(means.dim(0)?))?);
        bounds.push((name, bound.lower_bound));
    }
    run.heading("Objectives, same network, data and epochs");
    run.paragraph(
        "The paper reports similar results of denoising and lower-bound training in a sentence, \
         without numbers. The unbiased gradient of the bound goes through the whole chain; the \
         detached variants are the literal reading of section 2.4.1 and are not its gradient. A \
         higher bound is not a better sample.",
    );
    run.table(table);
    let [c, h, w] = images.event();
    let sheet = Sheet { columns: 20, scale: if h < 20 { 2 } else { 1 }, ..Sheet::new(c, h, w) };
    let caption = "Means of the models, one row an objective, in the order of the table.";
    run.sheet("samples", &sheet, &Tensor::cat(&tiles, 0)?, caption)?;
    if run.request.scale != Scale::Smoke {
        let own = bounds[2].1;
        run.check(Check::new(
            "training on the bound itself gives the highest bound",
            bounds.iter().all(|(_, bound)| *bound <= own),
            bounds.iter().map(|(n, b)| format!("{n} {b:.1}")).collect::<Vec<_>>().join(", "),
        ));
    }
    Ok(())
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct VarianceSettings {
    #[serde(flatten)]
    train: TrainSettings,
    /// Variances of the narrow Gaussian at the target.
    target_variances: Vec<f64>,
}

fn resolve_variance(request: &Request) -> Result<VarianceSettings> {
    let train = pooled(request.scale);
    let settings: VarianceSettings =
        request.settings(&VarianceSettings { train, target_variances: vec![1e-5, 1e-4, 1e-3] })?;
    refuse(request, &["target_variance"], "`target_variances` decides")?;
    if settings.target_variances.iter().any(|v| !v.is_finite() || *v <= 0.0) {
        return bad("target_variances", "must be positive numbers");
    }
    settings.train.validate_mnist()?;
    Ok(settings)
}

pub(super) fn variance_settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve_variance(request)?)
}

pub(super) fn variance_ready(request: &Request) -> Result<()> {
    Images::mnist(request, &resolve_variance(request)?.train.cut()?).map(drop)
}

/// How much the reported bound depends on a constant that the paper does not print.
pub(super) fn target_variance(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve_variance(run.request)?;
    let images = Images::mnist(run.request, &settings.train.cut()?)?;
    run.paragraph(settings.train.sentence(&images));
    let mut table =
        Table::new([("target variance", Align::Right), ("test bound, nats", Align::Right)]);
    for variance in &settings.target_variances {
        let own = TrainSettings { target_variance: *variance, ..settings.train.clone() };
        let stage = format!("train variance {variance}");
        let trained = train(run, &images, &own.recipe(images.event()), &stage)?;
        let bound = test_bound(run, &images, &trained, &format!("variance {variance:e}"))?;
        let value = format_with_error(bound.lower_bound, bound.lower_bound_se);
        table.row([format!("{variance:e}"), value]);
    }
    run.heading("Sensitivity to the variance at the target");
    run.paragraph(
        "The paper calls the Gaussian at the target narrow and gives no number; the published code \
         has 1e-4, the variance floor of the model.",
    );
    run.table(table);
    Ok(())
}
