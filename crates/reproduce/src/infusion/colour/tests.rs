use std::{fs, path::Path};

use chains_core::{dist::Masks, schedule::InfusionRate};
use datasets::ImageSet;
use infusion::ModelConfig;
use ndarray::array;

use super::{super::PAPER, *};
use crate::{
    request::Scale,
    results::Results,
    testing::{elsewhere, experiment, passes, size},
};

const SETS: [Set; 3] = [Set::Cifar10, Set::CelebA, Set::Tfd];

fn smoke(id: &str, overrides: &[(&str, &str)], out: &Path) -> Results {
    passes(&PAPER, id, elsewhere(Scale::Smoke, None, overrides), out)
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
        let images = set.images(&elsewhere(Scale::Smoke, None, &[]), &settings).unwrap();
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
fn missing_data_are_described() {
    for (set, word) in [
        (Set::Cifar10, "data_batch_1.bin"),
        (Set::CelebA, "img_align_celeba"),
        (Set::Tfd, "DIR/tfd"),
    ] {
        set.ready(&elsewhere(Scale::Smoke, None, &[])).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for data in [None, Some(dir.path())] {
            let error = set.ready(&elsewhere(Scale::Quick, data, &[])).unwrap_err();
            assert_eq!(error.exit_status(), 2);
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}

#[test]
fn too_few_images_name_the_keys_of_the_settings() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tfd")).unwrap();
    image::GrayImage::new(48, 48).save(dir.path().join("tfd/1.png")).unwrap();
    let request = elsewhere(Scale::Quick, Some(dir.path()), &[]);
    let error = Set::Tfd.images(&request, &Set::Tfd.training(Scale::Quick)).unwrap_err();
    assert!(error.to_string().contains("has 1 images"), "{error}");
    assert!(error.to_string().contains("`train_images`"), "{error}");
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
        ("cifar10-inception", "samples", "9"),
        ("cifar10-inception", "scored_test_images", "9"),
        ("cifar10-samples", "sampling_floor", "-1e-5"),
        ("tfd-samples", "test_images", "0"),
        ("celeba-samples", "sample_steps", "0"),
        ("tfd-samples", "statistics_images", "1"),
        ("tfd-samples", "validation_images", "1"),
        ("tfd-samples", "batch_size", "9"),
        ("tfd-samples", "epochs", "0"),
    ] {
        let request = elsewhere(Scale::Smoke, None, &[(key, value)]);
        let error = (experiment(&PAPER, id).settings)(&request).unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error:?}");
        assert!(error.to_string().contains(&format!("--set {key}")), "{error}");
    }
    let most = elsewhere(Scale::Smoke, None, &[("chains", "8")]);
    (experiment(&PAPER, "cifar10-chains").settings)(&most).unwrap();
}

#[test]
fn models_that_cannot_be_built_are_found_in_the_settings() {
    for (id, key, value, field) in [
        ("cifar10-chains", "pooled", "true", "widths"),
        ("celeba-inpainting", "target_variance", "0.0", "target_variance"),
        ("celeba-inpainting", "prior_floor", "0.0", "prior_floor"),
        ("tfd-samples", "learning_rate", "-1.0", "learning_rate"),
    ] {
        let request = elsewhere(Scale::Smoke, None, &[(key, value)]);
        let error = (experiment(&PAPER, id).settings)(&request).unwrap_err();
        assert_eq!(error.exit_status(), 2);
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[test]
fn the_inception_score_needs_images_and_a_network_and_says_which() {
    let experiment = experiment(&PAPER, "cifar10-inception");
    let dir = tempfile::tempdir().unwrap();
    let ready = |scale| {
        let mut request = elsewhere(scale, Some(dir.path()), &[]);
        request.root = dir.path().to_owned();
        (experiment.settings)(&request).unwrap();
        (experiment.ready)(&request).map_err(|error| error.to_string())
    };
    let scales = [Scale::Quick, Scale::Paper];
    for scale in scales {
        let message = ready(scale).unwrap_err();
        assert!(message.contains("data_batch_1.bin"), "{message}");
    }
    for name in (1..=5).map(|i| format!("data_batch_{i}.bin")).chain(["test_batch.bin".into()]) {
        fs::write(dir.path().join(name), []).unwrap();
    }
    for scale in scales {
        let message = ready(scale).unwrap_err();
        for word in [".cache/inception/model.safetensors", "fetch inception", "`cifar10-samples`"] {
            assert!(message.contains(word), "{message}");
        }
    }
    let network = crate::inception::folder(dir.path());
    fs::create_dir_all(&network).unwrap();
    for name in ["model.safetensors", "config.json"] {
        fs::write(network.join(name), []).unwrap();
    }
    for scale in [Scale::Smoke, Scale::Quick, Scale::Paper] {
        ready(scale).unwrap();
    }
}

#[test]
fn masks_floors_and_statistics_are_the_settings() {
    let plain = Set::Cifar10.training(Scale::Smoke);
    let event = Set::Cifar10.event(&plain);
    let before = serde_json::to_value(recipe(Set::Cifar10, &plain, event)).unwrap();
    assert!(before.get("statistics_on_model_chain").is_none(), "models would change their names");
    assert_eq!(plain.sampling(7), infusion::SampleOptions::new(7));
    let other = TrainSettings {
        prior_floor: 1e-3,
        shared_masks: true,
        statistics_on_model_chain: true,
        sampling_floor: 1e-5,
        ..plain
    };
    let found = recipe(Set::Cifar10, &other, event);
    let chain = &found.model.chain;
    assert_eq!(chain.masks, Masks::PerPixel { channels: 3 });
    assert_eq!(chain.prior_floor.to_bits(), 1e-3_f64.to_bits());
    assert!(found.statistics_on_model_chain);
    assert_eq!(other.sampling(7).variance_floor, Some(1e-5));
    let after = serde_json::to_value(found).unwrap();
    assert_eq!(after.get("statistics_on_model_chain"), Some(&serde_json::Value::Bool(true)));
    // The whole path with all four.
    let dir = tempfile::tempdir().unwrap();
    let overrides = [
        ("prior_floor", "1e-3"),
        ("shared_masks", "true"),
        ("statistics_on_model_chain", "true"),
        ("sampling_floor", "1e-5"),
    ];
    smoke("cifar10-samples", &overrides, dir.path());
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
    let found = crate::neighbours::nearest_training(&images, queries.view()).unwrap();
    assert_eq!(found[..3], [(3, 0.0), (4_999, 0.0), (5_002, 0.0)]);
    assert_eq!(found[3].0, 5_002);
    assert!((found[3].1 - (0.25_f64 / 256.0).powi(2)).abs() < 1e-12);
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
