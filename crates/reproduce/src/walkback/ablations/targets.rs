//! What training follows: the earlier state from the later one (the method), each state from itself
//! (the published code), or the bound (ours).

use candle_core::{Device, Tensor};
use ndarray::s;
use walkback::{ModelConfig, Objective, TrainConfig};

use super::{
    super::{
        plane::{Curve, EVENT, cloud, head, median},
        settings::TrainSettings,
        training::Recipe,
    },
    compare::{Look, Reached, Variant, compare},
    settings::{DigitSettings, Settings, refuse_within},
};
use crate::{
    error::Result,
    plots::Panels,
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
    sheet::Sheet,
};

/// In the order of the tables.
const OBJECTIVES: [(&str, Objective); 3] = [
    ("walkback", Objective::Walkback),
    ("self-reconstruct", Objective::SelfReconstruct),
    ("full-bound", Objective::FullBound),
];

/// What the sentence about training says of one of them alone.
const BUT: &str = "This is the first training; the two others differ in the target, and the last makes \
                   one optimiser step a walk.";

fn resolve(request: &Request) -> Result<Settings> {
    refuse_within(request, &["objective"], "all objectives are compared")?;
    Settings::resolve(request)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn ready(request: &Request) -> Result<()> {
    resolve(request)?.digits.images(request).map(drop)
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    run.paragraph(
        "The paper teaches the operator to give the earlier state from the later one. The published \
         code evaluates the density of a state under the mean that was made from that very state: with a \
         learned variance its best operator stands still (identity and the least variance), so its \
         score is the highest, and chains stay where they started. It is shown as an ablation and is \
         not the method. The third training follows the gradient of the lower bound itself, through \
         all states of a walk and their noise, one optimiser step a walk; it is not in the paper.",
    );
    let spiral = on_spiral(run, &settings)?;
    outcomes(run, "spiral", &spiral);
    let digits = on_digits(run, &settings.digits)?;
    outcomes(run, "digits", &digits);
    Ok(())
}

fn variants(recipe: impl Fn(Objective) -> Recipe) -> Vec<Variant> {
    let variant = |(name, objective)| Variant { name, recipe: recipe(objective) };
    OBJECTIVES.into_iter().map(variant).collect()
}

fn on_spiral(run: &mut Run<'_>, settings: &Settings) -> Result<Vec<Reached>> {
    let plane = &settings.spiral;
    run.heading("Spiral");
    run.paragraph(plane.train.sentence(EVENT));
    run.paragraph(BUT);
    let points = plane.points("spiral", run.request)?;
    let variants = variants(|objective| {
        let train = TrainSettings { objective, ..plane.train.clone() };
        train.recipe(&plane.preset(ModelConfig::spiral()), &TrainConfig::curve(), EVENT)
    });
    let look = Look {
        set: "spiral",
        samples: plane.samples.min(plane.train.test_examples),
        bound_examples: plane.bound_points,
        bound_chains: plane.bound_chains,
    };
    let all = compare(run, &points, variants, look)?;
    let mut panels = Panels::new("Samples", all.len());
    for reached in &all {
        let distance = median(&Curve::Spiral.distances(reached.samples.view())?);
        let name = format!("median_distance_spiral_{}", reached.name.replace('-', "_"));
        run.metric(Metric::new(name, distance, "").n(reached.samples.nrows()));
        panels.panel(reached.name, cloud(&head(&reached.samples, plane.shown)));
    }
    run.panels("spiral-samples", &panels, "The last states of chains of each operator.")?;
    Ok(all)
}

fn on_digits(run: &mut Run<'_>, settings: &DigitSettings) -> Result<Vec<Reached>> {
    let images = settings.images(run.request)?;
    let event = images.event();
    run.heading("Digits");
    run.paragraph(settings.train.sentence(event));
    run.paragraph(BUT);
    let variants = variants(|objective| {
        let train = TrainSettings { objective, ..settings.train.clone() };
        train.recipe(&DigitSettings::model(), &DigitSettings::training(), event)
    });
    let all = compare(run, &images, variants, settings.look())?;
    digit_sheet(run, event, &all)?;
    Ok(all)
}

/// Twenty means of the last step, a row a variant.
fn digit_sheet(run: &mut Run<'_>, event: [usize; 3], all: &[Reached]) -> Result<()> {
    let [channels, height, width] = event;
    let shown = all.iter().map(|reached| reached.means.nrows()).min().unwrap_or(0).min(20);
    let mut rows = Vec::new();
    for reached in all {
        rows.extend(reached.means.slice(s![..shown, ..]).iter().copied());
    }
    let n = all.len() * shown;
    let images = Tensor::from_vec(rows, (n, channels * height * width), &Device::Cpu)?;
    let sheet = Sheet { columns: shown.max(1), scale: 3, ..Sheet::new(channels, height, width) };
    let caption = "Means of the last step, one row a training, in the order of the table.";
    run.sheet("digits", &sheet, &images, caption)
}

/// A degenerate target scores high, samples badly and has a low bound. Whether training on the bound
/// itself beats walking back is a question: the table answers it.
fn outcomes(run: &mut Run<'_>, set: &str, all: &[Reached]) {
    if run.request.scale == Scale::Smoke {
        return;
    }
    let [walkback, own] = [&all[0], &all[1]];
    run.check(Check::new(
        format!("{set}: self-reconstruction has the higher score of its own"),
        own.own_score > walkback.own_score,
        format!("{:.2} against {:.2}", own.own_score, walkback.own_score),
    ));
    run.check(Check::new(
        format!("{set}: but its samples are farther from data, in energy distance"),
        own.energy > walkback.energy,
        format!("{:.5} against {:.5}", own.energy, walkback.energy),
    ));
    let [low, high] = [own, walkback].map(|reached| reached.bound.lower_bound);
    run.check(Check::new(
        format!("{set}: and its bound is lower"),
        low < high,
        format!("{low:.2} against {high:.2} nats"),
    ));
}
