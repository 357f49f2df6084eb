use candle_core::{DType, Device, Tensor, Var};
use chains_core::{Noise, ParamStore, Seed, autograd::value_and_gradients};

use super::*;
use crate::{
    config::{ConvLayer, DiscriminatorConfig},
    network::Discriminator,
};

fn normal(label: &str, shape: &[usize]) -> Tensor {
    let mut noise = Seed::new(7).child(label).host_noise();
    noise.normal(&shape.into(), DType::F64, &Device::Cpu).unwrap()
}

fn values(x: &Tensor) -> Vec<f64> {
    x.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

fn number(x: &Tensor) -> f64 {
    x.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

fn close(got: f64, want: f64, tolerance: f64) {
    assert!((got - want).abs() <= tolerance, "{got} instead of {want}");
}

fn row(values: &[f64]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

#[test]
fn losses_are_those_of_the_table_and_do_not_overflow() {
    let sp = |t: f64| t.max(0.0) + (-t.abs()).exp().ln_1p();
    let (real, fake) = ([0.3, -2.0, 800.0], [1.5, -0.4, -900.0]);
    let mean = |f: &dyn Fn(f64) -> f64, d: &[f64]| d.iter().map(|d| f(*d)).sum::<f64>() / 3.0;
    let loss = |o| number(&critic_loss(o, &row(&real), &row(&fake)).unwrap());
    let bce = mean(&|d| sp(-d), &real) + mean(&sp, &fake);
    close(loss(Objective::Jsd), bce, 1e-9);
    close(loss(Objective::Rkl), bce, 1e-9);
    close(loss(Objective::WGanGp), mean(&|d| d, &fake) - mean(&|d| d, &real), 1e-9);
    let dual = mean(&|d| (-d.clamp(-10.0, 10.0)).exp(), &real) + mean(&|d| d, &fake);
    close(loss(Objective::RklDual), dual, 1e-9);
    let adversarial = |o| number(&generator_loss(o, &row(&fake)).unwrap());
    close(adversarial(Objective::Jsd), mean(&|d| sp(-d), &fake), 1e-9);
    for objective in [Objective::Rkl, Objective::RklDual, Objective::WGanGp] {
        close(adversarial(objective), -mean(&|d| d, &fake), 1e-9);
    }
    let worst = number(&critic_loss(Objective::RklDual, &row(&[-1e4]), &row(&[0.0])).unwrap());
    close(worst, 10_f64.exp(), 1e-6);
}

/// O2: the best logit for `mu = N(0, s^2)`, `q = N(0, a^2)` as `c0 + c1 x^2`.
fn best(a: f64, s: f64) -> [f64; 2] {
    [(a / s).ln(), 0.5 * (1.0 / (a * a) - 1.0 / (s * s))]
}

#[test]
fn the_best_critic_of_both_reverse_objectives_is_the_log_ratio() {
    let (a, s, n) = (0.8, 1.3, 200_000);
    let (real, fake) = ((normal("mu", &[n]) * s).unwrap(), (normal("q", &[n]) * a).unwrap());
    for objective in [Objective::Rkl, Objective::RklDual] {
        let c = Var::from_tensor(&row(&best(a, s))).unwrap();
        let logit = |x: &Tensor| -> Result<Tensor> {
            let [c0, c1] = [0, 1].map(|i| c.narrow(0, i, 1).unwrap());
            Ok(x.sqr()?.broadcast_mul(&c1)?.broadcast_add(&c0)?)
        };
        let loss = critic_loss(objective, &logit(&real).unwrap(), &logit(&fake).unwrap()).unwrap();
        let grad = values(loss.backward().unwrap().get(&c).unwrap());
        // The terms under the means have deviations of about one: five standard errors.
        let bound = 5.0 * 2.0 / (n as f64).sqrt();
        assert!(grad.iter().all(|g| g.abs() < bound), "{objective:?}: {grad:?}");
    }
}

/// The gradient in `a` of the loss of the generator `x = a z` against the best critic of `a`, with the
/// smoothed score of data `N(0, s^2)` of the weight `lambda`; exact, for `z = 1, -1` have unit variance.
fn scale_gradient(a: f64, [s, sigma, lambda]: [f64; 3]) -> f64 {
    let [c0, c1] = best(a, s);
    let a = Var::from_tensor(&row(&[a])).unwrap();
    let x = Tensor::new(&[[1.0], [-1.0_f64]], &Device::Cpu).unwrap().broadcast_mul(&a).unwrap();
    let d = x.sqr().unwrap().affine(c1, c0).unwrap().squeeze(1).unwrap();
    let score = (&x * (-1.0 / (s * s + sigma * sigma))).unwrap();
    let weight = Weight { lambda, norm: LambdaNorm::PerSample };
    let adversarial = generator_loss(Objective::Rkl, &d).unwrap();
    let loss = (adversarial + score_loss(&x, &score, weight).unwrap()).unwrap();
    values(loss.backward().unwrap().get(&a).unwrap())[0]
}

#[test]
fn the_reverse_generator_has_the_gradient_of_the_divergence() {
    for (a, s) in [(0.5, 1.0), (1.7, 1.0), (1.0, 1.6)] {
        // d/da KL(N(0, a^2) || N(0, s^2)) = -1/a + a/s^2.
        close(scale_gradient(a, [s, 0.2, 0.0]), -1.0 / a + a / (s * s), 1e-12);
    }
}

#[test]
fn an_annealed_generator_settles_at_the_tempered_variance_of_the_smoothed_score() {
    let settled = |lambda: f64, sigma: f64| {
        let mut a = 1.0;
        for _ in 0..400 {
            a -= 0.2 * scale_gradient(a, [1.0, sigma, lambda]);
        }
        a * a
    };
    for (lambda, want) in [(-0.5, 1.925_926), (0.5, 0.675_325), (1.0, 0.509_804)] {
        close(settled(lambda, 0.2), want, 1e-6);
        // Without smoothing the law is that of beta = 1 + lambda.
        close(settled(lambda, 1e-9), 1.0 / (1.0 + lambda), 1e-9);
    }
}

fn feature_gradient(f: impl Fn(&Tensor) -> Result<Tensor>, features: &Tensor) -> Vec<f64> {
    let var = Var::from_tensor(features).unwrap();
    let grads = f(&var).unwrap().backward().unwrap();
    values(grads.get(&var).unwrap())
}

#[test]
fn feature_matching_is_annealing_with_a_constant_weight() {
    let (f, phi) = (normal("f", &[4, 7]), normal("phi", &[4, 7]));
    let published = feature_gradient(|f| Ok(((f - &phi)?.sqr()?.mean_all()? * 0.03)?), &f);
    let weight = Weight { lambda: 0.06, norm: LambdaNorm::PerElement };
    let dfm = feature_gradient(|f| dfm_loss(f, &phi, 1.0, weight), &f);
    let score = (&phi - &f).unwrap();
    let annealed = feature_gradient(|f| score_loss(f, &score, weight), &f);
    for ((published, dfm), annealed) in published.iter().zip(&dfm).zip(&annealed) {
        close(*dfm, *published, 1e-12);
        close(*annealed, *published, 1e-12);
    }
    // With another corruption the weight of the same term is 0.06 sigma^2.
    let weight = Weight { lambda: 0.06 * 0.25, ..weight };
    let other = feature_gradient(|f| dfm_loss(f, &phi, 0.5, weight), &f);
    other.iter().zip(&published).for_each(|(other, published)| close(*other, *published, 1e-12));
}

#[test]
fn a_positive_weight_pulls_along_the_score_and_norms_differ_by_the_features() {
    let (f, score) = (normal("f", &[4, 7]), normal("score", &[4, 7]));
    for (norm, divisor) in [(LambdaNorm::PerElement, 28.0), (LambdaNorm::PerSample, 4.0)] {
        let weight = Weight { lambda: 0.7, norm };
        let grads = feature_gradient(|f| score_loss(f, &score, weight), &f);
        for (grad, score) in grads.iter().zip(values(&score)) {
            close(*grad, -0.7 * score / divisor, 1e-12);
        }
    }
}

#[test]
fn the_released_term_adds_the_score_of_a_unit_normal() {
    let (f, phi) = (normal("f", &[4, 7]), normal("phi", &[4, 7]));
    let weight = Weight { lambda: 0.7, norm: LambdaNorm::PerElement };
    let grads = feature_gradient(|f| reference_loss(f, &phi, weight), &f);
    for ((grad, f), phi) in grads.iter().zip(values(&f)).zip(values(&phi)) {
        // Ours is -lambda (phi - f) / (b F); the missing detachment subtracts another f.
        close(*grad, -0.7 * ((phi - f) - f) / 28.0, 1e-12);
    }
    // Its value is that of ours at sigma = 1: only the gradient differs.
    let score = (&phi - &f).unwrap();
    let [ours, theirs] = [score_loss(&f, &score, weight), reference_loss(&f, &phi, weight)];
    close(number(&ours.unwrap()), number(&theirs.unwrap()), 1e-12);
}

fn small_critic(dtype: DType) -> (ParamStore, [Discriminator; 2]) {
    let config = DiscriminatorConfig {
        event: [2, 8, 8],
        layers: vec![ConvLayer::k3s1(3), ConvLayer::k4s2(4), ConvLayer::k4s2(5)],
        batch_norm: false,
    };
    let store = ParamStore::new(Seed::new(3), dtype, &Device::Cpu);
    let of = |vb| Discriminator::new(&config, vb).unwrap();
    let networks = [of(store.builder()), of(store.frozen())];
    // Initial weights of 0.02 would make a gradient of almost nothing.
    for (name, var) in store.trainable() {
        let mut noise = Seed::new(5).child(&name).host_noise();
        let value = noise.normal(var.shape(), DType::F32, &Device::Cpu).unwrap();
        var.set(&(value.to_dtype(dtype).unwrap() * 0.4).unwrap()).unwrap();
    }
    (store, networks)
}

#[test]
fn the_penalty_has_the_gradient_of_its_differences() {
    let (store, [_, frozen]) = small_critic(DType::F64);
    let x = normal("x", &[5, 2, 8, 8]);
    let value = || penalty_at(&x, |x| Ok(frozen.plain(x)?.logit)).unwrap().value;
    assert!(value() > 1e-3, "the gradients have length one already");
    for (dtype, tolerance) in [(DType::F64, 1e-6), (DType::F32, 1e-3)] {
        let (other, [live, constant]) = small_critic(dtype);
        let x = x.to_dtype(dtype).unwrap();
        let (_, grads) = value_and_gradients(|| {
            let penalty = penalty_at(&x, |x| Ok(constant.plain(x)?.logit))?;
            close(penalty.value, value(), 1e-5);
            penalty.surrogate(|x| Ok(live.plain(x)?.logit))
        })
        .unwrap();
        for (name, var) in store.trainable() {
            // The penalty of a critic that is linear in pieces does not know biases.
            let got = match grads.get(&other.get(&name).unwrap()) {
                Some(grad) => values(grad),
                None => vec![0.0; var.elem_count()],
            };
            let scale = got.iter().fold(1e-3_f64, |scale, g| scale.max(g.abs()));
            let before = values(var.as_tensor());
            for i in (0..before.len()).step_by(before.len().div_ceil(6)) {
                let at = |h: f64| {
                    let mut moved = before.clone();
                    moved[i] += h;
                    let moved = Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap();
                    var.set(&moved).unwrap();
                    value()
                };
                let difference = (at(1e-6) - at(-1e-6)) / 2e-6;
                at(0.0);
                let error = (got[i] - difference).abs() / scale;
                assert!(error < tolerance, "{name}[{i}] {dtype:?}: {} {difference}", got[i]);
            }
        }
    }
}

#[test]
fn points_in_between_are_on_the_line() {
    let (x, y) = (normal("x", &[3, 1, 2, 2]), normal("y", &[3, 1, 2, 2]));
    let u = row(&[0.0, 1.0, 0.25]);
    let mid = between(&x, &y, &u).unwrap();
    for (i, u) in [0.0, 1.0, 0.25].into_iter().enumerate() {
        let [x, y, mid] = [&x, &y, &mid].map(|t| values(&t.narrow(0, i, 1).unwrap()));
        for j in 0..4 {
            close(mid[j], u * x[j] + (1.0 - u) * y[j], 1e-12);
        }
    }
}
