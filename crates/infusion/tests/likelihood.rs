//! The estimators of a model: blocks, isotropic outputs, the closed form at rate 0.

mod common;

use std::cell::RefCell;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Error, Result, Seed,
    chain::{LogWeights, Step, TransitionOperator},
    dist::DiagGaussian,
    nn::Statistics,
    schedule::InfusionRate,
};
use common::{LinearGaussian, REFERENCE, SEEDS, Setting, assert_close, log_normal, mean_se, rows};
use infusion::{Estimate, EstimateOptions, InfusionChain, Moments, estimate, rate_zero_log_prob};

/// Remembers how many rows it is given.
struct Counting {
    operator: LinearGaussian,
    rows: RefCell<Vec<usize>>,
}

impl TransitionOperator for Counting {
    type Dist = DiagGaussian;

    fn conditional(&self, z: &Tensor, at: Step) -> Result<DiagGaussian> {
        self.rows.borrow_mut().push(z.dim(0)?);
        self.operator.conditional(z, at)
    }
}

fn run<O: TransitionOperator<Dist = DiagGaussian>>(
    setting: &Setting<O>,
    x: &Tensor,
    options: &EstimateOptions,
    seed: u64,
) -> Result<Estimate> {
    let mut noise = Seed::new(seed).child("estimate").host_noise();
    estimate(&setting.chain(), x, options, &mut noise, &mut |_| Ok(()))
}

#[test]
fn memory_depends_on_the_rows_and_not_on_the_number_of_chains() -> Result<()> {
    let Setting { operator, prior, config, steps, target } =
        REFERENCE.setting(InfusionRate::constant(0.2), 2, 3, DType::F32)?;
    let operator = Counting { operator, rows: RefCell::default() };
    let setting = Setting { operator, prior, config, steps, target };
    for (n, chains, limit) in [(1, 5000, 100), (6, 7, 20), (3, 40, 7), (10, 1, 4), (5, 5, 1000)] {
        let x = setting.targets(n)?;
        let options = EstimateOptions { rows: limit, ..EstimateOptions::new(chains) };
        let found = run(&setting, &x, &options, 0)?;
        let rows = setting.operator.rows.take();
        assert!(rows.iter().all(|rows| *rows <= limit), "{n} {chains} {limit}: {rows:?}");
        assert_eq!(rows.iter().sum::<usize>(), n * chains * 2);
        // Blocks are as full as they can be.
        let most = rows.iter().copied().max().unwrap_or(0);
        assert!(most * 2 > limit.min(n * chains), "{n} {chains} {limit}: {most}");
        assert!(found.weights[0].iter().all(|w| w.chains() == chains as u64));
    }
    Ok(())
}

#[test]
fn blocks_of_seven_rows_equal_one_block_when_the_operator_is_deterministic() -> Result<()> {
    // At rate 0 with a = 0 a weight is ln N(x; b, s2) of its own example.
    let scalars = common::Scalars { a: 0.0, ..REFERENCE };
    let setting = scalars.setting(InfusionRate::constant(0.0), 2, 2, DType::F64)?;
    let x = Tensor::arange(0.0_f64, 12.0, &Device::Cpu)?.reshape((6, 2))?;
    for chains in [1, 3, 5, 20] {
        let of = |rows| {
            let options = EstimateOptions { rows, ..EstimateOptions::new(chains) };
            run(&setting, &x, &options, rows as u64)
        };
        let (small, large) = (of(7)?, of(1000)?);
        assert_eq!(small.weights, large.weights, "{chains} chains");
        assert_close(small.residual, large.residual, 1e-9, "residual");
        for (example, weights) in small.weights[0].iter().enumerate() {
            let at = |i: usize| log_normal((2 * example + i) as f64, scalars.b, scalars.s2);
            assert_close(weights.lower_bound(), at(0) + at(1), 1e-10, "its own example");
        }
    }
    Ok(())
}

#[test]
fn blocks_of_any_size_estimate_the_same_bound() -> Result<()> {
    let setting = REFERENCE.setting(InfusionRate::increasing(0.05, 0.05), 3, 1, DType::F32)?;
    let x = setting.targets(400)?;
    for seed in SEEDS {
        let of = |rows| -> Result<[(f64, f64); 2]> {
            let options = EstimateOptions { rows, ..EstimateOptions::new(20) };
            let found = run(&setting, &x, &options, seed)?;
            Ok([LogWeights::lower_bound, LogWeights::importance_sampling]
                .map(|f| mean_se(&found.weights[0].iter().map(f).collect::<Vec<_>>())))
        };
        for (a, b) in of(7)?.into_iter().zip(of(1000)?) {
            assert!((a.0 - b.0).abs() < 5.0 * a.1.hypot(b.1), "{a:?} {b:?}");
        }
    }
    Ok(())
}

#[test]
fn the_residual_is_the_isotropic_variance_with_the_highest_bound() -> Result<()> {
    for network in [common::mlp(3), common::deconv(3)] {
        let model = common::model(network, InfusionRate::increasing(0.05, 0.1))?;
        let (x, prior) = (rows(&model, 6, 4)?, model.prior()?);
        let operator = model.operator(Statistics::Running);
        let config = &model.config().chain;
        let chain = InfusionChain { operator: &operator, prior: &prior, config, steps: 3 };
        let run = |output_variances: Vec<Option<f64>>| -> Result<Estimate> {
            let mut noise = Seed::new(1).host_noise();
            let options = EstimateOptions { output_variances, ..EstimateOptions::new(30) };
            estimate(&chain, &x, &options, &mut noise, &mut |_| Ok(()))
        };
        let residual = run(vec![None])?.residual;
        let factors = [1.0, 0.99, 1.01, 0.9, 1.1, 0.5, 2.0, 0.1, 10.0];
        let grid = factors.iter().map(|f| Some(f * residual));
        let found = run([None].into_iter().chain(grid).collect())?;
        assert_close(found.residual, residual, 0.0, "the same chains");
        let bound = |weights: &[LogWeights]| {
            weights.iter().map(LogWeights::lower_bound).sum::<f64>() / weights.len() as f64
        };
        let bounds: Vec<f64> = found.weights[1..].iter().map(|w| bound(w)).collect();
        for (factor, other) in factors.iter().zip(&bounds).skip(1) {
            assert!(bounds[0] > *other, "{factor}: {} {other}", bounds[0]);
            // In closed form the loss is D/2 (ln f + 1/f - 1).
            let loss = 0.5 * x.dim(1)? as f64 * (factor.ln() + 1.0 / factor - 1.0);
            // f32 rounding of log densities of a few hundred nats.
            assert_close(bounds[0] - other, loss, 1e-6 * other.abs().max(100.0), "loss");
        }
        // The model's own variances are another column of the same chains.
        assert_eq!(found.weights[0], run(vec![None])?.weights[0]);
    }
    Ok(())
}

#[test]
fn the_closed_form_of_rate_zero_is_the_clipped_factorial_gaussian() -> Result<()> {
    let training = [[0.0_f32, 0.0, 0.5], [0.0, 1.0, 0.6], [0.0, 0.0, 0.5], [0.0, 1.0, 0.6]];
    let mut moments = Moments::default();
    // Batches of unequal size.
    let all = Tensor::new(&training, &Device::Cpu)?;
    moments.push(&all.narrow(0, 0, 1)?)?;
    moments.push(&all.narrow(0, 1, 3)?)?;
    let (mean, variance) = (moments.mean(), moments.variance());
    for (got, want) in mean.iter().zip([0.0, 0.5, 0.55]) {
        assert_close(*got, want, 1e-7, "mean");
    }
    for (got, want) in variance.iter().zip([0.0, 0.25, 0.0025]) {
        assert_close(*got, want, 1e-7, "variance");
    }
    let x = Tensor::new(&[[0.1_f32, 0.2, 0.5], [0.0, 0.5, 0.55]], &Device::Cpu)?;
    let found = rate_zero_log_prob(&moments, &x, 1e-4, 0.1)?;
    for (found, row) in found.iter().zip([[0.1, 0.2, 0.5], [0.0, 0.5, 0.55]]) {
        let want = log_normal(row[0], 0.0, 1e-4)
            + log_normal(row[1], 0.5, 0.1001)
            + log_normal(row[2], 0.55, 0.0025);
        assert_close(*found, want, 1e-4, "log density");
    }
    // Averaged over the training rows: sum_i [-0.5 ln(2 pi v_i) - var_i / (2 v_i)].
    let found = rate_zero_log_prob(&moments, &all, 1e-4, 0.1)?;
    let want = log_normal(0.0, 0.0, 1e-4)
        + (log_normal(0.0, 0.0, 0.1001) - 0.25 / 0.2002)
        + (log_normal(0.0, 0.0, 0.0025) - 0.5);
    assert_close(found.iter().sum::<f64>() / 4.0, want, 1e-5, "training rows");
    let wide = Tensor::zeros((1, 4), DType::F32, &Device::Cpu)?;
    assert!(matches!(rate_zero_log_prob(&moments, &wide, 1e-4, 0.1), Err(Error::Shape { .. })));
    assert!(matches!(moments.push(&wide), Err(Error::Shape { .. })));
    Ok(())
}

#[test]
fn progress_rises_to_one_and_may_stop_the_work() -> Result<()> {
    let setting = REFERENCE.setting(InfusionRate::constant(0.2), 2, 3, DType::F32)?;
    let x = setting.targets(5)?;
    for (chains, rows) in [(10, 30), (10, 4), (1, 1)] {
        let options = EstimateOptions { rows, ..EstimateOptions::new(chains) };
        let mut seen = vec![0.0];
        let mut noise = Seed::new(0).host_noise();
        estimate(&setting.chain(), &x, &options, &mut noise, &mut |share| {
            assert!(share > seen[seen.len() - 1]);
            seen.push(share);
            Ok(())
        })?;
        assert_close(seen[seen.len() - 1], 1.0, 1e-12, "the end");
    }
    let mut stop = |_| Err(Error::Config { field: "test", reason: "stop".into() });
    let mut noise = Seed::new(0).host_noise();
    let options = EstimateOptions::new(2);
    let stopped = estimate(&setting.chain(), &x, &options, &mut noise, &mut stop);
    assert!(matches!(stopped, Err(Error::Config { field: "test", .. })));
    Ok(())
}

#[test]
fn impossible_estimates_are_refused() -> Result<()> {
    let setting = REFERENCE.setting(InfusionRate::constant(0.2), 2, 3, DType::F32)?;
    let x = setting.targets(2)?;
    let none = EstimateOptions::new(0);
    assert!(matches!(run(&setting, &x, &none, 0), Err(Error::Config { .. })));
    let empty = EstimateOptions { rows: 0, ..EstimateOptions::new(1) };
    assert!(matches!(run(&setting, &x, &empty, 0), Err(Error::Config { .. })));
    let nan = (&x * f64::NAN)?;
    let options = EstimateOptions::new(3);
    assert!(matches!(run(&setting, &nan, &options, 0), Err(Error::NonFinite { .. })));
    Ok(())
}
