//! The experiments at smoke.

use super::PAPER;
use crate::testing::smoke;

#[test]
fn step_sizes_of_the_linear_model_are_those_of_the_closed_form() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "step-size-linear", &[], out.path());
    for (name, want, within) in [
        ("limit_points_and_latents", 7.109e-4, 5e-8),
        ("condition_points_and_latents", 3696.0, 0.5),
        ("limit_noise", 1.1676, 5e-5),
        ("condition_noise", 3.426, 5e-4),
    ] {
        let found = results.metric(name).unwrap().value;
        assert!((found - want).abs() < within, "{name}: {found}");
    }
    assert!(out.path().join("step-size-linear/plots/divergence.svg").is_file());
}

#[test]
fn gaussians_are_modelled_with_and_without_chains_and_drawn() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "gaussians-25", &[], out.path());
    for name in [
        "log_likelihood_truth",
        "log_likelihood_autoencoder",
        "log_likelihood_langevin",
        "log_likelihood_importance",
        "log_partition_langevin",
        "share_importance_resampled",
    ] {
        let metric = results.metric(name).unwrap();
        // The paper's numbers stand beside ours from quick on.
        assert!(metric.std_error.unwrap() > 0.0 && metric.published.is_none(), "{metric:?}");
    }
    let run = out.path().join("gaussians-25");
    for file in [
        "plots/samples.svg",
        "samples/densities.png",
        "checkpoints/autoencoder/model.safetensors",
        "checkpoints/langevin/model.safetensors",
    ] {
        assert!(run.join(file).is_file(), "{file}");
    }
}

#[test]
fn photographs_of_every_size_pass_both_stages() {
    let out = tempfile::tempdir().unwrap();
    for (id, side) in [("cifar10", 32), ("celeba64", 64), ("lsun64", 64), ("celebahq256", 256)] {
        let results = smoke(&PAPER, id, &[], out.path());
        assert!(results.metric("bits_per_dim_autoencoder").is_some(), "{id}");
        // Nothing runs away in two updates: the last network.
        assert!((results.metric("energy_updates").unwrap().value - 2.0).abs() < 1e-12, "{id}");
        let run = out.path().join(id);
        for file in ["plots/energies-vaebm.svg", "checkpoints/model/model.safetensors"] {
            assert!(run.join(file).is_file(), "{id}: {file}");
        }
        // Two samples of either kind in two rows.
        let (width, height) = crate::testing::size(&run.join("samples/samples.png"));
        assert!(width > 2 * side && height > 2 * side, "{id}: {width} {height}");
        assert!(crate::testing::size(&run.join("samples/chains.png")).0 > 3 * side, "{id}");
    }
}

#[test]
fn presets_of_photographs_are_the_published_networks() {
    for (id, parameters) in [("cifar10", "128"), ("celeba64", "48"), ("celebahq256", "32")] {
        let request = crate::testing::request(crate::request::Scale::Paper, &[]);
        let experiment = crate::testing::experiment(&PAPER, id);
        let table = (experiment.settings)(&request).unwrap();
        assert_eq!(table["autoencoder"]["encoder_width"].to_string(), parameters, "{id}");
        let message = (experiment.ready)(&request).unwrap_err().to_string();
        assert!(message.contains("--data DIR"), "{id}: {message}");
    }
}

#[test]
fn published_networks_have_their_numbers_of_parameters_and_tensors() {
    let out = tempfile::tempdir().unwrap();
    let results = smoke(&PAPER, "structures", &[], out.path());
    assert_eq!(results.checks.len(), 9);
}

#[test]
fn unusable_settings_are_named() {
    for (id, key, value) in [
        ("gaussians-25", "likelihood_points", "100000"),
        ("gaussians-25", "step_size", "0"),
        ("gaussians-25", "grid_step", "-1"),
        ("step-size-linear", "scale", "0"),
        ("step-size-linear", "steps", "1"),
        ("cifar10", "updates", "0"),
        ("cifar10", "autoencoder.side", "28"),
        ("celeba64", "energy.side", "32"),
        ("structures", "batch_size", "0"),
    ] {
        let request = crate::testing::request(crate::request::Scale::Smoke, &[(key, value)]);
        let experiment = crate::testing::experiment(&PAPER, id);
        let message = (experiment.settings)(&request).unwrap_err().to_string();
        let word = key.split('.').next().unwrap();
        assert!(message.contains(word), "{id} {key}: {message}");
    }
}

/// O18: values of the metrics that the experiments report.
#[test]
fn metrics_have_the_values_of_the_oracle() {
    use chains_core::{HostNoise, Seed};
    use eval_metrics::{
        FrechetOptions, Moments, auroc, frechet_distance, mode_coverage, stacked_classes,
    };
    use ndarray::{Array2, array};

    let area = auroc(&[3.0, 2.0, 1.0], &[2.0, 0.0]).unwrap();
    // Of six pairs four are won and one is tied.
    assert!((area.value - 0.75).abs() < 1e-12, "{area:?}");
    let unit = Moments::new(array![0.0, 0.0], Array2::eye(2), 100).unwrap();
    let wide = Moments::new(array![1.0, 0.0], Array2::eye(2) * 4.0, 100).unwrap();
    let distance = frechet_distance(&unit, &wide, &FrechetOptions::default()).unwrap();
    assert!((distance.value - 3.0).abs() < 1e-6, "{distance:?}");
    let mut noise: HostNoise = Seed::new(0).child("labels").host_noise();
    let mut digits = || {
        let mut values = vec![0.0_f32; 26_000];
        noise.fill_uniform(&mut values);
        values.into_iter().map(|u| (u * 10.0) as usize).collect::<Vec<_>>()
    };
    let cells = stacked_classes(&digits(), &digits(), &digits()).unwrap();
    let found = mode_coverage(&cells, 1_000).unwrap();
    assert_eq!(found.modes, 1_000);
    // Four standard deviations.
    assert!((found.kl - 0.0193).abs() < 0.0035, "{}", found.kl);
}
