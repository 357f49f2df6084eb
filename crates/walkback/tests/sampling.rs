//! Cooling, staying, heating, inpainting (W13).

mod common;

use std::cell::Cell;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Error, Result, Seed,
    chain::{Clamped, Generation, Half, Step, TransitionOperator, check_kernel, half_mask},
    dist::Law,
};
use common::{bernoulli, bits, gaussian, networks, reconstruction, rows, values};
use walkback::{
    ModelConfig, NetworkConfig, SampleOptions, StartConfig, Statistics, WalkbackModel, generate,
    generate_from, heat, inpaint,
};

const K: usize = 3;

fn models() -> Result<Vec<WalkbackModel>> {
    let mut all = Vec::new();
    for network in networks(K) {
        for make in [gaussian, reconstruction, bernoulli] {
            all.push(common::model(make(network.clone()))?);
        }
    }
    Ok(all)
}

#[test]
fn models_and_what_they_give_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<WalkbackModel>();
    shared::<walkback::OperatorNetwork>();
    shared::<walkback::Operator<'_>>();
    shared::<walkback::Conditional>();
    shared::<walkback::Start>();
}

#[test]
fn options_are_those_of_the_regime() -> Result<()> {
    for model in models()? {
        let options = SampleOptions::of(&model);
        let config = model.config();
        assert_eq!((options.steps, options.extra), (K, config.chain.extra_steps));
        assert_eq!(options.start, config.chain.start);
        let frozen = options.statistics == Statistics::Cooling;
        assert_eq!(frozen, config.operator.has_density());
        let rest = SampleOptions::at_rest(&model, 7);
        assert_eq!((rest.steps, rest.extra, rest.statistics), (0, 7, options.statistics));
    }
    Ok(())
}

#[test]
fn cooling_visits_the_transitions_in_reverse_and_then_stays_at_the_first() -> Result<()> {
    for model in models()? {
        let options = SampleOptions { steps: K, extra: 2, ..SampleOptions::of(&model) };
        let mut noise = Seed::new(7).host_noise();
        let start = model.start()?.sample(4, &mut noise)?;
        let operator = model.operator(options.statistics);
        let factor = if model.config().operator.learns_variance() { 1.5_f64 } else { 2.0 };
        let factor = match model.config().chain.start {
            StartConfig::Bernoulli { .. } => 1.5,
            _ => factor,
        };
        let want = [(2, factor.powi(2)), (1, factor), (0, 1.0), (0, 1.0), (0, 1.0)];
        let mut z = start.clone();
        let mut count = 0;
        let last = generate_from(&model, start.clone(), &options, &mut noise, |index, step| {
            let (number, temperature) = want[index];
            let law = operator.conditional(&z, Step { index: number, temperature })?;
            assert_eq!(bits(&step.mean)?, bits(&law.centre()?)?, "step {index}");
            z = step.position.clone();
            count += 1;
            Ok(())
        })?;
        assert_eq!(count, want.len());
        assert_eq!(bits(&last.position)?, bits(&z)?);
        // The same from the start's own draw.
        let again = generate(&model, 4, &options, &mut Seed::new(7).host_noise(), |_, _| Ok(()))?;
        assert_eq!(bits(&again.position)?, bits(&last.position)?);
    }
    Ok(())
}

#[test]
fn more_extra_steps_continue_fewer_and_none_at_all_is_an_error() -> Result<()> {
    let model = common::model(gaussian(networks(K)[1].clone()))?;
    let run = |extra| -> Result<Vec<Vec<u32>>> {
        let mut seen = Vec::new();
        let options = SampleOptions { extra, ..SampleOptions::of(&model) };
        generate(&model, 4, &options, &mut Seed::new(7).host_noise(), |_, step| {
            seen.push(bits(&step.position)?);
            Ok(())
        })?;
        Ok(seen)
    };
    let (short, long) = (run(1)?, run(6)?);
    assert_eq!((short.len(), long.len()), (K + 1, K + 6));
    assert_eq!(short, long[..K + 1]);
    let none = SampleOptions::at_rest(&model, 0);
    let none = generate(&model, 4, &none, &mut Seed::new(7).host_noise(), |_, _| Ok(()));
    assert!(matches!(none, Err(Error::Config { field: "steps", .. })));
    Ok(())
}

#[test]
fn a_chain_of_five_thousand_steps_at_temperature_one_stays_finite() -> Result<()> {
    let model = common::model(reconstruction(networks(K)[0].clone()))?;
    let options = SampleOptions::at_rest(&model, 5_000);
    let steps = Cell::new(0);
    let mut noise = Seed::new(1).host_noise();
    let last = generate(&model, 2, &options, &mut noise, |_, _| {
        steps.set(steps.get() + 1);
        Ok(())
    })?;
    assert_eq!(steps.get(), 5_000);
    assert!(values(&last.position)?.iter().all(|x| (0.0..=1.0).contains(x)));
    Ok(())
}

#[test]
fn heating_visits_the_transitions_in_order() -> Result<()> {
    let model = common::model(gaussian(networks(K)[1].clone()))?;
    let (x, operator) = (rows(&model, 4, 1)?, model.operator(Statistics::Heating));
    let mut z = x.clone();
    let mut noise = Seed::new(1).host_noise();
    let last = heat(&model, &x, Statistics::Heating, &mut noise, |index, step| {
        let at = Step { index, temperature: 1.5_f64.powi(index as i32) };
        assert_eq!(bits(&step.mean)?, bits(&operator.conditional(&z, at)?.centre()?)?);
        z = step.position.clone();
        Ok(())
    })?;
    assert_eq!(bits(&last.position)?, bits(&z)?);
    assert_ne!(bits(&z)?, bits(&x)?);
    Ok(())
}

#[test]
fn known_elements_are_equal_to_the_bit_after_every_step_and_in_the_mean() -> Result<()> {
    for model in models()? {
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
        let cooled = SampleOptions::of(&model);
        let bits_start = StartConfig::Bernoulli { probability: 0.5 };
        let resting = SampleOptions { start: bits_start, ..SampleOptions::at_rest(&model, 12) };
        for options in [cooled, resting] {
            let steps = Cell::new(0);
            let mut noise = Seed::new(1).child("inpaint").host_noise();
            let last = inpaint(&model, &known, &mask_tensor, &options, &mut noise, |_, step| {
                steps.set(steps.get() + 1);
                check(&step.position)
            })?;
            assert_eq!(steps.get(), options.steps + options.extra);
            check(&last.position)?;
            check(&last.mean)?;
        }
        let narrow = mask_tensor.narrow(1, 0, d - 1)?;
        let mut noise = Seed::new(1).host_noise();
        let error = inpaint(&model, &known, &narrow, &cooled, &mut noise, |_, _| Ok(()));
        assert!(matches!(error, Err(Error::Shape { what: "mask", .. })));
    }
    Ok(())
}

/// Half of three channels of 4 x 4 known.
fn channels() -> ModelConfig {
    gaussian(NetworkConfig::mlp([3, 4, 4], vec![20], K))
}

#[test]
fn a_mask_of_the_upper_half_covers_every_channel() -> Result<()> {
    let model = common::model(channels())?;
    let mask = half_mask(Half::Top, [3, 4, 4]);
    let known = Tensor::full(0.25_f32, (2, 48), &Device::Cpu)?;
    let mask = Tensor::from_vec(mask.repeat(2), (2, 48), &Device::Cpu)?;
    let options = SampleOptions::of(&model);
    let mut noise = Seed::new(1).host_noise();
    let last = inpaint(&model, &known, &mask, &options, &mut noise, |_, _| Ok(()))?;
    for (at, x) in values(&last.position)?.iter().enumerate() {
        // Rows 0 and 1 of each of the planes red, green and blue.
        let upper = at % 16 < 8;
        assert_eq!((x - 0.25).abs() < 1e-12, upper, "element {at}");
    }
    Ok(())
}

#[test]
fn completions_differ_from_run_to_run() -> Result<()> {
    let model = common::model(channels())?;
    let known = rows(&model, 3, 1)?;
    let mask = Tensor::from_vec(half_mask(Half::Left, [3, 4, 4]).repeat(3), (3, 48), &Device::Cpu)?;
    let options = SampleOptions::of(&model);
    let mut noise = Seed::new(1).host_noise();
    let mut run = || -> Result<Vec<u32>> {
        bits(&inpaint(&model, &known, &mask, &options, &mut noise, |_, _| Ok(()))?.position)
    };
    assert_ne!(run()?, run()?);
    Ok(())
}

#[test]
fn clamped_chains_keep_the_contract_of_kernels() -> Result<()> {
    for model in models()? {
        let x = rows(&model, 6, 3)?.round()?;
        let mask = x.lt(0.5)?;
        let kernel = Generation(model.operator(Statistics::Cooling));
        check_kernel(&Clamped { kernel, mask, known: x.clone() }, &x, Seed::new(1))?;
    }
    Ok(())
}

#[test]
fn states_that_do_not_fit_are_an_error() -> Result<()> {
    let model = common::model(gaussian(networks(K)[0].clone()))?;
    let start = Tensor::zeros((3, 5), DType::F32, &Device::Cpu)?;
    let mut noise = Seed::new(1).host_noise();
    let found = generate_from(&model, start, &SampleOptions::of(&model), &mut noise, |_, _| Ok(()));
    assert!(matches!(found, Err(Error::Shape { .. })));
    Ok(())
}
