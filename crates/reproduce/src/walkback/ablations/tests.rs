use walkback::{Objective, TrainConfig, Updates};

use super::{
    super::{PAPER, plane::tests::experiment},
    settings::{DigitSettings, Settings},
};
use crate::{
    error::Error,
    request::Scale,
    testing::{request, smoke},
};

#[test]
fn the_papers_settings_build_the_recorded_operator_of_digits() {
    let settings = Settings::resolve(&request(Scale::Paper, &[])).unwrap();
    let recipe =
        settings.digits.train.recipe(&DigitSettings::model(), &TrainConfig::images(), [1, 28, 28]);
    assert_eq!((recipe.model, recipe.train), (DigitSettings::model(), TrainConfig::images()));
}

#[test]
fn both_rhythms_make_the_same_walks() {
    let dir = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "updates-and-norms", &[], dir.path());
    for name in ["online", "accumulated", "online_per_step_norm", "online_shared_norm"] {
        for what in ["own_score", "walkback_score", "lower_bound_test", "energy_distance_samples"] {
            let name = format!("{what}_spiral_{name}");
            assert!(results.metric(&name).is_some(), "there is no {name}");
        }
    }
    assert!(results.metric("walkback_score_digits_accumulated_per_step_norm").is_some());
    let report = std::fs::read_to_string(dir.path().join("updates-and-norms/report.md")).unwrap();
    // Two epochs of two batches on points, one epoch of two on digits, in whichever rhythm.
    let walks = |name: &str| -> Vec<String> {
        let lines = report.lines().filter(|line| line.starts_with(&format!("| {name} |")));
        lines.map(|line| line.split('|').rev().nth(1).unwrap().trim().to_owned()).collect()
    };
    assert_eq!((walks("online"), walks("accumulated")), (vec!["4".into()], vec!["4".into()]));
    assert_eq!(walks("accumulated, per-step norm"), ["2"]);
}

#[test]
fn all_targets_and_effects_are_trained_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "targets", &[], dir.path());
    for set in ["spiral", "digits"] {
        for name in ["walkback", "self_reconstruct", "full_bound"] {
            assert!(results.metric(&format!("own_score_{set}_{name}")).is_some(), "{set} {name}");
        }
    }
    let report = std::fs::read_to_string(dir.path().join("targets/report.md")).unwrap();
    assert!(report.contains("is not the method"));
    assert!(dir.path().join("targets/samples/digits.png").is_file());
    let results = smoke(&PAPER, "temperature-effects", &[], dir.path());
    for name in ["variance", "root", "deviation"] {
        assert!(results.metric(&format!("median_distance_{name}")).is_some(), "{name}");
    }
    // Four steps: sqrt(3) as computed by hand beside the formulas.
    let ratio = results.metric("largest_ratio_of_heating_and_cooling_printed").unwrap().value;
    assert!((ratio - 3_f64.sqrt()).abs() < 1e-9, "{ratio}");
    assert!(dir.path().join("temperature-effects/plots/schedule.svg").is_file());
}

#[test]
fn what_a_comparison_decides_itself_is_refused() {
    for (id, key, value) in [
        ("updates-and-norms", "spiral.transitions_per_update", "1"),
        ("updates-and-norms", "digits.transitions_per_update", "2"),
        ("targets", "digits.objective", "walkback"),
        ("targets", "digits.samples", "1"),
        ("targets", "digits.bound_chains", "0"),
        ("targets", "spiral.followed", "0"),
        ("targets", "digits.followed", "0"),
        ("updates-and-norms", "digits.followed", "0"),
        ("temperature-effects", "followed", "0"),
    ] {
        let error = (experiment(id).settings)(&request(Scale::Smoke, &[(key, value)])).unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error:?}");
        assert!(error.to_string().contains(&format!("--set {key}")), "{error}");
    }
}

#[test]
fn variants_differ_in_what_they_are_named_after() {
    let settings = Settings::resolve(&request(Scale::Quick, &[])).unwrap();
    let online = super::updates::rhythm(&settings.digits.train, true);
    let accumulated = super::updates::rhythm(&settings.digits.train, false);
    let updates = |train: &super::super::settings::TrainSettings| {
        train.recipe(&DigitSettings::model(), &TrainConfig::images(), [1, 14, 14]).train.updates
    };
    assert_eq!((updates(&online), updates(&accumulated)), (Updates::Online, Updates::Accumulated));
    assert_eq!(settings.spiral.train.objective, Objective::Walkback);
}
