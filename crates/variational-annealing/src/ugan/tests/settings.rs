//! Presets against the numbers of their sources, typed again.

use super::*;

#[test]
fn presets_have_the_numbers_of_the_supplement() {
    let toy = UganConfig::toy(2);
    assert_eq!(toy.flow, MafConfig { hidden: vec![512, 512], blocks: 8, ..toy.flow.clone() });
    assert_eq!(
        (toy.latent, &toy.generator[..], &toy.critic[..]),
        (8, &[128; 3][..], &[128; 3][..])
    );
    let logistic = UganConfig::logistic(32);
    assert_eq!((logistic.latent, logistic.flow.blocks, logistic.output_scale), (32, 8, Some(0.1)));
    assert_eq!(logistic.generator, [256; 3]);
    let policy = UganConfig::policy(13, 2);
    assert_eq!((policy.flow.blocks, policy.flow.context, policy.flow.dim), (4, 13, 2));
    assert_eq!((&policy.generator[..], policy.latent), (&[128, 128][..], 2));
    assert!(policy.slope <= 0.0, "ReLU");
    assert_eq!(toy.flow.log_scale.map(|x| x as i64), [-5, 3]);
    for config in [toy, logistic, policy, UganConfig::small(2), UganConfig::logistic_small(15)] {
        config.validate().unwrap();
    }
}

#[test]
fn trainings_have_the_rates_of_their_experiment() {
    let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
    let toy = UganTraining::toy(3000);
    assert!(near(toy.generator_rate, 5e-4) && near(toy.critic_rate, 1e-3));
    assert!(near(toy.flow_rate, 1e-3) && near(toy.gradient_limit, 10.0));
    assert!(near(toy.adam.beta1, 0.5) && near(toy.adam.beta2, 0.9) && near(toy.average, 0.999));
    assert_eq!((toy.warm_up, toy.critic_steps, toy.flow_steps), (200, 1, 1));
    let logistic = UganTraining::logistic(3000);
    assert!(near(logistic.generator_rate, 2.5e-4) && near(logistic.flow_rate, 5e-4));
    assert_eq!((logistic.critic_steps, logistic.flow_steps), (2, 2));
    let policy = UganTraining::policy(1);
    assert!(near(policy.generator_rate, 4e-4) && near(policy.critic_rate, 4e-4));
    assert_eq!(policy.batch_size, 128);
}

#[test]
fn what_is_out_of_range_is_refused() {
    let config = UganConfig::small(2);
    for bad in [
        UganConfig { latent: 0, ..config.clone() },
        UganConfig { critic: vec![0], ..config.clone() },
        UganConfig { slope: f64::NAN, ..config.clone() },
        UganConfig { output_scale: Some(0.0), ..config.clone() },
        UganConfig { flow: MafConfig::new(0, 1, &[4]), ..config },
    ] {
        assert!(bad.validate().is_err(), "{bad:?}");
    }
    let toy = UganTraining::toy(10);
    for bad in [
        UganTraining { batch_size: 0, ..toy.clone() },
        UganTraining { critic_steps: 0, ..toy.clone() },
        UganTraining { generator_rate: -1.0, ..toy.clone() },
        UganTraining { input_noise: f64::INFINITY, ..toy.clone() },
        UganTraining { input_noise_share: 1.5, ..toy.clone() },
        UganTraining { defence: Some(Defence { share: 1.0, widening: 2.0 }), ..toy.clone() },
        UganTraining { defence: Some(Defence { share: 0.1, widening: 0.0 }), ..toy.clone() },
    ] {
        assert!(bad.validate().is_err(), "{bad:?}");
    }
}

#[test]
fn a_configuration_survives_its_file() {
    let config = UganConfig::policy(13, 2);
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<UganConfig>(&text).unwrap(), config);
    let training = UganTraining::toy(7).annealed(crate::Schedule::linear(4.0));
    let text = serde_json::to_string(&training).unwrap();
    assert_eq!(serde_json::from_str::<UganTraining>(&text).unwrap(), training);
}
