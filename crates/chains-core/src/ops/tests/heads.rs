//! The Gaussian of two squashed heads.

use candle_core::{DType, Device, Tensor};

use crate::{
    Error, Result,
    ops::{gaussian_log_density, scaled_sigmoid, sigmoid, sigmoid_gaussian_log_prob},
    testing::{
        assert_agrees, assert_close, assert_differences, assert_thread_count_free,
        assert_untracked, evaluate, normal, on_devices, uniform, values,
    },
};

on_devices!(equals_the_composed_path_for_any_shape, equals_the_separate_functions);

const SCALE: [f64; 2] = [0.1, 1e-4];

fn operands(shape: &[usize]) -> [Tensor; 3] {
    let wide = |label| (normal(label, shape) * 2.0).unwrap();
    [uniform("x", shape, 0.0, 1.0), wide("a"), wide("b")]
}

/// The target is a constant, as in training.
fn constant(i: &[Tensor]) -> Result<Tensor> {
    sigmoid_gaussian_log_prob(&i[0].detach(), &i[1], &i[2], SCALE)
}

fn equals_the_composed_path_for_any_shape(device: &Device) -> Result<()> {
    for shape in [&[1][..], &[5], &[3, 5], &[2, 3, 2, 5], &[7, 9_000], &[30_000, 2], &[40, 784]] {
        assert_agrees(&format!("{shape:?}"), &constant, &operands(shape), device, 4e-6)?;
    }
    let transposed = |i: &[Tensor]| {
        sigmoid_gaussian_log_prob(&i[0].detach().t()?, &i[1].t()?, &i[2].t()?, SCALE)
    };
    assert_agrees("transposed", &transposed, &operands(&[3, 4]), device, 4e-6)
}

fn equals_the_separate_functions(device: &Device) -> Result<()> {
    let separate = |i: &[Tensor]| {
        let variance = scaled_sigmoid(&i[2], SCALE[0], SCALE[1])?;
        Ok(gaussian_log_density(&i[0], &sigmoid(&i[1])?, &variance)?.sum(1)?)
    };
    let tracked = |i: &[Tensor]| sigmoid_gaussian_log_prob(&i[0], &i[1], &i[2], SCALE);
    let inputs = operands(&[9, 70]);
    let want = evaluate(&separate, &inputs, DType::F32, device)?;
    // A target that tracks a gradient gets it.
    assert!(evaluate(&tracked, &inputs, DType::F32, device)? == want);
    let got = evaluate(&constant, &inputs, DType::F32, device)?;
    assert_close("value", &got.value, &want.value, 1e-6);
    for operand in 1..3 {
        let [got, want] = [&got, &want].map(|outcome| outcome.grads[operand].clone().unwrap());
        assert_close("gradient", &got, &want, 2e-6);
    }
    Ok(())
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    let mut inputs = operands(&[3, 5]);
    let x = inputs[0].clone();
    let heads = |i: &[Tensor]| sigmoid_gaussian_log_prob(&x, &i[0], &i[1], SCALE);
    assert_differences("heads", &heads, &inputs[1..])?;
    // Saturated heads stay finite.
    inputs[1] = (&inputs[1] * 40.0)?;
    inputs[2] = (&inputs[2] * 40.0)?;
    let outcome = evaluate(&constant, &inputs, DType::F32, &Device::Cpu)?;
    assert!(
        outcome.value.iter().chain(outcome.grads.iter().flatten().flatten()).all(|v| v.is_finite())
    );
    Ok(())
}

#[test]
fn an_untracked_operand_gets_no_gradient() -> Result<()> {
    let inputs = operands(&[4, 3]);
    let x = inputs[0].clone();
    let heads =
        |i: &[Tensor]| sigmoid_gaussian_log_prob(&x.to_dtype(i[0].dtype())?, &i[0], &i[1], SCALE);
    for frozen in 0..2 {
        assert_untracked("heads", &heads, &inputs[1..], frozen)?;
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    assert_thread_count_free("heads", constant, &operands(&[300, 200]))
}

#[test]
fn shapes_that_differ_are_an_error() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
    let (x, other) = (zeros(&[2, 3])?, zeros(&[3, 2])?);
    for (a, b) in [(&x, &other), (&other, &x), (&other, &other)] {
        let error = sigmoid_gaussian_log_prob(&x, a, b, SCALE).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error:?}");
    }
    let empty = zeros(&[0, 3])?;
    assert!(values(&sigmoid_gaussian_log_prob(&empty, &empty, &empty, SCALE)?).is_empty());
    Ok(())
}
