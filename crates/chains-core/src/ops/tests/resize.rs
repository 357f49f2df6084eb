//! Doubling and halving of maps.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use crate::{
    Error, Result,
    ops::{avg_pool2, max_pool2, upsample2},
    testing::{
        assert_agrees, assert_close, assert_differences, assert_thread_count_free, evaluate,
        normal, on_devices, values,
    },
};

on_devices!(every_function_equals_the_composed_path, an_operand_used_twice_gathers_both_gradients,);

type Row = (&'static str, fn(&Tensor) -> Result<Tensor>);

const FUNCTIONS: [Row; 3] =
    [("upsample2", upsample2), ("avg_pool2", avg_pool2), ("max_pool2", max_pool2)];

const SHAPES: [[usize; 4]; 4] = [[2, 3, 4, 6], [1, 1, 2, 2], [3, 2, 5, 7], [2, 5, 64, 63]];

fn every_function_equals_the_composed_path(device: &Device) -> Result<()> {
    for (name, f) in FUNCTIONS {
        for shape in SHAPES {
            let x = [normal("x", &shape[..])];
            assert_agrees(&format!("{name} {shape:?}"), &|i| f(&i[0]), &x, device, 1e-6)?;
        }
        let strided = |i: &[Tensor]| f(&i[0].transpose(2, 3)?.narrow(3, 1, 4)?);
        assert_agrees(name, &strided, &[normal("x", (2, 3, 6, 4))], device, 1e-6)?;
    }
    Ok(())
}

fn an_operand_used_twice_gathers_both_gradients(device: &Device) -> Result<()> {
    for (name, f) in FUNCTIONS {
        let twice = |i: &[Tensor]| Ok((f(&i[0])? * f(&(&i[0] * 0.5)?)?)?);
        assert_agrees(name, &twice, &[normal("x", (2, 3, 4, 6))], device, 1e-6)?;
    }
    Ok(())
}

/// Value and gradient of the function `which`, pixel by pixel.
fn definition(which: usize, x: &[f64], gy: &[f64], [h, w]: [usize; 2]) -> [Vec<f64>; 2] {
    let (small, wide) = (w / 2, 2 * w);
    let (mut y, mut gx) = (vec![0.0; gy.len()], vec![0.0; x.len()]);
    let planes = x.len() / (h * w);
    let out = gy.len() / planes;
    for (at, value) in y.iter_mut().enumerate() {
        let (plane, i) = (at / out, at % out);
        if which == 0 {
            let from = plane * h * w + i / wide / 2 * w + i % wide / 2;
            *value = x[from];
            gx[from] += gy[at];
            continue;
        }
        let corner = plane * h * w + i / small * 2 * w + i % small * 2;
        let square = [corner, corner + 1, corner + w, corner + w + 1];
        if which == 1 {
            *value = square.iter().map(|p| x[*p] / 4.0).sum();
            square.iter().for_each(|p| gx[*p] += gy[at] / 4.0);
        } else {
            let best = square.into_iter().reduce(|a, b| if x[b] > x[a] { b } else { a }).unwrap();
            *value = x[best];
            gx[best] += gy[at];
        }
    }
    [y, gx]
}

proptest! {
    #[test]
    fn value_and_gradient_are_those_of_the_definition(
        b in 1..4_usize, c in 1..4_usize, h in 2..9_usize, w in 2..20_usize,
    ) {
        let inputs = [normal("x", (b, c, h, w))];
        for (which, (name, f)) in FUNCTIONS.into_iter().enumerate() {
            for dtype in [DType::F32, DType::F64] {
                let got = evaluate(&|i| f(&i[0]), &inputs, dtype, &Device::Cpu).unwrap();
                let (oh, ow) = if which == 0 { (2 * h, 2 * w) } else { (h / 2, w / 2) };
                let gy = values(&normal("weights", (b, c, oh, ow)));
                let [y, gx] = definition(which, &values(&inputs[0]), &gy, [h, w]);
                assert_close(name, &got.value, &y, 1e-6);
                assert_close(name, got.grads[0].as_ref().unwrap(), &gx, 1e-6);
            }
        }
    }
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    for (name, f) in FUNCTIONS {
        assert_differences(name, &|i| f(&i[0]), &[normal("x", (2, 1, 4, 5))])?;
    }
    Ok(())
}

#[test]
fn equal_maxima_give_the_gradient_to_the_first_and_nan_wins() -> Result<()> {
    // In f64 as well: of candle's own operations.
    for dtype in [DType::F32, DType::F64] {
        let x = Tensor::new(&[[[[2.0_f32, 2.0], [2.0, 1.0]]]], &Device::Cpu)?.to_dtype(dtype)?;
        let x = candle_core::Var::from_tensor(&x)?;
        let grads = max_pool2(x.as_tensor())?.sum_all()?.backward()?;
        assert_eq!(values(grads.get(x.as_tensor()).unwrap()), [1.0, 0.0, 0.0, 0.0]);
        let x = Tensor::new(&[[[[2.0_f32, f32::NAN], [3.0, 1.0]]]], &Device::Cpu)?;
        assert!(values(&max_pool2(&x.to_dtype(dtype)?)?)[0].is_nan());
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    for (name, f) in FUNCTIONS {
        assert_thread_count_free(name, |i| f(&i[0]), &[normal("x", (4, 8, 40, 41))])?;
    }
    Ok(())
}

#[test]
fn shapes_that_do_not_fit_are_errors() -> Result<()> {
    for (name, f) in FUNCTIONS {
        let error = f(&normal("x", (3, 4))).unwrap_err();
        assert!(matches!(error, Error::Shape { what, .. } if what == name), "{error}");
    }
    for f in [avg_pool2, max_pool2] {
        let error = f(&normal("x", (1, 2, 1, 4))).unwrap_err();
        assert!(error.to_string().contains("two rows and columns"), "{error}");
    }
    Ok(())
}
