//! Layer normalisation.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, D, Layout, Shape, Tensor};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use super::cuda;
use super::{
    Eps, GRAIN, build_rows, fused, on_cuda,
    simd::{lane_sum, vectorised},
    slice, with_values, zeros,
};
use crate::{
    autograd::apply3,
    error::{Error, Result},
};

/// `gain (x - mean) / deviation + shift` over the last axis; the deviation is `sqrt(variance + eps)`
/// for a number, see [`Eps`].
///
/// Mean and population variance of every row are its own, and the gradient flows through them
/// (Ba, Kiros and Hinton 2016).
///
/// # Shapes
/// `x`: `(.., d)`; `gain`, `shift`: `(d,)`, one and zero if missing; the result as `x`.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit or rows are empty.
pub fn layer_norm(
    x: &Tensor,
    gain: Option<&Tensor>,
    shift: Option<&Tensor>,
    eps: impl Into<Eps>,
) -> Result<Tensor> {
    let eps = eps.into();
    let d = x.dims().last().copied().unwrap_or(0);
    if d == 0 {
        let (expected, got) = ("(.., d) with d > 0".into(), x.dims().to_vec());
        return Err(Error::Shape { what: "layer norm", expected, got });
    }
    for (what, tensor) in [("layer norm gain", gain), ("layer norm shift", shift)] {
        if let Some(tensor) = tensor.filter(|t| t.dims() != [d]) {
            let (expected, got) = (format!("({d},)"), tensor.dims().to_vec());
            return Err(Error::Shape { what, expected, got });
        }
    }
    let operands = [x, gain.unwrap_or(x), shift.unwrap_or(x)];
    let both = || -> Result<[Tensor; 2]> {
        let or = |tensor: Option<&Tensor>, value: f64| match tensor {
            Some(tensor) => tensor.contiguous(),
            None => Tensor::full(value as f32, d, x.device()),
        };
        Ok([or(gain, 1.0)?, or(shift, 0.0)?])
    };
    on_cuda!(operands => both().and_then(|[gain, shift]| cuda::layer_norm(x, &gain, &shift, eps)));
    if fused(&operands) {
        let [gain, shift] = both()?;
        let op = LayerNorm { eps, moments: OnceLock::new() };
        return Ok(apply3(op, [&x.contiguous()?, &gain, &shift])?);
    }
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let mut y = centred.broadcast_div(&eps.deviation(&variance)?)?;
    if let Some(gain) = gain {
        y = y.broadcast_mul(gain)?;
    }
    if let Some(shift) = shift {
        y = y.broadcast_add(shift)?;
    }
    Ok(y)
}

struct LayerNorm {
    eps: Eps,
    /// Of every row the mean, the inverse of the deviation and its pull, from the forward pass.
    moments: OnceLock<Vec<[f32; 3]>>,
}

impl LayerNorm {
    #[inline(always)]
    fn row_moments(&self, xs: &[f32]) -> [f32; 3] {
        let count = xs.len() as f32;
        let mean = lane_sum([xs], |[x]| x) / count;
        let variance = lane_sum([xs], |[x]| (x - mean) * (x - mean)) / count;
        let (scale, pull) = self.eps.scale_and_pull(variance);
        [mean, scale, pull]
    }

    fn moments(&self, xs: &[f32], d: usize) -> &[[f32; 3]] {
        self.moments.get_or_init(|| {
            let mut moments = vec![[0.0; 3]; xs.len() / d];
            let rows = (GRAIN / d).max(1);
            moments.par_chunks_mut(rows).zip(xs.par_chunks(rows * d)).for_each(|(out, xs)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (out, xs) in out.iter_mut().zip(xs.chunks_exact(d)) {
                            *out = self.row_moments(xs);
                        }
                    },
                );
            });
            moments
        })
    }

    fn forward(&self, xs: &[f32], gain: &[f32], shift: &[f32]) -> Vec<f32> {
        let d = gain.len();
        let moments = self.moments(xs, d);
        build_rows(
            xs.len(),
            d,
            #[inline(always)]
            |start, out| {
                let rows = out.chunks_exact_mut(d).zip(xs[start..].chunks_exact(d));
                for ((out, xs), [mean, scale, _]) in rows.zip(&moments[start / d..]) {
                    let constants = gain.iter().zip(shift);
                    for ((y, x), (gain, shift)) in out.iter_mut().zip(xs).zip(constants) {
                        *y = (x - mean) * scale * gain + shift;
                    }
                }
            },
        )
    }

    /// Gradients of the input and of gain and shift, the sums of `grad * normalised x` and of `grad`;
    /// what is not wanted stays empty or zero.
    fn backward(
        &self,
        xs: &[f32],
        gain: &[f32],
        grads: &[f32],
        [input, parameters]: [bool; 2],
    ) -> (Option<Vec<f32>>, [Vec<f32>; 2]) {
        let d = gain.len();
        let moments = self.moments(xs, d);
        let mut out = zeros(if input { xs.len() } else { 0 });
        // A few blocks of rows, whose sums are added in their order.
        let rows = (xs.len() / d).div_ceil(8).max((GRAIN / d).max(1));
        let mut blocks: Vec<&mut [f32]> = out.chunks_mut(rows * d).collect();
        blocks.resize_with(xs.len().div_ceil(rows * d), Default::default);
        let operands = xs.par_chunks(rows * d).zip(grads.par_chunks(rows * d));
        let parts: Vec<_> = blocks
            .into_par_iter()
            .zip(operands)
            .zip(moments.par_chunks(rows))
            .map(|((out, (xs, grads)), moments)| {
                let mut sums = [vec![0_f32; d], vec![0_f32; d]];
                vectorised(
                    #[inline(always)]
                    || {
                        let operands = xs.chunks_exact(d).zip(grads.chunks_exact(d)).zip(moments);
                        for (row, ((xs, grads), moments)) in operands.enumerate() {
                            if parameters {
                                add_row(xs, grads, *moments, &mut sums);
                            }
                            if let Some(out) = out.get_mut(row * d..(row + 1) * d) {
                                input_grad(xs, gain, grads, *moments, out);
                            }
                        }
                    },
                );
                sums
            })
            .collect();
        let mut sums = [vec![0_f32; d], vec![0_f32; d]];
        for part in &parts {
            for (sums, part) in sums.iter_mut().zip(part) {
                sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
            }
        }
        (input.then_some(out), sums)
    }
}

#[inline(always)]
fn add_row(
    xs: &[f32],
    grads: &[f32],
    [mean, scale, _]: [f32; 3],
    [gain, shift]: &mut [Vec<f32>; 2],
) {
    let sums = gain.iter_mut().zip(shift.iter_mut());
    for ((gain, shift), (x, g)) in sums.zip(xs.iter().zip(grads)) {
        *gain += g * (x - mean) * scale;
        *shift += g;
    }
}

#[inline(always)]
fn input_grad(
    xs: &[f32],
    gain: &[f32],
    grads: &[f32],
    [mean, scale, pull]: [f32; 3],
    out: &mut [f32],
) {
    let d = gain.len() as f32;
    let plain = lane_sum([grads, gain], |[g, gain]| g * gain) / d;
    let along = lane_sum([grads, gain, xs], |[g, gain, x]| g * gain * (x - mean));
    let along = along * scale * scale / d * pull;
    for (out, (x, (g, gain))) in out.iter_mut().zip(xs.iter().zip(grads.iter().zip(gain))) {
        *out = scale * (g * gain - plain - (x - mean) * along);
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        gain: &CpuStorage,
        lg: &Layout,
        shift: &CpuStorage,
        ls: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = self.forward(slice(x, lx)?, slice(gain, lg)?, slice(shift, ls)?);
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gain: &Tensor,
        shift: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let d = gain.dim(0)?;
        with_values([x, gain, grad], |[xs, gains, grads]| {
            let wanted = [x.track_op(), gain.track_op() || shift.track_op()];
            let (gx, [gg, gs]) = self.backward(xs, gains, grads, wanted);
            let gx = gx.map(|gx| Tensor::from_vec(gx, x.shape(), x.device())).transpose()?;
            let tensor = |values: Vec<f32>, of: &Tensor| -> candle_core::Result<Option<Tensor>> {
                of.track_op().then(|| Tensor::from_vec(values, d, x.device())).transpose()
            };
            Ok((gx, tensor(gg, gain)?, tensor(gs, shift)?))
        })
    }
}
