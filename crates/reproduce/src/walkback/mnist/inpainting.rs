//! Figure 1 on MNIST: digits whose top half is known.

use serde::{Deserialize, Serialize};
use walkback::{SampleOptions, StartConfig, WalkbackModel, inpaint};

use super::{super::settings::TrainSettings, bound, samples};
use crate::{
    completions::{Extent, completions},
    error::Result,
    images::Images,
    limits::{at_least, refuse},
    request::{Request, Scale},
    run::Run,
    run_dir::settings_table,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct InpaintSettings {
    /// The reconstructing operator.
    samples: TrainSettings,
    /// The Gaussian operator.
    bound: TrainSettings,
    /// Test digits, the first.
    completed_images: usize,
    /// Completions of each.
    completions: usize,
    /// Steps of the chains that stay at temperature 1.
    rest_steps: usize,
}

/// Half the epochs at `quick`, where two models have to be trained within minutes.
fn shortened(settings: TrainSettings, scale: Scale) -> TrainSettings {
    match scale {
        Scale::Quick => TrainSettings { epochs: settings.epochs.div_ceil(2), ..settings },
        Scale::Smoke | Scale::Paper => settings,
    }
}

fn resolve(request: &Request) -> Result<InpaintSettings> {
    let scale = request.scale;
    let settings: InpaintSettings = request.settings(&InpaintSettings {
        samples: shortened(samples::training(scale), scale),
        bound: shortened(bound::training(scale), scale),
        completed_images: scale.pick(10, 100, 100),
        completions: scale.pick(3, 10, 10),
        rest_steps: scale.pick(5, 30, 30),
    })?;
    refuse(request, &["samples.pooled", "bound.pooled"], "digits have 28x28 pixels")?;
    samples::validate(&settings.samples)?;
    bound::validate(&settings.bound)?;
    at_least(&[
        ("completed_images", settings.completed_images, 2),
        ("completions", settings.completions, 2),
        ("rest_steps", settings.rest_steps, 1),
    ])?;
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn ready(request: &Request) -> Result<()> {
    let settings = resolve(request)?;
    Images::mnist(request, &settings.bound.cut())?;
    Images::mnist(request, &settings.samples.cut()).map(drop)
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let (images, trained) = samples::trained(run, &settings.samples, "train samples")?;
    let mean = trained.moments.mean();
    let model = &trained.model;
    let cooled = SampleOptions::of(model);
    one(run, &images, model, &mean, ("cooled", &cooled, &settings))?;
    let start = StartConfig::Bernoulli { probability: 0.5 };
    let rest = SampleOptions { start, ..SampleOptions::at_rest(model, settings.rest_steps) };
    one(run, &images, model, &mean, ("at_rest", &rest, &settings))?;
    let (images, trained) = bound::trained(run, &settings.bound, "train bound")?;
    let options = SampleOptions::of(&trained.model);
    let mean = trained.moments.mean();
    one(run, &images, &trained.model, &mean, ("gaussian", &options, &settings))
}

/// Completions by one model in one way.
fn one(
    run: &mut Run<'_>,
    images: &Images,
    model: &WalkbackModel,
    mean: &[f64],
    (name, options, settings): (&'static str, &SampleOptions, &InpaintSettings),
) -> Result<()> {
    run.heading(match name {
        "cooled" => "Reconstructing operator, cooled",
        "at_rest" => "Reconstructing operator, at temperature 1 from fair bits",
        _ => "Gaussian operator, cooled",
    });
    run.paragraph(match name {
        "cooled" => {
            "The published script of faces: unknown pixels begin as the start noise, then the ladder \
             is cooled; known pixels are put back after every step."
        }
        "at_rest" => {
            "The published script of MNIST: unknown pixels begin as fair bits and every step is at \
             temperature 1."
        }
        _ => "The operator with a learned variance, whose states are not clipped.",
    });
    let images_wanted = settings.completed_images.min(images.test.len());
    let extent = Extent {
        name,
        // States are clipped where the operator clips; the means that are shown are not.
        bounded: false,
        images: images_wanted,
        completions: settings.completions,
    };
    completions(run, images, mean, extent, |[x, mask], noise, visit| {
        inpaint(model, x, mask, options, noise, |_, generated| visit(generated))
    })
}
