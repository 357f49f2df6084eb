//! The products of a convolution that are not the maps: image gradient, weight gradient.
//!
//! Where fewer products will do, [`super::minimal`] computes them.
//!
//! Each works on panels of consecutive positions whose columns stay in the first-level cache:
//! columns are filled for a part of the depth, multiplied at once and forgotten. The tasks and all
//! orders of summation depend on the shape alone, so the bits do not depend on the threads.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    forward::forward,
    geometry::Geometry,
    minimal::{Finish, Minimal},
    patches::{Patches, SLACK},
    tasks::{Piece, Scratch, Tasks, panels, pieces, sized},
};
use crate::ops::{
    kernel::{Patchwork, block_product, patch_sums},
    simd::vectorised,
};

/// Positions of a panel: two tiles of three vectors.
const PANEL: usize = 96;
/// Positions of a panel that are summed over.
const LONG_PANEL: usize = 128;
/// Values summed over in one product.
const DEPTH: usize = 256;
/// Columns of one product; with more, `gemm` would pack its other operand.
const WIDTH: usize = 48;

/// The phases of some channels of consecutive images; the images themselves where these will do.
fn phases<'a>(
    g: &Geometry,
    patches: &Patches,
    image: &'a [f32],
    (images, channels): (Range<usize>, Range<usize>),
    buffer: &'a mut Vec<f32>,
) -> &'a [f32] {
    if patches.is_plain() && channels.len() == g.image[0] {
        return &image[images.start * g.image_len()..images.end * g.image_len()];
    }
    padded(g, patches, image, (images, channels), buffer)
}

/// A copy of the phases of some channels of consecutive images, and [`SLACK`] more values.
pub(super) fn padded<'a>(
    g: &Geometry,
    patches: &Patches,
    image: &[f32],
    (images, channels): (Range<usize>, Range<usize>),
    buffer: &'a mut Vec<f32>,
) -> &'a [f32] {
    let [c, h, w] = g.image;
    let plane = patches.plane();
    let planes = images.len() * channels.len();
    let out = sized(buffer, planes * plane + SLACK);
    out.fill(0.0);
    vectorised(
        #[inline(always)]
        || {
            for (i, out) in out.chunks_exact_mut(plane).take(planes).enumerate() {
                let (row, channel) = (i / channels.len(), i % channels.len());
                let source = (images.start + row) * c + channels.start + channel;
                patches.split(&image[source * h * w..(source + 1) * h * w], out);
            }
        },
    );
    out
}

/// Copies a panel of the maps of consecutive images: row `i` of `tile` is map `i`.
fn load(g: &Geometry, map: &[f32], panel: Range<usize>, tile: &mut [f32], stride: usize) {
    let (o, positions) = (g.map[0], g.positions());
    for (at, Piece { image, lane, len }) in pieces(panel, positions) {
        for (i, row) in tile.chunks_exact_mut(stride).take(o).enumerate() {
            let from = (image * o + i) * positions + at;
            row[lane..lane + len].copy_from_slice(&map[from..from + len]);
        }
    }
}

#[inline(always)]
pub(super) fn rectified(x: f32) -> f32 {
    if x <= 0.0 { 0.0 } else { x }
}

/// The gradient of the images, which is the transposed convolution: `(b, c, h, w)` from maps,
/// weight `(o, c, kh, kw)` and, for the latter, bias `(c,)`.
pub(super) fn image_gradient(
    g: &Geometry,
    map: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    if let Some(minimal) = Minimal::new(g) {
        let bias = bias.map(|bias| (bias, usize::MAX));
        return minimal.image_gradient(map, weight, Finish { bias, rectify: false });
    }
    if let Some(mirror) = g.mirror() {
        // Its columns are as many as the maps; without it, as many as the channels of the image.
        if g.map[0] <= 2 * g.image[0] {
            return forward(
                &mirror,
                map,
                &mirrored(weight, g),
                bias.map(|bias| (bias, usize::MAX)),
                false,
            );
        }
    }
    let g = &g.flattened();
    let patches = Patches::new(*g);
    let ([c, h, w], o, positions, taps) = (g.image, g.map[0], g.positions(), g.taps());
    let plane = patches.plane();
    let tasks = Tasks::new(g, c);
    let weight = &turned(weight, [o, c, taps], tasks.part, &patches);
    tasks.run([g.batch, c, h * w], |first, channel, out| {
        Scratch::with(|Scratch { phases, columns, tile, runs, .. }| {
            let parts = (out.len() / (h * w)).min(tasks.part);
            let images = out.len() / (h * w) / parts;
            let map = &map[first * g.map_len()..(first + images) * g.map_len()];
            let starts = patches.offsets(parts);
            let spaced = patches.spaced(parts).into_iter();
            let offsets: Vec<_> = spaced.map(|(c, tap)| starts[c * taps + tap]).collect();
            let phases = sized(phases, images * parts * plane + SLACK);
            phases.fill(0.0);
            let columns = sized(columns, WIDTH * PANEL);
            let tile = sized(tile, o * PANEL);
            for panel in panels(images * positions, PANEL) {
                let lanes = panel.len().next_multiple_of(16);
                runs.clear();
                patches.runs(panel.clone(), parts * plane, 0, runs);
                load(g, map, panel, tile, PANEL);
                for rows in panels(parts * taps, WIDTH) {
                    let weight = &weight[(channel * taps + rows.start) * o..];
                    for sum in panels(o, DEPTH) {
                        block_product(
                            (columns, PANEL),
                            (&tile[sum.start * PANEL..], PANEL),
                            (&weight[sum.start..], o),
                            [lanes, rows.len(), sum.len()],
                            sum.start > 0,
                        );
                    }
                    Patches::scatter((columns, PANEL), &offsets[rows], runs, phases);
                }
            }
            let bias = bias.map(|bias| &bias[channel..channel + parts]);
            join(&patches, phases, [h * w, parts], bias, out);
        });
    })
}

/// Gathers the phases of planes of `len` values each, `parts` channels an image, and adds the bias.
fn join(
    patches: &Patches,
    phases: &[f32],
    [len, parts]: [usize; 2],
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    vectorised(
        #[inline(always)]
        || {
            let planes = phases.chunks_exact(patches.plane()).zip(out.chunks_exact_mut(len));
            for (i, (phases, out)) in planes.enumerate() {
                let shift = bias.map_or(0.0, |bias| bias[i % parts]);
                if bias.is_some() {
                    out.fill(shift);
                }
                patches.join(phases, shift, out);
            }
        },
    );
}

/// The gradient of the weight, `(o, c, kh, kw)`, from images and maps.
pub(super) fn weight_gradient(g: &Geometry, image: &[f32], map: &[f32]) -> Vec<f32> {
    if let Some(minimal) = Minimal::new(g) {
        return minimal.weight_gradient(image, map);
    }
    let g = &g.flattened();
    let patches = Patches::new(*g);
    let (c, o, positions, depth) = (g.image[0], g.map[0], g.positions(), g.depth());
    let offsets = patches.offsets(c);
    // Rows of the transposed sums, long enough for whole vectors.
    let row = o.next_multiple_of(16);
    // Many positions are divided among the tasks, few positions the channels.
    let many = g.batch >= 4 && g.batch * positions >= 2048;
    let share = if many { g.batch.div_ceil(4) } else { g.batch };
    let work = g.batch * o * depth * positions;
    let part = if !many && work > 1 << 22 { c.div_ceil(4) } else { c };
    let group = Tasks::new(g, c).group;
    let work = WeightSums { g, patches: &patches, offsets: &offsets, row };
    let mut sums = vec![0.0; g.batch.div_ceil(share) * depth * row];
    sums.par_chunks_mut(depth * row).enumerate().for_each(|(i, sums)| {
        sums.par_chunks_mut(part * g.taps() * row).enumerate().for_each(|(j, sums)| {
            let channels = j * part..c.min((j + 1) * part);
            Scratch::with(|scratch| {
                for images in panels(share.min(g.batch - i * share), group) {
                    let images = i * share + images.start..i * share + images.end;
                    work.add(scratch, [image, map], (images, channels.clone()), sums);
                }
            });
        });
    });
    collect(&sums, [o, row, depth])
}

/// The sums of a weight gradient: a row for each tap of each channel, a value for each map.
struct WeightSums<'a> {
    g: &'a Geometry,
    patches: &'a Patches,
    /// Of every tap.
    offsets: &'a [usize],
    /// Values of a row, whole vectors.
    row: usize,
}

impl WeightSums<'_> {
    /// Adds the part of some images to the sums of some channels.
    fn add(
        &self,
        scratch: &mut Scratch,
        [image, map]: [&[f32]; 2],
        (images, channels): (Range<usize>, Range<usize>),
        sums: &mut [f32],
    ) {
        let Self { g, patches, row, .. } = *self;
        let (o, positions) = (g.map[0], g.positions());
        let offsets = &self.offsets[..channels.len() * g.taps()];
        let map = &map[images.start * g.map_len()..images.end * g.map_len()];
        let total = images.len() * positions;
        let Scratch { phases: buffer, columns, tile, turned, runs, bases, .. } = scratch;
        let stretch = channels.len() * patches.plane();
        let source = phases(g, patches, image, (images, channels), buffer);
        let columns = sized(columns, WIDTH * LONG_PANEL + SLACK);
        let tile = sized(tile, o.next_multiple_of(PANEL) * LONG_PANEL);
        let turned = sized(turned, o.next_multiple_of(PANEL) * LONG_PANEL);
        for panel in panels(total, LONG_PANEL) {
            runs.clear();
            patches.runs(panel.clone(), stretch, 0, runs);
            tile[o * LONG_PANEL..].fill(0.0);
            load(g, map, panel.clone(), tile, LONG_PANEL);
            turn(tile, row, panel.len(), turned);
            if Patches::bases(runs, true, bases)
                && by_patches(sums, row, turned, Patchwork { source, bases, offsets })
            {
                continue;
            }
            for taps in panels(offsets.len(), WIDTH) {
                patches.gather(source, &offsets[taps.clone()], runs, columns, LONG_PANEL);
                for maps in panels(row, PANEL) {
                    block_product(
                        (&mut sums[taps.start * row + maps.start..], row),
                        (&turned[maps.start * LONG_PANEL..], PANEL),
                        (columns, LONG_PANEL),
                        [maps.len(), taps.len(), panel.len()],
                        true,
                    );
                }
            }
        }
    }
}

/// Adds a panel to the sums of all taps without copying patches, if there is a kernel for it.
fn by_patches(sums: &mut [f32], row: usize, turned: &[f32], patches: Patchwork<'_>) -> bool {
    panels(row, PANEL).all(|maps| {
        let block = &turned[maps.start * LONG_PANEL..];
        patch_sums((&mut sums[maps.start..], row), (block, PANEL), patches, maps.len())
    })
}

/// Transposes the rows of a long panel, in blocks of [`PANEL`] rows.
fn turn(tile: &[f32], rows: usize, lanes: usize, out: &mut [f32]) {
    const SIDE: usize = 8;
    vectorised(
        #[inline(always)]
        || {
            for row in (0..rows).step_by(SIDE) {
                let from = &tile[row * LONG_PANEL..(row + SIDE) * LONG_PANEL];
                let at = row / PANEL * PANEL * LONG_PANEL + row % PANEL;
                for lane in (0..lanes).step_by(SIDE) {
                    let mut block = [[0.0; SIDE]; SIDE];
                    for (j, from) in from.chunks_exact(LONG_PANEL).enumerate() {
                        for (i, value) in from[lane..lane + SIDE].iter().enumerate() {
                            block[i][j] = *value;
                        }
                    }
                    for (i, block) in block.iter().enumerate() {
                        let to = at + (lane + i) * PANEL;
                        out[to..to + SIDE].copy_from_slice(block);
                    }
                }
            }
        },
    );
}

/// Adds transposed partial sums, rows padded to `row` values, to `(o, depth)`.
fn collect(sums: &[f32], [o, row, depth]: [usize; 3]) -> Vec<f32> {
    const SIDE: usize = 16;
    let mut out = vec![0.0; o * depth];
    out.par_chunks_mut(SIDE * depth).enumerate().for_each(|(block, out)| {
        // By tiles: rows that are a power of two apart share their place in the cache.
        for k in (0..depth).step_by(SIDE) {
            let mut tile = [[0.0; SIDE]; SIDE];
            for part in sums.chunks_exact(depth * row) {
                let values = part[k * row..].chunks_exact(row);
                for (line, values) in tile.iter_mut().zip(values) {
                    let values = &values[block * SIDE..(block + 1) * SIDE];
                    line.iter_mut().zip(values).for_each(|(y, x)| *y += x);
                }
            }
            for (i, out) in out.chunks_exact_mut(depth).enumerate() {
                let out = out[k..].iter_mut();
                out.zip(&tile).for_each(|(y, line)| *y = line[i]);
            }
        }
    });
    out
}

/// The weight `(o, c, taps)` transposed: for every `part` channels a row for each of their taps in
/// the order of [`Patches::spaced`].
fn turned(weight: &[f32], [o, c, taps]: [usize; 3], part: usize, patches: &Patches) -> Vec<f32> {
    const MAPS: usize = 8;
    let mut rows = vec![0; c * taps];
    let mut next = 0;
    for channels in panels(c, part) {
        for (channel, tap) in patches.spaced(channels.len()) {
            rows[(channels.start + channel) * taps + tap] = next;
            next += 1;
        }
    }
    let mut out = vec![0.0; weight.len()];
    // A few maps at once: neighbours in a row, and not more than the cache has room for.
    for (block, maps) in weight.chunks(MAPS * c * taps).enumerate() {
        for (k, row) in rows.iter().enumerate() {
            let to = &mut out[row * o + block * MAPS..];
            let values = maps[k..].iter().step_by(c * taps);
            to.iter_mut().zip(values).for_each(|(to, value)| *to = *value);
        }
    }
    out
}

/// The weight of [`Geometry::mirror`]: `(c, o, kh, kw)`, taps reversed.
fn mirrored(weight: &[f32], g: &Geometry) -> Vec<f32> {
    let (o, c, taps) = (g.map[0], g.image[0], g.taps());
    let mut out = vec![0.0; weight.len()];
    for (at, from) in weight.chunks_exact(taps).enumerate() {
        let (i, channel) = (at / c, at % c);
        let to = (channel * o + i) * taps;
        out[to..to + taps].iter_mut().zip(from.iter().rev()).for_each(|(y, x)| *y = *x);
    }
    out
}

/// Sums over batch and positions of `(b, c, positions)`, for the gradient of a bias.
pub(super) fn channel_sums(values: &[f32], [c, positions]: [usize; 2]) -> Vec<f32> {
    let mut planes = vec![0_f32; values.len() / positions];
    planes.par_iter_mut().with_min_len(8).zip(values.par_chunks(positions)).for_each(
        |(sum, plane)| {
            let mut lanes = [0_f32; 16];
            let chunks = plane.chunks_exact(16);
            *sum = chunks.remainder().iter().sum();
            for chunk in chunks {
                lanes.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += value);
            }
            *sum += lanes.iter().sum::<f32>();
        },
    );
    let mut out = vec![0_f64; c];
    for image in planes.chunks_exact(c) {
        out.iter_mut().zip(image).for_each(|(sum, plane)| *sum += f64::from(*plane));
    }
    out.into_iter().map(|sum| sum as f32).collect()
}
