//! One update and what surrounds it.

use candle_core::{DType, Device, Tensor};
use chains_core::{Noise, Result, Seed};
use vaebm::{
    Head, Nvae, NvaeConfig, NvaeModel, NvaeTrainConfig, Pass,
    train::{NvaeTrainState, readjust, update_vae},
};

use crate::{assert_close, model, uniform, values};

fn images(config: &NvaeConfig, b: usize) -> Result<Tensor> {
    let shape = [&[b][..], &config.event()].concat();
    let x = uniform("images", shape).to_dtype(DType::F32)?;
    Ok(match config.head {
        Head::Bernoulli => x.gt(0.5)?.to_dtype(DType::F32)?,
        _ => ((x * 255.0)?.round()? / 255.0)?,
    })
}

fn heads() -> Vec<NvaeConfig> {
    let nano = NvaeConfig { flows: 1, ..NvaeConfig::nano() };
    vec![
        NvaeConfig::nano(),
        NvaeConfig { groups: vec![2, 2], ..nano.clone() },
        NvaeConfig { head: Head::Bernoulli, ..NvaeConfig::nano() },
        NvaeConfig { channels: 3, head: Head::LogisticMixture { components: 2 }, ..nano },
    ]
}

#[test]
fn every_parameter_moves_in_one_update() -> Result<()> {
    for config in heads() {
        let model = NvaeModel::new(&config, Seed::new(0), &Device::Cpu)?;
        let train = NvaeTrainConfig { warmup_epochs: 0, ..NvaeTrainConfig::small_mnist() };
        let before: Vec<_> =
            model.store().all().iter().map(|(_, var)| values(var.as_tensor())).collect();
        let mut state = NvaeTrainState::new(&train, 10);
        let mut noise = Seed::new(1).host_noise();
        let terms = update_vae(&model, &mut state, &train, &images(&config, 4)?, &mut noise)?;
        for ((name, var), before) in model.store().all().iter().zip(before) {
            assert_ne!(values(var.as_tensor()), before, "{name} of {config:?}");
        }
        assert_eq!(terms.kl.len(), config.latent_groups());
        assert!((terms.kl_weight - 1e-4).abs() < 1e-12 && state.update == 1);
        // All convolutions and all batch norms are in the regularisation.
        let (kernels, norms) = (leaves(&model, 4), leaves(&model, 0));
        assert!(terms.spectral > 0.0 && kernels > norms);
        assert!((terms.gains - norms as f64).abs() < 1e-4, "{} {norms}", terms.gains);
    }
    Ok(())
}

/// Kernels of convolutions, or batch norms for a rank of 0.
fn leaves(model: &NvaeModel, rank: usize) -> usize {
    let all = model.store().all();
    let is = |(name, var): &&(String, candle_core::Var)| match rank {
        0 => name.ends_with(".running_mean"),
        _ => name.ends_with(".weight") && var.rank() == rank,
    };
    all.iter().filter(is).count()
}

#[test]
fn a_pass_of_training_meets_every_layer_once() -> Result<()> {
    for config in heads() {
        let model = NvaeModel::new(&config, Seed::new(0), &Device::Cpu)?;
        let mut noise = Seed::new(1).host_noise();
        let latents = model.network().draw_latents(2, &mut noise)?;
        let mut pass = Pass::training();
        model.network().infer(&images(&config, 2)?, &latents, &mut pass)?;
        assert_eq!(pass.kernels().len(), leaves(&model, 4));
        assert_eq!(pass.gains().len(), leaves(&model, 0));
    }
    Ok(())
}

#[test]
fn divergences_without_flows_are_those_of_the_laws() -> Result<()> {
    for flows in [0, 1] {
        let config = NvaeConfig { flows, ..NvaeConfig::nano() };
        let model = model(&config, DType::F32)?;
        let network = model.fixed()?;
        let (x, mut noise) = (images(&config, 3)?, Seed::new(1).host_noise());
        let latents = network.draw_latents(3, &mut noise)?;
        let inferred = network.infer(&x, &latents, &mut Pass::evaluation())?;
        let mut weight = inferred.pixels.log_prob(&x, 0)?;
        for group in &inferred.groups {
            let want = if flows == 0 {
                group.posterior.kl(&group.prior)?.flatten_from(1)?.sum(1)?
            } else {
                (&group.log_posterior - &group.log_prior)?
            };
            assert_close("kl", &values(&group.kl), &values(&want), 1e-6);
            let of_z = group.prior.log_prob(&group.z)?;
            assert_close("log p", &values(&group.log_prior), &values(&of_z), 1e-6);
            weight = ((weight + &group.log_prior)? - &group.log_posterior)?;
        }
        assert_close("weight", &values(&inferred.log_weight(&x, 0)?), &values(&weight), 1e-6);
        // The first group's posterior is not residual, the others' are: raw parameters of zero give the prior.
        let first = &inferred.groups[0];
        assert!(values(&first.prior.mean).iter().all(|m| *m == 0.0));
    }
    Ok(())
}

#[test]
fn a_posterior_without_parameters_of_its_own_is_the_prior() -> Result<()> {
    let config = NvaeConfig::nano();
    let model = model(&config, DType::F32)?;
    for leaf in ["bias", "weight"] {
        let var = model.store().get(&format!("enc_sampler.1.{leaf}")).unwrap();
        var.set(&var.as_detached_tensor().zeros_like()?)?;
    }
    let network: Nvae = model.fixed()?;
    let mut noise = Seed::new(1).host_noise();
    let latents = network.draw_latents(2, &mut noise)?;
    let inferred = network.infer(&images(&config, 2)?, &latents, &mut Pass::evaluation())?;
    let group = &inferred.groups[1];
    assert_close("mean", &values(&group.posterior.mean), &values(&group.prior.mean), 1e-6);
    assert!(values(&group.kl).iter().all(|kl| kl.abs() < 1e-4));
    assert!(values(&inferred.groups[0].kl).iter().all(|kl| *kl > 0.0));
    Ok(())
}

fn run(threads: usize) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let config = NvaeConfig { flows: 1, ..NvaeConfig::nano() };
        let model = NvaeModel::new(&config, Seed::new(0), &Device::Cpu)?;
        let train = NvaeTrainConfig { warmup_epochs: 0, ..NvaeTrainConfig::small_mnist() };
        let mut state = NvaeTrainState::new(&train, 2);
        let x = images(&config, 8)?;
        let mut losses = Vec::new();
        for update in 0..6 {
            let mut noise = Seed::new(1).indexed(update).host_noise();
            losses.push(update_vae(&model, &mut state, &train, &x, &mut noise)?.loss);
        }
        Ok((losses, model.store().tensors().iter().map(|(_, t)| values(t)).collect()))
    })
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads_and_the_loss_falls() -> Result<()> {
    let (one, three) = (run(1)?, run(3)?);
    assert_eq!(one, three);
    assert!(one.0[5] < one.0[0] - 50.0, "{:?}", one.0);
    Ok(())
}

#[test]
fn samples_of_low_temperature_have_moments_of_their_own() -> Result<()> {
    let config = NvaeConfig::nano();
    let model = NvaeModel::new(&config, Seed::new(0), &Device::Cpu)?;
    let before = model.statistics()?;
    readjust(&model, 0.7, [3, 8], &mut Seed::new(1).host_noise())?;
    for ((name, before), (_, after)) in before.iter().zip(model.statistics()?) {
        // Only the decoder was met.
        let decoder = name.starts_with("dec_tower") || name.starts_with("post_process");
        assert_eq!(values(before) != values(&after), decoder, "{name}");
    }
    let sample = |mean| model.sample(2, 0.7, mean, &mut Seed::new(2).host_noise());
    for mean in [false, true] {
        let images = sample(mean)?;
        assert_eq!(images.dims(), [2, 1, 32, 32]);
        assert!(values(&images).iter().all(|v| (0.0..=1.0).contains(v)));
    }
    assert_ne!(values(&sample(false)?), values(&sample(true)?));
    model.set_statistics(&before)?;
    for ((name, before), (_, after)) in before.iter().zip(model.statistics()?) {
        assert_eq!(values(before), values(&after), "{name}");
    }
    let stranger = [("x.running_mean".to_owned(), before[0].1.clone())];
    assert!(model.set_statistics(&stranger).is_err());
    Ok(())
}

#[test]
fn a_training_goes_on_where_it_was_saved() -> Result<()> {
    let config = NvaeConfig::nano();
    let train = NvaeTrainConfig::small_mnist();
    let x = images(&config, 4)?;
    let step = |model: &NvaeModel, state: &mut NvaeTrainState| {
        let mut noise = Seed::new(1).indexed(state.update as u64).host_noise();
        update_vae(model, state, &train, &x, &mut noise)
    };
    let a = NvaeModel::new(&config, Seed::new(0), &Device::Cpu)?;
    let mut state = NvaeTrainState::new(&train, 5);
    for _ in 0..3 {
        step(&a, &mut state)?;
    }
    let b = NvaeModel::new(&config, Seed::new(9), &Device::Cpu)?;
    let copies = a.store().tensors().into_iter().map(|(n, t)| (n, t.copy().unwrap())).collect();
    b.store().assign(std::path::Path::new("there"), &copies)?;
    let saved = state.tensors()?.into_iter().map(|(n, t)| (n, t.copy().unwrap())).collect();
    let mut other = NvaeTrainState::restore(train.adamax, [3, 5], &saved, &b)?;
    for _ in 0..2 {
        let [one, two] = [step(&a, &mut state)?, step(&b, &mut other)?];
        assert!(one == two && one.spectral > 0.0, "{one:?} {two:?}");
    }
    for ((name, a), (_, b)) in a.store().tensors().iter().zip(b.store().tensors()) {
        assert_eq!(values(a), values(&b), "{name}");
    }
    Ok(())
}

#[test]
fn a_loss_that_is_no_number_changes_nothing() -> Result<()> {
    let config = NvaeConfig::nano();
    let model = NvaeModel::new(&config, Seed::new(0), &Device::Cpu)?;
    let train = NvaeTrainConfig::small_mnist();
    let mut state = NvaeTrainState::new(&train, 5);
    let before: Vec<_> = model.store().tensors().iter().map(|(_, t)| values(t)).collect();
    let x = (images(&config, 2)? * f64::NAN)?;
    let mut noise = Seed::new(1).host_noise();
    let _ = noise.uniform(&1.into(), DType::F32, &Device::Cpu)?;
    let error = update_vae(&model, &mut state, &train, &x, &mut noise).unwrap_err();
    assert!(error.is_recoverable(), "{error}");
    let after: Vec<_> = model.store().tensors().iter().map(|(_, t)| values(t)).collect();
    assert_eq!(before, after);
    Ok(())
}
