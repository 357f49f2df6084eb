//! The laws of transitions: temperatures (W7), published constants (W14), mixing, starts.

mod common;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Error, Result, Seed,
    chain::{Generation, Step, TransitionOperator, check_kernel},
    density::{LogDensity, Sample},
    dist::Law,
};
use common::{
    SEEDS, assert_close, assert_within, bernoulli, bits, gaussian, mean_se, networks,
    reconstruction, rows, values,
};
use walkback::{
    ChainConfig, Conditional, Mixing, ModelConfig, NetworkConfig, Operator, OperatorConfig,
    OperatorNetwork, Outputs, StartConfig, Statistics, TemperatureEffect, WalkbackModel,
};

fn at(temperature: f64) -> Step {
    Step { index: 1, temperature }
}

fn parts(law: &Conditional) -> (Tensor, Tensor) {
    match law {
        Conditional::Gaussian(law) => (law.mean().clone(), law.variance().clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_law_is_that_of_the_formulas() -> Result<()> {
    for network in networks(3) {
        let mut config = gaussian(network);
        config.chain.mixing = Mixing { initial: 0.9, increment: -0.2 };
        let model = common::model(config)?;
        let s = rows(&model, 4, 1)?;
        let raw = model.frozen().raw(&s, at(1.0), Statistics::Cooling, Outputs::Both)?;
        let (mean, variance) =
            parts(&model.operator(Statistics::Cooling).conditional(&s, at(2.5))?);
        let raw_variance = values(&raw.variance.unwrap())?;
        let all = values(&s)?.into_iter().zip(values(&raw.mean)?).zip(raw_variance);
        for (((s, f), g), (mean, variance)) in
            all.zip(values(&mean)?.into_iter().zip(values(&variance)?))
        {
            // a_2 = 0.9 - 0.2 is the weight of the old state.
            assert_close(mean, 0.7 * s + 0.3 * f, 1e-5, "mean");
            let u = 0.05 * (g.max(0.0) + (-g.abs()).exp().ln_1p()) + 1e-4;
            assert_close(variance, 2.5 * u, 1e-5 * u, "variance");
        }
    }
    Ok(())
}

#[test]
fn at_temperature_zero_a_draw_is_the_mean_bit_for_bit() -> Result<()> {
    for network in networks(3) {
        let model = common::model(gaussian(network))?;
        let s = rows(&model, 4, 1)?;
        let operator = model.operator(Statistics::Cooling);
        let law = operator.conditional(&s, at(0.0))?;
        let drawn = law.sample(1, &mut Seed::new(1).host_noise())?;
        let (mean, _) = parts(&operator.conditional(&s, at(1.0))?);
        assert_eq!(bits(&drawn)?, bits(&mean)?);
        assert_eq!(bits(&law.centre()?)?, bits(&mean)?);
        assert!(matches!(law.log_prob(&s), Err(Error::Config { .. })));
        assert!(law.entropy().is_err());
    }
    Ok(())
}

#[test]
fn draws_scatter_with_the_root_of_temperature_times_base_variance() -> Result<()> {
    let model = common::model(gaussian(networks(3)[1].clone()))?;
    let s = rows(&model, 2_000, 1)?;
    let operator = model.operator(Statistics::Cooling);
    let (mean, base) = parts(&operator.conditional(&s, at(1.0))?);
    for temperature in [1.0, 16.0, 1e8] {
        let law = operator.conditional(&s, at(temperature))?;
        for seed in SEEDS {
            let drawn = law.sample(1, &mut Seed::new(seed).child("draws").host_noise())?;
            let square = (drawn - &mean)?.sqr()?.div(&(&base * temperature)?)?;
            assert_within(mean_se(&values(&square)?), 1.0, &format!("T = {temperature}"));
        }
    }
    Ok(())
}

#[test]
fn the_temperature_enters_in_the_chosen_way() -> Result<()> {
    for (effect, factor) in [
        (TemperatureEffect::Variance, 4.0),
        (TemperatureEffect::RootOfTemperature, 2.0),
        (TemperatureEffect::Deviation, 16.0),
    ] {
        let operator = OperatorConfig::Gaussian { scale: 0.05, floor: 1e-4, effect };
        let model = common::model(ModelConfig { operator, ..gaussian(networks(3)[0].clone()) })?;
        let s = rows(&model, 3, 1)?;
        let operator = model.operator(Statistics::Cooling);
        let [(mean, base), (warm_mean, warm)] = [
            parts(&operator.conditional(&s, at(1.0))?),
            parts(&operator.conditional(&s, at(4.0))?),
        ];
        assert_eq!(bits(&mean)?, bits(&warm_mean)?);
        for (warm, base) in values(&warm)?.iter().zip(values(&base)?) {
            assert_close(*warm, factor * base, 1e-6 * warm, &format!("{effect:?}"));
        }
    }
    Ok(())
}

/// A reconstructing operator whose `F_sig` is zero and whose `F_mu` is one half.
fn at_zero(outside: bool) -> Result<WalkbackModel> {
    let operator = OperatorConfig::Reconstruction { noise: 1e-5, outside };
    let network = NetworkConfig::mlp([1, 10, 10], vec![], 30);
    let model = common::model(ModelConfig { operator, ..reconstruction(network) })?;
    for (name, var) in model.store().trainable() {
        let value = if name == "operator.mean_head.bias" { 0.5 } else { 0.0 };
        var.set(&Tensor::full(value as f32, var.shape(), &Device::Cpu)?)?;
    }
    Ok(model)
}

#[test]
fn the_injected_noise_has_the_published_size() -> Result<()> {
    for (outside, times) in [(false, 1.0), (true, 2.0)] {
        let model = at_zero(outside)?;
        let s = Tensor::full(0.5_f32, (100, 100), &Device::Cpu)?;
        let operator = model.operator(Statistics::Batch);
        for (temperature, want) in [(1.0, 4.163e-6), (2_f64.powi(29), 0.09645)] {
            let want = times * want;
            let law = operator.conditional(&s, at(temperature))?;
            let Conditional::Clipped(law) = &law else { panic!("{law:?}") };
            let deviation = values(law.deviation().unwrap())?;
            // The references have four digits.
            assert!(deviation.iter().all(|d| (d - want).abs() < 2e-4 * want), "{temperature}");
            assert!(values(law.mean())?.iter().all(|m| (m - 0.5).abs() < 1e-7));
        }
        let drawn = values(
            &operator
                .conditional(&s, at(2_f64.powi(29)))?
                .sample(1, &mut Seed::new(1).host_noise())?,
        )?;
        assert!(drawn.iter().all(|x| (0.0..=1.0).contains(x)));
        let square: Vec<f64> = drawn.iter().map(|x| (x - 0.5).powi(2)).collect();
        // Five (with `outside` two and a half) standard deviations to either end: hardly clipped.
        let want = (times * 0.09645_f64).powi(2);
        let (mean, se) = mean_se(&square);
        assert!((mean - want).abs() < 5.0 * se + 0.02 * want * (times - 1.0), "{mean} {want}");
    }
    Ok(())
}

#[test]
fn reconstruction_draws_are_clipped_and_have_no_density() -> Result<()> {
    for network in networks(3) {
        let model = common::model(reconstruction(network))?;
        let s = (rows(&model, 6, 1)? * 4.0)?;
        let operator = model.operator(Statistics::Batch);
        let law = operator.conditional(&s, at(2_f64.powi(29)))?;
        let drawn = values(&law.sample(2, &mut Seed::new(1).host_noise())?)?;
        assert_eq!(drawn.len(), 2 * s.elem_count());
        assert!(drawn.iter().all(|x| (0.0..=1.0).contains(x)) && drawn.contains(&1.0));
        for result in [law.log_prob(&s), law.entropy()] {
            let message = result.unwrap_err().to_string();
            assert!(message.contains("no density"), "{message}");
        }
        // As a loss needs it, it has the same mean and no noise to draw with.
        let learning = operator.learning().conditional(&s, at(4.0))?;
        assert_eq!(bits(&learning.centre()?)?, bits(&law.centre()?)?);
        assert!(learning.sample(1, &mut Seed::new(1).host_noise()).is_err());
    }
    Ok(())
}

#[test]
fn bits_have_the_tempered_probabilities() -> Result<()> {
    let model = common::model(bernoulli(networks(3)[1].clone()))?;
    let s = rows(&model, 4, 1)?.round()?;
    let operator = model.operator(Statistics::Cooling);
    let raw = model.frozen().raw(&s, at(1.0), Statistics::Cooling, Outputs::Mean)?;
    let Conditional::Bernoulli(law) = operator.conditional(&s, at(3.0))? else { panic!() };
    let z = values(law.logits())?;
    for ((z, s), f) in z.iter().zip(values(&s)?).zip(values(&raw.mean)?) {
        assert_close(*z, (0.5 * s + 0.5 * f) / 3.0, 1e-5, "logit");
    }
    let density = values(&law.log_prob(&s)?)?;
    for (row, got) in density.iter().enumerate() {
        let terms = values(&s)?[row * 6..(row + 1) * 6].to_vec().into_iter().zip(&z[row * 6..]);
        let want: f64 = terms.map(|(s, z)| s * z - z.exp().ln_1p()).sum();
        assert_close(*got, want, 1e-5, "density");
    }
    // In the limit the more likely bit is certain.
    let cold =
        values(&operator.conditional(&s, at(0.0))?.sample(1, &mut Seed::new(1).host_noise())?)?;
    for (bit, z) in cold.iter().zip(&z) {
        assert_close(*bit, if *z > 0.0 { 1.0 } else { 0.0 }, 0.0, "bit");
    }
    Ok(())
}

#[test]
fn every_operator_keeps_the_contract_of_kernels() -> Result<()> {
    for network in networks(3) {
        for config in
            [gaussian(network.clone()), reconstruction(network.clone()), bernoulli(network.clone())]
        {
            let model = common::model(config)?;
            let x = rows(&model, 6, 3)?.round()?;
            for statistics in [Statistics::Batch, Statistics::Heating, Statistics::Cooling] {
                check_kernel(&Generation(model.operator(statistics)), &x, Seed::new(1))?;
            }
            // A live network must not leak its graph through the kernel either.
            check_kernel(&Generation(model.live_operator()), &x, Seed::new(1))?;
        }
    }
    Ok(())
}

#[test]
fn an_operator_may_run_in_double_precision() -> Result<()> {
    let store = chains_core::ParamStore::new(Seed::new(2), DType::F64, &Device::Cpu);
    let config = networks(2)[3].clone();
    let network = OperatorNetwork::new(&config, store.builder(), store.builder())?;
    let chain = ChainConfig::with(2.0, StartConfig::fitted(), 0);
    let law = OperatorConfig::gaussian(0.1, 1e-4);
    let operator = Operator::new(&network, law, &chain, Statistics::Batch);
    let s = Tensor::ones((3, config.dim()), DType::F64, &Device::Cpu)?;
    let law = operator.conditional(&s, at(2.0))?;
    let drawn = law.sample(1, &mut Seed::new(1).host_noise())?;
    assert_eq!((drawn.dtype(), drawn.dims()), (DType::F64, s.dims()));
    assert!(values(&law.log_prob(&drawn)?)?.iter().all(|l| l.is_finite()));
    Ok(())
}

#[test]
fn a_clipped_start_has_the_published_share_of_zeros_and_ones() -> Result<()> {
    let model = at_zero(false)?;
    // P(N(0.5, 2^2) < 0) = Phi(-0.25).
    let share = 0.4013;
    for seed in SEEDS {
        let mut noise = Seed::new(seed).child("start").host_noise();
        let drawn = values(&model.start()?.sample(2_000, &mut noise)?)?;
        let n = drawn.len() as f64;
        for end in [0.0, 1.0_f64] {
            let count = drawn.iter().filter(|x| x.to_bits() == end.to_bits()).count() as f64 / n;
            let se = (share * (1.0 - share) / n).sqrt();
            assert!((count - share).abs() < 5.0 * se + 5e-5, "share of {end}: {count}");
        }
    }
    assert!(matches!(model.start()?.log_prob(&rows(&model, 2, 1)?), Err(Error::Config { .. })));
    assert!(!model.start()?.has_density());
    Ok(())
}

#[test]
fn starts_sample_from_their_densities() -> Result<()> {
    let model = common::model(gaussian(networks(3)[0].clone()))?;
    model.set_start(&[0.25; 6], &[0.04, 0.04, 0.04, 0.04, 0.04, 1e-9])?;
    let start = model.start()?;
    let x = start.sample(5_000, &mut Seed::new(1).host_noise())?;
    let all = values(&x)?;
    let column = |i: usize| -> Vec<f64> { all.iter().skip(i).step_by(6).copied().collect() };
    assert_within(mean_se(&column(0)), 0.25, "mean");
    let square = |i: usize| column(i).iter().map(|x| (x - 0.25).powi(2)).collect::<Vec<_>>();
    assert_within(mean_se(&square(0)), 0.04, "variance");
    // The floor of the variance is 1e-6.
    assert_within(mean_se(&square(5)), 1e-6, "floored variance");
    let density = values(&start.log_prob(&x.narrow(0, 0, 1)?)?)?[0];
    let variances = [0.04, 0.04, 0.04, 0.04, 0.04, 1e-6];
    let want: f64 =
        all[..6].iter().zip(variances).map(|(x, v)| common::log_normal(*x, 0.25, v)).sum();
    assert_close(density, want, 1e-3, "density");

    let model = common::model(bernoulli(networks(3)[0].clone()))?;
    let start = model.start_of(StartConfig::Bernoulli { probability: 0.2 })?;
    let x = start.sample(5_000, &mut Seed::new(1).host_noise())?;
    assert_within(mean_se(&values(&x)?), 0.2, "probability");
    let ones = Tensor::ones((1, 6), DType::F32, &Device::Cpu)?;
    assert_close(values(&start.log_prob(&ones)?)?[0], 6.0 * 0.2_f64.ln(), 1e-5, "density");
    assert!(model.start_of(StartConfig::Bernoulli { probability: 1.0 }).is_err());
    // Fitted moments can be used where they were not asked for; they cannot be set there.
    assert!(model.start_of(StartConfig::fitted()).is_ok());
    assert!(matches!(model.set_start(&[0.0; 6], &[1.0; 6]), Err(Error::Config { .. })));
    Ok(())
}
