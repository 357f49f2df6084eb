//! Section 9: "online" against accumulated updates, normalisation of every step against shared.

use chains_core::nn::Gains;
use walkback::{ModelConfig, NetworkConfig, TrainConfig};

use super::{
    super::{plane::EVENT, settings::TrainSettings},
    compare::{Look, Reached, Variant, compare},
    settings::{DigitSettings, Settings, refuse_within},
};
use crate::{
    error::Result,
    request::{Request, Scale},
    results::Check,
    run::Run,
    run_dir::settings_table,
};

/// What the sentence about training says of one of them alone.
const BUT: &str = "This is the first training; the others differ as they are named.";

fn resolve(request: &Request) -> Result<Settings> {
    refuse_within(request, &["transitions_per_update"], "both rhythms are compared")?;
    Settings::resolve(request)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn ready(request: &Request) -> Result<()> {
    resolve(request)?.digits.images(request).map(drop)
}

/// The spiral's preset with the normalised layers of the mixture.
fn normalised(mut model: ModelConfig, gains: Gains) -> ModelConfig {
    let NetworkConfig { event, steps, .. } = model.network;
    let architecture = model.network.architecture;
    let network = NetworkConfig::normalised_mlp(event, Vec::new(), steps);
    model.network = NetworkConfig { architecture, dense_gains: gains, ..network };
    model
}

fn shared(mut model: ModelConfig) -> ModelConfig {
    model.network.dense_gains = Gains::Shared;
    model
}

/// With one optimiser step a transition, or one a walk.
pub(super) fn rhythm(train: &TrainSettings, online: bool) -> TrainSettings {
    let transitions_per_update = if online { 1 } else { train.steps + train.train_extra_steps };
    TrainSettings { transitions_per_update, ..train.clone() }
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    run.paragraph(
        "Every training of a set makes the same number of walks, so of gradient evaluations: K a walk. \
         Online the optimiser steps after each of them, accumulated once a walk along their sum, at \
         the same rate.",
    );
    let spiral = on_spiral(run, &settings)?;
    outcomes(run, "spiral", &spiral, [0, 1], [2, 3]);
    let digits = on_digits(run, &settings.digits)?;
    outcomes(run, "digits", &digits, [0, 1], [0, 2]);
    Ok(())
}

fn on_spiral(run: &mut Run<'_>, settings: &Settings) -> Result<Vec<Reached>> {
    let plane = &settings.spiral;
    run.heading("Spiral");
    run.paragraph(rhythm(&plane.train, true).sentence(EVENT));
    run.paragraph(BUT);
    let points = plane.points("spiral", run.request)?;
    let recipe = |model: ModelConfig, online: bool| {
        let train = rhythm(&plane.train, online);
        train.recipe(&plane.preset(model), &TrainConfig::curve(), EVENT)
    };
    let preset = ModelConfig::spiral;
    let variants = [
        ("online", recipe(preset(), true)),
        ("accumulated", recipe(preset(), false)),
        ("online, per-step norm", recipe(normalised(preset(), Gains::PerStep), true)),
        ("online, shared norm", recipe(normalised(preset(), Gains::Shared), true)),
    ];
    let look = Look {
        set: "spiral",
        samples: plane.samples.min(plane.train.test_examples),
        bound_examples: plane.bound_points,
        bound_chains: plane.bound_chains,
    };
    let variants = variants.map(|(name, recipe)| Variant { name, recipe });
    compare(run, &points, variants.into(), look)
}

fn on_digits(run: &mut Run<'_>, settings: &DigitSettings) -> Result<Vec<Reached>> {
    let images = settings.images(run.request)?;
    let event = images.event();
    run.heading("Digits");
    run.paragraph(rhythm(&settings.train, true).sentence(event));
    run.paragraph(BUT);
    let recipe = |model: &ModelConfig, online: bool| {
        rhythm(&settings.train, online).recipe(model, &DigitSettings::training(), event)
    };
    let preset = DigitSettings::model();
    let variants = [
        ("online, per-step norm", recipe(&preset, true)),
        ("accumulated, per-step norm", recipe(&preset, false)),
        ("online, shared norm", recipe(&shared(preset.clone()), true)),
    ];
    let variants = variants.map(|(name, recipe)| Variant { name, recipe });
    compare(run, &images, variants.into(), settings.look())
}

/// The claims of section 9: which variant is online and which accumulated, which has norms of every
/// step and which shared ones. Points are judged by their samples, digits by the bound, which this
/// operator is for; not by the score, which is highest where the variance is least.
fn outcomes(
    run: &mut Run<'_>,
    set: &str,
    all: &[Reached],
    [online, accumulated]: [usize; 2],
    [own, shared]: [usize; 2],
) {
    if run.request.scale == Scale::Smoke {
        return;
    }
    let mut claim = |what: &str, better: usize, other: usize| {
        let (better, other) = (&all[better], &all[other]);
        let (passed, detail) = if set == "spiral" {
            let (a, b) = (better.energy, other.energy);
            (a <= b, format!("energy distance {a:.5} against {b:.5}"))
        } else {
            let (a, b) = (better.bound.lower_bound, other.bound.lower_bound);
            (a >= b, format!("lower bound {a:.2} against {b:.2} nats"))
        };
        run.check(Check::new(format!("{set}: {what}"), passed, detail));
    };
    claim("online updates do better than accumulated ones", online, accumulated);
    claim("norms of every step do at least as well as shared ones", own, shared);
}
