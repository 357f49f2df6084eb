//! Maps from images, and images from maps.

use std::ops::Range;

use super::{
    LANES, Minimal, PRODUCTS, Scratch, TASKS, TILES,
    side::Side,
    taps::{Columns, TAPS, load},
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

    /// Images and channels of a task for so many columns.
    fn cut(&self, to: &Side) -> [usize; 2] {
        let groups = (self.batch * self.tiles / TILES).clamp(1, TASKS);
        let columns = to.width(to.blocks());
        let parts = columns.div_ceil(WIDTH).max((TASKS / groups).min(columns / (WIDTH / 4))).max(1);
        let part = to.blocks().div_ceil(parts);
        let parts = to.blocks().div_ceil(part);
        [self.batch.div_ceil(groups.min(TASKS.div_ceil(parts))), part * LANES]
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
        let Scratch { pixels, turned, from: factors, to: products, taps } = scratch;
        let factors = sized(factors, PRODUCTS * per * tiles * strides[0]);
        let products = sized(products, PRODUCTS * per * tiles * strides[1]);
        let taps = sized(taps, PRODUCTS * from.width(from.blocks()) * width);
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
                let taps = &mut taps[PRODUCTS * from.width(inputs.start) * width..];
                if block.start == 0 {
                    self.pack(&columns, inputs.clone(), outputs.clone(), taps);
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
        out: &mut [f32],
    ) {
        let (from, _) = self.sides();
        let Minimal { image, map, .. } = self.plan;
        let rows = from.width(inputs.len());
        let mut taps = [0.0; TAPS * LANES];
        let kernel = |o: usize, c: usize| {
            let inside = o < map.channels && c < image.channels;
            inside.then(|| &self.weight[(o * image.channels + c) * TAPS..][..TAPS])
        };
        for (i, input) in inputs.enumerate() {
            for (j, output) in outputs.clone().enumerate() {
                for lane in 0..LANES {
                    let (one, others) = (input * LANES + lane, output * LANES..);
                    let others = others.take(LANES);
                    let to: [[usize; 2]; 4] = if self.forward {
                        load(others.map(|o| kernel(o, one)), &mut taps);
                        std::array::from_fn(|phase| [from.width(i) + phase * LANES + lane, j])
                    } else {
                        load(others.map(|c| kernel(one, c)), &mut taps);
                        std::array::from_fn(|phase| [from.width(i) + lane, j * image.parts + phase])
                    };
                    columns.store(&taps, out, rows, to);
                }
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
