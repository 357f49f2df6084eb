//! One update: what it moves, when it refuses, and where it converges.

mod common;

use candle_core::{Device, Tensor};
use chains_core::{
    Error, Result, Seed,
    chain::PathSummary,
    nn::Statistics,
    optim::{Adam, AdamConfig},
    schedule::{InfusionRate, LearningRate},
};
use common::{assert_close, assert_same_bits, log_normal, model_bits, rows};
use infusion::{
    Architecture, ChainConfig, EstimateOptions, InfusionChain, InfusionModel, ModelConfig, Moments,
    NetworkConfig, Objective, TrainConfig, estimate, update,
};

const RATE: InfusionRate = InfusionRate::increasing(0.05, 0.1);

const OBJECTIVES: [Objective; 5] = [
    Objective::Denoising,
    Objective::DenoisingPerStep,
    Objective::LowerBound,
    Objective::LowerBoundDetached { weighted: false },
    Objective::LowerBoundDetached { weighted: true },
];

fn with(objective: Objective) -> TrainConfig {
    TrainConfig { objective, ..TrainConfig::published() }
}

#[test]
fn every_trainable_tensor_receives_a_gradient_under_every_objective() -> Result<()> {
    for network in [common::mlp(3), common::deconv(3)] {
        for objective in OBJECTIVES {
            let model = common::model(network.clone(), RATE)?;
            let before = model_bits(&model)?;
            let mut adam = Adam::new(AdamConfig::standard());
            let x = rows(&model, 16, 1)?;
            let mut noise = Seed::new(0).host_noise();
            let loss = update(&model, &mut adam, &with(objective), 1e-3, &x, &mut noise)?;
            assert!(loss.is_finite());
            let moments = adam.tensors();
            for (name, _) in model.store().trainable() {
                let key = format!("adam.m.{name}");
                let moment = moments.iter().find(|(found, _)| *found == key);
                let Some((_, moment)) = moment else { panic!("{objective:?}: no {name}") };
                let moved = common::values(moment)?.iter().any(|m| *m != 0.0);
                assert!(moved, "{objective:?}: {name} has a gradient of zero");
            }
            for ((name, before), (_, after)) in before.iter().zip(model_bits(&model)?) {
                assert_eq!(*before == after, name.contains("running_"), "{objective:?}: {name}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_batch_that_is_not_a_number_is_refused_and_changes_nothing() -> Result<()> {
    let model = common::model(common::mlp(3), RATE)?;
    let x = rows(&model, 8, 1)?;
    let mut bad = common::values(&x)?;
    for poison in [f64::NAN, f64::INFINITY] {
        bad[17] = poison;
        let bad: Vec<f32> = bad.iter().map(|v| *v as f32).collect();
        let bad = Tensor::from_vec(bad, x.shape(), &Device::Cpu)?;
        for objective in OBJECTIVES {
            let mut adam = Adam::new(AdamConfig::standard());
            let before = model_bits(&model)?;
            let mut noise = Seed::new(0).host_noise();
            let error = update(&model, &mut adam, &with(objective), 1e-3, &bad, &mut noise);
            let error = error.err().unwrap_or_else(|| panic!("{objective:?} took {poison}"));
            assert!(matches!(error, Error::NonFinite { step: 0, .. }), "{error}");
            assert!(error.is_recoverable());
            assert_same_bits(&model_bits(&model)?, &before);
            assert!(adam.steps() == 0 && adam.tensors().is_empty());
        }
    }
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_change_an_update() -> Result<()> {
    // Wide enough for every kernel to split its work.
    let dense = Architecture::Mlp { hidden: vec![300, 300] };
    let networks = [NetworkConfig::with([1, 20, 20], dense, 3), common::deconv(3)];
    for network in networks {
        for objective in [Objective::Denoising, Objective::LowerBound] {
            let run = |threads: usize| -> Result<_> {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let pool = pool.map_err(candle_core::Error::wrap)?;
                pool.install(|| {
                    let model = common::model(network.clone(), RATE)?;
                    let mut adam = Adam::new(AdamConfig::standard());
                    let x = rows(&model, 96, 1)?;
                    let mut noise = Seed::new(0).host_noise();
                    let config = with(objective);
                    let loss = update(&model, &mut adam, &config, 1e-3, &x, &mut noise)?;
                    Ok((loss.to_bits(), model_bits(&model)?))
                })
            };
            let ((loss, one), (again, three)) = (run(1)?, run(3)?);
            assert_eq!(loss, again, "{objective:?}");
            assert_same_bits(&one, &three);
        }
    }
    Ok(())
}

/// Four dimensions: constant, two values far apart (variance above the head's), two in between.
fn moments_and_data(n: usize) -> Result<(Moments, Tensor)> {
    let mut values = Vec::with_capacity(4 * n);
    for i in 0..n {
        let share = i as f32 / n as f32;
        let far = if i % 2 == 0 { 0.05 } else { 0.95 };
        values.extend([0.3, far, share * 0.5 + 0.2, if i % 4 == 0 { 0.9 } else { 0.7 }]);
    }
    let x = Tensor::from_vec(values, (n, 4), &Device::Cpu)?;
    let mut moments = Moments::default();
    moments.push(&x)?;
    Ok((moments, x))
}

/// `sum_i [-0.5 ln(2 pi v_i) - var_i / (2 v_i)]`, v_i clipped to the range of the head.
fn best_bound(moments: &Moments) -> f64 {
    let of = |variance: &f64| {
        let v = variance.clamp(1e-4, 0.1001);
        log_normal(0.0, 0.0, v) - variance / (2.0 * v)
    };
    moments.variance().iter().map(of).sum()
}

fn heads_only(steps: usize) -> Result<InfusionModel> {
    let architecture = Architecture::Mlp { hidden: vec![] };
    let mut config = ModelConfig {
        network: NetworkConfig::with([1, 2, 2], architecture, steps),
        chain: ChainConfig::with(InfusionRate::constant(0.0)),
    };
    // A start at zero leaves the heads with their biases.
    config.chain.prior_floor = 1e-12;
    let model = InfusionModel::new(config, Seed::new(1), &Device::Cpu)?;
    model.set_prior(&[0.0; 4], &[0.0; 4])?;
    Ok(model)
}

fn lower_bound(model: &InfusionModel, x: &Tensor) -> Result<f64> {
    let (operator, prior) = (model.operator(Statistics::Running), model.prior()?);
    let (config, steps) = (&model.config().chain, model.config().network.steps);
    let chain = InfusionChain { operator: &operator, prior: &prior, config, steps };
    let mut noise = Seed::new(3).host_noise();
    let found = estimate(&chain, x, &EstimateOptions::new(3), &mut noise, &mut |_| Ok(()))?;
    Ok(PathSummary::of(&found.weights[0]).lower_bound)
}

#[test]
fn training_without_infusion_finds_the_factorial_gaussian() -> Result<()> {
    let (moments, x) = moments_and_data(64)?;
    let model = heads_only(1)?;
    let (mut adam, config) = (Adam::new(AdamConfig::standard()), with(Objective::Denoising));
    let schedule = LearningRate::Cosine { value: 0.3, last: 0.0, warmup: 10 };
    let mut noise = Seed::new(2).host_noise();
    for step in 0..4_000 {
        update(&model, &mut adam, &config, schedule.at(step, 4_000), &x, &mut noise)?;
    }
    let z = Tensor::zeros((1, 1, 4), candle_core::DType::F32, &Device::Cpu)?;
    let pass = model.frozen().pass(&z, &[0], Statistics::Running, &[])?;
    let conditional = model.frozen().conditional(&pass, 1e-4)?;
    let (mean, variance) = (moments.mean(), moments.variance());
    for (i, (got, want)) in common::values(conditional.mean())?.iter().zip(&mean).enumerate() {
        assert_close(*got, *want, 1e-4, &format!("mean {i}"));
    }
    for (i, (got, var)) in common::values(conditional.variance())?.iter().zip(&variance).enumerate()
    {
        let want = var.clamp(1e-4, 0.1001);
        assert_close(*got, want, 1e-3 * want, &format!("variance {i} of {var}"));
    }
    assert!(variance[0] < 1e-12 && variance[1] > 0.2);
    // The loss of the optimum is flat: errors of 1e-3 in the parameters cost their square.
    assert_close(lower_bound(&model, &x)?, best_bound(&moments), 1e-4, "lower bound");
    // The same biases without weights are the optimum for any T.
    for name in ["operator.mean_head.weight", "operator.variance_head.weight"] {
        let Some(weight) = model.store().get(name) else { panic!("no {name}") };
        weight.set(&weight.zeros_like()?)?;
    }
    let longer = heads_only(6)?;
    for (name, var) in longer.store().all() {
        let Some(value) = model.store().get(&name) else { panic!("no {name}") };
        var.set(value.as_tensor())?;
    }
    assert_close(lower_bound(&longer, &x)?, best_bound(&moments), 1e-4, "lower bound of T = 6");
    Ok(())
}

#[test]
fn training_on_infused_states_raises_the_objective() -> Result<()> {
    for objective in OBJECTIVES {
        let model = common::model(common::mlp(4), RATE)?;
        let (mut adam, x) = (Adam::new(AdamConfig::standard()), rows(&model, 64, 1)?);
        let mut noise = Seed::new(0).host_noise();
        let mut losses = Vec::new();
        for _ in 0..150 {
            losses.push(update(&model, &mut adam, &with(objective), 3e-3, &x, &mut noise)?);
        }
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let (first, last) = (mean(&losses[..10]), mean(&losses[140..]));
        assert!(last < first - 0.1, "{objective:?}: {first} then {last}");
    }
    Ok(())
}
