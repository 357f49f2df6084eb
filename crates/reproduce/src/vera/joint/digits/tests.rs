use std::path::Path;

use super::{super::super::PAPER, *};
use crate::{request::Scale, run::execute, testing};

fn request(scale: Scale, overrides: &[(&str, &str)], out: &Path) -> Request {
    Request { models: out.join("models"), ..testing::request(scale, overrides) }
}

#[test]
fn the_whole_path_works_at_smoke() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("out");
    let request = request(Scale::Smoke, &[], temp.path());
    let results = execute(&request, &PAPER, &super::super::JEM_MNIST, &out).unwrap();
    assert!(results.passed(), "{:?}", results.checks);
    for name in [
        "accuracy_VERA__alpha_100",
        "accuracy_PCD__no_noise_on_data",
        "calibration_error_classifier",
        "auroc_averages_of_two_gradient_VERA__alpha_100",
        "refined_acceptance_with_prior_VERA__alpha_100",
        "feature_distance_raw_VERA__alpha_100",
    ] {
        let found = results.metric(name);
        assert!(found.is_some_and(|metric| metric.value >= 0.0), "{name}: {found:?}");
    }
    assert!(out.join("samples/refined-vera--alpha-100.png").is_file());
}

#[test]
fn methods_have_the_settings_of_the_specification() {
    let settings = resolve(&request(Scale::Quick, &[], Path::new(""))).unwrap();
    let methods = settings.methods();
    let names: Vec<&str> = methods.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 6, "{names:?}");
    for ((_, method), rate) in methods.iter().zip([3e-4, 1e-4, 1e-4]) {
        let Method::Vera(config) = method else { panic!("{method:?}") };
        assert!((config.energy_rate.value - rate).abs() < 1e-12);
        assert!((config.generator_rate.value - 2.0 * rate).abs() < 1e-12);
        assert!((config.entropy_weight - 1e-4).abs() < 1e-12);
    }
    let Method::Pcd(config) = &methods[4].1 else { panic!("{names:?}") };
    assert_eq!(
        (config.step_size, config.noise_scale, config.steps, config.data_noise),
        (1.0, 0.01, 20, 0.03)
    );
    for (key, value) in [("class_weights", "[0]"), ("seeds", "0"), ("refinement.samples", "1")] {
        let error = resolve(&request(Scale::Quick, &[(key, value)], Path::new(""))).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
}
