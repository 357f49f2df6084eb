//! Pointwise functions.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::{GRAIN, fused, slice, with_values};
use crate::error::{Error, Result};

/// `max(x, 0)`, any shape; the gradient at 0 is 0, and NaN stays NaN.
///
/// # Errors
/// Of the tensor library.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    if fused(&[x]) {
        return Ok(x.contiguous()?.apply_op1(Relu)?);
    }
    Ok(x.le(0.0)?.where_cond(&x.zeros_like()?, x)?)
}

/// The logistic function `1 / (1 + exp(-x))`, any shape; exact at saturation.
///
/// # Errors
/// Of the tensor library.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    if fused(&[x]) {
        return Ok(x.contiguous()?.apply_op1(Sigmoid { scale: 1.0, shift: 0.0 })?);
    }
    Ok(candle_nn::ops::sigmoid(x)?)
}

/// `scale * sigmoid(x) + shift`, any shape.
///
/// # Errors
/// Of the tensor library.
pub fn scaled_sigmoid(x: &Tensor, scale: f64, shift: f64) -> Result<Tensor> {
    if fused(&[x]) {
        let op = Sigmoid { scale: scale as f32, shift: shift as f32 };
        return Ok(x.contiguous()?.apply_op1(op)?);
    }
    Ok(candle_nn::ops::sigmoid(x)?.affine(scale, shift)?)
}

/// `ln(exp(a) + exp(b))` elementwise, without overflow; `-inf` in one operand gives the other.
///
/// # Shapes
/// `a`, `b` and the result: the same shape.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ.
pub fn log_add_exp(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dims() != b.dims() {
        return Err(Error::Shape {
            what: "log_add_exp",
            expected: format!("{:?}", a.dims()),
            got: b.dims().to_vec(),
        });
    }
    if fused(&[a, b]) {
        return Ok(a.contiguous()?.apply_op2(&b.contiguous()?, LogAddExp)?);
    }
    // The maximum is a constant of the graph, so that ties share the gradient; it is kept finite, so
    // that two zero weights do not give NaN.
    let high = a.detach().maximum(&b.detach())?.maximum(LEAST)?;
    Ok((((a - &high)?.exp()? + (b - &high)?.exp()?)?.log()? + high)?)
}

/// Finite in f32, and below every log weight that is not zero.
const LEAST: f64 = -1e38;

/// Fills a new vector of `n` elements in parallel blocks; `f` gets the range of a block.
pub(super) fn build(n: usize, f: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let mut out = vec![0.0; n];
    if n <= GRAIN {
        f(0, &mut out);
    } else {
        out.par_chunks_mut(GRAIN).enumerate().for_each(|(i, block)| f(i * GRAIN, block));
    }
    out
}

struct Relu;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = slice(x, lx)?;
        let y = build(x.len(), |start, out| {
            for (y, x) in out.iter_mut().zip(&x[start..]) {
                *y = if *x <= 0.0 { 0.0 } else { *x };
            }
        });
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let values = with_values([y, grad], |[ys, gs]| {
            Ok(build(ys.len(), |start, out| {
                for (gx, (y, g)) in out.iter_mut().zip(ys[start..].iter().zip(&gs[start..])) {
                    *gx = if *y <= 0.0 { 0.0 } else { *g };
                }
            }))
        })?;
        Ok(Some(Tensor::from_vec(values, y.shape(), y.device())?))
    }
}

struct Sigmoid {
    scale: f32,
    shift: f32,
}

impl CustomOp1 for Sigmoid {
    fn name(&self) -> &'static str {
        "sigmoid"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = slice(x, lx)?;
        let Self { scale, shift } = *self;
        let y = build(x.len(), |start, out| {
            for (y, x) in out.iter_mut().zip(&x[start..]) {
                *y = scale / (1.0 + (-x).exp()) + shift;
            }
        });
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let Self { scale, shift } = *self;
        let inverse = 1.0 / scale;
        let values = with_values([y, grad], |[ys, gs]| {
            Ok(build(ys.len(), |start, out| {
                let operands = ys[start..].iter().zip(&gs[start..]);
                for (gx, (y, g)) in out.iter_mut().zip(operands) {
                    let part = y - shift;
                    *gx = g * part * (1.0 - part * inverse);
                }
            }))
        })?;
        Ok(Some(Tensor::from_vec(values, y.shape(), y.device())?))
    }
}

struct LogAddExp;

impl CustomOp2 for LogAddExp {
    fn name(&self) -> &'static str {
        "log_add_exp"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (xs, ys) = (slice(a, la)?, slice(b, lb)?);
        let values = build(xs.len(), |start, out| {
            for (out, (a, b)) in out.iter_mut().zip(xs[start..].iter().zip(&ys[start..])) {
                // A NaN in either operand becomes `high`.
                let (high, low) = if a >= b || a.is_nan() { (*a, *b) } else { (*b, *a) };
                let difference = low - high;
                // Below -17 the smaller term is less than half a unit in the last place of one.
                *out = if difference > -17.0 { high + difference.exp().ln_1p() } else { high };
            }
        });
        Ok((CpuStorage::F32(values), la.shape().clone()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let one = |operand: &Tensor, other: &Tensor| -> candle_core::Result<Option<Tensor>> {
            if !operand.track_op() {
                return Ok(None);
            }
            // From the difference of the operands: the result is rounded at its own magnitude.
            let values = with_values([operand, other, grad], |[xs, ys, gs]| {
                Ok(build(xs.len(), |start, out| {
                    for (i, out) in out.iter_mut().enumerate() {
                        let at = start + i;
                        *out = gs[at] / (1.0 + (ys[at] - xs[at]).exp());
                    }
                }))
            })?;
            Ok(Some(Tensor::from_vec(values, operand.shape(), operand.device())?))
        };
        Ok((one(a, b)?, one(b, a)?))
    }
}
