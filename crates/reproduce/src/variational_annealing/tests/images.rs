//! Scores, digits and photographs.

use super::super::PAPER;
use crate::{
    request::Scale,
    testing::{experiment, request, size, smoke},
};

#[test]
fn chains_along_both_scores_are_drawn_over_contours() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "score-estimators", &[], out.path());
    for id in ["exact", "denoiser", "residual", "residual_scaled"] {
        assert!(results.metric(&format!("mmd_{id}")).unwrap().value.is_finite(), "{id}");
        let plot = out.path().join(format!("score-estimators/plots/{id}.svg"));
        assert!(std::fs::read_to_string(plot).unwrap().contains("energy 2"), "{id}");
    }
}

#[test]
fn every_cell_of_the_digits_has_a_sheet_and_scores() {
    let out = tempfile::tempdir().unwrap();
    let results = crate::run::execute(
        &crate::request::Request {
            models: out.path().join("models"),
            ..request(Scale::Smoke, &[("untrained_denoiser", "true")])
        },
        &PAPER,
        experiment(&PAPER, "mnist-gan"),
        &out.path().join("mnist-gan"),
    )
    .unwrap();
    // Two objectives and three terms, the ablation, the untrained generator; real digits beside them.
    let scores = |name: &str| results.metrics.iter().filter(|m| m.name.starts_with(name)).count();
    assert_eq!((scores("mnist-fid"), scores("coverage")), (9, 9));
    let run = out.path().join("mnist-gan");
    let sheets: Vec<_> = std::fs::read_dir(run.join("samples")).unwrap().collect();
    assert_eq!(sheets.len(), 8);
    assert!(size(&sheets[0].as_ref().unwrap().path()).0 > 280);
    let text = std::fs::read_to_string(run.join("annealing.json")).unwrap();
    assert!(text.contains("positive is colder") && text.contains("lambda_per_sample"));
    // Two time scales of the Wasserstein critic, one of the divergence.
    let cells: Vec<(String, serde_json::Value)> = serde_json::from_str(&text).unwrap();
    for (label, cell) in cells {
        let train = &cell["train"];
        let rates = [&train["learning_rate"], &train["critic_rate"]].map(|rate| rate.as_f64());
        let generator = if label.starts_with("W-GP") { 2e-4 } else { 1e-3 };
        assert_eq!(rates, [Some(generator), Some(1e-3)], "{label}");
    }
}

#[test]
fn photographs_are_trained_on_drawn_and_resumed() {
    let out = tempfile::tempdir().unwrap();
    for overrides in [&[][..], &[("training.objective", "w-gan-gp")], &[("training.term", "dfm")]] {
        let results = smoke(&PAPER, "cifar10", overrides, out.path());
        assert!(results.metric("denoiser_loss").unwrap().value > 0.0);
        let run = out.path().join("cifar10");
        for file in ["plots/losses.svg", "checkpoints/model/model.safetensors", "annealing.json"] {
            assert!(run.join(file).is_file(), "{file}");
        }
        assert!(size(&run.join("samples/samples.png")).0 > 8 * 32);
        std::fs::remove_dir_all(&run).unwrap();
    }
}

#[test]
fn the_networks_of_the_tables_are_as_printed() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "structures", &[], out.path());
    assert_eq!(results.checks.len(), 4);
}

#[test]
fn settings_that_cannot_be_run_are_refused_before_anything_is_touched() {
    for (id, key, value, word) in [
        ("mnist-gan", "terms", r#"["cosine"]"#, "zigzag"),
        ("mnist-gan", "batch_size", "1", "batch_size"),
        ("cifar10", "training.iterations", "7", "follow_every"),
        ("cifar10", "training.sigma", "-1", "sigma"),
        ("score-estimators", "sigma", "0", "sigma"),
    ] {
        let request = request(Scale::Smoke, &[(key, value)]);
        let message = (experiment(&PAPER, id).settings)(&request).unwrap_err().to_string();
        assert!(message.contains(word), "{id} {key}: {message}");
    }
}

#[test]
fn the_papers_scale_is_the_papers() {
    let table = (experiment(&PAPER, "cifar10").settings)(&request(Scale::Paper, &[])).unwrap();
    assert_eq!(table["training"]["iterations"].to_string(), "150000");
    assert_eq!(table["networks"]["denoiser"]["hidden"].as_array().unwrap().len(), 9);
    assert_eq!(table["train_images"].to_string(), "50000");
    // Digits have their full length at `quick`, too, in fewer columns.
    for (scale, columns) in [(Scale::Paper, 6), (Scale::Quick, 2)] {
        let table = (experiment(&PAPER, "mnist-gan").settings)(&request(scale, &[])).unwrap();
        assert_eq!(table["iterations"].to_string(), "3000");
        assert_eq!(table["terms"].as_array().unwrap().len(), columns);
    }
}
