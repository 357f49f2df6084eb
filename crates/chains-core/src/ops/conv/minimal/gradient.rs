//! The gradient of the weight.

use super::{
    LANES, Minimal, PRODUCTS, Scratch, TASKS, TILES,
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
        let part = c.div_ceil(c.div_ceil(PART[0])).next_multiple_of(LANES);
        // The maps of a task are part of one share.
        let group = [PART[1], PART[1] / 2].into_iter().find(|part| o.is_multiple_of(*part));
        let group = group.unwrap_or(o);
        let parts = c.div_ceil(part) * (o / group);
        let shares = (self.batch * self.tiles / (4 * TILES)).clamp(1, TASKS.div_ceil(parts));
        let share = self.batch.div_ceil(shares);
        let shares = self.batch.div_ceil(share);
        let sums = fresh_rows([shares * o, c, TAPS], [group, part], |first, channel, rows| {
            let start = first / o * share;
            let images = [start, share.min(self.batch - start)];
            Scratch::with(|scratch| {
                self.sums(scratch, [image, map], images, [channel, first % o], rows);
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

    /// The sums over some images for some channels of images and maps.
    fn sums(
        &self,
        scratch: &mut Scratch,
        [image, map]: [&[f32]; 2],
        [start, images]: [usize; 2],
        [channel, first]: [usize; 2],
        rows: &mut Rows<'_>,
    ) {
        let channels = [rows.channels(), rows.images()];
        let sides = [(&self.image, image, channel), (&self.map, map, first)];
        let blocks = channels.map(|len| len.div_ceil(LANES));
        let widths = [self.image.width(blocks[0]), self.map.width(blocks[1])];
        let strides = widths.map(|width| width + LANES);
        let per = self.images().min(images);
        let Scratch { pixels, from, to, taps, .. } = scratch;
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
        for c in 0..channels[0] {
            let row = self.image.width(c / LANES) + c % LANES;
            for block in 0..blocks[1] {
                let start = |phase: usize| (row + phase * LANES) * strides[1] + block * LANES;
                let taps = fold(sums, std::array::from_fn(start), product);
                let left = channels[1] - block * LANES;
                for (i, taps) in taps.chunks_exact(TAPS).take(left).enumerate() {
                    rows.append([block * LANES + i, c], taps, |x| x);
                }
            }
        }
    }
}
