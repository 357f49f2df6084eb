//! Models of VERA in `sample` and `evaluate`, and a table of the user's own.

use std::{fs, path::Path};

use candle_core::Device;
use chains_core::Seed;
use image::{Rgb, RgbImage};
use reproduce::results::Results;
use vera::{
    EnergyConfig, GeneratorConfig, ModelConfig, VeraModel,
    config::{GeneratorActivation, Output},
};

use super::{contents, evaluate, folder, refuses, save_digits, succeeds};

/// A table of two classes apart in `x`; every fifth row has no label.
fn save_table(path: &Path, rows: usize, centre: f64) {
    let mut text = String::from("x,y,kind\n");
    for i in 0..rows {
        let kind = if i % 2 == 0 { "left" } else { "right" };
        let at = if i % 2 == 0 { -2.0 } else { 2.0 };
        let kind = if i % 5 == 4 { "" } else { kind };
        let (x, y) = (centre + at + 0.1 * (i % 7) as f64, (i % 3) as f64);
        text += &format!("{x},{y},{kind}\n");
    }
    fs::write(path, text).unwrap();
}

/// A joint energy model of ten classes of digits.
fn save_joint(dir: &Path) {
    let energy = EnergyConfig::Mlp { dim: 784, hidden: vec![8], outputs: 10, weight_norm: false };
    let generator = GeneratorConfig::Mlp {
        latent: 4,
        width: 8,
        layers: 1,
        dim: 784,
        activation: GeneratorActivation::Softplus,
        output: Output::Tanh,
    };
    let config = ModelConfig::of(energy, generator);
    VeraModel::new(config, Seed::new(1), &Device::Cpu).unwrap().save(dir).unwrap();
}

/// A flow of 8x8 pixels.
fn save_flow(dir: &Path) {
    let energy = EnergyConfig::Nice { dim: 64, hidden: 8, layers: 1 };
    let config = ModelConfig::of(energy, GeneratorConfig::softplus(4, 8, 64));
    VeraModel::new(config, Seed::new(1), &Device::Cpu).unwrap().save(dir).unwrap();
}

fn save_pictures(dir: &Path, n: u32, side: u32) {
    fs::create_dir_all(dir).unwrap();
    for k in 0..n {
        let value = |x: u32, y: u32| ((x * 31 + y * 17 + k * 47) % 256) as u8;
        let picture = RgbImage::from_fn(side, side, |x, y| Rgb([value(x, y); 3]));
        picture.save(dir.join(format!("{k}.png"))).unwrap();
    }
}

#[test]
fn a_table_of_ones_own_is_trained_scored_and_sampled() {
    let dir = folder();
    let root = dir.path().display();
    save_table(&dir.path().join("mine.csv"), 80, 0.0);
    let line = format!(
        "reproduce vera --experiment tabular --data {root}/mine.csv --scale smoke --set label=kind"
    );
    succeeds(&format!("{line} --set labels_per_class=5 --out {root}/run"));
    let results = Results::load(&dir.path().join("run/results.json")).unwrap();
    assert!(results.passed() && results.metric("accuracy").is_some());
    let lines = fs::read_to_string(dir.path().join("run/predictions.csv")).unwrap();
    assert_eq!(lines.lines().count(), 81);
    let model = format!("{root}/run/checkpoints/model");
    // The same rows give the numbers of the predictions, whatever the order of the columns.
    succeeds(&format!(
        "evaluate {model} --data {root}/mine.csv --scores {root}/s.csv --json {root}/m.json"
    ));
    let found = evaluate::metrics(&dir.path().join("m.json"));
    let names: Vec<_> = found.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, ["accuracy", "ece"]);
    assert_eq!(found[0].n, Some(64));
    let scores = fs::read_to_string(dir.path().join("s.csv")).unwrap();
    for (a, b) in lines.lines().zip(scores.lines()).skip(1) {
        let (a, b): (Vec<_>, Vec<_>) = (a.split(',').collect(), b.split(',').collect());
        assert_eq!((a[0], a[2], a[3]), (b[0], b[1], b[2]));
        assert_eq!((a[4], a[5]), (b[6], b[7]), "{a:?} {b:?}");
    }
    // Far away the model is less at home than in its data, or not; both are numbers.
    save_table(&dir.path().join("far.csv"), 30, 40.0);
    succeeds(&format!(
        "evaluate {model} --data {root}/far.csv --reference {root}/mine.csv --metric auroc \
         --json {root}/m.json"
    ));
    let found = evaluate::metrics(&dir.path().join("m.json"));
    let of: Vec<_> = found.iter().map(|metric| metric.settings["score"].clone()).collect();
    assert_eq!(of, ["log-density", "max-probability", "minus-gradient-norm"]);
    assert!(found.iter().all(|metric| (0.0..=1.0).contains(&metric.value)));
    for out in ["a", "b"] {
        succeeds(&format!("sample {model} --n 7 --out {root}/{out}.csv"));
    }
    let [a, b] = ["a", "b"].map(|out| fs::read(dir.path().join(format!("{out}.csv"))).unwrap());
    assert_eq!(a, b);
    let rows = String::from_utf8(a).unwrap();
    assert!(rows.starts_with("x,y\n") && rows.lines().count() == 8, "{rows}");
    refuses(&format!("sample {model} --out {root}/a.png"), &["tables", ".csv"]);
    refuses(&format!("evaluate {model}"), &["--data FILE.csv", "x, y"]);
    refuses(
        &format!("evaluate {model} --data {root}/mine.csv --metric log-likelihood"),
        &["log-likelihood", "up to a constant"],
    );
    refuses(
        &format!("evaluate {model} --data {root}/mine.csv --metric auroc"),
        &["auroc", "--reference"],
    );
    fs::write(dir.path().join("bad.csv"), "x,z\n1,2\n").unwrap();
    refuses(&format!("evaluate {model} --data {root}/bad.csv"), &["bad.csv", "`y`"]);
}

#[test]
fn a_table_that_does_not_do_is_refused_before_anything_is_written() {
    let dir = folder();
    let root = dir.path().display();
    save_table(&dir.path().join("mine.csv"), 20, 0.0);
    let line = format!("reproduce vera --experiment tabular --scale smoke --out {root}/run");
    let mine = format!("{line} --data {root}/mine.csv");
    refuses(&mine, &["--set label=COLUMN", "x, y, kind"]);
    refuses(&format!("{mine} --set label=sort"), &["sort", "kind"]);
    refuses(
        &format!("{mine} --set label=kind --set labels_per_class=50"),
        &["labels_per_class=50", "class `left`"],
    );
    refuses(&format!("{line} --set label=kind"), &["label", "--data FILE.csv"]);
    refuses(&format!("{mine} --set sets=[]"), &["unknown key", "labels_per_class"]);
    assert!(!dir.path().join("run").exists());
}

#[test]
fn images_are_scored_and_sampled_by_joint_models_and_flows() {
    let dir = folder();
    let root = dir.path().display();
    save_joint(&dir.path().join("joint"));
    save_flow(&dir.path().join("flow"));
    save_digits(&dir.path().join("digits"), [10, 40], 28);
    save_pictures(&dir.path().join("large"), 5, 28);
    save_pictures(&dir.path().join("small"), 6, 8);
    let json = dir.path().join("m.json");
    let line = format!("evaluate {root}/joint --json {root}/m.json");
    succeeds(&format!("{line} --data {root}/digits --reference {root}/large"));
    let found = evaluate::metrics(&json);
    let names: Vec<_> = found.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, ["accuracy", "ece", "auroc", "auroc", "auroc"]);
    assert_eq!((found[0].n, found[2].n), (Some(40), Some(45)));
    let scores = format!("evaluate {root}/joint --data {root}/large --scores {root}/s.csv");
    succeeds(&scores);
    let text = fs::read_to_string(dir.path().join("s.csv")).unwrap();
    assert!(text.lines().nth(1).unwrap().starts_with("0.png,,"), "{text}");
    succeeds(&format!("evaluate {root}/flow --data {root}/small --json {root}/m.json"));
    let found = evaluate::metrics(&json);
    assert_eq!((found[0].name.as_str(), found[0].n, found.len()), ("log-likelihood", Some(6), 1));
    let seeded = |seed: u32| {
        succeeds(&format!(
            "evaluate {root}/flow --data {root}/small --seed {seed} --json {root}/m.json"
        ));
        evaluate::metrics(&json)[0].value.to_bits()
    };
    assert_eq!(seeded(3), seeded(3));
    for (model, side) in [("joint", 28), ("flow", 8)] {
        succeeds(&format!("sample {root}/{model} --n 4 --out {root}/sheet.png"));
        let sheet = image::open(dir.path().join("sheet.png")).unwrap().to_rgb8();
        assert_eq!(sheet.width(), sheet.height());
        assert!(sheet.width() > 2 * side);
    }
    // Beside the exact samples of a flow lie those of its generator.
    assert!(dir.path().join("sheet-generator.png").is_file());
    refuses(&format!("sample {root}/joint --steps 3 --out {root}/a.png"), &["--steps", "no chain"]);
    refuses(&format!("evaluate {root}/flow --metric ece --data {root}/small"), &["no classes"]);
    refuses(&format!("evaluate {root}/flow"), &["--data FOLDER", "1x8x8"]);
    let before = contents(dir.path());
    refuses(&format!("evaluate {root}/joint --samples {root}/large"), &["and not both"]);
    assert!(before == contents(dir.path()));
}
