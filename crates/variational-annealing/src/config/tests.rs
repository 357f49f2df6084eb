use chains_core::optim::AdamConfig;

use super::*;
use crate::{
    anneal::{LambdaNorm, Reg, Schedule},
    objective::{AnnealTerm, Objective},
};

#[test]
fn presets_are_those_of_the_supplement_and_released_code() {
    for objective in [Objective::Jsd, Objective::Rkl, Objective::RklDual, Objective::WGanGp] {
        let config = TrainConfig::cifar10(objective);
        config.validate().unwrap();
        let want = TrainConfig {
            objective,
            term: AnnealTerm::Off,
            schedule: Schedule::none(),
            lambda_norm: LambdaNorm::PerElement,
            sigma: 1.0,
            denoiser_warm_up: 100,
            train_denoiser: true,
            penalty: 10.0,
            critic_steps: 1,
            order: config.order,
            batch_size: 64,
            iterations: 150_000,
            learning_rate: 1e-4,
            critic_rate: None,
            adam: AdamConfig { beta1: 0.5, beta2: 0.9, eps: 1e-8 },
        };
        assert_eq!(config, want);
        assert_eq!(TrainConfig::celeba(objective), want);
        let first = objective == Objective::WGanGp;
        assert_eq!(config.order == Order::GeneratorFirst, first);
        let digits = TrainConfig::mnist(objective);
        assert_eq!((digits.iterations, digits.batch_size), (3000, 64));
        let rate = if objective == Objective::WGanGp { 2e-4 } else { 1e-3 };
        assert!((digits.learning_rate - rate).abs() < 1e-12);
        assert!((digits.critic_rate() - 1e-3).abs() < 1e-12);
        assert!((config.critic_rate() - 1e-4).abs() < 1e-12);
    }
    assert_eq!(GanConfig::cifar10().denoiser.hidden, vec![2048; 9]);
    assert_eq!(GanConfig::cifar10_table().denoiser.hidden, vec![2048; 6]);
    assert!(GanConfig::cifar10().discriminator.batch_norm);
    assert!(!GanConfig::cifar10().without_critic_norm().discriminator.batch_norm);
}

#[test]
fn the_weight_is_zero_while_the_denoiser_warms_up_and_without_a_term() {
    let config =
        TrainConfig::cifar10(Objective::Jsd).annealed(AnnealTerm::Score, Schedule::linear(10.0));
    assert!((0..100).all(|t| config.lambda(t) == 0.0));
    assert!((config.lambda(100) - 10.0 * (1.0 - 100.0 / 120_000.0)).abs() < 1e-12);
    assert!((120_000..150_000).all(|t| config.lambda(t) == 0.0));
    let off = TrainConfig { term: AnnealTerm::Off, ..config };
    assert!((0..150_000).step_by(999).all(|t| off.lambda(t) == 0.0));
}

#[test]
fn the_resolved_configuration_states_sign_weight_and_temperature() {
    let config =
        TrainConfig::cifar10(Objective::Jsd).annealed(AnnealTerm::Score, Schedule::linear(-10.0));
    let resolved = config.resolved(2048);
    assert!(resolved.sign_convention.contains("positive is colder"), "{resolved:?}");
    assert!(resolved.form == Reg::Likelihood && resolved.ends_at_zero);
    assert_eq!((resolved.course.len(), resolved.course[10].iteration), (11, 149_999));
    let tenth = resolved.course[1];
    assert!((tenth.lambda + 10.0 * (1.0 - 14_999.0 / 120_000.0)).abs() < 1e-9, "{tenth:?}");
    let beta = tenth.beta.unwrap();
    assert!((beta - (1.0 + tenth.lambda / 2048.0)).abs() < 1e-12);
    // Half a percent at most, and hot: negative annealing.
    assert!(beta < 1.0 && beta > 0.995, "{beta}");
    let always = TrainConfig { schedule: Schedule::constant(0.06), ..config.clone() };
    assert!(!always.resolved(2048).ends_at_zero);
    let sample = TrainConfig { lambda_norm: LambdaNorm::PerSample, ..config };
    assert_eq!(sample.resolved(2048).course[1].beta, None, "no temperature is that hot");
    let text = serde_json::to_string(&resolved).unwrap();
    assert_eq!(serde_json::from_str::<Resolved>(&text).unwrap(), resolved);
}

#[test]
fn values_out_of_range_are_named() {
    let fine = TrainConfig::cifar10(Objective::Jsd);
    for (bad, field) in [
        (TrainConfig { sigma: 0.0, ..fine.clone() }, "sigma"),
        (TrainConfig { penalty: f64::NAN, ..fine.clone() }, "penalty"),
        (TrainConfig { batch_size: 1, ..fine.clone() }, "batch_size"),
        (TrainConfig { critic_steps: 5, ..fine.clone() }, "critic_steps"),
        (
            TrainConfig { critic_steps: 0, order: Order::CriticFirst, ..fine.clone() },
            "critic_steps",
        ),
        (TrainConfig { learning_rate: -1.0, ..fine.clone() }, "learning_rate"),
        (TrainConfig { critic_rate: Some(0.0), ..fine.clone() }, "critic_rate"),
        (TrainConfig { schedule: Schedule::zigzag(1.0, 0), ..fine.clone() }, "schedule"),
    ] {
        let message = bad.validate().unwrap_err().to_string();
        assert!(message.contains(field), "{message}");
    }
    let five = TrainConfig { critic_steps: 5, order: Order::GeneratorFirst, ..fine };
    assert!(five.validate().is_ok());
}
