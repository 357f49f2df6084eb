//! The Gaussian of two squashed heads, with its log density and gradient in one pass each.

use candle_core::{CpuStorage, CustomOp2, D, Layout, Shape, Tensor};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use super::cuda;
use super::{
    GRAIN, fused,
    gaussian::{density, gaussian_log_density, row_sums},
    math::logistic,
    on_cuda, scaled_sigmoid, sigmoid,
    simd::vectorised,
    slice, with_values, zeros,
};
use crate::{
    autograd::apply2,
    error::{Error, Result},
};

/// `ln N(x; sigmoid(a), scale * sigmoid(b) + floor)` summed over the last axis, in nats.
///
/// The same as the sum of `gaussian_log_density(x, sigmoid(a), scaled_sigmoid(b, scale, floor))`
/// without the tensors and gradients in between. No gradient flows to `x`, unless it tracks one.
///
/// # Shapes
/// `a`, `b`: `(.., d)`; `x`: the same, or without some of the first axes, over which it is repeated;
/// the result `(..)`.
///
/// # Errors
/// [`Error::Shape`] if the shapes do not fit.
pub fn sigmoid_gaussian_log_prob(
    x: &Tensor,
    a: &Tensor,
    b: &Tensor,
    [scale, floor]: [f64; 2],
) -> Result<Tensor> {
    if x.rank() == 0 || !a.dims().ends_with(x.dims()) {
        let (expected, got) = (format!("the last axes of {:?}", a.dims()), x.dims().to_vec());
        return Err(Error::Shape { what: "target of the heads", expected, got });
    }
    if a.dims() != b.dims() {
        let (expected, got) = (format!("{:?}", a.dims()), b.dims().to_vec());
        return Err(Error::Shape { what: "raw variance", expected, got });
    }
    on_cuda!([x, a, b], !x.track_op() => cuda::heads(x, a, b, [scale, floor]));
    if x.track_op() || !fused(&[x, a, b]) {
        let variance = scaled_sigmoid(b, scale, floor)?;
        let x = x.broadcast_as(a.shape())?;
        return Ok(gaussian_log_density(&x, &sigmoid(a)?, &variance)?.sum(D::Minus1)?);
    }
    let (scale, floor) = (scale as f32, floor as f32);
    let op = Heads { x: x.contiguous()?, scale, floor };
    Ok(apply2(op, [&a.contiguous()?, &b.contiguous()?])?)
}

struct Heads {
    x: Tensor,
    scale: f32,
    floor: f32,
}

impl CustomOp2 for Heads {
    fn name(&self) -> &'static str {
        "sigmoid_gaussian_log_prob"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (means, variances) = (slice(a, la)?, slice(b, lb)?);
        let Self { scale, floor, .. } = *self;
        let (d, leading) = (la.shape().dim(D::Minus1)?, &la.dims()[..la.dims().len() - 1]);
        let rows = leading.iter().product();
        let out = with_values([&self.x], |[xs]| {
            Ok(row_sums(
                [rows, d],
                [xs, means, variances],
                #[inline(always)]
                |[x, a, b]| density([x, logistic(a), scale * logistic(b) + floor]),
            ))
        })?;
        Ok((CpuStorage::F32(out), leading.into()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let Self { scale, floor, .. } = *self;
        let n = a.elem_count();
        let mut out = [a, b].map(|head| zeros(if head.track_op() { n } else { 0 }));
        let d = a.dim(D::Minus1)?.max(1);
        let block = (GRAIN / d).max(1) * d;
        with_values([&self.x, a, b, grad], |[xs, means, variances, grads]| {
            let [ga, gb] = &mut out;
            let (ga, gb) = (blocks(ga, n, block), blocks(gb, n, block));
            ga.into_par_iter().zip(gb).enumerate().for_each(|(index, (ga, gb))| {
                vectorised(
                    #[inline(always)]
                    || {
                        let start = index * block;
                        for from in (start..(start + block).min(n)).step_by(d) {
                            let grad = grads[from / d];
                            let rows = [xs, means, variances]
                                .map(|values| &values[from % values.len()..][..d]);
                            let part = from - start..from - start + d;
                            if let Some(out) = ga.get_mut(part.clone()) {
                                for (i, out) in out.iter_mut().enumerate() {
                                    let [x, a, b] = rows.map(|values| values[i]);
                                    let mean = logistic(a);
                                    let variance = scale * logistic(b) + floor;
                                    *out = grad * (x - mean) / variance * mean * (1.0 - mean);
                                }
                            }
                            if let Some(out) = gb.get_mut(part) {
                                for (i, out) in out.iter_mut().enumerate() {
                                    let [x, a, b] = rows.map(|values| values[i]);
                                    let (mean, gate) = (logistic(a), logistic(b));
                                    let inverse = 1.0 / (scale * gate + floor);
                                    let d = x - mean;
                                    let slope = 0.5 * (d * d * inverse - 1.0) * inverse;
                                    *out = grad * slope * scale * gate * (1.0 - gate);
                                }
                            }
                        }
                    },
                );
            });
            Ok(())
        })?;
        let [ga, gb] = out;
        let make = |values: Vec<f32>, of: &Tensor| {
            of.track_op().then(|| Tensor::from_vec(values, of.shape(), of.device())).transpose()
        };
        Ok((make(ga, a)?, make(gb, b)?))
    }
}

/// Blocks of `out`; as many empty ones if nothing is to be written.
fn blocks(out: &mut [f32], n: usize, block: usize) -> Vec<&mut [f32]> {
    let mut blocks: Vec<&mut [f32]> = out.chunks_mut(block).collect();
    blocks.resize_with(n.div_ceil(block), Default::default);
    blocks
}
