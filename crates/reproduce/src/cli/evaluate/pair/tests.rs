//! Scores of images through a network, with a network that can be foretold.

use std::fs;

use candle_core::{DType, Tensor};
use eval_metrics::networks::{Activations, FeatureExtractor};
use image::{GrayImage, Luma, Rgb, RgbImage};
use tempfile::TempDir;

use super::{settings::Classifier, *};

/// Features: the first two pixels of the first plane. Logits: sure of class `first pixel / 20`.
struct Double {
    id: String,
}

impl FeatureExtractor for Double {
    fn id(&self) -> &str {
        &self.id
    }

    fn dim(&self) -> usize {
        2
    }

    fn classes(&self) -> usize {
        10
    }

    fn preprocessing(&self) -> &'static str {
        "none of it"
    }

    fn activations(&self, images: &Tensor) -> chains_core::Result<Activations> {
        let (b, _, _, _) = images.dims4()?;
        let first = images.flatten_from(1)?.narrow(1, 0, 2)?.to_dtype(DType::F32)?;
        let pixels = first.to_vec2::<f32>()?;
        let logit = |i: usize, class: usize| {
            if (pixels[i][0] / 20.0) as usize == class { 60.0 } else { 0.0 }
        };
        let logits: Vec<f32> =
            (0..b).flat_map(|i| (0..10).map(move |k| (i, k))).map(|(i, k)| logit(i, k)).collect();
        Ok(Activations {
            features: first,
            logits: Tensor::from_vec(logits, (b, 10), images.device())?,
        })
    }
}

/// Doubles of that id for every kind of features.
struct Doubles(&'static str);

impl Extractors for Doubles {
    fn open(&self, features: Features) -> Result<Box<dyn FeatureExtractor>> {
        Ok(Box::new(Double { id: format!("{}-{}", features.name(), self.0) }))
    }
}

/// Listens to nothing.
struct Deaf;

impl Observer for Deaf {
    fn observe(&mut self, _: &chains_core::train::Event<'_>) -> chains_core::Result<()> {
        Ok(())
    }
}

/// `reference|samples` in a folder, either of which may be empty, with options as on the command
/// line.
fn run(dir: &TempDir, paths: &str, options: &str, networks: &dyn Extractors) -> Result<Found> {
    let place = |name: &str| (!name.is_empty()).then(|| dir.path().join(name));
    let (reference, samples) = paths.split_once('|').unwrap();
    let (reference, samples) = (place(reference), place(samples));
    let (mut metrics, mut overrides) = (Vec::new(), Vec::new());
    let (mut features, mut save) = (None, None);
    let words: Vec<&str> = options.split_whitespace().collect();
    for pair in words.chunks(2) {
        match pair {
            ["--metric", name] => metrics.push((*name).to_owned()),
            ["--features", name] => features = Features::parse(name),
            ["--save-statistics", name] => save = place(name),
            [_, pair] => {
                let (key, value) = pair.split_once('=').unwrap();
                overrides.push((key.to_owned(), value.to_owned()));
            }
            _ => {}
        }
    }
    let job = Job {
        reference: reference.as_deref(),
        samples: samples.as_deref(),
        metrics: &metrics,
        features,
        save: save.as_deref(),
        seed: 0,
        settings: &Settings::of(&overrides)?,
        device: &Device::Cpu,
    };
    evaluate(&job, networks, &mut Deaf)
}

fn scores(dir: &TempDir, paths: &str, options: &str) -> Vec<Metric> {
    run(dir, paths, options, &Doubles("a")).unwrap().metrics
}

#[track_caller]
fn refusal(dir: &TempDir, paths: &str, options: &str) -> String {
    let error = run(dir, paths, options, &Doubles("a")).err().unwrap();
    assert_eq!(error.exit_status(), 2);
    error.to_string()
}

fn values(found: &[Metric]) -> Vec<u64> {
    found.iter().map(|metric| metric.value.to_bits()).collect()
}

/// `n` images of `side`; the first pixel is `20 (i mod 10) + offset`, the second follows `i`.
fn digits(dir: &TempDir, name: &str, n: u32, side: u32, offset: u8) {
    let path = dir.path().join(name);
    fs::create_dir(&path).unwrap();
    for i in 0..n {
        let mut image = GrayImage::from_pixel(side, side, Luma([offset]));
        image.put_pixel(0, 0, Luma([(20 * (i % 10)) as u8 + offset]));
        image.put_pixel(1, 0, Luma([(i * i % 97) as u8 + offset]));
        image.save(path.join(format!("{i:03}.png"))).unwrap();
    }
}

#[test]
fn small_grey_images_meet_the_digit_network_and_others_the_inception_network() {
    let dir = tempfile::tempdir().unwrap();
    digits(&dir, "a", 30, 28, 0);
    digits(&dir, "b", 30, 28, 5);
    let found = scores(&dir, "a|b", "");
    let names: Vec<_> = found.iter().map(|metric| metric.name.as_str()).collect();
    let expected =
        ["mnist-fid", "kid", "precision", "recall", "density", "coverage", "classifier-score"];
    assert_eq!(names, expected);
    // Both features moved by five; the classes are even over ten.
    assert!((found[0].value - 50.0).abs() < 1e-9, "{found:?}");
    assert!((found[6].value - 10.0).abs() < 1e-6, "{found:?}");
    assert_eq!(found[6].settings["ceiling"], 10);
    for metric in &found {
        assert_eq!(metric.settings["extractor"], "mnist-a");
        assert_eq!(metric.settings["preprocessing"], "none of it");
        assert_eq!(metric.settings["features"], "mnist");
    }
    digits(&dir, "c", 30, 27, 0);
    digits(&dir, "d", 30, 27, 5);
    let found = scores(&dir, "c|d", "--set splits=3 --set shuffle=false");
    assert_eq!((found[0].name.as_str(), found[6].name.as_str()), ("fid", "inception-score"));
    assert_eq!(found[0].settings["extractor"], "inception-a");
    // Every split of ten images in order has every class once: ten, without spread.
    assert!((found[6].value - 10.0).abs() < 1e-6 && found[6].std_error.unwrap() < 1e-9);
    assert_eq!(found[6].settings["spread_kind"], "population standard deviation over splits");
    let note = found[0].settings["notes"][0].as_str().unwrap();
    assert!(note.contains("fid: 30 rows on one side, at least 10000"), "{note}");
}

#[test]
fn the_size_of_a_batch_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    digits(&dir, "a", 23, 28, 0);
    digits(&dir, "b", 17, 28, 5);
    let whole = values(&scores(&dir, "a|b", ""));
    for batch in [1, 7] {
        assert_eq!(values(&scores(&dir, "a|b", &format!("--set batch={batch}"))), whole);
    }
}

#[test]
fn the_name_fid_is_kept_for_one_network() {
    let dir = tempfile::tempdir().unwrap();
    digits(&dir, "a", 12, 28, 0);
    for (features, asked, name) in [
        ("mnist", "fid", "mnist-fid"),
        ("none", "fid", "frechet-distance"),
        ("inception", "mnist-fid", "fid"),
        ("mnist", "inception-score", "classifier-score"),
    ] {
        let options = format!("--features {features} --metric {asked}");
        let text = refusal(&dir, "a|a", &options);
        assert!(text.contains(&format!("is called {name} with --features {features}")), "{text}");
    }
}

#[test]
fn statistics_of_another_extractor_are_refused_naming_both() {
    let dir = tempfile::tempdir().unwrap();
    digits(&dir, "a", 30, 27, 0);
    digits(&dir, "b", 30, 27, 5);
    let saved = run(&dir, "a|", "--save-statistics s.safetensors", &Doubles("a")).unwrap();
    assert!(saved.metrics.is_empty() && saved.table.contains("inception-a"), "{}", saved.table);
    let found = scores(&dir, "s.safetensors|b", "");
    let names: Vec<_> = found.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, ["fid", "inception-score"]);
    assert_eq!(found[0].value.to_bits(), scores(&dir, "a|b", "--metric fid")[0].value.to_bits());
    let error = run(&dir, "s.safetensors|b", "", &Doubles("b")).err().unwrap();
    assert_eq!(error.exit_status(), 2);
    let text = error.to_string();
    assert!(text.contains("`inception-a`") && text.contains("`inception-b`"), "{text}");
    let text = refusal(&dir, "s.safetensors|b", "--features mnist");
    assert!(text.contains("`inception-a`") && text.contains("`mnist-a`"), "{text}");
}

#[test]
fn a_network_that_is_not_there_is_named_with_the_way_to_get_it() {
    let dir = tempfile::tempdir().unwrap();
    digits(&dir, "a", 12, 28, 0);
    for (features, classifier, part) in [
        ("inception", Classifier::A, "cargo xtask fetch inception"),
        ("mnist", Classifier::A, "checkpoints/mnist-classifier is not there"),
        ("mnist", Classifier::B, "checkpoints/mnist-classifier-b is not there"),
    ] {
        let networks = Repository { root: dir.path(), device: &Device::Cpu, classifier };
        let options = format!("--features {features}");
        let error = run(&dir, "a|a", &options, &networks).err().unwrap();
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(error.exit_status(), 2);
    }
}

/// Stacked digits: the planes of image `i` are of classes `i mod 10`, `i / 10 mod 10`, `hundreds`.
fn stacked(dir: &TempDir, name: &str, n: u32, hundreds: u32) {
    let path = dir.path().join(name);
    fs::create_dir(&path).unwrap();
    for i in 0..n {
        let shade = [hundreds, i / 10 % 10, i % 10].map(|class| (20 * class + 3) as u8);
        RgbImage::from_pixel(28, 28, Rgb(shade)).save(path.join(format!("{i:03}.png"))).unwrap();
    }
}

#[test]
fn stacked_digits_are_counted_by_planes() {
    let dir = tempfile::tempdir().unwrap();
    stacked(&dir, "s", 50, 7);
    let found = scores(&dir, "|s", "--features mnist --set batch=7");
    let names: Vec<_> = found.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, ["modes", "modes-kl"]);
    assert_eq!((found[0].value, found[0].n), (50.0, Some(50)));
    assert!((found[1].value - 20_f64.ln()).abs() < 1e-12, "{found:?}");
    assert!(found[0].settings["perfect_sampler"].as_f64().unwrap() < 50.0);
    let text = refusal(&dir, "s|s", "--features mnist --metric mnist-fid");
    assert!(text.contains("have colour") && text.contains("modes"), "{text}");
    digits(&dir, "a", 12, 28, 0);
    let text = refusal(&dir, "|a", "--metric modes");
    assert!(text.contains("colour images of 3x28x28"), "{text}");
}

#[test]
fn grey_digits_saved_in_colour_are_grey() {
    let dir = tempfile::tempdir().unwrap();
    digits(&dir, "a", 70, 28, 0);
    digits(&dir, "b", 70, 28, 5);
    let path = dir.path().join("c");
    fs::create_dir(&path).unwrap();
    for i in 0..70 {
        let name = format!("{i:03}.png");
        image::open(dir.path().join("b").join(&name))
            .unwrap()
            .into_rgb8()
            .save(path.join(name))
            .unwrap();
    }
    let found = scores(&dir, "a|c", "");
    assert_eq!(values(&found), values(&scores(&dir, "a|b", "")));
    assert_eq!(found[0].settings["samples_channels"], "three equal ones taken as one");
    // Beyond the first that are looked at.
    RgbImage::from_pixel(28, 28, Rgb([1, 2, 3])).save(path.join("069.png")).unwrap();
    let text = refusal(&dir, "a|c", "");
    assert!(text.contains("image 69 has colour, the first 64 have none"), "{text}");
}

#[test]
fn the_floor_is_the_distance_of_two_random_halves() {
    let dir = tempfile::tempdir().unwrap();
    digits(&dir, "a", 40, 27, 0);
    digits(&dir, "first", 40, 27, 0);
    digits(&dir, "second", 40, 27, 0);
    let split = side::halves(40, chains_core::Seed::new(0).child("floor"));
    assert_eq!(split.iter().filter(|first| **first).count(), 20);
    for (i, first) in split.into_iter().enumerate() {
        let other = if first { "second" } else { "first" };
        fs::remove_file(dir.path().join(format!("{other}/{i:03}.png"))).unwrap();
    }
    let found = scores(&dir, "a|first", "--metric fid");
    let halves = scores(&dir, "first|second", "--metric fid --set floor=false");
    let floor = found[0].settings["floor"].as_f64().unwrap();
    assert!((floor - halves[0].value).abs() < 1e-9 * floor, "{floor} {halves:?}");
    assert_eq!(found[0].settings["floor_n"], 20);
    assert!(!halves[0].settings.contains_key("floor"));
    // By the rows themselves where a covariance would not be filled.
    let pixels = scores(&dir, "a|first", "--features none --metric frechet-distance");
    let line = "--features none --metric frechet-distance --set floor=false";
    let halves = scores(&dir, "first|second", line);
    let floor = pixels[0].settings["floor"].as_f64().unwrap();
    assert_eq!(pixels[0].settings["route"], "Thin");
    assert!((floor - halves[0].value).abs() < 1e-9 * floor, "{floor} {halves:?}");
}
