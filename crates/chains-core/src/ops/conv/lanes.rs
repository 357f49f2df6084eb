//! One kernel for each channel on maps of few pixels: a vector holds one pixel of several channels, and
//! taps that lie outside of the image are left out.

use std::ops::Range;

use pulp::Simd;

use super::{
    geometry::Geometry,
    planes::{Work, tasks},
};

/// Pixels of the largest map and image; of larger ones a vector is better filled with a row.
const MOST: usize = 64;
/// Channels of the widest vectors, which those of narrower ones divide.
const LANES: usize = 16;
/// Values of a task, about.
const GRAIN: usize = 8192;

/// Is it of this kind?
pub(super) fn fits(g: &Geometry) -> bool {
    g.stride == 1 && g.positions() <= MOST && g.image[1] * g.image[2] <= MOST
}

/// `(b, c, oh, ow)` from images, weight `(c, 1, kh, kw)` and bias `(c,)`.
pub(super) fn forward(
    g: &Geometry,
    image: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let channels = g.image[0].next_multiple_of(LANES);
    let mut weights = vec![0.0; (g.taps() + 1) * channels];
    let (start, taps) = weights.split_at_mut(channels);
    if let Some(bias) = bias {
        start[..bias.len()].copy_from_slice(bias);
    }
    for (channel, kernel) in weight.chunks_exact(g.taps()).enumerate() {
        let column = taps[channel..].iter_mut().step_by(channels);
        column.zip(kernel).for_each(|(y, x)| *y = *x);
    }
    let (len, work) = (g.map_len(), Forward { g, image, weights: &weights, channels });
    tasks(&work, [g.batch, len], [GRAIN.div_ceil(len), 1])
}

/// The gradient of the weight, `(c, 1, kh, kw)`.
pub(super) fn weight_gradient(g: &Geometry, image: &[f32], map: &[f32]) -> Vec<f32> {
    let work = WeightGradient { g, image, map };
    tasks(&work, [g.image[0], g.taps()], [LANES; 2])
}

/// Planes of `len` values side by side in vectors; lanes beyond the planes keep what they hold.
#[inline(always)]
fn interleave(planes: &[f32], len: usize, lanes: usize, out: &mut [f32]) {
    for (lane, plane) in planes.chunks_exact(len).enumerate() {
        let column = out[lane..].iter_mut().step_by(lanes);
        column.zip(plane).for_each(|(y, x)| *y = *x);
    }
}

/// The reverse of [`interleave`].
#[inline(always)]
fn separate(vectors: &[f32], len: usize, lanes: usize, out: &mut [f32]) {
    for (lane, plane) in out.chunks_exact_mut(len).enumerate() {
        let column = vectors[lane..].iter().step_by(lanes);
        plane.iter_mut().zip(column).for_each(|(y, x)| *y = *x);
    }
}

/// The indices `i < n` with `i + tap - padding` in `0..side`.
#[inline(always)]
fn inside(n: usize, side: usize, tap: usize, padding: usize) -> Range<usize> {
    let from = padding.saturating_sub(tap).min(n);
    from..n.min((side + padding).saturating_sub(tap)).max(from)
}

struct Forward<'a> {
    g: &'a Geometry,
    image: &'a [f32],
    /// Bias, then taps: a row of `channels` each.
    weights: &'a [f32],
    channels: usize,
}

impl Work for Forward<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, first: usize, out: &mut [f32]) {
        let ([_, h, w], positions, lanes) = (self.g.image, self.g.positions(), S::F32_LANES);
        let (len, rows) = (h * w, self.g.taps() + 1);
        let (mut pixels, mut sums) = (vec![0.0; len * lanes], vec![0.0; positions * lanes]);
        let mut weights = vec![0.0; rows * lanes];
        for (i, out) in out.chunks_exact_mut(self.g.map_len()).enumerate() {
            let image = &self.image[(first + i) * self.g.image_len()..][..self.g.image_len()];
            let blocks = image.chunks(lanes * len).zip(out.chunks_mut(lanes * positions));
            for (block, (image, out)) in blocks.enumerate() {
                let columns = self.weights[block * lanes..].chunks(self.channels);
                for (to, from) in weights.chunks_exact_mut(lanes).zip(columns) {
                    to.copy_from_slice(&from[..lanes]);
                }
                interleave(image, len, lanes, &mut pixels);
                self.block(simd, &weights, &pixels, &mut sums);
                separate(&sums, positions, lanes, out);
            }
        }
    }
}

impl Forward<'_> {
    #[inline(always)]
    fn block<S: Simd>(&self, simd: S, weights: &[f32], pixels: &[f32], sums: &mut [f32]) {
        let ([_, h, w], [_, oh, ow], [kh, kw]) = (self.g.image, self.g.map, self.g.kernel);
        let [above, left] = self.g.padding;
        let (weights, pixels) = (S::as_simd_f32s(weights).0, S::as_simd_f32s(pixels).0);
        let (bias, taps) = (weights[0], &weights[1..]);
        let mut sums = S::as_mut_simd_f32s(sums).0.iter_mut();
        for y in 0..oh {
            let rows = inside(kh, h, y, above);
            for x in 0..ow {
                let columns = inside(kw, w, x, left);
                let mut sum = bias;
                for u in if columns.is_empty() { 0..0 } else { rows.clone() } {
                    let taps = &taps[u * kw..][columns.clone()];
                    let from = (y + u - above) * w + x + columns.start - left;
                    for (tap, pixel) in taps.iter().zip(&pixels[from..]) {
                        sum = simd.mul_add_f32s(*tap, *pixel, sum);
                    }
                }
                if let Some(to) = sums.next() {
                    *to = sum;
                }
            }
        }
    }
}

struct WeightGradient<'a> {
    g: &'a Geometry,
    image: &'a [f32],
    map: &'a [f32],
}

impl Work for WeightGradient<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, first: usize, out: &mut [f32]) {
        let (lanes, taps) = (S::F32_LANES, self.g.taps());
        let (len, positions) = (self.g.image[1] * self.g.image[2], self.g.positions());
        let (mut pixels, mut grads) = (vec![0.0; len * lanes], vec![0.0; positions * lanes]);
        let (mut sums, mut total) = (vec![0.0; taps * lanes], vec![0_f64; taps * lanes]);
        for (block, out) in out.chunks_mut(lanes * taps).enumerate() {
            let (channel, channels) = (first + block * lanes, out.len() / taps);
            total.fill(0.0);
            for i in 0..self.g.batch {
                let at = i * self.g.image[0] + channel;
                interleave(&self.image[at * len..][..channels * len], len, lanes, &mut pixels);
                let map = &self.map[at * positions..][..channels * positions];
                interleave(map, positions, lanes, &mut grads);
                self.image_sums(simd, &pixels, &grads, &mut sums);
                total.iter_mut().zip(&sums).for_each(|(total, sum)| *total += f64::from(*sum));
            }
            for (lane, kernel) in out.chunks_exact_mut(taps).enumerate() {
                let column = total[lane..].iter().step_by(lanes);
                kernel.iter_mut().zip(column).for_each(|(y, sum)| *y = *sum as f32);
            }
        }
    }
}

impl WeightGradient<'_> {
    /// What one image gives to every tap.
    #[inline(always)]
    fn image_sums<S: Simd>(&self, simd: S, pixels: &[f32], grads: &[f32], sums: &mut [f32]) {
        let ([_, h, w], [_, oh, ow], [kh, kw]) = (self.g.image, self.g.map, self.g.kernel);
        let [above, left] = self.g.padding;
        sums.fill(0.0);
        let (pixels, grads) = (S::as_simd_f32s(pixels).0, S::as_simd_f32s(grads).0);
        let sums = S::as_mut_simd_f32s(sums).0;
        for (u, sums) in sums.chunks_exact_mut(kw).enumerate().take(kh) {
            for y in inside(oh, h, u, above) {
                // A row of sums in turn, so that each waits for nothing.
                for (v, sum) in sums.iter_mut().enumerate() {
                    let columns = inside(ow, w, v, left);
                    if columns.is_empty() {
                        continue;
                    }
                    let from = (y + u - above) * w + columns.start + v - left;
                    let grads = &grads[y * ow..][columns];
                    let mut here = *sum;
                    for (grad, pixel) in grads.iter().zip(&pixels[from..]) {
                        here = simd.mul_add_f32s(*grad, *pixel, here);
                    }
                    *sum = here;
                }
            }
        }
    }
}
