//! Blocks of a product: which thread computes what, and in which order a block is summed.
//!
//! The left operand is read where it lies if its rows are contiguous, and transposed once
//! otherwise. The right operand is packed by the task that uses it, a few hundred columns and
//! [`DEPTH`] rows at a time, so that the copy stays in the second-level cache.

use std::{mem::MaybeUninit, ops::Range};

use rayon::prelude::*;

use super::{MatRef, SendPtr, pack, strips};
#[cfg(target_arch = "x86_64")]
use super::{STRIP, strip_len};

/// Elements of a vector.
pub(super) const LANES: usize = 16;
/// Vectors across a tile.
pub(super) const VECTORS: usize = super::STRIP / LANES;
/// Rows of a tile.
pub(super) const ROWS: usize = 8;

/// Most inner indices that are summed before the result is touched.
const DEPTH: usize = 640;
/// Most rows down and vectors across a block.
const BLOCK: [usize; 2] = [960, 18];
/// Floating-point operations that are worth the handing over.
const TASK: f64 = 8e6;
/// Most rows and values of the copy of a transposed left operand.
const COPY: [usize; 2] = [2048, 2048 * 4 * DEPTH];

/// One tile of a product: `lhs` is `(rows, depth)` and `rhs` `(depth, cols)`, the latter in whole
/// vectors, with rows as far apart as the strides say.
pub(super) struct Tile<'a> {
    pub(super) lhs: &'a [f32],
    pub(super) lhs_stride: usize,
    pub(super) rhs: &'a [f32],
    pub(super) rhs_stride: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) depth: usize,
    /// Whether the tile is the last of its rows, so that those below come next: a hint.
    pub(super) last: bool,
    /// Whether the product is added to what the result holds.
    pub(super) accumulate: bool,
}

impl Tile<'_> {
    /// Panics unless the operands have the elements that the shape promises.
    pub(super) fn check(&self) {
        assert!((1..=ROWS).contains(&self.rows), "rows of a tile");
        assert!((1..=VECTORS * LANES).contains(&self.cols), "columns of a tile");
        assert!(self.depth > 0, "depth of a tile");
        assert!(self.lhs.len() >= (self.rows - 1) * self.lhs_stride + self.depth, "left of a tile");
        let width = self.cols.next_multiple_of(LANES);
        assert!(self.rhs.len() >= (self.depth - 1) * self.rhs_stride + width, "right of a tile");
    }
}

/// What is written for one kind of processor.
pub(super) trait Micro: Copy + Send + Sync {
    /// Computes a tile.
    ///
    /// # Safety
    /// `out` must be valid for reads and writes of `tile.rows` rows of `tile.cols` elements,
    /// `out_stride` apart, that no other thread uses meanwhile.
    unsafe fn tile(self, tile: &Tile<'_>, out: *mut f32, out_stride: usize);

    /// Transposes a block of 16 x 16 whose rows are `src_stride` and `dst_stride` apart.
    fn transpose(self, src: &[f32], src_stride: usize, dst: &mut [f32], dst_stride: usize);
}

/// `lhs * rhs` into the row-major `out`, every element overwritten; no dimension may be zero.
pub(super) fn run<M: Micro>(
    micro: M,
    lhs: MatRef<'_>,
    rhs: MatRef<'_>,
    out: &mut [MaybeUninit<f32>],
) {
    let (k, n) = (lhs.cols, rhs.cols);
    if lhs.col_stride == 1 {
        blocks(micro, lhs, rhs, out, false);
        return;
    }
    let (high, deep) = chunk(lhs.rows, k);
    for (index, out) in out.chunks_mut(high * n).enumerate() {
        let rows = index * high..index * high + out.len() / n;
        for start in (0..k).step_by(deep) {
            let depth = start..k.min(start + deep);
            let part = lhs.part(rows.clone(), depth.clone());
            // Rows at a power of two from one another would share a few sets of the cache.
            let stride = depth.len().next_multiple_of(LANES) + LANES;
            pack::with_copy(rows.len() * stride, |copy| {
                pack::transposed(micro, part, copy, stride);
                let lhs = MatRef { data: copy, row_stride: stride, col_stride: 1, ..part };
                blocks(micro, lhs, rhs.part(depth, 0..n), out, start > 0);
            });
        }
    }
}

/// Rows and columns of the left operand that are copied at a time.
fn chunk(m: usize, k: usize) -> (usize, usize) {
    let high = m.div_ceil(m.div_ceil(COPY[0]));
    (high, k.min(COPY[1] / high / DEPTH * DEPTH))
}

/// Cuts the result into blocks and computes each in a task of its own.
///
/// What `out` holds is read only to `accumulate`, and then has to be written.
fn blocks<M: Micro>(
    micro: M,
    lhs: MatRef<'_>,
    rhs: MatRef<'_>,
    out: &mut [MaybeUninit<f32>],
    accumulate: bool,
) {
    let (m, n, k) = (lhs.rows, rhs.cols, lhs.cols);
    assert_eq!(out.len(), m * n, "output of {m} x {n}");
    let [down, across] = grid(m, n, k);
    let dst = SendPtr(out.as_mut_ptr().cast());
    let task = |index: usize| {
        let rows = share(m, ROWS, index % down, down);
        let cols = share(n, LANES, index / down, across);
        let lhs = lhs.part(rows.clone(), 0..k);
        let rhs = rhs.part(0..k, cols.clone());
        // SAFETY: the shares of different tasks do not overlap and are inside `out`, which is
        // borrowed mutably for the whole call.
        unsafe { block(micro, lhs, rhs, dst.get().add(rows.start * n + cols.start), n, accumulate) }
    };
    let count = down * across;
    if count == 1 { task(0) } else { (0..count).into_par_iter().with_max_len(1).for_each(task) }
}

/// Blocks down and across the result: small enough for the cache, and for large products a number
/// that two, three, four or six threads can divide among themselves.
fn grid(m: usize, n: usize, k: usize) -> [usize; 2] {
    let (high, wide) = (m.div_ceil(ROWS), n.div_ceil(LANES));
    let least = [m.div_ceil(BLOCK[0]), wide.div_ceil(BLOCK[1])];
    let tasks = (2.0 * m as f64 * n as f64 * k as f64 / TASK) as usize;
    let fitting = |unit: usize| {
        let downs = least[0]..=high.min(least[0] + unit);
        let grids = downs.flat_map(|down| {
            let acrosses = least[1]..=(wide / VECTORS).min(least[1] + unit);
            acrosses.map(move |across| [down, across])
        });
        grids
            .filter(|[down, across]| (down * across).is_multiple_of(unit))
            // The right operand is packed once for each block down.
            .min_by_key(|[down, across]| (down * across, *down))
    };
    let units = [12, 6, 4, 2].into_iter().filter(|&unit| unit <= tasks);
    units.filter_map(fitting).next().unwrap_or(least)
}

/// The part with this index of `len`, in whole units but for the last.
fn share(len: usize, unit: usize, index: usize, parts: usize) -> Range<usize> {
    let units = len.div_ceil(unit);
    let at = |index: usize| (units * index / parts * unit).min(len);
    at(index)..at(index + 1)
}

/// Computes one block, [`DEPTH`] inner indices at a time.
///
/// # Safety
/// As for [`Micro::tile`], with the rows of `lhs` and the columns of `rhs`.
pub(super) unsafe fn block<M: Micro>(
    micro: M,
    lhs: MatRef<'_>,
    rhs: MatRef<'_>,
    out: *mut f32,
    out_stride: usize,
    accumulate: bool,
) {
    let (m, n, k) = (lhs.rows, rhs.cols, lhs.cols);
    let deep = k.div_ceil(k.div_ceil(DEPTH));
    let width = n.next_multiple_of(LANES);
    pack::with_strips(deep * width, |buffer| {
        for start in (0..k).step_by(deep) {
            let depth = start..k.min(start + deep);
            let packed = &mut buffer[..depth.len() * width];
            pack::pack(micro, rhs, depth.clone(), packed);
            for i in (0..m).step_by(ROWS) {
                for cols in strips(n) {
                    let width = cols.len().next_multiple_of(LANES);
                    let tile = Tile {
                        lhs: &lhs.data[i * lhs.row_stride + start..],
                        lhs_stride: lhs.row_stride,
                        rhs: &packed[cols.start * depth.len()..][..width * depth.len()],
                        rhs_stride: width,
                        rows: ROWS.min(m - i),
                        cols: cols.len(),
                        depth: depth.len(),
                        last: cols.end == n,
                        accumulate: accumulate || start > 0,
                    };
                    // SAFETY: the tile is inside the block that the caller owns.
                    unsafe { micro.tile(&tile, out.add(i * out_stride + cols.start), out_stride) }
                }
            }
        }
    });
}

/// [`super::strip_product`]: blocks of rows of the weight stay in the first-level cache while all
/// strips pass by.
///
/// # Safety
/// `out` must be valid for reads and writes of `n` rows of `m` elements, `out_stride` apart, that no
/// other thread uses meanwhile.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn stripped<M: Micro>(
    micro: M,
    (out, out_stride): (*mut f32, usize),
    (weight, weight_stride): (&[f32], usize),
    packed: &[f32],
    [m, n, k]: [usize; 3],
    accumulate: bool,
) {
    for i in (0..n).step_by(ROWS) {
        for (cols, packed) in strips(m).zip(packed.chunks(strip_len(k))) {
            let tile = Tile {
                lhs: &weight[i * weight_stride..],
                lhs_stride: weight_stride,
                rhs: packed,
                rhs_stride: STRIP,
                rows: ROWS.min(n - i),
                cols: cols.len(),
                depth: k,
                last: cols.end == m,
                accumulate,
            };
            // SAFETY: the tile is inside the block that the caller owns.
            unsafe { micro.tile(&tile, out.add(i * out_stride + cols.start), out_stride) }
        }
    }
}

/// `rhs * lhs` of [`super::block_product`], for `m` a multiple of [`LANES`]: nothing is packed.
///
/// # Safety
/// `out` must be valid for reads and writes of `n` rows of `m` elements, `out_stride` apart, that no
/// other thread uses meanwhile.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn unpacked<M: Micro>(
    micro: M,
    (out, out_stride): (*mut f32, usize),
    (lhs, lhs_stride): (&[f32], usize),
    (rhs, rhs_stride): (&[f32], usize),
    [m, n, k]: [usize; 3],
    accumulate: bool,
) {
    for cols in strips(m) {
        for i in (0..n).step_by(ROWS) {
            let tile = Tile {
                lhs: &rhs[i * rhs_stride..],
                lhs_stride: rhs_stride,
                rhs: &lhs[cols.start..],
                rhs_stride: lhs_stride,
                rows: ROWS.min(n - i),
                cols: cols.len(),
                depth: k,
                last: false,
                accumulate,
            };
            // SAFETY: the tile is inside the block that the caller owns.
            unsafe { micro.tile(&tile, out.add(i * out_stride + cols.start), out_stride) }
        }
    }
}
