//! The convolution itself: maps from images.
//!
//! By one of two ways, unless minimal filtering needs fewer products, see [`super::minimal`]. Where rows
//! of the map may run on into the padding at little cost, whole vectors of patches are read where they
//! lie. Elsewhere patches are copied to columns, for hundreds of positions at once, so that large weights
//! pass by only once for all of them.

use std::ops::Range;

use super::{
    dense::{padded, rectified},
    geometry::Geometry,
    minimal::{Finish, Minimal},
    patches::{Patches, SLACK},
    tasks::{Piece, Plan, Scratch, pieces, sized},
};
use crate::ops::{
    kernel::{Patchwork, Rows, STRIP, fresh_rows, patch_product, strip_len, strip_product, strips},
    simd::vectorised,
};

/// Values of a vector.
const LANES: usize = SLACK;
/// Vectors of a panel that is read where it lies: two tiles.
const VECTORS: usize = 6;
/// Values summed over at a time where patches are read where they lie.
const DEPTH: usize = 256;
/// Most vectors of a panel of copied patches, and most values of each.
const BLOCK: [usize; 2] = [18, 320];

/// The convolution: `(b, o, oh, ow)` from images, weight `(o, c, kh, kw)` and bias `(o,)`, which is
/// added to the maps of so many images; without its negative part if `rectify`.
pub(super) fn forward(
    g: &Geometry,
    image: &[f32],
    weight: &[f32],
    bias: Option<(&[f32], usize)>,
    rectify: bool,
) -> Vec<f32> {
    if let Some(minimal) = Minimal::new(g) {
        return minimal.forward(image, weight, Finish { bias, rectify });
    }
    let g = g.flattened();
    let patches = Patches::new(g);
    let offsets = patches.offsets(g.image[0]);
    let layer = Layer { g, patches, offsets, image, weight, bias, rectify };
    let plan = Plan::new(&layer.g, &layer.patches);
    let sizes = [plan.group, plan.part];
    fresh_rows([g.batch, g.map[0], g.positions()], sizes, |first, channel, rows| {
        Scratch::with(|scratch| {
            let way = if plan.in_place { Layer::in_place } else { Layer::copied };
            way(&layer, scratch, [first, channel], rows);
        });
    })
}

struct Layer<'a> {
    g: Geometry,
    patches: Patches,
    /// Where every tap of every channel finds the first position.
    offsets: Vec<usize>,
    image: &'a [f32],
    weight: &'a [f32],
    bias: Option<(&'a [f32], usize)>,
    rectify: bool,
}

impl Layer<'_> {
    /// The maps of the images and channels from `first` and `channel` on.
    fn in_place(&self, scratch: &mut Scratch, [first, channel]: [usize; 2], rows: &mut Rows<'_>) {
        let (depth, images, parts) = (self.g.depth(), rows.images(), rows.channels());
        let Scratch { phases, tile, bases, pieces, .. } = scratch;
        let (_, walked) = self.patches.walk();
        // The last vector may reach beyond its image, but not beyond the last one.
        let behind = (self.g.batch - first - images) * self.g.image_len();
        let inside = walked.next_multiple_of(LANES) - walked <= behind;
        let source = self.source(first..first + images, inside, phases);
        let stretch = self.g.image[0] * self.patches.plane();
        let tile = sized(tile, parts * VECTORS * LANES);
        let vectors = walked.div_ceil(LANES);
        let deep = depth.div_ceil(depth.div_ceil(DEPTH));
        for start in (0..images * vectors).step_by(VECTORS) {
            let panel = start..(start + VECTORS).min(images * vectors);
            self.walked(panel.clone(), vectors, pieces);
            expect(rows, pieces);
            bases.clear();
            bases.extend(
                panel
                    .clone()
                    .map(|at| at / vectors * stretch + self.patches.place(at % vectors * LANES)),
            );
            for (i, offsets) in self.offsets.chunks(deep).enumerate() {
                let weights = (&self.weight[channel * depth + i * deep..], depth);
                let patchwork = Patchwork { source, bases, offsets };
                let out = (&mut *tile, VECTORS * LANES);
                let known = patch_product(out, weights, patchwork, parts, i > 0);
                debug_assert!(known, "patches read in place without a kernel for it");
            }
            self.write(rows, [first, channel], (tile, VECTORS * LANES), pieces);
        }
    }

    /// The pieces of a panel of vectors, so many an image, that belong to maps.
    fn walked(&self, panel: Range<usize>, vectors: usize, out: &mut Vec<Piece>) {
        let (ow, (row, walked)) = (self.g.map[2], self.patches.walk());
        let [row, ow] = if row == ow { [walked; 2] } else { [row, ow] };
        out.clear();
        let first = panel.start;
        let mut vector = first;
        while vector < panel.end {
            let (image, end) = (vector / vectors, panel.end.min((vector / vectors + 1) * vectors));
            let origin = vector % vectors * LANES;
            let stop = (origin + (end - vector) * LANES).min(walked);
            let mut at = origin;
            while at < stop {
                let (x, lane) = (at % row, (vector - first) * LANES + at - origin);
                let len = ow.saturating_sub(x).min(stop - at);
                if len > 0 {
                    out.push(Piece { image, lane, len });
                }
                at += row - x;
            }
            vector = end;
        }
    }

    /// As [`Self::in_place`], by copies of all patches.
    fn copied(&self, scratch: &mut Scratch, [first, channel]: [usize; 2], rows: &mut Rows<'_>) {
        let [wide, deep] = BLOCK;
        let (depth, images, parts) = (self.g.depth(), rows.images(), rows.channels());
        let Scratch { phases, columns, tile, runs, pieces: found, .. } = scratch;
        let source = self.source(first..first + images, true, phases);
        let stretch = self.g.image[0] * self.patches.plane();
        let deep = depth.div_ceil(depth.div_ceil(deep));
        let columns = sized(columns, wide.div_ceil(STRIP / LANES) * strip_len(deep));
        let tile = sized(tile, parts * wide * LANES);
        let total = images * self.g.positions();
        let vectors = total.div_ceil(LANES);
        let panels = vectors.div_ceil(wide);
        for index in 0..panels {
            let at = |index: usize| (vectors * index / panels * LANES).min(total);
            let panel = at(index)..at(index + 1);
            let lanes = panel.len().next_multiple_of(LANES);
            found.clear();
            found.extend(pieces(panel.clone(), self.g.positions()).map(|(_, piece)| piece));
            for (i, offsets) in self.offsets.chunks(deep).enumerate() {
                runs.clear();
                for (index, lanes) in strips(lanes).enumerate() {
                    let end = (panel.start + lanes.end).min(panel.end);
                    let at = index * strip_len(offsets.len());
                    self.patches.runs(panel.start + lanes.start..end, stretch, at, runs);
                }
                self.patches.gather(source, offsets, runs, columns, STRIP);
                strip_product(
                    (&mut *tile, wide * LANES),
                    (&self.weight[channel * depth + i * deep..], depth),
                    columns,
                    [lanes, parts, offsets.len()],
                    i > 0,
                );
            }
            self.write(rows, [first, channel], (tile, wide * LANES), found);
        }
    }

    /// The phases of these images; they may be followed by others if so much is `inside`.
    fn source<'a>(
        &'a self,
        images: Range<usize>,
        inside: bool,
        buffer: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        if self.patches.is_plain() && inside {
            return &self.image[images.start * self.g.image_len()..];
        }
        padded(&self.g, &self.patches, self.image, (images, 0..self.g.image[0]), buffer)
    }

    /// Appends pieces of a tile, a row for each channel from `channel` on, to the maps of the images
    /// from `first` on.
    fn write(
        &self,
        rows: &mut Rows<'_>,
        [first, channel]: [usize; 2],
        (tile, stride): (&[f32], usize),
        pieces: &[Piece],
    ) {
        vectorised(
            #[inline(always)]
            || {
                for (i, values) in tile.chunks_exact(stride).enumerate() {
                    let (shift, biased) =
                        self.bias.map_or((0.0, 0), |(bias, biased)| (bias[channel + i], biased));
                    for Piece { image, lane, len } in pieces {
                        let shift = if first + image < biased { shift } else { 0.0 };
                        let values = &values[*lane..lane + len];
                        if self.rectify {
                            rows.append([*image, i], values, |x| rectified(x + shift));
                        } else {
                            rows.append([*image, i], values, |x| x + shift);
                        }
                    }
                }
            },
        );
    }
}

fn expect(rows: &Rows<'_>, pieces: &[Piece]) {
    for channel in 0..rows.channels() {
        for Piece { image, len, .. } in pieces {
            rows.expect([*image, channel], *len);
        }
    }
}
