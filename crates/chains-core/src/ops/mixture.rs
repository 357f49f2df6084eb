//! The log density of a mixture of diagonal Gaussians, of values and of tangents behind them.

use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::{
    fused,
    math::{exp, ln},
    simd::{lane_max, lane_sum, vectorised},
    slice, with_values,
};
use crate::{
    autograd::apply2,
    error::{Error, Result},
};

/// `m(x) = ln sum_j exp(log_scale_j - 0.5 sum_d ((x_d - mean_jd) root_jd)^2)`, root precisions given,
/// of the first `values` rows `x`, and `v . grad m(x)` of the rows `v` behind them, whose points `x`
/// are the first rows in the same order. `None` where no fused kernel applies.
///
/// # Shapes
/// `rows`: `(n, d)`; `mean`, `root`: `(k, d)`; `log_scale`: `(k,)`; the result `(n,)`.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit.
pub(crate) fn gaussian_mixture(
    rows: &Tensor,
    values: usize,
    [mean, root, log_scale]: [&Tensor; 3],
) -> Result<Option<Tensor>> {
    let (k, d) = mean.dims2()?;
    let n = rows.dim(0)?;
    if rows.dims() != [n, d] || root.dims() != [k, d] || log_scale.dims() != [k] || k == 0 {
        let got = [rows.dims(), root.dims(), log_scale.dims()].concat();
        return Err(Error::Shape {
            what: "mixture",
            expected: format!("(n, {d}), ({k}, {d}), ({k},)"),
            got,
        });
    }
    if !fused(&[rows, mean, root, log_scale]) {
        return Ok(None);
    }
    let parameters = Tensor::cat(&[&mean.t()?, &root.t()?, &log_scale.unsqueeze(0)?], 0)?;
    Ok(Some(apply2(Mixture { values }, [&rows.contiguous()?, &parameters.contiguous()?])?))
}

struct Mixture {
    /// Rows before the first tangent.
    values: usize,
}

/// Rows whose gradients of the parameters are summed before they join the others'.
const BLOCK: usize = 64;

/// Parameters, the components varying fastest: means, root precisions, logarithms of the scales.
#[derive(Clone, Copy)]
struct Components<'a> {
    all: &'a [f32],
    d: usize,
    k: usize,
}

impl<'a> Components<'a> {
    fn new(all: &'a [f32], d: usize) -> Self {
        Self { all, d, k: all.len() / (2 * d + 1) }
    }

    #[inline(always)]
    fn row(self, at: usize) -> &'a [f32] {
        &self.all[at * self.k..(at + 1) * self.k]
    }

    #[inline(always)]
    fn axis(self, axis: usize) -> impl Iterator<Item = (f32, f32)> + 'a {
        self.row(axis).iter().copied().zip(self.row(self.d + axis).iter().copied())
    }

    /// The components' shares at `x`, and the value.
    #[inline(always)]
    fn shares(self, x: &[f32], shares: &mut [f32]) -> f32 {
        shares.copy_from_slice(self.row(2 * self.d));
        for (axis, x) in x.iter().enumerate() {
            for (share, (mean, root)) in shares.iter_mut().zip(self.axis(axis)) {
                let u = (x - mean) * root;
                *share -= 0.5 * u * u;
            }
        }
        let top = lane_max(shares);
        shares.iter_mut().for_each(|share| *share = exp(*share - top));
        let sum = lane_sum([&*shares], |[share]| share);
        let scale = 1.0 / sum;
        shares.iter_mut().for_each(|share| *share *= scale);
        top + ln(sum)
    }

    /// The derivatives of the components' logarithms at `x` along `v`.
    #[inline(always)]
    fn slopes(self, [x, v]: [&[f32]; 2], slopes: &mut [f32]) {
        slopes.fill(0.0);
        for (axis, (x, v)) in x.iter().zip(v).enumerate() {
            for (slope, (mean, root)) in slopes.iter_mut().zip(self.axis(axis)) {
                *slope -= (x - mean) * root * root * v;
            }
        }
    }
}

/// What a point asks for in the backward pass.
struct Asked<'a> {
    x: &'a [f32],
    grad: f32,
    /// The direction at the point, and the gradient of the slope along it.
    along: Option<(&'a [f32], f32)>,
}

/// Gradients that a point adds to; empty where nobody asks.
struct Sums<'a> {
    x: &'a mut [f32],
    v: &'a mut [f32],
    parameters: &'a mut [f32],
}

impl Components<'_> {
    #[inline(always)]
    fn backward(self, asked: &Asked<'_>, scratch: &mut [f32], sums: Sums<'_>) {
        let (d, k) = (self.d, self.k);
        let (shares, slopes) = scratch.split_at_mut(k);
        self.shares(asked.x, shares);
        slopes.fill(0.0);
        let mut grad_slope = 0.0;
        let mut mean_slope = 0.0;
        if let Some((v, grad)) = asked.along {
            self.slopes([asked.x, v], slopes);
            mean_slope = lane_sum([&*shares, &*slopes], |[share, slope]| share * slope);
            grad_slope = grad;
        }
        // Gradients of the components' logarithms; `shares` times `grad_slope` are those of the slopes.
        for (slope, share) in slopes.iter_mut().zip(&*shares) {
            *slope = share * (asked.grad + grad_slope * (*slope - mean_slope));
        }
        let logs = &*slopes;
        for axis in 0..d {
            let (x, v) = (asked.x[axis], asked.along.map_or(0.0, |(v, _)| v[axis]));
            let (means, roots) = (self.row(axis), self.row(d + axis));
            if !sums.x.is_empty() {
                let moved = |[share, log, mean, root]: [f32; 4]| {
                    -root * root * (log * (x - mean) + grad_slope * share * v)
                };
                sums.x[axis] = lane_sum([shares, logs, means, roots], moved);
            }
            if !sums.v.is_empty() {
                let turned = |[share, mean, root]: [f32; 3]| -share * (x - mean) * root * root;
                sums.v[axis] = grad_slope * lane_sum([shares, means, roots], turned);
            }
            if !sums.parameters.is_empty() {
                let (to_means, rest) = sums.parameters[axis * k..].split_at_mut(k);
                let to_roots = &mut rest[(d - 1) * k..][..k];
                for j in 0..k {
                    let (offset, root) = (x - means[j], roots[j]);
                    let along = grad_slope * shares[j] * v;
                    to_means[j] += root * root * (logs[j] * offset + along);
                    to_roots[j] -= root * offset * (logs[j] * offset + 2.0 * along);
                }
            }
        }
        if !sums.parameters.is_empty() {
            let scales = &mut sums.parameters[2 * d * k..];
            scales.iter_mut().zip(logs).for_each(|(sum, log)| *sum += log);
        }
    }
}

impl CustomOp2 for Mixture {
    fn name(&self) -> &'static str {
        "gaussian mixture"
    }

    fn cpu_fwd(
        &self,
        rows: &CpuStorage,
        lr: &Layout,
        parameters: &CpuStorage,
        lp: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (n, d) = lr.shape().dims2()?;
        let (xs, parts) = (slice(rows, lr)?, Components::new(slice(parameters, lp)?, d));
        let row = |i: usize| &xs[i * d..(i + 1) * d];
        let mut out = vec![0_f32; n];
        out.par_chunks_mut(BLOCK).enumerate().for_each(|(block, out)| {
            let mut scratch = vec![0_f32; 2 * parts.k];
            vectorised(
                #[inline(always)]
                || {
                    let (shares, slopes) = scratch.split_at_mut(parts.k);
                    for (i, out) in out.iter_mut().enumerate() {
                        let at = block * BLOCK + i;
                        if at < self.values {
                            *out = parts.shares(row(at), shares);
                            continue;
                        }
                        let x = row(at - self.values);
                        parts.shares(x, shares);
                        parts.slopes([x, row(at)], slopes);
                        *out = lane_sum([&*shares, &*slopes], |[share, slope]| share * slope);
                    }
                },
            );
        });
        Ok((CpuStorage::F32(out), Shape::from(n)))
    }

    fn bwd(
        &self,
        rows: &Tensor,
        parameters: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (n, d) = rows.dims2()?;
        let [to_rows, to_parameters] = [rows, parameters].map(Tensor::track_op);
        let (grad_rows, grad_parameters) =
            with_values([rows, parameters, grad], |[xs, all, gs]| {
                let parts = Components::new(all, d);
                let row = |i: usize| &xs[i * d..(i + 1) * d];
                let mut grad_rows = vec![0_f32; if to_rows { n * d } else { 0 }];
                let (of_x, of_v) =
                    grad_rows.split_at_mut(self.values.min(n) * d * usize::from(to_rows));
                let blocks = self.values.div_ceil(BLOCK);
                let mut sums = vec![0_f32; if to_parameters { blocks * all.len() } else { 0 }];
                // A part for every block, empty where nobody asks.
                let mut of_x = of_x.chunks_mut(BLOCK * d);
                let mut of_v = of_v.chunks_mut(BLOCK * d);
                let mut of_parameters = sums.chunks_mut(all.len().max(1));
                let tasks: Vec<_> = (0..blocks)
                    .map(|_| {
                        [&mut of_x, &mut of_v, &mut of_parameters]
                            .map(|c| c.next().unwrap_or_default())
                    })
                    .collect();
                tasks.into_par_iter().enumerate().for_each(|(block, [of_x, of_v, sums])| {
                    let mut scratch = vec![0_f32; 2 * parts.k];
                    vectorised(
                        #[inline(always)]
                        || {
                            let first = block * BLOCK;
                            for at in first..(first + BLOCK).min(self.values) {
                                let behind = self.values + at;
                                let along = (behind < n).then(|| (row(behind), gs[behind]));
                                let local = (at - first) * d..(at - first + 1) * d;
                                let asked = Asked { x: row(at), grad: gs[at], along };
                                let sums = Sums {
                                    x: of_x.get_mut(local.clone()).unwrap_or_default(),
                                    v: of_v.get_mut(local).unwrap_or_default(),
                                    parameters: &mut *sums,
                                };
                                parts.backward(&asked, &mut scratch, sums);
                            }
                        },
                    );
                });
                let mut total = vec![0_f32; if to_parameters { all.len() } else { 0 }];
                for block in sums.chunks(all.len().max(1)) {
                    total.iter_mut().zip(block).for_each(|(total, part)| *total += part);
                }
                Ok((grad_rows, total))
            })?;
        let tensor = |wanted: bool, values: Vec<f32>, like: &Tensor| {
            wanted.then(|| Tensor::from_vec(values, like.shape(), like.device())).transpose()
        };
        Ok((tensor(to_rows, grad_rows, rows)?, tensor(to_parameters, grad_parameters, parameters)?))
    }
}
