//! Convolutions.

use candle_core::{Device, Tensor};

use crate::{
    Error, Result,
    ops::conv_transpose2d,
    testing::{assert_agrees, assert_close, assert_differences, normal, on_devices, values},
};

on_devices!(transposed_convolution_in_f32_equals_f64);

/// Kernel, stride, padding, output padding.
const SETTINGS: [[usize; 4]; 5] =
    [[5, 2, 2, 1], [3, 1, 0, 0], [4, 2, 1, 0], [2, 3, 0, 1], [1, 1, 0, 0]];

fn operands(k: usize) -> [Tensor; 3] {
    [normal("x", (2, 3, 4, 3)), normal("weight", (3, 2, k, k)), normal("bias", 2)]
}

fn apply([_, stride, padding, extra]: [usize; 4], i: &[Tensor]) -> Result<Tensor> {
    conv_transpose2d(&i[0], &i[1], i.get(2), stride, padding, extra)
}

fn transposed_convolution_in_f32_equals_f64(device: &Device) -> Result<()> {
    for setting in SETTINGS {
        let f = |i: &[Tensor]| apply(setting, i);
        assert_agrees(&format!("{setting:?}"), &f, &operands(setting[0]), device, 3e-6)?;
    }
    Ok(())
}

/// Every input pixel adds its multiple of the kernel at `stride * position - padding`.
fn definition(inputs: &[Tensor], [k, stride, padding, extra]: [usize; 4]) -> Result<Vec<f64>> {
    let ((b, n, h, w), m) = (inputs[0].dims4()?, inputs[1].dim(1)?);
    let [x, weight, bias] = [0, 1, 2].map(|i| values(&inputs[i]));
    let side = |n: usize| (n - 1) * stride + k + extra - 2 * padding;
    let (oh, ow) = (side(h), side(w));
    let mut out: Vec<f64> = (0..b * m * oh * ow).map(|i| bias[i / (oh * ow) % m]).collect();
    for at in 0..b * n * h * w * m * k * k {
        let (v, u, o) = (at % k, at / k % k, at / (k * k) % m);
        let pixel = at / (k * k * m);
        let (j, i, c, row) = (pixel % w, pixel / w % h, pixel / (w * h) % n, pixel / (w * h * n));
        let (y, z) = (i * stride + u, j * stride + v);
        if y >= padding && z >= padding && y - padding < oh && z - padding < ow {
            let target = ((row * m + o) * oh + y - padding) * ow + z - padding;
            out[target] += x[pixel] * weight[((c * m + o) * k + u) * k + v];
        }
    }
    Ok(out)
}

#[test]
fn transposed_convolution_scatters_kernels() -> Result<()> {
    for setting in SETTINGS {
        let inputs = operands(setting[0]);
        let got = values(&apply(setting, &inputs)?);
        assert_close(&format!("{setting:?}"), &got, &definition(&inputs, setting)?, 1e-12);
    }
    Ok(())
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    for setting in SETTINGS {
        let f = |i: &[Tensor]| apply(setting, i);
        assert_differences(&format!("{setting:?}"), &f, &operands(setting[0]))?;
    }
    Ok(())
}

#[test]
fn the_doubling_setting_doubles_both_sides() -> Result<()> {
    for (h, w) in [(1, 1), (4, 7), (8, 8)] {
        let y = conv_transpose2d(&normal("x", (1, 3, h, w)), &operands(5)[1], None, 2, 2, 1)?;
        assert_eq!(y.dims(), [1, 2, 2 * h, 2 * w]);
    }
    Ok(())
}

#[test]
fn channels_that_do_not_fit_are_an_error() {
    let [x, weight, bias] = operands(3);
    let error = conv_transpose2d(&x, &x, None, 1, 0, 0).unwrap_err();
    assert!(matches!(error, Error::Shape { what: "conv_transpose2d", .. }), "{error}");
    assert!(conv_transpose2d(&x, &bias, None, 1, 0, 0).is_err());
    assert!(conv_transpose2d(&x, &weight, Some(&weight), 1, 0, 0).is_err());
}
