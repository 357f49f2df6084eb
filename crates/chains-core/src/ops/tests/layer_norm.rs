//! Layer normalisation.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use crate::{
    Error, Result,
    ops::layer_norm,
    testing::{
        assert_agrees, assert_close, assert_differences, assert_thread_count_free,
        assert_untracked, evaluate, normal, on_devices, values,
    },
};

on_devices!(equals_the_composed_path, a_strided_input_gives_the_same);

const EPS: f64 = 1e-6;

fn apply(i: &[Tensor]) -> Result<Tensor> {
    layer_norm(&i[0], i.get(1), i.get(2), EPS)
}

fn operands(shape: &[usize]) -> [Tensor; 3] {
    let d = shape[shape.len() - 1];
    let x = normal("x", shape).affine(2.0, 0.5).unwrap();
    [x, normal("gain", d), normal("shift", d)]
}

fn equals_the_composed_path(device: &Device) -> Result<()> {
    for shape in [&[3][..], &[4, 7], &[2, 3, 16], &[300, 129], &[2, 40_000]] {
        let inputs = operands(shape);
        for count in 1..=3 {
            let what = format!("{shape:?}, {count} operands");
            assert_agrees(&what, &apply, &inputs[..count], device, 1e-5)?;
        }
    }
    let shift_only = |i: &[Tensor]| layer_norm(&i[0], None, Some(&i[1]), EPS);
    let inputs = [normal("x", (4, 7)), normal("shift", 7)];
    assert_agrees("shift only", &shift_only, &inputs, device, 1e-5)
}

fn a_strided_input_gives_the_same(device: &Device) -> Result<()> {
    let strided = |i: &[Tensor]| {
        let x = i[0].transpose(0, 1)?.narrow(1, 1, 5)?;
        layer_norm(&x, Some(&i[1].narrow(0, 2, 5)?), None, EPS)
    };
    assert_agrees("strided", &strided, &[normal("x", (9, 6)), normal("gain", 8)], device, 1e-5)
}

/// Value and gradients row by row, by the definition.
fn definition(inputs: &[Tensor], gy: &[f64]) -> [Vec<f64>; 4] {
    let [xs, gain, shift] = [0, 1, 2].map(|i| values(&inputs[i]));
    let d = gain.len();
    let [mut y, mut gx] = [Vec::new(), Vec::new()];
    let [mut gg, mut gs] = [vec![0.0; d], vec![0.0; d]];
    for (xs, gy) in xs.chunks(d).zip(gy.chunks(d)) {
        let mean = xs.iter().sum::<f64>() / d as f64;
        let variance = xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
        let deviation = (variance + EPS).sqrt();
        let unit: Vec<f64> = xs.iter().map(|x| (x - mean) / deviation).collect();
        for i in 0..d {
            y.push(gain[i] * unit[i] + shift[i]);
            gg[i] += gy[i] * unit[i];
            gs[i] += gy[i];
            // The derivative of `unit[j]` by `x[i]`, summed over `j`.
            let mut sum = 0.0;
            for j in 0..d {
                let own = if i == j { 1.0 } else { 0.0 };
                let share = (1.0 + unit[i] * unit[j]) / d as f64;
                sum += gy[j] * gain[j] * (own - share) / deviation;
            }
            gx.push(sum);
        }
    }
    [y, gx, gg, gs]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn value_and_gradients_are_those_of_the_definition(rows in 1..9_usize, d in 5..70_usize) {
        // Shorter rows have almost no direction left in which the gradient is not zero.
        let inputs = operands(&[rows, d]);
        let gy = values(&normal("weights", (rows, d)));
        let [y, gx, gg, gs] = definition(&inputs, &gy);
        for (dtype, tolerance) in [(DType::F32, 2e-5), (DType::F64, 1e-11)] {
            let got = evaluate(&apply, &inputs, dtype, &Device::Cpu).unwrap();
            assert_close("value", &got.value, &y, tolerance);
            for (got, want) in got.grads.iter().zip([&gx, &gg, &gs]) {
                assert_close("gradient", got.as_ref().unwrap(), want, tolerance);
            }
        }
    }
}

#[test]
fn an_empty_batch_gives_an_empty_result() -> Result<()> {
    let [x, gain, shift] = operands(&[0, 5]).map(|t| t.to_dtype(DType::F32).unwrap());
    assert_eq!(layer_norm(&x, Some(&gain), Some(&shift), EPS)?.dims(), [0, 5]);
    Ok(())
}

#[test]
fn a_constant_row_gives_the_shift() -> Result<()> {
    let [_, gain, shift] = operands(&[2, 33]).map(|t| t.to_dtype(DType::F32).unwrap());
    let x = Tensor::full(7.0_f32, (2, 33), &Device::Cpu)?;
    let y = layer_norm(&x, Some(&gain), Some(&shift), EPS)?;
    assert_close("value", &values(&y.get(1)?), &values(&shift), 1e-6);
    Ok(())
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    assert_differences("layer norm", &apply, &operands(&[3, 5]))?;
    assert_differences("no constants", &apply, &operands(&[2, 2, 6])[..1])
}

#[test]
fn an_untracked_operand_gets_no_gradient() -> Result<()> {
    for frozen in 0..3 {
        assert_untracked("layer norm", &apply, &operands(&[4, 6]), frozen)?;
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    for shape in [&[700, 129][..], &[3, 20_000]] {
        assert_thread_count_free("layer norm", apply, &operands(shape))?;
    }
    Ok(())
}

#[test]
fn operands_that_do_not_fit_are_named() -> Result<()> {
    let [x, gain, shift] = operands(&[4, 6]);
    let short = gain.narrow(0, 0, 5)?;
    for (result, word) in [
        (layer_norm(&x, Some(&short), None, EPS), "gain"),
        (layer_norm(&x, Some(&gain), Some(&short), EPS), "shift"),
        (layer_norm(&x.narrow(1, 0, 0)?, None, None, EPS), "d > 0"),
        (layer_norm(&shift.get(0)?, None, None, EPS), "d > 0"),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    Ok(())
}
