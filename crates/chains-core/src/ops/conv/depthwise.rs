//! One kernel for each channel: sums of shifted rows, no products of matrices.

use rayon::prelude::*;

use super::{
    geometry::Geometry,
    patches::{Patches, SLACK},
};

/// One channel of one image; a kernel is then a list of distances in the padded phases.
struct Plane {
    patches: Patches,
    offsets: Vec<usize>,
    /// Height and width of the image.
    sides: [usize; 2],
    /// Height and width of the map.
    map: [usize; 2],
    channels: usize,
}

impl Plane {
    fn new(g: &Geometry) -> Self {
        let ([c, h, w], [_, oh, ow]) = (g.image, g.map);
        let patches = Patches::new(Geometry { image: [1, h, w], map: [1, oh, ow], ..*g });
        let offsets = patches.offsets(1);
        Self { patches, offsets, sides: [h, w], map: [oh, ow], channels: c }
    }

    /// The padded phases of image `index`, counted over batch and channels.
    #[inline(always)]
    fn phases(&self, image: &[f32], index: usize, buffer: &mut [f32]) {
        let len = self.sides[0] * self.sides[1];
        let plane = self.patches.plane();
        self.patches.split(&image[index * len..(index + 1) * len], &mut buffer[..plane]);
    }

    fn kernel<'a>(&self, weight: &'a [f32], index: usize) -> &'a [f32] {
        let (taps, channel) = (self.offsets.len(), index % self.channels);
        &weight[channel * taps..(channel + 1) * taps]
    }

    fn buffer(&self) -> Vec<f32> {
        vec![0.0; self.patches.plane() + SLACK]
    }
}

/// Planes of one task.
const PLANES: usize = 8;

/// Calls `f(first plane, results)` for results of `len` values a plane.
fn tasks(out: &mut [f32], len: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    out.par_chunks_mut(PLANES * len).enumerate().for_each(|(i, out)| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || f(i * PLANES, out),
        );
    });
}

/// `(b, c, oh, ow)` from images, weight `(c, 1, kh, kw)` and bias `(c,)`.
pub(super) fn forward(
    g: &Geometry,
    image: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let plane = Plane::new(g);
    let mut out = vec![0.0; g.batch * g.map_len()];
    tasks(
        &mut out,
        g.positions(),
        #[inline(always)]
        |first, out| {
            let mut buffer = plane.buffer();
            for (i, out) in out.chunks_exact_mut(g.positions()).enumerate() {
                plane.phases(image, first + i, &mut buffer);
                let kernel = plane.kernel(weight, first + i);
                let start = bias.map_or(0.0, |bias| bias[(first + i) % plane.channels]);
                match plane.map[1] {
                    0..=4 => sum_taps::<4>(&plane, kernel, start, &buffer, out),
                    5..=8 => sum_taps::<8>(&plane, kernel, start, &buffer, out),
                    _ => sum_taps::<16>(&plane, kernel, start, &buffer, out),
                }
            }
        },
    );
    out
}

#[inline(always)]
fn sum_taps<const RUN: usize>(
    plane: &Plane,
    kernel: &[f32],
    start: f32,
    phases: &[f32],
    out: &mut [f32],
) {
    for (y, row) in out.chunks_exact_mut(plane.map[1]).enumerate() {
        for (x, run) in row.chunks_mut(RUN).enumerate() {
            let mut sum = [start; RUN];
            let at = plane.patches.row(y) + x * RUN;
            for (weight, offset) in kernel.iter().zip(&plane.offsets) {
                // Beyond a short run this reads values that are not used.
                let values = &phases[at + offset..at + offset + RUN];
                sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
            }
            run.copy_from_slice(&sum[..run.len()]);
        }
    }
}

/// The gradient of the images, `(b, c, h, w)`.
pub(super) fn image_gradient(g: &Geometry, map: &[f32], weight: &[f32]) -> Vec<f32> {
    let plane = Plane::new(g);
    let (len, positions) = (plane.sides[0] * plane.sides[1], g.positions());
    let mut out = vec![0.0; g.batch * g.image_len()];
    tasks(
        &mut out,
        len,
        #[inline(always)]
        |first, out| {
            let mut buffer = plane.buffer();
            for (i, out) in out.chunks_exact_mut(len).enumerate() {
                buffer.fill(0.0);
                let map = &map[(first + i) * positions..(first + i + 1) * positions];
                let kernel = plane.kernel(weight, first + i);
                for (weight, offset) in kernel.iter().zip(&plane.offsets) {
                    for (y, row) in map.chunks_exact(plane.map[1]).enumerate() {
                        let to = buffer[offset + plane.patches.row(y)..].iter_mut();
                        to.zip(row).for_each(|(sum, value)| *sum += weight * value);
                    }
                }
                plane.patches.join(&buffer[..plane.patches.plane()], 0.0, out);
            }
        },
    );
    out
}

/// The gradient of the weight, `(c, 1, kh, kw)`.
pub(super) fn weight_gradient(g: &Geometry, image: &[f32], map: &[f32]) -> Vec<f32> {
    let plane = Plane::new(g);
    let (taps, positions) = (plane.offsets.len(), g.positions());
    let mut parts = vec![0.0; g.batch * plane.channels * taps];
    tasks(
        &mut parts,
        taps,
        #[inline(always)]
        |first, parts| {
            let mut buffer = plane.buffer();
            for (i, sums) in parts.chunks_exact_mut(taps).enumerate() {
                plane.phases(image, first + i, &mut buffer);
                let map = &map[(first + i) * positions..(first + i + 1) * positions];
                for (sum, offset) in sums.iter_mut().zip(&plane.offsets) {
                    *sum = match plane.map[1] {
                        0..=3 => dot::<1>(&plane, &buffer[*offset..], map),
                        4..=7 => dot::<4>(&plane, &buffer[*offset..], map),
                        8..=15 => dot::<8>(&plane, &buffer[*offset..], map),
                        _ => dot::<16>(&plane, &buffer[*offset..], map),
                    };
                }
            }
        },
    );
    let mut out = vec![0_f64; plane.channels * taps];
    for image in parts.chunks_exact(out.len()) {
        out.iter_mut().zip(image).for_each(|(sum, part)| *sum += f64::from(*part));
    }
    out.into_iter().map(|sum| sum as f32).collect()
}

/// The sum of products of the maps with the phases, from the first value of the latter.
#[inline(always)]
fn dot<const RUN: usize>(plane: &Plane, phases: &[f32], map: &[f32]) -> f32 {
    let mut lanes = [0_f32; RUN];
    let mut rest = 0_f32;
    for (y, row) in map.chunks_exact(plane.map[1]).enumerate() {
        let from = &phases[plane.patches.row(y)..][..row.len()];
        let (runs, values) = (row.chunks_exact(RUN), from.chunks_exact(RUN));
        for (a, b) in runs.remainder().iter().zip(values.remainder()) {
            rest += a * b;
        }
        for (a, b) in runs.zip(values) {
            for i in 0..RUN {
                lanes[i] += a[i] * b[i];
            }
        }
    }
    lanes.iter().sum::<f32>() + rest
}
