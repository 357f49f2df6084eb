//! The digit experiments at smoke, and what other experiments take from here.

use vaebm::{ChainConfig, VaebmModel};

use super::{
    samples::draw,
    stored::{SHIPPED, stored},
};
use crate::{
    error::Error,
    request::Scale,
    testing::{elsewhere, experiment, request, size, smoke},
    vaebm::PAPER,
};

#[test]
fn both_experiments_train_draw_and_save_a_model() {
    let out = tempfile::tempdir().unwrap();
    for (id, rows) in [("mnist", 2), ("mnist-buffer", 3)] {
        let results = smoke(&PAPER, id, &[], out.path());
        let names = ["vaebm", "autoencoder", "vaebm_buffer"];
        for name in &names[..rows] {
            let fid = results.metric(&format!("mnist_fid_{name}")).unwrap();
            assert!(fid.value > 0.0 && fid.n == Some(8), "{fid:?}");
        }
        assert_eq!(results.metric("mnist_fid_vaebm_buffer").is_some(), rows == 3);
        let dir = out.path().join(id);
        // The ramp is at 0.6 * 3 / 150 in the last of four updates.
        let report = std::fs::read_to_string(dir.join("report.md")).unwrap();
        let told = report.contains("last 2000 chains") && report.contains("0.01 in the");
        assert_eq!(told, rows == 3);
        let model = VaebmModel::load(&dir.join("checkpoints/model"), &candle_core::Device::Cpu);
        assert_eq!(model.unwrap().config().chains.steps, 3);
        // Start, after two steps, end.
        let [three, two] = [(3 * 58 + 2, 10 * 58 + 2), (2 * 58 + 2, 2 * 58 + 2)];
        assert_eq!(size(&dir.join("samples/chains-vaebm.png")), three);
        assert_eq!(size(&dir.join("samples/samples-vaebm.png")), two);
    }
}

#[test]
fn a_missing_model_is_named_with_what_to_do() {
    let request = elsewhere(Scale::Quick, None, &[]);
    let error = stored(&request, SHIPPED).err().unwrap();
    let message = error.to_string();
    assert!(matches!(error, Error::Missing(_)), "{message}");
    for words in [SHIPPED, "check", "--experiment mnist", "--set model="] {
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[test]
fn unusable_settings_are_named() {
    for (key, value) in [
        ("train_images", "3"),
        ("updates", "5"),
        ("shown", "9"),
        ("choice_samples", "100"),
        ("energy_width", "0"),
        ("autoencoder.side", "16"),
        ("energy_training.chains.step_size", "0"),
    ] {
        let overrides = [(key, value), ("follow_every", "2")];
        let request = request(Scale::Smoke, &overrides);
        let message = (experiment(&PAPER, "mnist").settings)(&request).unwrap_err().to_string();
        let last = key.split('.').next_back().unwrap();
        assert!(message.contains(last) || message.contains("autoencoder"), "{key}: {message}");
    }
}

#[test]
fn samples_of_any_number_of_steps_begin_at_the_same_noise() {
    let out = tempfile::tempdir().unwrap();
    smoke(&PAPER, "mnist", &[], out.path());
    let dir = out.path().join("mnist/checkpoints/model");
    let model = VaebmModel::load(&dir, &candle_core::Device::Cpu).unwrap();
    let drawn = |steps, step_size| {
        let chains = ChainConfig { steps, step_size };
        let seed = chains_core::Seed::new(7);
        draw(&model, 6, chains, seed, &mut ()).unwrap().images.flatten_all().unwrap()
    };
    let (start, moved) = (drawn(0, 1e-2), drawn(3, 1e-12));
    let values = |t: candle_core::Tensor| t.to_vec1::<f32>().unwrap();
    for (a, b) in values(start).into_iter().zip(values(moved)) {
        assert!((a - b).abs() < 1e-3, "{a} {b}");
    }
}
