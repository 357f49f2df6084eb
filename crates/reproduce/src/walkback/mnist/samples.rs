//! Figure 2 and Figure 8: samples of the MNIST model, and its chains from noise.

use std::f64::consts::LN_2;

use serde::{Deserialize, Serialize};
use walkback::{ModelConfig, Objective, SampleOptions, TrainConfig, WalkbackModel};

use super::{
    super::{
        settings::TrainSettings,
        training::{Trained, train},
    },
    pictures::{self, Samples},
};
use crate::{
    arrays::{extremes, finite},
    digit_scores::{self, digit_scores},
    error::Result,
    images::Images,
    infusion,
    limits::at_least,
    neighbours::{neighbours, samples_sheet},
    report::format_number,
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
};

/// The model of samples, and how much is made of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Settings {
    #[serde(flatten)]
    train: TrainSettings,
    /// Chains that the digit networks judge.
    classifier_samples: usize,
    /// Round the trained parameters to f16 before they are shown and saved.
    half_precision: bool,
}

/// The network of the supplement's Table 1, and the published script's training.
pub(super) fn preset() -> (ModelConfig, TrainConfig) {
    (ModelConfig::mnist(), TrainConfig::images())
}

/// c of the small models, 10,000 times the published one: with it walks end where sampling starts.
const WIDE_NOISE: f64 = 0.1;

/// f such that noise of c begins with `c / 2 sqrt(ln 2)` at temperature 1 and ends, after `steps`, with
/// the deviation of the published start, 2.
fn to_the_start(noise: f64, steps: usize) -> f64 {
    let first = 0.5 * noise * LN_2.sqrt();
    (2.0 / first).powf(2.0 / (steps.max(2) - 1) as f64)
}

/// f such that `steps` temperatures end where 30 doubling ones do.
fn as_hot_as_published(steps: usize) -> f64 {
    2_f64.powf(29.0 / (steps.max(2) - 1) as f64)
}

/// The model at a scale.
pub(super) fn training(scale: Scale) -> TrainSettings {
    let (model, train) = preset();
    let paper = TrainSettings::of(&model, &train, [50_000, 10_000, 10_000]);
    match scale {
        Scale::Paper => TrainSettings { follow_every: 10, ..paper },
        Scale::Quick => TrainSettings {
            train_examples: 20_000,
            validation_examples: 1_000,
            test_examples: 1_000,
            channels: vec![8, 16],
            hidden: vec![128; 4],
            steps: 10,
            factor: to_the_start(WIDE_NOISE, 10),
            noise: WIDE_NOISE,
            epochs: 8,
            batch_size: 100,
            learning_rate: 2e-3,
            last_learning_rate: 1e-5,
            warmup: 20,
            statistics_examples: 2_000,
            ..paper
        },
        Scale::Smoke => TrainSettings {
            train_examples: 200,
            validation_examples: 50,
            test_examples: 50,
            channels: vec![2, 4],
            hidden: vec![16; 4],
            steps: 4,
            factor: to_the_start(WIDE_NOISE, 4),
            noise: WIDE_NOISE,
            epochs: 2,
            batch_size: 50,
            learning_rate: 1e-3,
            last_learning_rate: 1e-3,
            followed: 50,
            statistics_examples: 100,
            ..paper
        },
    }
}

/// The small models with the published noise and hottest temperature.
fn published_noise(scale: Scale) -> TrainSettings {
    let settings = training(scale);
    let (model, train) = preset();
    let noise = TrainSettings::of(&model, &train, [0; 3]).noise;
    TrainSettings { noise, factor: as_hot_as_published(settings.steps), ..settings }
}

fn resolve(request: &Request, train: fn(Scale) -> TrainSettings) -> Result<Settings> {
    let settings: Settings = request.settings(&Settings {
        train: train(request.scale),
        classifier_samples: request.scale.pick(50, 1_000, 5_000),
        half_precision: false,
    })?;
    validate(&settings.train)?;
    at_least(&[("classifier_samples", settings.classifier_samples, 20)])?;
    Ok(settings)
}

/// Can the model of samples be trained with these?
///
/// # Errors
/// As [`TrainSettings::validate`].
pub(super) fn validate(settings: &TrainSettings) -> Result<()> {
    let (model, train) = preset();
    settings.validate(&model, &train, settings.digits())
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request, training)?)
}

pub(super) fn settings_published(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request, published_noise)?)
}

pub(super) fn ready(request: &Request) -> Result<()> {
    let images = Images::mnist(request, &resolve(request, training)?.train.cut())?;
    digit_scores::ready(request, images.event())
}

/// The shared model of the experiments with samples.
pub(super) fn trained(
    run: &mut Run<'_>,
    settings: &TrainSettings,
    stage: &str,
) -> Result<(Images, Trained)> {
    let images = Images::mnist(run.request, &settings.cut())?;
    let (model, config) = preset();
    let event = images.event();
    let trained = train(run, &images, &settings.recipe(&model, &config, event), stage)?;
    trained.model.save(&run.dir().checkpoints().join("model"))?;
    run.heading("Model");
    run.paragraph(
        "An operator without a density: it minimises the reconstruction error of the earlier state, \
         clips states to [0, 1] and hardly adds noise, as the published code of images does. It gives \
         pictures and never nats.",
    );
    run.paragraph(noise_sentence(settings));
    pictures::training(run, &trained, &settings.sentence(event), "")?;
    Ok((images, trained))
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request, training)?;
    show(run, &settings, true)
}

pub(super) fn run_published(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request, published_noise)?;
    show(run, &settings, false)
}

/// Everything about the model; `ordered`, if the samples should be the better digits the longer the
/// chain.
fn show(run: &mut Run<'_>, settings: &Settings, ordered: bool) -> Result<()> {
    let (images, mut trained) = trained(run, &settings.train, "train")?;
    if settings.half_precision {
        let saved = run.dir().checkpoints().join("model");
        trained.model.save_half(&saved)?;
        trained.model = WalkbackModel::load(&saved, &run.request.device)?;
    }
    learning(run, &trained, settings.train.objective);
    let (model, event) = (&trained.model, images.event());
    let options = SampleOptions::of(model);
    run.heading("Chains");
    pictures::heating(run, &images, model, "")?;
    pictures::cooling(run, event, model, &options, "")?;
    let seed = run.request.stream().child("generate");
    let found = Samples::generate(model, settings.classifier_samples.max(100), &options, seed)?;
    pixels(run, &found)?;
    let sheet = found.means.narrow(0, 0, 100)?;
    samples_sheet(run, &images, &sheet, options.steps + options.extra)?;
    neighbours(run, &images, &sheet)?;
    let n = settings.classifier_samples;
    scores(run, &images, &found, n, ordered)
}

/// How far the noise of a walk reaches, beside where sampling starts.
fn noise_sentence(settings: &TrainSettings) -> String {
    let first = 0.5 * settings.noise * LN_2.sqrt();
    let last = first * settings.factor.powf((settings.steps as f64 - 1.0) / 2.0);
    format!(
        "Noise: c = {:.1e}, so an untrained step adds a deviation of {} at temperature 1 and of {} at \
         the last one; sampling starts from N(0.5, 2^2), clipped. With the published c = 1e-5 and 30 \
         doubling temperatures the last step adds 0.096: no walk comes near where sampling starts, and \
         what the network makes of it is extrapolation. The small models have c = 0.1 and a ladder \
         that ends at deviation 2; `mnist-published-noise` shows the published one.",
        settings.noise,
        format_number(first),
        format_number(last)
    )
}

/// Did training teach anything?
fn learning(run: &mut Run<'_>, trained: &Trained, objective: Objective) {
    let [Some(first), Some(last)] = [trained.curve.first(), trained.curve.last()] else { return };
    let metric = Metric::new("walk_loss_last_epoch", last.loss, "squared error of a walk");
    run.metric(metric.setting(
        "target",
        match objective {
            Objective::SelfReconstruct => "self-reconstruct",
            _ => "walkback",
        },
    ));
    if run.request.scale != Scale::Smoke {
        run.check(Check::new(
            "the loss of a walk falls",
            last.loss < first.loss,
            format!("from {:.2} to {:.2}", first.loss, last.loss),
        ));
    }
}

fn pixels(run: &mut Run<'_>, found: &Samples) -> Result<()> {
    let (low, high) = extremes(&found.states)?;
    run.check(Check::new(
        "samples are pixels",
        low >= 0.0 && high <= 1.0 && finite(&found.means)?,
        format!("from {low:.3} to {high:.3}"),
    ));
    Ok(())
}

/// The digit networks on samples, one step, noise; the shipped model of infusion training beside them.
fn scores(
    run: &mut Run<'_>,
    images: &Images,
    found: &Samples,
    n: usize,
    ordered: bool,
) -> Result<()> {
    let cut = |x: &candle_core::Tensor| x.narrow(0, 0, n);
    let (samples, one_step, noise) =
        (cut(&found.means)?, cut(&found.one_step)?, cut(&found.noise)?);
    let sets = [("samples", &samples), ("one_step", &one_step), ("noise", &noise)];
    let infusion = infusion::shipped_means(run, n)?;
    let shipped: Vec<_> = infusion.iter().map(|means| ("infusion_checkpoint", means)).collect();
    let (promised, found) = if ordered { (&sets[..], &sets[..0]) } else { (&sets[..0], &sets[..]) };
    let beside: Vec<_> = found.iter().chain(&shipped).copied().collect();
    digit_scores(run, images, promised, &beside)?;
    if !shipped.is_empty() {
        run.paragraph(
            "The row of infusion training is of `checkpoints/infusion-mnist`, which was trained for \
             longer, after twice the steps of its training.",
        );
    }
    Ok(())
}
