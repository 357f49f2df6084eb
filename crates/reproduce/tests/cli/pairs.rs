//! `evaluate --reference --samples`: the golden numbers of the scores through files and options.

use std::{fs, path::Path};

use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use reproduce::results::Metric;

use super::{
    arrays::{draws, f64s, fake, npy, npz, real, save_rows},
    evaluate::metrics,
    folder, succeeds,
};

#[track_caller]
fn named<'a>(found: &'a [Metric], name: &str) -> &'a Metric {
    found.iter().find(|metric| metric.name == name).unwrap()
}

#[track_caller]
fn assert_close(found: &[Metric], name: &str, expected: f64, tolerance: f64) {
    let value = named(found, name).value;
    assert!((value - expected).abs() <= tolerance * expected.abs(), "{name}: {value} {expected}");
}

/// Evaluates what lies in a folder; `ROOT` stands for it.
#[track_caller]
fn evaluate(dir: &Path, line: &str) -> (Vec<Metric>, String) {
    let json = dir.join("m.json");
    fs::remove_file(&json).ok();
    let line = line.replace("ROOT", &dir.display().to_string());
    let table = succeeds(&format!("evaluate {line} --json {}", json.display()));
    (metrics(&json), table)
}

/// The golden sets as `real.npy` and `fake.npy`.
fn golden(dir: &Path) {
    save_rows(&dir.join("real.npy"), 8, &real());
    save_rows(&dir.join("fake.npy"), 8, &fake());
}

const ROWS: &str = "--reference ROOT/real.npy --samples ROOT/fake.npy";

#[test]
fn rows_have_the_golden_scores() {
    let dir = folder();
    golden(dir.path());
    let (found, table) = evaluate(dir.path(), &format!("{ROWS} --set bandwidth=0.7"));
    let names: Vec<&str> = found.iter().map(|metric| metric.name.as_str()).collect();
    let expected = "frechet-distance kid precision recall density coverage mmd energy-distance nearest-accuracy";
    assert_eq!(names, expected.split(' ').collect::<Vec<_>>());
    for (name, value) in [
        ("frechet-distance", 0.3690139752969119),
        ("kid", 0.33831893641310273),
        ("precision", 0.98),
        ("recall", 0.46),
        ("density", 0.991),
        ("coverage", 0.70),
        ("mmd", 0.17494265620798666),
        ("energy-distance", 0.2847002873916268),
        ("nearest-accuracy", 0.795),
    ] {
        assert_close(&found, name, value, 1e-9);
    }
    let setting = |name: &str, key: &str| named(&found, name).settings[key].clone();
    assert!((setting("mmd", "biased").as_f64().unwrap() - 0.18126998975456765).abs() < 1e-12);
    assert!(setting("mmd", "p_value").as_f64().unwrap() < 0.002);
    assert_eq!((setting("kid", "n_real"), setting("kid", "features")), (200.into(), "none".into()));
    assert_eq!(
        (setting("density", "k"), setting("density", "boundary")),
        (5.into(), "open".into())
    );
    assert!(
        (setting("coverage", "of_equal_distributions").as_f64().unwrap() - 0.969916).abs() < 1e-6
    );
    assert_eq!(
        (setting("nearest-accuracy", "real"), setting("nearest-accuracy", "fake")),
        (0.76.into(), 0.83.into())
    );
    for metric in &found {
        assert_eq!((metric.n, metric.std_error), (Some(200), None));
        for key in
            ["extractor", "preprocessing", "reference", "samples", "seed", "seconds", "version"]
        {
            assert!(metric.settings.contains_key(key), "{}: {key}", metric.name);
        }
    }
    for part in ["200 rows of 8 (f64)", "200 vs 200", "k = 5, open balls", "note: kid: 200 rows"] {
        assert!(table.contains(part), "`{part}` is not in: {table}");
    }
    assert!(!table.contains(" fid") && !table.contains("mnist"), "{table}");
}

#[test]
fn settings_change_what_they_name() {
    let dir = folder();
    golden(dir.path());
    let metric = "--metric prdc --metric kid --metric mmd";
    let set = "--set k=3 --set subset_size=50 --set subsets=7 --set mixture=true";
    let (found, _) = evaluate(dir.path(), &format!("{ROWS} {metric} {set} --set permutations=0"));
    for (name, value) in
        [("precision", 0.885), ("recall", 0.375), ("density", 0.9266666667), ("coverage", 0.555)]
    {
        assert_close(&found, name, value, 1e-9);
    }
    let kid = named(&found, "kid");
    assert_eq!((&kid.settings["subsets"], &kid.settings["subset_size"]), (&7.into(), &50.into()));
    assert!(kid.settings["spread"].as_f64().unwrap() > 0.0 && kid.std_error.is_none());
    let mmd = named(&found, "mmd");
    assert!(!mmd.settings.contains_key("p_value"), "{mmd:?}");
    assert_eq!(mmd.settings["bandwidth_rule"], "median distance within the reference");
    let closed = format!("{ROWS} --metric prdc --set k=3 --set boundary=closed");
    // Balls that hold their boundary are not smaller.
    assert!(named(&evaluate(dir.path(), &closed).0, "density").value >= 0.9266666);
}

#[test]
fn a_seed_decides_random_subsets() {
    let dir = folder();
    golden(dir.path());
    let kid = |seed: usize| {
        let line = format!("{ROWS} --metric kid --set subset_size=50 --seed {seed}");
        evaluate(dir.path(), &line).0[0].value
    };
    assert_eq!(kid(1).to_bits(), kid(1).to_bits());
    assert_ne!(kid(1).to_bits(), kid(2).to_bits());
}

#[test]
fn single_precision_in_an_archive_gives_almost_the_same() {
    let dir = folder();
    golden(dir.path());
    let single: Vec<u8> = fake().iter().flat_map(|&value| (value as f32).to_le_bytes()).collect();
    let fakes = npy("<f4", &[200, 8], &single);
    let archive = npz(&[("extra", npy("<f8", &[1], &f64s(&[0.0]))), ("rows", fakes)]);
    fs::write(dir.path().join("fake.npz"), archive).unwrap();
    let line = "--reference ROOT/real.npy --samples ROOT/fake.npz:rows --metric frechet-distance";
    let (found, _) = evaluate(dir.path(), line);
    assert!((found[0].value - 0.3690139752969119).abs() < 5e-7, "{found:?}");
}

#[test]
fn fewer_rows_than_columns_have_an_exact_distance_and_a_warning() {
    let dir = folder();
    for (name, values) in [("real", real()), ("fake", fake())] {
        save_rows(&dir.path().join(format!("{name}.npy")), 8, &values[..48]);
    }
    let (found, table) = evaluate(dir.path(), &format!("{ROWS} --metric frechet-distance"));
    assert!((found[0].value - 0.92474364).abs() < 1e-7, "{found:?}");
    assert_eq!(found[0].settings["route"], "Thin");
    let note = found[0].settings["notes"][0].as_str().unwrap();
    assert!(note.contains("6 rows do not fill a covariance of 8"), "{note}");
    assert!(table.contains(&format!("note: {note}")), "{table}");
}

#[test]
fn a_distance_of_infinitely_many_rows_lies_below() {
    let dir = folder();
    golden(dir.path());
    let line = format!("{ROWS} --metric frechet-distance --set extrapolate=5");
    let (found, table) = evaluate(dir.path(), &line);
    assert_close(&found, "frechet-distance", 0.3690139752969119, 1e-9);
    let settings = &found[0].settings;
    assert!(settings["extrapolated"].as_f64().unwrap() < found[0].value, "{settings:?}");
    assert_eq!(settings["extrapolated_sizes"], 5);
    assert!(table.contains("for infinitely many rows"), "{table}");
}

#[test]
fn logits_and_labels_have_the_golden_calibration() {
    let dir = folder();
    let logits: Vec<f64> = draws(6, 600).iter().map(|u| 4.0 * u).collect();
    let labels: Vec<u8> =
        draws(7, 200).iter().flat_map(|u| ((3.0 * u) as i64).to_le_bytes()).collect();
    let members = [
        ("logits", npy("<f8", &[200, 3], &f64s(&logits))),
        ("labels", npy("<i8", &[200], &labels)),
    ];
    fs::write(dir.path().join("p.npz"), npz(&members)).unwrap();
    let (found, _) = evaluate(dir.path(), "--samples ROOT/p.npz");
    assert_eq!(found.len(), 2);
    assert_close(&found, "accuracy", 0.35, 1e-12);
    assert_close(&found, "ece", 0.30882776971389125, 1e-9);
    let ece = named(&found, "ece");
    for (key, value) in
        [("mce", 0.6490129199532251), ("nll", 1.538567938856616), ("brier", 0.8760352618181798)]
    {
        assert!((ece.settings[key].as_f64().unwrap() - value).abs() < 1e-9, "{key}");
    }
    assert_eq!((ece.n, &ece.settings["bins"]), (Some(200), &15.into()));
}

#[test]
fn scores_of_a_detector_have_the_golden_separation() {
    let dir = folder();
    let scores = draws(4, 60).into_iter().map(|u| (10.0 * u).floor() / 10.0);
    let (inside, outside): (Vec<_>, Vec<_>) =
        scores.zip(draws(5, 60)).partition(|(_, label)| *label < 0.4);
    for (name, set) in [("in", inside), ("out", outside)] {
        let scores: Vec<f64> = set.iter().map(|(score, _)| *score).collect();
        fs::write(
            dir.path().join(format!("{name}.npy")),
            npy("<f8", &[scores.len()], &f64s(&scores)),
        )
        .unwrap();
    }
    let (found, _) = evaluate(dir.path(), "--reference ROOT/in.npy --samples ROOT/out.npy");
    assert_close(&found, "auroc", 0.582313681868743, 1e-12);
    assert_eq!((found[0].n, &found[0].settings["n_real"]), (Some(31), &29.into()));
    assert!(found[0].std_error.is_some());
    let (found, _) = evaluate(dir.path(), "--reference ROOT/out.npy --samples ROOT/in.npy");
    assert_close(&found, "auroc", 1.0 - 0.582313681868743, 1e-12);
}

#[test]
fn stored_statistics_stand_for_their_rows() {
    let dir = folder();
    golden(dir.path());
    let saved = "--reference ROOT/real.npy --save-statistics ROOT/s.safetensors";
    let (found, table) = evaluate(dir.path(), saved);
    assert!(found.is_empty() && table.trim_end().ends_with("s.safetensors"), "{table}");
    let (rows, _) = evaluate(dir.path(), &format!("{ROWS} --metric frechet-distance"));
    let (stored, table) =
        evaluate(dir.path(), "--reference ROOT/s.safetensors --samples ROOT/fake.npy");
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert_eq!(stored[0].value.to_bits(), rows[0].value.to_bits());
    for key in ["n_real", "floor", "floor_n", "extractor"] {
        assert_eq!(stored[0].settings[key], rows[0].settings[key], "{key}");
    }
    assert_eq!(rows[0].settings["floor_n"], 100);
    assert!(table.contains("statistics of 200 rows of 8"), "{table}");
    let line = "--reference ROOT/s.safetensors --samples ROOT/s.safetensors";
    assert!(evaluate(dir.path(), line).0[0].value < 1e-9);
}

#[test]
fn statistics_of_other_programs_are_taken_with_a_stated_assumption() {
    let dir = folder();
    golden(dir.path());
    // Mean 1/2, variances 1/12, nothing between: those of the rows, up to chance.
    let covariance: Vec<f64> =
        (0..64).map(|at| if at % 9 == 0 { 1.0 / 12.0 } else { 0.0 }).collect();
    let members = [
        ("mu", npy("<f8", &[8], &f64s(&[0.5; 8]))),
        ("sigma", npy("<f8", &[8, 8], &f64s(&covariance))),
    ];
    fs::write(dir.path().join("s.npz"), npz(&members)).unwrap();
    let (found, table) = evaluate(dir.path(), "--reference ROOT/s.npz --samples ROOT/real.npy");
    assert_eq!(found[0].name, "frechet-distance");
    assert!(found[0].value < 0.1, "{found:?}");
    assert_eq!(found[0].settings["reference_extractor"], "unstated");
    assert_eq!(found[0].settings["n_real"], "unstated");
    assert!(table.contains("does not say whose features"), "{table}");
}

/// `n` grey images that get brighter, with a little texture.
fn pictures(dir: &Path, n: u32, side: u32, offset: u32) {
    fs::create_dir_all(dir).unwrap();
    for index in 0..n {
        let shade = |x: u32, y: u32| Luma([(offset + 9 * index + (x * 7 + y * 3) % 5) as u8]);
        GrayImage::from_fn(side, side, shade).save(dir.join(format!("{index:03}.png"))).unwrap();
    }
}

#[test]
fn folders_of_images_compare_by_pixels() {
    let dir = folder();
    pictures(&dir.path().join("a"), 20, 4, 10);
    pictures(&dir.path().join("b"), 20, 4, 20);
    let line = "--reference ROOT/a --samples ROOT/b --features none --metric frechet-distance";
    let (found, table) = evaluate(dir.path(), line);
    // Equal but for a shift by 10 / 255 of all 16 pixels.
    let expected = 16.0 * (10.0_f64 / 255.0).powi(2);
    assert!((found[0].value - expected).abs() < 1e-6, "{found:?}");
    assert_eq!(found[0].settings["extractor"], "pixels");
    assert_eq!(found[0].settings["samples_decoder"], "image 0.25, PNG");
    assert_eq!(found[0].settings["quantisation"], "8 bits, as stored");
    assert!(table.contains("20 images of 1x4x4"), "{table}");
    // The same images in one array, in both layouts.
    let pixels: Vec<u8> = (0..20)
        .flat_map(|index| {
            image::open(dir.path().join(format!("b/{index:03}.png"))).unwrap().into_bytes()
        })
        .collect();
    for dims in [&[20, 4, 4][..], &[20, 1, 4, 4], &[20, 4, 4, 1]] {
        fs::write(dir.path().join("b.npy"), npy("|u1", dims, &pixels)).unwrap();
        let line = line.replace("ROOT/b ", "ROOT/b.npy ");
        assert_eq!(evaluate(dir.path(), &line).0[0].value.to_bits(), found[0].value.to_bits());
    }
}

#[test]
fn colour_arrays_are_planes_whatever_their_layout() {
    let dir = folder();
    fs::create_dir(dir.path().join("a")).unwrap();
    let (mut last, mut first) = (Vec::new(), Vec::new());
    for index in 0..9_u8 {
        let picture = RgbImage::from_fn(5, 4, |x, y| {
            Rgb([20 * index, (10 * x) as u8 + index * (y as u8 + 1), (60 * y) as u8 ^ index])
        });
        picture.save(dir.path().join(format!("a/{index}.png"))).unwrap();
        last.extend_from_slice(picture.as_raw());
        (0..3).for_each(|c| first.extend(picture.pixels().map(|pixel| pixel.0[c])));
    }
    fs::write(dir.path().join("last.npy"), npy("|u1", &[9, 4, 5, 3], &last)).unwrap();
    fs::write(dir.path().join("first.npy"), npy("|u1", &[9, 3, 4, 5], &first)).unwrap();
    for other in ["last.npy", "first.npy"] {
        let line = format!("--reference ROOT/a --samples ROOT/{other} --features none");
        let (found, _) = evaluate(dir.path(), &format!("{line} --metric frechet-distance"));
        assert!(found[0].value < 1e-9, "{other}: {found:?}");
        assert_eq!(found[0].settings["reference"], format!("{}/a", dir.path().display()));
    }
}

#[test]
fn images_of_mixed_sizes_compare_once_they_are_resized_and_jpeg_is_told() {
    let dir = folder();
    pictures(&dir.path().join("a"), 12, 4, 10);
    pictures(&dir.path().join("b"), 11, 8, 20);
    let jpeg = dir.path().join("b/x.jpg");
    GrayImage::from_pixel(6, 6, Luma([99])).save_with_format(jpeg, ImageFormat::Jpeg).unwrap();
    let line = "--reference ROOT/a --samples ROOT/b --features none --metric prdc";
    let (found, table) = evaluate(dir.path(), &format!("{line} --set resize=4"));
    assert_eq!(found.len(), 4);
    assert_eq!(found[0].settings["samples_decoder"], "image 0.25, JPEG among them");
    let resized = &found[0].settings["samples_resized"];
    assert!(resized.as_str().unwrap().contains("4x4 by a triangle filter"), "{resized}");
    assert!(table.contains("note:") && table.contains("JPEG"), "{table}");
    let (found, _) = evaluate(dir.path(), &format!("{line} --set crop=4"));
    assert_eq!(found[0].settings["samples_resized"], "central 4x4 window");
}

#[test]
fn data_sets_in_their_own_files_are_taken_by_part() {
    let dir = folder();
    super::save_digits(&dir.path().join("d"), [30, 20], 6);
    let line = "--features none --metric energy-distance";
    let (parts, table) =
        evaluate(dir.path(), &format!("--reference ROOT/d:train --samples ROOT/d:test {line}"));
    assert_eq!((parts[0].n, &parts[0].settings["n_real"]), (Some(20), &30.into()));
    assert!(table.contains("30 images of 1x6x6"), "{table}");
    let files =
        "--reference ROOT/d/train-images-idx3-ubyte --samples ROOT/d/t10k-images-idx3-ubyte";
    let (found, _) = evaluate(dir.path(), &format!("{files} {line}"));
    assert_eq!(found[0].value.to_bits(), parts[0].value.to_bits());
}
