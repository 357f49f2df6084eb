//! Pointwise functions.

use candle_core::{DType, Device, Tensor};

use crate::{
    Result,
    ops::{add_product, exp, log_add_exp, mixture_draw, relu, scaled_sigmoid, sigmoid, square},
    testing::{
        assert_agrees, assert_close, assert_differences, assert_thread_count_free,
        assert_untracked, evaluate, normal, on_devices, uniform, values, vector,
    },
};

on_devices!(
    functions_of_one_argument_equal_the_composed_path,
    the_logistic_function_saturates_without_nan,
    relu_keeps_nan_and_has_no_gradient_at_zero,
    log_add_exp_equals_the_composed_path,
    log_add_exp_survives_extremes,
    an_operand_used_twice_gathers_both_gradients,
    a_mixture_draw_takes_the_spike_below_the_rate,
);

/// More than one parallel block.
const MANY: usize = 40_000;

fn variance_head(i: &[Tensor]) -> Result<Tensor> {
    scaled_sigmoid(&i[0], 0.1, 1e-4)
}

fn sum(i: &[Tensor]) -> Result<Tensor> {
    add_product(&i[0], &i[1], &i[2])
}

fn functions_of_one_argument_equal_the_composed_path(device: &Device) -> Result<()> {
    for shape in [vec![1], vec![2, 3, 4], vec![MANY]] {
        let x = [(normal("x", shape) * 3.0)?];
        assert_agrees("sigmoid", &|i| sigmoid(&i[0]), &x, device, 1e-6)?;
        assert_agrees("scaled sigmoid", &variance_head, &x, device, 1e-6)?;
        assert_agrees("relu", &|i| relu(&i[0]), &x, device, 1e-7)?;
        assert_agrees("exp", &|i| exp(&i[0]), &x, device, 1e-6)?;
    }
    for shape in [vec![1], vec![2, 3, 4], vec![MANY]] {
        let x = ["a", "b", "c"].map(|label| normal(label, shape.clone()));
        assert_agrees("square", &|i| square(&i[0]), &x[..1], device, 1e-6)?;
        assert_agrees("add_product", &sum, &x, device, 1e-6)?;
    }
    let transposed = |i: &[Tensor]| sigmoid(&i[0].t()?);
    assert_agrees("transposed", &transposed, &[normal("x", (3, 4))], device, 1e-6)
}

fn the_logistic_function_saturates_without_nan(device: &Device) -> Result<()> {
    let x = [vector(&[-1e30, -200.0, 0.0, 200.0, 1e30])];
    let outcome = evaluate(&|i| sigmoid(&i[0]), &x, DType::F32, device)?;
    assert_eq!(outcome.value, [0.0, 0.0, 0.5, 1.0, 1.0]);
    assert!(outcome.grads[0].iter().flatten().all(|g| g.is_finite()), "{outcome:?}");
    let outcome = evaluate(&variance_head, &x, DType::F32, device)?;
    let want = [1e-4, 1e-4, 0.0501, 0.1001, 0.1001];
    assert_close("variance", &outcome.value, &want, 1e-6);
    Ok(())
}

fn relu_keeps_nan_and_has_no_gradient_at_zero(device: &Device) -> Result<()> {
    let x = [vector(&[-1.0, 0.0, 2.0])];
    let outcome = evaluate(&|i| relu(&(&i[0] * 1.0)?), &x, DType::F32, device)?;
    assert_eq!(outcome.value, [0.0, 0.0, 2.0]);
    let grads = outcome.grads[0].as_ref().unwrap();
    assert_eq!((grads[0], grads[1]), (0.0, 0.0));
    assert!(grads[2].abs() > 0.0);
    let nan = Tensor::new(&[f32::NAN], device)?;
    assert!(relu(&nan)?.to_vec1::<f32>()?[0].is_nan());
    Ok(())
}

fn add(i: &[Tensor]) -> Result<Tensor> {
    log_add_exp(&i[0], &i[1])
}

fn log_add_exp_equals_the_composed_path(device: &Device) -> Result<()> {
    for shape in [vec![1], vec![2, 3, 4], vec![MANY]] {
        let inputs = [(normal("a", shape.clone()) * 5.0)?, (normal("b", shape) * 5.0)?];
        assert_agrees("random", &add, &inputs, device, 1e-6)?;
    }
    let equal = [vector(&[0.0, -3.0, 50.0, -1e5]), vector(&[0.0, -3.0, 50.0, -1e5])];
    assert_agrees("equal", &add, &equal, device, 1e-6)?;
    // Components 40 standard deviations apart differ by 800 nats.
    let apart = [vector(&[0.0, -800.0, -5.0, 1e30]), vector(&[-800.0, 0.0, 10.0, -1e30])];
    assert_agrees("apart", &add, &apart, device, 1e-6)
}

fn log_add_exp_survives_extremes(device: &Device) -> Result<()> {
    let none = f64::NEG_INFINITY;
    let (a, b) = ([none, 1.5, none, 7.0], [-2.5, none, none, 7.0]);
    for (dtype, device) in [(DType::F32, device), (DType::F64, &Device::Cpu)] {
        let convert =
            |v: &[f64]| -> Result<Tensor> { Ok(vector(v).to_dtype(dtype)?.to_device(device)?) };
        let got = values(&log_add_exp(&convert(&a)?, &convert(&b)?)?);
        assert_eq!(got[..3], [-2.5, 1.5, none], "{dtype:?}");
        assert!((got[3] - 7.0 - 2_f64.ln()).abs() < 1e-6, "{dtype:?}");
        let nan = convert(&[f64::NAN, 0.0, f64::NAN])?;
        let got = values(&log_add_exp(&nan, &convert(&[0.0, f64::NAN, none])?)?);
        assert!(got.iter().all(|v| v.is_nan()), "{dtype:?}: {got:?}");
        // The gradient reaches the operand that is there, and is no NaN for the one that is not.
        let ends = [vector(&[none, 1.5]), vector(&[-2.5, none])];
        let grads = evaluate(&add, &ends, dtype, device)?.grads;
        let flat: Vec<_> = grads.iter().flatten().flatten().copied().collect();
        assert!(flat.iter().all(|g| g.is_finite()), "{dtype:?}: {flat:?}");
        assert!(flat[0].abs() <= 0.0 && flat[3].abs() <= 0.0, "{dtype:?}: {flat:?}");
        assert!(flat[1].abs() > 0.0 && flat[2].abs() > 0.0, "{dtype:?}: {flat:?}");
    }
    assert!(log_add_exp(&vector(&[0.0]), &vector(&[0.0, 1.0])).is_err());
    Ok(())
}

fn an_operand_used_twice_gathers_both_gradients(device: &Device) -> Result<()> {
    let inputs = [normal("a", (4, 5))];
    let both = |i: &[Tensor]| log_add_exp(&i[0], &i[0]);
    assert_agrees("ln 2 e^a", &both, &inputs, device, 1e-6)?;
    let mixed = |i: &[Tensor]| log_add_exp(&sigmoid(&i[0])?, &scaled_sigmoid(&i[0], 3.0, -1.0)?);
    assert_agrees("two sigmoids", &mixed, &inputs, device, 2e-6)
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    let inputs = [normal("a", (4, 5)), normal("b", (4, 5))];
    assert_differences("sigmoid", &|i| sigmoid(&i[0]), &inputs[..1])?;
    assert_differences("scaled sigmoid", &variance_head, &inputs[..1])?;
    assert_differences("relu", &|i| relu(&i[0]), &inputs[..1])?;
    assert_differences("log_add_exp", &add, &inputs)?;
    assert_differences("square", &|i| square(&i[0]), &inputs[..1])?;
    assert_differences("add_product", &sum, &[normal("a", 5), normal("b", 5), normal("c", 5)])?;
    let equal = [normal("a", 6), normal("a", 6)];
    assert_differences("log_add_exp of equals", &add, &equal)
}

#[test]
fn an_untracked_operand_gets_no_gradient() -> Result<()> {
    let three = ["a", "b", "c"].map(|label| normal(label, 5));
    for frozen in 0..3 {
        assert_untracked("add_product", &sum, &three, frozen)?;
    }
    assert!(sum(&[normal("a", 5), normal("b", 5), normal("c", 4)]).is_err());
    for frozen in 0..2 {
        assert_untracked("log_add_exp", &add, &[normal("a", 5), normal("b", 5)], frozen)?;
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    let inputs = [normal("a", MANY), normal("b", MANY)];
    assert_thread_count_free("sigmoid", variance_head, &inputs[..1])?;
    assert_thread_count_free("relu", |i| relu(&i[0]), &inputs[..1])?;
    assert_thread_count_free("log_add_exp", add, &inputs)
}

fn a_mixture_draw_takes_the_spike_below_the_rate(device: &Device) -> Result<()> {
    for (shape, rate) in [(vec![7, 9], 0.3), (vec![MANY], 0.6), (vec![50], 0.0), (vec![50], 1.0)] {
        let parts = ["base", "spike", "e"].map(|label| normal(label, shape.clone()));
        let variances = ["v", "s"].map(|label| uniform(label, shape.clone(), 0.1, 2.0));
        let u = uniform("u", shape.clone(), 0.0, 1.0);
        let draw = |i: &[Tensor]| mixture_draw(rate, [&i[0], &i[1]], [&i[2], &i[3]], &i[4], &i[5]);
        let [base, spike, e] = parts;
        let [bv, sv] = variances;
        let inputs = [base, bv, spike, sv, u, e];
        let [bm, bv, sm, sv, us, es] = inputs.each_ref().map(values);
        let want: Vec<f64> = (0..us.len())
            .map(|i| if us[i] < rate { (sm[i], sv[i], es[i]) } else { (bm[i], bv[i], es[i]) })
            .map(|(mean, variance, e)| mean + variance.sqrt() * e)
            .collect();
        for (dtype, device) in [(DType::F32, device), (DType::F64, &Device::Cpu)] {
            let outcome = evaluate(&draw, &inputs, dtype, device)?;
            assert_close(&format!("rate {rate}"), &outcome.value, &want, 1e-6);
            assert!(outcome.grads.iter().all(Option::is_none), "the draw is detached");
        }
    }
    let (a, b) = (vector(&[0.0, 1.0]), vector(&[0.0]));
    assert!(mixture_draw(0.5, [&a, &a], [&b, &a], &a, &a).is_err());
    Ok(())
}
