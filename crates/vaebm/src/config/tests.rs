use chains_core::Result;

use super::*;

fn all() -> Vec<NvaeConfig> {
    vec![
        NvaeConfig::cifar10(),
        NvaeConfig::cifar10_small(),
        NvaeConfig::celeba64(),
        NvaeConfig::celeba_hq256(),
        NvaeConfig::nvae_mnist(),
        NvaeConfig::nvae_cifar10(),
        NvaeConfig::nvae_celeba64(),
        NvaeConfig::nvae_imagenet32(),
        NvaeConfig::nvae_celeba_hq256(),
        NvaeConfig::nano(),
        NvaeConfig::extra_small(),
        NvaeConfig::small_mnist(),
        NvaeConfig::small_stacked_mnist(),
    ]
}

#[test]
fn presets_are_valid_and_survive_a_file() -> Result<()> {
    for config in all() {
        config.validate()?;
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<NvaeConfig>(&text).unwrap(), config);
    }
    Ok(())
}

#[test]
fn latent_variables_are_as_many_as_published() {
    let width = |config: NvaeConfig| -> usize {
        config.latent_shapes().iter().map(|shape| shape.iter().product::<usize>()).sum()
    };
    assert_eq!(width(NvaeConfig::cifar10()), 153_600);
    assert_eq!(width(NvaeConfig::cifar10_small()), 102_400);
    assert_eq!(width(NvaeConfig::celeba64()), 134_400);
    assert_eq!(width(NvaeConfig::celeba_hq256()), 1_745_920);
    let shapes = NvaeConfig::small_mnist().latent_shapes();
    assert_eq!(shapes, [[8, 2, 2], [8, 2, 2], [8, 4, 4], [8, 4, 4], [8, 8, 8], [8, 8, 8]]);
}

#[test]
fn groups_halve_from_scale_to_scale() {
    assert_eq!(adaptive_groups(10, 2, 1), [10, 5]);
    assert_eq!(adaptive_groups(20, 3, 1), [20, 10, 5]);
    assert_eq!(adaptive_groups(16, 5, 4), [16, 8, 4, 4, 4]);
    assert_eq!(adaptive_groups(5, 4, 1), [5, 2, 1, 1]);
}

#[test]
fn what_cannot_be_built_is_named() {
    let nano = NvaeConfig::nano;
    for (config, field) in [
        (NvaeConfig { channels: 0, ..nano() }, "event"),
        (NvaeConfig { side: 30, ..nano() }, "side"),
        (NvaeConfig { encoder_width: 1, ..nano() }, "encoder_width"),
        (NvaeConfig { decoder_width: 0, ..nano() }, "decoder_width"),
        (NvaeConfig { groups: vec![], ..nano() }, "groups"),
        (NvaeConfig { groups: vec![2, 0], ..nano() }, "groups"),
        (NvaeConfig { latent: 0, ..nano() }, "latent"),
        (NvaeConfig { encoder_cells: 0, ..nano() }, "encoder_cells"),
        (NvaeConfig { decoder_cells: 0, ..nano() }, "decoder_cells"),
        (NvaeConfig { pre_blocks: 1, ..nano() }, "post_blocks"),
        (NvaeConfig { pre_blocks: usize::MAX, ..nano() }, "pre_blocks"),
        (NvaeConfig { pre_cells: 0, ..nano() }, "pre_cells"),
        (NvaeConfig { post_cells: 0, ..nano() }, "post_cells"),
        (NvaeConfig { flows: 17, ..nano() }, "flows"),
        (NvaeConfig { bits: 9, ..nano() }, "bits"),
        (NvaeConfig { head: Head::Gaussian { floor: f64::NAN }, ..nano() }, "floor"),
        (NvaeConfig { head: Head::LogisticMixture { components: 10 }, ..nano() }, "channels"),
        (NvaeConfig { head: Head::Bernoulli, channels: 3, ..nano() }, "channels"),
        (NvaeConfig { groups: vec![1], decoder_width: 4, ..nano() }, "decoder_width"),
    ] {
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains(&format!("`{field}`")), "{field}: {message}");
        // Nor does it panic where it is not checked.
        config.latent_shapes();
    }
}

#[test]
fn trainings_are_valid_survive_a_file_and_name_what_is_wrong() -> Result<()> {
    for config in [
        NvaeTrainConfig::cifar10(),
        NvaeTrainConfig::celeba64(),
        NvaeTrainConfig::lsun_church64(),
        NvaeTrainConfig::celeba_hq256(),
        NvaeTrainConfig::nvae_mnist(),
        NvaeTrainConfig::small_mnist(),
    ] {
        config.validate()?;
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<NvaeTrainConfig>(&text).unwrap(), config);
    }
    let small = NvaeTrainConfig::small_mnist;
    let adamax = small().adamax;
    for (config, field) in [
        (NvaeTrainConfig { epochs: 0, ..small() }, "epochs"),
        (NvaeTrainConfig { batch: 0, ..small() }, "batch"),
        (NvaeTrainConfig { warmup_epochs: 8, ..small() }, "warmup_epochs"),
        (NvaeTrainConfig { learning_rate: 0.0, ..small() }, "learning_rate"),
        (NvaeTrainConfig { last_rate: f64::NAN, ..small() }, "last_rate"),
        (NvaeTrainConfig { kl_anneal: 0.0, ..small() }, "kl_anneal"),
        (NvaeTrainConfig { kl_constant: -0.1, ..small() }, "kl_constant"),
        (
            NvaeTrainConfig { spectral: SpectralWeight::Constant { value: -1.0 }, ..small() },
            "spectral",
        ),
        (
            NvaeTrainConfig {
                spectral: SpectralWeight::Annealed { first: 1.0, last: 0.0 },
                ..small()
            },
            "spectral",
        ),
        (
            NvaeTrainConfig {
                adamax: chains_core::optim::AdamaxConfig { beta1: 1.0, ..adamax },
                ..small()
            },
            "beta1",
        ),
        (
            NvaeTrainConfig {
                adamax: chains_core::optim::AdamaxConfig { eps: 0.0, ..adamax },
                ..small()
            },
            "eps",
        ),
        (
            NvaeTrainConfig {
                adamax: chains_core::optim::AdamaxConfig { weight_decay: -1.0, ..adamax },
                ..small()
            },
            "weight_decay",
        ),
    ] {
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains(&format!("`{field}`")), "{field}: {message}");
    }
    Ok(())
}
