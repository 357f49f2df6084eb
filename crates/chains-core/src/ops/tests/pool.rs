//! Pooling against its definition, window by window.

use candle_core::{DType, Device, Tensor, Var};
use proptest::{prelude::*, sample::select};

use crate::{
    Error, Result,
    ops::{avg_pool2, avg_pool2d, max_pool2, max_pool2d},
    testing::{
        assert_agrees, assert_close, assert_differences, assert_thread_count_free, evaluate,
        normal, on_devices, values,
    },
};

on_devices!(every_function_equals_the_composed_path, an_operand_used_twice_gathers_both_gradients);

/// Kernel, stride, and padding of rows and columns.
#[derive(Clone, Copy, Debug)]
struct Case {
    max: bool,
    kernel: usize,
    stride: usize,
    padding: [usize; 2],
}

impl Case {
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let pool = if self.max { max_pool2d } else { avg_pool2d };
        pool(x, self.kernel, self.stride, self.padding)
    }

    /// Value and gradient of one plane, pixel by pixel.
    fn definition(&self, x: &[f64], gy: &[f64], [h, w]: [usize; 2]) -> [Vec<f64>; 2] {
        let Self { max, kernel, stride, padding: [above, left] } = *self;
        let ow = (w + 2 * left - kernel) / stride + 1;
        let (mut y, mut gx) = (vec![0.0; gy.len()], vec![0.0; x.len()]);
        for at in 0..gy.len() {
            let mut window = Vec::new();
            for tap in 0..kernel * kernel {
                let row = (at / ow * stride + tap / kernel).checked_sub(above);
                let column = (at % ow * stride + tap % kernel).checked_sub(left);
                match (row, column) {
                    (Some(i), Some(j)) if i < h && j < w => window.push(i * w + j),
                    _ => {}
                }
            }
            if max {
                let better = |a: usize, b: usize| if x[b] > x[a] { b } else { a };
                let best = window.into_iter().reduce(better).unwrap();
                y[at] = x[best];
                gx[best] += gy[at];
            } else {
                let n = window.len() as f64;
                y[at] = window.iter().map(|pixel| x[*pixel]).sum::<f64>() / n;
                window.iter().for_each(|pixel| gx[*pixel] += gy[at] / n);
            }
        }
        [y, gx]
    }
}

/// Those of the 2015 network, and odder ones.
fn cases() -> impl Iterator<Item = Case> {
    let settings = [
        (3, 2, [0, 0]),
        (3, 1, [1, 1]),
        (2, 2, [0, 0]),
        (3, 2, [1, 0]),
        (5, 3, [2, 4]),
        (1, 1, [0, 0]),
    ];
    settings.into_iter().flat_map(|(kernel, stride, padding)| {
        [true, false].map(|max| Case { max, kernel, stride, padding })
    })
}

fn every_function_equals_the_composed_path(device: &Device) -> Result<()> {
    for case in cases() {
        for shape in [[2, 3, 7, 6], [1, 2, 5, 5], [2, 5, 64, 63]] {
            let x = [normal("x", &shape[..])];
            let what = format!("{case:?} {shape:?}");
            assert_agrees(&what, &|i| case.apply(&i[0]), &x, device, 1e-6)?;
        }
        let strided = |i: &[Tensor]| case.apply(&i[0].transpose(2, 3)?.narrow(3, 1, 5)?);
        assert_agrees(&format!("{case:?}"), &strided, &[normal("x", (2, 3, 7, 6))], device, 1e-6)?;
    }
    Ok(())
}

fn an_operand_used_twice_gathers_both_gradients(device: &Device) -> Result<()> {
    for case in cases() {
        let twice = |i: &[Tensor]| Ok((case.apply(&i[0])? * case.apply(&(&i[0] * 0.5)?)?)?);
        assert_agrees(&format!("{case:?}"), &twice, &[normal("x", (2, 3, 6, 7))], device, 1e-6)?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn value_and_gradient_are_those_of_the_definition(
        (b, c, h, w) in (1..3_usize, 1..4_usize, 1..9_usize, 1..20_usize),
        (kernel, stride, rows, columns) in (1..5_usize, 1..4_usize, 0..4_usize, 0..4_usize),
        max in select(vec![true, false]),
    ) {
        let padding = [rows % kernel, columns % kernel];
        prop_assume!(h + 2 * padding[0] >= kernel && w + 2 * padding[1] >= kernel);
        let (case, x) = (Case { max, kernel, stride, padding }, normal("x", (b, c, h, w)));
        for dtype in [DType::F32, DType::F64] {
            let apply = |i: &[Tensor]| case.apply(&i[0]);
            let got = evaluate(&apply, std::slice::from_ref(&x), dtype, &Device::Cpu).unwrap();
            let shape = case.apply(&x).unwrap().dims().to_vec();
            let gy = values(&normal("weights", shape));
            let planes = values(&x);
            let (mut y, mut gx) = (Vec::new(), Vec::new());
            for (x, gy) in planes.chunks(h * w).zip(gy.chunks(gy.len() / (b * c))) {
                let [values, grads] = case.definition(x, gy, [h, w]);
                y.extend(values);
                gx.extend(grads);
            }
            assert_close("value", &got.value, &y, 1e-6);
            assert_close("gradient", got.grads[0].as_ref().unwrap(), &gx, 1e-6);
        }
    }
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    for case in cases() {
        let what = format!("{case:?}");
        assert_differences(&what, &|i| case.apply(&i[0]), &[normal("x", (2, 1, 5, 6))])?;
    }
    Ok(())
}

#[test]
fn means_at_borders_are_of_fewer_pixels() -> Result<()> {
    let x = Tensor::arange(1.0_f32, 10.0, &Device::Cpu)?.reshape((1, 1, 3, 3))?;
    let means = values(&avg_pool2d(&x, 3, 1, 1)?);
    assert_close("means", &means, &[3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0], 1e-7);
    // A constant stays what it is, borders included.
    let ones =
        values(&avg_pool2d(&Tensor::ones((1, 2, 5, 4), DType::F32, &Device::Cpu)?, 3, 2, 1)?);
    assert_eq!(ones, vec![1.0; 12]);
    Ok(())
}

#[test]
fn negative_values_win_over_padding() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let x = Tensor::full(-2.0, (1, 1, 4, 4), &Device::Cpu)?.to_dtype(dtype)?;
        assert_eq!(values(&max_pool2d(&x, 3, 1, 1)?), vec![-2.0; 16]);
        let least = Tensor::full(f64::NEG_INFINITY, (1, 1, 3, 3), &Device::Cpu)?.to_dtype(dtype)?;
        assert_eq!(values(&max_pool2d(&least, 3, 1, 1)?), vec![f64::NEG_INFINITY; 9]);
    }
    Ok(())
}

#[test]
fn equal_maxima_give_the_gradient_to_the_first_and_nan_wins() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let x =
            Tensor::new(&[[[[1.0, 2.0, 2.0], [2.0, 1.0, 2.0], [2.0, 2.0, 2.0]]]], &Device::Cpu)?;
        let x = Var::from_tensor(&x.to_dtype(dtype)?)?;
        let grads = max_pool2d(x.as_tensor(), 3, 1, 0)?.sum_all()?.backward()?;
        let got = values(grads.get(x.as_tensor()).unwrap());
        assert_eq!(got, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], "{dtype:?}");
        for at in 0..9 {
            let row: Vec<f64> = (0..9).map(|i| if i == at { f64::NAN } else { 3.0 }).collect();
            let x = Tensor::from_vec(row, (1, 1, 3, 3), &Device::Cpu)?.to_dtype(dtype)?;
            assert!(values(&max_pool2d(&x, 3, 1, 0)?)[0].is_nan(), "{dtype:?} {at}");
        }
    }
    Ok(())
}

#[test]
fn squares_of_four_are_those_of_the_halving_functions() -> Result<()> {
    let x = normal("x", (2, 3, 6, 9)).to_dtype(DType::F32)?;
    assert_eq!(values(&max_pool2d(&x, 2, 2, 0)?), values(&max_pool2(&x)?));
    assert_close("mean", &values(&avg_pool2d(&x, 2, 2, 0)?), &values(&avg_pool2(&x)?), 1e-7);
    Ok(())
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    for case in cases() {
        let x = [normal("x", (4, 8, 40, 41))];
        assert_thread_count_free(&format!("{case:?}"), |i| case.apply(&i[0]), &x)?;
    }
    Ok(())
}

#[test]
fn windows_that_do_not_fit_are_errors() -> Result<()> {
    let x = normal("x", (1, 2, 4, 5));
    let none = Tensor::zeros((0, 2, 4, 5), DType::F32, &Device::Cpu)?;
    for (result, words) in [
        (max_pool2d(&normal("x", (3, 4)), 3, 1, 0), "max_pool2d: expected shape (b, c, h, w)"),
        (avg_pool2d(&normal("x", (3, 4)), 3, 1, 0), "avg_pool2d: expected shape (b, c, h, w)"),
        (max_pool2d(&x, 0, 1, 0), "kernel 0"),
        (max_pool2d(&x, 3, 0, 0), "stride 0"),
        (avg_pool2d(&x, 3, 1, 3), "padding [3, 3]"),
        (avg_pool2d(&x, 3, 1, [0, 3]), "padding [0, 3]"),
        (max_pool2d(&x, 5, 1, 0), "a window of 5"),
        (max_pool2d(&none, 3, 1, 0), "a window of 3"),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{words}: {error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    Ok(())
}
