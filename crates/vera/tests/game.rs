//! The whole algorithm where its equilibrium is known: a Gaussian energy against a linear generator.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "helpers of tests, exact values")]

mod common;

use std::f64::consts::PI;

use candle_core::{DType, Device, Tensor};
use candle_nn::{Init, VarBuilder};
use chains_core::{Noise, ParamStore, Result, Seed};
use common::values;
use vera::{
    Begin, EnergyNetwork, GaussianEnergy, Labels, LinearGenerator, Players, TrainConfig,
    TrainState, update,
};

/// What the last thousand of 3000 iterations were around.
struct Equilibrium {
    precision: f64,
    /// `w^2 + sigma^2`.
    variance: f64,
    sigma: f64,
}

/// The game in one dimension on data `N(0, 1)`.
fn play(lambda: f64, gamma: f64, half: bool, seed: u64) -> Result<Equilibrium> {
    let begin = Begin { sigma: 0.01, sigma_range: [0.01, 0.3], eta: 0.1 };
    let store = ParamStore::new(Seed::new(seed), DType::F32, &Device::Cpu);
    let energy = |vb: VarBuilder<'static>| GaussianEnergy::new(1, vb);
    let players = Players::new(store, begin, energy, |vb| LinearGenerator::new(1, 1, vb))?;
    let config = TrainConfig {
        gradient_penalty: gamma,
        penalty_half: half,
        ..TrainConfig::density(lambda, [0.002, 0.01, 0.02])
    };
    let mut state = TrainState::new(&config);
    let mut noise = Seed::new(seed).child("game").host_noise();
    let value = |name: &str| -> f64 { values(&players.store().get(name).unwrap())[0] };
    let (mut precision, mut variance) = (0.0, 0.0);
    for step in 0..3000 {
        let x = noise.normal(&(256, 1).into(), DType::F32, &Device::Cpu)?;
        update(&players, &mut state, &config, (&x, Labels::None), &mut noise)?;
        if step >= 2000 {
            precision += value("logp_net.log_precision").exp() / 1000.0;
            variance += (value("g.weight").powi(2) + (2.0 * value("logsigma")).exp()) / 1000.0;
        }
    }
    Ok(Equilibrium { precision, variance, sigma: value("logsigma").exp() })
}

/// `p = (-1 + sqrt(1 + 8 gamma lambda)) / (4 gamma)` for data of variance one.
fn formula(lambda: f64, gamma: f64) -> f64 {
    if gamma == 0.0 {
        return lambda;
    }
    (-1.0 + (1.0 + 8.0 * gamma * lambda).sqrt()) / (4.0 * gamma)
}

/// `r(1, 20)`, by which the estimator shrinks the entropy.
const SHRUNK: f64 = 0.785;

/// The published algorithm's numbers, within what its oscillation leaves.
fn assert_equilibrium(
    [lambda, gamma]: [f64; 2],
    measured: f64,
    seeds: std::ops::Range<u64>,
) -> Result<()> {
    for seed in seeds {
        let found = play(lambda, gamma, true, seed)?;
        let p = found.precision;
        let what = format!("lambda {lambda}, gamma {gamma}, seed {seed}");
        let error = p / measured - 1.0;
        assert!(error.abs() < 0.03, "{what}: {p} for {measured}");
        let want = formula(SHRUNK * lambda, gamma);
        assert!((p / want - 1.0).abs() < 0.035, "{what}: {p} for the formula's {want}");
        let variance = 1.0 + 2.0 * gamma * p;
        let off = found.variance / variance - 1.0;
        assert!(off.abs() < 0.05, "{what}: variance {} for {variance}", found.variance);
        assert!((found.sigma - 0.3).abs() < 1e-3, "{what}: sigma {}", found.sigma);
    }
    Ok(())
}

#[test]
fn the_game_with_penalty_settles_where_the_formula_says() -> Result<()> {
    assert!((formula(1.0, 0.1) - 0.854).abs() < 5e-4, "what an exact score would give");
    assert_equilibrium([1.0, 0.1], 0.685, 0..2)
}

#[test]
fn the_game_without_penalty_settles_at_the_shrunk_entropy_weight() -> Result<()> {
    assert_equilibrium([1.0, 0.0], 0.779, 0..1)
}

#[test]
fn half_the_entropy_settles_at_a_wider_model() -> Result<()> {
    assert_equilibrium([0.5, 0.1], 0.363, 0..1)
}

#[test]
fn the_penalty_of_the_paper_without_its_half_settles_elsewhere() -> Result<()> {
    let want = formula(SHRUNK, 0.2);
    assert!((want - 0.627).abs() < 1e-3, "{want}");
    let found = play(1.0, 0.1, false, 0)?.precision;
    assert!((found / want - 1.0).abs() < 0.035, "{found} for {want}");
    Ok(())
}

/// `ln N(x; m, v)`.
fn log_normal(x: f64, m: f64, v: f64) -> f64 {
    -0.5 * ((x - m).powi(2) / v + (2.0 * PI * v).ln())
}

#[test]
fn both_bounds_of_a_gaussian_partition_have_the_divergences_as_gaps() -> Result<()> {
    // p = N(a, 1 / precision) without its constant; q = N(m, c). Sums over a wide grid are exact.
    let (a, precision, m, c) = (0.4, 2.5, -0.3, 0.7);
    let store = ParamStore::new(Seed::new(0), DType::F64, &Device::Cpu);
    let vb = store.builder();
    vb.get_with_hints(1, "mean", Init::Const(a))?;
    vb.get_with_hints(1, "log_precision", Init::Const(f64::ln(precision)))?;
    let energy = GaussianEnergy::new(1, vb)?;
    let step = 0.005;
    let grid: Vec<f64> = (-3000..=3000).map(|i| f64::from(i) * step).collect();
    let points = Tensor::new(grid.as_slice(), &Device::Cpu)?.unsqueeze(1)?;
    let f = values(&energy.log_density(&points, &[])?);
    let log_z = f.iter().map(|f| f.exp() * step).sum::<f64>().ln();
    let want = 0.5 * (2.0 * PI / precision).ln();
    assert!((log_z - want).abs() < 1e-10, "log Z: {log_z} for {want}");
    let pairs = || grid.iter().zip(&f);
    let log_q = |x: f64| log_normal(x, m, c);
    let lower: f64 = pairs().map(|(x, f)| log_q(*x).exp() * (f - log_q(*x)) * step).sum();
    let gap = 0.5 * (precision * (c + (m - a).powi(2)) - 1.0 - (precision * c).ln());
    assert!((log_z - lower - gap).abs() < 1e-10, "lower bound {lower}, gap {gap}");
    let upper: f64 = pairs().map(|(x, f)| (f - log_z).exp() * (f - log_q(*x)) * step).sum();
    let variance = 1.0 / precision;
    let gap = 0.5 * ((variance + (m - a).powi(2)) / c - 1.0 - (variance / c).ln());
    assert!((upper - log_z - gap).abs() < 1e-10, "upper bound {upper}, gap {gap}");
    // The generator's own samples give the lower bound within their error.
    for seed in common::SEEDS {
        let e =
            Seed::new(seed).host_noise().normal(&(20_000, 1).into(), DType::F64, &Device::Cpu)?;
        let x = e.affine(f64::sqrt(c), m)?;
        let f = values(&energy.log_density(&x, &[])?);
        let bound = f.iter().zip(values(&x)).map(|(f, x)| f - log_q(x));
        common::Average::of(bound).assert("lower bound by samples", lower, 0.0);
    }
    Ok(())
}
