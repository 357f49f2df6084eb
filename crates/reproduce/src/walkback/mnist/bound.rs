//! Section 5.1 of the supplement: lower bound and importance-sampling estimate of the MNIST model.

pub(in super::super) mod likelihood;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use walkback::{ModelConfig, SampleOptions, TrainConfig};

use self::likelihood::{importance_sampling, lower_bound, parzen_window};

use super::{
    super::{
        settings::{TrainSettings, at_most_test},
        training::{Trained, train},
    },
    pictures::{self, Samples},
};
use crate::{
    digit_scores::{self, digit_scores},
    error::Result,
    images::Images,
    limits::{at_least, bad},
    neighbours::samples_sheet,
    request::{Request, Scale},
    run::Run,
    run_dir::settings_table,
};

/// How much work the estimates are.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Settings {
    #[serde(flatten)]
    train: TrainSettings,
    /// Test images in the lower bound.
    bound_images: usize,
    /// Paths for each of them.
    bound_chains: usize,
    /// Test images in the importance-sampling estimates.
    is_images: usize,
    /// Numbers of paths whose estimates are reported, ascending.
    is_chains: Vec<usize>,
    /// Repetitions of the importance-sampling estimates with fresh paths.
    is_repeats: usize,
    /// Generated means in the Parzen window and before the digit networks.
    samples: usize,
}

/// The first of two recorded command lines of the published code.
pub(super) fn preset() -> (ModelConfig, TrainConfig) {
    (ModelConfig::mnist_mlp_short(), TrainConfig::mnist_mlp_short())
}

/// The model at a scale.
pub(super) fn training(scale: Scale) -> TrainSettings {
    let (model, train) = preset();
    let paper = TrainSettings {
        select: true,
        ..TrainSettings::of(&model, &train, [50_000, 10_000, 10_000])
    };
    match scale {
        Scale::Paper => TrainSettings { follow_every: 10, ..paper },
        Scale::Quick => TrainSettings {
            train_examples: 20_000,
            validation_examples: 1_000,
            test_examples: 1_000,
            hidden: vec![400, 400],
            epochs: 20,
            learning_rate: 1e-3,
            last_learning_rate: 1e-6,
            warmup: 100,
            followed: 500,
            statistics_examples: 10_000,
            ..paper
        },
        Scale::Smoke => TrainSettings {
            train_examples: 200,
            validation_examples: 50,
            test_examples: 50,
            pooled: true,
            hidden: vec![16, 16],
            steps: 3,
            epochs: 2,
            batch_size: 50,
            learning_rate: 1e-3,
            last_learning_rate: 1e-3,
            followed: 50,
            statistics_examples: 200,
            ..paper
        },
    }
}

/// Can the model of bounds be trained with these?
///
/// # Errors
/// As [`TrainSettings::validate`].
pub(super) fn validate(settings: &TrainSettings) -> Result<()> {
    let (model, train) = preset();
    settings.validate(&model, &train, settings.digits())
}

fn resolve(request: &Request) -> Result<Settings> {
    let scale = request.scale;
    let settings: Settings = request.settings(&Settings {
        train: training(scale),
        bound_images: scale.pick(20, 1_000, 10_000),
        bound_chains: scale.pick(2, 20, 20),
        is_images: scale.pick(10, 200, 1_000),
        is_chains: scale.pick(vec![1, 5], vec![1, 10, 100, 1_000], vec![1, 10, 100, 1_000, 20_000]),
        is_repeats: scale.pick(1, 1, 10),
        samples: scale.pick(50, 1_000, 10_000),
    })?;
    validate(&settings.train)?;
    at_least(&[
        ("bound_images", settings.bound_images, 2),
        ("bound_chains", settings.bound_chains, 1),
        ("is_images", settings.is_images, 4),
        ("is_repeats", settings.is_repeats, 1),
        ("samples", settings.samples, 20),
    ])?;
    at_most_test(&settings.train, "bound_images", settings.bound_images)?;
    at_most_test(&settings.train, "is_images", settings.is_images)?;
    let chains = &settings.is_chains;
    if chains.first().is_none_or(|k| *k == 0) || !chains.is_sorted_by(|a, b| a < b) {
        return bad("is_chains", "must be a list of ascending numbers from 1, such as [1,10]");
    }
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn ready(request: &Request) -> Result<()> {
    let images = Images::mnist(request, &resolve(request)?.train.cut())?;
    digit_scores::ready(request, images.event())
}

/// The shared model of the experiments with bounds.
pub(super) fn trained(
    run: &mut Run<'_>,
    settings: &TrainSettings,
    stage: &str,
) -> Result<(Images, Trained)> {
    let images = Images::mnist(run.request, &settings.cut())?;
    let (model, config) = preset();
    let event = images.event();
    let trained = train(run, &images, &settings.recipe(&model, &config, event), stage)?;
    let folder = if stage == "train" { "model" } else { "bound-model" };
    trained.model.save(&run.dir().checkpoints().join(folder))?;
    run.heading("Gaussian model");
    run.paragraph(
        "An operator with a learned variance, frozen normalisation moments and no clipping: its bounds \
         are bounds. Of the two recorded command lines of the published code this is the first; the \
         other one is `--set steps=10 --set factor=2 --set noise=0.001 --set mixing=0.9 --set \
         mixing_increment=-0.05`.",
    );
    pictures::training(run, &trained, &settings.sentence(event), "bound-")?;
    Ok((images, trained))
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let (images, trained) = trained(run, &settings.train, "train")?;
    let baseline = lower_bound(run, &images, &trained, &settings)?;
    importance_sampling(run, &images, &trained.model, &settings, baseline)?;
    run.heading("Chains");
    let model = &trained.model;
    pictures::heating(run, &images, model, "")?;
    let options = SampleOptions::of(model);
    pictures::cooling(run, images.event(), model, &options, "")?;
    let seed = run.request.stream().child("generate");
    let found = Samples::generate(model, settings.samples.max(100), &options, seed)?;
    samples_sheet(run, &images, &found.means.narrow(0, 0, 100)?, options.steps)?;
    parzen_window(run, &images, &found.means.narrow(0, 0, settings.samples)?)?;
    let cut = |x: &Tensor| x.narrow(0, 0, settings.samples);
    let (samples, noise) = (cut(&found.means)?, cut(&found.noise)?);
    // No order is promised: this operator is trained for its bound.
    let beside = [("samples", &samples), ("noise", &noise)];
    digit_scores(run, &images, &[], &beside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Error, testing::request};

    #[test]
    fn counts_that_nothing_can_run_with_are_bad_usage() {
        // 50 test images at smoke.
        for (key, value) in [
            ("bound_images", "51"),
            ("bound_images", "1"),
            ("is_images", "51"),
            ("is_repeats", "0"),
            ("is_chains", "[5,1]"),
        ] {
            let error = settings(&request(Scale::Smoke, &[(key, value)])).unwrap_err();
            assert!(matches!(error, Error::Usage(_)), "{error:?}");
            assert!(error.to_string().contains(&format!("--set {key}:")), "{error}");
        }
        settings(&request(Scale::Smoke, &[("bound_images", "50"), ("is_images", "50")])).unwrap();
    }
}
