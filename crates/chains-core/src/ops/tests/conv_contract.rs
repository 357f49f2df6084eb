//! Convolutions: devices, memory layouts, threads, graphs and errors.

use candle_core::{DType, Device, Tensor, Var};

use super::conv::{Case, Kind, LARGE};
use crate::{
    Error, Result,
    ops::{conv_transpose2d, conv2d, conv2d_relu, depthwise_conv2d},
    testing::{
        assert_agrees, assert_close, assert_thread_count_free, assert_untracked, normal,
        on_devices, values,
    },
};

on_devices!(f32_equals_the_composed_path_in_f64, strided_operands_give_the_same);

const KINDS: [Kind; 3] = [Kind::Dense, Kind::Transposed, Kind::Depthwise];

fn case(kind: Kind, [kernel, stride, padding, extra]: [usize; 4]) -> Case {
    let padding = [padding; 2];
    Case { kind, x: [2, 3, 6, 5], out: 2, kernel: [kernel; 2], stride, padding, extra }
}

fn f32_equals_the_composed_path_in_f64(device: &Device) -> Result<()> {
    for kind in KINDS {
        for setting in [[5, 2, 2, 1], [3, 1, 1, 0], [4, 2, 1, 0], [2, 3, 0, 1], [1, 1, 0, 0]] {
            let case = case(kind, setting);
            let (what, inputs) = (format!("{case:?}"), case.operands());
            assert_agrees(&what, &|i| case.apply(i), &inputs, device, 3e-6)?;
            assert_agrees(&what, &|i| case.apply(&i[..2]), &inputs[..2], device, 3e-6)?;
        }
    }
    Ok(())
}

fn strided_operands_give_the_same(device: &Device) -> Result<()> {
    for kind in KINDS {
        let case = case(kind, [3, 2, 1, 1]);
        let inputs = case.operands();
        let padded = inputs.each_ref().map(|t| {
            // Values before and after in every axis, and the two last axes exchanged in memory.
            let rank = t.rank();
            let mut t = t.clone();
            for axis in 0..rank {
                t = t.pad_with_zeros(axis, 1, 2).unwrap();
            }
            if rank > 1 {
                t.transpose(rank - 2, rank - 1).unwrap().contiguous().unwrap()
            } else {
                t
            }
        });
        let strided = |i: &[Tensor]| {
            let views: Vec<Tensor> = i
                .iter()
                .zip(&inputs)
                .map(|(t, like)| {
                    let rank = t.rank();
                    let t = if rank > 1 { t.transpose(rank - 2, rank - 1)? } else { t.clone() };
                    (0..rank).try_fold(t, |t, axis| t.narrow(axis, 1, like.dim(axis)?))
                })
                .collect::<candle_core::Result<_>>()?;
            case.apply(&views)
        };
        assert_agrees(&format!("{case:?}"), &strided, &padded, device, 3e-6)?;
        let convert = |t: &[Tensor]| -> Result<Vec<Tensor>> {
            t.iter().map(|t| Ok(t.to_dtype(DType::F32)?.to_device(device)?)).collect()
        };
        let (got, want) = (strided(&convert(&padded)?)?, case.apply(&convert(&inputs)?)?);
        assert_close("value", &values(&got), &values(&want), 1e-7);
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    for case in LARGE {
        assert_thread_count_free(&format!("{case:?}"), |i| case.apply(i), &case.operands())?;
    }
    Ok(())
}

#[test]
fn an_untracked_operand_gets_no_gradient() -> Result<()> {
    for kind in KINDS {
        let case = case(kind, [3, 2, 1, 0]);
        for frozen in 0..3 {
            assert_untracked("convolution", &|i| case.apply(i), &case.operands(), frozen)?;
        }
    }
    Ok(())
}

#[test]
fn an_operand_used_twice_gathers_both_gradients() -> Result<()> {
    // Weights and input are the same tensor, and the input goes through a second convolution.
    let x = normal("x", (3, 3, 3, 3));
    for kind in [Kind::Dense, Kind::Transposed] {
        let case = Case { x: [3; 4], out: 3, ..case(kind, [3, 1, 1, 0]) };
        let f = |i: &[Tensor]| {
            let first = case.apply(&[i[0].clone(), i[0].clone()])?;
            let second = case.apply(&[first.clone(), i[0].clone()])?;
            Ok((first + second)?)
        };
        assert_agrees(&format!("{case:?}"), &f, std::slice::from_ref(&x), &Device::Cpu, 3e-6)?;
    }
    let w = normal("w", (3, 1, 3, 3));
    let twice = |i: &[Tensor]| {
        let y = depthwise_conv2d(&i[0], &i[1], None, 1, 1)?;
        depthwise_conv2d(&y, &i[1], None, 1, 1)
    };
    assert_agrees("depthwise", &twice, &[x, w], &Device::Cpu, 3e-6)
}

#[test]
fn a_frozen_chain_records_no_graph() -> Result<()> {
    let case = case(Kind::Dense, [3, 1, 1, 0]);
    let [x, weight, bias] = case.operands().map(|t| t.to_dtype(DType::F32).unwrap());
    assert!(!case.apply(&[x.clone(), weight.clone(), bias.clone()])?.track_op());
    let x = Var::from_tensor(&x)?;
    assert!(case.apply(&[x.as_tensor().clone(), weight, bias])?.track_op());
    Ok(())
}

#[test]
fn the_doubling_setting_doubles_both_sides() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let weight = normal("weight", (3, 2, 5, 5)).to_dtype(dtype)?;
        for (h, w) in [(1, 1), (4, 7), (8, 8)] {
            let x = normal("x", (1, 3, h, w)).to_dtype(dtype)?;
            let y = conv_transpose2d(&x, &weight, None, 2, 2, 1)?;
            assert_eq!(y.dims(), [1, 2, 2 * h, 2 * w]);
        }
    }
    Ok(())
}

#[test]
fn operands_that_do_not_fit_are_named() -> Result<()> {
    let [x, weight, bias] = case(Kind::Dense, [3, 1, 1, 0]).operands();
    let (deep, none) =
        (normal("deep", (3, 1, 3, 3)), Tensor::zeros((0, 3, 6, 5), DType::F32, &Device::Cpu)?);
    let turned = weight.transpose(0, 1)?;
    let results = [
        (conv2d(&x, &turned, None, 1, 1), "conv2d: expected shape (b, in, h, w) for a weight"),
        (conv2d(&bias, &weight, None, 1, 1), "conv2d: expected shape (b, in, h, w), got"),
        (conv2d(&x, &bias, None, 1, 1), "conv2d: expected shape a weight (out, in, kh, kw), got"),
        (conv2d(&x, &weight, Some(&weight), 1, 1), "conv2d: expected shape a bias (2,)"),
        (conv2d(&x, &weight, None, 0, 1), "stride 0"),
        (conv2d(&x.narrow(2, 0, 2)?, &weight, None, 1, 0), "no empty axis"),
        (conv2d(&x.narrow(2, 0, 2)?, &weight, None, 1, [0, 2]), "padding [0, 2]"),
        (conv2d_relu(&x, &turned, None, 1, 1), "conv2d_relu: expected shape (b, in, h, w) for"),
        (conv2d(&none, &weight.to_dtype(DType::F32)?, None, 1, 1), "no empty axis"),
        (conv_transpose2d(&x, &weight, None, 1, 0, 0), "for a weight (in, out, kh, kw)"),
        (conv_transpose2d(&x, &turned, Some(&x), 1, 0, 0), "a bias (2,)"),
        (conv_transpose2d(&x, &turned, None, 2, 0, 2), "an output padding below the stride 2"),
        (conv_transpose2d(&x, &turned, None, 1, 4, 0), "no empty axis"),
        (depthwise_conv2d(&x, &weight, None, 1, 0), "for a weight (c, 1, kh, kw)"),
        (depthwise_conv2d(&x, &deep, Some(&bias), 1, 0), "a bias (3,)"),
        (depthwise_conv2d(&x.narrow(3, 0, 2)?, &deep, None, 1, 0), "no empty axis"),
    ];
    for (result, words) in results {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{words}: {error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    Ok(())
}
