use super::*;
use chains_core::nn::Gains;

fn all() -> Vec<ModelConfig> {
    vec![
        ModelConfig::mnist(),
        ModelConfig::cifar10(),
        ModelConfig::svhn(),
        ModelConfig::celeba(),
        ModelConfig::lsun(),
        ModelConfig::mnist_mlp_short(),
        ModelConfig::mnist_mlp_long(),
        ModelConfig::cifar10_bound(0.01, 1.5, 0.06).unwrap(),
        ModelConfig::spiral(),
        ModelConfig::circle(),
        ModelConfig::mixture(),
    ]
}

#[test]
fn image_presets_are_the_supplements_tables() {
    // Typed again from Tables 1 to 4 and section 6.
    let conv = |channels: &[usize], hidden| Architecture::Conv {
        channels: channels.to_vec(),
        hidden: vec![hidden; 4],
    };
    let cases = [
        (ModelConfig::mnist(), [1, 28, 28], conv(&[16, 32], 1024), 5),
        (ModelConfig::celeba(), [3, 64, 64], conv(&[64, 128, 256], 1024), 10),
        (ModelConfig::cifar10(), [3, 32, 32], conv(&[64, 128, 256], 2048), 5),
        (ModelConfig::svhn(), [3, 32, 32], conv(&[64, 128, 256], 1024), 5),
    ];
    for (config, event, architecture, extra) in cases {
        assert_eq!(config.network.event, event);
        assert_eq!(config.network.architecture, architecture);
        assert_eq!((config.network.steps, config.chain.extra_steps), (30, extra));
        assert_eq!(config.chain.temperatures, Temperatures::Geometric { factor: 2.0 });
        assert_eq!(config.chain.mixing, Mixing::constant(0.5));
        assert_eq!(config.chain.start, StartConfig::Clipped { mean: 0.5, stdev: 2.0 });
        assert_eq!(config.operator, OperatorConfig::Reconstruction { noise: 1e-5, outside: false });
        assert_eq!(
            (config.network.dense_gains, config.network.conv_gains),
            (Gains::PerStep, Gains::Shared)
        );
        assert!(!config.operator.has_density());
    }
    let mnist = NetworkConfig::mnist();
    assert_eq!(mnist.dense_norm, DenseNorm::Layer);
    assert_eq!(format!("{}", mnist.dense_slope), "0.02");
    for network in [NetworkConfig::cifar10(), NetworkConfig::svhn(), NetworkConfig::celeba()] {
        assert_eq!(network.dense_norm, DenseNorm::Batch);
        assert!(network.dense_slope.abs() < f64::EPSILON);
    }
    let outside = OperatorConfig::Reconstruction { noise: 1e-5, outside: true };
    assert_eq!(ModelConfig::lsun().operator, outside);
    assert_eq!(NetworkConfig::mnist().bottom(), [32, 7, 7]);
    assert_eq!(NetworkConfig::celeba().bottom(), [256, 8, 8]);
    assert_eq!(NetworkConfig::cifar10().bottom(), [256, 4, 4]);
}

#[test]
fn presets_with_a_bound_are_the_recorded_command_lines() {
    let mlp = |hidden, n| Architecture::Mlp { hidden: vec![hidden; n] };
    let gaussian = |scale, floor| OperatorConfig::Gaussian {
        scale,
        floor,
        effect: TemperatureEffect::Variance,
    };
    let short = ModelConfig::mnist_mlp_short();
    let long = ModelConfig::mnist_mlp_long();
    for (config, steps, factor, scale) in [(&short, 5, 1.5, 0.009), (&long, 10, 2.0, 0.001)] {
        assert_eq!(config.network.architecture, mlp(1200, 2));
        assert_eq!((config.network.event, config.network.steps), ([1, 28, 28], steps));
        assert_eq!(config.network.dense_norm, DenseNorm::Batch);
        assert_eq!(config.network.dense_gains, Gains::PerStep);
        assert_eq!(config.chain.temperatures, Temperatures::Geometric { factor });
        assert_eq!(config.operator, gaussian(scale, 1e-4));
    }
    let weights = |config: &ModelConfig| [0, 1, 9].map(|index| config.chain.mixing.at(index));
    assert!(weights(&short).iter().all(|a| (a - 0.5).abs() < 1e-15));
    let want = [0.9, 0.85, 0.45];
    assert!(weights(&long).iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12));
    assert_eq!(
        TrainConfig::mnist_mlp_short().learning_rate,
        LearningRate::Constant { value: 1e-5 }
    );

    let curve = ModelConfig::spiral();
    assert_eq!((curve.network.dim(), curve.network.steps), (2, 30));
    assert_eq!(curve.network.architecture, mlp(4096, 2));
    assert_eq!(curve.network.dense_norm, DenseNorm::None);
    assert_eq!(curve.operator, gaussian(0.009, 1e-6));
    let mixture = ModelConfig::mixture();
    assert_eq!(mixture.network.architecture, mlp(256, 2));
    assert_eq!(mixture.network.dense_norm, DenseNorm::Batch);
    assert_eq!(mixture.operator, gaussian(0.05, 1e-6));
    for config in [curve, mixture, ModelConfig::circle()] {
        assert_eq!(config.chain.temperatures, Temperatures::Geometric { factor: 1.1 });
        assert_eq!(config.chain.start, StartConfig::Fitted { floor: 1e-6 });
    }
}

#[test]
fn the_ladder_of_a_bound_bridges_the_variances() {
    let config = ModelConfig::cifar10_bound(0.01, 1.5, 0.06).unwrap();
    let u: f64 = 0.01 * 2_f64.ln() + 1e-4;
    let top = config.chain.temperatures.heating(config.network.steps - 1);
    assert!(top >= 0.06 / u && top / 1.5 < 0.06 / u, "{top}");
    assert!(config.operator.has_density());
    assert!(ModelConfig::cifar10_bound(0.01, 1.0, 0.06).is_err());
    assert!(ModelConfig::cifar10_bound(0.01, 2.0, 1e-9).is_err());
}

#[test]
fn trainings_are_those_of_the_scripts() {
    for (config, updates, batch) in [
        (TrainConfig::images(), Updates::Online, 100),
        (TrainConfig::svhn(), Updates::Online, 100),
        (TrainConfig::curve(), Updates::Accumulated, 5000),
        (TrainConfig::mixture(), Updates::Accumulated, 2500),
    ] {
        config.validate().unwrap();
        assert_eq!((config.updates, config.batch_size), (updates, batch));
        assert_eq!(config.learning_rate, LearningRate::Constant { value: 1e-4 });
        assert_eq!(config.adam, AdamConfig::standard());
        assert_eq!((config.objective, config.extra_steps), (Objective::Walkback, 0));
    }
    assert_eq!(TrainConfig::images().error, ReconstructionError::Squared);
    assert_eq!(TrainConfig::svhn().error, ReconstructionError::Absolute);
}

#[test]
fn presets_are_valid_and_come_back_from_their_text() {
    for config in all() {
        config.validate().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ModelConfig>(&text).unwrap(), config);
        for field in ["steps", "dense_norm", "mixing", "kind"] {
            let unknown = text.replacen(&format!("\"{field}\""), "\"other\"", 1);
            assert!(serde_json::from_str::<ModelConfig>(&unknown).is_err(), "{field}");
        }
    }
    let text = serde_json::to_string(&TrainConfig::curve()).unwrap();
    assert_eq!(serde_json::from_str::<TrainConfig>(&text).unwrap(), TrainConfig::curve());
}

/// The field that a changed MNIST preset is refused for.
fn refused(change: impl FnOnce(&mut ModelConfig)) -> &'static str {
    let mut config = ModelConfig::mnist();
    change(&mut config);
    match config.validate() {
        Err(Error::Config { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn bad_fields_are_named() {
    let conv = |channels: &[usize], hidden: &[usize]| Architecture::Conv {
        channels: channels.to_vec(),
        hidden: hidden.to_vec(),
    };
    let mlp = |hidden: &[usize]| Architecture::Mlp { hidden: hidden.to_vec() };
    assert_eq!(refused(|c| c.network.event = [1, 30, 28]), "channels");
    assert_eq!(refused(|c| c.network.event = [0, 28, 28]), "event");
    assert_eq!(refused(|c| c.network.event = [usize::MAX; 3]), "event");
    assert_eq!(refused(|c| c.network.steps = 0), "steps");
    assert_eq!(refused(|c| c.network.steps = usize::MAX), "steps");
    assert_eq!(refused(|c| c.network.architecture = conv(&[], &[8])), "channels");
    assert_eq!(refused(|c| c.network.architecture = conv(&[8, 0], &[8])), "channels");
    assert_eq!(refused(|c| c.network.architecture = conv(&[usize::MAX], &[8])), "channels");
    assert_eq!(refused(|c| c.network.architecture = conv(&[8; 70], &[8])), "channels");
    assert_eq!(refused(|c| c.network.architecture = conv(&[8], &[8, 0])), "hidden");
    assert_eq!(refused(|c| c.network.architecture = mlp(&[usize::MAX; 2])), "hidden");
    assert_eq!(refused(|c| c.network.architecture = mlp(&[1 << 20, 1 << 20])), "architecture");
    assert_eq!(
        refused(|c| c.network.architecture = conv(&[1 << 20, 1 << 20], &[8])),
        "architecture"
    );
    assert_eq!(refused(|c| c.network.steps = 1 << 16), "architecture");
    assert_eq!(refused(|c| c.network.dense_slope = -0.1), "dense_slope");
    assert_eq!(refused(|c| c.network.conv_slope = f64::NAN), "conv_slope");
    let stdev = f64::INFINITY;
    assert_eq!(refused(|c| c.network.dense_init = DenseInit::Normal { stdev }), "dense_init.stdev");
    assert_eq!(
        refused(|c| c.chain.temperatures = Temperatures::Geometric { factor: 0.9 }),
        "factor"
    );
    assert_eq!(refused(|c| c.chain.mixing.initial = 1.1), "mixing.initial");
    assert_eq!(refused(|c| c.chain.mixing.increment = f64::NAN), "mixing.increment");
    assert_eq!(
        refused(|c| c.chain.start = StartConfig::Clipped { mean: 0.5, stdev: 0.0 }),
        "start.stdev"
    );
    assert_eq!(
        refused(|c| c.chain.start = StartConfig::Clipped { mean: f64::NAN, stdev: 1.0 }),
        "start.mean"
    );
    assert_eq!(refused(|c| c.chain.start = StartConfig::Fitted { floor: 0.0 }), "start.floor");
    let bits = |probability| StartConfig::Bernoulli { probability };
    assert_eq!(refused(|c| c.chain.start = bits(1.0)), "start.probability");
    assert_eq!(refused(|c| c.chain.start = bits(0.5)), "start");
    assert_eq!(refused(|c| c.operator = OperatorConfig::Bernoulli), "start");
    assert_eq!(refused(|c| c.operator = OperatorConfig::gaussian(0.1, 1e-4)), "start");
    assert_eq!(refused(|c| c.operator = OperatorConfig::gaussian(0.1, 0.0)), "floor");
    assert_eq!(refused(|c| c.operator = OperatorConfig::gaussian(f64::NAN, 1.0)), "scale");
    let noise = OperatorConfig::Reconstruction { noise: 0.0, outside: false };
    assert_eq!(refused(|c| c.operator = noise), "noise");
}

#[test]
fn trainings_that_cannot_run_are_named() {
    let field = |config: TrainConfig| match config.validate() {
        Err(Error::Config { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let images = TrainConfig::images;
    assert_eq!(field(TrainConfig { batch_size: 1, ..images() }), "batch_size");
    let updates = Updates::Every { steps: 0 };
    assert_eq!(field(TrainConfig { updates, ..images() }), "updates");
    let learning_rate = LearningRate::Constant { value: f64::NAN };
    assert_eq!(field(TrainConfig { learning_rate, ..images() }), "learning_rate");
    let groups = [Updates::Online, Updates::Accumulated, Updates::Every { steps: 7 }];
    assert_eq!(groups.map(Updates::group), [1, usize::MAX, 7]);
}

#[test]
fn temperatures_enter_in_three_ways() {
    let at = |effect: TemperatureEffect| effect.factor(4.0);
    let effects = [
        TemperatureEffect::Variance,
        TemperatureEffect::RootOfTemperature,
        TemperatureEffect::Deviation,
    ];
    assert!(effects.map(at).iter().zip([4.0, 2.0, 16.0]).all(|(a, b)| (a - b).abs() < 1e-15));
    assert!(effects.iter().all(|effect| (effect.factor(1.0) - 1.0).abs() < f64::EPSILON));
    let mixing = Mixing { initial: 0.9, increment: -0.5 };
    assert!(mixing.at(5).abs() < f64::EPSILON, "weights stay in [0, 1]");
}
