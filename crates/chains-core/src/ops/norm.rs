//! Batch normalisation.

use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::{fused, pointwise::relu, slice, with_values};
use crate::error::{Error, Result};

/// Mean and population variance of every channel of every group.
#[derive(Clone, Debug)]
pub struct BatchMoments {
    /// `(g, c)`.
    pub mean: Tensor,
    /// `(g, c)`, population variance (divided by the count).
    pub variance: Tensor,
}

/// Moments over the batch and all positions, detached.
///
/// # Shapes
/// `x`: `(g, b, c, ..space)`, groups being normalised separately; the moments `(g, c)`.
///
/// # Errors
/// [`Error::Shape`] if `x` has fewer than three axes.
pub fn batch_moments(x: &Tensor) -> Result<BatchMoments> {
    let [g, b, c, s] = axes(x)?;
    if fused(&[x]) {
        let (mean, variance) = with_values([x], |[xs]| Ok(moments(xs, [g, b, c, s])))?;
        return Ok(BatchMoments {
            mean: Tensor::from_vec(mean, (g, c), x.device())?,
            variance: Tensor::from_vec(variance, (g, c), x.device())?,
        });
    }
    let flat = x.detach().reshape((g, b, c, s))?;
    let mean = flat.mean_keepdim((1, 3))?;
    let variance = flat.broadcast_sub(&mean)?.sqr()?.mean((1, 3))?;
    Ok(BatchMoments { mean: mean.reshape((g, c))?, variance })
}

/// `relu(gain (x - mean) / sqrt(variance + eps) + shift)`, the ReLU being optional.
///
/// With `batch` the moments must be [`batch_moments`] of this very `x`, and the gradient flows
/// through them; without it they are constants.
///
/// # Shapes
/// `x`: `(g, b, c, ..space)`; `gain`, `shift`: `(g, c)`; the result as `x`.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit.
pub fn normalise(
    x: &Tensor,
    moments: &BatchMoments,
    [gain, shift]: [&Tensor; 2],
    eps: f64,
    options: NormOptions,
) -> Result<Tensor> {
    let [g, b, c, s] = axes(x)?;
    for (what, tensor) in [
        ("batch norm gain", gain),
        ("batch norm shift", shift),
        ("batch norm mean", &moments.mean),
        ("batch norm variance", &moments.variance),
    ] {
        if tensor.dims() != [g, c] {
            let got = tensor.dims().to_vec();
            return Err(Error::Shape { what, expected: format!("({g}, {c})"), got });
        }
    }
    if fused(&[x, gain, shift, &moments.mean, &moments.variance]) {
        let op = with_values([&moments.mean, &moments.variance], |[mean, variance]| {
            let scale = variance.iter().map(|v| 1.0 / (v + eps as f32).sqrt()).collect();
            Ok(Normalise { mean: mean.to_vec(), scale, axes: [g, b, c, s], options })
        })?;
        return Ok(x.contiguous()?.apply_op3(&gain.contiguous()?, &shift.contiguous()?, op)?);
    }
    let wide = |t: &Tensor| t.reshape((g, 1, c, 1));
    let flat = x.reshape((g, b, c, s))?;
    let (mean, variance) = if options.batch {
        let mean = flat.mean_keepdim((1, 3))?;
        let variance = flat.broadcast_sub(&mean)?.sqr()?.mean_keepdim((1, 3))?;
        (mean, variance)
    } else {
        (wide(&moments.mean.detach())?, wide(&moments.variance.detach())?)
    };
    let y = flat.broadcast_sub(&mean)?.broadcast_div(&(variance + eps)?.sqrt()?)?;
    let y = y.broadcast_mul(&wide(gain)?)?.broadcast_add(&wide(shift)?)?;
    let y = if options.relu { relu(&y)? } else { y };
    Ok(y.reshape(x.shape())?)
}

/// Variants of [`normalise`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormOptions {
    /// The moments are those of the input itself.
    pub batch: bool,
    /// A ReLU follows.
    pub relu: bool,
}

/// `(g, b, c, s)` with `s` the product of the space axes.
fn axes(x: &Tensor) -> Result<[usize; 4]> {
    match x.dims() {
        [g, b, c, space @ ..] => Ok([*g, *b, *c, space.iter().product()]),
        got => Err(Error::Shape {
            what: "batch norm",
            expected: "(g, b, c, ..space)".into(),
            got: got.to_vec(),
        }),
    }
}

/// Channels that one task handles; a row of them is contiguous when there is no space axis.
const TILE: usize = 256;

/// Tasks of a tensor `(g, b, c, s)`: group and range of channels.
fn tasks([g, _, c, _]: [usize; 4]) -> Vec<(usize, usize, usize)> {
    let tiles = (0..c).step_by(TILE);
    (0..g).flat_map(|g| tiles.clone().map(move |from| (g, from, c.min(from + TILE)))).collect()
}

/// Elements of a task by row: the index of its first element; `(to - from) * s` elements follow,
/// `s` for each channel.
fn rows(
    [_, b, c, s]: [usize; 4],
    (g, from, _): (usize, usize, usize),
) -> impl Iterator<Item = usize> {
    (0..b).map(move |row| ((g * b + row) * c + from) * s)
}

/// For the elements of one row of a task, `f(channel - from, element)`; a flat loop without a
/// space axis, so that the compiler can vectorise it.
#[inline(always)]
fn for_channels(channels: usize, s: usize, mut f: impl FnMut(usize, usize)) {
    if s == 1 {
        for i in 0..channels {
            f(i, i);
        }
    } else {
        for i in 0..channels {
            for j in i * s..(i + 1) * s {
                f(i, j);
            }
        }
    }
}

fn moments(xs: &[f32], axes: [usize; 4]) -> (Vec<f32>, Vec<f32>) {
    let [g, b, c, s] = axes;
    let count = (b * s) as f64;
    let parts: Vec<_> = tasks(axes)
        .into_par_iter()
        .map(|task| {
            let channels = task.2 - task.1;
            let mut mean = vec![0_f64; channels];
            let mut variance = mean.clone();
            for start in rows(axes, task) {
                let (xs, mean) = (&xs[start..start + channels * s], &mut mean[..channels]);
                for_channels(channels, s, |i, j| mean[i] += f64::from(xs[j]));
            }
            mean.iter_mut().for_each(|m| *m /= count);
            for start in rows(axes, task) {
                let (xs, variance) = (&xs[start..start + channels * s], &mut variance[..channels]);
                let mean = &mean[..channels];
                for_channels(channels, s, |i, j| {
                    let d = f64::from(xs[j]) - mean[i];
                    variance[i] += d * d;
                });
            }
            (mean, variance)
        })
        .collect();
    let mut out = (Vec::with_capacity(g * c), Vec::with_capacity(g * c));
    for (mean, variance) in parts {
        out.0.extend(mean.iter().map(|m| *m as f32));
        out.1.extend(variance.iter().map(|v| (v / count) as f32));
    }
    out
}

struct Normalise {
    mean: Vec<f32>,
    /// `1 / sqrt(variance + eps)`.
    scale: Vec<f32>,
    axes: [usize; 4],
    options: NormOptions,
}

impl CustomOp3 for Normalise {
    fn name(&self) -> &'static str {
        "batch_norm"
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
        let (xs, gain, shift) = (slice(x, lx)?, slice(gain, lg)?, slice(shift, ls)?);
        let [_, b, c, s] = self.axes;
        let floor = if self.options.relu { 0.0 } else { f32::NEG_INFINITY };
        let factor: Vec<f32> = gain.iter().zip(&self.scale).map(|(g, s)| g * s).collect();
        let mut out = vec![0.0; xs.len()];
        if c * s > 0 {
            out.par_chunks_mut(c * s).zip(xs.par_chunks(c * s)).enumerate().for_each(
                |(row, (out, xs))| {
                    let at = row / b * c;
                    let constants = at..at + c;
                    let (factor, shift) = (&factor[constants.clone()], &shift[constants.clone()]);
                    let mean = &self.mean[constants];
                    for_channels(c, s, |i, j| {
                        let y = (xs[j] - mean[i]) * factor[i] + shift[i];
                        // Not `max`, which would hide a NaN.
                        out[j] = if y < floor { floor } else { y };
                    });
                },
            );
        }
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gain: &Tensor,
        shift: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [g, _, c, _] = self.axes;
        let make = |values: Vec<f32>| Tensor::from_vec(values, (g, c), x.device()).map(Some);
        let (gx, gg, gs) = with_values([x, gain, y, grad], |[xs, gain, ys, grads]| {
            let (gg, gs) = self.sums(xs, ys, grads);
            let gx = x.track_op().then(|| self.input_grad([xs, gain, ys, grads], &gg, &gs));
            Ok((gx, gg, gs))
        })?;
        let gx = gx.map(|gx| Tensor::from_vec(gx, x.shape(), x.device())).transpose()?;
        let gg = if gain.track_op() { make(gg)? } else { None };
        let gs = if shift.track_op() { make(gs)? } else { None };
        Ok((gx, gg, gs))
    }
}

impl Normalise {
    /// Does the gradient pass the ReLU at an element with output `y`?
    fn passes(&self, y: f32) -> f32 {
        if self.options.relu && y <= 0.0 { 0.0 } else { 1.0 }
    }

    /// Gradients of gain and shift: the sums of `grad * normalised x` and of `grad`.
    fn sums(&self, xs: &[f32], ys: &[f32], grads: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let [g, _, c, s] = self.axes;
        let parts: Vec<_> = tasks(self.axes)
            .into_par_iter()
            .map(|task| {
                let channels = task.2 - task.1;
                let mut gain = vec![0_f32; channels];
                let mut shift = gain.clone();
                let first = task.0 * c + task.1;
                let mean = &self.mean[first..first + channels];
                let scale = &self.scale[first..first + channels];
                for start in rows(self.axes, task) {
                    let at = start..start + channels * s;
                    let (xs, ys, grads) = (&xs[at.clone()], &ys[at.clone()], &grads[at]);
                    let (gain, shift) = (&mut gain[..channels], &mut shift[..channels]);
                    for_channels(channels, s, |i, j| {
                        let grad = grads[j] * self.passes(ys[j]);
                        gain[i] += grad * (xs[j] - mean[i]) * scale[i];
                        shift[i] += grad;
                    });
                }
                (gain, shift)
            })
            .collect();
        let mut out = (Vec::with_capacity(g * c), Vec::with_capacity(g * c));
        for (gain, shift) in parts {
            out.0.extend(gain);
            out.1.extend(shift);
        }
        out
    }

    /// Gradient of the input; through the moments as well if they are the batch's.
    fn input_grad(&self, [xs, gain, ys, grads]: [&[f32]; 4], gg: &[f32], gs: &[f32]) -> Vec<f32> {
        let [_, b, c, s] = self.axes;
        let count = if self.options.batch { 1.0 / (b * s) as f32 } else { 0.0 };
        let mut out = vec![0.0; xs.len()];
        if c * s == 0 {
            return out;
        }
        out.par_chunks_mut(c * s).enumerate().for_each(|(row, out)| {
            let first = row / b * c;
            let constants = first..first + c;
            let [mean, scale] = [&self.mean, &self.scale].map(|v| &v[constants.clone()]);
            let [gain, gg, gs] = [gain, gg, gs].map(|v| &v[constants.clone()]);
            let at = row * c * s..(row + 1) * c * s;
            let [xs, ys, grads] = [xs, ys, grads].map(|v| &v[at.clone()]);
            for_channels(c, s, |i, j| {
                let grad = grads[j] * self.passes(ys[j]);
                let centred = (xs[j] - mean[i]) * scale[i] * gg[i];
                out[j] = gain[i] * scale[i] * (grad - (gs[i] + centred) * count);
            });
        });
        out
    }
}
