//! Layer normalisation.

use candle_core::{CpuStorage, CustomOp3, D, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::{
    GRAIN, build_rows, fused,
    simd::{lane_sum, vectorised},
    slice, with_values,
};
use crate::error::{Error, Result};

/// `gain (x - mean) / sqrt(variance + eps) + shift` over the last axis.
///
/// Mean and population variance of every row are its own, and the gradient flows through them
/// (Ba, Kiros and Hinton 2016, with `eps` inside the root as in PyTorch).
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
    eps: f64,
) -> Result<Tensor> {
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
    if fused(&[x, gain.unwrap_or(x), shift.unwrap_or(x)]) {
        let gain = match gain {
            Some(gain) => gain.contiguous()?,
            None => Tensor::ones(d, x.dtype(), x.device())?,
        };
        let shift = match shift {
            Some(shift) => shift.contiguous()?,
            None => Tensor::zeros(d, x.dtype(), x.device())?,
        };
        return Ok(x.contiguous()?.apply_op3(&gain, &shift, LayerNorm { eps: eps as f32 })?);
    }
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let mut y = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
    if let Some(gain) = gain {
        y = y.broadcast_mul(gain)?;
    }
    if let Some(shift) = shift {
        y = y.broadcast_add(shift)?;
    }
    Ok(y)
}

struct LayerNorm {
    eps: f32,
}

impl LayerNorm {
    /// Mean of a row and the inverse of its deviation.
    #[inline(always)]
    fn moments(&self, xs: &[f32]) -> (f32, f32) {
        let count = xs.len() as f32;
        let mean = lane_sum([xs], |[x]| x) / count;
        let variance = lane_sum([xs], |[x]| (x - mean) * (x - mean)) / count;
        (mean, 1.0 / (variance + self.eps).sqrt())
    }

    fn forward(&self, xs: &[f32], gain: &[f32], shift: &[f32]) -> Vec<f32> {
        let d = gain.len();
        build_rows(
            xs.len(),
            d,
            #[inline(always)]
            |start, out| {
                for (out, xs) in out.chunks_exact_mut(d).zip(xs[start..].chunks_exact(d)) {
                    let (mean, scale) = self.moments(xs);
                    let constants = gain.iter().zip(shift);
                    for ((y, x), (gain, shift)) in out.iter_mut().zip(xs).zip(constants) {
                        *y = (x - mean) * scale * gain + shift;
                    }
                }
            },
        )
    }

    fn input_grad(&self, xs: &[f32], gain: &[f32], grads: &[f32]) -> Vec<f32> {
        let d = gain.len();
        build_rows(
            xs.len(),
            d,
            #[inline(always)]
            |start, out| {
                let operands = xs[start..].chunks_exact(d).zip(grads[start..].chunks_exact(d));
                for (out, (xs, grads)) in out.chunks_exact_mut(d).zip(operands) {
                    let (mean, scale) = self.moments(xs);
                    let plain = lane_sum([grads, gain], |[g, gain]| g * gain) / d as f32;
                    let along = lane_sum([grads, gain, xs], |[g, gain, x]| g * gain * (x - mean));
                    let along = along * scale * scale / d as f32;
                    let operands = xs.iter().zip(grads.iter().zip(gain));
                    for (out, (x, (g, gain))) in out.iter_mut().zip(operands) {
                        *out = scale * (g * gain - plain - (x - mean) * along);
                    }
                }
            },
        )
    }

    /// Gradients of gain and shift: the sums of `grad * normalised x` and of `grad`.
    fn sums(&self, xs: &[f32], grads: &[f32], d: usize) -> [Vec<f32>; 2] {
        // A few blocks of rows, added in their order.
        let block = (xs.len() / d).div_ceil(8).max((GRAIN / d).max(1)) * d;
        let parts: Vec<_> = xs
            .par_chunks(block)
            .zip(grads.par_chunks(block))
            .map(|(xs, grads)| {
                let mut parts = [vec![0_f32; d], vec![0_f32; d]];
                vectorised(
                    #[inline(always)]
                    || {
                        let [gain, shift] = &mut parts;
                        for (xs, grads) in xs.chunks_exact(d).zip(grads.chunks_exact(d)) {
                            let (mean, scale) = self.moments(xs);
                            let sums = gain.iter_mut().zip(shift.iter_mut());
                            for ((gain, shift), (x, g)) in sums.zip(xs.iter().zip(grads)) {
                                *gain += g * (x - mean) * scale;
                                *shift += g;
                            }
                        }
                    },
                );
                parts
            })
            .collect();
        let mut out = [vec![0_f32; d], vec![0_f32; d]];
        for part in &parts {
            for (sums, part) in out.iter_mut().zip(part) {
                sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
            }
        }
        out
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
            let gx = x.track_op().then(|| self.input_grad(xs, gains, grads));
            let gx = gx.map(|gx| Tensor::from_vec(gx, x.shape(), x.device())).transpose()?;
            if !gain.track_op() && !shift.track_op() {
                return Ok((gx, None, None));
            }
            let [gg, gs] = self.sums(xs, grads, d);
            let tensor = |values: Vec<f32>, of: &Tensor| -> candle_core::Result<Option<Tensor>> {
                of.track_op().then(|| Tensor::from_vec(values, d, x.device())).transpose()
            };
            Ok((gx, tensor(gg, gain)?, tensor(gs, shift)?))
        })
    }
}
