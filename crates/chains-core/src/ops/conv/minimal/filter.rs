//! Maps from images, and images from maps.

use std::ops::Range;

use super::{
    LANES, Minimal, PHASES, PRODUCTS, Scratch, TILES,
    side::Side,
    taps::{Columns, TAPS, VECTORS},
};
use crate::ops::{
    conv::{
        dense::rectified,
        tasks::{panels, sized},
    },
    kernel::{Rows, block_product, fresh_rows, strips, transpose},
    simd::vectorised,
};

/// Values that are summed over at a time: a strip of taps stays in the first-level cache.
const DEPTH: usize = 128;
/// Most columns of a task.
const WIDTH: usize = 128;

/// What is done with the sums.
#[derive(Clone, Copy, Default)]
pub(in crate::ops::conv) struct Finish<'a> {
    /// For each channel, added for so many images.
    pub(in crate::ops::conv) bias: Option<(&'a [f32], usize)>,
    pub(in crate::ops::conv) rectify: bool,
}

struct Filter<'a> {
    plan: &'a Minimal,
    /// To maps, or to images.
    forward: bool,
    source: &'a [f32],
    weight: &'a [f32],
    finish: Finish<'a>,
}

impl Minimal {
    /// The maps of images.
    pub(in crate::ops::conv) fn forward(
        &self,
        image: &[f32],
        weight: &[f32],
        finish: Finish<'_>,
    ) -> Vec<f32> {
        Filter { plan: self, forward: true, source: image, weight, finish }.run()
    }

    /// The images that maps give, the transposed convolution.
    pub(in crate::ops::conv) fn image_gradient(
        &self,
        map: &[f32],
        weight: &[f32],
        finish: Finish<'_>,
    ) -> Vec<f32> {
        Filter { plan: self, forward: false, source: map, weight, finish }.run()
    }

    /// Images and channels of a task.
    fn cut(&self, to: &Side) -> [usize; 2] {
        let tasks = self.tasks();
        let groups = (self.batch * self.tiles / TILES).clamp(1, tasks);
        let columns = to.width(to.blocks());
        let parts = columns.div_ceil(WIDTH).max((tasks / groups).min(columns / (WIDTH / 4)));
        let part = to.blocks().div_ceil(parts.max(1));
        let parts = to.blocks().div_ceil(part);
        [self.batch.div_ceil(groups.min(tasks.div_ceil(parts))), part * LANES]
    }
}

impl Filter<'_> {
    fn run(&self) -> Vec<f32> {
        let (_, to) = self.sides();
        let shape = [self.plan.batch, to.channels, to.pixels];
        fresh_rows(shape, self.plan.cut(to), |first, channel, rows| {
            Scratch::with(|scratch| self.task(scratch, [first, channel], rows));
        })
    }

    fn sides(&self) -> (&Side, &Side) {
        let Minimal { image, map, .. } = self.plan;
        if self.forward { (image, map) } else { (map, image) }
    }

    fn task(&self, scratch: &mut Scratch, [first, channel]: [usize; 2], rows: &mut Rows<'_>) {
        let (from, to) = self.sides();
        let (images, tiles) = (rows.images(), self.plan.tiles);
        let outputs = channel / LANES..(channel + rows.channels()).div_ceil(LANES);
        let width = to.width(outputs.len());
        let deep = DEPTH / from.width(1);
        // Rows at a power of two from one another would share a few sets of the cache.
        let strides = [DEPTH, width].map(|len| len + LANES);
        let per = self.plan.images().min(images);
        let Scratch { pixels, turned, from: factors, to: products, taps, lines } = scratch;
        let factors = sized(factors, PRODUCTS * per * tiles * strides[0]);
        let products = sized(products, PRODUCTS * per * tiles * strides[1]);
        // The factors of taps are kept for the blocks of tiles to come.
        let kept = if images > per { from.width(from.blocks()) } else { DEPTH };
        let taps = sized(taps, PRODUCTS * kept * width);
        let pixels = sized(pixels, from.buffer().max(to.buffer()));
        let turned = sized(turned, to.buffer());
        let columns = Columns::new(width);
        for block in panels(images, per) {
            let count = block.len() * tiles;
            let apart = strides.map(|stride| [count * stride, stride]);
            for inputs in panels(from.blocks(), deep) {
                for (i, image) in block.clone().enumerate() {
                    let len = from.channels * from.pixels;
                    let image = &self.source[(first + image) * len..][..len];
                    for (j, input) in inputs.clone().enumerate() {
                        let at = i * tiles * strides[0] + from.width(j);
                        from.widen((image, input), pixels, (factors, at), apart[0]);
                    }
                }
                let depth = from.width(inputs.len());
                let start = if images > per { from.width(inputs.start) } else { 0 };
                let taps = &mut taps[PRODUCTS * start * width..];
                if block.start == 0 {
                    let [lines, vectors] = &mut *lines;
                    self.pack(&columns, inputs.clone(), outputs.clone(), (taps, [lines, vectors]));
                }
                for p in 0..PRODUCTS {
                    for strip in strips(width) {
                        block_product(
                            (&mut products[p * apart[1][0] + strip.start..], strides[1]),
                            (&taps[p * columns.len(depth) + strip.start * depth..], strip.len()),
                            (&factors[p * apart[0][0]..], strides[0]),
                            [strip.len(), count, depth],
                            inputs.start > 0,
                        );
                    }
                }
            }
            for (i, image) in block.enumerate() {
                for output in 0..outputs.len() {
                    let at = i * tiles * strides[1] + to.width(output);
                    to.fold((products, at), apart[1], pixels);
                    let pixels = &pixels[..to.pixels * LANES];
                    transpose(pixels, to.pixels, (turned, to.pixels));
                    self.write(rows, [first, channel], [image, output], turned);
                }
            }
        }
    }

    /// The factors of the taps between some vectors of channels.
    fn pack(
        &self,
        columns: &Columns,
        inputs: Range<usize>,
        outputs: Range<usize>,
        (out, buffers): (&mut [f32], [&mut Vec<f32>; 2]),
    ) {
        let (from, _) = self.sides();
        let Minimal { image, map, .. } = self.plan;
        let rows = from.width(inputs.len());
        let [lines, taps] = buffers;
        let lines = sized(lines, LANES * VECTORS);
        let taps = sized(taps, LANES * VECTORS);
        for (i, input) in inputs.enumerate() {
            for (j, output) in outputs.clone().enumerate() {
                let [m, k] = if self.forward { [output, input] } else { [input, output] };
                // Lines of the taps of a vector of channels of the image, one for each map.
                let channels = k * LANES..image.channels.min((k + 1) * LANES);
                let maps = m * LANES..map.channels.min((m + 1) * LANES);
                if channels.len() < LANES || maps.len() < LANES {
                    lines.fill(0.0);
                }
                for (line, o) in lines.chunks_exact_mut(VECTORS).zip(maps) {
                    let from = (o * image.channels + channels.start) * TAPS;
                    let len = channels.len() * TAPS;
                    line[..len].copy_from_slice(&self.weight[from..from + len]);
                }
                let to: [[usize; 2]; 4] = if self.forward {
                    transpose(lines, LANES, (taps, LANES));
                    std::array::from_fn(|phase| [from.width(i) + phase * LANES, j])
                } else {
                    let pairs = lines.chunks_exact(VECTORS).zip(taps.chunks_exact_mut(VECTORS));
                    pairs.for_each(|(line, taps)| transpose(line, LANES, (taps, LANES)));
                    std::array::from_fn(|phase| [from.width(i), j * PHASES + phase])
                };
                columns.store(taps, out, rows, to);
            }
        }
    }

    /// Writes planes of a vector of channels of one image of the task.
    fn write(
        &self,
        rows: &mut Rows<'_>,
        [first, channel]: [usize; 2],
        [image, output]: [usize; 2],
        planes: &[f32],
    ) {
        let (_, to) = self.sides();
        let Finish { bias, rectify } = self.finish;
        vectorised(
            #[inline(always)]
            || {
                let left = rows.channels() - output * LANES;
                for (i, plane) in planes.chunks_exact(to.pixels).take(left.min(LANES)).enumerate() {
                    let row = output * LANES + i;
                    let shift = match bias {
                        Some((bias, biased)) if first + image < biased => bias[channel + row],
                        _ => 0.0,
                    };
                    if rectify {
                        rows.append([image, row], plane, |x| rectified(x + shift));
                    } else {
                        rows.append([image, row], plane, |x| x + shift);
                    }
                }
            },
        );
    }
}
