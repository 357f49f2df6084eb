//! The same numbers as PyTorch.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};
use chains_core::{
    ParamStore, Result, Seed, autograd::value_and_gradients, density::value_and_grad,
    nn::BatchNormMoments,
};
use vera::{EnergyConfig, EnergyNet, EnergyNetwork, GeneratorConfig, GeneratorNetwork};

use crate::{
    common::{assert_close, values},
    energy, generator, residual, wide,
};

/// Values of PyTorch, made by `fixtures/networks_reference.py`.
const REFERENCE: &str = include_str!("../fixtures/networks.json");

fn reference(network: &str, value: &str) -> serde_json::Value {
    let all: serde_json::Value = serde_json::from_str(REFERENCE).unwrap();
    all[network][value].clone()
}

fn list(value: &serde_json::Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The formula of the script.
fn fill(store: &ParamStore) -> Result<()> {
    for (t, (name, var)) in store.trainable().into_iter().enumerate() {
        let count = var.elem_count();
        let sine = (0..count).map(|i| (0.7 * i as f64 + 0.9 * t as f64).sin());
        let norm = name.contains("bn") || name.contains("norms");
        let of = |sine: f64| match var.rank() {
            2.. => sine / (count as f64 / var.dims()[0] as f64).sqrt(),
            _ if norm && name.ends_with("weight") => 1.0 + 0.1 * sine,
            _ => 0.1 * sine,
        };
        let value = Tensor::from_vec(sine.map(of).collect(), var.shape(), &Device::Cpu)?;
        var.set(&value.to_dtype(var.dtype())?)?;
    }
    Ok(())
}

fn image(b: usize) -> Result<Tensor> {
    let at = |i: usize| {
        let [row, channel, y, x] = [i / 3072, i / 1024 % 3, i / 32 % 32, i % 32];
        (0.01 * (row + 3 * channel + 5 * y + 7 * x) as f64).sin()
    };
    Ok(Tensor::from_vec((0..b * 3072).map(at).collect(), (b, 3, 32, 32), &Device::Cpu)?)
}

fn every(values: Vec<f64>, n: usize) -> Vec<f64> {
    values.into_iter().step_by(n).collect()
}

/// Logits, score and penalty of a network in both precisions.
fn assert_energy(name: &str, config: &EnergyConfig, x: &Tensor) -> Result<()> {
    for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 1e-4)] {
        let (store, net) = energy(config, dtype)?;
        fill(&store)?;
        let frozen = EnergyNet::new(config, store.frozen())?;
        let x = x.to_dtype(dtype)?;
        let logits = values(&frozen.logits(&x, &[])?);
        assert_close(name, &logits, &list(&reference(name, "logits")), tolerance);
        let score = value_and_grad(&x, |x| frozen.log_density(x, &[]))?.1;
        let step = if x.elem_count() > 1000 { 61 } else { 61.min(x.elem_count()) };
        let found = every(values(&score), step);
        assert_close(name, &found, &list(&reference(name, "score")), tolerance * 10.0);
        let config = vera::TrainConfig {
            gradient_penalty: 1.0,
            ..vera::TrainConfig::density(1.0, [1e-3; 3])
        };
        let mut terms = vera::Terms::default();
        let mut noise = Seed::new(0).host_noise();
        let batch = (&x, &x, vera::Labels::None);
        let networks = [&net, &frozen];
        let grads = vera::energy_gradients(networks, &config, batch, &mut terms, &mut noise)?;
        let penalty = reference(name, "penalty").as_f64().unwrap();
        assert_close(name, &[terms.penalty], &[penalty], tolerance * 10.0);
        let norms: BTreeMap<String, f64> =
            serde_json::from_value(reference(name, "penalty_gradient_norms")).unwrap();
        let names: BTreeSet<_> = store.trainable().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, norms.keys().cloned().collect::<BTreeSet<_>>(), "{name}");
        let scale = norms.values().copied().fold(0.0, f64::max);
        for (parameter, want) in norms {
            let grad = grads.get(&store.get(&parameter).unwrap()).map(values).unwrap_or_default();
            let norm = grad.iter().map(|slope| slope * slope).sum::<f64>().sqrt();
            let near = (norm - want).abs() <= tolerance * 10.0 * scale;
            assert!(near, "{name}, {parameter}: {norm} for {want}");
        }
    }
    Ok(())
}

#[test]
fn the_wide_network_is_that_of_pytorch() -> Result<()> {
    assert_energy("wide_resnet", &wide(10, 1, 10), &image(2)?)?;
    assert_energy("wide_resnet_16_2", &wide(16, 2, 1), &image(1)?)
}

#[test]
fn other_energies_are_those_of_pytorch() -> Result<()> {
    let net = EnergyConfig::ResNet { channels: 3, width: 6, outputs: 4 };
    assert_energy("resnet_energy", &net, &image(2)?)?;
    let net = EnergyConfig::Dcgan { side: 32, channels: 3, width: 4, outputs: 3 };
    assert_energy("dcgan_energy", &net, &image(2)?)?;
    let net = EnergyConfig::Mlp { dim: 5, hidden: vec![8, 7], outputs: 3, weight_norm: true };
    let table: Vec<f64> = (0..20).map(|i| (0.3 * f64::from(i)).sin()).collect();
    assert_energy("weight_normed", &net, &Tensor::from_vec(table, (4, 5), &Device::Cpu)?)
}

/// Means, gradients, running moments and evaluation of a generator in both precisions.
fn assert_generator(name: &str, config: &GeneratorConfig, b: usize) -> Result<()> {
    for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 2e-4)] {
        let (store, net) = generator(config, dtype)?;
        fill(&store)?;
        let z = (0..b * config.latent()).map(|i| (1.3 * i as f64).sin()).collect();
        let z = Tensor::from_vec(z, (b, config.latent()), &Device::Cpu)?.to_dtype(dtype)?;
        let mut moments = BatchNormMoments::batch();
        let mut mean = None;
        let (_, grads) = value_and_gradients(|| {
            let x = net.mean(&z, &mut moments)?;
            mean = Some(x.detach());
            let sine = (0..x.elem_count()).map(|i| (i as f64).sin()).collect();
            let weights = Tensor::from_vec(sine, x.shape(), &Device::Cpu)?.to_dtype(dtype)?;
            Ok(x.mul(&weights)?.sum_all()?)
        })?;
        let mean = mean.unwrap();
        let step = if mean.elem_count() > 1000 { 53 } else { 1 };
        let found = every(values(&mean), step);
        assert_close(name, &found, &list(&reference(name, "mean")), tolerance);
        let norms: BTreeMap<String, f64> =
            serde_json::from_value(reference(name, "gradient_norms")).unwrap();
        let scale = norms.values().copied().fold(0.0, f64::max);
        assert_eq!(norms.len(), store.trainable().len(), "{name}");
        for (parameter, want) in norms {
            let grad = values(grads.get(&store.get(&parameter).unwrap()).unwrap());
            let norm = grad.iter().map(|slope| slope * slope).sum::<f64>().sqrt();
            let near = (norm - want).abs() <= tolerance * 10.0 * scale;
            assert!(near, "{name}, {parameter}: {norm} for {want}");
        }
        for (norm, found) in net.norms().iter().zip(moments.found()) {
            chains_core::nn::BatchNorm::follow(&store, norm, found)?;
        }
        let running: BTreeMap<String, Vec<f64>> =
            serde_json::from_value(reference(name, "running")).unwrap();
        assert_eq!(running.len(), 2 * net.norms().len());
        for (statistic, want) in running {
            let found = values(&store.get(&statistic).unwrap());
            assert_close(&format!("{name}, {statistic}"), &found, &want, tolerance * 10.0);
        }
        let evaluated = values(&net.mean(&z, &mut BatchNormMoments::Running)?);
        let want = list(&reference(name, "evaluated"));
        assert_close(name, &every(evaluated, step), &want, tolerance);
    }
    Ok(())
}

#[test]
fn generators_are_those_of_pytorch() -> Result<()> {
    assert_generator("resnet_generator", &residual(128, 8), 3)?;
    let net = GeneratorConfig::Dcgan { latent: 10, side: 32, channels: 3, width: 4 };
    assert_generator("dcgan_generator", &net, 3)?;
    assert_generator("mlp_generator", &GeneratorConfig::softplus(6, 9, 5), 4)
}
