//! An energy on pixels.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use candle_core::{DType, Device, Tensor};
use chains_core::{
    ParamStore, Result, Seed, autograd::value_and_gradients, density::Energy, nn::SpectralNorms,
    optim::Regularisation,
};
use vaebm::{
    ConvEnergyConfig, EnergyNetwork, EnergyTrainConfig, NoiseShapes,
    baselines::{
        PixelChainConfig, PixelConfig, PixelState, run_pixel_chains, uniform_images,
        update_pixel_energy,
    },
    energy::{CriticEnergy, EnergyPair},
    train::{EnergyState, NegativeBatch, contrastive_update},
};

use super::{images, values};

fn critic() -> Result<EnergyPair<CriticEnergy>> {
    let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
    let norms = Arc::new(Mutex::new(SpectralNorms::new()));
    let config = ConvEnergyConfig::mnist(1, 8);
    EnergyPair::new(store, |vb| CriticEnergy::new(&config, norms.clone(), vb))
}

/// The critic of the adversarial baseline.
fn adversary() -> Result<EnergyPair<CriticEnergy>> {
    let store = ParamStore::new(Seed::new(4), DType::F32, &Device::Cpu);
    let norms = Arc::new(Mutex::new(SpectralNorms::new()));
    let config = ConvEnergyConfig::mnist(1, 8);
    EnergyPair::new(store, |vb| CriticEnergy::batch_normalised(&config, norms.clone(), vb))
}

/// A slope of one in every pixel, but 0.002 in the first.
struct Slope;

impl Energy for Slope {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let flat = x.flatten_from(1)?;
        let first = flat.narrow(1, 0, 1)?.sum(1)?;
        Ok((flat.sum(1)? - (first * 0.998)?)?)
    }
}

#[test]
fn a_step_adds_noise_clips_the_gradient_and_stays_in_range() -> Result<()> {
    let config = PixelChainConfig { steps: 3, noise_scale: 0.0, ..PixelChainConfig::published() };
    let start = Tensor::new(&[[[[0.9_f32, 0.9]]], [[[0.5, 0.15]]]], &Device::Cpu)?;
    let end = run_pixel_chains(&Slope, &config, &start, &mut Seed::new(0).host_noise())?;
    // 10 * 0.01 a step where the gradient is clipped, 10 * 0.002 where it is not, never below zero.
    for (got, want) in values(&end).iter().zip([0.84, 0.6, 0.44, 0.0]) {
        assert!((got - want).abs() < 1e-6, "{got} {want}");
    }
    let config = PixelChainConfig { steps: 1, step_size: 1e-9, ..PixelChainConfig::published() };
    let start = Tensor::full(0.5_f32, (100, 1, 10, 10), &Device::Cpu)?;
    let end = run_pixel_chains(&Slope, &config, &start, &mut Seed::new(1).host_noise())?;
    let moved: Vec<f64> = values(&end).iter().map(|x| f64::from(*x) - 0.5).collect();
    let rms = (moved.iter().map(|m| m * m).sum::<f64>() / 1e4).sqrt();
    // The relative error of a deviation from 10,000 values is 1 / sqrt(20,000).
    assert!((rms / 0.005 - 1.0).abs() < 5.0 / 20_000_f64.sqrt(), "{rms}");
    Ok(())
}

#[test]
fn kernels_are_divided_by_their_largest_singular_value() -> Result<()> {
    let model = critic()?;
    let x = images(2, 1, 32);
    // Scaled weights and biases of a layer: only the biases act on the result.
    let before = values(&model.frozen().energy(&x)?);
    for name in ["conv1.weight", "blocks.0.conv1.weight", "blocks.2.skip.0.weight"] {
        let var = model.store().get(name).unwrap();
        var.set(&(var.as_detached_tensor() * 3.0)?)?;
    }
    let after = values(&model.frozen().energy(&x)?);
    for (before, after) in before.iter().zip(after) {
        assert!((before - after).abs() < 2e-2 * before.abs().max(1.0), "{before} {after}");
    }
    Ok(())
}

#[test]
fn every_tensor_of_the_critics_has_a_gradient() -> Result<()> {
    let x = images(4, 1, 32);
    for model in [critic()?, adversary()?] {
        let (_, grads) =
            value_and_gradients(|| Ok(model.live().normalised()?.energy(&x)?.sqr()?))?;
        for (name, var) in model.store().trainable() {
            let grad = grads.get(var.as_tensor()).unwrap_or_else(|| panic!("{name}: no gradient"));
            assert!(values(grad).iter().any(|g| g.abs() > 0.0), "{name}: all zero");
        }
    }
    Ok(())
}

#[test]
fn the_batch_norm_of_the_adversary_stands_behind_its_large_kernels() -> Result<()> {
    let model = adversary()?;
    let names: Vec<String> = model.store().all().into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().any(|name| name == "blocks.3.conv2.bn.weight"), "{names:?}");
    assert!(!names.iter().any(|name| name.ends_with("conv1.bias") || name.contains("skip.0.bn")));
    // Moments of the batch: images scaled and shifted in common have the energies they had, but for
    // the frame, where the padding is not shifted.
    let x = images(6, 1, 32);
    let before = values(&model.frozen().energy(&x)?);
    let scaled = values(&model.frozen().energy(&(&x * 3.0)?)?);
    for (a, b) in before.iter().zip(&scaled) {
        assert!((a - b).abs() < 2e-2 * a.abs().max(1.0), "{a} {b}");
    }
    // And the energy of a row depends on the others.
    let alone = values(&model.frozen().energy(&x.narrow(0, 0, 2)?)?);
    assert!(model.frozen().rows_interact() && (alone[0] - before[0]).abs() > 1e-4);
    assert!(!critic()?.frozen().rows_interact());
    Ok(())
}

#[test]
fn the_adversary_is_trained_on_data_and_samples_apart() -> Result<()> {
    let model = adversary()?;
    let config = EnergyTrainConfig {
        regularisation: Regularisation { weight_decay: 0.0, clip: None },
        spectral_weight: 0.0,
        replay: None,
        ..EnergyTrainConfig::cifar10()
    };
    let shapes = NoiseShapes { latents: vec![vec![1]], pixels: vec![1] };
    let mut state = EnergyState::new(&config, &shapes)?;
    let (data, samples) = (images(4, 1, 32), (images(4, 1, 32) * 0.5)?);
    let apart = [&data, &samples].map(|x| {
        let energies = values(&model.frozen().energy(x).unwrap());
        energies.iter().map(|e| f64::from(*e)).sum::<f64>() / 4.0
    });
    let negatives = NegativeBatch { x: &samples, weights: None };
    let terms = contrastive_update(&model, &mut state, &config, &data, negatives)?;
    // Kernels are divided by norms that another power iteration has bettered.
    for (found, want) in [(terms.data, apart[0]), (terms.negatives, apart[1])] {
        assert!((found - want).abs() < 2e-2 * want.abs().max(1.0), "{found} {want}");
    }
    Ok(())
}

#[test]
fn updates_move_the_network_and_the_buffer_and_learn_to_tell_noise_from_data() -> Result<()> {
    let mut config = PixelConfig { capacity: 16, restart: 0.5, ..PixelConfig::cifar10() };
    (config.chains.steps, config.learning_rate) = (2, 1e-3);
    let (model, mut noise) = (critic()?, Seed::new(3).host_noise());
    let mut state = PixelState::new(&config, &[1, 32, 32], &mut noise, &Device::Cpu)?;
    let begun = values(&state.buffer.tensor()?);
    let data = Tensor::zeros((8, 1, 32, 32), DType::F32, &Device::Cpu)?;
    let mut last = 0.0;
    for _ in 0..30 {
        let fresh = |n, noise: &mut dyn chains_core::Noise| {
            uniform_images(n, &[1, 32, 32], noise, &Device::Cpu)
        };
        let terms = update_pixel_energy(&model, &mut state, &config, &data, fresh, &mut noise)?;
        let squares = terms.loss - (terms.data - terms.negatives);
        assert!(squares >= 0.0 && terms.loss.is_finite());
        last = terms.data - terms.negatives;
    }
    assert!(last < -0.1, "{last}");
    assert_ne!(values(&state.buffer.tensor()?), begun);
    Ok(())
}

#[test]
fn a_restored_state_goes_on_like_the_one_that_was_saved() -> Result<()> {
    let mut config = PixelConfig { capacity: 6, restart: 0.0, ..PixelConfig::cifar10() };
    config.chains.steps = 1;
    let (model, mut noise) = (critic()?, Seed::new(3).host_noise());
    let begun = images(6, 1, 32);
    let mut state = PixelState::from_images(&config, &begun)?;
    assert_eq!(values(&state.buffer.tensor()?), values(&begun));
    let data = Tensor::zeros((4, 1, 32, 32), DType::F32, &Device::Cpu)?;
    let none = |_: usize, _: &mut dyn chains_core::Noise| -> Result<Tensor> { panic!("a restart") };
    update_pixel_energy(&model, &mut state, &config, &data, none, &mut noise)?;
    let tensors: BTreeMap<_, _> = state.tensors()?.into_iter().collect();
    let from = (&tensors, state.adam.steps());
    let restored = PixelState::restore(&config, from, state.update, model.store())?;
    assert_eq!((restored.update, restored.adam.steps()), (1, 1));
    let again: BTreeMap<_, _> = restored.tensors()?.into_iter().collect();
    assert_eq!(tensors.keys().collect::<Vec<_>>(), again.keys().collect::<Vec<_>>());
    assert!(tensors.iter().all(|(name, tensor)| values(tensor) == values(&again[name])));
    let lost = tensors.into_iter().filter(|(name, _)| name != "buffer").collect();
    assert!(PixelState::restore(&config, (&lost, 1), 1, model.store()).is_err());
    Ok(())
}
