//! The studies at smoke: a model that was not trained.

use super::super::PAPER;
use crate::{
    error::Error,
    request::Scale,
    testing::{elsewhere, experiment, request, size, smoke},
};

#[test]
fn outliers_get_an_area_of_every_score() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "outliers", &[], out.path());
    for score in ["autoencoder", "vaebm", "minus_energy"] {
        for set in
            ["uniform_noise", "inverted", "mean_of_two_digits", "shuffled_patches", "constant"]
        {
            let area = results.metric(&format!("auroc_{score}_{set}")).unwrap();
            assert!((0.0..=1.0).contains(&area.value), "{area:?}");
        }
    }
    // Seven rows of ten images of 64 pixels.
    assert_eq!(size(&out.path().join("outliers/samples/outliers.png")), (10 * 66 + 2, 7 * 66 + 2));
}

#[test]
fn histograms_come_with_the_distance_of_their_distributions() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "histogram", &[], out.path());
    for key in ["product", "bound", "energy"] {
        let statistic = results.metric(&format!("ks_{key}")).unwrap();
        assert!((0.0..=1.0).contains(&statistic.value) && statistic.n == Some(24), "{statistic:?}");
        assert!((0.0..=1.0).contains(&results.metric(&format!("ks_p_{key}")).unwrap().value));
    }
    assert!(out.path().join("histogram/plots/histogram.svg").is_file());
}

#[test]
fn chains_on_images_stand_beside_chains_on_noise() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "step-sizes", &[], out.path());
    for key in ["start", "noise", "direct_0.0008", "direct_0.00008", "direct_0.000008"] {
        assert!(results.metric(&format!("lost_{key}")).is_some(), "{key}");
    }
    let [start, noise] =
        ["start", "noise"].map(|key| results.metric(&format!("energy_end_{key}")).unwrap().value);
    assert!((start - noise).abs() > 0.0, "{start}");
}

#[test]
fn time_is_told_for_every_number_of_steps() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "sampling-speed", &[], out.path());
    for steps in [0, 2] {
        assert!(results.metric(&format!("seconds_{steps}_steps")).unwrap().value > 0.0);
    }
}

#[test]
fn long_chains_are_looked_at_on_the_way() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "chains", &[], out.path());
    let away = results.metric("share_away").unwrap();
    assert!((0.0..=1.0).contains(&away.value), "{away:?}");
    // Start, middle, end of four chains.
    assert_eq!(size(&out.path().join("chains/samples/long-chains.png")), (3 * 58 + 2, 4 * 58 + 2));
}

#[test]
fn samples_stand_beside_their_nearest_digits() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "neighbours", &[], out.path());
    for key in ["pixels_samples", "pixels_test", "features_samples", "features_test"] {
        assert!(results.metric(&format!("nearest_{key}")).unwrap().value > 0.0);
    }
    let (width, height) = size(&out.path().join("neighbours/samples/neighbours.png"));
    assert!(width > 11 * 58 && height == 3 * 58 + 2, "{width} {height}");
}

#[test]
fn the_noise_of_cold_samples_decodes_to_them() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "low-temperature", &[], out.path());
    assert!(results.metric("round_trip_error").unwrap().value < 1e-3);
}

#[test]
fn a_missing_model_and_unusable_settings_are_named() {
    for id in ["outliers", "histogram", "sampling-speed"] {
        let error =
            (experiment(&PAPER, id).ready)(&elsewhere(Scale::Quick, None, &[])).unwrap_err();
        assert!(matches!(&error, Error::Missing(text) if text.contains("vaebm-mnist")), "{error}");
    }
    for (id, key, value) in [
        ("outliers", "draws", "0"),
        ("histogram", "bins", "0"),
        ("step-sizes", "step_sizes", "[-1.0]"),
        ("sampling-speed", "steps", "[1, 2]"),
        ("chains", "every", "0"),
        ("neighbours", "shown", "0"),
        ("low-temperature", "temperature", "0"),
    ] {
        let request = request(Scale::Smoke, &[(key, value)]);
        let message = (experiment(&PAPER, id).settings)(&request).unwrap_err().to_string();
        assert!(message.contains(key), "{id}: {message}");
    }
}
