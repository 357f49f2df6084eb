//! The model as it is saved, sampled, clamped, and normalised with frozen statistics.

mod common;

use std::cell::Cell;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Error, Noise, Result, Seed,
    chain::{Clamped, Generation, Step, TransitionOperator, check_kernel},
    nn::Statistics,
    optim::{Adam, AdamConfig},
    schedule::InfusionRate,
};
use common::{assert_close, assert_same_bits, assert_within, bits, model_bits, rows, values};
use infusion::{
    InfusionChain, InfusionModel, NetworkConfig, SampleOptions, StatisticsPass, TrainConfig,
    generate, inpaint, update,
};

const RATE: InfusionRate = InfusionRate::increasing(0.05, 0.1);

/// A model after a few updates, with frozen statistics.
fn trained(network: NetworkConfig) -> Result<InfusionModel> {
    let model = common::model(network, RATE)?;
    let (mut adam, config) = (Adam::new(AdamConfig::standard()), TrainConfig::published());
    let mut noise = Seed::new(0).child("chain").host_noise();
    for batch in 0..8 {
        update(&model, &mut adam, &config, 1e-2, &rows(&model, 32, batch)?, &mut noise)?;
    }
    let mut pass = StatisticsPass::new(&model);
    pass.push(&rows(&model, 64, 0)?, &mut noise)?;
    pass.finish()?;
    Ok(model)
}

fn both() -> Result<[InfusionModel; 2]> {
    Ok([trained(common::mlp(3))?, trained(common::deconv(3))?])
}

fn sample(model: &InfusionModel, options: &SampleOptions) -> Result<(Vec<u32>, Vec<u32>)> {
    let mut noise = Seed::new(7).child("sample").host_noise();
    let last = generate(model, 4, options, &mut noise, |_, _| Ok(()))?;
    Ok((bits(&last.position)?, bits(&last.mean)?))
}

#[test]
fn models_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<InfusionModel>();
    shared::<infusion::OperatorNetwork>();
    shared::<infusion::Prior>();
}

#[test]
fn a_saved_model_generates_the_same_bits() -> Result<()> {
    for model in both()? {
        let dir = tempfile::tempdir().map_err(|source| Error::io("temporary folder", source))?;
        let path = dir.path().join("model");
        model.save(&path)?;
        let loaded = InfusionModel::load(&path, &Device::Cpu)?;
        assert_eq!(loaded.config(), model.config());
        assert_same_bits(&model_bits(&loaded)?, &model_bits(&model)?);
        let options = SampleOptions::new(5);
        assert_eq!(sample(&loaded, &options)?, sample(&model, &options)?);
    }
    Ok(())
}

#[test]
fn a_folder_without_a_model_is_an_error_that_names_it() -> Result<()> {
    let dir = tempfile::tempdir().map_err(|source| Error::io("temporary folder", source))?;
    let error = InfusionModel::load(dir.path(), &Device::Cpu).err();
    assert!(matches!(&error, Some(Error::Checkpoint { path, .. }) if path == dir.path()));
    Ok(())
}

#[test]
fn generation_and_clamped_generation_keep_the_contract_of_kernels() -> Result<()> {
    for model in both()? {
        let x = rows(&model, 6, 3)?;
        for statistics in [Statistics::Running, Statistics::Batch] {
            let kernel = Generation(model.operator(statistics));
            check_kernel(&kernel, &x, Seed::new(1))?;
            let mask = x.lt(0.5)?;
            check_kernel(&Clamped { kernel, mask, known: x.clone() }, &x, Seed::new(1))?;
        }
        // A live network must not leak its graph through the kernel either.
        check_kernel(&Generation(model.live_operator()), &x, Seed::new(1))?;
    }
    Ok(())
}

#[test]
fn with_frozen_statistics_rows_do_not_interact() -> Result<()> {
    for model in both()? {
        let operator = model.operator(Statistics::Running);
        let x = rows(&model, 5, 3)?;
        let all = operator.conditional(&x, Step::at(1))?;
        for row in 0..5 {
            let one = operator.conditional(&x.narrow(0, row, 1)?, Step::at(1))?;
            let want = values(&all.mean().narrow(0, row, 1)?)?;
            for (got, want) in values(one.mean())?.iter().zip(want) {
                assert_close(*got, want, 1e-5, "mean");
            }
        }
    }
    Ok(())
}

#[test]
fn frozen_statistics_of_one_batch_reproduce_its_outputs() -> Result<()> {
    for model in both()? {
        let x = rows(&model, 24, 9)?;
        let noise = Seed::new(4).child("statistics");
        let mut pass = StatisticsPass::new(&model);
        pass.push(&x, &mut noise.host_noise())?;
        pass.finish()?;
        let (prior, steps) = (model.prior()?, model.config().network.steps);
        let run = |statistics| -> Result<Vec<f64>> {
            let operator = model.operator(statistics);
            let config = &model.config().chain;
            let chain = InfusionChain { operator: &operator, prior: &prior, config, steps };
            let mut means = Vec::new();
            chain.walk(&x, &mut noise.host_noise(), true, |visit| {
                means.extend(values(visit.conditional.mean())?);
                Ok(())
            })?;
            Ok(means)
        };
        let (batch, running) = (run(Statistics::Batch)?, run(Statistics::Running)?);
        assert_eq!(batch.len(), 4 * x.elem_count());
        for (got, want) in running.iter().zip(&batch) {
            assert_close(*got, *want, 1e-5, "mean");
        }
    }
    Ok(())
}

#[test]
fn unequal_batches_are_merged_into_the_statistics_of_the_whole_set() -> Result<()> {
    // Every state is the target, so the first layer sees the data whatever the batches.
    let model = common::model(common::mlp(2), InfusionRate::constant(1.0))?;
    let mut config = model.config().clone();
    config.chain.target_variance = 1e-14;
    let model = InfusionModel::new(config, Seed::new(5), &Device::Cpu)?;
    let x = rows(&model, 40, 2)?;
    let running = |sizes: &[usize]| -> Result<Vec<f64>> {
        let mut pass = StatisticsPass::new(&model);
        let (mut from, mut noise) = (0, Seed::new(0).host_noise());
        for size in sizes {
            pass.push(&x.narrow(0, from, *size)?, &mut noise)?;
            from += size;
        }
        pass.finish()?;
        let mut found = Vec::new();
        for step in 0..2 {
            for name in ["running_mean", "running_var"] {
                let name = format!("operator.hidden.0.norms.{step}.{name}");
                let Some(var) = model.store().get(&name) else { panic!("no {name}") };
                found.extend(values(var.as_tensor())?);
            }
        }
        Ok(found)
    };
    let whole = running(&[40])?;
    for sizes in [[3, 37], [30, 10]] {
        for (got, want) in running(&sizes)?.iter().zip(&whole) {
            assert_close(*got, *want, 1e-5 * want.abs().max(0.1), "statistics");
        }
    }
    // The moments of the affine map itself.
    let Some(weight) = model.store().get("operator.hidden.0.weight") else { panic!("no weight") };
    let h = x.matmul(&weight.t()?)?;
    let mean = h.mean_keepdim(0)?;
    let variance = h.broadcast_sub(&mean)?.sqr()?.mean(0)?;
    let want = [values(&mean)?, values(&variance)?].concat();
    for (got, want) in whole.iter().zip(want.iter().chain(&want)) {
        assert_close(*got, *want, 1e-5 * want.abs().max(0.1), "moments");
    }
    Ok(())
}

#[test]
fn statistics_on_the_model_chain_ignore_the_targets() -> Result<()> {
    let model = trained(common::mlp(3))?;
    let statistics = |seed| -> Result<_> {
        let mut pass = StatisticsPass::on_model_chain(&model);
        pass.push(&rows(&model, 16, seed)?, &mut Seed::new(0).host_noise())?;
        pass.finish()?;
        model_bits(&model)
    };
    assert_same_bits(&statistics(1)?, &statistics(2)?);
    assert!(StatisticsPass::new(&model).finish().is_err());
    Ok(())
}

#[test]
fn a_step_beyond_the_last_uses_the_last_normalisation() -> Result<()> {
    for model in both()? {
        let operator = model.operator(Statistics::Running);
        let x = rows(&model, 4, 3)?;
        let at =
            |step| -> Result<Vec<u32>> { bits(operator.conditional(&x, Step::at(step))?.mean()) };
        assert_eq!(at(2)?, at(3)?);
        assert_eq!(at(2)?, at(100)?);
        assert_ne!(at(1)?, at(2)?);
    }
    Ok(())
}

#[test]
fn a_temperature_multiplies_the_variance_alone() -> Result<()> {
    let model = trained(common::mlp(3))?;
    let (operator, x) = (model.operator(Statistics::Running), rows(&model, 4, 3)?);
    let plain = operator.conditional(&x, Step::at(1))?;
    let warm = operator.conditional(&x, Step { index: 1, temperature: 4.0 })?;
    assert_eq!(bits(warm.mean())?, bits(plain.mean())?);
    for (warm, plain) in values(warm.variance())?.iter().zip(values(plain.variance())?) {
        assert_close(*warm, 4.0 * plain, 1e-8, "variance");
    }
    Ok(())
}

#[test]
fn generation_visits_every_step_and_more_steps_continue_fewer() -> Result<()> {
    let model = trained(common::mlp(3))?;
    let run = |steps| -> Result<Vec<Vec<u32>>> {
        let mut seen = Vec::new();
        let mut noise = Seed::new(7).host_noise();
        let options = SampleOptions::new(steps);
        let last = generate(&model, 4, &options, &mut noise, |index, step| {
            assert_eq!(index, seen.len());
            seen.push(bits(&step.position)?);
            Ok(())
        })?;
        assert_eq!(bits(&last.position)?, *seen.last().unwrap_or(&Vec::new()));
        Ok(seen)
    };
    let (short, long) = (run(3)?, run(6)?);
    assert_eq!((short.len(), long.len()), (3, 6));
    assert_eq!(short, long[..3]);
    let mut noise = Seed::new(7).host_noise();
    let none = generate(&model, 4, &SampleOptions::new(0), &mut noise, |_, _| Ok(()));
    assert!(matches!(none, Err(Error::Config { field: "steps", .. })));
    Ok(())
}

#[test]
fn samples_scatter_around_their_means_with_the_floor_that_was_asked_for() -> Result<()> {
    let model = trained(common::mlp(1))?;
    // A variance head at its lower end: the floor alone is left.
    for leaf in ["weight", "bias"] {
        let name = format!("operator.variance_head.{leaf}");
        let Some(var) = model.store().get(&name) else { panic!("no {name}") };
        let value = if leaf == "bias" { -1e3 } else { 0.0 };
        var.set(&var.affine(0.0, value)?.detach())?;
    }
    for (floor, want) in [(None, 1e-4), (Some(1e-5), 1e-5)] {
        let options = SampleOptions { variance_floor: floor, ..SampleOptions::new(1) };
        for seed in common::SEEDS {
            let mut noise = Seed::new(seed).child("floor").host_noise();
            let last = generate(&model, 2_000, &options, &mut noise, |_, _| Ok(()))?;
            let square = values(&(last.position - last.mean)?.sqr()?)?;
            assert_within(common::mean_se(&square), want, "variance");
        }
    }
    Ok(())
}

#[test]
fn known_elements_are_equal_to_the_bit_after_every_step_and_in_the_mean() -> Result<()> {
    for model in both()? {
        let (n, d) = (5, model.config().network.dim());
        let mask: Vec<u8> = (0..n * d).map(|i| u8::from(i % d < d / 2)).collect();
        let known: Vec<f32> = (0..n * d)
            .map(|i| if mask[i] > 0 { i as f32 * 0.01 - 1.0 } else { f32::NAN })
            .collect();
        let want: Vec<u32> = known.iter().map(|v| v.to_bits()).collect();
        let (mask_tensor, known) = (
            Tensor::from_vec(mask.clone(), (n, d), &Device::Cpu)?,
            Tensor::from_vec(known, (n, d), &Device::Cpu)?,
        );
        let check = |found: &Tensor| -> Result<()> {
            for ((found, want), mask) in bits(found)?.into_iter().zip(&want).zip(&mask) {
                assert!(if *mask > 0 { found == *want } else { f32::from_bits(found).is_finite() });
            }
            Ok(())
        };
        let (steps, options) = (Cell::new(0), SampleOptions::new(5));
        let mut noise = Seed::new(1).child("inpaint").host_noise();
        let last = inpaint(&model, &known, &mask_tensor, &options, &mut noise, |_, step| {
            steps.set(steps.get() + 1);
            check(&step.position)
        })?;
        assert_eq!(steps.get(), 5);
        check(&last.position)?;
        check(&last.mean)?;
        // Another stream of noise completes otherwise.
        let again = inpaint(&model, &known, &mask_tensor, &options, &mut noise, |_, _| Ok(()))?;
        assert_ne!(bits(&again.position)?, bits(&last.position)?);
        let narrow = mask_tensor.narrow(1, 0, d - 1)?;
        let error = inpaint(&model, &known, &narrow, &options, &mut noise, |_, _| Ok(()));
        assert!(matches!(error, Err(Error::Shape { what: "mask", .. })));
    }
    Ok(())
}

#[test]
fn the_prior_is_the_factorial_gaussian_of_the_moments_plus_the_floor() -> Result<()> {
    let model = common::model(common::mlp(2), RATE)?;
    let (mean, variance) = (vec![0.25; 12], vec![0.04; 12]);
    model.set_prior(&mean, &variance)?;
    let prior = model.prior()?.batch(2)?;
    assert!(values(prior.mean())?.iter().all(|m| (m - 0.25).abs() < 1e-9));
    assert!(values(prior.variance())?.iter().all(|v| (v - 0.04001).abs() < 1e-8));
    for seed in common::SEEDS {
        let mut noise = Seed::new(seed).child("prior").host_noise();
        let draws = values(&model.prior()?.sample(5_000, &mut noise)?)?;
        assert_within(common::mean_se(&draws), 0.25, "mean");
        let square: Vec<f64> = draws.iter().map(|z| (z - 0.25).powi(2)).collect();
        assert_within(common::mean_se(&square), 0.04001, "variance");
    }
    // Refused moments leave the prior as it was.
    let before = model_bits(&model)?;
    assert!(matches!(model.set_prior(&[0.5; 12], &[0.1; 11]), Err(Error::Shape { .. })));
    assert!(matches!(model.set_prior(&[0.5; 3], &[0.1; 12]), Err(Error::Shape { .. })));
    assert_same_bits(&model_bits(&model)?, &before);
    Ok(())
}

#[test]
fn the_same_noise_gives_the_same_prior_draws_as_the_chain_at_rate_zero() -> Result<()> {
    let model = common::model(common::mlp(2), InfusionRate::constant(0.0))?;
    let (prior, operator) = (model.prior()?, model.operator(Statistics::Running));
    let config = &model.config().chain;
    let chain = InfusionChain { operator: &operator, prior: &prior, config, steps: 2 };
    let states = chain.states(&rows(&model, 4, 0)?, &mut Seed::new(3).host_noise())?;
    let mut noise = Seed::new(3).host_noise();
    let mut seen = vec![bits(&prior.sample(4, &mut noise)?)?];
    let mut again = Seed::new(3).host_noise();
    generate(&model, 4, &SampleOptions::new(1), &mut again, |_, step| {
        seen.push(bits(&step.position)?);
        Ok(())
    })?;
    assert_eq!(states.iter().map(bits).collect::<Result<Vec<_>>>()?, seen);
    // Both streams have gone on by as many draws as they made.
    noise.normal(&1.into(), DType::F32, &Device::Cpu)?;
    assert_eq!(noise.state(), again.state());
    Ok(())
}
