//! The affine map.

use candle_core::{DType, Device, Tensor};

use crate::{
    Error, Result,
    ops::{linear, linear_known},
    testing::{
        assert_agrees, assert_differences, assert_thread_count_free, assert_untracked, evaluate,
        normal, on_devices,
    },
};

on_devices!(
    equals_the_composed_path_for_any_shape,
    a_known_value_has_the_gradient_of_the_computed_one,
    an_operand_used_twice_gathers_both_gradients,
    an_empty_batch_gives_an_empty_result,
);

/// Tiny, tall, wide, longer than a block, and large enough to be cut into blocks.
const SHAPES: [[usize; 3]; 7] =
    [[1, 1, 1], [3, 5, 7], [130, 20, 33], [17, 700, 3], [64, 3, 260], [2, 1, 300], [500, 320, 400]];

fn operands([b, inner, out]: [usize; 3]) -> [Tensor; 3] {
    [normal("x", (b, inner)), normal("weight", (out, inner)), normal("bias", out)]
}

fn with_bias(i: &[Tensor]) -> Result<Tensor> {
    linear(&i[0], &i[1], Some(&i[2]))
}

fn without_bias(i: &[Tensor]) -> Result<Tensor> {
    linear(&i[0], &i[1], None)
}

fn equals_the_composed_path_for_any_shape(device: &Device) -> Result<()> {
    for shape in SHAPES {
        let inputs = operands(shape);
        assert_agrees(&format!("{shape:?}"), &with_bias, &inputs, device, 3e-6)?;
        assert_agrees(&format!("{shape:?}"), &without_bias, &inputs[..2], device, 3e-6)?;
    }
    let transposed = |i: &[Tensor]| linear(&i[0].t()?, &i[1].t()?, None);
    let inputs = [normal("x", (5, 3)), normal("weight", (5, 7))];
    assert_agrees("transposed operands", &transposed, &inputs, device, 1e-6)
}

fn a_known_value_has_the_gradient_of_the_computed_one(device: &Device) -> Result<()> {
    for shape in SHAPES {
        for inputs in [&operands(shape)[..], &operands(shape)[..2]] {
            let want = evaluate(&|i| linear(&i[0], &i[1], i.get(2)), inputs, DType::F32, device)?;
            let got = evaluate(
                &|i| {
                    let value = linear(&i[0], &i[1], i.get(2))?.detach();
                    // In two parts, the second empty where there is one row.
                    let first = shape[0].div_ceil(2);
                    let parts =
                        [value.narrow(0, 0, first)?, value.narrow(0, first, shape[0] - first)?];
                    linear_known(&i[0], &i[1], i.get(2), &parts)
                },
                inputs,
                DType::F32,
                device,
            )?;
            assert!(got == want, "{shape:?}, {} operands", inputs.len());
        }
    }
    Ok(())
}

fn an_operand_used_twice_gathers_both_gradients(device: &Device) -> Result<()> {
    let inputs = [normal("x", (6, 6)), normal("bias", 6)];
    let square = |i: &[Tensor]| linear(&linear(&i[0], &i[0], Some(&i[1]))?, &i[0], Some(&i[1]));
    assert_agrees("the square of x", &square, &inputs, device, 2e-6)
}

fn an_empty_batch_gives_an_empty_result(device: &Device) -> Result<()> {
    let outcome = evaluate(&with_bias, &operands([0, 4, 3]), DType::F32, device)?;
    assert!(outcome.value.is_empty());
    assert_eq!(outcome.grads[1], Some(vec![0.0; 12]));
    assert_eq!(outcome.grads[2], Some(vec![0.0; 3]));
    Ok(())
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    for shape in [[1, 1, 1], [3, 5, 7], [9, 2, 11]] {
        let inputs = operands(shape);
        assert_differences("with bias", &with_bias, &inputs)?;
        assert_differences("without bias", &without_bias, &inputs[..2])?;
    }
    Ok(())
}

#[test]
fn an_untracked_operand_gets_no_gradient() -> Result<()> {
    for frozen in 0..3 {
        assert_untracked("with bias", &with_bias, &operands([4, 3, 2]), frozen)?;
    }
    for frozen in 0..2 {
        assert_untracked("without bias", &without_bias, &operands([4, 3, 2])[..2], frozen)?;
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    assert_thread_count_free("linear", with_bias, &operands([500, 320, 400]))
}

#[test]
fn operands_that_do_not_fit_are_named() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
    let (x, weight) = (zeros(&[2, 3])?, zeros(&[4, 3])?);
    let (bad_x, bad_bias, bad_value) = (zeros(&[2, 5])?, zeros(&[3])?, zeros(&[2, 3])?);
    let value = zeros(&[2, 4])?;
    for (result, words) in [
        (linear(&bad_x, &weight, None), "linear: expected"),
        (linear(&x, &weight, Some(&bad_bias)), "bias of a linear map: expected shape (4,)"),
        (linear_known(&bad_x, &weight, None, std::slice::from_ref(&value)), "linear: expected"),
        (
            linear_known(&x, &weight, Some(&bad_bias), std::slice::from_ref(&value)),
            "bias of a linear map",
        ),
        (linear_known(&x, &weight, None, std::slice::from_ref(&bad_value)), "known value"),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
    Ok(())
}
