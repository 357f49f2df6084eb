use std::{fs, path::Path};

use walkback::{ModelConfig, OperatorConfig, ReconstructionError};

use super::{super::PAPER, chains::selection, *};
use crate::{
    request::Scale,
    results::Results,
    testing::{elsewhere, experiment, passes, size},
};

const MODELS: [Model; 4] = [Model::Cifar10, Model::Cifar10Bound, Model::Svhn, Model::CelebA];

fn smoke(id: &str, overrides: &[(&str, &str)], out: &Path) -> Results {
    passes(&PAPER, id, elsewhere(Scale::Smoke, None, overrides), out)
}

fn model_of(model: Model, scale: Scale) -> ModelConfig {
    let settings = model.training(scale).unwrap();
    settings.model(&model.preset().unwrap(), model.event(&settings))
}

#[test]
fn the_papers_settings_build_the_supplements_models() {
    for (model, preset) in [
        (Model::Cifar10, ModelConfig::cifar10()),
        (Model::Svhn, ModelConfig::svhn()),
        (Model::CelebA, ModelConfig::celeba()),
    ] {
        assert_eq!(model_of(model, Scale::Paper), preset);
    }
    for model in MODELS {
        let settings = model.training(Scale::Paper).unwrap();
        let preset = model.preset().unwrap();
        let recipe = settings.recipe(&preset, &model.training_preset(), model.event(&settings));
        assert_eq!(recipe.model, preset);
        assert_eq!(recipe.train, model.training_preset());
        assert_eq!(recipe.train.batch_size, 100);
        let absolute = recipe.train.error == ReconstructionError::Absolute;
        assert_eq!(absolute, model == Model::Svhn);
    }
}

#[test]
fn quick_trains_the_networks_of_the_tables_on_a_ladder_with_the_same_end() {
    for model in MODELS {
        let [quick, paper] = [Scale::Quick, Scale::Paper].map(|scale| model_of(model, scale));
        assert_eq!(quick.network.architecture, paper.network.architecture);
        assert_eq!(quick.operator, paper.operator);
        if model != Model::Cifar10Bound {
            let top = quick.chain.temperatures.heating(quick.network.steps - 1);
            assert!((top / 2_f64.powi(29) - 1.0).abs() < 1e-9, "{top}");
        }
    }
    // Typed again from Table 3 of the supplement.
    let settings = Model::Cifar10.training(Scale::Quick).unwrap();
    assert_eq!(settings.channels, [64, 128, 256]);
    assert_eq!(settings.hidden, [2048; 4]);
}

#[test]
fn small_networks_have_an_eighth_of_the_width() {
    for (model, hidden) in [(Model::Cifar10, 256), (Model::Svhn, 128), (Model::CelebA, 128)] {
        let settings = model.training(Scale::Smoke).unwrap();
        assert_eq!(settings.channels, [8, 16, 32]);
        assert_eq!(settings.hidden, [hidden; 4]);
    }
}

#[test]
fn the_ladder_of_the_bound_follows_the_rule_unless_it_is_set() {
    let steps = |scale, overrides: &[(&str, &str)]| {
        let table = bits::settings(&elsewhere(scale, None, overrides)).unwrap();
        table["steps"].as_integer().unwrap()
    };
    // u = 0.009 ln 2 + 1e-4 = 0.006338; ln(0.0616 / u) = 2.2740, over ln 1.083 28.5, over ln 1.5
    // 5.6, over ln 2 3.3.
    assert_eq!(steps(Scale::Paper, &[]), 30);
    assert_eq!(steps(Scale::Quick, &[]), 7);
    assert_eq!(steps(Scale::Quick, &[("factor", "2.0")]), 5);
    assert_eq!(steps(Scale::Quick, &[("factor", "2.0"), ("steps", "9")]), 9);
    let bound = Model::Cifar10Bound.preset().unwrap();
    assert!(matches!(bound.operator, OperatorConfig::Gaussian { .. }));
    let none = elsewhere(Scale::Quick, None, &[("noise", "0.2")]);
    assert!(bits::settings(&none).is_err());
}

#[test]
fn a_selection_is_even_and_keeps_both_ends() {
    assert_eq!(selection(4), [0, 1, 2, 3]);
    assert_eq!(selection(1), [0]);
    let thirty: Vec<usize> = (0..=30).step_by(2).collect();
    assert_eq!(selection(31), thirty);
    let long = selection(41);
    assert_eq!((long.len(), long[0], long[15]), (16, 0, 40));
    assert!(long.is_sorted_by(|a, b| a < b));
}

#[test]
fn missing_data_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for (id, word) in [
        ("cifar10-samples", "data_batch_1.bin"),
        ("cifar10-bits", "data_batch_1.bin"),
        ("cifar10-scores", "data_batch_1.bin"),
        ("svhn-samples", "DIR/svhn"),
        ("celeba-samples", "img_align_celeba"),
        ("celeba-inpainting", "img_align_celeba"),
    ] {
        let experiment = experiment(&PAPER, id);
        (experiment.ready)(&elsewhere(Scale::Smoke, None, &[])).unwrap();
        for data in [None, Some(dir.path())] {
            let error = (experiment.ready)(&elsewhere(Scale::Quick, data, &[])).unwrap_err();
            assert_eq!(error.exit_status(), 2);
            assert!(error.to_string().contains(word), "{id}: {error}");
        }
    }
    // With the images there, the score lacks its network.
    for name in (1..=5).map(|i| format!("data_batch_{i}.bin")).chain(["test_batch.bin".into()]) {
        fs::write(dir.path().join(name), []).unwrap();
    }
    let mut request = elsewhere(Scale::Quick, Some(dir.path()), &[]);
    request.root = dir.path().to_owned();
    (experiment(&PAPER, "cifar10-samples").ready)(&request).unwrap();
    let message = (experiment(&PAPER, "cifar10-scores").ready)(&request).unwrap_err().to_string();
    for word in [".cache/inception/model.safetensors", "fetch inception", "`cifar10-samples`"] {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn counts_that_nothing_can_run_with_are_bad_usage() {
    for (id, key, value) in [
        ("cifar10-samples", "samples", "1"),
        ("cifar10-samples", "chains", "0"),
        // Eight test images and ten samples at smoke.
        ("cifar10-samples", "chains", "9"),
        ("svhn-samples", "chains", "11"),
        ("cifar10-samples", "followed", "0"),
        ("cifar10-samples", "batch_size", "33"),
        ("cifar10-bits", "bound_examples", "1"),
        ("cifar10-bits", "bound_examples", "9"),
        ("cifar10-bits", "bound_chains", "0"),
        ("cifar10-scores", "samples", "9"),
        ("cifar10-scores", "scored_test_examples", "9"),
        ("celeba-inpainting", "faces", "1"),
        ("celeba-inpainting", "faces", "9"),
        ("celeba-inpainting", "completions", "0"),
    ] {
        let request = elsewhere(Scale::Smoke, None, &[(key, value)]);
        let error = (experiment(&PAPER, id).settings)(&request).unwrap_err();
        assert!(matches!(error, crate::Error::Usage(_)), "{error:?}");
        assert!(error.to_string().contains(&format!("--set {key}")), "{error}");
    }
    // Averages of 2x2 pixels fit three halvings; a map without channels does not.
    (experiment(&PAPER, "cifar10-samples").settings)(&elsewhere(
        Scale::Smoke,
        None,
        &[("pooled", "true")],
    ))
    .unwrap();
    let request = elsewhere(Scale::Smoke, None, &[("channels", "[0]")]);
    let error = (experiment(&PAPER, "cifar10-samples").settings)(&request).unwrap_err();
    assert_eq!(error.exit_status(), 2);
}

#[test]
fn samples_and_chains_are_shown_and_repeat_on_synthetic_images() {
    let dir = tempfile::tempdir().unwrap();
    for (id, side, extra) in [("cifar10-samples", 32, 5), ("svhn-samples", 32, 5)] {
        let results = smoke(id, &[("samples", "21")], dir.path());
        assert!(results.checks.iter().any(|check| check.name.contains("loss")));
        let samples = dir.path().join(id).join("samples");
        // Twice enlarged, two pixels around each; three steps, then those at temperature 1.
        let cell = 2 * side + 2;
        assert_eq!(size(&samples.join("samples.png")), (10 * cell + 2, 3 * cell + 2));
        assert_eq!(size(&samples.join("neighbours.png")), (2 * cell + 2, 2 * cell + 2));
        assert_eq!(size(&samples.join("heating.png")), (4 * cell + 2, 4 * cell + 2));
        assert_eq!(size(&samples.join("cooling.png")), ((4 + extra) * cell + 2, 4 * cell + 2));
        let report = fs::read_to_string(dir.path().join(id).join("report.md")).unwrap();
        assert!(report.contains("No number is claimed at this scale"));
        assert!(report.contains("the earlier state from the later one"));
    }
    let again = tempfile::tempdir().unwrap();
    let [first, second] = [dir.path(), again.path()]
        .map(|out| smoke("cifar10-samples", &[("chains", "2")], out).metrics);
    assert_eq!(first, second);
}

#[test]
fn bits_stand_beside_what_is_recalled_and_marked_so() {
    let dir = tempfile::tempdir().unwrap();
    let results = smoke("cifar10-bits", &[], dir.path());
    for (nats, bits) in [
        ("lower_bound_test", "bits_per_dim_test"),
        ("factorial_gaussian_test", "factorial_gaussian_bits_per_dim_test"),
    ] {
        let [nats, bits] = [nats, bits].map(|name| results.metric(name).unwrap());
        let scale = 3072.0 * std::f64::consts::LN_2;
        assert!((bits.value - (8.0 - nats.value / scale)).abs() < 1e-9);
        assert!((bits.std_error.unwrap() - nats.std_error.unwrap() / scale).abs() < 1e-9);
        assert_eq!((bits.published, bits.n), (None, Some(8)));
    }
    let report = fs::read_to_string(dir.path().join("cifar10-bits/report.md")).unwrap();
    assert!(report.contains("Recalled, not verified against the printed paper"));
    assert_eq!(report.matches("recalled, not verified |").count(), 6);
}

#[test]
fn scores_name_the_missing_network_and_publish_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let results = smoke("cifar10-scores", &[], dir.path());
    assert!(results.metrics.iter().all(|metric| !metric.name.contains("score")));
    let report = fs::read_to_string(dir.path().join("cifar10-scores/report.md")).unwrap();
    for word in ["4.39 ± 0.2", "11.24", "not computed", "model.safetensors is not there"] {
        assert!(report.contains(word), "`{word}` is not in: {report}");
    }
}

#[test]
fn faces_are_completed_on_synthetic_images() {
    let dir = tempfile::tempdir().unwrap();
    smoke("celeba-inpainting", &[("completions", "3")], dir.path());
    let sheet = dir.path().join("celeba-inpainting/samples/completions.png");
    // The image, its known half, three completions; four more gaps of two behind the lead.
    assert_eq!(size(&sheet), (5 * 66 + 2 + 8, 4 * 66 + 2));
}
