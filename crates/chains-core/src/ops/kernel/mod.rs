//! Raw kernels on host slices: products split into fixed blocks over `rayon`, by our own kernel
//! where the processor has AVX-512 and through `gemm` elsewhere.
//!
//! The only module with `unsafe` code besides `cuda` and what opens a device for it. Every public
//! function here checks the lengths of its slices against the shape it is given before a pointer is
//! formed.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(any(target_arch = "x86_64", test))]
mod driver;
mod fresh;
mod outer;
#[cfg(any(target_arch = "x86_64", test))]
mod pack;
#[cfg(test)]
mod scalar;
#[cfg_attr(not(target_arch = "x86_64"), path = "shifted_none.rs")]
mod shifted;
#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;
use std::ops::Range;

use gemm::Parallelism;
use rayon::prelude::*;

pub(crate) use fresh::{Rows, fetch, fresh, fresh_pieces, fresh_rows};
pub(crate) use outer::outer_product;
pub(crate) use shifted::{Patchwork, patch_kernel, patch_product, patch_sums};

/// A read-only matrix in a slice: element `(i, j)` is at `i * row_stride + j * col_stride`.
#[derive(Clone, Copy)]
pub(crate) struct MatRef<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> MatRef<'a> {
    /// Row-major `(rows, cols)`.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "matrix of {rows} x {cols}");
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The transpose, without moving data.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// The sub-matrix of these rows and columns.
    #[cfg(any(target_arch = "x86_64", test))]
    fn part(self, rows: Range<usize>, cols: Range<usize>) -> Self {
        let start = rows.start * self.row_stride + cols.start * self.col_stride;
        let data = &self.data[start.min(self.data.len())..];
        Self { data, rows: rows.len(), cols: cols.len(), ..self }
    }
}

/// A pointer that may cross threads because every task writes its own elements.
#[derive(Clone, Copy)]
struct SendPtr(*mut f32);
// SAFETY: the tasks that share the pointer write disjoint parts, see `by_gemm` and `driver`.
unsafe impl Send for SendPtr {}
unsafe impl Sync for SendPtr {}

impl SendPtr {
    fn get(self) -> *mut f32 {
        self.0
    }
}

/// `lhs * rhs`, row-major.
///
/// The result is cut into blocks whose number depends on the shape alone, each computed by one
/// thread, so the result has the same bits for any number of threads.
pub(crate) fn product(lhs: MatRef<'_>, rhs: MatRef<'_>) -> Vec<f32> {
    product_behind(&[], lhs, rhs)
}

/// [`product`] behind other values in one vector.
pub(crate) fn product_behind(values: &[f32], lhs: MatRef<'_>, rhs: MatRef<'_>) -> Vec<f32> {
    assert_eq!(lhs.cols, rhs.rows, "inner dimensions");
    let len = lhs.rows * rhs.cols;
    if lhs.cols == 0 || len == 0 {
        return [values, &vec![0.0; len]].concat();
    }
    let write = |out: &mut [MaybeUninit<f32>]| {
        let (before, out) = out.split_at_mut(values.len());
        before.iter_mut().zip(values).for_each(|(to, value)| {
            to.write(*value);
        });
        write_product(lhs, rhs, out);
    };
    // SAFETY: every element of a product is written, in blocks that cover it.
    unsafe { fresh::initialised(values.len() + len, write) }
}

/// [`product`] into `out`, every element overwritten; no dimension may be zero.
fn write_product(lhs: MatRef<'_>, rhs: MatRef<'_>, out: &mut [MaybeUninit<f32>]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(micro) = avx512::Avx512::detect()
        && pays(lhs, rhs)
    {
        driver::run(micro, lhs, rhs, out);
        return;
    }
    by_gemm(lhs, rhs, out, blocks(lhs.rows, rhs.cols, lhs.cols));
}

/// `out[i * n + j] = <a_i, b_j>` for rows of `width` values, `m` in `a` and `n` in `b`, on host slices.
///
/// Runs on the calling thread, for callers that share blocks of pairs among threads themselves; on
/// AVX-512 the rows of `b` are copied for each call, so many rows of `a` against a few hundred of
/// `b` cost least. The same pair of rows gives the same bits for given numbers of rows.
///
/// # Panics
/// If `width` is zero, or the lengths do not fit.
pub fn inner_products(a: &[f32], b: &[f32], width: usize, out: &mut [f32]) {
    let (m, n) = (a.len() / width, b.len() / width);
    let (lhs, rhs) = (MatRef::new(a, m, width), MatRef::new(b, n, width).t());
    assert_eq!(out.len(), m * n, "output of {m} x {n}");
    if out.is_empty() {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(micro) = avx512::Avx512::detect()
        && pays(lhs, rhs)
    {
        // SAFETY: `out` has `m` rows of `n` elements, as asserted, and is borrowed mutably.
        unsafe { driver::block(micro, lhs, rhs, out.as_mut_ptr(), n, false) };
        return;
    }
    // SAFETY: a slice of values is one of values that may not be initialised; only values are
    // written to it.
    let out = unsafe { &mut *(std::ptr::from_mut(out) as *mut [MaybeUninit<f32>]) };
    by_gemm(lhs, rhs, out, 1);
}

/// Whether the copies of [`driver`] are made up for by how often they are read.
///
/// `gemm` reads operands of few rows or columns where they lie, as long as their vectors are
/// contiguous.
#[cfg(target_arch = "x86_64")]
fn pays(lhs: MatRef<'_>, rhs: MatRef<'_>) -> bool {
    let enough = |len: usize, row_major: bool| len >= if row_major { 16 } else { 2 };
    enough(lhs.rows, rhs.col_stride == 1)
        && enough(rhs.cols, lhs.col_stride != 1)
        && lhs.cols >= driver::LANES
}

/// [`product`] by so many blocks of the longer side of the result, each one call of `gemm`.
fn by_gemm(lhs: MatRef<'_>, rhs: MatRef<'_>, out: &mut [MaybeUninit<f32>], blocks: usize) {
    let (m, k, n) = (lhs.rows, lhs.cols, rhs.cols);
    assert_eq!(out.len(), m * n, "output of {m} x {n}");
    let long = m.max(n);
    let size = long.div_ceil(blocks).next_multiple_of(16);
    let dst = SendPtr(out.as_mut_ptr().cast());
    let block = |index: usize| {
        let start = index * size;
        let len = size.min(long - start);
        let (rows, cols) = if m >= n { (len, n) } else { (m, len) };
        let (dst_at, lhs_at, rhs_at) = if m >= n {
            (start * n, start * lhs.row_stride, 0)
        } else {
            (start, 0, start * rhs.col_stride)
        };
        // SAFETY: `start + len <= long`, so every index formed below is inside the slices whose
        // lengths were checked above and in `MatRef::new`; blocks write disjoint rows (m >= n) or
        // columns of `out`, which is borrowed mutably for the whole call and not read.
        unsafe {
            gemm::gemm(
                rows,
                cols,
                k,
                dst.get().add(dst_at),
                1,
                n as isize,
                false,
                lhs.data.as_ptr().add(lhs_at),
                lhs.col_stride as isize,
                lhs.row_stride as isize,
                rhs.data.as_ptr().add(rhs_at),
                rhs.col_stride as isize,
                rhs.row_stride as isize,
                0.0_f32,
                1.0_f32,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    };
    let count = long.div_ceil(size);
    if count == 1 { block(0) } else { (0..count).into_par_iter().for_each(block) }
}

/// `out[j][i] = sum over p of lhs[p][i] * rhs[j][p]`, added to what `out` holds if `accumulate`.
///
/// One thread. Every operand is a slice and the distance between its rows; `[m, n, k]` bound `i`,
/// `j` and `p`. With `m` a multiple of 16 nothing is packed (by `gemm`, for `m` at most 64 and `n` at
/// most 48).
pub(crate) fn block_product(
    (out, out_stride): (&mut [f32], usize),
    (lhs, lhs_stride): (&[f32], usize),
    (rhs, rhs_stride): (&[f32], usize),
    [m, n, k]: [usize; 3],
    accumulate: bool,
) {
    assert!(m > 0 && n > 0 && k > 0, "empty block {m} x {n} x {k}");
    assert!(m <= out_stride && (n - 1) * out_stride + m <= out.len(), "output of {m} x {n}");
    assert!((k - 1) * lhs_stride + m <= lhs.len(), "left operand of {m} x {k}");
    assert!((n - 1) * rhs_stride + k <= rhs.len(), "right operand of {k} x {n}");
    #[cfg(target_arch = "x86_64")]
    if let Some(micro) = avx512::Avx512::detect()
        && m.is_multiple_of(driver::LANES)
    {
        let out = (out.as_mut_ptr(), out_stride);
        // SAFETY: the assertions bound the last element of `out`, which is borrowed mutably and
        // whose rows do not overlap.
        unsafe {
            driver::unpacked(
                micro,
                out,
                (lhs, lhs_stride),
                (rhs, rhs_stride),
                [m, n, k],
                accumulate,
            );
        }
        return;
    }
    // SAFETY: the assertions bound the last element of each operand; `out` is borrowed mutably and
    // its rows do not overlap.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            out_stride as isize,
            1,
            accumulate,
            lhs.as_ptr(),
            lhs_stride as isize,
            1,
            rhs.as_ptr(),
            rhs_stride as isize,
            1,
            1.0_f32,
            1.0_f32,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// The transpose of the row-major `src` of `rows` rows, with rows `stride` apart in `out`; what lies
/// between the end of a row and the next stays.
pub(crate) fn transpose(src: &[f32], rows: usize, (out, stride): (&mut [f32], usize)) {
    if src.is_empty() {
        return;
    }
    let cols = src.len() / rows;
    assert!(src.len() == rows * cols && rows <= stride, "transpose of {rows} x {cols}");
    assert!(out.len() >= cols * stride, "room for {cols} rows {stride} apart");
    #[cfg(target_arch = "x86_64")]
    if let Some(micro) = avx512::Avx512::detect() {
        pack::transposed(micro, MatRef::new(src, rows, cols).t(), out, stride);
        return;
    }
    // A few lines of the source stay in the cache until they are read through.
    for start in (0..rows).step_by(16) {
        let band = start..rows.min(start + 16);
        for (col, out) in out.chunks_mut(stride).take(cols).enumerate() {
            for (row, out) in band.clone().zip(&mut out[start..]) {
                *out = src[row * cols + col];
            }
        }
    }
}

/// Columns of a strip of [`strip_product`].
pub(crate) const STRIP: usize = 48;

/// Values from one strip of [`strip_product`] to the next: `k` rows, and a vector that is not read.
pub(crate) const fn strip_len(k: usize) -> usize {
    STRIP * k + 16
}

/// The columns of each strip of [`strip_product`] for `m` columns in all, the last whole vectors of
/// 16: at most [`STRIP`], and no single vector where that can be avoided.
pub(crate) fn strips(m: usize) -> impl Iterator<Item = Range<usize>> {
    let count = m.div_ceil(STRIP);
    let at = move |index: usize| (m.div_ceil(16) * index / count * 16).min(m);
    (0..count).map(move |index| at(index)..at(index + 1))
}

/// `out[j][i] = sum over p of weight[j][p] * columns[p][i]`, added to what `out` holds if
/// `accumulate`, for columns in [`strips`] that are [`strip_len`] apart, with rows [`STRIP`] apart.
///
/// One thread. `out` and `weight` come with the distance between their rows; `m` is a multiple of 16.
pub(crate) fn strip_product(
    (out, out_stride): (&mut [f32], usize),
    (weight, weight_stride): (&[f32], usize),
    columns: &[f32],
    [m, n, k]: [usize; 3],
    accumulate: bool,
) {
    assert!(m > 0 && n > 0 && k > 0 && m.is_multiple_of(16), "block of {m} x {n} x {k}");
    assert!(m <= out_stride && (n - 1) * out_stride + m <= out.len(), "output of {m} x {n}");
    assert!((n - 1) * weight_stride + k <= weight.len(), "weight of {n} x {k}");
    assert!(m.div_ceil(STRIP) * strip_len(k) <= columns.len(), "columns of {m} x {k}");
    #[cfg(target_arch = "x86_64")]
    if let Some(micro) = avx512::Avx512::detect() {
        let out = (out.as_mut_ptr(), out_stride);
        // SAFETY: the assertions bound the last element of `out`, which is borrowed mutably and
        // whose rows do not overlap.
        unsafe {
            driver::stripped(micro, out, (weight, weight_stride), columns, [m, n, k], accumulate);
        }
        return;
    }
    strip_blocks((out, out_stride), (weight, weight_stride), columns, [m, n, k], accumulate);
}

/// [`strip_product`] by blocks, where there is no kernel of our own.
fn strip_blocks(
    (out, out_stride): (&mut [f32], usize),
    (weight, weight_stride): (&[f32], usize),
    columns: &[f32],
    [m, n, k]: [usize; 3],
    accumulate: bool,
) {
    for (cols, columns) in strips(m).zip(columns.chunks(strip_len(k))) {
        // With more rows, `gemm` would pack its other operand.
        for j in (0..n).step_by(STRIP) {
            block_product(
                (&mut out[j * out_stride + cols.start..], out_stride),
                (columns, STRIP),
                (&weight[j * weight_stride..], weight_stride),
                [cols.len(), STRIP.min(n - j), k],
                accumulate,
            );
        }
    }
}

/// How many blocks pay for themselves: one for each 50 Mflop, four at most.
fn blocks(m: usize, n: usize, k: usize) -> usize {
    let flops = 2.0 * m as f64 * n as f64 * k as f64;
    ((flops / 5e7) as usize).clamp(1, 4)
}
