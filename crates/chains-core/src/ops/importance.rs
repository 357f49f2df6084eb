//! Self-normalised importance sampling of a Gaussian's mean.

use candle_core::{D, Tensor};
use rayon::prelude::*;

use super::{fused, simd::lane_sum, vectorised, with_values};
use crate::error::{Error, Result};

/// Weights and weighted mean of proposed means of `N(mean, variance I)`.
///
/// `ln w_i = log_ratio_i - |x - mean_i|^2 / (2 variance)`; the weights are their softmax over `i`, the
/// result is `sum_i w_i mean_i`. No graph.
///
/// # Shapes
/// `x`: `(b, d)`; `means`: `(k, b, d)`; `log_ratio`: `(k, b)`; weights `(k, b)` and mean `(b, d)`.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit.
pub fn self_normalised_mean(
    x: &Tensor,
    means: &Tensor,
    log_ratio: &Tensor,
    variance: f64,
) -> Result<(Tensor, Tensor)> {
    let (k, b, d) = means.dims3()?;
    if x.dims() != [b, d] || log_ratio.dims() != [k, b] {
        let (expected, got) = (format!("({b}, {d}), ({k}, {b})"), x.dims().to_vec());
        return Err(Error::Shape { what: "importance sampling", expected, got });
    }
    if !fused(&[x, means, log_ratio]) {
        let (x, means, log_ratio) = (x.detach(), means.detach(), log_ratio.detach());
        let square = means.broadcast_sub(&x)?.sqr()?.sum(D::Minus1)?;
        let weights = candle_nn::ops::softmax(&(log_ratio - (square * (0.5 / variance))?)?, 0)?;
        let mean = means.broadcast_mul(&weights.unsqueeze(D::Minus1)?)?.sum(0)?;
        return Ok((weights, mean));
    }
    let precision = (0.5 / variance) as f32;
    let (weights, mean) = with_values([x, means, log_ratio], |[xs, ms, rs]| {
        let (mut weights, mut mean) = (vec![0_f32; b * k], vec![0_f32; b * d]);
        let rows = weights.par_chunks_mut(k).zip(mean.par_chunks_mut(d.max(1)));
        rows.enumerate().for_each(|(row, (w, out))| {
            vectorised(
                #[inline(always)]
                || {
                    let x = &xs[row * d..(row + 1) * d];
                    let of = |i: usize| &ms[(i * b + row) * d..(i * b + row + 1) * d];
                    for (i, w) in w.iter_mut().enumerate() {
                        let square = lane_sum([x, of(i)], |[x, m]| (x - m) * (x - m));
                        *w = rs[i * b + row] - precision * square;
                    }
                    let top = w.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    w.iter_mut().for_each(|w| *w = (*w - top).exp());
                    let sum: f32 = w.iter().sum();
                    for (i, w) in w.iter_mut().enumerate() {
                        *w /= sum;
                        for (out, m) in out.iter_mut().zip(of(i)) {
                            *out += *w * m;
                        }
                    }
                },
            );
        });
        Ok((weights, mean))
    })?;
    let weights = Tensor::from_vec(weights, (b, k), x.device())?.t()?.contiguous()?;
    Ok((weights, Tensor::from_vec(mean, (b, d), x.device())?))
}
