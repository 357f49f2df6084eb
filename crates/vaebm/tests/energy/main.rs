//! Energy networks: sizes, names, gradients, initialisation by data, one update on images.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "helpers of tests, exact values")]

mod baselines;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Noise, ParamStore, Result, Seed, autograd::value_and_gradients, density::Energy,
    optim::AdamConfig,
};
use vaebm::{
    ConvEnergyConfig, EnergyConfig, EnergyModel, EnergyNetwork, EnergyTrainConfig, NoiseDecoder,
    NoiseSpace, NvaeConfig, NvaeModel, Potential, ReplayConfig,
    baselines::PixelConfig,
    config::Negatives,
    energy::{ConvEnergy, EnergyNet},
    train::{EnergyState, update_energy},
};

fn images(n: usize, channels: usize, side: usize) -> Tensor {
    let mut noise = Seed::new(4).child("images").host_noise();
    noise.uniform(&(n, channels, side, side).into(), DType::F32, &Device::Cpu).unwrap()
}

fn small() -> EnergyConfig {
    EnergyConfig::Convolutional(ConvEnergyConfig::mnist(1, 16))
}

fn model(config: EnergyConfig) -> EnergyModel {
    EnergyModel::new(config, Seed::new(0), &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn sizes_and_numbers_of_tensors_are_those_published() {
    let mnist = |channels, width| ConvEnergyConfig::mnist(channels, width);
    for (config, parameters, tensors, convolutions) in [
        (ConvEnergyConfig::cifar10(), 5_137_921, 47, 16),
        (ConvEnergyConfig::celeba64(), 4_337_537, 63, 22),
        (ConvEnergyConfig::lsun_church64(), 5_813_633, 75, 26),
        (ConvEnergyConfig::celeba_hq256(), 14_207_105, 89, 31),
        (mnist(3, 64), 679_553, 33, 11),
        (mnist(1, 16), 42_881, 33, 11),
        (mnist(1, 24), 96_001, 33, 11),
        (mnist(1, 32), 170_241, 33, 11),
    ] {
        let model = model(EnergyConfig::Convolutional(config.clone()));
        assert_eq!(model.store().count(), parameters, "{config:?}");
        assert_eq!(model.store().all().len(), tensors, "{config:?}");
        assert_eq!(model.frozen().kernels().unwrap().len(), convolutions, "{config:?}");
    }
    assert_eq!(model(EnergyConfig::plane()).store().count(), 3 * 256 + 2 * 257 * 256 + 257);
}

#[test]
fn tensors_of_the_network_for_cifar10_are_named_as_published() {
    let model = model(EnergyConfig::Convolutional(ConvEnergyConfig::cifar10()));
    let found: BTreeMap<String, Vec<usize>> =
        model.store().all().into_iter().map(|(name, var)| (name, var.dims().to_vec())).collect();
    let mut want = BTreeMap::new();
    let mut add = |name: &str, output: usize, input: usize, kernel: usize| {
        want.insert(format!("{name}.weight"), vec![output, input, kernel, kernel]);
        want.insert(format!("{name}.log_weight_norm"), vec![output, 1, 1, 1]);
        if kernel == 3 {
            want.insert(format!("{name}.bias"), vec![output]);
        }
    };
    add("conv1", 128, 3, 3);
    let sizes = [(128, 128), (128, 128), (128, 256), (256, 256), (256, 256), (256, 256)];
    for (i, (input, output)) in sizes.into_iter().enumerate() {
        add(&format!("blocks.{i}.conv1"), output, input, 3);
        add(&format!("blocks.{i}.conv2"), output, output, 3);
        if i % 2 == 0 {
            add(&format!("blocks.{i}.skip.0"), output, input, 1);
        }
    }
    want.insert("linear.weight".into(), vec![1, 256]);
    want.insert("linear.bias".into(), vec![1]);
    assert_eq!(found, want);
}

#[test]
fn a_block_is_the_formula_of_the_table() -> Result<()> {
    // Written out with candle's own operations.
    let config = ConvEnergyConfig::mnist(1, 4);
    let store = ParamStore::new(Seed::new(1), DType::F64, &Device::Cpu);
    let net = ConvEnergy::new(&config, store.frozen())?;
    let x = images(3, 1, 32).to_dtype(DType::F64)?;
    let get = |name: String| store.get(&name).unwrap().as_detached_tensor();
    let swish = |v: &Tensor| -> Result<Tensor> { Ok((v / ((v.neg()?.exp()? + 1.0)? * 1.1)?)?) };
    let conv = |x: &Tensor, name: &str, padding| -> Result<Tensor> {
        let w = get(format!("{name}.weight"));
        let length = w.sqr()?.sum_keepdim((1, 2, 3))?.sqrt()?;
        let g = get(format!("{name}.log_weight_norm")).exp()?;
        let w = w.broadcast_mul(&g.div(&(length + 1e-5)?)?)?;
        let y = x.conv2d(&w, padding, 1, 1, 1)?;
        Ok(match store.get(&format!("{name}.bias")) {
            Some(b) => y.broadcast_add(&b.as_detached_tensor().reshape((1, (), 1, 1))?)?,
            None => y,
        })
    };
    let mut h = swish(&conv(&x, "conv1", 1)?)?;
    for (i, down) in [true, false, true, false].into_iter().enumerate() {
        let r = swish(&conv(&h, &format!("blocks.{i}.conv1"), 1)?)?;
        let r = conv(&r, &format!("blocks.{i}.conv2"), 1)?;
        let skip = if down { conv(&h, &format!("blocks.{i}.skip.0"), 0)? } else { h.clone() };
        let sum = (r + skip)?;
        h = swish(&if down { sum.avg_pool2d(2)? } else { sum })?;
    }
    assert_eq!(h.dims(), [3, 8, 8, 8]);
    let sum = h.sum((2, 3))?;
    let want = sum.matmul(&get("linear.weight".into()).t()?)?;
    let want = want.broadcast_add(&get("linear.bias".into()))?.squeeze(1)?.to_vec1::<f64>()?;
    for got in [net.energy(&x)?, net.normalised()?.energy(&x)?] {
        for (got, want) in got.to_vec1::<f64>()?.iter().zip(&want) {
            assert!((got - want).abs() < 1e-10 * want.abs().max(1.0), "{got} {want}");
        }
    }
    Ok(())
}

#[test]
fn every_tensor_has_a_gradient_and_a_frozen_network_has_none() -> Result<()> {
    for (config, x) in
        [(small(), images(4, 1, 32)), (EnergyConfig::plane(), images(4, 1, 1).reshape((2, 2))?)]
    {
        let model = model(config);
        let pass = |network: &EnergyNet| {
            value_and_gradients(|| network.normalised()?.energy(&x).and_then(|e| Ok(e.sqr()?)))
        };
        let (_, grads) = pass(model.live())?;
        for (name, var) in model.store().trainable() {
            let grad = grads.get(var.as_tensor()).unwrap_or_else(|| panic!("{name}: no gradient"));
            assert!(values(grad).iter().any(|g| g.abs() > 0.0), "{name}: all zero");
        }
        assert!(!model.frozen().energy(&x)?.track_op());
    }
    Ok(())
}

#[test]
fn a_gradient_in_the_noise_computes_none_of_the_weights() -> Result<()> {
    let vae = NvaeModel::new(&NvaeConfig::nano(), Seed::new(0), &Device::Cpu)?;
    let model = model(small());
    let decoder = vae.decoder()?;
    let noise = decoder.draw_noise(2, &mut Seed::new(1).host_noise())?;
    for potential in [Potential::Paper, Potential::Official] {
        let space = NoiseSpace::new(&decoder, model.frozen(), potential);
        let found = space.evaluate(&noise)?;
        assert_eq!(found.grad.latents.len(), noise.latents.len());
        for grad in &found.grad.latents {
            assert!(values(grad).iter().all(|g| g.is_finite()));
        }
        let (decoded, energy) = space.decode(&noise)?;
        assert!(!decoded.image.track_op() && !energy.track_op());
    }
    Ok(())
}

#[test]
fn initialisation_by_data_leaves_pre_activations_at_a_fifth() -> Result<()> {
    let model = model(small());
    let x = images(160, 1, 32);
    model.live().initialise(&x)?;
    let first = ["weight", "log_weight_norm", "bias"]
        .map(|leaf| model.store().get(&format!("conv1.{leaf}")).unwrap().as_detached_tensor());
    let [w, g, bias] = first;
    let length = (w.sqr()?.sum_keepdim((1, 2, 3))?.sqrt()? + 1e-5)?;
    let y = x.conv2d(&w.broadcast_mul(&g.exp()?.div(&length)?)?, 1, 1, 1, 1)?;
    let y = y.broadcast_add(&bias.reshape((1, (), 1, 1))?)?;
    let rows = y.transpose(0, 1)?.flatten_from(1)?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    for row in rows {
        let n = row.len() as f64;
        let mean = row.iter().sum::<f64>() / n;
        let deviation = (row.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        assert!(mean.abs() < 1e-4 && (deviation - 0.2).abs() < 1e-3, "{mean} {deviation}");
    }
    // Every convolution was begun, and only by that call.
    let begun = model.store().tensors();
    let again: Vec<_> = begun.iter().map(|(_, t)| values(t)).collect();
    model.live().energy(&x)?;
    assert_eq!(again, model.store().tensors().iter().map(|(_, t)| values(t)).collect::<Vec<_>>());
    let fresh = self::model(small());
    for (name, tensor) in begun.iter().filter(|(name, _)| name.ends_with("log_weight_norm")) {
        let before = fresh.store().get(name).unwrap();
        assert_ne!(values(tensor), values(before.as_tensor()), "{name}");
    }
    Ok(())
}

#[test]
fn a_saved_network_gives_the_same_energies() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let (model, x) = (model(small()), images(3, 1, 32));
    model.live().initialise(&x)?;
    model.save(dir.path())?;
    let loaded = EnergyModel::load(dir.path(), &Device::Cpu)?;
    assert_eq!(loaded.config(), model.config());
    assert_eq!(values(&loaded.frozen().energy(&x)?), values(&model.frozen().energy(&x)?));
    Ok(())
}

#[test]
fn images_and_configurations_that_do_not_fit_are_named() {
    let model = model(small());
    let message = model.frozen().energy(&images(1, 3, 32)).unwrap_err().to_string();
    assert!(message.contains("(b, 1, h, w)"), "{message}");
    let tiny = ConvEnergyConfig { side: 3, ..ConvEnergyConfig::mnist(1, 16) };
    let message = EnergyConfig::Convolutional(tiny).validate().unwrap_err().to_string();
    assert!(message.contains("`energy.side`"), "{message}");
    let empty = ConvEnergyConfig { width: 0, ..ConvEnergyConfig::mnist(1, 16) };
    assert!(EnergyConfig::Convolutional(empty).validate().is_err());
}

#[test]
fn an_update_on_images_moves_every_tensor_and_goes_on_after_a_restart() -> Result<()> {
    let vae = NvaeModel::new(&NvaeConfig::nano(), Seed::new(0), &Device::Cpu)?;
    let decoder = vae.decoder()?;
    let shapes = decoder.noise_shapes();
    let x = images(4, 1, 32);
    for negatives in [Negatives::Sample, Negatives::Mean] {
        let mut config = EnergyTrainConfig { negatives, ..EnergyTrainConfig::small_mnist() };
        config.chains.steps = 2;
        config.replay =
            Some(ReplayConfig { capacity: 6, probability: 0.5, ramp: 0, pixels: false });
        assert!(config.spectral_weight > 0.0);
        let run = |restart: bool| -> Result<Vec<Vec<f32>>> {
            let model = model(small());
            let mut state = EnergyState::new(&config, &shapes)?;
            let mut noise = Seed::new(8).host_noise();
            for update in 0..3 {
                let terms = update_energy(&model, &decoder, &mut state, &config, &x, &mut noise)?;
                assert!(terms.contrast.loss.is_finite());
                if restart && update == 1 {
                    let tensors: BTreeMap<_, _> = state.tensors()?.into_iter().collect();
                    let steps = state.adam.steps();
                    let restore = |tensors: &BTreeMap<String, Tensor>| {
                        EnergyState::restore(&config, &shapes, (tensors, steps), 2, model.store())
                    };
                    state = restore(&tensors)?;
                    // Chains that are lost do not begin anew in silence.
                    let mut without = tensors.clone();
                    without.remove("buffer");
                    let message = restore(&without).err().map(|error| error.to_string());
                    assert!(message.is_some_and(|text| text.contains("`buffer`")));
                }
            }
            assert_eq!(state.buffer.as_ref().map(|buffer| buffer.len()), Some(6));
            Ok(model.store().tensors().iter().map(|(_, tensor)| values(tensor)).collect())
        };
        let whole = run(false)?;
        assert_eq!(whole, run(true)?);
        for ((name, begun), moved) in model(small()).store().tensors().iter().zip(&whole) {
            // A shift of all energies is no part of the loss.
            if name != "linear.bias" {
                assert_ne!(&values(begun), moved, "{name}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_spectral_term_holds_the_norms_down() -> Result<()> {
    let norms = |weight: f64| -> Result<f64> {
        let vae = NvaeModel::new(&NvaeConfig::nano(), Seed::new(0), &Device::Cpu)?;
        let (decoder, model) = (vae.decoder()?, model(small()));
        let mut config = EnergyTrainConfig::small_mnist();
        (config.chains.steps, config.spectral_weight, config.learning_rate) = (1, weight, 1e-3);
        let mut state = EnergyState::new(&config, &decoder.noise_shapes())?;
        let mut noise = Seed::new(8).host_noise();
        let mut last = 0.0;
        for _ in 0..8 {
            let x = images(4, 1, 32);
            let terms = update_energy(&model, &decoder, &mut state, &config, &x, &mut noise)?;
            let contrast = terms.contrast;
            let want = contrast.data - contrast.negatives + weight * contrast.spectral;
            assert!((contrast.loss - want).abs() < 1e-4 * want.abs().max(1.0));
            last = contrast.spectral;
        }
        Ok(last)
    };
    assert!(norms(5.0)? < norms(1e-6)?);
    Ok(())
}

#[test]
fn presets_are_the_columns_of_the_table() -> Result<()> {
    let table = [
        (EnergyTrainConfig::cifar10(), 4e-5, 32, 10, 8e-5, 16, 0.2, Negatives::Sample, None),
        (
            EnergyTrainConfig::cifar10_replay(),
            4e-5,
            32,
            6,
            6e-5,
            16,
            0.2,
            Negatives::Sample,
            Some((10_000, 5000)),
        ),
        (
            EnergyTrainConfig::cifar10_ablation(),
            5e-5,
            32,
            5,
            8e-5,
            15,
            0.2,
            Negatives::Sample,
            Some((10_000, 5000)),
        ),
        (EnergyTrainConfig::celeba64(), 5e-5, 32, 10, 5e-6, 20, 0.2, Negatives::Mean, None),
        (
            EnergyTrainConfig::lsun_church64(),
            4e-5,
            32,
            10,
            4e-6,
            20,
            0.2,
            Negatives::Mean,
            Some((10_000, 5000)),
        ),
        (
            EnergyTrainConfig::celeba_hq256(),
            4e-5,
            16,
            6,
            3e-6,
            24,
            0.3,
            Negatives::Mean,
            Some((8000, 3000)),
        ),
    ];
    for (config, rate, batch, steps, eta, test, spectral, negatives, replay) in table {
        config.validate()?;
        let same = |a: f64, b: f64| (a - b).abs() < 1e-18;
        assert!(same(config.learning_rate, rate) && same(config.chains.step_size, eta));
        assert_eq!((config.batch_size, config.chains.steps), (batch, steps));
        assert_eq!((config.test_chains().steps, config.negatives), (test, negatives));
        assert!(same(config.spectral_weight, spectral));
        assert!(same(config.regularisation.weight_decay, 3e-5) && same(config.adam.beta1, 0.99));
        assert_eq!(config.replay.map(|replay| (replay.capacity, replay.ramp)), replay);
        assert!(config.replay.is_none_or(|replay| same(replay.probability, 0.6)));
        assert_eq!(config.potential, Potential::Official);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<EnergyTrainConfig>(&text).unwrap(), config);
    }
    EnergyTrainConfig::plane().validate()?;
    EnergyTrainConfig::small_mnist().validate()
}

#[test]
fn constants_of_the_optimiser_out_of_range_are_refused_by_name() {
    for (beta1, eps, field) in [(1.0, 1e-8, "`beta1`"), (0.9, f64::NAN, "`eps`")] {
        let adam = AdamConfig { beta1, eps, ..AdamConfig::standard() };
        let energy = EnergyTrainConfig { adam, ..EnergyTrainConfig::small_mnist() };
        let pixels = PixelConfig { adam, ..PixelConfig::cifar10() };
        for found in [energy.validate(), pixels.validate()] {
            let message = found.unwrap_err().to_string();
            assert!(message.contains(field), "{field}: {message}");
        }
    }
    PixelConfig::cifar10().validate().unwrap();
    let restart = PixelConfig { restart: 1.5, ..PixelConfig::cifar10() };
    assert!(restart.validate().unwrap_err().to_string().contains("`restart`"));
}
