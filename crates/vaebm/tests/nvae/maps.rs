//! From noise to images and back.

use candle_core::{DType, Tensor, Var};
use chains_core::{Result, Seed};
use vaebm::{
    JointNoise, NoiseDecoder, NvaeConfig, Pass, Pixels, importance_weights, nvae::SoftNormal,
};

use crate::{assert_close, model, normal, uniform, values};

fn latents(config: &NvaeConfig, b: usize, dtype: DType) -> Vec<Tensor> {
    let shapes = config.latent_shapes();
    let one = |(k, shape): (usize, &[usize; 3])| {
        normal(&format!("z{k}"), [&[b][..], shape].concat()).to_dtype(dtype).unwrap()
    };
    shapes.iter().enumerate().map(one).collect()
}

#[test]
fn the_density_of_the_noise_is_that_of_the_model_times_the_jacobian() -> Result<()> {
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
        let config = NvaeConfig::nano();
        let decoder = model(&config, dtype)?.decoder()?;
        let noise = JointNoise {
            latents: latents(&config, 3, dtype),
            pixels: normal("x", (3, 1, 32, 32)).to_dtype(dtype)?,
        };
        let decoded = decoder.decode(&noise)?;
        let sums = |t: &Tensor| values(&t.flatten_from(1).unwrap().sum(1).unwrap());
        let mut left = vec![0.0; 3];
        let mut add = |law: &SoftNormal, v: &Tensor| {
            let log_density = sums(&law.log_density(v).unwrap());
            let jacobian = sums(&law.scale.log().unwrap());
            for (sum, (p, j)) in left.iter_mut().zip(log_density.iter().zip(&jacobian)) {
                *sum += p + j;
            }
        };
        for group in &decoded.groups {
            let law = SoftNormal { mean: group.mean.clone(), scale: group.scale.clone() };
            add(&law, &group.z);
        }
        let law = &decoded.law;
        add(&SoftNormal { mean: law.mean.clone(), scale: law.scale.clone() }, &decoded.raw);
        let square = values(&noise.flat()?.sqr()?.sum(1)?);
        let width = (2 * 256 + 1024) as f64;
        let constant = 0.5 * width * (2.0 * std::f64::consts::PI).ln();
        let right: Vec<f64> = square.iter().map(|square| -0.5 * square - constant).collect();
        assert_close("log density", &left, &right, tolerance);
        // The first group's deviation.
        assert!(values(&decoded.groups[0].scale).iter().all(|s| (s - 1.01).abs() < 1e-6));
        assert!(values(&decoded.groups[1].scale).iter().any(|s| (s - 1.01).abs() > 1e-3));
    }
    Ok(())
}

#[test]
fn noise_comes_back_from_what_it_gave() -> Result<()> {
    for config in [NvaeConfig::nano(), NvaeConfig { flows: 1, ..NvaeConfig::extra_small() }] {
        let model = model(&config, DType::F32)?;
        let network = model.fixed()?;
        let noise = latents(&config, 2, DType::F32);
        let generated = network.generate(&noise, 1.0, &mut Pass::evaluation())?;
        let z: Vec<_> = generated.groups.iter().map(|group| group.z.clone()).collect();
        let (back, again) = network.noise_of(&z, &mut Pass::evaluation())?;
        for (got, want) in back.iter().zip(&noise) {
            assert_close("noise", &values(got), &values(want), 1e-4);
        }
        let (Pixels::Gaussian { law, .. }, Pixels::Gaussian { law: other, .. }) =
            (&generated.pixels, &again.pixels)
        else {
            panic!("another law")
        };
        assert_close("pixels", &values(&other.mean), &values(&law.mean), 1e-5);
        let e = normal("x", law.mean.shape()).to_dtype(DType::F32)?;
        let back = other.noise_of(&law.sample(&e)?)?;
        assert_close("noise of pixels", &values(&back), &values(&e), 1e-4);
    }
    Ok(())
}

#[test]
fn an_encoded_image_is_decoded_from_its_noise() -> Result<()> {
    for flows in [0, 2] {
        let config = NvaeConfig { flows, ..NvaeConfig::extra_small() };
        let model = model(&config, DType::F64)?;
        let x = uniform("image", (2, 1, 32, 32));
        let noise = latents(&config, 2, DType::F64);
        let inferred = model.fixed()?.infer(&x, &noise, &mut Pass::evaluation())?;
        let decoded = model.decoder()?.decode(&inferred.joint_noise(&x)?)?;
        for (group, inferred) in decoded.groups.iter().zip(&inferred.groups) {
            assert_close("z", &values(&group.z), &values(&inferred.z), 1e-9);
        }
        let y = x.affine(2.0, -1.0)?;
        assert_close("y", &values(&decoded.raw), &values(&y), 1e-9);
    }
    Ok(())
}

#[test]
fn a_fixed_network_gives_the_same_and_only_noise_has_a_gradient() -> Result<()> {
    let config = NvaeConfig::extra_small();
    let model = model(&config, DType::F32)?;
    let noise: Vec<_> =
        latents(&config, 2, DType::F32).iter().map(|z| Var::from_tensor(z).unwrap()).collect();
    let tensors: Vec<_> = noise.iter().map(|var| var.as_tensor().clone()).collect();
    let mean = |network: &vaebm::Nvae| {
        network.generate(&tensors, 1.0, &mut Pass::evaluation())?.pixels.mean()
    };
    let (live, fixed) = (mean(model.network())?, mean(&model.fixed()?)?);
    // Equal but for rounding: batch norms are folded.
    assert_close("mean", &values(&fixed), &values(&live), 1e-5);
    let grads = fixed.sum_all()?.backward()?;
    for (k, var) in noise.iter().enumerate() {
        let grad = values(grads.get(var.as_tensor()).unwrap());
        assert!(grad.iter().any(|g| g.abs() > 0.0), "group {k}");
    }
    for (name, var) in model.store().all() {
        assert!(grads.get(var.as_tensor()).is_none(), "{name}");
    }
    Ok(())
}

#[test]
fn folded_batch_norms_are_those_of_evaluation() -> Result<()> {
    let config = NvaeConfig { pre_cells: 2, post_cells: 2, ..NvaeConfig::extra_small() };
    let model = model(&config, DType::F64)?;
    for (name, var) in model.store().trainable() {
        // Gains and shifts away from those of the beginning.
        if var.rank() == 1 {
            var.set(&(var.as_detached_tensor() + (normal(&name, var.shape()) * 0.1)?)?)?;
        }
    }
    let (x, noise) = (uniform("image", (2, 1, 32, 32)), latents(&config, 2, DType::F64));
    for training in [false, true] {
        let infer = |network: &vaebm::Nvae| {
            let mut pass = if training { Pass::training() } else { Pass::evaluation() };
            network.infer(&x, &noise, &mut pass)?.log_weight(&x, 0)
        };
        let (live, fixed) = (infer(model.network())?, infer(&model.fixed()?)?);
        assert_close("weight", &values(&fixed), &values(&live), 1e-10);
    }
    Ok(())
}

#[test]
fn a_temperature_is_a_factor_of_the_noise_of_every_group() -> Result<()> {
    let config = NvaeConfig::nano();
    let network = model(&config, DType::F64)?.fixed()?;
    let noise = latents(&config, 2, DType::F64);
    let cooler: Vec<_> = noise.iter().map(|e| (e * 0.7).unwrap()).collect();
    let cool = network.generate(&noise, 0.7, &mut Pass::evaluation())?;
    let same = network.generate(&cooler, 1.0, &mut Pass::evaluation())?;
    assert_close("mean", &values(&cool.pixels.mean()?), &values(&same.pixels.mean()?), 1e-12);
    assert_close("first", &values(&cool.groups[0].prior.scale), &[0.707; 512], 1e-12);
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let config = NvaeConfig::nano();
    let network = model(&config, DType::F32)?.fixed()?;
    let noise = latents(&config, 2, DType::F32);
    let pass = &mut Pass::evaluation();
    assert!(network.generate(&noise[..1], 1.0, pass).is_err());
    assert!(network.generate(&[], 1.0, pass).is_err());
    let other = [noise[0].clone(), noise[1].narrow(0, 0, 1)?];
    assert!(network.generate(&other, 1.0, pass).is_err());
    let x = uniform("image", (2, 1, 32, 31)).to_dtype(DType::F32)?;
    assert!(network.infer(&x, &noise, pass).is_err());
    Ok(())
}

#[test]
fn importance_weights_come_from_draws_of_the_posterior() -> Result<()> {
    let config = NvaeConfig { groups: vec![1, 1], ..NvaeConfig::nano() };
    let network = model(&config, DType::F32)?.fixed()?;
    let x = uniform("image", (3, 1, 32, 32)).to_dtype(DType::F32)?;
    let mut noise = Seed::new(1).host_noise();
    let weights =
        importance_weights(&x, 8, 6, &mut noise, |x, noise| network.log_weights(x, 2, noise))?;
    // Four calls of two draws each, by the same noise.
    let mut noise = Seed::new(1).host_noise();
    let twice = Tensor::cat(&[&x, &x], 0)?;
    let mut all = Vec::new();
    for _ in 0..4 {
        let latents = network.draw_latents(6, &mut noise)?;
        let inferred = network.infer(&twice, &latents, &mut Pass::evaluation())?;
        all.push(values(&inferred.log_weight(&twice, 2)?));
    }
    for (i, weight) in weights.iter().enumerate() {
        let own: Vec<f64> = all.iter().flat_map(|draw| [draw[i], draw[i + 3]]).collect();
        let mean = own.iter().sum::<f64>() / 8.0;
        let most = own.iter().copied().fold(f64::MIN, f64::max);
        let tight = most + (own.iter().map(|w| (w - most).exp()).sum::<f64>() / 8.0).ln();
        assert!((weight.importance_sampling() - tight).abs() < 1e-6 * tight.abs());
        assert!(tight > mean && tight.is_finite());
    }
    Ok(())
}

#[test]
fn a_model_of_one_group_has_a_decoder_without_a_tower() -> Result<()> {
    let config = NvaeConfig { groups: vec![1], flows: 1, ..NvaeConfig::nano() };
    let model = model(&config, DType::F32)?;
    let noise = latents(&config, 2, DType::F32);
    let x = uniform("image", (2, 1, 32, 32)).to_dtype(DType::F32)?;
    let inferred = model.network().infer(&x, &noise, &mut Pass::training())?;
    let grads = inferred.log_weight(&x, 0)?.sum_all()?.backward()?;
    for (name, var) in model.store().trainable() {
        // The state before the first group is in published files and has no use.
        assert_eq!(grads.get(var.as_tensor()).is_some(), name != "prior_ftr0", "{name}");
    }
    assert_eq!(model.decoder()?.noise_shapes().latents, [[4, 8, 8]]);
    Ok(())
}
