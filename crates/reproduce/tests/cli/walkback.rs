//! Models of variational walkback in `sample` and `evaluate`, and a resumed training.

use std::{fs, path::Path, process::Stdio};

use candle_core::{DType, Device};
use chains_core::{Noise, Seed};
use image::{Rgb, RgbImage};
use reproduce::results::Results;
use walkback::{ModelConfig, NetworkConfig, WalkbackModel, freeze};

use super::{
    contents, evaluate, folder, program, refuses,
    resume::{kill_after, losses, metrics, newest_state},
    save_digits, succeeds,
};

/// Three cooling steps and two at temperature 1.
const STEPS: u32 = 5;
/// Screen pixels of an image with its gap.
const PITCH: u32 = 28 * 2 + 2;

/// A reconstructing model with random weights.
fn save_reconstructing(dir: &Path) {
    let mut config = ModelConfig::mnist();
    let network = NetworkConfig::conv([1, 28, 28], vec![2, 3], vec![8, 8], 3);
    (config.network, config.chain.extra_steps) = (network, 2);
    WalkbackModel::new(config, Seed::new(1), &Device::Cpu).unwrap().save(dir).unwrap();
}

/// A Gaussian one, with moments stored and the start fitted.
fn save_gaussian(dir: &Path) {
    let network = NetworkConfig::normalised_mlp([1, 28, 28], vec![8, 8], 3);
    let config = ModelConfig::gaussian(network, [0.01, 1e-4], 2.0);
    let model = WalkbackModel::new(config, Seed::new(1), &Device::Cpu).unwrap();
    let mut noise = Seed::new(2).host_noise();
    let x = noise.uniform(&(20, 784).into(), DType::F32, &Device::Cpu).unwrap();
    freeze(&model, &x, 20, &mut noise, &mut |_| Ok(())).unwrap();
    model.save(dir).unwrap();
}

fn sheet(path: &Path) -> RgbImage {
    image::open(path).unwrap().to_rgb8()
}

fn cell(sheet: &RgbImage, row: u32, column: u32) -> RgbImage {
    let (left, top) = (2 + column * PITCH, 2 + row * PITCH);
    RgbImage::from_fn(28, 28, |x, y| *sheet.get_pixel(left + 2 * x, top + 2 * y))
}

#[test]
fn a_chain_that_shares_its_batch_does_not_depend_on_how_many_are_wanted() {
    let dir = folder();
    let root = dir.path().display();
    save_reconstructing(&dir.path().join("m"));
    for (name, options) in [("four", "--n 4"), ("nine", "--n 9"), ("other", "--n 4 --seed 1")] {
        succeeds(&format!("sample {root}/m {options} --out {root}/{name}.png"));
    }
    let [four, nine, other] =
        ["four", "nine", "other"].map(|name| sheet(&dir.path().join(format!("{name}.png"))));
    assert_eq!(four.dimensions(), (2 + 2 * PITCH, 2 + 2 * PITCH));
    let of = |sheet: &RgbImage, at: u32, columns: u32| cell(sheet, at / columns, at % columns);
    for at in 0..4 {
        assert_eq!(of(&four, at, 2), of(&nine, at, 3));
        assert_ne!(of(&four, at, 2), of(&other, at, 2));
    }
}

#[test]
fn chains_have_the_steps_of_cooling_and_further_ones() {
    let dir = folder();
    let root = dir.path().display();
    save_reconstructing(&dir.path().join("m"));
    save_gaussian(&dir.path().join("g"));
    for (model, steps) in [("m", STEPS), ("g", 3)] {
        let line = format!("sample {root}/{model} --chain --n 2 --out {root}/chain.png");
        succeeds(&line);
        let size = |steps: u32| (2 + steps * PITCH, 2 + 2 * PITCH);
        assert_eq!(sheet(&dir.path().join("chain.png")).dimensions(), size(steps));
        succeeds(&format!("{line} --steps 7"));
        assert_eq!(sheet(&dir.path().join("chain.png")).dimensions(), size(7));
        refuses(&format!("{line} --steps 2"), &["--steps 2", "cools in 3 steps", "temperature 1"]);
    }
}

#[test]
fn known_pixels_are_those_of_the_picture() {
    let dir = folder();
    let root = dir.path().display();
    let picture = RgbImage::from_fn(28, 28, |x, y| Rgb([((x * 9 + y * 28) % 256) as u8; 3]));
    picture.save(dir.path().join("p.png")).unwrap();
    save_reconstructing(&dir.path().join("m"));
    save_gaussian(&dir.path().join("g"));
    for model in ["m", "g"] {
        let options = format!("--inpaint {root}/p.png --mask left --n 2 --out {root}/s.png");
        succeeds(&format!("sample {root}/{model} {options}"));
        let sheet = sheet(&dir.path().join("s.png"));
        for (x, y) in (0..14).flat_map(|x| (0..28).map(move |y| (x, y))) {
            // One column of input, four more gaps of two.
            let left = 2 + PITCH + 8;
            assert_eq!(sheet.get_pixel(left + 2 * x, 2 + 2 * y), picture.get_pixel(x, y));
        }
    }
}

#[test]
fn a_model_without_a_density_is_scored_by_its_samples_alone() {
    let dir = folder();
    let root = dir.path().display();
    save_reconstructing(&dir.path().join("m"));
    let line = format!("evaluate {root}/m --set samples=40 --set images=50 --json {root}/m.json");
    succeeds(&line);
    let found = evaluate::metrics(&dir.path().join("m.json"));
    let names: Vec<_> = found.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, ["parzen", "mnist-fid", "classifier-score"]);
    assert!(found.iter().all(|metric| metric.settings["steps"] == STEPS));
    assert_eq!((found[1].n, &found[1].settings["n_real"]), (Some(40), &40.into()));
    refuses(
        &format!("{line} --metric lower-bound"),
        &["lower-bound", "cannot be measured", "mnist-fid"],
    );
}

#[test]
fn a_gaussian_model_has_the_scores_of_digits_too_and_a_seed_decides_every_bit() {
    let dir = folder();
    let root = dir.path().display();
    save_gaussian(&dir.path().join("g"));
    let mut found = Vec::new();
    for seed in [0, 0, 1] {
        let metrics = "--metric mnist-fid --metric lower-bound --metric bits-per-dim";
        let set = "--set samples=40 --set images=30 --set chains=3";
        succeeds(&format!("evaluate {root}/g --seed {seed} {metrics} {set} --json {root}/g.json"));
        found.push(evaluate::metrics(&dir.path().join("g.json")));
    }
    assert_eq!(found[0], found[1]);
    assert_ne!(found[0][0].value.to_bits(), found[2][0].value.to_bits());
    let [bound, bits, fid] = &found[0][..] else { panic!("{found:?}") };
    let expected = 8.0 - bound.value / 784.0 / std::f64::consts::LN_2;
    assert!((bits.value - expected).abs() < 1e-9, "{} {expected}", bits.value);
    assert_eq!((fid.name.as_str(), fid.n), ("mnist-fid", Some(40)));
}

#[test]
fn the_numbers_of_a_reproduction_come_out_again() {
    let dir = folder();
    let root = dir.path().display();
    succeeds(&format!(
        "reproduce walkback --experiment mnist-bound --scale smoke --seed 3 --out {root}/run"
    ));
    let results = Results::load(&dir.path().join("run/results.json")).unwrap();
    for (metric, set, name) in [
        ("lower-bound", "--set images=20 --set chains=2", "lower_bound_test"),
        ("importance-sampling", "--set images=10 --set chains=5", "importance_sampling_test"),
    ] {
        let line = format!("evaluate {root}/run/checkpoints/model --seed 3 --metric {metric}");
        succeeds(&format!("{line} {set} --json {root}/m.json"));
        let found = &evaluate::metrics(&dir.path().join("m.json"))[0];
        // The last of several: the one with the most paths.
        let expected = results.metrics.iter().rfind(|metric| metric.name == name).unwrap();
        assert_eq!(found.value.to_bits(), expected.value.to_bits(), "{metric}");
        assert_eq!((found.n, &found.settings["pooled"]), (expected.n, &true.into()));
    }
    // The model has 14x14 pixels, the digit networks 28x28.
    let line = format!("evaluate {root}/run/checkpoints/model --metric mnist-fid");
    refuses(&line, &["mnist-fid", "28x28", "14x14"]);
}

#[test]
fn a_killed_training_resumes_to_the_same_bits() {
    let dir = folder();
    // Large enough that an epoch has states within: the moments of the ends must come back too.
    save_digits(&dir.path().join("data"), [3_000, 100], 28);
    let line = format!(
        "reproduce walkback --experiment mnist-bound --scale smoke --data {} \
         --set train_examples=2400 --set batch_size=8 --set epochs=2 --out",
        dir.path().join("data").display()
    );
    let (killed, whole) = (dir.path().join("killed"), dir.path().join("whole"));
    succeeds(&format!("{line} {}", whole.display()));
    let mut command = program();
    command.args(line.split_whitespace()).arg(&killed).stdout(Stdio::null());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    assert!(kill_after(&mut child, &killed, 100), "too quick to be killed");
    assert!((100..600).contains(&newest_state(&killed)));
    succeeds(&format!("{line} {} --resume", killed.display()));
    assert_eq!(metrics(&killed), metrics(&whole));
    assert_eq!(losses(&killed), losses(&whole));
    let model = |dir: &Path| contents(&dir.join("checkpoints/model"));
    let bytes = |dir: &Path| model(dir).into_values().collect::<Vec<_>>();
    assert!(bytes(&killed) == bytes(&whole));
    assert!(fs::read_dir(killed.join("samples")).unwrap().count() > 0);
}
