//! The sum of numbers given by their logarithms.

use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};

use super::{
    build, fused,
    math::{exp, ln_1p, logistic},
    slice, with_values,
};
use crate::{
    autograd::apply2,
    error::{Error, Result},
};

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
        return Ok(apply2(LogAddExp, [&a.contiguous()?, &b.contiguous()?])?);
    }
    // The maximum is a constant of the graph, so that ties share the gradient; it is kept finite, so
    // that two zero weights do not give NaN.
    let high = a.detach().maximum(&b.detach())?.maximum(LEAST)?;
    Ok((((a - &high)?.exp()? + (b - &high)?.exp()?)?.log()? + high)?)
}

/// Finite in f32, and below every log weight that is not zero.
const LEAST: f64 = -1e38;

/// The logarithm of the sum.
#[inline(always)]
pub(super) fn value(a: f32, b: f32) -> f32 {
    // A NaN in either operand becomes `high`.
    let (high, low) = if a >= b || a.is_nan() { (a, b) } else { (b, a) };
    let difference = low - high;
    // Below -17 the smaller term is less than half a unit in the last place of one; of two infinities
    // the difference is NaN.
    let near = difference > -17.0;
    let sum = high + ln_1p(exp(if near { difference } else { -17.0 }));
    if near { sum } else { high }
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
        let values = build(
            xs.len(),
            #[inline(always)]
            |start, out| {
                for (out, (a, b)) in out.iter_mut().zip(xs[start..].iter().zip(&ys[start..])) {
                    *out = value(*a, *b);
                }
            },
        );
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
                Ok(build(
                    xs.len(),
                    #[inline(always)]
                    |start, out| {
                        let operands = xs[start..].iter().zip(ys[start..].iter().zip(&gs[start..]));
                        for (out, (x, (y, g))) in out.iter_mut().zip(operands) {
                            *out = g * logistic(x - y);
                        }
                    },
                ))
            })?;
            Ok(Some(Tensor::from_vec(values, operand.shape(), operand.device())?))
        };
        Ok((one(a, b)?, one(b, a)?))
    }
}
