//! One kernel for each channel: sums of shifted rows, no products of matrices.

use pulp::Simd;

use super::{
    geometry::Geometry,
    lanes,
    patches::{Patches, SLACK},
    planes::{Work, tasks},
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
    /// Rows of the kernel, if they are one below the other in the phases.
    height: Option<usize>,
}

impl Plane {
    fn new(g: &Geometry) -> Self {
        let ([c, h, w], [_, oh, ow]) = (g.image, g.map);
        let patches = Patches::new(Geometry { image: [1, h, w], map: [1, oh, ow], ..*g });
        let offsets = patches.offsets(1);
        let height = (g.stride == 1).then_some(g.kernel[0]);
        Self { patches, offsets, sides: [h, w], map: [oh, ow], channels: c, height }
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

    fn positions(&self) -> usize {
        self.map[0] * self.map[1]
    }

    fn buffer(&self) -> Vec<f32> {
        vec![0.0; self.patches.plane() + SLACK]
    }
}

/// Planes of one task.
const PLANES: [usize; 2] = [8; 2];

/// One vector from the start of a slice.
#[inline(always)]
fn load<S: Simd>(values: &[f32]) -> S::f32s {
    S::as_simd_f32s(&values[..S::F32_LANES]).0[0]
}

/// `(b, c, oh, ow)` from images, weight `(c, 1, kh, kw)` and bias `(c,)`.
pub(super) fn forward(
    g: &Geometry,
    image: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    if lanes::fits(g) {
        return lanes::forward(g, image, weight, bias);
    }
    let work = Forward { plane: Plane::new(g), image, weight, bias };
    tasks(&work, [g.batch * g.map[0], g.positions()], PLANES)
}

struct Forward<'a> {
    plane: Plane,
    image: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
}

impl Work for Forward<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, first: usize, out: &mut [f32]) {
        let plane = &self.plane;
        let mut buffer = plane.buffer();
        for (i, out) in out.chunks_exact_mut(plane.positions()).enumerate() {
            let index = first + i;
            plane.phases(self.image, index, &mut buffer);
            let start = self.bias.map_or(0.0, |bias| bias[index % plane.channels]);
            let rows = Rows { plane, kernel: plane.kernel(self.weight, index), start };
            match plane.height {
                Some(3) => rows.all::<S, 3>(simd, &buffer, out),
                Some(5) => rows.all::<S, 5>(simd, &buffer, out),
                _ => rows.all::<S, 1>(simd, &buffer, out),
            }
        }
    }
}

/// Rows that a block reads at most.
const MOST: usize = 12;

/// The map of one channel, computed several rows at once.
struct Rows<'a> {
    plane: &'a Plane,
    kernel: &'a [f32],
    start: f32,
}

impl Rows<'_> {
    /// `HEIGHT` is that of the kernel, or 1 for taps that are not ordered by rows one below the other.
    #[inline(always)]
    fn all<S: Simd, const HEIGHT: usize>(&self, simd: S, phases: &[f32], out: &mut [f32]) {
        let [height, width] = self.plane.map;
        let mut y = 0;
        while y < height {
            let to = &mut out[y * width..];
            y += match height - y {
                8.. => self.block::<S, 8, HEIGHT>(simd, phases, y, to),
                4.. => self.block::<S, 4, HEIGHT>(simd, phases, y, to),
                _ => self.block::<S, 1, HEIGHT>(simd, phases, y, to),
            };
        }
    }

    /// `ROWS` rows of the map from `y` on; what is loaded serves every row of the kernel.
    #[inline(always)]
    fn block<S: Simd, const ROWS: usize, const HEIGHT: usize>(
        &self,
        simd: S,
        phases: &[f32],
        y: usize,
        out: &mut [f32],
    ) -> usize {
        let (width, step) = (self.plane.map[1], self.plane.patches.row(1));
        let taps = self.kernel.len() / HEIGHT;
        for x in (0..width).step_by(S::F32_LANES) {
            let mut sums = [simd.splat_f32s(self.start); ROWS];
            for (tap, offset) in self.plane.offsets[..taps].iter().enumerate() {
                // Beyond a short row this reads values that are not used.
                let phases = &phases[self.plane.patches.row(y) + x + offset..];
                let phases = &phases[..(ROWS + HEIGHT - 2) * step + S::F32_LANES];
                let mut values = [simd.splat_f32s(0.0); MOST];
                for (row, values) in values.iter_mut().take(ROWS + HEIGHT - 1).enumerate() {
                    *values = load::<S>(&phases[row * step..]);
                }
                for u in 0..HEIGHT {
                    let weight = simd.splat_f32s(self.kernel[u * taps + tap]);
                    for i in 0..ROWS {
                        sums[i] = simd.mul_add_f32s(weight, values[i + u], sums[i]);
                    }
                }
            }
            let len = S::F32_LANES.min(width - x);
            for (i, sum) in sums.into_iter().enumerate() {
                simd.partial_store_f32s(&mut out[i * width + x..][..len], sum);
            }
        }
        ROWS
    }
}

/// The gradient of the images, `(b, c, h, w)`.
pub(super) fn image_gradient(g: &Geometry, map: &[f32], weight: &[f32]) -> Vec<f32> {
    if let Some(mirror) = g.mirror() {
        let turn = |kernel: &[f32]| kernel.iter().rev().copied().collect::<Vec<_>>();
        let weight: Vec<f32> = weight.chunks_exact(g.taps()).flat_map(turn).collect();
        return forward(&mirror, map, &weight, None);
    }
    let work = ImageGradient { plane: Plane::new(g), map, weight };
    tasks(&work, [g.batch * g.image[0], g.image[1] * g.image[2]], PLANES)
}

struct ImageGradient<'a> {
    plane: Plane,
    map: &'a [f32],
    weight: &'a [f32],
}

impl Work for ImageGradient<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, first: usize, out: &mut [f32]) {
        let plane = &self.plane;
        let positions = plane.positions();
        let mut buffer = plane.buffer();
        for (i, out) in out.chunks_exact_mut(plane.sides[0] * plane.sides[1]).enumerate() {
            let index = first + i;
            buffer.fill(0.0);
            let map = &self.map[index * positions..(index + 1) * positions];
            for (weight, offset) in plane.kernel(self.weight, index).iter().zip(&plane.offsets) {
                let weight = simd.splat_f32s(*weight);
                for (y, row) in map.chunks_exact(plane.map[1]).enumerate() {
                    let to = &mut buffer[offset + plane.patches.row(y)..][..row.len()];
                    let runs = to.chunks_mut(S::F32_LANES).zip(row.chunks(S::F32_LANES));
                    for (to, row) in runs {
                        let (sum, row) = (simd.partial_load_f32s(to), simd.partial_load_f32s(row));
                        simd.partial_store_f32s(to, simd.mul_add_f32s(weight, row, sum));
                    }
                }
            }
            plane.patches.join(&buffer[..plane.patches.plane()], 0.0, out);
        }
    }
}

/// The gradient of the weight, `(c, 1, kh, kw)`.
pub(super) fn weight_gradient(g: &Geometry, image: &[f32], map: &[f32]) -> Vec<f32> {
    if lanes::fits(g) {
        return lanes::weight_gradient(g, image, map);
    }
    let plane = Plane::new(g);
    let (channels, taps) = (plane.channels, plane.offsets.len());
    let parts = tasks(&WeightGradient { plane, image, map }, [g.batch * channels, taps], PLANES);
    let mut out = vec![0_f64; channels * taps];
    for image in parts.chunks_exact(out.len()) {
        out.iter_mut().zip(image).for_each(|(sum, part)| *sum += f64::from(*part));
    }
    out.into_iter().map(|sum| sum as f32).collect()
}

struct WeightGradient<'a> {
    plane: Plane,
    image: &'a [f32],
    map: &'a [f32],
}

impl Work for WeightGradient<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, first: usize, out: &mut [f32]) {
        // Several taps at once, for independent sums and fewer reads of the map.
        const TAPS: usize = 5;
        let plane = &self.plane;
        let (positions, [height, width]) = (plane.positions(), plane.map);
        // Rows of the map are filled up with zeros to whole vectors.
        let line = width.next_multiple_of(S::F32_LANES);
        let (mut buffer, mut map) = (plane.buffer(), vec![0.0; height * line]);
        for (i, sums) in out.chunks_exact_mut(plane.offsets.len()).enumerate() {
            let index = first + i;
            plane.phases(self.image, index, &mut buffer);
            let rows = self.map[index * positions..(index + 1) * positions].chunks_exact(width);
            for (row, map) in rows.zip(map.chunks_exact_mut(line)) {
                map[..width].copy_from_slice(row);
            }
            for (sums, offsets) in sums.chunks_mut(TAPS).zip(plane.offsets.chunks(TAPS)) {
                if let (Some(sums), Some(offsets)) = (sums.first_chunk_mut(), offsets.first_chunk())
                {
                    dot::<S, TAPS>(simd, plane, offsets, (&buffer, &map), sums);
                } else {
                    for (sum, offset) in sums.iter_mut().zip(offsets) {
                        let sum = std::array::from_mut(sum);
                        dot::<S, 1>(simd, plane, &[*offset], (&buffer, &map), sum);
                    }
                }
            }
        }
    }
}

/// For each tap the sum of products of the map, in whole vectors, with the phases.
#[inline(always)]
fn dot<S: Simd, const TAPS: usize>(
    simd: S,
    plane: &Plane,
    offsets: &[usize; TAPS],
    (phases, map): (&[f32], &[f32]),
    sums: &mut [f32; TAPS],
) {
    let mut lanes = [simd.splat_f32s(0.0); TAPS];
    let line = plane.map[1].next_multiple_of(S::F32_LANES);
    for (y, row) in map.chunks_exact(line).enumerate() {
        let row = S::as_simd_f32s(row).0;
        for (x, run) in row.iter().enumerate() {
            let at = plane.patches.row(y) + x * S::F32_LANES;
            for i in 0..TAPS {
                let values = load::<S>(&phases[offsets[i] + at..]);
                lanes[i] = simd.mul_add_f32s(*run, values, lanes[i]);
            }
        }
    }
    for i in 0..TAPS {
        sums[i] = simd.reduce_sum_f32s(lanes[i]);
    }
}
