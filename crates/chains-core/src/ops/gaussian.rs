//! The log density of diagonal Gaussians.

use std::f32::consts::PI;

use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use super::cuda;
use super::{
    GRAIN, build, build_rows, fused,
    math::ln,
    on_cuda,
    simd::{lane_sum, vectorised},
    slice, with_values,
};
use crate::{
    autograd::apply3,
    error::{Error, Result},
};

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
    on_cuda!([x, mean, variance] => cuda::gaussian_density([x, mean, variance], sum));
    if fused(&[x, mean, variance]) {
        let (mean, variance) = (mean.contiguous()?, variance.contiguous()?);
        return Ok(apply3(Gaussian { sum }, [&x.contiguous()?, &mean, &variance])?);
    }
    let square = (x - mean)?.sqr()?.div(variance)?;
    let density = ((square + variance.affine(2.0 * std::f64::consts::PI, 0.0)?.log()?)? * -0.5)?;
    Ok(if sum && x.rank() > 1 { density.flatten_from(1)?.sum(1)? } else { density })
}

struct Gaussian {
    /// Sum over the event axes?
    sum: bool,
}

#[inline(always)]
pub(super) fn density([x, mean, variance]: [f32; 3]) -> f32 {
    let d = x - mean;
    -0.5 * (ln(2.0 * PI * variance) + d * d / variance)
}

/// Elements whose f32 sum joins the f64 sum of a row.
const RUN: usize = 256;

/// The sum over each of `rows` rows of `d` elements of a function of the elements, accumulated in
/// f64. An operand of fewer rows is repeated.
#[inline(always)]
pub(super) fn row_sums<const N: usize>(
    [rows, d]: [usize; 2],
    operands: [&[f32]; N],
    f: impl Fn([f32; N]) -> f32 + Copy + Sync,
) -> Vec<f32> {
    let mut out = vec![0.0; rows];
    if d == 0 {
        return out;
    }
    out.par_iter_mut().with_min_len((GRAIN / d).max(1)).enumerate().for_each(|(row, out)| {
        vectorised(
            #[inline(always)]
            || {
                let values = operands.map(|values| &values[row * d % values.len()..][..d]);
                let mut sum = 0_f64;
                for start in (0..d).step_by(RUN) {
                    let run = start..(start + RUN).min(d);
                    // A copy: `&f` is called through a function that is not inlined.
                    sum += f64::from(lane_sum(values.map(|v| &v[run.clone()]), f));
                }
                *out = sum as f32;
            },
        );
    });
    out
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
            let values = build(
                xs.len(),
                #[inline(always)]
                |start, out| {
                    let operands = [xs, ms, vs].map(|values| &values[start..start + out.len()]);
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = density(operands.map(|values| values[i]));
                    }
                },
            );
            return Ok((CpuStorage::F32(values), lx.shape().clone()));
        }
        let b = lx.dims()[0];
        let out = row_sums([b, xs.len() / b.max(1)], [xs, ms, vs], density);
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
        // Elements that share a gradient.
        let shared = if self.sum { x.elem_count() / x.dim(0)?.max(1) } else { 1 };
        let operands = [x, mean, variance, grad];
        Ok((
            gradient(
                x.track_op(),
                operands,
                shared,
                #[inline(always)]
                |d, v| -d / v,
            )?,
            gradient(
                mean.track_op(),
                operands,
                shared,
                #[inline(always)]
                |d, v| d / v,
            )?,
            gradient(
                variance.track_op(),
                operands,
                shared,
                #[inline(always)]
                |d, v| 0.5 * (d * d / v - 1.0) / v,
            )?,
        ))
    }
}

/// `grad * f(x - mean, variance)`, if wanted.
fn gradient(
    wanted: bool,
    operands: [&Tensor; 4],
    shared: usize,
    f: impl Fn(f32, f32) -> f32 + Sync,
) -> candle_core::Result<Option<Tensor>> {
    if !wanted {
        return Ok(None);
    }
    let x = operands[0];
    let values = with_values(operands, |[xs, ms, vs, gs]| {
        let n = xs.len();
        if shared <= 1 {
            return Ok(build(
                n,
                #[inline(always)]
                |start, out| {
                    let [xs, ms, vs, gs] =
                        [xs, ms, vs, gs].map(|values| &values[start..start + out.len()]);
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = gs[i] * f(xs[i] - ms[i], vs[i]);
                    }
                },
            ));
        }
        Ok(build_rows(
            n,
            shared,
            #[inline(always)]
            |start, out| {
                for (row, out) in out.chunks_exact_mut(shared).enumerate() {
                    let row = start / shared + row;
                    let at = row * shared..(row + 1) * shared;
                    let [xs, ms, vs] = [xs, ms, vs].map(|values| &values[at.clone()]);
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = gs[row] * f(xs[i] - ms[i], vs[i]);
                    }
                }
            },
        ))
    })?;
    Tensor::from_vec(values, x.shape(), x.device()).map(Some)
}
