use super::{outcome::predicted, score::resolve};
use crate::{
    request::Scale,
    testing::{request, smoke},
    vera::PAPER,
};

#[test]
fn predictions_are_those_of_the_table() {
    assert_eq!(predicted(100, 20), (Some(0.184), Some(1.37)));
    assert_eq!(predicted(10, 500), (Some(0.77), None));
    assert_eq!(predicted(7, 20), (None, None));
}

#[test]
fn every_estimator_is_measured_at_smoke() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "score-bias", &[], out.path());
    let chain = "HMC, burn-in 1";
    for name in ["importance sampling, k = 20", chain, &format!("{chain}, gradient of the code")] {
        for model in ["model", "script"] {
            assert!(results.metric(&format!("bias {name} d3 {model}")).is_some(), "{name}");
        }
    }
    let report = std::fs::read_to_string(out.path().join("score-bias/report.md")).unwrap();
    assert!(report.contains("sigma = variance (script)"));
}

#[test]
fn shifts_and_generators_are_weighed_at_smoke() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "effective-samples", &[], out.path());
    for name in ["ess_length_1", "ess_length_56.6", "ess_learned_d4", "ess_prior_d4"] {
        assert!(results.metric(name).is_some(), "{name}");
    }
    assert!(out.path().join("effective-samples/plots/figure-6.svg").is_file());
}

#[test]
fn unusable_settings_are_told() {
    for (key, value) in [("components", "[]"), ("components", "[0]"), ("proposals", "[0]")] {
        assert!(resolve(&request(Scale::Quick, &[(key, value)])).is_err(), "{key} {value}");
    }
}
