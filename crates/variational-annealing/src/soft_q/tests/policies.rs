use candle_core::{DType, Device, Tensor};
use chains_core::{Noise, Seed};

use super::{noise, values};
use crate::soft_q::{
    GaussianPolicy, OBSERVED, Policy, PolicyConfig, PolicyStep, SteinPolicy, UganPolicy,
    stein_directions,
};

/// A single state, `n` times.
fn one_state(n: usize) -> Tensor {
    Tensor::full(0.3_f32, (n, OBSERVED), &Device::Cpu).unwrap()
}

/// Updates at a rate that falls to zero on `log u = -k |h|^2 / (2 alpha)`, a quadratic Q without a squash.
fn train(policy: &mut dyn Policy, precision: f64, lambda: f64, updates: usize, rate: f64) {
    let target = |_: &Tensor, h: &Tensor| Ok((h.sqr()?.sum(1)? * (-0.5 * precision))?);
    let mut draws = noise("train");
    for update in 0..updates {
        let rate = rate * (1.0 - update as f64 / updates as f64);
        let step = PolicyStep { rate, lambda, update };
        policy.update(&one_state(128), &target, step, &mut draws).unwrap();
    }
}

/// Mean and variance of each coordinate over draws in one state.
fn moments(policy: &dyn Policy, n: usize) -> [[f64; 2]; 2] {
    let h = policy.draw(&one_state(n), &mut noise("draws")).unwrap();
    let rows = h.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
    [0, 1].map(|i| {
        let mean = rows.iter().map(|row| row[i]).sum::<f64>() / n as f64;
        let square = rows.iter().map(|row| (row[i] - mean).powi(2)).sum::<f64>();
        [mean, square / (n - 1) as f64]
    })
}

/// `k` and `alpha` of the tests, whose variance is `alpha / k`.
const K: f64 = 2.0;
const ALPHA: f64 = 0.5;

#[test]
fn a_gaussian_learns_the_variance_of_a_quadratic_q_and_of_its_tempered_form() {
    for (lambda, variance) in [(0.0, ALPHA / K), (1.0, 2.0 * ALPHA / K)] {
        let PolicyConfig::Gaussian(config) = PolicyConfig::gaussian(&[16]) else {
            panic!("another policy")
        };
        let mut policy = GaussianPolicy::new(config, Seed::new(0), &Device::Cpu).unwrap();
        train(&mut policy, K / ALPHA, lambda, 1_500, 1e-2);
        let [mean, log_deviation] = policy.law(&one_state(1)).unwrap();
        for (mean, log_deviation) in values(&mean).into_iter().zip(values(&log_deviation)) {
            let found = (2.0 * log_deviation).exp();
            assert!((found / variance - 1.0).abs() < 0.03, "{found} is not {variance}");
            assert!(mean.abs() < 0.02, "{mean}");
        }
    }
}

#[test]
fn stein_particles_spread_as_far_as_the_quadratic_q_lets_them() {
    let PolicyConfig::Stein(config) = PolicyConfig::stein(&[32]) else { panic!("another policy") };
    let mut policy = SteinPolicy::new(config, Seed::new(0), &Device::Cpu).unwrap();
    train(&mut policy, K / ALPHA, 0.0, 3_000, 5e-3);
    for [mean, variance] in moments(&policy, 20_000) {
        assert!((variance / (ALPHA / K) - 1.0).abs() < 0.1, "{variance}");
        assert!(mean.abs() < 0.05, "{mean}");
    }
}

#[test]
fn a_ugan_policy_learns_the_variance_of_a_quadratic_q() {
    let PolicyConfig::Ugan(config) = PolicyConfig::ugan(&[32, 32], 2, &[16, 16]) else {
        panic!("another policy")
    };
    let mut policy = UganPolicy::new(*config, Seed::new(0), &Device::Cpu).unwrap();
    train(&mut policy, K / ALPHA, 0.0, 2_000, 2e-3);
    for [mean, variance] in moments(&policy, 20_000) {
        assert!((variance / (ALPHA / K) - 1.0).abs() < 0.1, "{variance}");
        assert!(mean.abs() < 0.05, "{mean}");
    }
}

#[test]
fn the_density_of_a_gaussian_policy_is_that_of_its_draws() {
    let PolicyConfig::Gaussian(config) = PolicyConfig::gaussian(&[16]) else {
        panic!("another policy")
    };
    let policy = GaussianPolicy::new(config, Seed::new(0), &Device::Cpu).unwrap();
    let states = noise("states").normal(&(50, OBSERVED).into(), DType::F32, &Device::Cpu).unwrap();
    let (h, log_prob) = policy.propose(&states, &mut noise("draws")).unwrap().unwrap();
    let [mean, log_deviation] = policy.law(&states).unwrap().map(|x| values(&x));
    for (row, (h, found)) in values(&h).chunks(2).zip(values(&log_prob)).enumerate() {
        let exact: f64 = (0..2)
            .map(|i| {
                let (mean, log_deviation) = (mean[2 * row + i], log_deviation[2 * row + i]);
                let e = (h[i] - mean) / log_deviation.exp();
                -0.5 * e * e - log_deviation - 0.5 * std::f64::consts::TAU.ln()
            })
            .sum();
        assert!((found - exact).abs() < 1e-4, "{found} {exact}");
    }
    let same = policy.draw(&states, &mut noise("draws")).unwrap();
    assert_eq!(values(&same), values(&h));
}

#[test]
fn a_stein_direction_attracts_by_the_score_and_repels_by_the_kernel() {
    // Squared distances 1 and 4: the smaller is the median of two, over log 2.
    let width = 1.0 / 2_f64.ln();
    let found = stein_directions(&[1.0, -2.0], &[0.5, 3.0], &[0.0], [1, 2, 1, 1]).unwrap();
    let [near, far] = [1.0, 4.0].map(|square: f64| (-square / width).exp());
    let exact = 0.5 * (near * (0.5 - 2.0 / width) + far * (3.0 + 4.0 / width));
    assert!((found[0] - exact).abs() < 1e-12, "{found:?} {exact}");
    // Groups do not see each other.
    let fixed = [1.0, -2.0, 10.0, 11.0];
    let two = stein_directions(&fixed, &[0.5, 3.0, 0.0, 0.0], &[0.0, 10.5], [2, 2, 1, 1]).unwrap();
    assert!((two[0] - exact).abs() < 1e-12 && two[1].abs() < 1e-12, "{two:?}");
    for sizes in [[1, 2, 1, 2], [2, 2, 1, 1], [1, 1, 2, 1]] {
        assert!(stein_directions(&[1.0, -2.0], &[0.5, 3.0], &[0.0], sizes).is_err(), "{sizes:?}");
    }
}

#[test]
fn at_the_target_itself_stein_directions_cancel() {
    let mut draws = noise("equilibrium");
    let mut normal = |n: usize| {
        let drawn = draws.normal(&n.into(), DType::F64, &Device::Cpu).unwrap();
        drawn.to_vec1::<f64>().unwrap()
    };
    // One group, so that the bandwidth is nearly constant; N(0, 1) has the score -x.
    let (fixed, moving) = (normal(2_000), normal(40));
    let scores: Vec<f64> = fixed.iter().map(|x| -x).collect();
    let found = stein_directions(&fixed, &scores, &moving, [1, 2_000, 40, 1]).unwrap();
    // The terms have a deviation below one, so that four standard errors of 2,000 are below 0.09.
    assert!(found.iter().all(|direction| direction.abs() < 0.09), "{found:?}");
}

#[test]
fn policies_that_cannot_be_are_refused() {
    for (particles, update_ratio) in [(16, 0.0), (16, 1.0), (2, 0.5), (0, 0.5), (16, -1.0)] {
        let PolicyConfig::Stein(config) = PolicyConfig::stein(&[8]) else {
            panic!("another policy")
        };
        let config = crate::soft_q::SteinConfig { particles, update_ratio, ..config };
        let message = PolicyConfig::Stein(config).validate().unwrap_err().to_string();
        assert!(message.contains("update_ratio"), "{message}");
    }
    assert!(PolicyConfig::gaussian(&[8, 0]).validate().is_err());
}
