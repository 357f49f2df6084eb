use vaebm::VaebmModel;

use super::*;
use crate::{
    testing::{request, size, smoke},
    vaebm::PAPER,
};

#[test]
fn both_models_have_modes_and_sheets() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "stacked-mnist", &[], out.path());
    for name in ["real_stacked_test_digits", "autoencoder", "vaebm"] {
        let modes = results.metric(&format!("modes_{name}")).unwrap();
        assert!((1.0..=16.0).contains(&modes.value) && modes.n == Some(16), "{modes:?}");
        assert!(results.metric(&format!("divergence_even_{name}")).unwrap().value > 0.0);
    }
    let dir = out.path().join("stacked-mnist");
    for name in ["real", "autoencoder", "vaebm"] {
        assert_eq!(size(&dir.join(format!("samples/{name}.png"))), (10 * 58 + 2, 58 + 2));
    }
    let model = VaebmModel::load(&dir.join("checkpoints/model"), &Device::Cpu).unwrap();
    assert_eq!(model.config().autoencoder.channels, 3);
}

#[test]
fn stacked_images_are_framed_triples_of_digits_and_come_back_as_bytes() {
    let pixels: Vec<u8> = (0..3 * 784).map(|i| (i / 784 * 100) as u8).collect();
    let digits = ImageSet::new("three", pixels, vec![0, 1, 2], [1, 28, 28]).unwrap();
    let set = stacked(&digits, 20, Seed::new(0)).unwrap();
    assert_eq!((set.len(), set.channels, set.height), (20, 3, 32));
    let levels: Vec<u8> = set.gather(&(0..20).collect::<Vec<_>>());
    assert!(levels[..32].iter().all(|level| *level == 0));
    assert!(levels.iter().all(|level| level % 100 == 0));
    // All three digits are there.
    assert!([0, 100, 200].iter().all(|level| levels.contains(level)));
    let x = Tensor::new(&[-0.5_f32, 0.0, 0.5, 1.0, 1.5], &Device::Cpu).unwrap();
    let back = bytes(&x).unwrap().to_vec1::<u8>().unwrap();
    assert_eq!(back, [0, 0, 128, 255, 255]);
}

#[test]
fn unusable_settings_are_named() {
    for (key, value) in [
        ("triples", "3"),
        ("updates", "5"),
        ("shown", "17"),
        ("energy_width", "0"),
        ("autoencoder.channels", "1"),
    ] {
        let request = request(Scale::Smoke, &[(key, value)]);
        let message = StackedSettings::resolve(&request).unwrap_err().to_string();
        let last = key.split('.').next().unwrap();
        assert!(message.contains(last), "{key}: {message}");
    }
    let request = request(Scale::Paper, &[]);
    let settings = StackedSettings::resolve(&request).unwrap();
    assert_eq!((settings.energy_width, settings.samples), (24, 5_000));
}
