//! Patches of images as columns of small matrices.
//!
//! An image is padded once and split by phase, that is by row and column modulo the stride. Tap
//! `(u, v)` of the patches along a row of the map then reads consecutive values, whatever stride
//! and padding: columns are filled, and gradients gathered, by copies and sums of short runs.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::geometry::Geometry;
use crate::ops::{kernel::fetch, simd::vectorised};

/// Values that may be read or written past the end of a run, so that runs have a fixed length.
pub(super) const SLACK: usize = 16;
/// Channels between the fetch of a line and its use.
const AHEAD: usize = 4;

/// The layout of the padded phases of one channel, and the runs along a row of the map.
pub(super) struct Patches {
    geometry: Geometry,
    /// Phases that the kernel touches, vertically and horizontally.
    phases: [usize; 2],
    /// Rows and columns of a phase.
    sides: [usize; 2],
    /// Consecutive positions of the map that are consecutive in the phases, too: a row, or a whole map.
    line: usize,
    /// Length of a copied run: 4, 8 or 16.
    run: usize,
}

/// A run of positions that is consecutive in the phases (`source`) and in a column (`column`).
#[derive(Clone, Copy)]
pub(super) struct Run {
    source: usize,
    column: usize,
    len: usize,
}

impl Patches {
    pub(super) fn new(geometry: Geometry) -> Self {
        let Geometry { kernel: [kh, kw], stride, map: [_, oh, ow], .. } = geometry;
        let sides = [oh + (kh - 1) / stride, ow + (kw - 1) / stride];
        let line = if sides[1] == ow { oh * ow } else { ow };
        Self {
            geometry,
            phases: [stride.min(kh), stride.min(kw)],
            sides,
            line,
            run: match line {
                0..=4 => 4,
                5..=8 => 8,
                _ => 16,
            },
        }
    }

    /// Values of the phases of one channel.
    pub(super) fn plane(&self) -> usize {
        self.phases.iter().chain(&self.sides).product()
    }

    /// Where a row of the map begins, relative to the offset of a tap.
    #[inline(always)]
    pub(super) fn row(&self, y: usize) -> usize {
        y * self.sides[1]
    }

    /// Are the phases the image itself?
    pub(super) fn is_plain(&self) -> bool {
        let Geometry { stride, padding, .. } = self.geometry;
        stride == 1 && padding == [0, 0]
    }

    /// The positions of a map in whole vectors that may be read where they lie: the positions from the
    /// beginning of a row to that of the next, of which only the first belong to the map, and how
    /// many of a map there are in all.
    pub(super) fn walk(&self) -> (usize, usize) {
        let [_, oh, ow] = self.geometry.map;
        let row = if ow.is_multiple_of(SLACK) { ow } else { self.sides[1] };
        (row, (oh - 1) * row + ow)
    }

    /// Where position `at` of [`Self::walk`] lies in the phases.
    pub(super) fn place(&self, at: usize) -> usize {
        let (row, _) = self.walk();
        at / row * self.sides[1] + at % row
    }

    /// Where each tap of `channels` channels finds the first position.
    pub(super) fn offsets(&self, channels: usize) -> Vec<usize> {
        let Geometry { kernel: [kh, kw], stride, .. } = self.geometry;
        let [rows, columns] = self.sides;
        let mut out = Vec::with_capacity(channels * kh * kw);
        for channel in 0..channels {
            for u in 0..kh {
                for v in 0..kw {
                    let phase = u % stride * self.phases[1] + v % stride;
                    let shift = u / stride * columns + v / stride;
                    out.push(channel * self.plane() + phase * rows * columns + shift);
                }
            }
        }
        out
    }

    /// All `(channel, tap)` of `channels` channels such that those which are close together never
    /// touch the same pixel: a sum that reads what was written just before would have to wait.
    pub(super) fn spaced(&self, channels: usize) -> Vec<(usize, usize)> {
        let Geometry { kernel: [kh, kw], stride, .. } = self.geometry;
        let mut out = Vec::with_capacity(channels * kh * kw);
        for (top, left) in corners([kh, kw], stride) {
            for channel in 0..channels {
                for u in top..kh.min(top + stride) {
                    out.extend((left..kw.min(left + stride)).map(|v| (channel, u * kw + v)));
                }
            }
        }
        out
    }

    /// Rows of a phase that lie in the image, as `(row of the phase, row of the image)`, for a
    /// side of `n` values; the same for columns.
    fn inside(&self, axis: usize, phase: usize) -> (Range<usize>, usize) {
        let Geometry { image, stride, padding, .. } = self.geometry;
        let before = padding[axis];
        let end = (image[axis + 1] + before).saturating_sub(phase).div_ceil(stride);
        let end = end.min(self.sides[axis]);
        let start = before.saturating_sub(phase).div_ceil(stride).min(end);
        (start..end, (start * stride + phase).saturating_sub(before))
    }

    /// Writes the phases of one channel; the padding must be zero already and is left.
    #[inline(always)]
    pub(super) fn split(&self, image: &[f32], out: &mut [f32]) {
        let Geometry { image: [_, _, w], stride, .. } = self.geometry;
        let [rows, columns] = self.sides;
        for (index, phase) in out.chunks_exact_mut(rows * columns).enumerate() {
            let (ys, y) = self.inside(0, index / self.phases[1]);
            let (xs, x) = self.inside(1, index % self.phases[1]);
            let lines = phase[ys.start * columns..ys.end * columns].chunks_exact_mut(columns);
            for (i, line) in lines.enumerate() {
                let line = &mut line[xs.clone()];
                if line.is_empty() {
                    continue;
                }
                let from = &image[(y + i * stride) * w + x..(y + i * stride + 1) * w];
                match stride {
                    1 => copy(line, from),
                    2 => {
                        let pairs = from.chunks_exact(2);
                        let last = pairs.remainder().first();
                        let (whole, rest) = line.split_at_mut(pairs.len().min(line.len()));
                        whole.iter_mut().zip(pairs).for_each(|(a, b)| *a = b[0]);
                        rest.iter_mut().zip(last).for_each(|(a, b)| *a = *b);
                    }
                    _ => {
                        line.iter_mut().zip(from.iter().step_by(stride)).for_each(|(a, b)| *a = *b)
                    }
                }
            }
        }
    }

    /// The inverse of [`Self::split`], plus a constant; pixels outside of every patch are left.
    #[inline(always)]
    pub(super) fn join(&self, phases: &[f32], shift: f32, image: &mut [f32]) {
        let Geometry { image: [_, _, w], stride, .. } = self.geometry;
        if stride == 2 && self.phases == [2, 2] {
            return self.join_pairs(phases, shift, image);
        }
        let [rows, columns] = self.sides;
        for (index, phase) in phases.chunks_exact(rows * columns).enumerate() {
            let (ys, y) = self.inside(0, index / self.phases[1]);
            let (xs, x) = self.inside(1, index % self.phases[1]);
            if xs.is_empty() {
                continue;
            }
            for (i, line) in phase[ys.start * columns..ys.end * columns]
                .chunks_exact(columns)
                .map(|line| &line[xs.clone()])
                .enumerate()
            {
                let to = &mut image[(y + i * stride) * w + x..(y + i * stride + 1) * w];
                match stride {
                    1 => to.iter_mut().zip(line).for_each(|(a, b)| *a = b + shift),
                    2 => to.chunks_mut(2).zip(line).for_each(|(a, b)| a[0] = b + shift),
                    _ => to.iter_mut().step_by(stride).zip(line).for_each(|(a, b)| *a = b + shift),
                }
            }
        }
    }

    /// [`Self::join`] for stride 2, both phases of a row at once.
    #[inline(always)]
    fn join_pairs(&self, phases: &[f32], shift: f32, image: &mut [f32]) {
        let Geometry { image: [_, _, w], padding: [above, left], .. } = self.geometry;
        let [rows, columns] = self.sides;
        for (y, to) in image.chunks_exact_mut(w).enumerate() {
            let (phase, row) = ((y + above) % 2, (y + above) / 2);
            if row >= rows {
                break;
            }
            // Pixel `2 j` is `even[j]`, pixel `2 j + 1` is `odd[j]`.
            let [even, odd] = [left, left + 1].map(|first| {
                let start = ((phase * 2 + first % 2) * rows + row) * columns;
                &phases[(start + first / 2).min(start + columns)..start + columns]
            });
            for (to, (a, b)) in to.chunks_exact_mut(2).zip(even.iter().zip(odd)) {
                to[0] = a + shift;
                to[1] = b + shift;
            }
            // What is left has no pair: the last pixel, of the image or of the patches.
            let pairs = (w / 2).min(even.len()).min(odd.len());
            if let (Some(to), Some(value)) = (to.get_mut(2 * pairs), even.get(pairs)) {
                *to = value + shift;
            }
        }
    }

    /// Appends the runs of `positions`, counted through the maps of consecutive images whose phases
    /// are `image` values apart; the first goes to this `column`.
    pub(super) fn runs(
        &self,
        positions: Range<usize>,
        image: usize,
        column: usize,
        out: &mut Vec<Run>,
    ) {
        let (len, line) = (self.geometry.positions(), self.line);
        let first = positions.start;
        let mut at = first;
        while at < positions.end {
            let (row, x) = (at % len / line, at % line);
            let source = at / len * image + row * self.sides[1] + x;
            let len = (line - x).min(positions.end - at).min(self.run);
            out.push(Run { source, column: column + at - first, len });
            at += len;
        }
    }

    /// Where runs begin, if all are whole vectors one after the other; the last may be shorter unless
    /// `full`.
    pub(super) fn bases(runs: &[Run], full: bool, out: &mut Vec<usize>) -> bool {
        out.clear();
        out.extend(runs.iter().map(|run| run.source));
        let last = runs.last().is_some_and(|run| run.len == SLACK || !full);
        last && runs.iter().enumerate().all(|(i, run)| run.column == SLACK * i)
    }

    /// Fills columns: row `k` of `columns` (at `k * stride`) is tap `k` for all runs.
    ///
    /// `columns` must extend [`SLACK`] beyond the last run; what follows a run in its row is
    /// overwritten.
    pub(super) fn gather(
        &self,
        phases: &[f32],
        offsets: &[usize],
        runs: &[Run],
        columns: &mut [f32],
        stride: usize,
    ) {
        vectorised(
            #[inline(always)]
            || match self.run {
                4 => gather::<4>(phases, offsets, runs, columns, stride),
                8 => gather::<8>(phases, offsets, runs, columns, stride),
                _ if self.geometry.taps() == 1 => {
                    gather_afar(phases, offsets, runs, columns, stride);
                }
                _ => gather::<16>(phases, offsets, runs, columns, stride),
            },
        );
    }

    /// Adds columns to the phases, the transpose of [`Self::gather`].
    pub(super) fn scatter(
        columns: (&[f32], usize),
        offsets: &[usize],
        runs: &[Run],
        phases: &mut [f32],
    ) {
        pulp::Arch::new().dispatch(Scatter { columns, offsets, runs, phases });
    }
}

struct Scatter<'a> {
    columns: (&'a [f32], usize),
    offsets: &'a [usize],
    runs: &'a [Run],
    phases: &'a mut [f32],
}

impl WithSimd for Scatter<'_> {
    type Output = ();

    // In vectors by hand: the compiler cannot know that what is added to is not what is added.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { columns: (columns, stride), offsets, runs, phases } = self;
        for (column, offset) in columns.chunks(stride).zip(offsets) {
            for run in runs {
                let at = offset + run.source;
                let from = &column[run.column..run.column + run.len];
                let (whole, rest) = S::as_simd_f32s(from);
                let (to, _) = S::as_mut_simd_f32s(&mut phases[at..at + run.len]);
                for (a, b) in to.iter_mut().zip(whole) {
                    *a = simd.add_f32s(*a, *b);
                }
                let (to, from) = (at + run.len - rest.len(), run.column + run.len - rest.len());
                let (to, from) = (&mut phases[to..], &column[from..]);
                match rest.len() {
                    0 => {}
                    1..=4 => add_some::<4>(to, from, rest.len()),
                    5..=8 => add_some::<8>(to, from, rest.len()),
                    _ => add_some::<16>(to, from, rest.len()),
                }
            }
        }
    }
}

/// Adds `len` values, in one vector of `N`.
#[inline(always)]
fn add_some<const N: usize>(to: &mut [f32], from: &[f32], len: usize) {
    match (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
        (Some(to), Some(from)) => {
            let old = *to;
            *to = std::array::from_fn(|i| if i < len { old[i] + from[i] } else { old[i] });
        }
        _ => to[..len].iter_mut().zip(from).for_each(|(a, b)| *a += b),
    }
}

/// The corners of squares of `stride` taps that cover the kernel.
fn corners([kh, kw]: [usize; 2], stride: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..kh).step_by(stride).flat_map(move |u| (0..kw).step_by(stride).map(move |v| (u, v)))
}

/// Copies as much as `to` holds, without a call for the short rows that are the rule here.
#[inline(always)]
fn copy(to: &mut [f32], from: &[f32]) {
    let from = &from[..to.len()];
    let (mut to, mut from) = (to.chunks_exact_mut(16), from.chunks_exact(16));
    for (to, from) in to.by_ref().zip(from.by_ref()) {
        to.copy_from_slice(from);
    }
    let (mut to, mut from) =
        (to.into_remainder().chunks_exact_mut(4), from.remainder().chunks_exact(4));
    for (to, from) in to.by_ref().zip(from.by_ref()) {
        to.copy_from_slice(from);
    }
    to.into_remainder().iter_mut().zip(from.remainder()).for_each(|(to, from)| *to = *from);
}

/// [`gather`] of taps that share no line of the cache, each with a channel of its own: the lines are
/// fetched a few taps ahead, since no processor guesses where the next channel lies.
#[inline(always)]
fn gather_afar(
    phases: &[f32],
    offsets: &[usize],
    runs: &[Run],
    columns: &mut [f32],
    stride: usize,
) {
    for k in 0..offsets.len() {
        if let Some(ahead) = offsets.get(k + AHEAD) {
            runs.iter().for_each(|run| fetch(&phases[ahead + run.source..]));
        }
        gather::<16>(phases, &offsets[k..=k], runs, &mut columns[k * stride..], stride);
    }
}

#[inline(always)]
fn gather<const RUN: usize>(
    phases: &[f32],
    offsets: &[usize],
    runs: &[Run],
    columns: &mut [f32],
    stride: usize,
) {
    for (k, offset) in offsets.iter().enumerate() {
        for run in runs {
            let to = k * stride + run.column;
            let from = offset + run.source;
            match phases.get(from..from + RUN) {
                Some(values) => columns[to..to + RUN].copy_from_slice(values),
                None => columns[to..to + run.len].copy_from_slice(&phases[from..from + run.len]),
            }
        }
    }
}
