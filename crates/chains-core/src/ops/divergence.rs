//! The divergence of two diagonal Gaussians.

use candle_core::{Shape, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
use super::{build_rows, fused, gaussian::row_sums, math::ln, on_cuda, with_values};
use crate::{
    autograd::{FusedOp, Gradients, apply_all},
    error::{Error, Result},
};

/// `KL(q | p) = sum 0.5 (((mean - mean') / scale')^2 + (scale / scale')^2) - 0.5 - ln(scale / scale')` of
/// Gaussians given by mean and standard deviation, over all axes but the first, in nats; accumulated in
/// f64.
///
/// # Shapes
/// Each of `q` and `p`: `(b, ..event)`; the result `(b,)`.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ or are scalars.
pub fn gaussian_divergence(q: [&Tensor; 2], p: [&Tensor; 2]) -> Result<Tensor> {
    let operands = [q[0], q[1], p[0], p[1]];
    for (what, tensor) in
        ["mean of q", "deviation of q", "mean of p", "deviation of p"].iter().zip(operands)
    {
        if tensor.dims() != q[0].dims() || tensor.rank() == 0 {
            let (expected, got) = (format!("{:?}", q[0].dims()), tensor.dims().to_vec());
            return Err(Error::Shape { what, expected, got });
        }
    }
    on_cuda!(operands => cuda::divergence(operands));
    if fused(&operands) {
        return Ok(apply_all(Divergence { shape: q[0].shape().clone() }, &operands)?);
    }
    let distance = (q[0] - p[0])?.div(p[1])?.sqr()?;
    let ratio = q[1].div(p[1])?;
    let all = (distance + ratio.sqr()?)?.affine(0.5, -0.5)?.sub(&ratio.log()?)?;
    Ok(if all.rank() > 1 { all.flatten_from(1)?.sum(1)? } else { all })
}

struct Divergence {
    shape: Shape,
}

impl FusedOp for Divergence {
    fn name(&self) -> &'static str {
        "gaussian_divergence"
    }

    fn forward(&self, operands: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let b = self.shape.dims()[0];
        let operands = [operands[0], operands[1], operands[2], operands[3]];
        let sums = row_sums(
            [b, self.shape.elem_count() / b.max(1)],
            operands,
            #[inline(always)]
            |[mean, scale, other, wide]| {
                let (distance, ratio) = ((mean - other) / wide, scale / wide);
                0.5 * (distance * distance + ratio * ratio) - 0.5 - ln(ratio)
            },
        );
        Ok((sums, b.into()))
    }

    fn backward(&self, operands: &[Tensor], grad: &Tensor) -> Gradients {
        let all = [&operands[0], &operands[1], &operands[2], &operands[3], grad];
        let of_mean = |sign: f32| {
            #[inline(always)]
            move |[mean, _, other, wide]: [f32; 4]| sign * (mean - other) / (wide * wide)
        };
        Ok(vec![
            gradient(&operands[0], all, of_mean(1.0))?,
            gradient(
                &operands[1],
                all,
                #[inline(always)]
                |[_, scale, _, wide]| scale / (wide * wide) - 1.0 / scale,
            )?,
            gradient(&operands[2], all, of_mean(-1.0))?,
            gradient(
                &operands[3],
                all,
                #[inline(always)]
                |[mean, scale, other, wide]| {
                    let (distance, ratio) = ((mean - other) / wide, scale / wide);
                    (1.0 - distance * distance - ratio * ratio) / wide
                },
            )?,
        ])
    }
}

/// The gradient of the row times `f`, if it is wanted.
fn gradient(
    wanted: &Tensor,
    operands: [&Tensor; 5],
    f: impl Fn([f32; 4]) -> f32 + Copy + Sync,
) -> candle_core::Result<Option<Tensor>> {
    if !wanted.track_op() {
        return Ok(None);
    }
    let values = with_values(operands, |[means, scales, others, wides, grads]| {
        let d = means.len() / grads.len().max(1);
        Ok(build_rows(
            means.len(),
            d,
            #[inline(always)]
            |start, out| {
                for (row, out) in out.chunks_exact_mut(d).enumerate() {
                    let row = start / d + row;
                    let operands =
                        [means, scales, others, wides].map(|values| &values[row * d..][..d]);
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = grads[row] * f(operands.map(|values| values[i]));
                    }
                }
            },
        ))
    })?;
    Tensor::from_vec(values, wanted.shape(), wanted.device()).map(Some)
}
