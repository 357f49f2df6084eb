//! Bounds and estimates on linear operators, whose marginals are known (W1, W2, W3, W8).

mod common;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Error, Noise, Result, Seed,
    chain::{LogMeanExp, Schedule, Step, TransitionOperator},
    dist::DiagGaussian,
    schedule::{Heating, Temperatures},
};
use common::{
    Linear, SEEDS, assert_close, assert_within, exact_bound, filled, gaussian_start, ladder,
    log_normal, marginal, mean_se, values, walk_of,
};
use walkback::{EstimateOptions, IsotropicPaths, Weighting, estimate};

/// W1: a 0.8, b 0, w 0.3, T = (1, 1.5, 2.25), p* = N(0.2, 3).
const W1: Linear = Linear { a: 0.8, b: 0.0, w: 0.3 };
const W1_START: [f64; 2] = [0.2, 3.0];
const X: f64 = 1.3;
const EXACT: f64 = -1.603982;
const BOUND: f64 = -1.837431;

/// Log weights of `n` paths in one dimension.
fn weights(
    op: Linear,
    [m, v]: [f64; 2],
    heating: Heating,
    n: usize,
    seed: Seed,
) -> Result<Vec<f64>> {
    let start = gaussian_start(m, v, 1, DType::F64)?;
    let x = filled(X, n, 1, DType::F64)?;
    let chain = walk_of(&op, &start, heating);
    let found = chain.log_weights(&x, &[Weighting::Plain], &mut seed.host_noise())?;
    Ok(found.weights[0].clone())
}

#[test]
fn closed_forms_have_the_numbers_of_the_reference() {
    let heating = ladder(1.5, 3);
    let [m, v] = marginal(W1, W1_START, heating);
    assert_close(log_normal(X, m, v), EXACT, 5e-7, "exact");
    assert_close(exact_bound(W1, W1_START, heating, X), BOUND, 5e-7, "bound");
}

#[test]
fn a_million_paths_give_the_bound_and_the_estimates_of_the_reference() -> Result<()> {
    let n = 1_000_000;
    let found = weights(W1, W1_START, ladder(1.5, 3), n, Seed::new(0).child("w1"))?;
    assert_close(mean_se(&found).0, BOUND, 0.006, "bound");
    for (k, want) in [(10, -1.6620), (100, -1.6137), (1000, -1.6052)] {
        let estimates: Vec<f64> = found
            .chunks_exact(k)
            .map(|chunk| {
                let mut stream = LogMeanExp::default();
                chunk.iter().for_each(|w| stream.push(*w));
                stream.value()
            })
            .collect();
        assert_close(mean_se(&estimates).0, want, 0.006, &format!("IS_{k}"));
    }
    // The mean weight is the density itself.
    let ratio: Vec<f64> = found.iter().map(|w| (w - EXACT).exp()).collect();
    assert_within(mean_se(&ratio), 1.0, "mean weight");
    Ok(())
}

#[test]
fn independent_dimensions_add_up() -> Result<()> {
    let (d, heating) = (4, ladder(1.5, 3));
    let start = gaussian_start(W1_START[0], W1_START[1], d, DType::F64)?;
    let x = filled(X, 40_000, d, DType::F64)?;
    let chain = walk_of(&W1, &start, heating);
    for seed in SEEDS {
        let mut noise = Seed::new(seed).child("dimensions").host_noise();
        let found = chain.log_weights(&x, &[Weighting::Plain, Weighting::Entropy], &mut noise)?;
        for weights in &found.weights {
            assert_within(mean_se(weights), d as f64 * BOUND, "bound");
        }
        let ratio: Vec<f64> =
            found.weights[0].iter().map(|w| (w - d as f64 * EXACT).exp()).collect();
        assert_within(mean_se(&ratio), 1.0, "mean weight");
    }
    Ok(())
}

#[test]
fn an_expected_entropy_has_less_noise_unless_both_directions_cancel() -> Result<()> {
    let spread = |op: Linear, start: [f64; 2]| -> Result<[f64; 2]> {
        let start = gaussian_start(start[0], start[1], 1, DType::F64)?;
        let chain = walk_of(&op, &start, ladder(1.5, 3));
        let x = filled(X, 20_000, 1, DType::F64)?;
        let variants = [Weighting::Plain, Weighting::Entropy];
        let found = chain.log_weights(&x, &variants, &mut Seed::new(0).host_noise())?;
        Ok([0, 1].map(|i| mean_se(&found.weights[i]).1))
    };
    // A step that forgets: the density of its draw says nothing about the way back.
    let [plain, entropy] = spread(Linear { a: 0.0, b: 0.0, w: 0.3 }, [0.0, 100.0])?;
    assert!(entropy < 0.9 * plain, "{entropy} {plain}");
    // Near detailed balance the noise of both directions cancels.
    let [plain, entropy] = spread(W1, W1_START)?;
    assert!(plain < 0.9 * entropy, "{entropy} {plain}");
    Ok(())
}

#[test]
fn estimates_in_blocks_keep_the_order_of_bound_and_importance_sampling() -> Result<()> {
    let start = gaussian_start(W1_START[0], W1_START[1], 1, DType::F64)?;
    let x = Tensor::new(&[[X], [-0.4], [0.0]], &Device::Cpu)?;
    let (heating, op) = (ladder(1.5, 3), W1);
    let chain = walk_of(&op, &start, heating);
    let options = EstimateOptions { rows: 700, ..EstimateOptions::new(30_000) };
    let mut noise = Seed::new(0).child("blocks").host_noise();
    let found = estimate(&chain, &x, &options, &mut noise, &mut |_| Ok(()))?;
    let [m, v] = marginal(op, W1_START, heating);
    for (weights, x) in found.weights[0].iter().zip([X, -0.4, 0.0]) {
        assert_eq!(weights.chains(), 30_000);
        let se = weights.std_between_chains() / 30_000_f64.sqrt();
        let want = exact_bound(op, W1_START, heating, x);
        assert_within((weights.lower_bound(), se), want, "bound");
        let exact = log_normal(x, m, v);
        assert!(weights.lower_bound() <= weights.importance_sampling());
        // The standard error of the mean weight relative to it is 1.6 / sqrt(n) or less.
        assert_close(weights.importance_sampling(), exact, 5.0 * 1.6 / 30_000_f64.sqrt(), "IS");
        let ess = weights.effective_sample_size();
        assert!(ess > 1_000.0 && ess < 30_000.0, "{ess}");
    }
    Ok(())
}

#[test]
fn under_detailed_balance_every_path_has_the_exact_density() -> Result<()> {
    let op = Linear { a: 0.8, b: 0.0, w: 0.36 };
    let start = gaussian_start(0.0, 1.0, 1, DType::F64)?;
    assert_close(log_normal(X, 0.0, 1.0), -1.763939, 5e-7, "reference");
    for steps in [1, 3, 30] {
        // T = 1 throughout: the steps in front.
        let heating = Heating { extra: steps, ..ladder(2.0, 0) };
        let chain = walk_of(&op, &start, heating);
        for seed in SEEDS {
            let x = filled(X, 200, 1, DType::F64)?;
            let mut noise = Seed::new(seed).child("balance").host_noise();
            let found = chain.log_weights(&x, &[Weighting::Plain], &mut noise)?;
            for weight in &found.weights[0] {
                assert_close(*weight, log_normal(X, 0.0, 1.0), 1e-10, &format!("K = {steps}"));
            }
        }
    }
    Ok(())
}

#[test]
fn without_a_shift_a_weight_follows_from_the_states_alone() -> Result<()> {
    // ln p*(s_K) + sum (1 - a^2) (s_t^2 - s_{t-1}^2) / (2 T_t w), path by path.
    let (op, heating) = (Linear { a: 0.7, b: 0.0, w: 0.2 }, ladder(1.4, 6));
    let start = gaussian_start(0.5, 2.0, 1, DType::F64)?;
    let chain = walk_of(&op, &start, heating);
    let x = Seed::new(1).host_noise().normal(&(50, 1).into(), DType::F64, &Device::Cpu)?;
    let noise = || Seed::new(2).child("states").host_noise();
    let weights = chain.log_weights(&x, &[Weighting::Plain], &mut noise())?.weights[0].clone();
    let live = values(&chain.log_weight(&x, &mut noise())?)?;
    let mut states = vec![values(&x)?];
    for state in chain.states(&x, &mut noise())? {
        assert!(!state.track_op());
        states.push(values(&state)?);
    }
    assert_eq!(states.len(), 7);
    for (row, weight) in weights.iter().enumerate() {
        let mut want = log_normal(states[6][row], 0.5, 2.0);
        for t in 1..=6 {
            let squares = states[t][row].powi(2) - states[t - 1][row].powi(2);
            want += (1.0 - 0.49) * squares / (2.0 * 1.4_f64.powi(t as i32 - 1) * 0.2);
        }
        assert_close(*weight, want, 1e-10, "weight");
        assert_close(live[row], want, 1e-10, "weight with a graph");
    }
    Ok(())
}

/// W3.
const HEAVY: Linear = Linear { a: 0.7, b: 0.1, w: 0.5 };

#[test]
fn heavy_weights_leave_the_bound_alone() -> Result<()> {
    // W3: T = (1, 1, 2, 4), which is one step at T = 1 in front of a doubling ladder.
    let heating = Heating { extra: 1, ..ladder(2.0, 3) };
    let temperatures: Vec<f64> = (0..4).map(|index| heating.at(index).temperature).collect();
    assert_eq!(temperatures, [1.0, 1.0, 2.0, 4.0]);
    let (x, [m, v]) = (-0.5, [0.0, 4.0]);
    // Exact density and bound by the same recursions over four steps.
    let mut exact = [m, v];
    for t in [4.0, 2.0, 1.0, 1.0] {
        let Linear { a, b, w } = HEAVY;
        exact = [a * exact[0] + b, a * a * exact[1] + t * w];
    }
    assert_close(log_normal(x, exact[0], exact[1]), -1.300604, 5e-7, "exact");
    let start = gaussian_start(m, v, 1, DType::F64)?;
    let chain = walk_of(&HEAVY, &start, heating);
    for seed in SEEDS {
        let mut noise = Seed::new(seed).child("w3").host_noise();
        let x = filled(x, 100_000, 1, DType::F64)?;
        let found = chain.log_weights(&x, &[Weighting::Plain, Weighting::Entropy], &mut noise)?;
        for weights in &found.weights {
            assert_within(mean_se(weights), -1.539742, "bound");
        }
    }
    Ok(())
}

#[test]
fn temperatures_that_are_no_reverse_give_no_bound() -> Result<()> {
    let heating = Heating { temperatures: Temperatures::SqrtLinear, steps: 3, extra: 0 };
    let start = gaussian_start(0.2, 3.0, 1, DType::F64)?;
    let (chain, x) = (walk_of(&W1, &start, heating), filled(X, 3, 1, DType::F64)?);
    let mut noise = Seed::new(0).host_noise();
    assert_eq!(chain.states(&x, &mut noise)?.len(), 3);
    let weights = chain.log_weights(&x, &[Weighting::Plain], &mut noise).map(|_| ());
    for result in [weights, chain.log_weight(&x, &mut noise).map(|_| ())] {
        assert!(matches!(result, Err(Error::Config { field: "temperatures", .. })), "{result:?}");
    }
    Ok(())
}

#[test]
fn without_steps_the_weight_is_the_density_of_the_start() -> Result<()> {
    let start = gaussian_start(0.2, 3.0, 1, DType::F64)?;
    let chain = walk_of(&W1, &start, ladder(2.0, 0));
    let x = filled(X, 3, 1, DType::F64)?;
    let found = chain.log_weights(&x, &[Weighting::Plain], &mut Seed::new(0).host_noise())?;
    for weight in &found.weights[0] {
        assert_close(*weight, log_normal(X, 0.2, 3.0), 1e-12, "K = 0");
    }
    Ok(())
}

#[test]
fn one_step_that_forgets_its_state_has_the_weights_of_two_independent_draws() -> Result<()> {
    let op = Linear { a: 0.0, b: 0.4, w: 0.7 };
    let x = filled(X, 100, 1, DType::F64)?;
    for (matched, [m, v]) in [(true, [0.4, 0.7]), (false, [0.2, 3.0])] {
        let start = gaussian_start(m, v, 1, DType::F64)?;
        let chain = walk_of(&op, &start, ladder(2.0, 1));
        let noise = || Seed::new(3).host_noise();
        let ends = values(&chain.states(&x, &mut noise())?[0])?;
        let found = chain.log_weights(&x, &[Weighting::Plain], &mut noise())?;
        for (weight, end) in found.weights[0].iter().zip(&ends) {
            let drawn = log_normal(*end, m, v) - log_normal(*end, 0.4, 0.7);
            assert_close(*weight, drawn + log_normal(X, 0.4, 0.7), 1e-12, "K = 1");
            if matched {
                assert_close(*weight, log_normal(X, 0.4, 0.7), 1e-12, "p* is the operator's law");
            }
        }
    }
    Ok(())
}

/// Means 0.6 s, with a variance of its own in each of two dimensions: no isotropic law.
struct Uneven;

impl TransitionOperator for Uneven {
    type Dist = DiagGaussian;

    fn conditional(&self, s: &Tensor, at: Step) -> Result<DiagGaussian> {
        let w = Tensor::new(&[[0.1_f64, 0.5]], s.device())?.affine(at.temperature, 0.0)?;
        DiagGaussian::new((s * 0.6)?, w.broadcast_as(s.shape())?.contiguous()?)
    }
}

#[test]
fn isotropic_variances_replace_the_last_factor_alone() -> Result<()> {
    let start = gaussian_start(0.0, 2.0, 2, DType::F64)?;
    let chain = walk_of(&Uneven, &start, ladder(1.5, 3));
    let x = Seed::new(4).host_noise().normal(&(40, 2).into(), DType::F64, &Device::Cpu)?;
    let variants = [Weighting::Plain, Weighting::Isotropic(0.3), Weighting::Isotropic(0.9)];
    let noise = || Seed::new(5).host_noise();
    let found = chain.log_weights(&x, &variants, &mut noise())?;
    let first = values(&chain.states(&x, &mut noise())?[0])?;
    let x = values(&x)?;
    for row in 0..40 {
        let parts = [0, 1].map(|i| (x[2 * row + i], 0.6 * first[2 * row + i]));
        let factor = |v: [f64; 2]| -> f64 {
            parts.iter().zip(v).map(|((x, m), v)| log_normal(*x, *m, v)).sum()
        };
        let own = factor([0.1, 0.5]);
        let square: f64 = parts.iter().map(|(x, m)| (x - m).powi(2)).sum();
        assert_close(found.residual[row], square / 2.0, 1e-12, "residual");
        for (variant, v) in [(1, 0.3), (2, 0.9)] {
            let want = found.weights[0][row] - own + factor([v, v]);
            assert_close(found.weights[variant][row], want, 1e-10, "isotropic");
        }
    }
    Ok(())
}

#[test]
fn the_best_isotropic_variances_are_found_without_another_run() -> Result<()> {
    let start = gaussian_start(0.0, 2.0, 2, DType::F64)?;
    let chain = walk_of(&Uneven, &start, ladder(1.5, 3));
    let x = Seed::new(4).host_noise().normal(&(30, 2).into(), DType::F64, &Device::Cpu)?;
    let options = EstimateOptions { rows: 64, ..EstimateOptions::new(50) };
    let blocks = chains_core::chain::PathBlocks { chains: 50, rows: 64 };
    let noise = || Seed::new(6).host_noise();
    let paths = IsotropicPaths::run(&chain, &x, blocks, &mut noise(), &mut |_| Ok(()))?;
    // The same numbers as a run with that variance.
    let v = 0.37;
    let options = EstimateOptions { variants: vec![Weighting::Isotropic(v)], ..options };
    let found = estimate(&chain, &x, &options, &mut noise(), &mut |_| Ok(()))?;
    let mean = |f: fn(&chains_core::chain::LogWeights) -> f64| {
        found.weights[0].iter().map(f).sum::<f64>() / 30.0
    };
    assert_close(paths.lower_bound(v), mean(|w| w.lower_bound()), 1e-9, "bound");
    assert_close(paths.importance_sampling(v), mean(|w| w.importance_sampling()), 1e-9, "IS");
    assert_close(paths.best_bound_variance(), found.residual, 1e-12, "residual");
    let best = paths.best_bound_variance();
    for v in [0.5 * best, 0.95 * best, 1.05 * best, 2.0 * best] {
        assert!(paths.lower_bound(v) < paths.lower_bound(best), "{v} against {best}");
    }
    let best = paths.best_sampling_variance()?;
    for v in [0.2 * best, 0.9 * best, 1.1 * best, 5.0 * best] {
        assert!(paths.importance_sampling(v) < paths.importance_sampling(best), "{v} {best}");
    }
    Ok(())
}
