//! `evaluate --reference --samples`: what it refuses, and in which words.

use std::{fs, path::Path};

use image::{GrayImage, Luma};

use super::{
    arrays::{f64s, fake, npy, npz, real, save_rows},
    folder, refuses, save_model,
};

#[test]
fn a_model_and_paths_exclude_each_other() {
    let dir = folder();
    let root = dir.path().display();
    save_model(&dir.path().join("m"), [1, 28, 28]);
    save_rows(&dir.path().join("a.npy"), 8, &real());
    refuses(
        &format!("evaluate {root}/m --samples {root}/a.npy"),
        &["a model", "--reference and --samples", "not both"],
    );
    refuses("evaluate", &["nothing to evaluate", "--reference PATH", "--help"]);
    refuses(
        &format!("evaluate {root}/m --features none"),
        &["--features", "a model is scored on its own"],
    );
    refuses(
        &format!("evaluate {root}/m --save-statistics {root}/s.safetensors"),
        &["--save-statistics goes with --reference"],
    );
    refuses(
        &format!("evaluate --samples {root}/a.npy --reference {root}/a.npy --data {root}"),
        &["--data goes with a model"],
    );
    refuses(&format!("evaluate --reference {root}/a.npy"), &["--reference alone", "--samples"]);
    refuses(&format!("evaluate --samples {root}/a.npy"), &["needs --reference"]);
    refuses(
        &format!(
            "evaluate --reference {root}/a.npy --metric kid --save-statistics {root}/s.safetensors"
        ),
        &["--metric kid", "needs --samples"],
    );
    refuses(
        &format!("evaluate --reference {root}/a.npy --save-statistics {root}/gone/s.safetensors"),
        &["--save-statistics", "gone/s.safetensors", "cannot be written"],
    );
}

/// Rows with something odd about them, by name.
fn odd_rows(dir: &Path) {
    let path = |name: &str| dir.join(name);
    save_rows(&path("a.npy"), 8, &real());
    save_rows(&path("b.npy"), 8, &fake());
    save_rows(&path("wide.npy"), 16, &fake());
    save_rows(&path("constant.npy"), 2, &[1.0; 20]);
    save_rows(&path("one.npy"), 8, &real()[..8]);
    let mut holed = real();
    holed[8 * 17 + 3] = f64::NAN;
    save_rows(&path("nan.npy"), 8, &holed);
    fs::write(path("none.npy"), npy("<f8", &[0, 8], &[])).unwrap();
    fs::write(path("long.npy"), npy("<f8", &[9], &f64s(&[0.5; 9]))).unwrap();
    fs::write(path("text.txt"), "1 2 3").unwrap();
    let one = || npy("<f8", &[1], &f64s(&[0.0]));
    fs::write(path("several.npz"), npz(&[("a", one()), ("b", one())])).unwrap();
}

#[test]
fn rows_that_do_not_compare_are_refused_by_name() {
    let dir = folder();
    let root = dir.path().display().to_string();
    odd_rows(dir.path());
    for (line, parts) in [
        ("a.npy wide.npy", ["a.npy has 8 features", "wide.npy has 16", "equally many"]),
        ("constant.npy constant.npy", ["constant.npy", "all 10 rows are equal", "2 columns"]),
        ("a.npy nan.npy", ["nan.npy", "row 17, column 3", "NaN"]),
        ("a.npy none.npy", ["none.npy", "nothing in it", "error"]),
        ("a.npy one.npy", ["--metric", "1 rows", "at least"]),
        ("a.npy long.npy", ["a.npy holds 200 rows", "long.npy holds 9 scores", "do not compare"]),
        ("a.npy gone.npy", ["gone.npy", "no such file", "error"]),
        ("a.npy text.txt", ["text.txt", "a folder of images", ".npy, .npz, .safetensors"]),
        ("a.npy several.npz", ["holds `a`, `b`", "say which", "several.npz:NAME"]),
        ("a.npy several.npz:c", ["no array `c`", "`a`, `b`", "several.npz"]),
        ("a.npy several.npz:b", ["a.npy holds", "several.npz:b holds 1 scores", "do not compare"]),
        ("long.npy a.npy", ["long.npy", "scores", "do not compare"]),
        (
            "a.npy b.npy --metric fid",
            ["--metric fid", "is called frechet-distance", "--features none"],
        ),
        (
            "a.npy b.npy --metric inception-score",
            ["inception-score", "known here are", "energy-distance"],
        ),
        ("a.npy b.npy --metric parity", ["parity", "is unknown", "frechet-distance, kid, prdc"]),
        (
            "a.npy b.npy --features mnist",
            ["--features mnist", "features already", "--features none"],
        ),
        ("a.npy b.npy --features vgg", ["vgg", "inception, mnist, none", "error"]),
        ("a.npy b.npy --set k=200", ["--metric prdc", "200 rows", "201"]),
        ("a.npy b.npy --set subset_size=300", ["--metric kid", "200 rows", "300"]),
        ("a.npy b.npy --set neighbours=3", ["neighbours", "known are bandwidth", "permutations"]),
        ("a.npy b.npy --set resize=4", ["resize", "images of a folder", "none was given"]),
    ] {
        let (paths, options) = line.split_once(" --").unwrap_or((line, ""));
        let (reference, samples) = paths.split_once(' ').unwrap();
        let options = if options.is_empty() { String::new() } else { format!("--{options}") };
        refuses(
            &format!(
                "evaluate --reference {root}/{reference} --samples {root}/{samples} {options}"
            ),
            &parts,
        );
    }
}

#[test]
fn folders_that_hold_no_usable_images_are_refused_by_name() {
    let dir = folder();
    let root = dir.path().display().to_string();
    let path = |name: &str| dir.path().join(name);
    for name in ["empty", "mixed", "good", "broken"] {
        fs::create_dir(path(name)).unwrap();
    }
    for (name, side) in
        [("mixed/a", 3), ("mixed/b", 3), ("mixed/c", 5), ("good/a", 3), ("good/b", 3)]
    {
        let shade = |x, y| Luma([(x * 50 + y * 20) as u8]);
        GrayImage::from_fn(side, side, shade).save(path(&format!("{name}.png"))).unwrap();
    }
    fs::write(path("broken/x.png"), "no picture").unwrap();
    save_rows(&path("rows.npy"), 9, &[0.5; 18]);
    fs::write(path("floats.npy"), npy("<f4", &[2, 1, 3, 3], &[0; 72])).unwrap();
    fs::write(path("deep.npy"), npy("|u1", &[2, 4, 3, 2], &[0; 48])).unwrap();
    let compare = |reference: &str, samples: &str, parts: &[&str]| {
        let sides = format!("--reference {root}/{reference} --samples {root}/{samples}");
        refuses(&format!("evaluate {sides} --features none"), parts);
    };
    compare("good", "empty", &["no image found", "/empty", "png"]);
    compare("mixed", "good", &["a.png is 3x3", "c.png is 5x5", "--set resize=SIDE", "crop"]);
    compare("good", "broken", &["x.png", "byte 0", "PNG"]);
    compare("good", "rows.npy", &["good holds images", "rows.npy rows of numbers"]);
    compare("good", "floats.npy", &["floats.npy", "f32 [2, 1, 3, 3]", "8-bit", "astype('uint8')"]);
    compare("good", "deep.npy", &["u8 [2, 4, 3, 2]", "(n, c, h, w)", "one or three"]);
    compare("good:train", "good", &["`train` selects a part", "good holds neither"]);
    super::save_digits(&path("digits"), [4, 4], 3);
    compare("digits", "good", &["digits:train or", "digits:test"]);
    compare("digits:half", "good", &["digits:train or", "digits:test"]);
    let sides = format!("--reference {root}/digits:train --samples {root}/good");
    refuses(
        &format!("evaluate {sides}"),
        &["--features inception", "fetch inception", ".cache/inception"],
    );
}

#[test]
fn statistics_of_other_features_are_refused_naming_both() {
    let dir = folder();
    let root = dir.path().display().to_string();
    save_rows(&dir.path().join("a.npy"), 9, &real()[..900]);
    super::save_digits(&dir.path().join("d"), [40, 40], 3);
    super::succeeds(&format!(
        "evaluate --reference {root}/d:train --features none --save-statistics {root}/s.safetensors"
    ));
    let stored = format!("--reference {root}/s.safetensors");
    refuses(
        &format!("evaluate {stored} --samples {root}/a.npy"),
        &["s.safetensors", "`pixels`", "a.npy", "`none`", "do not compare"],
    );
    refuses(
        &format!("evaluate {stored} --samples {root}/d:test --metric kid"),
        &["--metric kid", "needs all rows of the reference", "mean and covariance"],
    );
    refuses(
        &format!("evaluate --reference {root}/a.npy --samples {root}/s.safetensors --metric mmd"),
        &["--metric mmd", "needs all rows of the samples"],
    );
    // A matrix that is no covariance.
    let members = [
        ("mu", npy("<f8", &[2], &f64s(&[0.0; 2]))),
        ("sigma", npy("<f8", &[2, 2], &f64s(&[1.0, 0.0, 0.0, -1.0]))),
    ];
    fs::write(dir.path().join("s.npz"), npz(&members)).unwrap();
    save_rows(&dir.path().join("b.npy"), 2, &real());
    refuses(
        &format!("evaluate --reference {root}/s.npz --samples {root}/b.npy"),
        &["s.npz", "covariance", "variance 1 is negative"],
    );
}

#[test]
fn logits_and_scores_go_where_they_belong() {
    let dir = folder();
    let root = dir.path().display().to_string();
    let path = |name: &str| dir.path().join(name);
    let logits = || npy("<f8", &[4, 2], &f64s(&real()[..8]));
    let labels = |values: &[i64]| {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        npy("<i8", &[values.len()], &bytes)
    };
    fs::write(path("p.npz"), npz(&[("logits", logits()), ("labels", labels(&[0, 1, 1, 0]))]))
        .unwrap();
    fs::write(path("q.npz"), npz(&[("logits", logits()), ("labels", labels(&[0, 1, 2, 0]))]))
        .unwrap();
    fs::write(path("r.npz"), npz(&[("logits", logits()), ("labels", labels(&[0, 1]))])).unwrap();
    fs::write(path("s.npz"), npz(&[("logits", logits()), ("labels", logits())])).unwrap();
    fs::write(path("long.npy"), npy("<f8", &[9], &f64s(&[0.5; 9]))).unwrap();
    for (line, parts) in [
        (
            "--reference ROOT/p.npz --samples ROOT/p.npz",
            ["on their own", "as --samples", "without"],
        ),
        ("--samples ROOT/q.npz", ["--metric accuracy", "number 2", "2 classes"]),
        ("--samples ROOT/r.npz", ["--metric accuracy", "expected 4 labels", "got 2"]),
        ("--samples ROOT/s.npz", ["`labels` is f64", "integers (n)", "s.npz"]),
        ("--samples ROOT/p.npz --metric auroc", ["auroc", "known here are accuracy, ece", "error"]),
        ("--samples ROOT/p.npz --set bins=0", ["bins=0", "at least 1", "--set"]),
        ("--samples ROOT/long.npy", ["needs --reference", "auroc", "error"]),
    ] {
        refuses(&format!("evaluate {}", line.replace("ROOT", &root)), &parts);
    }
}
