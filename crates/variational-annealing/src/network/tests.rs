use candle_core::{Device, Tensor};
use chains_core::{Noise, ParamStore, Seed, nn::BatchNormMoments};

use super::*;
use crate::{
    config::{DenoiserConfig, DiscriminatorConfig, GanConfig, GenWidth, GeneratorConfig},
    model::GanModel,
};

fn store() -> ParamStore {
    ParamStore::new(Seed::new(0), candle_core::DType::F32, &Device::Cpu)
}

fn count<T>(build: impl Fn(candle_nn::VarBuilder<'static>) -> chains_core::Result<T>) -> usize {
    let store = store();
    build(store.builder()).unwrap();
    store.count()
}

fn critic(config: &DiscriminatorConfig) -> usize {
    count(|vb| Discriminator::new(config, vb))
}

fn generator(config: &GeneratorConfig) -> usize {
    count(|vb| Generator::new(config, vb))
}

#[test]
fn parameters_are_those_of_the_tables() {
    assert_eq!(critic(&DiscriminatorConfig::cifar10()), 2_790_593);
    assert_eq!(generator(&GeneratorConfig::cifar10(GenWidth::Table2048)), 1_451_011);
    assert_eq!(generator(&GeneratorConfig::cifar10(GenWidth::Code8192)), 3_828_739);
    assert_eq!(count(|vb| Denoiser::new(&DenoiserConfig::wide(6), vb)), 29_399_040);
    assert_eq!(count(|vb| Denoiser::new(&DenoiserConfig::wide(9), vb)), 42_000_384);
}

#[test]
fn parameters_of_single_layers_are_those_of_table_s1() {
    let store = store();
    Discriminator::new(&DiscriminatorConfig::cifar10(), store.builder()).unwrap();
    let of = |root: String| -> usize {
        store.trainable_under(&root).iter().map(|var| var.elem_count()).sum()
    };
    let layers: Vec<_> = (0..5).map(|i| of(format!("convolutions.{i}"))).collect();
    assert_eq!(layers, [896, 32_832, 131_200, 524_544, 2_097_664]);
    let norms: Vec<_> = (0..4).map(|i| of(format!("norms.{i}"))).collect();
    assert_eq!(norms, [128, 256, 512, 512]);
    assert_eq!(of("last".into()), 2049);
}

#[test]
fn shapes_of_cifar10_are_those_of_table_s1() {
    let want = [[32, 32, 32], [64, 16, 16], [128, 8, 8], [256, 4, 4], [512, 2, 2]];
    assert_eq!(DiscriminatorConfig::cifar10().shapes().unwrap(), want);
    let maps = [[256, 8, 8], [128, 16, 16], [64, 32, 32], [3, 32, 32]];
    for (width, first) in [(GenWidth::Table2048, [128, 4, 4]), (GenWidth::Code8192, [512, 4, 4])] {
        let config = GeneratorConfig::cifar10(width);
        assert_eq!((config.first, config.latent), (first, 128));
        assert_eq!(config.shapes().unwrap(), maps);
    }
}

#[test]
fn shapes_of_celeba_are_those_of_table_s2() {
    let want = [[16, 64, 64], [32, 32, 32], [64, 16, 16], [128, 8, 8], [256, 4, 4], [512, 2, 2]];
    assert_eq!(DiscriminatorConfig::celeba().shapes().unwrap(), want);
    let config = GeneratorConfig::celeba();
    assert_eq!(config.first, [128, 4, 4]);
    let want = [[256, 8, 8], [128, 16, 16], [64, 32, 32], [32, 64, 64], [3, 128, 128]];
    assert_eq!(config.shapes().unwrap(), want);
    GanConfig::celeba().validate().unwrap();
}

#[test]
fn shapes_of_digits_are_as_specified() {
    let want = [[32, 14, 14], [64, 7, 7], [64, 7, 7], [64, 3, 3]];
    assert_eq!(DiscriminatorConfig::mnist().shapes().unwrap(), want);
    assert_eq!(GeneratorConfig::mnist().shapes().unwrap(), [[32, 14, 14], [1, 28, 28]]);
    assert_eq!(GanConfig::mnist().denoiser.features, 576);
    GanConfig::mnist().validate().unwrap();
}

/// What the networks give has the shapes that the configurations promise.
#[test]
fn passes_have_the_promised_shapes() {
    let table = GanConfig::cifar10_of(GenWidth::Table2048, 1);
    for config in [table, GanConfig::mnist(), GanConfig::mnist().without_critic_norm()] {
        let model = GanModel::new(config.clone(), Seed::new(0), &Device::Cpu).unwrap();
        let mut noise = Seed::new(1).host_noise();
        let x = model.sample(2, &mut noise).unwrap();
        let event = config.discriminator.event;
        assert_eq!(x.dims(), [&[2][..], &event].concat());
        assert!(x.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() <= 1.0);
        let networks = model.frozen();
        let said = networks.discriminator.forward(&x, &mut BatchNormMoments::batch()).unwrap();
        let f = config.denoiser.features;
        assert_eq!((said.logit.dims(), said.feature.dims()), (&[2][..], &[2, f][..]));
        let framed = networks.framed(&said.feature).unwrap();
        let denoised = networks.denoiser.forward(&framed, &mut BatchNormMoments::batch()).unwrap();
        assert_eq!(denoised.dims(), [2, f]);
    }
}

#[test]
fn a_normalised_feature_has_unit_variance_in_its_batch() {
    let model = GanModel::new(GanConfig::mnist(), Seed::new(0), &Device::Cpu).unwrap();
    let mut noise = Seed::new(1).host_noise();
    let x = noise.uniform(&(32, 1, 28, 28).into(), candle_core::DType::F32, &Device::Cpu).unwrap();
    let critic = &model.frozen().discriminator;
    let mut moments = BatchNormMoments::batch();
    let feature = critic.forward(&x, &mut moments).unwrap().feature;
    let by_channel = feature.reshape((32, 64, 9)).unwrap();
    let square = by_channel.sqr().unwrap().mean((0, 2)).unwrap().to_vec1::<f32>().unwrap();
    // The variance is that of the input over itself plus eps.
    let variance = moments.found()[2].0.variance.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (square, variance) in square.iter().zip(&variance) {
        let want = variance / (variance + 2e-5);
        assert!((square - want).abs() < 1e-3, "{square} {want}");
    }
}

#[test]
fn names_are_those_of_the_networks_and_begin_as_specified() {
    let model = GanModel::new(GanConfig::mnist(), Seed::new(0), &Device::Cpu).unwrap();
    let names: Vec<String> = model.store().all().into_iter().map(|(name, _)| name).collect();
    for name in [
        "discriminator.convolutions.0.weight",
        "discriminator.norms.0.weight",
        "discriminator.norms.2.bias",
        "discriminator.last.bias",
        "generator.dense.weight",
        "generator.norms.0.running_var",
        "generator.convolutions.1.bias",
        "denoiser.layers.2.weight",
        "denoiser.norms.1.bias",
    ] {
        assert!(names.iter().any(|have| have == name), "{name} is not in {names:?}");
    }
    for name in ["discriminator.norms.2.weight", "denoiser.norms.2.bias", "features.running_var"] {
        assert!(!names.iter().any(|have| have == name), "{name}");
    }
    let stdev = |name: &str| {
        let x: Tensor = model.store().get(name).unwrap().as_detached_tensor();
        x.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt()
    };
    for (name, want) in [
        ("discriminator.convolutions.2.weight", 0.02),
        ("generator.dense.weight", 0.02),
        ("generator.convolutions.0.weight", 0.02),
        ("denoiser.layers.0.weight", 1.0 / 24.0),
        ("denoiser.layers.1.weight", 1.0 / 16.0),
        ("discriminator.convolutions.2.bias", 0.0),
    ] {
        let got = stdev(name);
        assert!((got - want).abs() <= 0.02 * want, "{name}: {got} instead of {want}");
    }
}

#[test]
fn moving_moments_bring_features_to_unit_variance_and_hold_no_gradient() {
    let store = store();
    let standardiser = Standardiser::new([3, 2, 2], store.builder().pp("features")).unwrap();
    let mut noise = Seed::new(2).host_noise();
    let f = noise.normal(&(50, 12).into(), candle_core::DType::F32, &Device::Cpu).unwrap();
    let f = (f * 3.0).unwrap().affine(1.0, 5.0).unwrap();
    standardiser.follow(&store, "features", &f, true).unwrap();
    let y = standardiser.forward(&f).unwrap().reshape((50, 3, 4)).unwrap();
    let mean = y.mean((0, 2)).unwrap().to_vec1::<f32>().unwrap();
    let square = y.sqr().unwrap().mean((0, 2)).unwrap().to_vec1::<f32>().unwrap();
    assert!(mean.iter().all(|m| m.abs() < 1e-5), "{mean:?}");
    // The stored variance is unbiased: 199 / 200.
    assert!(square.iter().all(|s| (s - 0.995).abs() < 1e-3), "{square:?}");
    // The second batch moves them a tenth of the way.
    let before = store.get("features.running_mean").unwrap().to_vec1::<f32>().unwrap();
    standardiser.follow(&store, "features", &f.zeros_like().unwrap(), false).unwrap();
    let after = store.get("features.running_mean").unwrap().to_vec1::<f32>().unwrap();
    for (before, after) in before.iter().zip(&after) {
        assert!((after - 0.9 * before).abs() < 1e-5);
    }
    assert!(store.trainable().is_empty());
    // A linear map with a constant slope.
    let (_, grad) =
        chains_core::density::value_and_grad(&f, |f| Ok(standardiser.forward(f)?.sum(1)?)).unwrap();
    let var = store.get("features.running_var").unwrap().to_vec1::<f32>().unwrap();
    let grad = grad.narrow(0, 0, 1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (i, grad) in grad.iter().enumerate() {
        let want = 1.0 / (var[i / 4].sqrt() + 1e-4);
        assert!((grad - want).abs() < 1e-5 * want, "{grad} {want}");
    }
}

#[test]
fn networks_that_do_not_fit_each_other_are_refused() {
    let fine = GanConfig::mnist();
    for (bad, field) in [
        (GanConfig { denoiser: DenoiserConfig::wide(1), ..fine.clone() }, "denoiser.features"),
        (GanConfig { generator: GeneratorConfig::celeba(), ..fine.clone() }, "generator.layers"),
        (
            GanConfig {
                discriminator: DiscriminatorConfig {
                    event: [1, 3, 3],
                    ..DiscriminatorConfig::mnist()
                },
                ..fine.clone()
            },
            "discriminator",
        ),
        (
            GanConfig {
                discriminator: DiscriminatorConfig {
                    layers: vec![],
                    ..DiscriminatorConfig::mnist()
                },
                ..fine
            },
            "discriminator",
        ),
    ] {
        let message = bad.validate().unwrap_err().to_string();
        assert!(message.contains(field), "{message}");
    }
}

#[test]
fn a_critic_with_batch_norm_has_no_penalty_of_single_rows() {
    let model = GanModel::new(GanConfig::mnist(), Seed::new(0), &Device::Cpu).unwrap();
    let x = Tensor::zeros((2, 1, 28, 28), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(model.frozen().discriminator.plain(&x).is_err());
}
