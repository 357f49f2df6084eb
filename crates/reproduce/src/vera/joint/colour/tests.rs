use std::path::{Path, PathBuf};

use chains_core::Seed;
use vera::{Labels, ModelConfig, TrainConfig, TrainState, update};

use super::{super::super::PAPER, *};
use crate::{registry::Experiment, run::execute};

const SETS: [Photographs; 3] = [Photographs::Cifar10, Photographs::Cifar100, Photographs::Svhn];

fn request(scale: Scale, overrides: &[(&str, &str)], data: Option<&Path>) -> Request {
    let data = data.map(Path::to_owned);
    Request { data, root: PathBuf::new(), ..crate::testing::request(scale, overrides) }
}

fn experiment(id: &str) -> &'static Experiment {
    PAPER.experiments.iter().find(|e| e.id == id).unwrap()
}

#[test]
fn the_whole_path_works_at_smoke() {
    let temp = tempfile::tempdir().unwrap();
    for id in ["jem-cifar10", "jem-cifar100", "jem-svhn"] {
        let mut request = request(Scale::Smoke, &[], None);
        request.models = temp.path().join("models");
        let out = temp.path().join(id);
        let results = execute(&request, &PAPER, experiment(id), &out).unwrap();
        assert!(results.passed(), "{id}: {:?}", results.checks);
        for name in
            ["accuracy", "calibration_error", "auroc_interpolations_density", "refined_gain"]
        {
            assert!(results.metric(name).is_some(), "{id}: {name}");
        }
        for sheet in ["samples", "refined"] {
            assert!(out.join(format!("samples/{sheet}.png")).is_file());
        }
    }
}

#[test]
fn the_papers_scale_is_the_published_command() {
    for (set, classes, images) in
        [(SETS[0], 10, 50_000), (SETS[1], 100, 50_000), (SETS[2], 10, 73_257)]
    {
        let settings = JointSettings::resolve(&request(Scale::Paper, &[], None), set).unwrap();
        let recipe = settings.recipe(set);
        assert_eq!(recipe.model, ModelConfig::jem(classes));
        assert_eq!(recipe.train, TrainConfig::jem(images / 40));
        assert_eq!((recipe.epochs, settings.train_images), (200, images));
        assert_eq!(set.augmentation().flip, set != Photographs::Svhn);
    }
}

#[test]
fn the_papers_kinds_of_networks_make_an_update_at_tiny_sizes() {
    let tiny = [("depth", "10"), ("widening", "1"), ("generator_width", "4"), ("proposals", "2")];
    let small = [("batch_size", "2"), ("train_images", "4"), ("warmup", "0")];
    for set in SETS {
        let overrides = [tiny.as_slice(), small.as_slice()].concat();
        let request = request(Scale::Paper, &overrides, None);
        let recipe = JointSettings::resolve(&request, set).unwrap().recipe(set);
        let model = VeraModel::new(recipe.model, Seed::new(0), &Device::Cpu).unwrap();
        let mut state = TrainState::new(&recipe.train);
        let mut noise = Seed::new(1).host_noise();
        let shape = [3, 32, 32];
        let x = ImageSet::uniform_noise(2, shape, &mut noise).unwrap();
        let x = x.symmetric(&[0, 1]).unwrap().reshape((2, 3, 32, 32)).unwrap();
        let last = set.classes() as u32 - 1;
        let y = candle_core::Tensor::new(&[0_u32, last], &Device::Cpu).unwrap();
        let terms =
            update(&model, &mut state, &recipe.train, (&x, Labels::Same(&y)), &mut noise).unwrap();
        assert!(terms.energy_loss.is_finite() && terms.classification > 0.0);
        assert!(terms.score_norm > 0.0 && terms.penalty > 0.0);
    }
}

#[test]
fn settings_that_cannot_be_run_and_missing_files_are_named() {
    for (key, value) in
        [("batch_size", "1"), ("refinement.adaptation_rate", "2"), ("epochs", "0"), ("depth", "11")]
    {
        let request = request(Scale::Quick, &[(key, value)], None);
        let message = JointSettings::resolve(&request, SETS[0]).unwrap_err().to_string();
        assert!(message.contains(key.split('.').next_back().unwrap()), "{message}");
    }
    let temp = tempfile::tempdir().unwrap();
    for (set, words) in SETS.into_iter().zip(["CIFAR-10", "cifar-100-binary", "svhn/train/9"]) {
        for data in [None, Some(temp.path())] {
            let error = set.ready(&request(Scale::Quick, &[], data)).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.exit_status(), 2);
        }
    }
}

#[test]
fn labelled_folders_of_house_numbers_are_shuffled_with_their_labels() {
    let temp = tempfile::tempdir().unwrap();
    for (part, each) in [("train", 3), ("test", 2)] {
        for class in 0..10_u8 {
            let dir = temp.path().join("svhn").join(part).join(class.to_string());
            std::fs::create_dir_all(&dir).unwrap();
            for i in 0..each {
                let image = image::RgbImage::from_pixel(32, 32, image::Rgb([20 * class, i, 9]));
                image.save(dir.join(format!("{i}.png"))).unwrap();
            }
        }
    }
    let request = request(Scale::Quick, &[], Some(temp.path()));
    Photographs::Svhn.ready(&request).unwrap();
    let cut = crate::images::Cut { train: 20, validation: 10, test: 20, pooled: false };
    let images = Photographs::Svhn.images(&request, &cut).unwrap();
    for set in [&images.train, &images.validation, &images.test] {
        assert!((0..set.len()).all(|i| set.image(i)[0] == 20 * set.labels[i]));
        assert!(!set.labels.is_sorted());
    }
    let cut = crate::images::Cut { train: 21, ..cut };
    let message = Photographs::Svhn.images(&request, &cut).unwrap_err().to_string();
    assert!(message.contains("30 images, 31"), "{message}");
}
