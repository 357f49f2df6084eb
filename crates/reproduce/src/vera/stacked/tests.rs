use std::path::Path;

use vera::{ModelConfig, TrainConfig};

use super::{super::PAPER, settings::IMPORTANCE, *};
use crate::{
    request::{Request, Scale},
    run::execute,
};

fn request(scale: Scale, overrides: &[(&str, &str)], out: &Path) -> Request {
    Request { models: out.join("models"), ..crate::testing::request(scale, overrides) }
}

#[test]
fn the_whole_path_works_at_smoke_with_both_estimators() {
    let temp = tempfile::tempdir().unwrap();
    for entropy in [IMPORTANCE, HMC] {
        let out = temp.path().join(entropy);
        let request = request(Scale::Smoke, &[("entropy", entropy)], &out);
        let results = execute(&request, &PAPER, &STACKED_MNIST, &out).unwrap();
        assert!(results.passed(), "{:?}", results.checks);
        for name in ["modes_lambda_1", "modes_lambda_0", "modes_real_stacked_test_digits"] {
            let modes = results.metric(name).unwrap();
            assert!((1.0..=16.0).contains(&modes.value), "{name}: {}", modes.value);
        }
        for file in ["real", "lambda-1", "lambda-0"] {
            assert!(out.join(format!("samples/{file}.png")).is_file());
        }
    }
}

#[test]
fn the_papers_scale_has_the_papers_networks() {
    let settings = resolve(&request(Scale::Paper, &[], Path::new(""))).unwrap();
    let recipe = settings.recipe(1.0);
    assert_eq!(recipe.model, ModelConfig::stacked_mnist());
    assert_eq!(recipe.train, TrainConfig::stacked_mnist());
    assert_eq!((settings.triples, recipe.epochs), (60_000, 17));
    assert_eq!([1.0, 0.0, 0.5].map(|w| settings.published(w)), [Some(999.0), Some(998.0), None]);
    for (key, value) in
        [("side", "28"), ("entropy", "none"), ("batch_size", "1"), ("shown", "99999")]
    {
        let message = resolve(&request(Scale::Quick, &[(key, value)], Path::new("")))
            .unwrap_err()
            .to_string();
        assert!(message.contains(key), "{message}");
    }
}

#[test]
fn enlarged_images_come_back_where_interpolation_is_exact_and_small_ones_are_rounded() {
    // A plane of grey levels: interpolation moves it by rounding, and at the edges by a tenth of a slope.
    let pixels: Vec<u8> = (0..28 * 28).map(|i| (3 * (i % 28) + 4 * (i / 28)) as u8).collect();
    let set = ImageSet::new("t", pixels.clone(), vec![], [1, 28, 28]).unwrap();
    let large = set.enlarged(64, 64).unwrap();
    let x = large.symmetric(&[0]).unwrap().reshape((1, 1, 64, 64)).unwrap();
    let back = bytes(&x).unwrap();
    assert_eq!(back.dims(), [1, 1, 28, 28]);
    let back = back.flatten_all().unwrap().to_vec1::<u8>().unwrap();
    for (got, want) in back.iter().zip(&pixels) {
        assert!(got.abs_diff(*want) <= 1, "{got} {want}");
    }
    let x = Tensor::new(&[-1.0_f32, 1.0, 0.0, -2.0], &Device::Cpu).unwrap();
    let x = x.reshape((1, 1, 2, 2)).unwrap();
    assert_eq!(
        bytes(&x).unwrap().flatten_all().unwrap().to_vec1::<u8>().unwrap(),
        [0, 255, 128, 0]
    );
}
