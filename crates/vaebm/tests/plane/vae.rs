//! The autoencoder of points, the control without chains, the step of a decoder.

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Result, Seed,
    autograd::value_and_gradients,
    density::Energy,
    optim::{Adam, AdamConfig},
};
use vaebm::{
    JointNoise, NoiseDecoder, importance_weights,
    plane::{PlaneConfig, PlaneModel, update_plane, update_plane_weighted},
    train::{generator_gradients, importance_negatives, update_generator},
};

use crate::{Quadratic, noise, normal, tensor, values};

fn small() -> PlaneConfig {
    PlaneConfig { dim: 2, latent: 3, hidden: vec![16, 16], scale_floor: 0.05 }
}

fn model(dtype: DType) -> PlaneModel {
    PlaneModel::new(&small(), Seed::new(0), dtype, &Device::Cpu).unwrap()
}

#[test]
fn sizes_are_those_of_four_layers_of_256() -> Result<()> {
    let config = PlaneConfig::published();
    let model = PlaneModel::new(&config, Seed::new(0), DType::F32, &Device::Cpu)?;
    let stack = |input: usize, output: usize| (input + 1) * 256 + 2 * 257 * 256 + 257 * 2 * output;
    assert_eq!(model.store().count(), stack(2, 20) + stack(20, 2));
    Ok(())
}

#[test]
fn noise_becomes_points_by_mean_and_scale() -> Result<()> {
    let model = model(DType::F64);
    let start = model.frozen().draw_noise(5, &mut noise("start"))?;
    let decoded = model.frozen().decode(&start)?;
    let [mean, scale] = model.frozen().decode_latent(&start.latents[0])?;
    let want = (&mean + scale.mul(&start.pixels)?)?;
    assert_eq!(values(&decoded.image), values(&want));
    assert!(values(&scale).iter().all(|scale| *scale > 0.05));
    assert!(!decoded.image.track_op());
    assert_eq!(decoded.clamped_share()?.to_bits(), 0.0_f64.to_bits());
    Ok(())
}

#[test]
fn weights_and_bound_have_the_same_mean() -> Result<()> {
    let model = model(DType::F64);
    let x = tensor([[0.3, -0.7]]);
    let many = x.repeat((40_000, 1))?;
    let [reconstruction, divergence] = model.frozen().bound_terms(&many, &mut noise("bound"))?;
    let bound = values(&(reconstruction + divergence)?.neg()?);
    let found = importance_weights(&x, 40_000, 10_000, &mut noise("weights"), |x, noise| {
        model.frozen().log_weights(x, noise)
    })?;
    let n = bound.len() as f64;
    let mean = bound.iter().sum::<f64>() / n;
    let variance = bound.iter().map(|b| (b - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let error = ((variance + found[0].std_between_chains().powi(2)) / n).sqrt();
    assert!((mean - found[0].lower_bound()).abs() < 4.0 * error, "{mean} {:?}", found[0]);
    // The estimate agrees with the density of many kernels at the point.
    let z = normal(&mut noise("latents"), &[200_000, 3]);
    let [mean, scale] = model.frozen().decode_latent(&z)?;
    let ratio = x.broadcast_sub(&mean)?.div(&scale)?;
    let log = ((ratio.sqr()? * -0.5)? - scale.log()?)?.sum(1)?;
    let density = values(&log.exp()?).iter().sum::<f64>() / 200_000.0;
    let log_p = density.ln() - (2.0 * std::f64::consts::PI).ln();
    assert!((log_p - found[0].importance_sampling()).abs() < 0.01, "{log_p} {:?}", found[0]);
    Ok(())
}

#[test]
fn every_tensor_has_a_gradient_and_the_bound_rises() -> Result<()> {
    let model = model(DType::F32);
    let x = normal(&mut noise("data"), &[64, 2]).to_dtype(DType::F32)?;
    let (_, grads) = value_and_gradients(|| {
        let [reconstruction, divergence] = model.live().bound_terms(&x, &mut noise("draw"))?;
        Ok((reconstruction + divergence)?)
    })?;
    for (name, var) in model.store().trainable() {
        let grad = grads.get(var.as_tensor()).unwrap_or_else(|| panic!("{name}: no gradient"));
        assert!(values(grad).iter().any(|g| g.abs() > 0.0), "{name}: all zero");
    }
    let (mut adam, mut noise) = (Adam::new(AdamConfig::standard()), noise("updates"));
    let mut losses = Vec::new();
    for _ in 0..200 {
        let terms = update_plane(&model, &mut adam, 3e-3, &x, &mut noise)?;
        assert!(terms.divergence > 0.0);
        losses.push(terms.reconstruction + terms.divergence);
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    assert!(mean(&losses[180..]) < mean(&losses[..20]) - 0.1, "{losses:?}");
    Ok(())
}

#[test]
fn a_saved_model_decodes_the_same() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let model = model(DType::F32);
    model.save(dir.path())?;
    let loaded = PlaneModel::load(dir.path(), &Device::Cpu)?;
    let start = model.frozen().draw_noise(5, &mut noise("start"))?;
    let [a, b] = [&model, &loaded].map(|model| model.frozen().decode(&start).unwrap().image);
    assert_eq!(values(&a), values(&b));
    Ok(())
}

#[test]
fn weights_of_the_control_are_those_of_the_product() -> Result<()> {
    let model = model(DType::F64);
    let found = importance_negatives(model.frozen(), &Quadratic, 500, &mut noise("control"))?;
    let raw: Vec<f64> = values(&Quadratic.energy(&found.x)?).iter().map(|e| (-e).exp()).collect();
    let sum: f64 = raw.iter().sum();
    for (weight, raw) in values(&found.weights).iter().zip(&raw) {
        assert!((weight - raw / sum).abs() < 1e-14);
    }
    let square: f64 = raw.iter().map(|w| (w / sum).powi(2)).sum();
    assert!((found.effective_samples - 1.0 / square).abs() < 1e-8);
    assert!(found.effective_samples > 1.0 && found.effective_samples < 500.0);
    Ok(())
}

#[test]
fn a_step_of_the_decoder_lowers_the_energy_of_its_samples() -> Result<()> {
    let model = model(DType::F64);
    let before: Vec<_> = model.store().tensors().iter().map(|(_, t)| values(t)).collect();
    let level = || -> Result<f64> {
        let fixed = model.frozen().draw_noise(4000, &mut noise("fixed"))?;
        Ok(values(&Quadratic.energy(&model.frozen().decode(&fixed)?.image)?.mean_all()?)[0])
    };
    let (mut adam, mut noise) = (Adam::new(AdamConfig::standard()), noise("steps"));
    let start = level()?;
    for _ in 0..20 {
        let step = (&mut adam, 1e-3);
        update_generator((model.live(), model.store()), &Quadratic, step, 256, &mut noise)?;
    }
    assert!(level()? < start - 0.05, "{} {start}", level()?);
    for ((name, now), before) in model.store().tensors().iter().zip(before) {
        assert_eq!(values(now) != before, name.starts_with("decoder"), "{name}");
    }
    Ok(())
}

#[test]
fn the_decoders_gradient_is_that_of_differences() -> Result<()> {
    let model = model(DType::F64);
    let (_, grads) = generator_gradients(model.live(), &Quadratic, 50, &mut noise("same"))?;
    let var = model.store().get("decoder.2.bias").unwrap();
    let grad = values(grads.get(var.as_tensor()).unwrap());
    let begun = values(var.as_tensor());
    let at = |i: usize, step: f64| -> Result<f64> {
        let mut moved = begun.clone();
        moved[i] += step;
        var.set(&Tensor::new(moved, &Device::Cpu)?)?;
        Ok(generator_gradients(model.live(), &Quadratic, 50, &mut noise("same"))?.0)
    };
    for (i, grad) in grad.iter().enumerate() {
        let difference = (at(i, 1e-5)? - at(i, -1e-5)?) / 2e-5;
        assert!(
            (grad - difference).abs() < 1e-7 * difference.abs().max(1.0),
            "{grad} {difference}"
        );
    }
    let wrong = JointNoise { latents: vec![], pixels: tensor([[0.0, 0.0]]) };
    assert!(model.frozen().decode(&wrong).is_err());
    Ok(())
}

#[test]
fn without_a_weight_the_divergence_is_not_held_down() -> Result<()> {
    let data = normal(&mut noise("weighted"), &[64, 2]).to_dtype(DType::F32)?;
    let after = |weight: f64| -> Result<f64> {
        let model = PlaneModel::new(&small(), Seed::new(3), DType::F32, &Device::Cpu)?;
        let (mut adam, mut last) = (Adam::new(AdamConfig::standard()), 0.0);
        for step in 0..100 {
            let mut noise = Seed::new(4).indexed(step).host_noise();
            let rates = [1e-2, weight];
            last = update_plane_weighted(&model, &mut adam, rates, &data, &mut noise)?.divergence;
        }
        Ok(last)
    };
    let [free, held] = [after(0.0)?, after(1.0)?];
    assert!(free > 2.0 * held && free > 1.0, "{free} {held}");
    Ok(())
}
