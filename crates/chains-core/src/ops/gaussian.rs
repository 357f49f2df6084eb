//! The log density of diagonal Gaussians.

use std::f32::consts::PI;

use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::{fused, pointwise::build, slice, with_values};
use crate::error::{Error, Result};

/// `-0.5 (ln(2 pi variance) + (x - mean)^2 / variance)` elementwise, in nats.
///
/// # Shapes
/// `x`, `mean`, `variance` and the result: the same shape.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ.
pub fn gaussian_log_density(x: &Tensor, mean: &Tensor, variance: &Tensor) -> Result<Tensor> {
    apply(x, mean, variance, false)
}

/// The sum of [`gaussian_log_density`] over all axes but the first, accumulated in f64.
///
/// # Shapes
/// `x`, `mean`, `variance`: `(b, ..event)`; the result `(b,)`.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ or are scalars.
pub fn gaussian_log_prob(x: &Tensor, mean: &Tensor, variance: &Tensor) -> Result<Tensor> {
    apply(x, mean, variance, true)
}

fn apply(x: &Tensor, mean: &Tensor, variance: &Tensor, sum: bool) -> Result<Tensor> {
    for (what, tensor) in [("Gaussian mean", mean), ("Gaussian variance", variance)] {
        if tensor.dims() != x.dims() || x.rank() == 0 {
            return Err(Error::Shape {
                what,
                expected: format!("{:?}", x.dims()),
                got: tensor.dims().to_vec(),
            });
        }
    }
    if fused(&[x, mean, variance]) {
        let (mean, variance) = (mean.contiguous()?, variance.contiguous()?);
        return Ok(x.contiguous()?.apply_op3(&mean, &variance, Gaussian { sum })?);
    }
    let square = (x - mean)?.sqr()?.div(variance)?;
    let density = ((square + variance.affine(2.0 * std::f64::consts::PI, 0.0)?.log()?)? * -0.5)?;
    Ok(if sum && x.rank() > 1 { density.flatten_from(1)?.sum(1)? } else { density })
}

struct Gaussian {
    /// Sum over the event axes?
    sum: bool,
}

#[inline]
fn density(x: f32, mean: f32, variance: f32) -> f32 {
    let d = x - mean;
    -0.5 * ((2.0 * PI * variance).ln() + d * d / variance)
}

impl CustomOp3 for Gaussian {
    fn name(&self) -> &'static str {
        "gaussian_log_density"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        mean: &CpuStorage,
        lm: &Layout,
        variance: &CpuStorage,
        lv: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (xs, ms, vs) = (slice(x, lx)?, slice(mean, lm)?, slice(variance, lv)?);
        if !self.sum {
            let values = build(xs.len(), |start, out| {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = density(xs[start + i], ms[start + i], vs[start + i]);
                }
            });
            return Ok((CpuStorage::F32(values), lx.shape().clone()));
        }
        let b = lx.dims()[0];
        let d = xs.len() / b.max(1);
        let mut out = vec![0.0; b];
        out.par_iter_mut().with_min_len((super::GRAIN / d.max(1)).max(1)).enumerate().for_each(
            |(row, out)| {
                let sum = |from: usize, to: usize| -> f32 {
                    (from..to).map(|i| density(xs[i], ms[i], vs[i])).sum()
                };
                // Short f32 sums, added up in f64.
                let (start, end) = (row * d, (row + 1) * d);
                let parts = (start..end).step_by(16);
                *out = parts.map(|i| f64::from(sum(i, end.min(i + 16)))).sum::<f64>() as f32;
            },
        );
        Ok((CpuStorage::F32(out), b.into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        mean: &Tensor,
        variance: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let per_grad = if self.sum { x.elem_count() / x.dim(0)?.max(1) } else { 1 }.max(1);
        let make = |tracked: bool, f: &(dyn Fn(f32, f32) -> f32 + Sync)| {
            if !tracked {
                return Ok(None);
            }
            let values = with_values([x, mean, variance, grad], |[xs, ms, vs, gs]| {
                Ok(build(xs.len(), |start, out| {
                    for (i, out) in out.iter_mut().enumerate() {
                        let at = start + i;
                        *out = gs[at / per_grad] * f(xs[at] - ms[at], vs[at]);
                    }
                }))
            })?;
            Tensor::from_vec(values, x.shape(), x.device()).map(Some)
        };
        Ok((
            make(x.track_op(), &|d, v| -d / v)?,
            make(mean.track_op(), &|d, v| d / v)?,
            make(variance.track_op(), &|d, v| 0.5 * (d * d / v - 1.0) / v)?,
        ))
    }
}
