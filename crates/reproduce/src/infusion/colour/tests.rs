use std::{cell::RefCell, fs, path::Path};

use candle_core::{Device, Tensor};
use chains_core::{Seed, schedule::InfusionRate};
use datasets::ImageSet;
use infusion::ModelConfig;
use ndarray::array;

use super::{super::PAPER, *};
use crate::{registry::Experiment, request::Scale, results::Results, run::execute};

const SETS: [Set; 3] = [Set::Cifar10, Set::CelebA, Set::Tfd];

fn request(scale: Scale, data: Option<&Path>, overrides: &[(&str, &str)]) -> Request {
    Request {
        scale,
        seed: 0,
        device: Device::Cpu,
        device_name: "cpu".into(),
        data: data.map(Path::to_owned),
        offline: true,
        root: Default::default(),
        models: Default::default(),
        resume: false,
        overrides: overrides.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        trained: RefCell::default(),
    }
}

fn experiment(id: &str) -> &'static Experiment {
    PAPER.experiments.iter().find(|e| e.id == id).unwrap()
}

/// Quick settings with so many training, validation and test images.
fn sizes(set: Set, [train, validation, test]: [usize; 3]) -> TrainSettings {
    TrainSettings {
        train_images: train,
        validation_images: validation,
        test_images: test,
        ..set.training(Scale::Quick)
    }
}

fn smoke(id: &str, overrides: &[(&str, &str)], out: &Path) -> Results {
    let mut request = request(Scale::Smoke, None, overrides);
    request.models = out.join("models");
    let results = execute(&request, &PAPER, experiment(id), &out.join(id)).unwrap();
    for check in &results.checks {
        assert!(check.passed, "{id}: {}: {}", check.name, check.detail);
    }
    assert!(!results.checks.is_empty());
    results
}

fn size(png: &Path) -> (u32, u32) {
    image::image_dimensions(png).unwrap()
}

#[test]
fn the_papers_settings_build_the_papers_models() {
    for set in SETS {
        let recipe = recipe(set, &set.training(Scale::Paper), set_event(set));
        let preset = match set {
            Set::Cifar10 => ModelConfig::cifar10(),
            Set::CelebA => ModelConfig::celeba(),
            Set::Tfd => ModelConfig::tfd(),
        };
        assert_eq!(recipe.model, preset);
        assert_eq!((recipe.train.epochs, recipe.train.batch_size), (500, 128));
    }
    // Typed again from section 4 of the paper.
    let cifar = Set::Cifar10.training(Scale::Paper);
    assert_eq!((cifar.hidden.as_slice(), cifar.steps), (&[512, 256, 128][..], 20));
    let recipe = recipe(Set::Cifar10, &cifar, [3, 32, 32]);
    assert_eq!(recipe.model.chain.rate, InfusionRate::increasing(0.0, 0.02));
}

fn set_event(set: Set) -> [usize; 3] {
    set.event(&set.training(Scale::Paper))
}

#[test]
fn images_have_the_shape_that_their_settings_promise() {
    for (set, pooled) in SETS.into_iter().flat_map(|set| [(set, false), (set, true)]) {
        let settings = TrainSettings { pooled, ..set.training(Scale::Smoke) };
        let images = set.images(&request(Scale::Smoke, None, &[]), &settings).unwrap();
        assert_eq!(images.event(), set.event(&settings));
    }
}

#[test]
fn small_networks_have_an_eighth_of_the_width_and_fit_their_images() {
    for scale in [Scale::Smoke, Scale::Quick] {
        assert_eq!(Set::Cifar10.training(scale).hidden, [64, 32, 16]);
        assert_eq!(Set::CelebA.training(scale).hidden, [64, 32, 16, 8]);
        for set in SETS {
            let settings = set.training(scale);
            recipe(set, &settings, set_event(set)).model.validate().unwrap();
            assert!(settings.statistics_images <= settings.train_images);
            assert!(settings.batch_size <= settings.train_images);
        }
    }
    assert_eq!(Set::Tfd.training(Scale::Quick).hidden, [400, 400]);
    assert_eq!(Set::Cifar10.training(Scale::Quick).steps, 20);
    assert_eq!(Set::CelebA.training(Scale::Quick).steps, 15);
}

#[test]
fn synthetic_images_are_seeded_smooth_and_coloured() {
    let draw = |n, seed| synthetic::blobs("x", n, [3, 32, 32], Seed::new(seed)).unwrap();
    let set = draw(6, 1);
    assert_eq!(set, draw(6, 1));
    assert_eq!(set.range(0..3), draw(3, 1));
    assert_ne!(set, draw(6, 2));
    for index in 0..set.len() {
        let image = set.image(index);
        let range = image.iter().max().unwrap() - image.iter().min().unwrap();
        assert!(range > 40, "image {index} has a range of {range}");
        for row in image.chunks(32) {
            let step = row.windows(2).map(|w| w[0].abs_diff(w[1])).max().unwrap();
            assert!(step < 48, "image {index} jumps by {step}");
        }
        let (red, green) = (&image[..1024], &image[1024..2048]);
        assert!(red.iter().zip(green).any(|(r, g)| r.abs_diff(*g) > 20));
    }
}

#[test]
fn missing_data_are_described() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = [
        (
            Set::Cifar10,
            vec!["data_batch_1.bin", "test_batch.bin", "Krizhevsky", "cifar-10-batches-bin"],
        ),
        (Set::CelebA, vec!["img_align_celeba", "CelebFaces", "non-commercial", "DIR/celeba"]),
        (Set::Tfd, vec!["48x48", "Susskind", "on request", "DIR/tfd"]),
    ];
    for (set, words) in wanted {
        set.ready(&request(Scale::Smoke, None, &[])).unwrap();
        for scale in [Scale::Quick, Scale::Paper] {
            let error = set.ready(&request(scale, None, &[])).unwrap_err();
            assert_eq!(error.exit_status(), 2);
            let message = error.to_string();
            assert!(message.contains("no --data DIR was given"), "{message}");
            let message =
                set.ready(&request(scale, Some(dir.path()), &[])).unwrap_err().to_string();
            for word in words.iter().copied().chain([dir.path().to_str().unwrap(), "--data"]) {
                assert!(message.contains(word), "`{word}` is not in: {message}");
            }
        }
    }
}

#[test]
fn counts_that_nothing_can_run_with_are_bad_usage() {
    for (id, key, value) in [
        ("cifar10-chains", "chains", "0"),
        // Eight test images at smoke.
        ("cifar10-chains", "chains", "9"),
        ("celeba-inpainting", "faces", "0"),
        ("celeba-inpainting", "faces", "9"),
        ("celeba-inpainting", "completions", "0"),
        ("tfd-samples", "samples", "1"),
        ("cifar10-inception", "samples", "1"),
        ("tfd-samples", "test_images", "0"),
        ("celeba-samples", "sample_steps", "0"),
        ("tfd-samples", "statistics_images", "1"),
        ("tfd-samples", "validation_images", "1"),
        ("tfd-samples", "batch_size", "9"),
        ("tfd-samples", "epochs", "0"),
    ] {
        let request = request(Scale::Smoke, None, &[(key, value)]);
        let error = (experiment(id).settings)(&request).unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error:?}");
        assert!(error.to_string().contains(&format!("--set {key}")), "{error}");
    }
    let most = request(Scale::Smoke, None, &[("chains", "8")]);
    (experiment("cifar10-chains").settings)(&most).unwrap();
}

#[test]
fn models_that_cannot_be_built_are_found_in_the_settings() {
    for (id, key, value, field) in [
        ("cifar10-chains", "pooled", "true", "widths"),
        ("celeba-inpainting", "target_variance", "0.0", "target_variance"),
        ("tfd-samples", "learning_rate", "-1.0", "learning_rate"),
    ] {
        let request = request(Scale::Smoke, None, &[(key, value)]);
        let error = (experiment(id).settings)(&request).unwrap_err();
        assert_eq!(error.exit_status(), 2);
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[test]
fn the_inception_score_is_refused_and_says_why() {
    let experiment = experiment("cifar10-inception");
    for scale in [Scale::Quick, Scale::Paper] {
        let message = (experiment.ready)(&request(scale, None, &[])).unwrap_err().to_string();
        assert!(message.contains("not in the workspace yet"), "{message}");
        assert!(message.contains("`cifar10-samples`"), "{message}");
        (experiment.settings)(&request(scale, None, &[])).unwrap();
    }
    (experiment.ready)(&request(Scale::Smoke, None, &[])).unwrap();
}

/// Two records a batch; the red plane counts columns, the green one rows, blue is the record.
fn write_cifar(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let names = (1..=5).map(|i| format!("data_batch_{i}.bin")).chain(["test_batch.bin".into()]);
    for (batch, name) in names.enumerate() {
        let mut bytes = Vec::new();
        for record in 2 * batch..2 * batch + 2 {
            bytes.push(0);
            bytes.extend((0..1024).map(|at| (at % 32) as u8));
            bytes.extend((0..1024).map(|at| (at / 32) as u8));
            bytes.extend([record as u8; 1024]);
        }
        fs::write(dir.join(name), bytes).unwrap();
    }
}

#[test]
fn cifar_parts_follow_each_other_and_keep_rows_columns_and_colours() {
    let dir = tempfile::tempdir().unwrap();
    write_cifar(&dir.path().join("cifar-10-batches-bin"));
    let request = request(Scale::Quick, Some(dir.path()), &[]);
    Set::Cifar10.ready(&request).unwrap();
    let settings = sizes(Set::Cifar10, [7, 3, 1]);
    let images = Set::Cifar10.images(&request, &settings).unwrap();
    assert_eq!((images.train.len(), images.validation.len(), images.test.len()), (7, 3, 1));
    assert_eq!(images.event(), [3, 32, 32]);
    for (set, first) in [(&images.train, 0), (&images.validation, 7), (&images.test, 10)] {
        let x = images.scaled(set, 1, &Device::Cpu).unwrap().reshape((3, 32, 32)).unwrap();
        let x = (x * 256.0).unwrap().to_vec3::<f32>().unwrap();
        // Row 5, column 9.
        assert_eq!([x[0][5][9], x[1][5][9], x[2][5][9]].map(|v| v as usize), [9, 5, first]);
    }
    let many = TrainSettings { train_images: 8, ..settings };
    let message = Set::Cifar10.images(&request, &many).unwrap_err().to_string();
    assert!(message.contains("has 10 images") && message.contains("train_images"), "{message}");
}

#[test]
fn faces_are_cut_to_the_central_square() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("celeba").join("img_align_celeba");
    fs::create_dir_all(&folder).unwrap();
    for index in 0..3_u8 {
        // As the aligned faces: 178x218. Black outside the central square, red above blue in it.
        let face = image::RgbImage::from_fn(178, 218, |_, y| match y {
            20..109 => image::Rgb([200, 50 * index, 0]),
            109..198 => image::Rgb([0, 50 * index, 200]),
            _ => image::Rgb([0, 0, 0]),
        });
        face.save(folder.join(format!("{index:06}.jpg"))).unwrap();
    }
    let request = request(Scale::Quick, Some(dir.path()), &[]);
    Set::CelebA.ready(&request).unwrap();
    let read = |train| Set::CelebA.images(&request, &sizes(Set::CelebA, [train, 1, 1]));
    let images = read(1).unwrap();
    assert_eq!(images.event(), [3, 64, 64]);
    for (index, set) in [&images.train, &images.validation, &images.test].into_iter().enumerate() {
        let at =
            |channel: usize, row: usize| f64::from(set.image(0)[(channel * 64 + row) * 64 + 30]);
        // JPEG is lossy.
        for (got, want) in [
            (at(0, 2), 200.0),
            (at(2, 2), 0.0),
            (at(0, 61), 0.0),
            (at(2, 61), 200.0),
            (at(1, 30), 50.0 * index as f64),
        ] {
            assert!((got - want).abs() < 25.0, "{got} instead of {want}");
        }
    }
    assert!(read(2).is_err());
}

#[test]
fn toronto_faces_keep_every_grey() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tfd")).unwrap();
    for index in 0..3_u32 {
        let face =
            image::GrayImage::from_fn(48, 48, |x, y| image::Luma([(4 * y + x + index) as u8]));
        face.save(dir.path().join("tfd").join(format!("{index}.png"))).unwrap();
    }
    let request = request(Scale::Quick, Some(dir.path()), &[]);
    let images = Set::Tfd.images(&request, &sizes(Set::Tfd, [1, 1, 1])).unwrap();
    assert_eq!(images.event(), [1, 48, 48]);
    assert_eq!(images.test.image(0)[48 * 7 + 11], 4 * 7 + 11 + 2);
}

#[test]
fn the_nearest_training_image_is_found_in_every_block() {
    let n = 5_003;
    // Image k is (k % 256, k / 256): more than one block of the search.
    let pixels = (0..n).flat_map(|k| [(k % 256) as u8, (k / 256) as u8]).collect();
    let train = ImageSet::new("x", pixels, vec![], [1, 1, 2]).unwrap();
    let images =
        Images { validation: train.range(0..1), test: train.range(0..1), train, pooled: false };
    let row = |k: usize| [(k % 256) as f32 / 256.0, (k / 256) as f32 / 256.0];
    let (a, b, c) = (row(3), row(4_999), row(5_002));
    let queries = array![a, b, c, [c[0] + 0.25 / 256.0, c[1]]];
    let found = super::super::neighbours::nearest_training(&images, queries.view()).unwrap();
    assert_eq!(found[..3], [(3, 0.0), (4_999, 0.0), (5_002, 0.0)]);
    assert_eq!(found[3].0, 5_002);
    assert!((found[3].1 - (0.25_f64 / 256.0).powi(2)).abs() < 1e-12);
}

#[test]
fn extremes_do_not_hide_what_is_no_number() {
    let of = |values: [f32; 3]| extremes(&Tensor::new(&values, &Device::Cpu).unwrap()).unwrap();
    assert_eq!(of([0.5, -1.0, 2.0]), (-1.0, 2.0));
    for bad in [[f32::NAN, 0.1, 0.2], [0.1, f32::NAN, 0.2], [0.1, 0.2, f32::NAN]] {
        let (low, high) = of(bad);
        assert!(low.is_nan() && high.is_nan());
        assert!(!finite(&Tensor::new(&bad, &Device::Cpu).unwrap()).unwrap());
    }
}

#[test]
fn chains_and_the_path_of_the_inception_score_run_on_synthetic_images() {
    let dir = tempfile::tempdir().unwrap();
    let results = smoke("cifar10-chains", &[], dir.path());
    assert_eq!(results.metrics.iter().filter(|m| m.name.starts_with("squared")).count(), 2);
    let samples = dir.path().join("cifar10-chains/samples");
    // T states and the image; four chains; twice enlarged; two pixels around each.
    assert_eq!(size(&samples.join("infused.png")), (3 * 66 + 2, 4 * 66 + 2));
    for name in ["generated.png", "generated-means.png"] {
        assert_eq!(size(&samples.join(name)), (3 * 66 + 2, 4 * 66 + 2));
    }
    let results = smoke("cifar10-inception", &[], dir.path());
    assert!(results.metrics.iter().all(|metric| !metric.name.contains("inception")));
    let report = fs::read_to_string(dir.path().join("cifar10-inception/report.md")).unwrap();
    assert!(report.contains("No number is claimed at this scale") && report.contains("4.62"));
    assert!(report.contains("ablation by Salimans et al. (2016)"));
}

#[test]
fn faces_are_completed_and_samples_shown_on_synthetic_images() {
    let dir = tempfile::tempdir().unwrap();
    smoke("celeba-inpainting", &[("completions", "3")], dir.path());
    let sheet = dir.path().join("celeba-inpainting/samples/completions.png");
    // The image, its known half, three completions; four more gaps of two behind the lead.
    assert_eq!(size(&sheet), (5 * 66 + 2 + 8, 2 * 66 + 2));
    let first = smoke("tfd-samples", &[("samples", "21")], dir.path());
    let again = tempfile::tempdir().unwrap();
    assert_eq!(smoke("tfd-samples", &[("samples", "21")], again.path()).metrics, first.metrics);
    let samples = dir.path().join("tfd-samples/samples");
    // Twice enlarged; the neighbours of the ninth of each whole row.
    assert_eq!(size(&samples.join("samples.png")), (10 * 98 + 2, 3 * 98 + 2));
    assert_eq!(size(&samples.join("neighbours.png")), (2 * 98 + 2, 2 * 98 + 2));
}
