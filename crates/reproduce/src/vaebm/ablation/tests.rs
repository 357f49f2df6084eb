//! The ablation at smoke.

use vaebm::VaebmModel;

use super::settings::{AblationSettings, Row};
use crate::{
    request::Scale,
    testing::{elsewhere, experiment, request, size, smoke},
    vaebm::PAPER,
};

#[test]
fn every_row_trains_and_has_scores_and_a_sheet() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "ablation", &[], out.path());
    let dir = out.path().join("ablation");
    for row in Row::ALL {
        let fid = results.metric(&format!("mnist_fid_{}", row.name())).unwrap();
        assert!(fid.value > 0.0 && fid.n == Some(8), "{fid:?}");
        assert!(results.metric(&format!("seconds_{}", row.name())).unwrap().value >= 0.0);
        let sheet = format!("samples/samples-{}.png", row.name().replace('_', "-"));
        assert_eq!(size(&dir.join(sheet)), (2 * 58 + 2, 2 * 58 + 2));
    }
    for model in ["vaebm", "vaebm-decoder"] {
        let dir = dir.join("checkpoints").join(model);
        let model = VaebmModel::load(&dir, &candle_core::Device::Cpu).unwrap();
        assert_eq!(model.config().chains.steps, 3);
    }
    let text = std::fs::read_to_string(dir.join("report.md")).unwrap();
    assert!(text.contains("48.89") && text.contains("real digits"), "{text}");
}

#[test]
fn rows_run_alone_and_one_that_breaks_is_reported_beside_the_others() {
    let out = tempfile::tempdir().unwrap();
    let overrides = [
        ("rows", r#"["pixels-nvae", "nvae"]"#),
        ("pixel_training.learning_rate", "1e30"),
        ("updates", "8"),
    ];
    let request = crate::request::Request {
        models: out.path().join("models"),
        ..request(Scale::Smoke, &overrides)
    };
    let dir = out.path().join("ablation");
    let results =
        crate::run::execute(&request, &PAPER, experiment(&PAPER, "ablation"), &dir).unwrap();
    assert!(results.metric("mnist_fid_nvae").is_some());
    assert!(results.metric("mnist_fid_wgan").is_none());
    let text = std::fs::read_to_string(dir.join("report.md")).unwrap();
    assert!(text.contains("This row broke"), "{text}");
}

#[test]
fn unusable_settings_are_named() {
    for (key, value) in [
        ("rows", "[]"),
        ("rows", r#"["nvae", "nvae"]"#),
        ("rows", r#"["gan"]"#),
        ("updates", "5"),
        ("energy_updates", "3"),
        ("follow_every", "101"),
        ("shown", "9"),
        ("pixel_batch", "0"),
        ("critic_rate", "0"),
        ("pixel_training.restart", "2"),
        ("energy_width", "0"),
    ] {
        let request = request(Scale::Smoke, &[(key, value)]);
        let message = (experiment(&PAPER, "ablation").settings)(&request).unwrap_err().to_string();
        assert!(message.contains(key), "{key}: {message}");
    }
}

#[test]
fn quick_begins_with_the_shipped_model_and_says_if_it_is_not_there() {
    let request = elsewhere(Scale::Quick, None, &[]);
    let settings = AblationSettings::resolve(&request).unwrap();
    assert_eq!(settings.model, super::super::digits::stored::SHIPPED);
    assert!(settings.ready(&request).is_err());
    let [wgan, extension] = [settings.wgan(), settings.extension()];
    assert_eq!((wgan.train.chains.steps, extension.train.chains.steps), (0, 10));
    assert!(extension.train.replay.is_none() && !wgan.train.data_dependent_init);
}
