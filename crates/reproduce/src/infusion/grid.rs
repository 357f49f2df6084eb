//! Table 4 and Figure 6: the bound over infusion rate and number of steps.

mod published;

use candle_core::Tensor;
use chains_core::chain::PathSummary;
use infusion::{EstimateOptions, rate_zero_log_prob};
use serde::{Deserialize, Serialize};

use published::{PUBLISHED, best_rate, remark};

use super::{
    estimates::frozen_estimate,
    pictures::generated_means,
    settings::TrainSettings,
    training::{EpochBounds, Trained, train},
};
use crate::{
    error::Result,
    images::Images,
    limits::{bad, beside, compares, finite_check, refuse},
    plots::{Plot, Series},
    report::{Align, Table, format_number, format_with_error},
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
    sheet::Sheet,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct GridSettings {
    #[serde(flatten)]
    train: TrainSettings,
    /// Rates for T = 1, 5, 10, 15; an empty list leaves that T out.
    rates_t1: Vec<f64>,
    rates_t5: Vec<f64>,
    rates_t10: Vec<f64>,
    rates_t15: Vec<f64>,
    /// The same rate at every step instead of an increasing one.
    constant: bool,
    /// Chains for each test image.
    bound_chains: usize,
    /// Largest distance of a rate-0 bound from its closed form that passes, nats.
    closed_form_tolerance: f64,
}

fn resolve(request: &Request, constant: bool) -> Result<GridSettings> {
    // 28x28 pixels: with 2x2 means the neighbours that a rate above 0 can exploit are gone, and the
    // bound of T = 1 falls from rate 0 on (measured; see docs/infusion.md).
    let quick = TrainSettings {
        train_images: 50_000,
        hidden: vec![256, 256],
        epochs: 3,
        batch_size: 100,
        followed: 300,
        // The last epoch: which of three is best among 300 images would be chance.
        select: false,
        data_biases: true,
        statistics_images: 10_000,
        ..TrainSettings::small()
    };
    let published = |index: usize| PUBLISHED[index].1.iter().map(|(rate, _)| *rate).collect();
    let (train, rates) = match (request.scale, constant) {
        (Scale::Smoke, _) => {
            let smoke = TrainSettings { epochs: 1, ..TrainSettings::smoke() };
            (smoke, [vec![0.0, 0.3], vec![0.0, 0.1], vec![], vec![]])
        }
        (Scale::Quick, false) => {
            let rates = [
                vec![0.0, 0.1, 0.3, 0.5, 0.9],
                vec![0.0, 0.03, 0.1, 0.2],
                vec![0.0, 0.02, 0.05],
                vec![0.0, 0.01, 0.04],
            ];
            (quick, rates)
        }
        (Scale::Quick, true) => {
            let rates = vec![0.0, 0.03, 0.06, 0.1, 0.15, 0.25, 0.4];
            (quick, [vec![], vec![], rates.clone(), rates])
        }
        (Scale::Paper, false) => {
            let rates = [published(0), published(1), published(2), published(3)];
            (TrainSettings::paper(), rates)
        }
        (Scale::Paper, true) => {
            let rates = vec![0.0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2];
            (TrainSettings::paper(), [vec![], vec![], rates.clone(), rates])
        }
    };
    let [rates_t1, rates_t5, rates_t10, rates_t15] = rates;
    let settings = request.settings(&GridSettings {
        train,
        rates_t1,
        rates_t5,
        rates_t10,
        rates_t15,
        constant,
        bound_chains: request.scale.pick(1, 20, 20),
        closed_form_tolerance: 5.0,
    })?;
    refuse(request, &["steps", "rate", "rate_increment"], "the lists `rates_t..` decide")?;
    check_rates(&settings)?;
    settings.train.validate_mnist()?;
    Ok(settings)
}

/// Rates that a chain can have, in order, for at least one number of steps.
fn check_rates(settings: &GridSettings) -> Result<()> {
    let lists = [
        ("rates_t1", &settings.rates_t1),
        ("rates_t5", &settings.rates_t5),
        ("rates_t10", &settings.rates_t10),
        ("rates_t15", &settings.rates_t15),
    ];
    if lists.iter().all(|(_, rates)| rates.is_empty()) {
        return bad("rates_t1", "all lists of rates are empty; give one of them a rate");
    }
    for (key, rates) in lists {
        if !rates.is_sorted_by(|a, b| a < b) || rates.iter().any(|r| !(0.0..=1.0).contains(r)) {
            return bad(key, "must be ascending rates from 0 to 1");
        }
    }
    Ok(())
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request, false)?)
}

pub(super) fn settings_constant(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request, true)?)
}

pub(super) fn ready(request: &Request) -> Result<()> {
    Images::mnist(request, &resolve(request, false)?.train.cut()?).map(drop)
}

pub(super) fn ready_constant(request: &Request) -> Result<()> {
    Images::mnist(request, &resolve(request, true)?.train.cut()?).map(drop)
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request, false)?;
    whole(run, &settings)
}

pub(super) fn run_constant(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request, true)?;
    whole(run, &settings)
}

struct Cell {
    rate: f64,
    bound: PathSummary,
    curve: Vec<EpochBounds>,
    samples: Tensor,
}

fn whole(run: &mut Run<'_>, settings: &GridSettings) -> Result<()> {
    let images = Images::mnist(run.request, &settings.train.cut()?)?;
    run.paragraph(settings.train.sentence(&images));
    let lists = [&settings.rates_t1, &settings.rates_t5, &settings.rates_t10, &settings.rates_t15];
    let mut best = Vec::new();
    for ((steps, published), rates) in PUBLISHED.iter().zip(lists) {
        if rates.is_empty() {
            continue;
        }
        let mut cells = Vec::new();
        let mut closed = f64::NAN;
        for rate in rates {
            let (cell, form) = one(run, &images, settings, *steps, *rate)?;
            closed = form;
            cells.push(cell);
        }
        let published = if settings.constant { &[] } else { *published };
        report(run, &images, *steps, &cells, published, closed)?;
        checks(run, settings, *steps, &cells, closed);
        let top = cells.iter().max_by(|a, b| a.bound.lower_bound.total_cmp(&b.bound.lower_bound));
        best.extend(top.map(|cell| (*steps, cell.rate)));
    }
    for (steps, rate) in &best {
        let metric = Metric::new(format!("best_rate_t{steps}"), *rate, "rate");
        run.metric(match best_rate(*steps, settings.constant) {
            Some(published) => beside(metric, published, is_papers(run, &images)),
            None => metric,
        });
    }
    if run.request.scale != Scale::Smoke && best.len() > 1 {
        run.check(Check::new(
            "the best rate falls as the number of steps grows",
            best.windows(2).all(|pair| pair[1].1 < pair[0].1),
            best.iter().map(|(t, r)| format!("T {t}: {r}")).collect::<Vec<_>>().join(", "),
        ));
    }
    Ok(())
}

/// Only the paper's own setting compares: another training has another bound and another best rate.
fn is_papers(run: &Run<'_>, images: &Images) -> bool {
    run.request.scale == Scale::Paper && compares(run, images)
}

/// Trains and scores one cell; also the closed form of rate 0 on the same images.
fn one(
    run: &mut Run<'_>,
    images: &Images,
    settings: &GridSettings,
    steps: usize,
    rate: f64,
) -> Result<(Cell, f64)> {
    let constant = settings.constant || steps == 1;
    let train_settings = TrainSettings {
        steps,
        rate: if constant { rate } else { 0.0 },
        rate_increment: if constant { 0.0 } else { rate },
        ..settings.train.clone()
    };
    let recipe = train_settings.recipe(images.event());
    let trained = train(run, images, &recipe, &format!("train T {steps} rate {rate}"))?;
    let Trained { model, curve, moments, .. } = trained;
    let seed = run.request.stream().child("eval");
    let x = images.first(&images.test, images.test.len(), seed.child("test"), model.device())?;
    let options = EstimateOptions::new(settings.bound_chains);
    let found = frozen_estimate(&model, &x, &options, seed.child("bound"), run.observer()?)?;
    let network = &model.config().network;
    let closed = rate_zero_log_prob(&moments, &x, network.variance_floor, network.variance_scale)?;
    let closed = closed.iter().sum::<f64>() / closed.len() as f64;
    let [_, samples] = generated_means(run, &model, 20, &train_settings.sampling(steps))?;
    let bound = PathSummary::of(&found.weights[0]);
    Ok((Cell { rate, bound, curve, samples }, closed))
}

fn report(
    run: &mut Run<'_>,
    images: &Images,
    steps: usize,
    cells: &[Cell],
    published: &[(f64, f64)],
    closed: f64,
) -> Result<()> {
    let paper = run.request.scale == Scale::Paper;
    run.heading(format!("T = {steps}"));
    let mut table = Table::new([
        ("rate", Align::Right),
        ("test bound, ours", Align::Right),
        ("published", Align::Right),
    ]);
    for cell in cells {
        let theirs = published.iter().find(|(rate, _)| (rate - cell.rate).abs() < 1e-9);
        let PathSummary { lower_bound, lower_bound_se, examples, chains, .. } = cell.bound;
        table.row([
            cell.rate.to_string(),
            format_with_error(lower_bound, lower_bound_se),
            theirs.map(|(_, value)| value.to_string()).unwrap_or_default(),
        ]);
        let metric =
            Metric::new(format!("lower_bound_t{steps}_rate{}", cell.rate), lower_bound, "nats")
                .std_error(lower_bound_se)
                .n(examples)
                .setting("k", chains)
                .setting("pixels", images.event().iter().product::<usize>());
        run.metric(match theirs {
            Some((_, value)) => beside(metric, *value, is_papers(run, images)),
            None => metric,
        });
    }
    run.metric(Metric::new(format!("rate_zero_closed_form_t{steps}"), closed, "nats"));
    run.table(table);
    if let (Some(remark), false) = (remark(steps), published.is_empty()) {
        run.paragraph(remark);
    }
    if !paper && !published.is_empty() {
        run.paragraph(
            "The published bounds are of a wider network after up to 1,500 epochs on 50,000 images; \
             they stand here for the shape of the column, not for its values.",
        );
    }
    pictures(run, images, steps, cells)
}

/// The training curves of one number of steps (Figure 6), and samples, one row a rate (Table 4).
fn pictures(run: &mut Run<'_>, images: &Images, steps: usize, cells: &[Cell]) -> Result<()> {
    let mut plot = Plot::new(format!("Validation bound, T = {steps}"), "epoch", "nats");
    for cell in cells {
        let points = cell.curve.iter().map(|b| (b.epoch as f64, b.validation));
        plot.series(Series::line(format!("rate {}", cell.rate), points));
    }
    run.plot(
        &format!("curves-t{steps}"),
        &plot,
        "Figure 6: batch statistics, one chain an image.",
    )?;
    let [c, h, w] = images.event();
    let sheet = Sheet { columns: 20, scale: if h < 20 { 3 } else { 2 }, ..Sheet::new(c, h, w) };
    let samples: Vec<&Tensor> = cells.iter().map(|cell| &cell.samples).collect();
    let rates: Vec<String> = cells.iter().map(|cell| format_number(cell.rate)).collect();
    run.sheet(
        &format!("samples-t{steps}"),
        &sheet,
        &Tensor::cat(&samples, 0)?,
        &format!("Means of the model, one row a rate, from above: {}.", rates.join(", ")),
    )
}

fn checks(run: &mut Run<'_>, settings: &GridSettings, steps: usize, cells: &[Cell], closed: f64) {
    let bounds: Vec<f64> = cells.iter().map(|cell| cell.bound.lower_bound).collect();
    finite_check(run, &format!("T = {steps}: the test bounds"), &bounds);
    if run.request.scale == Scale::Smoke {
        return;
    }
    let top = bounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let inside = bounds[0] < top && bounds[bounds.len() - 1] < top;
    let list: Vec<String> =
        cells.iter().map(|c| format!("{}: {:.1}", c.rate, c.bound.lower_bound)).collect();
    let detail = list.join(", ");
    run.check(Check::new(format!("T = {steps}: the peak is inside the grid"), inside, detail));
    if let Some(cell) = cells.first().filter(|cell| cell.rate <= 0.0) {
        run.check(Check::close(
            format!("T = {steps}: rate 0 equals its closed form"),
            cell.bound.lower_bound,
            closed,
            settings.closed_form_tolerance,
        ));
    }
}
