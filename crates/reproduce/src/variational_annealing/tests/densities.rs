//! Generators without data.

use super::super::PAPER;
use crate::testing::{request, smoke};

#[test]
fn generators_of_the_plane_are_trained_with_every_schedule_and_drawn() {
    let out = tempfile::tempdir().unwrap();
    for id in ["kidney", "banana"] {
        let results = smoke(&PAPER, id, &[], out.path());
        for name in ["none", "linear 4"] {
            for what in ["mmd2", "ksd2", "share_right", "log_z_error"] {
                let metric = results.metric(&format!("{what}_{name}")).unwrap();
                assert!(metric.value.is_finite(), "{id} {what} {name}");
            }
        }
        let run = out.path().join(id);
        for file in ["samples/dynamics-ID.png", "plots/share-ID.svg", "plots/radius-ID.svg"] {
            let file = file.replace("ID", id);
            assert!(run.join(&file).is_file(), "{file}");
        }
        let report = std::fs::read_to_string(run.join("report.md")).unwrap();
        assert!(report.contains("u^0.5, quadrature") && report.contains("positive is hotter"));
    }
}

#[test]
fn a_posterior_is_sampled_by_every_method() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "logistic-regression", &[], out.path());
    for name in ["HMC", "U-GAN", "SVGD", "MAP, alpha = 1"] {
        let metric = results.metric(&format!("log_likelihood_heart_{name}")).unwrap();
        assert!(metric.value < 0.0, "{name}");
    }
    let run = out.path().join("logistic-regression");
    assert!(run.join("plots/deviations-heart.svg").is_file());
}

#[test]
fn unusable_settings_are_named() {
    for (id, key, value) in [
        ("kidney", "looks", "1000"),
        ("banana", "samples", "1"),
        ("kidney", "rates", "[0, 1, 1]"),
        ("logistic-regression", "sets", "[\"iris\"]"),
        ("logistic-regression", "linear", "-0.5"),
        ("logistic-regression", "blocks", "-1"),
    ] {
        let request = request(crate::request::Scale::Smoke, &[(key, value)]);
        let experiment = PAPER.experiments.iter().find(|e| e.id == id).unwrap();
        let message = (experiment.settings)(&request).unwrap_err().to_string();
        let named = message.contains(key) || message.contains("lambda") || message.contains("rate");
        assert!(named, "{id} {key}: {message}");
    }
}
