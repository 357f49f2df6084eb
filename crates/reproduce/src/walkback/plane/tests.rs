use std::fs;

use walkback::{ModelConfig, TrainConfig};

use super::{super::PAPER, mixture::MixtureSettings, *};
use crate::{
    error::Error,
    registry::Experiment,
    request::Scale,
    testing::{request, smoke},
};

pub(in crate::walkback) fn experiment(id: &str) -> &'static Experiment {
    PAPER.experiments.iter().find(|e| e.id == id).unwrap()
}

#[test]
fn the_papers_settings_build_the_papers_operators_and_trainings() {
    let curve = PlaneSettings::curve(Scale::Paper);
    for preset in [ModelConfig::spiral(), ModelConfig::circle()] {
        let recipe = curve.recipe(preset.clone(), &TrainConfig::curve());
        assert_eq!((recipe.model, recipe.train), (preset, TrainConfig::curve()));
    }
    // Typed again from the definition: experiments 1 and 3.
    let train = &curve.train;
    assert_eq!((train.train_examples, train.batch_size, train.steps), (20_000, 5_000, 30));
    assert_eq!((train.hidden.as_slice(), train.transitions_per_update), (&[4096; 2][..], 30));
    assert!((train.factor - 1.1).abs() < 1e-12 && (train.learning_rate - 1e-4).abs() < 1e-12);
    let mixture = MixtureSettings::of(Scale::Paper).plane;
    let recipe = mixture.recipe(ModelConfig::mixture(), &TrainConfig::mixture());
    assert_eq!((recipe.model, recipe.train), (ModelConfig::mixture(), TrainConfig::mixture()));
    assert_eq!((mixture.train.train_examples, mixture.train.batch_size), (20_000, 2_500));
}

#[test]
fn narrow_layers_begin_with_sums_of_the_published_size() {
    let quick = PlaneSettings::curve(Scale::Quick);
    // 128 units of variance s^2 add up to 4096 of 0.01^2.
    let deviation = quick.weight_deviation;
    assert!((128.0 * deviation * deviation - 4096.0 * 1e-4).abs() < 1e-3);
    let recipe = quick.recipe(ModelConfig::spiral(), &TrainConfig::curve());
    let walkback::DenseInit::Normal { stdev } = recipe.model.network.dense_init else {
        panic!("the published layers begin normal");
    };
    assert!((stdev - deviation).abs() < 1e-12);
}

#[test]
fn chains_on_the_curves_are_drawn_and_scored() {
    let dir = tempfile::tempdir().unwrap();
    for id in ["spiral", "circle"] {
        let results = smoke(&PAPER, id, &[], dir.path());
        for name in [
            "median_distance_samples",
            "median_distance_start",
            "energy_distance_samples",
            "energy_distance_heated_to_start",
            "covariance_xy_samples",
            "lower_bound_test",
        ] {
            assert!(results.metric(name).is_some(), "{id} has no {name}");
        }
        // Only the spiral has a density.
        assert_eq!(results.metric("log_density_truth_test").is_some(), id == "spiral");
        let plots = dir.path().join(id).join("plots");
        // Four steps, every one: data or start, four states, and the other law.
        for name in ["heating.svg", "cooling.svg"] {
            let svg = fs::read_to_string(plots.join(name)).unwrap();
            assert_eq!(svg.matches("<circle").count(), 6 * 50, "{name}");
        }
        assert!(plots.join("samples.svg").is_file() && plots.join("bound.svg").is_file());
        assert!(dir.path().join(id).join("checkpoints/model/model.safetensors").is_file());
    }
    let again = tempfile::tempdir().unwrap();
    let (first, second) =
        (smoke(&PAPER, "spiral", &[], dir.path()), smoke(&PAPER, "spiral", &[], again.path()));
    assert_eq!(first.metrics, second.metrics);
}

#[test]
fn extra_steps_have_a_panel_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    smoke(&PAPER, "circle", &[("extra_steps", "3")], dir.path());
    let svg = fs::read_to_string(dir.path().join("circle/plots/cooling.svg")).unwrap();
    assert!(svg.contains("3 more at T = 1"));
    assert_eq!(svg.matches("<circle").count(), 7 * 50);
}

#[test]
fn every_training_of_the_mixture_is_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "mixture", &[("repetitions", "2")], dir.path());
    let mut found = Vec::new();
    for kind in ["per_step", "shared", "none"] {
        for repetition in 0..2 {
            let metric = results.metric(&format!("energy_distance_samples_{kind}_{repetition}"));
            found.push(metric.unwrap().value);
            assert!(results.metric(&format!("modes_hit_{kind}_{repetition}")).is_some());
        }
    }
    found.sort_by(f64::total_cmp);
    assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{found:?}");
    // The entropy of nine round Gaussians far apart: ln 9 + 1 + ln 2 pi + 2 ln 0.05, within five
    // standard errors of 50 points.
    let truth = results.metric("log_density_truth_test").unwrap().value;
    assert!((truth - 0.956).abs() < 5.0 / 50_f64.sqrt(), "{truth}");
}

#[test]
fn settings_that_nothing_can_run_with_are_bad_usage() {
    for (id, key, value) in [
        ("spiral", "samples", "1"),
        ("spiral", "bound_points", "1"),
        ("spiral", "bound_points", "101"),
        ("circle", "bound_chains", "0"),
        ("circle", "shown", "0"),
        ("circle", "batch_size", "1"),
        ("circle", "pooled", "true"),
        ("spiral", "channels", "[4]"),
        ("mixture", "repetitions", "0"),
        ("mixture", "epochs", "0"),
    ] {
        let error = (experiment(id).settings)(&request(Scale::Smoke, &[(key, value)])).unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error:?}");
        assert!(error.to_string().contains(&format!("--set {key}")), "{error}");
    }
    let error = (experiment("spiral").settings)(&request(Scale::Smoke, &[("factor", "1.0")]));
    assert!(error.unwrap_err().to_string().contains("factor"));
}
