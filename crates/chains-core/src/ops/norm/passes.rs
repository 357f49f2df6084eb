//! The loops of batch norm, on slices.
//!
//! A task owns channels: a tile of them where a row is one run of channels, one channel where every
//! channel has positions of its own. It sees its elements as one run for each example of the group.

use std::{borrow::Cow, ops::Range};

use rayon::prelude::*;

use super::{
    super::{
        activation::{silu_slope, silu_value},
        build_rows,
        simd::{lane_sum, vectorised},
        zeros,
    },
    NormActivation, NormOptions,
    tasks::{Task, fold_sums, folded, runs_mut},
};

/// Mean and population variance of every channel, accumulated in f64; of maps, the sums of a row of
/// an image or less in f32.
pub(super) fn moments(xs: &[f32], axes: [usize; 4]) -> (Vec<f32>, Vec<f32>) {
    let (axes, fold) = folded(axes);
    let [_, b, _, s] = axes;
    let count = (b * s * fold) as f64;
    let parts: Vec<_> = Task::all(axes, fold)
        .into_par_iter()
        .map(|task| {
            let mut mean = vec![0_f64; task.channels()];
            let mut variance = mean.clone();
            vectorised(
                #[inline(always)]
                || {
                    for xs in task.runs(axes, xs) {
                        if s == 1 {
                            mean.iter_mut().zip(xs).for_each(|(mean, x)| *mean += f64::from(*x));
                        } else {
                            mean[0] += f64::from(lane_sum([xs], |[x]| x));
                        }
                    }
                    fold_sums(&mut mean, fold);
                    mean.iter_mut().for_each(|mean| *mean /= count);
                    let centre = mean[0] as f32;
                    for xs in task.runs(axes, xs) {
                        if s == 1 {
                            let moments = variance.iter_mut().zip(&mean);
                            for ((variance, mean), x) in moments.zip(xs) {
                                let d = f64::from(*x) - mean;
                                *variance += d * d;
                            }
                        } else {
                            let square = lane_sum([xs], |[x]| (x - centre) * (x - centre));
                            variance[0] += f64::from(square);
                        }
                    }
                    fold_sums(&mut variance, fold);
                },
            );
            (mean, variance)
        })
        .collect();
    let (means, variances): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let narrow = |parts: Vec<Vec<f64>>, by: f64| {
        parts.into_iter().flatten().step_by(fold).map(|value| (value / by) as f32).collect()
    };
    (narrow(means, 1.0), narrow(variances, count))
}

/// The operands of the normalisation that stay the same for a channel, all `(g, c)` and then [`spread`].
pub(super) struct Passes<'a> {
    pub(super) mean: Cow<'a, [f32]>,
    pub(super) scale: Cow<'a, [f32]>,
    pub(super) pull: Cow<'a, [f32]>,
    pub(super) gain: Cow<'a, [f32]>,
    pub(super) shift: Cow<'a, [f32]>,
    pub(super) axes: [usize; 4],
    pub(super) options: NormOptions,
}

/// Mean, scale, pull, gain and shift of a range of channels.
#[derive(Clone, Copy)]
struct Channels<'a>([&'a [f32]; 5]);

impl Channels<'_> {
    /// The first `n`, so that the compiler sees one length for all: an index below it needs no check.
    #[inline(always)]
    fn first(self, n: usize) -> Self {
        let [mean, scale, pull, gain, shift] = self.0;
        Self([&mean[..n], &scale[..n], &pull[..n], &gain[..n], &shift[..n]])
    }

    #[inline(always)]
    fn at(&self, index: usize) -> Channel {
        let [mean, scale, pull, gain, shift] = self.0;
        Channel {
            mean: mean[index],
            scale: scale[index],
            pull: pull[index],
            factor: gain[index] * scale[index],
            shift: shift[index],
        }
    }
}

/// The constants of one channel.
#[derive(Clone, Copy)]
struct Channel {
    mean: f32,
    scale: f32,
    pull: f32,
    /// `gain * scale`.
    factor: f32,
    shift: f32,
}

impl Channel {
    /// The result before the activation.
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        (x - self.mean) * self.factor + self.shift
    }

    #[inline(always)]
    fn normalised(self, x: f32) -> f32 {
        (x - self.mean) * self.scale
    }

    /// Gradient of the input, from what passed the activation, the sums of the channel and the inverse
    /// count of its elements.
    #[inline(always)]
    fn input_grad(self, x: f32, grad: f32, [gain, shift]: [f32; 2], count: f32) -> f32 {
        self.factor * (grad - (shift + self.normalised(x) * (gain * self.pull)) * count)
    }
}

/// The sums over the runs of a channel of `passed(x, grad)` times normalised `x`, and of itself.
#[inline(always)]
fn channel_sums<'a>(
    channel: Channel,
    runs: impl Iterator<Item = (&'a [f32], &'a [f32])>,
    passed: impl Fn(f32, f32) -> f32 + Copy,
) -> [f32; 2] {
    let mut sums = [0_f64; 2];
    for (xs, grads) in runs {
        let weighted = lane_sum(
            [xs, grads],
            #[inline(always)]
            |[x, g]| passed(x, g) * channel.normalised(x),
        );
        sums[0] += f64::from(weighted);
        let plain = lane_sum(
            [xs, grads],
            #[inline(always)]
            |[x, g]| passed(x, g),
        );
        sums[1] += f64::from(plain);
    }
    sums.map(|sum| sum as f32)
}

impl Passes<'_> {
    #[inline(always)]
    fn channels(&self, range: Range<usize>) -> Channels<'_> {
        let slices = [&self.mean, &self.scale, &self.pull, &self.gain, &self.shift];
        Channels(slices.map(|values| &values[range.clone()]))
    }

    /// `gain (x - mean) scale + shift`, with its activation.
    pub(super) fn forward(&self, xs: &[f32]) -> Vec<f32> {
        match self.options.activation {
            NormActivation::None => self.activated(
                xs,
                #[inline(always)]
                |y| y,
            ),
            NormActivation::Relu => self.activated(
                xs,
                // Not `max`, which would hide a NaN.
                #[inline(always)]
                |y| if y < 0.0 { 0.0 } else { y },
            ),
            NormActivation::LeakyRelu(slope) => self.activated(
                xs,
                #[inline(always)]
                move |y| if y > 0.0 { y } else { slope * y },
            ),
            NormActivation::Swish => self.activated(xs, silu_value),
        }
    }

    #[inline(always)]
    fn activated(&self, xs: &[f32], f: impl Fn(f32) -> f32 + Copy + Sync) -> Vec<f32> {
        let [_, b, c, s] = folded(self.axes).0;
        let row = c * s;
        if row == 0 {
            return Vec::new();
        }
        build_rows(
            xs.len(),
            row,
            #[inline(always)]
            |start, out| {
                let rows = out.chunks_exact_mut(row).zip(xs[start..].chunks_exact(row));
                for (index, (out, xs)) in rows.enumerate() {
                    let first = (start / row + index) / b * c;
                    if s == 1 {
                        let channels = self.channels(first..first + c).first(c);
                        let (out, xs) = (&mut out[..c], &xs[..c]);
                        for i in 0..c {
                            out[i] = f(channels.at(i).value(xs[i]));
                        }
                        continue;
                    }
                    for (i, (out, xs)) in
                        out.chunks_exact_mut(s).zip(xs.chunks_exact(s)).enumerate()
                    {
                        let channel = self.channels(first + i..first + i + 1).at(0);
                        for (y, x) in out.iter_mut().zip(xs) {
                            *y = f(channel.value(*x));
                        }
                    }
                }
            },
        )
    }

    /// Gradients of the input, if wanted, and of gain and shift: the sums of
    /// `grad * normalised x` and of `grad`.
    pub(super) fn backward(
        &self,
        xs: &[f32],
        grads: &[f32],
        input: bool,
    ) -> (Option<Vec<f32>>, Vec<f32>, Vec<f32>) {
        match self.options.activation {
            NormActivation::None => self.gradients::<false>(
                xs,
                grads,
                input,
                #[inline(always)]
                |_, g| g,
            ),
            NormActivation::Relu => self.gradients::<false>(
                xs,
                grads,
                input,
                #[inline(always)]
                |y, g| if y <= 0.0 { 0.0 } else { g },
            ),
            NormActivation::LeakyRelu(slope) => self.gradients::<false>(
                xs,
                grads,
                input,
                #[inline(always)]
                move |y, g| if y > 0.0 { g } else { slope * g },
            ),
            NormActivation::Swish => self.gradients::<true>(
                xs,
                grads,
                input,
                #[inline(always)]
                |y, g| g * silu_slope(y),
            ),
        }
    }

    /// `pass` gives what of a gradient passes the activation, from the value before it; `COSTLY` says that
    /// it is worth keeping.
    #[inline(always)]
    fn gradients<const COSTLY: bool>(
        &self,
        xs: &[f32],
        grads: &[f32],
        input: bool,
        pass: impl Fn(f32, f32) -> f32 + Copy + Sync,
    ) -> (Option<Vec<f32>>, Vec<f32>, Vec<f32>) {
        let mut out = zeros(if input { xs.len() } else { 0 });
        let (axes, fold) = folded(self.axes);
        let tasks = Task::all(axes, fold);
        let mut runs = if out.is_empty() { Vec::new() } else { runs_mut(axes, fold, &mut out) };
        runs.resize_with(tasks.len(), Vec::new);
        let parts: Vec<_> = tasks
            .into_par_iter()
            .zip(runs)
            .map(|(task, mut runs)| {
                let mut sums = [vec![0_f32; task.channels()], vec![0_f32; task.channels()]];
                vectorised(
                    #[inline(always)]
                    || self.task::<COSTLY>(task, [xs, grads], &mut sums, &mut runs, pass),
                );
                sums
            })
            .collect();
        let mut sums = [Vec::new(), Vec::new()];
        for part in parts {
            sums.iter_mut()
                .zip(part)
                .for_each(|(sum, part)| sum.extend(part.into_iter().step_by(fold)));
        }
        let [gain, shift] = sums;
        (input.then_some(out), gain, shift)
    }

    /// The sums of one task; then, while its elements are near, the gradient of the input.
    #[inline(always)]
    fn task<const COSTLY: bool>(
        &self,
        task: Task,
        [xs, grads]: [&[f32]; 2],
        [gains, shifts]: &mut [Vec<f32>; 2],
        out: &mut [&mut [f32]],
        pass: impl Fn(f32, f32) -> f32 + Copy,
    ) {
        let (axes, fold) = folded(self.axes);
        let [_, b, c, s] = axes;
        let count = if self.options.batch { 1.0 / (b * s * fold) as f32 } else { 0.0 };
        let constants = task.constants(c);
        let runs = || task.runs(axes, xs).zip(task.runs(axes, grads));
        if s > 1 {
            let channel = self.channels(constants).at(0);
            if COSTLY && !out.is_empty() {
                for (out, (xs, grads)) in out.iter_mut().zip(runs()) {
                    for (out, (x, g)) in out.iter_mut().zip(xs.iter().zip(grads)) {
                        *out = pass(channel.value(*x), *g);
                    }
                }
                let kept = || task.runs(axes, xs).zip(out.iter().map(|out| &**out));
                let sums = channel_sums(
                    channel,
                    kept(),
                    #[inline(always)]
                    |_, g| g,
                );
                (gains[0], shifts[0]) = (sums[0], sums[1]);
                for (out, xs) in out.iter_mut().zip(task.runs(axes, xs)) {
                    for (out, x) in out.iter_mut().zip(xs) {
                        *out = channel.input_grad(*x, *out, sums, count);
                    }
                }
                return;
            }
            let sums = channel_sums(
                channel,
                runs(),
                #[inline(always)]
                |x, g| pass(channel.value(x), g),
            );
            (gains[0], shifts[0]) = (sums[0], sums[1]);
            for (out, (xs, grads)) in out.iter_mut().zip(runs()) {
                for (out, (x, g)) in out.iter_mut().zip(xs.iter().zip(grads)) {
                    *out = channel.input_grad(*x, pass(channel.value(*x), *g), sums, count);
                }
            }
            return;
        }
        let n = task.channels();
        let channels = self.channels(constants).first(n);
        let (gains, shifts) = (&mut gains[..n], &mut shifts[..n]);
        for (xs, grads) in runs() {
            let (xs, grads) = (&xs[..n], &grads[..n]);
            for i in 0..n {
                let channel = channels.at(i);
                let g = pass(channel.value(xs[i]), grads[i]);
                gains[i] += g * channel.normalised(xs[i]);
                shifts[i] += g;
            }
        }
        fold_sums(gains, fold);
        fold_sums(shifts, fold);
        for (out, (xs, grads)) in out.iter_mut().zip(runs()) {
            let (out, xs, grads) = (&mut out[..n], &xs[..n], &grads[..n]);
            for i in 0..n {
                let channel = channels.at(i);
                let g = pass(channel.value(xs[i]), grads[i]);
                out[i] = channel.input_grad(xs[i], g, [gains[i], shifts[i]], count);
            }
        }
    }
}
