use candle_core::{DType, Device, Tensor};
use chains_core::{Noise, ParamStore, Seed, density::value_and_grad, ops};

use super::{noise, values, vector};
use crate::soft_q::{
    OBSERVED, QNetwork, bellman_targets, log_squash, soft_value, squashed_log_target,
};

#[test]
fn the_volume_of_the_squash_is_exact_where_tanh_rounds_to_one() {
    let h = [-40.0, -12.0, -1.5, -0.2, 0.0, 0.7, 3.0, 9.0, 40.0];
    let each = vector(&h).reshape((h.len(), 1)).unwrap();
    let (found, slope) = value_and_grad(&each, log_squash).unwrap();
    for ((h, found), slope) in h.iter().zip(values(&found)).zip(values(&slope)) {
        // log(4 / (e^h + e^-h)^2) without a cancellation.
        let exact = 2.0 * (2_f64.ln() - h.abs() - (-2.0 * h.abs()).exp().ln_1p());
        assert!((found - exact).abs() < 4e-6 * (1.0 + exact.abs()), "{h}: {found}, not {exact}");
        assert!((slope + 2.0 * h.tanh()).abs() < 1e-5, "{h}: slope {slope}");
    }
    // Coordinates add up.
    let pair = log_squash(&vector(&[0.7, -1.5]).reshape((1, 2)).unwrap()).unwrap();
    let sum: f64 = [0.7_f64, -1.5].iter().map(|h| (1.0 - h.tanh().powi(2)).ln()).sum();
    assert!((values(&pair)[0] - sum).abs() < 1e-5);
}

#[test]
fn one_action_gives_its_own_value_and_huge_ones_do_not_overflow() {
    let q = vector(&[2.0]).reshape((1, 1)).unwrap();
    let log_p = vector(&[-0.3]).reshape((1, 1)).unwrap();
    let found = values(&soft_value(&q, &log_p, 0.5).unwrap());
    assert!((found[0] - (2.0 + 0.5 * 0.3)).abs() < 1e-6, "{found:?}");
    for scale in [1e4, -1e4] {
        let q = vector(&[scale, scale + 3.0]).reshape((1, 2)).unwrap();
        let log_p = q.zeros_like().unwrap();
        let found = values(&soft_value(&q, &log_p, 1.0).unwrap())[0];
        let exact = scale + (0.5 * (1.0 + 3_f64.exp())).ln();
        assert!((found - exact).abs() < 2e-3, "{found} {exact}");
    }
    assert!(soft_value(&q, &vector(&[0.0, 1.0]).reshape((1, 2)).unwrap(), 1.0).is_err());
}

/// A smooth function of two numbers, steep enough to tell a wrong temperature.
fn q_of(x: f64, y: f64) -> f64 {
    2.0 * x - 3.0 * (y - 0.3).powi(2) + x * y
}

/// `alpha log` of the integral of `exp(q / alpha)` over the square by the midpoint rule.
fn quadrature(temperature: f64) -> f64 {
    let n = 400;
    let at = |i: i32| -1.0 + (f64::from(i) + 0.5) * 2.0 / f64::from(n);
    let cells = (0..n).flat_map(|i| (0..n).map(move |j| (q_of(at(i), at(j)) / temperature).exp()));
    let area = (2.0 / f64::from(n)).powi(2);
    temperature * (area * cells.sum::<f64>()).ln()
}

/// The estimate and its standard error (delta method) from actions and log densities.
fn estimate(actions: &Tensor, log_p: &Tensor, temperature: f64) -> [f64; 2] {
    let points = actions.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
    let q: Vec<f64> = points.iter().map(|a| q_of(a[0], a[1])).collect();
    let (n, log_p) = (q.len(), log_p.reshape((1, q.len())).unwrap());
    let found = soft_value(&vector(&q).reshape((1, n)).unwrap(), &log_p, temperature).unwrap();
    let terms = q.iter().zip(values(&log_p)).map(|(q, p)| (q / temperature - p).exp());
    let terms: Vec<f64> = terms.collect();
    let mean = terms.iter().sum::<f64>() / n as f64;
    let variance = terms.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / n as f64;
    [values(&found)[0], temperature * (variance / n as f64).sqrt() / mean]
}

#[test]
fn soft_values_of_uniform_and_of_squashed_actions_are_the_integral() {
    let n = 40_000;
    let device = &Device::Cpu;
    for temperature in [1.0, 0.5] {
        let exact = quadrature(temperature);
        let mut draws = noise("uniform actions");
        let uniform = draws.uniform(&(n, 2).into(), DType::F32, device).unwrap();
        let uniform = uniform.affine(2.0, -1.0).unwrap();
        let log_p = Tensor::full(-2.0 * 2_f32.ln(), n, device).unwrap();
        let [found, error] = estimate(&uniform, &log_p, temperature);
        assert!((found - exact).abs() < 5.0 * error, "{found} is not {exact} by {error}");
        // A Gaussian before the squash, whose density the volume of the squash corrects.
        let e = draws.normal(&(n, 2).into(), DType::F32, device).unwrap();
        let log_q = e.sqr().unwrap().affine(-0.5, -0.5 * std::f64::consts::TAU.ln()).unwrap();
        let log_p = (log_q.sum(1).unwrap() - log_squash(&e).unwrap()).unwrap();
        let [found, error] = estimate(&ops::tanh(&e).unwrap(), &log_p, temperature);
        assert!((found - exact).abs() < 5.0 * error, "{found} is not {exact} by {error}");
        assert!(error < 0.02, "{error}");
    }
}

#[test]
fn targets_scale_rewards_discount_values_and_end_where_the_task_ends() {
    let [rewards, done, later] =
        [[0.1, -0.2, 0.3], [0.0, 1.0, 0.0], [5.0, 7.0, -2.0]].map(|x| vector(&x));
    let found = values(&bellman_targets(&rewards, &done, &later, [30.0, 0.99]).unwrap());
    for (found, exact) in found.iter().zip([3.0 + 4.95, -6.0, 9.0 - 1.98]) {
        assert!((found - exact).abs() < 1e-5, "{found} {exact}");
    }
}

#[test]
fn the_gradient_of_a_policys_target_is_that_of_central_differences() {
    let store = ParamStore::new(Seed::new(0), DType::F64, &Device::Cpu);
    let q = QNetwork::new(&[16, 16], store.frozen()).unwrap();
    let mut draws = noise("target");
    let mut normal = |d: usize| draws.normal(&(6, d).into(), DType::F64, &Device::Cpu).unwrap();
    let (states, h) = (normal(OBSERVED), normal(2));
    let target = |h: &Tensor| squashed_log_target(&q, 0.1, &states, h);
    let (found, grad) = value_and_grad(&h, target).unwrap();
    let q_of = values(&q.forward(&states, &h.tanh().unwrap()).unwrap());
    let volume = values(&log_squash(&h).unwrap());
    for ((found, q), volume) in values(&found).iter().zip(q_of).zip(volume) {
        assert!((found - 10.0 * q - volume).abs() < 1e-10, "{found} {q} {volume}");
    }
    let eps = 1e-6;
    for axis in 0..2 {
        let by: Vec<f64> = (0..12).map(|i| if i % 2 == axis { eps } else { 0.0 }).collect();
        let by = Tensor::from_vec(by, (6, 2), &Device::Cpu).unwrap();
        let [up, down] = [(&h + &by), (&h - &by)].map(|h| values(&target(&h.unwrap()).unwrap()));
        for (row, (up, down)) in up.iter().zip(down).enumerate() {
            let (slope, found) = ((up - down) / (2.0 * eps), values(&grad)[2 * row + axis]);
            assert!((slope - found).abs() < 1e-5 * (1.0 + found.abs()), "{slope} {found}");
        }
    }
}
