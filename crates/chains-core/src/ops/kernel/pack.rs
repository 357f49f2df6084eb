//! Copies of the operands in the order in which the microkernel reads them.

use std::{cell::Cell, ops::Range, sync::Mutex};

use rayon::prelude::*;

use super::{
    MatRef,
    driver::{LANES, Micro},
    strips,
};
use crate::ops::simd::vectorised;

/// Elements of a copy that are worth more than one thread.
const PARALLEL: usize = 1 << 17;

/// Room for `len` values at a multiple of 64 bytes inside `buffer`, which grows if it must.
fn aligned(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len + LANES {
        buffer.resize(len + LANES, 0.0);
    }
    let start = buffer.as_ptr().align_offset(LANES * size_of::<f32>()).min(LANES);
    &mut buffer[start..start + len]
}

/// Calls `f` with `len` values of the buffer that the thread keeps for its strips.
pub(super) fn with_strips<T>(len: usize, f: impl FnOnce(&mut [f32]) -> T) -> T {
    thread_local! {
        static STRIPS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    // Taken, not borrowed: whatever else the thread computes meanwhile finds an empty one.
    let mut buffer = STRIPS.take();
    let result = f(aligned(&mut buffer, len));
    STRIPS.set(buffer);
    result
}

/// Calls `f` with `len` values of the buffer that is kept for a transposed operand.
pub(super) fn with_copy<T>(len: usize, f: impl FnOnce(&mut [f32]) -> T) -> T {
    static COPY: Mutex<Vec<f32>> = Mutex::new(Vec::new());
    let slot = || COPY.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut buffer = std::mem::take(&mut *slot());
    let result = f(aligned(&mut buffer, len));
    let mut slot = slot();
    if slot.len() < buffer.len() {
        *slot = buffer;
    }
    result
}

/// Rows `depth` of `rhs`, as [`strips`] of which each holds its rows one after the other; the last
/// vector is filled up with zeros.
pub(super) fn pack<M: Micro>(micro: M, rhs: MatRef<'_>, depth: Range<usize>, dst: &mut [f32]) {
    // A transposed operand of one row has both strides one.
    if rhs.col_stride == 1 && rhs.row_stride >= rhs.cols {
        vectorised(|| copy_rows(rhs, depth.clone(), dst));
        return;
    }
    for cols in strips(rhs.cols) {
        let strip = &mut dst[cols.start * depth.len()..];
        transpose_rows(micro, rhs, depth.clone(), cols, strip);
    }
}

#[inline(always)]
fn copy_rows(rhs: MatRef<'_>, depth: Range<usize>, dst: &mut [f32]) {
    // A few rows at a time, so that they are read in the order in which they lie.
    for start in (0..depth.len()).step_by(LANES) {
        let rows = start..depth.len().min(start + LANES);
        for cols in strips(rhs.cols) {
            let strip = &mut dst[cols.start * depth.len()..];
            let from = &rhs.data[(depth.start + start) * rhs.row_stride + cols.start..];
            match cols.len() {
                48 => copy::<48>(from, rhs.row_stride, rows.clone(), strip),
                32 => copy::<32>(from, rhs.row_stride, rows.clone(), strip),
                len => {
                    let width = len.next_multiple_of(LANES);
                    for (row, from) in rows.clone().zip(from.chunks(rhs.row_stride)) {
                        let to = &mut strip[row * width..][..width];
                        to[..len].copy_from_slice(&from[..len]);
                        to[len..].fill(0.0);
                    }
                }
            }
        }
    }
}

/// Copies the first `N` values of rows `stride` apart to these `rows` of a strip.
#[inline(always)]
fn copy<const N: usize>(from: &[f32], stride: usize, rows: Range<usize>, strip: &mut [f32]) {
    let to = strip[rows.start * N..rows.end * N].chunks_exact_mut(N);
    for (to, from) in to.zip(from.chunks(stride)) {
        to.copy_from_slice(&from[..N]);
    }
}

fn transpose_rows<M: Micro>(
    micro: M,
    rhs: MatRef<'_>,
    depth: Range<usize>,
    cols: Range<usize>,
    strip: &mut [f32],
) {
    let width = cols.len().next_multiple_of(LANES);
    for (vector, j) in cols.clone().step_by(LANES).enumerate() {
        let lanes = LANES.min(cols.end - j);
        let whole = if lanes == LANES { depth.len() / LANES * LANES } else { 0 };
        for p in (0..whole).step_by(LANES) {
            let from = &rhs.data[j * rhs.col_stride + depth.start + p..];
            micro.transpose(from, rhs.col_stride, &mut strip[p * width + vector * LANES..], width);
        }
        for p in whole..depth.len() {
            let to = &mut strip[p * width + vector * LANES..][..LANES];
            to.fill(0.0);
            for (lane, to) in to[..lanes].iter_mut().enumerate() {
                *to = rhs.data[(j + lane) * rhs.col_stride + depth.start + p];
            }
        }
    }
}

/// The transpose of a row-major operand, row-major with rows `stride` apart.
///
/// `src` is the view whose columns are contiguous; `dst` holds its rows.
pub(super) fn transposed<M: Micro>(micro: M, src: MatRef<'_>, dst: &mut [f32], stride: usize) {
    const BAND: usize = 8 * LANES;
    let band = |(index, dst): (usize, &mut [f32])| {
        let start = index * BAND;
        let rows = BAND.min(src.rows - start);
        for p in (0..src.cols).step_by(LANES) {
            let cols = LANES.min(src.cols - p);
            for i in (0..rows).step_by(LANES) {
                let from = &src.data[p * src.col_stride + start + i..];
                let to = &mut dst[i * stride + p..];
                if cols == LANES && rows - i >= LANES {
                    micro.transpose(from, src.col_stride, to, stride);
                } else {
                    for r in 0..LANES.min(rows - i) {
                        for c in 0..cols {
                            to[r * stride + c] = from[c * src.col_stride + r];
                        }
                    }
                }
            }
        }
    };
    let dst = &mut dst[..src.rows * stride];
    if src.rows * src.cols < PARALLEL {
        dst.chunks_mut(BAND * stride).enumerate().for_each(band);
    } else {
        dst.par_chunks_mut(BAND * stride).enumerate().for_each(band);
    }
}
