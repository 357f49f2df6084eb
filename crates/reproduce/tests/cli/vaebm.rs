//! Models of VAEBM in `reproduce`, `sample` and `evaluate`.

use std::{fs, path::Path};

use candle_core::Device;
use chains_core::Seed;
use image::RgbImage;
use reproduce::results::Results;
use vaebm::{
    ChainConfig, ConvEnergyConfig, EnergyConfig, EnergyModel, NvaeConfig, NvaeModel, Potential,
    VaebmModel,
};

use super::{evaluate, folder, refuses, succeeds};

/// Screen pixels of an image of side 32 with its gap.
const PITCH: u32 = 32 * 2 + 2;

/// A model of framed digits, or of colours, with chains of four steps.
fn save_vaebm(dir: &Path, channels: usize, step_size: f64) {
    let config = NvaeConfig { channels, ..NvaeConfig::nano() };
    let energy = EnergyConfig::Convolutional(ConvEnergyConfig::mnist(channels, 2));
    let autoencoder = NvaeModel::new(&config, Seed::new(1), &Device::Cpu).unwrap();
    let energy = EnergyModel::new(energy, Seed::new(2), &Device::Cpu).unwrap();
    let chains = ChainConfig { steps: 4, step_size };
    let model = VaebmModel::new(autoencoder, energy, chains, Potential::Official).unwrap();
    model.save(dir).unwrap();
}

fn sheet(path: &Path) -> RgbImage {
    image::open(path).unwrap().to_rgb8()
}

/// The image at a row and column of a sheet, pixel by pixel.
fn cell(sheet: &RgbImage, row: u32, column: u32) -> Vec<u8> {
    let at =
        |x: u32, y: u32| sheet.get_pixel(2 + column * PITCH + 2 * x, 2 + row * PITCH + 2 * y)[0];
    (0..32).flat_map(|y| (0..32).map(move |x| at(x, y))).collect()
}

#[test]
fn sheets_of_any_number_of_steps_begin_at_the_same_noise() {
    let dir = folder();
    let root = dir.path().display();
    // Steps so small that chains stay where they begin.
    save_vaebm(&dir.path().join("m"), 1, 1e-10);
    for (name, options) in [("zero", "--steps 0"), ("four", ""), ("other", "--steps 0 --seed 1")] {
        succeeds(&format!("sample {root}/m --n 9 {options} --out {root}/{name}.png"));
    }
    let [zero, four, other] =
        ["zero", "four", "other"].map(|name| sheet(&dir.path().join(format!("{name}.png"))));
    assert_eq!(zero.dimensions(), (2 + 3 * PITCH, 2 + 3 * PITCH));
    let away = |a: &RgbImage, b: &RgbImage| {
        a.iter().zip(b.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    };
    // A level may round the other way.
    assert!(away(&zero, &four) <= 1 && away(&zero, &other) > 1);
}

#[test]
fn a_chain_is_shown_from_its_start_to_the_sample() {
    let dir = folder();
    let root = dir.path().display();
    save_vaebm(&dir.path().join("m"), 1, 1e-2);
    for (name, options) in [
        ("starts", "--n 3 --steps 0"),
        ("ends", "--n 3 --steps 20"),
        ("chains", "--n 3 --steps 20 --chain"),
        ("usual", "--chain"),
        ("none", "--chain --n 2 --steps 0"),
    ] {
        succeeds(&format!("sample {root}/m {options} --out {root}/{name}.png"));
    }
    let [starts, ends, chains, usual, none] = ["starts", "ends", "chains", "usual", "none"]
        .map(|name| sheet(&dir.path().join(format!("{name}.png"))));
    // Every third of twenty steps, the start and the end.
    assert_eq!(chains.dimensions(), (2 + 8 * PITCH, 2 + 3 * PITCH));
    for (row, place) in [(0, (0, 0)), (1, (0, 1)), (2, (1, 0))] {
        assert_eq!(cell(&chains, row, 0), cell(&starts, place.0, place.1));
        assert_eq!(cell(&chains, row, 7), cell(&ends, place.0, place.1));
        assert_ne!(cell(&chains, row, 7), cell(&chains, row, 0));
    }
    assert_eq!(usual.dimensions(), (2 + 5 * PITCH, 2 + 10 * PITCH));
    assert_eq!(none.dimensions(), (2 + PITCH, 2 + 2 * PITCH));
}

#[test]
fn the_scores_of_a_reproduction_come_out_again() {
    let dir = folder();
    let root = dir.path().display();
    succeeds(&format!(
        "reproduce vaebm --experiment mnist --scale smoke --seed 2 --out {root}/run"
    ));
    let results = Results::load(&dir.path().join("run/results.json")).unwrap();
    let model = format!("{root}/run/checkpoints/model");
    for (steps, name) in [("", "vaebm"), ("--set steps=0", "autoencoder")] {
        let table = succeeds(&format!(
            "evaluate {model} --seed 2 --set samples=8 {steps} --json {root}/m.json"
        ));
        assert!(table.contains("mnist-fid") && table.contains("8 images"), "{table}");
        let found = evaluate::metrics(&dir.path().join("m.json"));
        for (metric, own) in found.iter().zip(["mnist_fid", "classifier_score"]) {
            let want = results.metric(&format!("{own}_{name}")).unwrap();
            assert_eq!(metric.value.to_bits(), want.value.to_bits(), "{name} {own}");
        }
    }
    let one = format!("evaluate {model} --set samples=8 --metric classifier-score");
    assert_eq!(succeeds(&one).lines().count(), 1);
}

#[test]
fn what_such_a_model_cannot_do_is_said() {
    let dir = folder();
    let root = dir.path().display();
    save_vaebm(&dir.path().join("m"), 1, 1e-2);
    save_vaebm(&dir.path().join("rgb"), 3, 1e-2);
    save_vaebm(&dir.path().join("wild"), 1, 1e38);
    super::save_model(&dir.path().join("chain"), [1, 28, 28]);
    let out = format!("--out {root}/s.png");
    RgbImage::new(32, 32).save(dir.path().join("in.png")).unwrap();
    refuses(
        &format!("sample {root}/m --inpaint {root}/in.png --mask top {out}"),
        &["--inpaint", "vaebm"],
    );
    refuses(&format!("sample {root}/m --steps x {out}"), &["--steps", "x"]);
    refuses(&format!("sample {root}/wild {out}"), &["--steps 4", "ran away"]);
    refuses(&format!("sample {root}/chain --steps 0 {out}"), &["--steps 0", "one step or more"]);
    succeeds(&format!("sample {root}/rgb --n 2 {out}"));
    for (rest, parts) in [
        ("rgb", vec!["3x32x32", "--reference", "--samples"]),
        ("m --metric lower-bound", vec!["lower-bound", "mnist-fid", "classifier-score"]),
        ("m --set samples=1", vec!["samples", "at least 2"]),
        ("m --set images=4", vec!["images", "samples", "steps"]),
        ("m --set samples=9000", vec!["9000"]),
        ("m --reference x", vec!["--reference", "not both"]),
        ("m --scores s.csv", vec!["--scores", "vera"]),
    ] {
        refuses(&format!("evaluate {root}/{rest}"), &parts);
    }
    let config = dir.path().join("m/config.json");
    let text = fs::read_to_string(&config).unwrap();
    for (from, to, parts) in [
        ("\"step_size\": 0.01", "\"step_size\": -1", vec!["step_size"]),
        ("\"official\"", "\"other\"", vec!["network.potential", "other"]),
        ("\"groups\"", "\"group\"", vec!["network.autoencoder", "group"]),
    ] {
        assert!(text.contains(from), "{text}");
        fs::write(&config, text.replacen(from, to, 1)).unwrap();
        refuses(&format!("sample {root}/m {out}"), &parts);
    }
}
