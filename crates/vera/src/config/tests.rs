//! Presets against numbers typed again from the paper, its published commands and its code.
#![allow(clippy::float_cmp, reason = "numbers as they are written")]

use chains_core::optim::AdamConfig;

use super::*;

fn message(found: Result<()>) -> String {
    found.unwrap_err().to_string()
}

#[test]
fn presets_are_valid_and_survive_their_file() {
    let models = [
        ModelConfig::toy(),
        ModelConfig::mixture(),
        ModelConfig::nice_mnist(),
        ModelConfig::stacked_mnist(),
        ModelConfig::jem(10),
        ModelConfig::tabular(15, 2, 10),
        ModelConfig::tabular_mnist(),
    ];
    for model in models {
        model.validate().unwrap();
        let text = serde_json::to_string(&model).unwrap();
        assert_eq!(serde_json::from_str::<ModelConfig>(&text).unwrap(), model);
        assert_eq!([model.sigma_range[0], model.sigma_range[1]], [0.01, 0.3]);
        assert_eq!([model.initial_sigma, model.initial_eta], [0.01, 0.1]);
    }
    let trainings = [
        TrainConfig::toy(0.1),
        TrainConfig::nice(1.0),
        TrainConfig::stacked_mnist(),
        TrainConfig::jem(1250),
        TrainConfig::tabular(1e-4, 1.0, vec![]),
    ];
    for training in trainings {
        training.validate().unwrap();
        let text = serde_json::to_string(&training).unwrap();
        assert_eq!(serde_json::from_str::<TrainConfig>(&text).unwrap(), training);
        // What is the same in all experiments.
        assert_eq!(training.entropy, Entropy::ImportanceSampling { samples: 20 });
        assert_eq!(
            [training.gradient_penalty, training.adam.beta1, training.adam.beta2],
            [0.1, 0.0, 0.9]
        );
        assert!(training.penalty_half && !training.posterior_first && !training.fixed_moments);
        assert_eq!([training.data_control, training.sample_control], [0.0; 2]);
        let posterior = training.posterior_adam;
        assert_eq!([posterior.beta1, posterior.beta2], [0.9, 0.999]);
        assert_eq!([training.adam.eps, posterior.eps], [1e-8; 2]);
        assert_eq!([training.energy_every, training.generator_every], [1; 2]);
    }
}

#[test]
fn toys_are_those_of_figure_1_and_table_10() {
    let model = ModelConfig::toy();
    let hidden = vec![100, 100];
    let energy = EnergyConfig::Mlp { dim: 2, hidden, outputs: 1, weight_norm: false };
    let generator = GeneratorConfig::Mlp {
        latent: 2,
        width: 100,
        layers: 2,
        dim: 2,
        activation: GeneratorActivation::Relu,
        output: Output::Linear,
    };
    assert_eq!((&model.energy, &model.generator), (&energy, &generator));
    let mixture = ModelConfig::mixture();
    assert_eq!(mixture.energy, EnergyConfig::Mixture { dim: 2, components: 100 });
    assert_eq!(mixture.generator, generator);
    let training = TrainConfig::toy(0.01);
    assert_eq!((training.entropy_weight, training.batch_size), (0.01, 200));
    let rates = [training.energy_rate.at(99_999), training.generator_rate.at(0)];
    assert_eq!((rates, training.posterior_rate), ([1e-3; 2], 1e-3));
}

#[test]
fn the_flow_is_that_of_table_2() {
    let model = ModelConfig::nice_mnist();
    assert_eq!(model.energy, EnergyConfig::Nice { dim: 784, hidden: 1000, layers: 4 });
    let generator = GeneratorConfig::Mlp {
        latent: 100,
        width: 500,
        layers: 3,
        dim: 784,
        activation: GeneratorActivation::Softplus,
        output: Output::Linear,
    };
    assert_eq!(model.generator, generator);
    assert!(model.energy.is_normalised());
    let training = TrainConfig::nice(1.0);
    assert_eq!((training.entropy_weight, training.batch_size), (1.0, 128));
    let rates = [&training.energy_rate, &training.generator_rate].map(|rate| rate.at(0));
    assert_eq!((rates, training.posterior_rate), ([3e-6, 3e-4], 3e-4));
}

#[test]
fn stacked_digits_are_those_of_section_5_3() {
    let model = ModelConfig::stacked_mnist();
    assert_eq!(model.energy, EnergyConfig::Dcgan { side: 64, channels: 3, width: 64, outputs: 1 });
    let generator = GeneratorConfig::Dcgan { latent: 100, side: 64, channels: 3, width: 64 };
    assert_eq!(model.generator, generator);
    let training = TrainConfig::stacked_mnist();
    assert_eq!((training.entropy_weight, training.batch_size), (1.0, 100));
    let rates = [&training.energy_rate, &training.generator_rate].map(|rate| rate.at(0));
    assert_eq!((rates, training.posterior_rate), ([1e-3; 2], 1e-3));
}

#[test]
fn the_joint_model_is_that_of_the_published_command() {
    for classes in [10, 100] {
        let energy = EnergyConfig::WideResNet {
            depth: 28,
            widening: 10,
            channels: 3,
            outputs: classes,
            dropout: 0.3,
        };
        assert_eq!(ModelConfig::jem(classes).energy, energy);
        assert_eq!(energy.outputs(), classes);
    }
    let generator =
        GeneratorConfig::ResNet { latent: 128, channels: 3, width: 256, output: Output::Tanh };
    assert_eq!(ModelConfig::jem(10).generator, generator);
    // 50,000 images in batches of 40.
    let training = TrainConfig::jem(1250);
    assert_eq!((training.entropy_weight, training.batch_size), (1e-4, 40));
    assert_eq!([training.class_weight, training.class_entropy_weight], [100.0, 0.0]);
    assert_eq!(training.posterior_rate, 3e-5);
    for (rate, value) in [(&training.energy_rate, 3e-5), (&training.generator_rate, 6e-5)] {
        let close = |update: usize, want: f64| {
            let found = rate.at(update);
            assert!((found / want - 1.0).abs() < 1e-12, "update {update}: {found} for {want}");
        };
        close(0, value / 2500.0);
        close(2499, value);
        close(150 * 1250 - 1, value);
        close(150 * 1250, 0.3 * value);
        close(175 * 1250 - 1, 0.3 * value);
        close(175 * 1250, 0.09 * value);
    }
}

#[test]
fn tables_are_those_of_tables_6_and_8() {
    // Columns, classes, latents; d is 10 for HEPMASS, 128 elsewhere.
    for (dim, classes, latent) in [(15, 2, 10), (174, 7, 128), (523, 6, 128)] {
        let model = ModelConfig::tabular(dim, classes, latent);
        let hidden = vec![1000, 500, 500, 250, 250, 250];
        let energy = EnergyConfig::Mlp { dim, hidden, outputs: classes, weight_norm: false };
        assert_eq!(model.energy, energy);
        assert_eq!(model.generator, GeneratorConfig::softplus(latent, 500, dim));
        model.validate().unwrap();
    }
    // HUMAN: 200, 300, 400 and 600 of 800 epochs; 103 batches of 64 in 6,617 rows.
    let milestones: Vec<usize> = [200, 300, 400, 600].map(|epoch| epoch * 103).into();
    let training = TrainConfig::tabular(1e-5, 10.0, milestones);
    assert_eq!((training.entropy_weight, training.batch_size), (1e-4, 64));
    assert_eq!([training.class_weight, training.class_entropy_weight], [10.0, 1.0]);
    assert_eq!([training.energy_rate.at(0), training.generator_rate.at(0)], [1e-5; 2]);
    assert_eq!(training.posterior_rate, 1e-5);
    let last = training.energy_rate.at(700 * 103);
    assert!((last / (1e-5 * 0.3_f64.powi(4)) - 1.0).abs() < 1e-12, "{last}");
}

#[test]
fn digits_as_a_table_have_normalised_weights_and_a_tanh() {
    let model = ModelConfig::tabular_mnist();
    let hidden = vec![1000, 500, 500, 250, 250, 250];
    let energy = EnergyConfig::Mlp { dim: 784, hidden, outputs: 10, weight_norm: true };
    assert_eq!(model.energy, energy);
    let generator = GeneratorConfig::Mlp {
        latent: 128,
        width: 500,
        layers: 3,
        dim: 784,
        activation: GeneratorActivation::Softplus,
        output: Output::Tanh,
    };
    assert_eq!(model.generator, generator);
}

#[test]
fn the_hamiltonian_estimator_has_the_published_constants() {
    let hmc = HmcConfig::published();
    assert_eq!([hmc.leapfrog_steps, hmc.burn_in, hmc.samples], [5, 2, 2]);
    assert_eq!([hmc.target_acceptance, hmc.adaptation_rate], [0.67, 0.02]);
    assert_eq!(hmc.gradient, HmcGradient::Exact);
}

#[test]
fn sizes_that_no_network_has_are_refused_by_name() {
    let mlp = |dim, hidden, outputs| EnergyConfig::Mlp { dim, hidden, outputs, weight_norm: false };
    let wide = |depth, widening, dropout| EnergyConfig::WideResNet {
        depth,
        widening,
        channels: 3,
        outputs: 10,
        dropout,
    };
    for (config, field) in [
        (EnergyConfig::Gaussian { dim: 0 }, "dim"),
        (EnergyConfig::Mixture { dim: 2, components: 0 }, "components"),
        (EnergyConfig::Mixture { dim: 2, components: 1 << 20 }, "components"),
        (EnergyConfig::Nice { dim: 5, hidden: 4, layers: 1 }, "dim"),
        (EnergyConfig::Nice { dim: 4, hidden: 0, layers: 1 }, "hidden"),
        (EnergyConfig::Nice { dim: 4, hidden: 4, layers: 0 }, "layers"),
        (mlp(2, vec![4, 0], 1), "hidden"),
        (mlp(2, vec![4], 0), "outputs"),
        (mlp(usize::MAX, vec![4], 1), "dim"),
        (EnergyConfig::Dcgan { side: 28, channels: 1, width: 8, outputs: 1 }, "side"),
        (EnergyConfig::Dcgan { side: 32, channels: 0, width: 8, outputs: 1 }, "channels"),
        (wide(27, 10, 0.3), "depth"),
        (wide(4, 10, 0.3), "depth"),
        (wide(28, 0, 0.3), "widening"),
        (wide(28, 10, 1.0), "dropout"),
        (wide(28, 10, -0.1), "dropout"),
        (wide(28, 10, f64::NAN), "dropout"),
        (EnergyConfig::ResNet { channels: 3, width: 0, outputs: 1 }, "width"),
    ] {
        let message = message(config.validate());
        assert!(message.contains(field), "{config:?}: {message}");
    }
    for (config, field) in [
        (GeneratorConfig::Linear { latent: 0, dim: 2 }, "latent"),
        (GeneratorConfig::Linear { latent: 2, dim: 0 }, "dim"),
        (GeneratorConfig::toy(0), "width"),
        (GeneratorConfig::softplus(2, 4, 0), "dim"),
        (GeneratorConfig::Dcgan { latent: 2, side: 48, channels: 1, width: 8 }, "side"),
    ] {
        let message = message(config.validate());
        assert!(message.contains(field), "{config:?}: {message}");
    }
}

#[test]
fn players_of_other_events_and_wrong_ranges_are_refused_by_name() {
    let toy = ModelConfig::toy;
    let strange = ModelConfig { generator: GeneratorConfig::softplus(2, 8, 3), ..toy() };
    assert!(message(strange.validate()).contains("generator"));
    // Rows of a table may be generated as images of as many pixels, images not as rows.
    let images = GeneratorConfig::Dcgan { latent: 2, side: 16, channels: 1, width: 4 };
    let rows = EnergyConfig::Mlp { dim: 256, hidden: vec![8], outputs: 1, weight_norm: false };
    ModelConfig::of(rows, images).validate().unwrap();
    let maps = EnergyConfig::Dcgan { side: 16, channels: 1, width: 4, outputs: 1 };
    let flat = GeneratorConfig::softplus(2, 8, 256);
    assert!(message(ModelConfig::of(maps, flat).validate()).contains("generator"));
    for (config, field) in [
        (ModelConfig { sigma_range: [0.3, 0.01], ..toy() }, "sigma_range"),
        (ModelConfig { sigma_range: [0.0, 0.3], ..toy() }, "sigma_range"),
        (ModelConfig { sigma_range: [0.01, f64::NAN], ..toy() }, "sigma_range"),
        (ModelConfig { initial_sigma: 0.0, ..toy() }, "initial_sigma"),
        (ModelConfig { initial_eta: -1.0, ..toy() }, "initial_eta"),
    ] {
        let message = message(config.validate());
        assert!(message.contains(field), "{field}: {message}");
    }
}

#[test]
fn trainings_out_of_range_are_refused_by_name() {
    let base = || TrainConfig::toy(1.0);
    let rate = |value: f64| chains_core::schedule::MultiStep::constant(value);
    let hmc = |change: fn(&mut HmcConfig)| {
        let mut hmc = HmcConfig::published();
        change(&mut hmc);
        TrainConfig { entropy: Entropy::Hmc(hmc), ..TrainConfig::toy(1.0) }
    };
    let none = Entropy::ImportanceSampling { samples: 0 };
    let adam = AdamConfig::standard();
    for (config, field) in [
        (TrainConfig { entropy_weight: -1.0, ..base() }, "entropy_weight"),
        (TrainConfig { entropy_weight: f64::NAN, ..base() }, "entropy_weight"),
        (TrainConfig { gradient_penalty: -0.1, ..base() }, "gradient_penalty"),
        (TrainConfig { data_control: f64::INFINITY, ..base() }, "data_control"),
        (TrainConfig { sample_control: -1.0, ..base() }, "sample_control"),
        (TrainConfig { class_weight: -1.0, ..base() }, "class_weight"),
        (TrainConfig { class_entropy_weight: -1.0, ..base() }, "class_entropy_weight"),
        (TrainConfig { posterior_rate: -1.0, ..base() }, "posterior_rate"),
        (TrainConfig { energy_rate: rate(-1.0), ..base() }, "learning_rate"),
        (TrainConfig { generator_rate: rate(f64::NAN), ..base() }, "learning_rate"),
        (TrainConfig { adam: AdamConfig { beta1: 1.0, ..adam }, ..base() }, "beta1"),
        (TrainConfig { adam: AdamConfig { eps: f64::NAN, ..adam }, ..base() }, "eps"),
        (TrainConfig { posterior_adam: AdamConfig { beta2: -1.0, ..adam }, ..base() }, "beta2"),
        (TrainConfig { energy_every: 0, ..base() }, "energy_every"),
        (TrainConfig { generator_every: 0, ..base() }, "generator_every"),
        (TrainConfig { batch_size: 1, ..base() }, "batch_size"),
        (TrainConfig { entropy: none, ..base() }, "samples"),
        (hmc(|hmc| hmc.leapfrog_steps = 0), "hmc"),
        (hmc(|hmc| hmc.samples = 0), "hmc"),
        (hmc(|hmc| hmc.target_acceptance = 0.0), "target_acceptance"),
        (hmc(|hmc| hmc.adaptation_rate = 1.0), "adaptation_rate"),
    ] {
        let message = message(config.validate());
        assert!(message.contains(field), "{field}: {message}");
    }
    // No entropy is a setting of the paper, and so is no burn-in.
    TrainConfig { entropy_weight: 0.0, ..base() }.validate().unwrap();
    hmc(|hmc| hmc.burn_in = 0).validate().unwrap();
}
