//! Kernels with a length of their own.

use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
use super::{build_rows, fused, gaussian::row_sums, on_cuda, slice, with_values};
use crate::{autograd::apply2, error::Result};

/// Under the root of a length, so that a kernel of zeros has a gradient of zero.
const TINY: f64 = 1e-30;

/// `exp(log_length) w / (|w| + eps)`, the length being that of each row: what is behind the first axis.
///
/// # Shapes
/// `weight`: `(n, ..)`; `log_length`: n numbers in any shape that is repeated along a row.
///
/// # Errors
/// Of the tensor library.
pub(crate) fn of_length(weight: &Tensor, log_length: &Tensor, eps: f64) -> Result<Tensor> {
    let rows = weight.dims().first().copied().unwrap_or(0);
    let own = rows > 0 && log_length.elem_count() == rows;
    on_cuda!([weight, log_length], own => cuda::of_length(weight, log_length, eps));
    if fused(&[weight, log_length]) && own {
        let op = OfLength { eps: eps as f32 };
        return Ok(apply2(op, [&weight.contiguous()?, &log_length.contiguous()?])?);
    }
    let scale = log_length.exp()?.div(&(lengths(weight)? + eps)?)?;
    Ok(weight.broadcast_mul(&scale)?)
}

/// The length of each output channel's kernel, `(output, 1, 1, 1)`.
pub(crate) fn lengths(weight: &Tensor) -> Result<Tensor> {
    let square = weight.sqr()?.flatten_from(1)?.sum_keepdim(1)?;
    Ok((square + TINY)?.sqrt()?.reshape((weight.dims()[0], 1, 1, 1))?)
}

struct OfLength {
    eps: f32,
}

impl OfLength {
    /// Of every row the factor and the length.
    fn factors(&self, weight: &[f32], logs: &[f32]) -> Vec<[f32; 2]> {
        let sides = [logs.len(), weight.len() / logs.len()];
        let squares = row_sums(
            sides,
            [weight],
            #[inline(always)]
            |[w]| w * w,
        );
        let pair = |(square, log): (&f32, &f32)| {
            let length = (square + TINY as f32).sqrt();
            [log.exp() / (length + self.eps), length]
        };
        squares.iter().zip(logs).map(pair).collect()
    }
}

impl CustomOp2 for OfLength {
    fn name(&self) -> &'static str {
        "kernel of a length"
    }

    fn cpu_fwd(
        &self,
        weight: &CpuStorage,
        lw: &Layout,
        logs: &CpuStorage,
        ll: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (weight, logs) = (slice(weight, lw)?, slice(logs, ll)?);
        let (factors, len) = (self.factors(weight, logs), weight.len() / logs.len());
        let values = build_rows(
            weight.len(),
            len,
            #[inline(always)]
            |start, out| {
                let rows = out.chunks_exact_mut(len).zip(weight[start..].chunks_exact(len));
                for ((out, row), [factor, _]) in rows.zip(&factors[start / len..]) {
                    out.iter_mut().zip(row).for_each(|(y, w)| *y = factor * w);
                }
            },
        );
        Ok((CpuStorage::F32(values), lw.shape().clone()))
    }

    fn bwd(
        &self,
        weight: &Tensor,
        logs: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (gw, gl) = with_values([weight, logs, grad], |[ws, logs, grads]| {
            let (factors, len) = (self.factors(ws, logs), ws.len() / logs.len());
            let along = row_sums(
                [logs.len(), len],
                [ws, grads],
                #[inline(always)]
                |[w, g]| w * g,
            );
            let gl = along.iter().zip(&factors).map(|(sum, [factor, _])| sum * factor);
            // What of a row's gradient is along the row, as a multiple of the row.
            let multiple = |(sum, [factor, length]): (&f32, &[f32; 2])| {
                factor * sum / ((length + self.eps) * length)
            };
            let multiples: Vec<f32> = along.iter().zip(&factors).map(multiple).collect();
            let values = weight.track_op().then(|| {
                build_rows(
                    ws.len(),
                    len,
                    #[inline(always)]
                    |start, out| {
                        let first = start / len;
                        let operands =
                            ws[start..].chunks_exact(len).zip(grads[start..].chunks_exact(len));
                        let constants = factors[first..].iter().zip(&multiples[first..]);
                        let rows = out.chunks_exact_mut(len).zip(operands);
                        for ((out, (ws, grads)), ([factor, _], multiple)) in rows.zip(constants) {
                            for (y, (w, g)) in out.iter_mut().zip(ws.iter().zip(grads)) {
                                *y = factor * g - multiple * w;
                            }
                        }
                    },
                )
            });
            Ok((values, gl.collect::<Vec<f32>>()))
        })?;
        let make = |values, of: &Tensor| Tensor::from_vec(values, of.shape(), of.device());
        let gw = gw.map(|values| make(values, weight)).transpose()?;
        Ok((gw, logs.track_op().then(|| make(gl, logs)).transpose()?))
    }
}
