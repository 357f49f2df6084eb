//! The gradient of the weight.

use super::{
    LANES, Minimal, PRODUCTS, Scratch, TILES,
    taps::{TAPS, fold},
};
use crate::ops::{
    GRAIN,
    conv::tasks::{panels, sized},
    kernel::{Rows, fresh, fresh_rows, outer_product},
};

/// Most channels of images and of maps of a task: its sums stay in the second-level cache.
const PART: [usize; 2] = [32, 128];

impl Minimal {
    /// The gradient of the weight, `(o, c, 4, 4)`, from images and maps.
    pub(in crate::ops::conv) fn weight_gradient(&self, image: &[f32], map: &[f32]) -> Vec<f32> {
        let [c, o] = [self.image.channels, self.map.channels];
        // Parts are equal, so that the channels of one are a row of the result.
        let divisor = |n: usize, most: usize| {
            [most, most / 2].into_iter().find(|part| n.is_multiple_of(*part)).unwrap_or(n)
        };
        let [part, group] = [divisor(c, PART[0]), divisor(o, PART[1])];
        let parts = c / part * (o / group);
        let shares = self.batch * self.tiles / (4 * TILES);
        let shares = shares.clamp(1, self.tasks().div_ceil(parts));
        let share = self.batch.div_ceil(shares);
        let shares = self.batch.div_ceil(share);
        let shape = [shares * o, c / part, part * TAPS];
        let sums = fresh_rows(shape, [group, 1], |first, index, rows| {
            let start = first / o * share;
            let images = [start, share.min(self.batch - start)];
            let channels = [index * part, first % o];
            Scratch::with(|scratch| {
                self.sums(scratch, [image, map], images, (channels, part), rows);
            });
        });
        if shares == 1 {
            return sums;
        }
        let len = o * c * TAPS;
        fresh(len, [GRAIN; 2], |start, out| {
            for part in sums.chunks_exact(len) {
                out.iter_mut().zip(&part[start..]).for_each(|(y, x)| *y += x);
            }
        })
    }

    /// The sums over some images, for `part` channels of images and those of the maps that are asked for.
    fn sums(
        &self,
        scratch: &mut Scratch,
        [image, map]: [&[f32]; 2],
        [start, images]: [usize; 2],
        ([channel, first], part): ([usize; 2], usize),
        rows: &mut Rows<'_>,
    ) {
        let channels = [part, rows.images()];
        let sides = [(&self.image, image, channel), (&self.map, map, first)];
        let blocks = channels.map(|len| len.div_ceil(LANES));
        let widths = [self.image.width(blocks[0]), self.map.width(blocks[1])];
        let strides = widths.map(|width| width + LANES);
        let per = self.images().min(images);
        let Scratch { pixels, turned, from, to, taps, .. } = scratch;
        let pixels = sized(pixels, self.image.buffer().max(self.map.buffer()));
        let from = sized(from, PRODUCTS * per * self.tiles * strides[0]);
        let to = sized(to, PRODUCTS * per * self.tiles * strides[1]);
        let product = widths[0] * strides[1];
        let sums = sized(taps, PRODUCTS * product);
        for block in panels(images, per) {
            let count = block.len() * self.tiles;
            let apart = strides.map(|stride| [count * stride, stride]);
            for (i, image) in block.clone().enumerate() {
                for (s, (side, values, channel)) in sides.into_iter().enumerate() {
                    let len = side.channels * side.pixels;
                    let values = &values[(start + image) * len..][..len];
                    for j in 0..blocks[s] {
                        let at = i * self.tiles * strides[s] + side.width(j);
                        let out = if s == 0 { &mut *from } else { &mut *to };
                        side.widen((values, channel / LANES + j), pixels, (out, at), apart[s]);
                    }
                }
            }
            for p in 0..PRODUCTS {
                outer_product(
                    (&mut sums[p * product..], strides[1]),
                    (&from[p * apart[0][0]..], strides[0]),
                    (&to[p * apart[1][0]..], strides[1]),
                    [widths[0], widths[1], count],
                    block.start > 0,
                );
            }
        }
        let len = part * TAPS;
        let lines = sized(turned, LANES * len);
        for block in 0..blocks[1] {
            for c in 0..part {
                let row = self.image.width(c / LANES) + c % LANES;
                let start = |phase: usize| (row + phase * LANES) * strides[1] + block * LANES;
                let taps = fold(sums, std::array::from_fn(start), product);
                for (line, taps) in lines.chunks_exact_mut(len).zip(taps.chunks_exact(TAPS)) {
                    line[c * TAPS..(c + 1) * TAPS].copy_from_slice(taps);
                }
            }
            let left = channels[1] - block * LANES;
            for (i, line) in lines.chunks_exact(len).take(left).enumerate() {
                rows.append([block * LANES + i, 0], line, |x| x);
            }
        }
    }
}
