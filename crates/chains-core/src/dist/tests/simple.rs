//! Gaussians, Bernoulli variables, boxes.

use candle_core::{DType, Device, Tensor};

use super::{assert_conditionals_vary_fastest, assert_moments};
use crate::{
    Error, Result, Seed,
    density::{LogDensity, Sample},
    dist::{Bernoulli, DiagGaussian, FactorialGaussian, Law, Uniform},
    testing::{
        assert_agrees, assert_close, assert_differences, evaluate, normal, on_devices, uniform,
        values,
    },
};

on_devices!(log_probabilities_in_f32_equal_f64);

fn rows(values: &[&[f64]]) -> Tensor {
    let d = values[0].len();
    Tensor::from_vec(values.concat(), (values.len(), d), &Device::Cpu).unwrap()
}

fn log_probabilities_in_f32_equal_f64(device: &Device) -> Result<()> {
    let gaussian = |i: &[Tensor]| DiagGaussian::new(i[1].clone(), i[2].clone())?.log_prob(&i[0]);
    let shape = (3, 2, 4);
    let inputs = [normal("x", shape), normal("mean", shape), uniform("v", shape, 0.1, 2.0)];
    assert_agrees("Gaussian", &gaussian, &inputs, device, 2e-6)?;
    let bernoulli = |i: &[Tensor]| Bernoulli::new(i[0].clone()).log_prob(&i[1]);
    let bits = normal("bits", shape).gt(0.0)?.to_dtype(DType::F64)?;
    assert_agrees("Bernoulli", &bernoulli, &[(normal("x", shape) * 3.0)?, bits], device, 2e-6)
}

#[test]
fn gaussian_golden_values() -> Result<()> {
    let mean = rows(&[&[0.0, 1.0], &[2.0, -1.0]]);
    let variance = rows(&[&[1.0, 4.0], &[0.25, 1.0]]);
    let law = DiagGaussian::new(mean.clone(), variance)?;
    let x = rows(&[&[1.0, 1.0], &[2.0, 1.0]]);
    // Row 1: -ln(2 pi) - 0.5 ln 4 - 0.5; row 2: -ln(2 pi) + 0.5 ln 4 - 2.
    let ln = (2.0 * std::f64::consts::PI).ln();
    let want = [-ln - 2_f64.ln() - 0.5, -ln + 2_f64.ln() - 2.0];
    assert_close("log_prob", &values(&law.log_prob(&x)?), &want, 1e-14);
    assert_close("sum", &values(&law.log_density(&x)?.sum(1)?), &want, 1e-14);
    // The score is -(x - mean) / variance.
    assert_close("score", &values(&law.score(&x)?), &[-1.0, 0.0, 0.0, -2.0], 1e-13);
    let error = DiagGaussian::new(mean, rows(&[&[1.0, 1.0]])).unwrap_err();
    assert!(matches!(error, Error::Shape { what: "Gaussian variance", .. }), "{error}");
    assert!(law.log_prob(&rows(&[&[0.0, 0.0]])).is_err());
    Ok(())
}

#[test]
fn entropies_are_the_closed_forms() -> Result<()> {
    let law = DiagGaussian::new(rows(&[&[3.0, -1.0]]), rows(&[&[1.0, 4.0]]))?;
    // 0.5 ln(2 pi e) twice, and 0.5 ln 4.
    let want = (2.0 * std::f64::consts::PI).ln() + 1.0 + 2_f64.ln();
    assert_close("Gaussian", &values(&law.entropy()?), &[want], 1e-14);
    assert_eq!(values(&law.centre()?), [3.0, -1.0]);
    let p = [0.2_f64, 0.5];
    let logits: Vec<f64> = p.iter().map(|p| (p / (1.0 - p)).ln()).collect();
    let law = Bernoulli::new(rows(&[&logits]));
    let want: f64 = p.iter().map(|p| -p * p.ln() - (1.0 - p) * (1.0 - p).ln()).sum();
    assert_close("Bernoulli", &values(&law.entropy()?), &[want], 1e-14);
    assert_close("mean", &values(&law.centre()?), &p, 1e-14);
    // Certain outcomes have none.
    let certain = Bernoulli::new(rows(&[&[1e3, -1e3]]));
    assert_close("certain", &values(&certain.entropy()?), &[0.0], 1e-300);
    Ok(())
}

#[test]
fn differentiable_samples_are_the_samples_with_a_graph() -> Result<()> {
    let [mean, variance] = [normal("mean", (2, 3)), uniform("v", (2, 3), 0.2, 2.0)];
    let live = candle_core::Var::from_tensor(&mean)?;
    let law = DiagGaussian::new(live.as_tensor().clone(), variance)?;
    let drawn = law.differentiable_sample(&mut Seed::new(1).host_noise())?;
    assert!(drawn.track_op());
    let plain = law.sample(1, &mut Seed::new(1).host_noise())?;
    assert_close("sample", &values(&drawn), &values(&plain), 1e-15);
    let discrete = Bernoulli::new(mean).differentiable_sample(&mut Seed::new(1).host_noise());
    assert!(matches!(discrete, Err(Error::Config { .. })));
    Ok(())
}

#[test]
fn a_start_is_the_same_for_every_chain() -> Result<()> {
    let [mean, variance] = [[0.5, -1.0], [0.25, 4.0]].map(|v| Tensor::new(&v, &Device::Cpu));
    let (mean, variance) = (mean?, variance?);
    let start = FactorialGaussian::new(mean.clone(), variance.clone())?;
    let batch = start.batch(3)?;
    assert_eq!(values(batch.mean()), [0.5, -1.0].repeat(3));
    assert_eq!(values(batch.variance()), [0.25, 4.0].repeat(3));
    let drawn = start.sample(4, &mut Seed::new(1).host_noise())?;
    let want = start.batch(4)?.sample(1, &mut Seed::new(1).host_noise())?;
    assert_eq!((drawn.dims(), values(&drawn)), (&[4, 2][..], values(&want)));
    for bad in [variance.narrow(0, 0, 1)?, variance.unsqueeze(0)?] {
        assert!(matches!(FactorialGaussian::new(mean.clone(), bad), Err(Error::Shape { .. })));
    }
    Ok(())
}

#[test]
fn gaussian_gradients_are_central_differences() -> Result<()> {
    let inputs = [normal("mean", (2, 3)), uniform("v", (2, 3), 0.2, 2.0)];
    let e = normal("e", (2, 3));
    let draw = |i: &[Tensor]| DiagGaussian::new(i[0].clone(), i[1].clone())?.reparameterised(&e);
    assert_differences("reparameterised sample", &draw, &inputs)
}

#[test]
fn gaussian_samples_have_its_moments() -> Result<()> {
    let law = DiagGaussian::new(rows(&[&[0.5, -2.0]]), rows(&[&[0.01, 9.0]]))?;
    assert_moments(&law, &[0.5, -2.0], &[0.01, 9.0], 3.0)?;
    let tracked = candle_core::Var::from_tensor(&rows(&[&[0.0], &[1.0]]))?;
    let law = DiagGaussian::new(tracked.as_tensor().clone(), rows(&[&[1e-6], &[1e-6]]))?;
    assert_conditionals_vary_fastest(&law)?;
    assert!(!law.detach().mean().track_op());
    Ok(())
}

#[test]
fn bernoulli_golden_values() -> Result<()> {
    // Logit 0: one half; ln 3: three quarters.
    let law = Bernoulli::new(rows(&[&[0.0, 3_f64.ln()], &[0.0, 3_f64.ln()]]));
    let x = rows(&[&[1.0, 0.0], &[0.0, 1.0]]);
    assert_close("log_prob", &values(&law.log_prob(&x)?), &[-8_f64.ln(), 0.375_f64.ln()], 1e-14);
    assert_close("mean", &values(&law.mean()?), &[0.5, 0.75, 0.5, 0.75], 1e-14);
    assert!(law.log_prob(&rows(&[&[1.0]])).is_err());
    Ok(())
}

#[test]
fn bernoulli_is_finite_for_any_logit() -> Result<()> {
    let logits = rows(&[&[1e4], &[1e4], &[-1e4], &[-1e4]]);
    let x = rows(&[&[1.0], &[0.0], &[1.0], &[0.0]]);
    for dtype in [DType::F32, DType::F64] {
        let x = x.to_dtype(dtype)?;
        let f = |i: &[Tensor]| Bernoulli::new(i[0].clone()).log_prob(&x);
        let outcome = evaluate(&f, std::slice::from_ref(&logits), dtype, &Device::Cpu)?;
        assert_close("log_prob", &outcome.value, &[0.0, -1e4, -1e4, 0.0], 1e-7);
        assert!(outcome.grads[0].iter().flatten().all(|g| g.is_finite()), "{outcome:?}");
    }
    Ok(())
}

#[test]
fn the_gradient_of_bernoulli_in_its_logits_is_a_central_difference() -> Result<()> {
    let x = rows(&[&[1.0, 0.0, 1.0], &[0.0, 0.0, 1.0]]);
    let f = |i: &[Tensor]| Bernoulli::new(i[0].clone()).log_prob(&x);
    assert_differences("logits", &f, &[normal("logits", (2, 3))])
}

#[test]
fn bernoulli_samples_have_its_moments() -> Result<()> {
    let law = Bernoulli::new(rows(&[&[3_f64.ln(), -3_f64.ln()]]));
    // Kurtosis of a Bernoulli variable: (1 - 3 p q) / (p q).
    let pq = 0.1875;
    assert_moments(&law, &[0.75, 0.25], &[pq, pq], (1.0 - 3.0 * pq) / pq)?;
    let x = law.sample(100, &mut Seed::new(0).host_noise())?;
    assert!(values(&x).iter().all(|x| [0.0, 1.0].contains(x)));
    assert_conditionals_vary_fastest(&Bernoulli::new(rows(&[&[-50.0], &[50.0]])))
}

#[test]
fn uniform_golden_values() -> Result<()> {
    let (low, high) = (rows(&[&[0.0, -1.0][..]; 5]), rows(&[&[2.0, 3.0][..]; 5]));
    let law = Uniform::new(low, &high)?;
    // The lower corner belongs to the box, the upper does not.
    let x = rows(&[&[0.0, -1.0], &[1.0, 2.5], &[2.0, 0.0], &[1.0, -1.1], &[f64::NAN, 0.0]]);
    let got = values(&law.log_prob(&x)?);
    assert_close("inside", &got[..2], &[-8_f64.ln(); 2], 1e-14);
    assert_eq!(got[2..], [f64::NEG_INFINITY; 3]);
    assert!(law.log_prob(&rows(&[&[0.0, 0.0]])).is_err());
    Ok(())
}

#[test]
fn a_box_needs_positive_sides() {
    for high in [&[1.0, 0.0], &[1.0, -1.0], &[1.0, f64::NAN], &[f64::NAN, 1.0]] {
        let error = Uniform::new(rows(&[&[0.0, 0.0]]), &rows(&[high])).unwrap_err();
        assert!(matches!(error, Error::Config { field: "high", .. }), "{high:?}: {error}");
    }
    assert!(Uniform::new(rows(&[&[0.0, 0.0]]), &rows(&[&[1.0]])).is_err());
}

#[test]
fn uniform_samples_have_its_moments() -> Result<()> {
    let law = Uniform::new(rows(&[&[0.0, -1.0]]), &rows(&[&[2.0, 5.0]]))?;
    assert_moments(&law, &[1.0, 2.0], &[4.0 / 12.0, 36.0 / 12.0], 1.8)?;
    let two = Uniform::new(rows(&[&[-0.4], &[0.6]]), &rows(&[&[0.4], &[1.4]]))?;
    assert_conditionals_vary_fastest(&two)
}

#[test]
fn uniform_samples_lie_in_the_half_open_box() -> Result<()> {
    // In f32 the numbers near 2^20 are an eighth apart: one sample in sixteen rounds up to the corner.
    let low = Tensor::full(1_048_576_f32, (1, 1), &Device::Cpu)?;
    let law = Uniform::new(low.clone(), &(low + 1.0)?)?;
    let x = law.sample(1000, &mut Seed::new(0).host_noise())?;
    assert!(values(&x).iter().all(|x| *x < 1_048_577.0));
    let rows = Uniform::new(
        x.ones_like()?.affine(1_048_576.0, 0.0)?,
        &x.ones_like()?.affine(1_048_577.0, 0.0)?,
    )?;
    assert!(values(&rows.log_prob(&x)?).iter().all(|v| v.is_finite()));
    Ok(())
}
