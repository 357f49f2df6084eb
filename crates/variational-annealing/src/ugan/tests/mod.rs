//! Fixed points, gradients, resuming, and short trainings on targets of which everything is known.

mod proposal;
mod settings;
mod training;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Noise, Seed,
    autograd::value_and_gradients,
    density::{Energy, value_and_grad},
    ops,
    optim::{Adam, AdamConfig},
};

use super::*;
use crate::{
    anneal::{Reg, Weights},
    maf::MafConfig,
};

/// `log N(x; 0, s^2)` of `(b, 1)`, without its constant.
fn centred(x: &Tensor, s: f64) -> chains_core::Result<Tensor> {
    Ok((x.sqr()?.squeeze(1)? * (-0.5 / (s * s)))?)
}

/// Points of mean 0 and mean square 1, exactly.
fn latent() -> Tensor {
    Tensor::new(&[[1.0_f64], [-1.0]], &Device::Cpu).unwrap()
}

/// The gradient in `a` of the objective for a generator `x = a z`, `q = nu = N(0, a^2)`, critic 0.
fn slope(a: f64, s: f64, weights: Weights) -> f64 {
    let x = (latent() * a).unwrap();
    let target = LogDensityFn(|x: &Tensor| centred(x, s));
    let own = value_and_grad(&x, |x| centred(x, a)).unwrap();
    let (_, grad) = sample_gradient(&x, None, own, &target, weights).unwrap();
    grad.mul(&latent()).unwrap().mean_all().unwrap().to_scalar().unwrap()
}

#[test]
fn the_generator_of_a_gaussian_rests_at_the_variance_of_the_temperature() {
    for (form, lambda) in
        [(Reg::Entropy, 0.0), (Reg::Entropy, 3.0), (Reg::Likelihood, 1.0), (Reg::Likelihood, -0.5)]
    {
        let weights = form.weights(lambda).unwrap();
        let Weights { c_q, c_u } = weights;
        let (a, s) = (0.7, 1.3);
        let want = -c_q / a + c_u * a / (s * s);
        assert!((slope(a, s, weights) - want).abs() < 1e-12, "{form:?} {lambda}");
        let rest = s / form.beta(lambda).unwrap().sqrt();
        assert!(slope(rest, s, weights).abs() < 1e-12, "{form:?} {lambda}");
    }
}

#[test]
fn the_gradient_through_a_frozen_density_is_minus_that_of_the_entropy() {
    for a in [0.5, 1.0, 2.0] {
        assert!((slope(a, 1.0, Weights { c_q: 1.0, c_u: 0.0 }) + 1.0 / a).abs() < 1e-12);
    }
}

#[test]
fn the_critics_loss_is_least_at_the_log_ratio_of_generator_and_proposal() {
    // q = N(0.5, 1) and nu = N(-0.5, 1): log q/nu = x, with points of equal weight on a fine grid of
    // quantiles, and the logit a x + c.
    let store = chains_core::ParamStore::new(Seed::new(0), DType::F64, &Device::Cpu);
    let a = store.builder().get_with_hints(1, "a", candle_nn::Init::Const(0.0)).unwrap();
    let c = store.builder().get_with_hints(1, "c", candle_nn::Init::Const(0.4)).unwrap();
    let mut noise = Seed::new(1).host_noise();
    let z = noise.normal(&20_000.into(), DType::F64, &Device::Cpu).unwrap();
    let (x, y) = ((&z + 0.5).unwrap(), (z.neg().unwrap() - 0.5).unwrap());
    let mut adam = Adam::new(AdamConfig::standard());
    for _ in 0..400 {
        let logit = |x: &Tensor| -> chains_core::Result<Tensor> {
            Ok(x.broadcast_mul(&a)?.broadcast_add(&c)?)
        };
        let loss = || ratio_loss(&logit(&x)?, &logit(&y)?);
        let (_, grads) = value_and_gradients(loss).unwrap();
        adam.step(&store, &grads, 0.03).unwrap();
    }
    let value = |x: &Tensor| x.to_vec1::<f64>().unwrap()[0];
    assert!((value(&a) - 1.0).abs() < 0.05, "slope {}", value(&a));
    assert!(value(&c).abs() < 0.02, "constant {}", value(&c));
    // A logit of 0 tells nothing apart.
    let zero = z.zeros_like().unwrap();
    let loss: f64 = ratio_loss(&zero, &zero).unwrap().to_scalar().unwrap();
    assert!((loss - 2.0 * 2_f64.ln()).abs() < 1e-12);
}

#[test]
fn weights_of_importance_have_the_mean_and_effective_number_of_their_definition() {
    let weights = [1.0_f64, 3.0, 4.0, 8.0].map(|w| 700.0 + w.ln());
    let found = LogPartition::from_log_weights(&weights);
    assert!((found.log_z - (700.0 + 4_f64.ln())).abs() < 1e-9);
    assert!((found.effective_share - 256.0 / (4.0 * 90.0)).abs() < 1e-12);
    // The relative deviation of the mean: sqrt(E w^2 / (E w)^2 - 1) / sqrt(n).
    let want = ((22.5_f64 / 16.0 - 1.0) / 4.0).sqrt();
    assert!((found.std_error - want).abs() < 1e-12);
    let even = LogPartition::from_log_weights(&[2.0; 5]);
    assert!(even.std_error < 1e-7 && (even.effective_share - 1.0).abs() < 1e-12);
}

#[test]
fn a_closure_is_a_target_with_the_gradient_of_its_graph() {
    let target = LogDensityFn(|x: &Tensor| Ok((ops::square(x)?.sum(1)? * -0.5)?));
    let x = Tensor::new(&[[1.0_f32, -2.0]], &Device::Cpu).unwrap();
    let (value, grad) = target.log_density_and_grad(&x, None).unwrap();
    assert_eq!(value.to_vec1::<f32>().unwrap(), [-2.5]);
    assert_eq!(grad.to_vec2::<f32>().unwrap(), [[-1.0, 2.0]]);
    assert_eq!(target.energy(&x).unwrap().to_vec1::<f32>().unwrap(), [2.5]);
}
