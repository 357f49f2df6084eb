//! Patches of images as columns of small matrices.
//!
//! An image is padded once and split by phase, that is by row and column modulo the stride. Tap
//! `(u, v)` of the patches along a row of the map then reads consecutive values, whatever stride
//! and padding: columns are filled, and gradients gathered, by copies and sums of short runs.

use std::ops::Range;

use super::geometry::Geometry;
use crate::ops::simd::vectorised;

/// Values that may be read or written past the end of a run, so that runs have a fixed length.
pub(super) const SLACK: usize = 16;

/// The layout of the padded phases of one channel, and the runs along a row of the map.
pub(super) struct Patches {
    geometry: Geometry,
    /// Phases that the kernel touches, vertically and horizontally.
    phases: [usize; 2],
    /// Rows and columns of a phase.
    sides: [usize; 2],
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
        Self {
            geometry,
            phases: [stride.min(kh), stride.min(kw)],
            sides: [oh + (kh - 1) / stride, ow + (kw - 1) / stride],
            run: match ow {
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

    /// Are the phases the image itself, and no run longer than it may be?
    pub(super) fn is_plain(&self) -> bool {
        let Geometry { stride, padding, map, .. } = self.geometry;
        stride == 1 && padding == [0, 0] && map[2].is_multiple_of(self.run)
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
                    2 => line.iter_mut().zip(from.chunks(2)).for_each(|(a, b)| *a = b[0]),
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

    /// The runs of `positions`, counted through the maps of consecutive images whose phases are
    /// `image` values apart.
    pub(super) fn runs(&self, positions: Range<usize>, image: usize, out: &mut Vec<Run>) {
        let Geometry { map: [_, oh, ow], .. } = self.geometry;
        out.clear();
        let first = positions.start;
        let mut at = first;
        while at < positions.end {
            let (row, x) = (at / ow, at % ow);
            let len = (ow - x).min(positions.end - at).min(self.run);
            let source = row / oh * image + row % oh * self.sides[1] + x;
            out.push(Run { source, column: at - first, len });
            at += len;
        }
    }

    /// Fills columns: row `k` of `columns` (at `k * stride`) is tap `k` for all runs.
    ///
    /// `phases` and `columns` must extend [`SLACK`] beyond the last run; what follows a run in its
    /// row is overwritten.
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
                _ => gather::<16>(phases, offsets, runs, columns, stride),
            },
        );
    }

    /// Adds columns to the phases, the transpose of [`Self::gather`]; zeros to what follows a run.
    pub(super) fn scatter(
        &self,
        columns: &[f32],
        stride: usize,
        offsets: &[usize],
        runs: &[Run],
        phases: &mut [f32],
    ) {
        vectorised(
            #[inline(always)]
            || {
                let columns = columns.chunks(stride);
                match self.run {
                    4 => scatter::<4>(columns, offsets, runs, phases),
                    8 => scatter::<8>(columns, offsets, runs, phases),
                    _ => scatter::<16>(columns, offsets, runs, phases),
                }
            },
        );
    }
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
            columns[to..to + RUN].copy_from_slice(&phases[from..from + RUN]);
        }
    }
}

#[inline(always)]
fn scatter<'a, const RUN: usize>(
    columns: impl Iterator<Item = &'a [f32]>,
    offsets: &[usize],
    runs: &[Run],
    phases: &mut [f32],
) {
    for (column, offset) in columns.zip(offsets) {
        for run in runs {
            let at = offset + run.source;
            let to = phases[at..at + RUN].iter_mut();
            if run.len == RUN {
                to.zip(&column[run.column..run.column + RUN]).for_each(|(a, b)| *a += b);
            } else if let Some(from) = column.get(run.column..run.column + RUN) {
                // Of fixed length, so that short runs are vectors too.
                for (i, (a, b)) in to.zip(from).enumerate() {
                    *a += if i < run.len { *b } else { 0.0 };
                }
            } else {
                to.zip(&column[run.column..][..run.len]).for_each(|(a, b)| *a += b);
            }
        }
    }
}
