//! `evaluate`: the numbers of a reproduction again, and what it refuses.

use std::{fs, path::Path};

use reproduce::results::{Metric, Results};

use super::{folder, refuses, save_digits, save_model, succeeds, words};

/// Not one of the program's own types: the file is a contract.
#[derive(serde::Deserialize)]
struct File {
    metrics: Vec<Metric>,
}

pub(super) fn metrics(path: &Path) -> Vec<Metric> {
    serde_json::from_slice::<File>(&fs::read(path).unwrap()).unwrap().metrics
}

#[test]
fn the_numbers_of_a_reproduction_come_out_again() {
    let dir = folder();
    let root = dir.path().display();
    succeeds(&format!(
        "reproduce infusion --experiment mnist-likelihood --scale smoke --seed 3 --out {root}/run"
    ));
    let results = Results::load(&dir.path().join("run/results.json")).unwrap();
    // Bits per dimension are left out: the smoke model is pooled, where a run does not report them.
    for (metric, set, name) in [
        ("lower-bound", "--set images=20 --set chains=2", "lower_bound_test"),
        ("importance-sampling", "--set images=10 --set chains=5", "importance_sampling_test"),
        ("parzen", "--set images=50 --set samples=100", "parzen_samples"),
    ] {
        let line = format!("evaluate {root}/run/checkpoints/model --seed 3 --metric {metric}");
        let table = succeeds(&format!("{line} {set} --json {root}/m.json"));
        assert!(table.starts_with(metric) && table.lines().count() == 1, "{table}");
        let found = &metrics(&dir.path().join("m.json"))[..];
        let [found] = found else { panic!("{found:?}") };
        // The last of several: the one with the most chains.
        let expected = results.metrics.iter().rfind(|metric| metric.name == name).unwrap();
        assert_eq!(found.name, metric);
        assert_eq!(found.value.to_bits(), expected.value.to_bits(), "{metric}");
        assert_eq!((found.n, &found.unit), (expected.n, &expected.unit));
        assert_eq!(found.settings["pooled"], true);
    }
}

#[test]
fn a_seed_decides_every_bit_and_the_defaults_are_three_metrics() {
    let dir = folder();
    let root = dir.path().display();
    save_model(&dir.path().join("m"), [1, 28, 28]);
    save_digits(&dir.path().join("data"), [0, 6], 28);
    for (name, seed) in [("a", 0), ("b", 0), ("c", 1)] {
        let line = format!("evaluate {root}/m --data {root}/data --seed {seed}");
        let set = "--set images=6 --set chains=3 --set samples=40 --set window=0.3";
        let table = succeeds(&format!("{line} {set} --json {root}/{name}.json"));
        let names: Vec<_> = table.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(names, ["lower-bound", "bits-per-dim", "parzen"]);
    }
    let bytes = ["a", "b", "c"].map(|n| fs::read(dir.path().join(format!("{n}.json"))).unwrap());
    assert_eq!(bytes[0], bytes[1]);
    assert_ne!(bytes[0], bytes[2]);
    let found = metrics(&dir.path().join("a.json"));
    let [bound, bits, parzen] = &found[..] else { panic!("{found:?}") };
    // -log2 of a density over 256 bins of 1 / 256 in 784 dimensions.
    let expected = 8.0 - bound.value / (784.0 * 2_f64.ln());
    assert!((bits.value - expected).abs() < 1e-9, "{bits:?} {expected}");
    assert_eq!((bound.n, &bound.settings["k"]), (Some(6), &3.into()));
    assert_eq!(
        (&parzen.settings["window"], &parzen.settings["centres"]),
        (&0.3.into(), &40.into())
    );
}

#[test]
fn means_of_pixels_have_no_bits_per_dimension() {
    let dir = folder();
    let root = dir.path().display();
    save_model(&dir.path().join("m"), [1, 14, 14]);
    save_digits(&dir.path().join("data"), [0, 6], 28);
    let line = format!("evaluate {root}/m --data {root}/data --set images=6 --set chains=3");
    let table = succeeds(&format!("{line} --set samples=40 --json {root}/a"));
    let found = metrics(&dir.path().join("a"));
    let names: Vec<_> = found.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, ["lower-bound", "parzen"]);
    assert!(found.iter().all(|metric| metric.settings["pooled"] == true));
    assert!(!table.contains("bits"), "{table}");
    for asked in ["--metric bits-per-dim", "--metric lower-bound --metric bits-per-dim"] {
        let line = format!("{line} {asked} --json {root}/b");
        refuses(&line, &["--metric bits-per-dim", "no meaning", "2x2 pixels"]);
        assert_eq!(words(&line).stderr.trim_end().lines().count(), 1);
    }
    assert!(!dir.path().join("b").exists());
}

#[test]
fn one_image_has_a_value_but_no_standard_error() {
    let dir = folder();
    let root = dir.path().display();
    save_model(&dir.path().join("m"), [1, 28, 28]);
    save_digits(&dir.path().join("data"), [0, 1], 28);
    succeeds(&format!(
        "evaluate {root}/m --data {root}/data --metric lower-bound --set images=1 --json {root}/a"
    ));
    assert_eq!(metrics(&dir.path().join("a"))[0].std_error, None);
}

#[test]
fn unknown_names_and_data_that_do_not_fit_are_refused() {
    let dir = folder();
    let root = dir.path().display();
    save_model(&dir.path().join("m"), [1, 28, 28]);
    save_model(&dir.path().join("odd"), [1, 20, 20]);
    save_digits(&dir.path().join("data"), [0, 6], 28);
    for (rest, parts) in [
        (
            "m --metric fid",
            ["fid", "lower-bound, importance-sampling, bits-per-dim, parzen", "known"],
        ),
        ("m --set image=3", ["image", "images", "window"]),
        ("m --set images=many", ["images=many", "--set", "string"]),
        ("m --set images=0", ["images=0", "--set", "at least 1"]),
        ("m --set window=-1", ["window=-1", "--set", "positive"]),
        ("m --set images", ["images", "KEY=VALUE", "error"]),
        ("m --set images=7", ["7 test images", "mnist-test", "has 6"]),
        ("m --metric parzen --set images=1", ["parzen", "points", "2"]),
        ("odd --set images=3", ["1x20x20", "1x28x28", "mnist-test"]),
        ("m --json ROOT/gone/a.json", ["--json", "gone/a.json", "cannot be written"]),
    ] {
        let rest = rest.replace("ROOT", &root.to_string());
        refuses(&format!("evaluate {root}/{rest} --data {root}/data"), &parts);
    }
}
