//! The posterior against differences, its prior against closed forms, predictions and point estimates.

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Noise, Seed,
    chain::{StepSchedule, chain},
    density::{Energy, value_and_grad},
    mcmc::Hmc,
};

use super::*;

fn normal(label: &str, [n, d]: [usize; 2]) -> Tensor {
    let mut noise = Seed::new(0).child(label).host_noise();
    noise.normal(&(n, d).into(), DType::F64, &Device::Cpu).unwrap()
}

fn labels(n: usize) -> Vec<f64> {
    (0..n).map(|i| if i % 3 == 0 { 1.0 } else { -1.0 }).collect()
}

#[test]
fn the_gradient_is_that_of_central_differences_and_of_the_graph() {
    let posterior = LogisticPosterior::new(&normal("x", [40, 5]), &labels(40)).unwrap();
    let theta = normal("theta", [3, 6]);
    let (energy, grad) = posterior.energy_and_grad(&theta).unwrap();
    let (same, graph) = value_and_grad(&theta, |x| posterior.energy(x)).unwrap();
    let host = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    for (a, b) in [(&energy, &same), (&grad, &graph)] {
        for (a, b) in host(a).iter().zip(host(b)) {
            assert!((a - b).abs() < 1e-10 * (1.0 + b.abs()), "{a}, {b}");
        }
    }
    let flat = host(&theta);
    for at in 0..flat.len() {
        let moved = |by: f64| {
            let mut flat = flat.clone();
            flat[at] += by;
            let theta = Tensor::from_vec(flat, (3, 6), &Device::Cpu).unwrap();
            posterior.energy(&theta).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
        };
        let want = (moved(1e-6) - moved(-1e-6)) / 2e-6;
        let got = host(&grad)[at];
        assert!((got - want).abs() < 1e-6 * want.abs().max(1.0), "{at}: {got}, {want}");
    }
}

#[test]
fn a_hand_computed_point_has_its_value() {
    // One point x = (2, 1), y = -1, w = (0.5, -1), eta = 0.3: the margin is 0.
    let x = Tensor::new(&[[2.0, 1.0]], &Device::Cpu).unwrap();
    let posterior = LogisticPosterior::new(&x, &[-1.0]).unwrap();
    let theta = Tensor::new(&[[0.5, -1.0, 0.3]], &Device::Cpu).unwrap();
    let energy = posterior.energy(&theta).unwrap().to_vec1::<f64>().unwrap()[0];
    let alpha = 0.3_f64.exp();
    let want = 2_f64.ln() - 0.3 + 0.5 * alpha * 1.25 - 0.3 + 0.01 * alpha;
    assert!((energy - want).abs() < 1e-12, "{energy}, {want}");
}

#[test]
fn the_clamp_of_eta_bounds_the_precision_and_passes_the_gradient() {
    let posterior = LogisticPosterior::new(&normal("x", [4, 2]), &labels(4)).unwrap();
    let theta = Tensor::new(&[[1.0, 0.0, 30.0]], &Device::Cpu).unwrap();
    let (energy, grad) = posterior.energy_and_grad(&theta).unwrap();
    assert!(energy.to_vec1::<f64>().unwrap()[0].is_finite());
    // d/d eta = alpha (|w|^2 / 2 + b0) - d/2 - a0 with alpha = e^10.
    let want = 10_f64.exp() * 0.51 - 2.0;
    let got = grad.to_vec2::<f64>().unwrap()[0][2];
    assert!((got - want).abs() < 1e-9 * want, "{got}, {want}");
}

#[test]
fn without_data_the_chain_samples_the_prior() {
    // alpha ~ Gamma(1, 0.01): E[alpha] = 100, E[log alpha] = -gamma + log 100, Var = pi^2 / 6; given
    // alpha the weights have variance 1 / alpha, so that alpha |w|^2 has mean d.
    let empty = Tensor::zeros((0, 2), DType::F64, &Device::Cpu).unwrap();
    let posterior = LogisticPosterior::new(&empty, &[]).unwrap();
    let mut noise = Seed::new(0).child("prior").host_noise();
    let start = normal("start", [400, 3]);
    // In standardised coordinates, where a unit mass fits: w = v exp(-eta / 2).
    let standard = Standardised(&posterior);
    let kernel = Hmc::new(standard, 10, 0.25).unwrap();
    let schedule = StepSchedule { len: 300 };
    let (mut alphas, mut etas, mut products) = (Vec::new(), Vec::new(), Vec::new());
    for draw in chain(&kernel, start, &schedule, &mut noise).unwrap().skip(100).step_by(10) {
        for row in draw.unwrap().state.position.to_vec2::<f64>().unwrap() {
            let alpha = row[2].exp();
            alphas.push(alpha);
            etas.push(row[2]);
            products.push(row[0] * row[0] + row[1] * row[1]);
        }
    }
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    // 400 independent chains bound the standard error from above.
    let root = 400_f64.sqrt();
    assert!((mean(&alphas) - 100.0).abs() < 4.0 * 100.0 / root, "{}", mean(&alphas));
    let eta = 100_f64.ln() - 0.577_215_664_9;
    let deviation = std::f64::consts::PI / 6_f64.sqrt();
    assert!((mean(&etas) - eta).abs() < 4.0 * deviation / root, "{}", mean(&etas));
    let spread: Vec<f64> = etas.iter().map(|x| (x - eta).powi(2)).collect();
    // The fourth central moment of a log-gamma law of shape 1 is 14.61; that of the square 11.9.
    assert!((mean(&spread) - deviation * deviation).abs() < 4.0 * 11.9_f64.sqrt() / root);
    assert!((mean(&products) - 2.0).abs() < 4.0 * 2.0 / root, "{}", mean(&products));
    // The law of eta itself, P(eta <= t) = 1 - exp(-e^t / 100), by its largest gap to the last states of
    // the chains, which are independent: 1.95 / sqrt(n) is passed by chance once in a thousand times.
    let mut last = etas.split_off(etas.len() - 400);
    last.sort_by(f64::total_cmp);
    let gaps = last.iter().enumerate().map(|(i, eta)| {
        let law = -(-eta.exp() / 100.0).exp_m1();
        (law - i as f64 / 400.0).abs().max((law - (i + 1) as f64 / 400.0).abs())
    });
    let gap = gaps.fold(0.0, f64::max);
    assert!(gap < 1.95 / root, "{gap}");
}

/// The posterior of `(v, eta)` with `w = v exp(-eta / 2)`, Jacobian included.
struct Standardised<'a>(&'a LogisticPosterior);

impl Energy for Standardised<'_> {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let d = self.0.dim() - 1;
        let (v, eta) = (x.narrow(1, 0, d)?, x.narrow(1, d, 1)?);
        let w = v.broadcast_mul(&(&eta * -0.5)?.exp()?)?;
        let energy = self.0.energy(&Tensor::cat(&[&w, &eta], 1)?)?;
        Ok((energy + (eta.squeeze(1)? * (0.5 * d as f64))?)?)
    }
}

#[test]
fn a_prediction_is_the_log_of_a_mean() {
    let x = Tensor::new(&[[1.0, 1.0], [-2.0, 1.0]], &Device::Cpu).unwrap();
    let weights = Tensor::new(&[[1.0, 0.0, 9.0], [3.0, 0.0, 9.0]], &Device::Cpu).unwrap();
    let found = predict(&weights, &x, &[1.0, 1.0]).unwrap();
    let sigmoid = |t: f64| 1.0 / (1.0 + (-t).exp());
    let first: f64 = 0.5 * (sigmoid(1.0) + sigmoid(3.0));
    let second: f64 = 0.5 * (sigmoid(-2.0) + sigmoid(-6.0));
    let want = 0.5 * (first.ln() + second.ln());
    assert!((found.log_likelihood - want).abs() < 1e-12);
    assert!((found.accuracy - 0.5).abs() < 1e-12);
    assert!(predict(&weights, &x, &[1.0]).is_err());
}

#[test]
fn the_point_estimate_has_no_gradient_left() {
    let x = normal("x", [60, 4]);
    let (labels, alpha) = (labels(60), 1.0);
    let w = map_estimate(&x, &labels, alpha).unwrap();
    let signs = Tensor::new(labels.as_slice(), &Device::Cpu).unwrap().unsqueeze(1).unwrap();
    let (_, grad) = value_and_grad(&w, |w| {
        let margins = x.broadcast_mul(&signs)?.matmul(&w.t()?)?;
        let misfit = ((margins.neg()?.exp()? + 1.0)?.log()?).sum_all()?;
        Ok((misfit + (w.sqr()?.sum_all()? * (0.5 * alpha))?)?.reshape(1)?)
    })
    .unwrap();
    for g in grad.flatten_all().unwrap().to_vec1::<f64>().unwrap() {
        assert!(g.abs() < 1e-9, "{g}");
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let x = normal("x", [4, 2]);
    assert!(LogisticPosterior::new(&x, &labels(3)).is_err());
    assert!(LogisticPosterior::new(&x, &[1.0, 0.0, 1.0, -1.0]).is_err());
    let posterior = LogisticPosterior::new(&x, &labels(4)).unwrap();
    assert!(posterior.energy(&x).is_err());
    assert!(posterior.clone().with_prior(0.0, 1.0).is_err());
    assert!(map_estimate(&x, &labels(4), 0.0).is_err());
}
