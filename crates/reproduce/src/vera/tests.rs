//! The experiments at smoke.

use super::PAPER;
use crate::testing::smoke;

#[test]
fn flows_train_by_every_method_and_are_drawn() {
    let out = tempfile::tempdir().unwrap();
    for size in ["optdigits", "mnist14"] {
        let out = out.path().join(size);
        let results = smoke(&PAPER, "nice", &[("size", size)], &out);
        for name in ["maximum likelihood", "VERA, lambda 1", "MEG", "CP-SM", "CoopNets"] {
            assert!(results.metric(&format!("log_likelihood_final_{name}")).is_some(), "{name}");
        }
        assert!(results.metric("gap_VERA, lambda 0").is_some());
        assert!(results.metric("gap_SSM").is_none());
        let run = out.join("nice");
        for file in ["samples/flow-samples.png", "samples/generator-samples.png"] {
            assert!(run.join(file).is_file(), "{file}");
        }
        let report = std::fs::read_to_string(run.join("report.md")).unwrap();
        assert!(report.contains("-791 (quoted)") && report.contains("-1138"), "{report}");
    }
}

#[test]
fn densities_of_the_plane_are_trained_by_every_method_and_drawn() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "toy-densities", &[], out.path());
    for name in ["VERA, lambda 1", "VERA, lambda 0.1", "PCD, noise 0.1"] {
        let metric = results.metric(&format!("log_likelihood_moons_{name}")).unwrap();
        assert!(metric.value < 0.0 && metric.settings["edge"].as_f64().is_some(), "{metric:?}");
    }
    let results = smoke(&PAPER, "mixture", &[], out.path());
    let found = results.metric("log_likelihood_moons_maximum likelihood").unwrap();
    // The paper's numbers stand beside ours from quick on.
    assert!(found.value < 0.0 && found.published.is_none(), "{found:?}");
    for file in ["samples/densities-moons.png", "plots/curves-moons.svg", "report.md"] {
        for id in ["toy-densities", "mixture"] {
            assert!(out.path().join(id).join(file).is_file(), "{id}: {file}");
        }
    }
}

#[test]
fn precisions_of_gaussian_energies_are_measured_for_every_weight() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "tempering", &[("entropy_weights", "[0.5, 1]")], out.path());
    for name in ["lambda0.5_gamma0", "lambda1_gamma0.1"] {
        assert!(results.metric(&format!("precision_{name}")).unwrap().value > 0.0, "{name}");
    }
}

#[test]
fn unusable_settings_are_named() {
    for (id, key, value) in [
        ("toy-densities", "sets", "[\"moon\"]"),
        ("toy-densities", "box_half", "3"),
        ("toy-densities", "box_half", "inf"),
        ("mixture", "looks", "1000"),
        ("mixture", "entropy_weights", "[-1]"),
        ("tempering", "entropy_weights", "[0]"),
    ] {
        let request = crate::testing::request(crate::request::Scale::Smoke, &[(key, value)]);
        let experiment = PAPER.experiments.iter().find(|e| e.id == id).unwrap();
        let message = (experiment.settings)(&request).unwrap_err().to_string();
        let named = message.contains(key) || message.contains("entropy_weight");
        assert!(named, "{id} {key}: {message}");
    }
}
