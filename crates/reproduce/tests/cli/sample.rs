//! `sample`: sheets of the right size and the same bytes for the same seed; known pixels kept.

use std::{fs, path::Path};

use candle_core::{DType, Device, Tensor};
use chains_core::checkpoint::{load_tensors, save_tensors};
use image::{Rgb, RgbImage};

use super::{folder, refuses, save_model, succeeds};

/// Screen pixels of an image with its gap.
const PITCH: u32 = 28 * 2 + 2;

fn sheet(path: &Path) -> RgbImage {
    image::open(path).unwrap().to_rgb8()
}

/// The image at a row and column of a sheet of 28x28 images, pixel by pixel, `lead` columns apart.
fn cell(sheet: &RgbImage, row: u32, column: u32, lead: u32) -> RgbImage {
    let left = 2 + column * PITCH + if lead > 0 && column >= lead { 8 } else { 0 };
    RgbImage::from_fn(28, 28, |x, y| *sheet.get_pixel(left + 2 * x, 2 + row * PITCH + 2 * y))
}

/// A picture in which every shade occurs.
fn shades(path: &Path, colour: bool, side: u32) -> RgbImage {
    let picture = RgbImage::from_fn(side, side, |x, y| {
        let shade = |by: u32| ((x * 9 + y * side * by) % 256) as u8;
        if colour { Rgb([shade(1), shade(3), shade(5)]) } else { Rgb([shade(1); 3]) }
    });
    picture.save(path).unwrap();
    picture
}

#[test]
fn a_sheet_has_the_size_of_its_images_and_depends_on_the_seed_alone() {
    let dir = folder();
    let root = dir.path().display();
    save_model(&dir.path().join("m"), [1, 28, 28]);
    for (name, seed) in [("a", 0), ("b", 0), ("c", 1)] {
        let out = format!("{root}/{name}.png");
        let stdout = succeeds(&format!("sample {root}/m --seed {seed} --out {out}"));
        assert_eq!(stdout.trim(), out);
    }
    let bytes = ["a", "b", "c"].map(|n| fs::read(dir.path().join(format!("{n}.png"))).unwrap());
    assert_eq!(bytes[0], bytes[1]);
    assert_ne!(bytes[0], bytes[2]);
    // Eight by eight.
    assert_eq!(sheet(&dir.path().join("a.png")).dimensions(), (2 + 8 * PITCH, 2 + 8 * PITCH));
    // The default is twice the model's three steps.
    succeeds(&format!(
        "sample {root}/m --steps 6 --n 64 --device cpu --offline --out {root}/d.png"
    ));
    assert_eq!(fs::read(dir.path().join("d.png")).unwrap(), bytes[0]);
    succeeds(&format!("sample {root}/m --steps 3 --out {root}/d.png"));
    assert_ne!(fs::read(dir.path().join("d.png")).unwrap(), bytes[0]);
}

#[test]
fn a_chain_has_a_column_a_step_and_ends_in_the_samples() {
    let dir = folder();
    let root = dir.path().display();
    save_model(&dir.path().join("m"), [1, 28, 28]);
    succeeds(&format!("sample {root}/m --n 4 --steps 5 --out {root}/ends.png"));
    succeeds(&format!("sample {root}/m --n 4 --steps 5 --chain --out {root}/chains.png"));
    let (ends, chains) =
        (sheet(&dir.path().join("ends.png")), sheet(&dir.path().join("chains.png")));
    assert_eq!(ends.dimensions(), (2 + 2 * PITCH, 2 + 2 * PITCH));
    assert_eq!(chains.dimensions(), (2 + 5 * PITCH, 2 + 4 * PITCH));
    for chain in 0..4 {
        let end = cell(&chains, chain, 4, 0);
        assert_eq!(end, cell(&ends, chain / 2, chain % 2, 0));
        assert_ne!(end, cell(&chains, chain, 0, 0));
    }
    succeeds(&format!("sample {root}/m --chain --out {root}/chains.png"));
    let size = sheet(&dir.path().join("chains.png")).dimensions();
    assert_eq!(size, (2 + 6 * PITCH, 2 + 10 * PITCH));
}

#[test]
fn known_pixels_are_those_of_the_picture() {
    let dir = folder();
    let root = dir.path().display();
    save_model(&dir.path().join("m"), [1, 28, 28]);
    let picture = shades(&dir.path().join("in.png"), false, 28);
    let diagonal = |x: u32, y: u32| x > y;
    let mask = |x, y| Rgb([if diagonal(x, y) { 255 } else { 0 }; 3]);
    RgbImage::from_fn(28, 28, mask).save(dir.path().join("mask.png")).unwrap();
    let file = format!("{root}/mask.png");
    type Known<'a> = &'a dyn Fn(u32, u32) -> bool;
    let masks: [(&str, Known<'_>); 5] = [
        ("top", &|_, y| y < 14),
        ("bottom", &|_, y| y >= 14),
        ("left", &|x, _| x < 14),
        ("right", &|x, _| x >= 14),
        (&file, &diagonal),
    ];
    for (mask, known) in masks {
        let out = dir.path().join("out.png");
        let line = format!("sample {root}/m --inpaint {root}/in.png --mask {mask}");
        succeeds(&format!("{line} --out {}", out.display()));
        let sheet = sheet(&out);
        assert_eq!(sheet.dimensions(), (2 + 10 * PITCH + 8, 2 + PITCH));
        let cells: Vec<_> = (0..10).map(|column| cell(&sheet, 0, column, 1)).collect();
        let (masked, found) = cells.split_first().unwrap();
        let everywhere = (0..28).flat_map(|y| (0..28).map(move |x| (x, y)));
        for (x, y) in everywhere {
            if known(x, y) {
                assert!(cells.iter().all(|cell| cell.get_pixel(x, y) == picture.get_pixel(x, y)));
            } else {
                assert_eq!(masked.get_pixel(x, y), &Rgb([128; 3]), "{mask} {x} {y}");
            }
        }
        assert!(found.iter().skip(1).all(|other| *other != found[0]), "{mask}");
        assert!(found.iter().all(|other| *other != picture), "{mask}");
    }
}

#[test]
fn colour_is_kept_and_more_completions_take_more_rows() {
    let dir = folder();
    let root = dir.path().display();
    save_model(&dir.path().join("m"), [3, 8, 8]);
    let picture = shades(&dir.path().join("in.png"), true, 8);
    succeeds(&format!(
        "sample {root}/m --inpaint {root}/in.png --mask left --n 11 --out {root}/out.png"
    ));
    let sheet = sheet(&dir.path().join("out.png"));
    assert_eq!(sheet.dimensions(), (2 + 10 * 58 + 8, 2 + 2 * 58));
    for (row, column) in [(0, 0), (0, 9), (1, 0), (1, 2)] {
        let left = 2 + column * 58 + if column > 0 { 8 } else { 0 };
        for (x, y) in (0..4).flat_map(|x| (0..8).map(move |y| (x, y))) {
            let shown = sheet.get_pixel(left + 7 * x, 2 + row * 58 + 7 * y);
            assert_eq!(shown, picture.get_pixel(x, y), "{row} {column}: {x} {y}");
        }
    }
}

#[test]
fn a_model_that_cannot_be_opened_is_named_with_its_field() {
    let dir = folder();
    let root = dir.path().display();
    let model = dir.path().join("m");
    let sample = |parts: &[&str]| refuses(&format!("sample {root}/m --out {root}/s.png"), parts);
    sample(&["/m", "no such directory"]);
    fs::create_dir(&model).unwrap();
    sample(&["/m", "config.json"]);
    save_model(&model, [1, 28, 28]);
    let config = fs::read_to_string(model.join("config.json")).unwrap();
    for (from, to, parts) in [
        (
            "\"infusion\"",
            "\"nvae\"",
            ["field `method`", "`nvae`", "walkback, variational-annealing, vera, vaebm"],
        ),
        ("\"steps\": 3", "\"steps\": \"x\"", ["config.json", "network.network.steps", "string"]),
        ("\"steps\": 3", "\"steps\": 0", ["steps", "at least 1", "field"]),
        ("\"format_version\": 1", "\"format_version\": 9", ["format_version", "newer", "9"]),
        ("28", "4611686018427387904", ["event", "4611686018427387904", "numbers"]),
        ("{", "[", ["config.json", "not JSON", "line"]),
    ] {
        assert!(config.contains(from), "{config}");
        fs::write(model.join("config.json"), config.replacen(from, to, 1)).unwrap();
        sample(&parts);
    }
    fs::write(model.join("config.json"), &config).unwrap();
    fs::write(model.join("model.safetensors"), b"no tensors").unwrap();
    sample(&["model.safetensors"]);
    fs::remove_file(model.join("model.safetensors")).unwrap();
    sample(&["model.safetensors", "is not there"]);
    refuses(&format!("sample owner/name --out {root}/s.png"), &["owner/name", "offline"]);
    refuses(&format!("evaluate {root}/nothing"), &["/nothing", "no such directory"]);
    assert!(!dir.path().join("s.png").exists());
}

#[test]
fn every_tensor_that_does_not_fit_is_listed() {
    let dir = folder();
    let root = dir.path().display();
    save_model(&dir.path().join("m"), [1, 28, 28]);
    let path = dir.path().join("m/model.safetensors");
    let mut tensors = load_tensors(&path, &Device::Cpu).unwrap();
    tensors.remove("prior.running_mean").unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    tensors.insert("prior.running_var".into(), zeros(&[783]));
    tensors.insert("stranger".into(), zeros(&[1]));
    save_tensors(&path, &tensors.into_iter().collect::<Vec<_>>(), None).unwrap();
    refuses(
        &format!("sample {root}/m --out {root}/s.png"),
        &["model.safetensors", "prior.running_mean", "prior.running_var", "783", "stranger"],
    );
}

#[test]
fn pictures_masks_and_numbers_that_do_not_fit_are_refused() {
    let dir = folder();
    let root = dir.path().display();
    save_model(&dir.path().join("m"), [1, 28, 28]);
    shades(&dir.path().join("in.png"), false, 28);
    shades(&dir.path().join("small.png"), false, 20);
    fs::write(dir.path().join("text.png"), "not a picture").unwrap();
    for (rest, parts) in [
        ("--inpaint ROOT/small.png --mask top", ["small.png", "20x20", "28x28"]),
        ("--inpaint ROOT/in.png --mask ROOT/small.png", ["small.png", "20x20", "28x28"]),
        ("--inpaint ROOT/text.png --mask top", ["text.png", "PNG", "error"]),
        ("--inpaint ROOT/gone.png --mask top", ["gone.png", "cannot be read", "No such file"]),
        ("--inpaint ROOT/in.png --mask middle", ["middle", "cannot be read", "No such file"]),
        ("--inpaint ROOT/in.png", ["--mask", "required", "Usage"]),
        ("--mask top", ["--inpaint", "required", "Usage"]),
        ("--inpaint ROOT/in.png --mask top --chain", ["--chain", "--inpaint", "cannot be used"]),
        ("--n 0", ["--n", "whole number from 1", "0"]),
        ("--steps -1", ["-1", "Usage", "error"]),
        ("--device gpu", ["gpu", "cuda:N", "metal"]),
    ] {
        let rest = rest.replace("ROOT", &root.to_string());
        refuses(&format!("sample {root}/m --out {root}/s.png {rest}"), &parts);
    }
    if !cfg!(feature = "cuda") {
        let line = format!("sample {root}/m --out {root}/s.png --device cuda:0");
        refuses(&line, &["cuda:0", "--features cuda"]);
    }
    assert!(!dir.path().join("s.png").exists());
}

#[test]
fn a_sheet_that_cannot_be_written_is_named_and_nothing_is_left() {
    let dir = folder();
    let root = dir.path().display();
    save_model(&dir.path().join("m"), [1, 28, 28]);
    let before = super::contents(dir.path());
    for out in ["gone/s.png", "m", "m/config.json/s.png"] {
        refuses(&format!("sample {root}/m --out {root}/{out}"), &["--out", out]);
    }
    assert_eq!(super::contents(dir.path()), before);
}
