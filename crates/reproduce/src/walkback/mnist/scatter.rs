//! Section 7 of the supplement and Figure 15: does a better bound make better samples?

use chains_core::chain::PathSummary;
use serde::{Deserialize, Serialize};
use walkback::{EstimateOptions, SampleOptions};

use super::{
    super::{settings::TrainSettings, training::train},
    bound::{self, likelihood::frozen_estimate},
    pictures::Samples,
};
use crate::{
    digits::{self, View, classifier_score, halves, mnist_fid},
    error::Result,
    images::Images,
    limits::{at_least, bad, finite_check, refuse},
    plots::{Plot, Series},
    report::{Align, Table, format_number, format_with_error},
    request::{Request, Scale},
    results::Metric,
    run::Run,
    run_dir::settings_table,
    sheet::Sheet,
};

/// Paths for each test image.
const CHAINS: usize = 5;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Settings {
    #[serde(flatten)]
    train: TrainSettings,
    /// K and f of the models.
    ladders: Vec<(usize, f64)>,
    /// Generated means of each, before the digit networks.
    samples: usize,
}

fn resolve(request: &Request) -> Result<Settings> {
    let train = match request.scale {
        // The digit networks take 28x28 pixels.
        Scale::Smoke => TrainSettings { pooled: false, ..bound::training(Scale::Smoke) },
        Scale::Quick => TrainSettings {
            train_examples: 8_000,
            epochs: 10,
            statistics_examples: 4_000,
            ..bound::training(Scale::Quick)
        },
        Scale::Paper => bound::training(Scale::Paper),
    };
    let ladders = match request.scale {
        Scale::Smoke => vec![(2, 2.0), (3, 2.0)],
        _ => vec![(3, 1.5), (5, 1.5), (5, 2.0), (8, 1.5), (8, 2.0)],
    };
    let samples = request.scale.pick(20, 1_000, 5_000);
    let settings: Settings = request.settings(&Settings { train, ladders, samples })?;
    refuse(request, &["steps", "factor"], "`ladders` decides")?;
    refuse(request, &["pooled"], "the digit networks take 28x28 pixels")?;
    at_least(&[("samples", settings.samples, 20)])?;
    if settings.samples > 5_000 {
        return bad("samples", "must be at most half of the 10,000 test digits");
    }
    if settings.ladders.is_empty() {
        return bad("ladders", "must be a list of K and f, such as [[5,1.5],[8,2]]");
    }
    for (steps, factor) in &settings.ladders {
        bound::validate(&of_ladder(&settings.train, *steps, *factor))?;
    }
    Ok(settings)
}

fn of_ladder(train: &TrainSettings, steps: usize, factor: f64) -> TrainSettings {
    TrainSettings { steps, factor, ..train.clone() }
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn ready(request: &Request) -> Result<()> {
    Images::mnist(request, &resolve(request)?.train.cut())?;
    digits::ready(&request.root)
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let images = Images::mnist(run.request, &settings.train.cut())?;
    let judge = digits::open(&run.request.root, &run.request.device)?.swap_remove(0);
    let test = &crate::data::mnist(run.request)?.test;
    let [reference, floor] = halves(test, settings.samples)?;
    let reference = View::of_set(&judge, &reference, &mut ())?;
    let floor = View::of_set(&judge, &floor, &mut ())?;
    let mut table = Table::new([
        ("K", Align::Right),
        ("f", Align::Right),
        ("test bound, nats", Align::Right),
        ("classifier score", Align::Right),
        ("mnist-fid", Align::Right),
    ]);
    table.row([
        String::new(),
        String::new(),
        "real digits".into(),
        format!("{:.3}", classifier_score(&floor)?.value),
        format_number(mnist_fid(&floor, &reference)?.value),
    ]);
    let (mut points, mut tiles) = (Vec::new(), Vec::new());
    for &(steps, factor) in &settings.ladders {
        let own = of_ladder(&settings.train, steps, factor);
        let (preset, config) = bound::preset();
        let recipe = own.recipe(&preset, &config, images.event());
        let name = format!("K {steps}, f {factor}");
        let trained = train(run, &images, &recipe, &format!("train {name}"))?;
        let model = &trained.model;
        let seed = run.request.stream().child("eval");
        let n = images.test.len();
        let x = images.first(&images.test, n, seed.child("test"), model.device())?;
        let options = EstimateOptions::new(CHAINS);
        let paths = frozen_estimate(model, &x, &options, seed.child("bound"), run.observer()?)?;
        let bound = PathSummary::of(&paths.weights[0]);
        finite_check(run, &format!("{name}: the test bounds"), &[bound.lower_bound]);
        let options = SampleOptions::of(model);
        let seed = run.request.stream().child("generate");
        let means = Samples::means(model, settings.samples, &options, seed)?;
        let view = View::of_floats(&judge, &means, &mut ())?;
        let score = classifier_score(&view)?;
        let fid = mnist_fid(&view, &reference)?;
        let key = format!("K{steps}_f{factor}");
        let metric = Metric::new(format!("lower_bound_{key}"), bound.lower_bound, "nats");
        run.metric(metric.std_error(bound.lower_bound_se).n(bound.examples).setting("k", CHAINS));
        table.row([
            steps.to_string(),
            factor.to_string(),
            format_with_error(bound.lower_bound, bound.lower_bound_se),
            format!("{:.3}", score.value),
            format_number(fid.value),
        ]);
        points.push((bound.lower_bound, score.value));
        for (mut metric, what) in [(score, "classifier_score"), (fid, "mnist_fid")] {
            metric.name = format!("{what}_{key}");
            run.metric(metric);
        }
        tiles.push(means.narrow(0, 0, 20)?);
    }
    show(run, &images, table, &points, &tiles)
}

fn show(
    run: &mut Run<'_>,
    images: &Images,
    table: Table,
    points: &[(f64, f64)],
    tiles: &[candle_core::Tensor],
) -> Result<()> {
    run.heading("Bounds and samples");
    run.paragraph(
        "The supplement shows two models of MNIST whose bound is higher and whose samples are worse. \
         Networks, data and epochs are the same for all rows; the ladder differs. No order is \
         promised: a positive, a negative or no correlation is the result.",
    );
    run.table(table);
    let mut plot = Plot::new("Bound and classifier score", "test bound, nats", "classifier score");
    plot.series(Series::scatter("models", points.iter().copied()));
    run.plot("scatter", &plot, "One point a model.")?;
    let [c, h, w] = images.event();
    let sheet = Sheet { columns: 20, scale: 1, ..Sheet::new(c, h, w) };
    let caption = "Means of the last step, one row a model, in the order of the table.";
    run.sheet("samples", &sheet, &candle_core::Tensor::cat(tiles, 0)?, caption)
}
