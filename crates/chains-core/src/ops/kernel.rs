//! Raw kernels on host slices: products through `gemm`, split into fixed blocks over `rayon`.
//!
//! The only module with `unsafe` code. Every public function here checks the lengths of its slices
//! against the shape it is given before a pointer is formed.
#![allow(unsafe_code)]

use gemm::Parallelism;
use rayon::prelude::*;

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
}

/// A pointer that may cross threads because every task writes its own elements.
#[derive(Clone, Copy)]
struct SendPtr(*mut f32);
// SAFETY: the tasks that share the pointer write disjoint rows or columns, see `product`.
unsafe impl Send for SendPtr {}
unsafe impl Sync for SendPtr {}

impl SendPtr {
    fn get(self) -> *mut f32 {
        self.0
    }
}

/// `lhs * rhs` into the row-major `out`, every element overwritten.
///
/// The longer side of the result is cut into blocks whose number depends on the shape alone, each
/// computed by one thread, so the result has the same bits for any number of threads.
pub(crate) fn product(lhs: MatRef<'_>, rhs: MatRef<'_>, out: &mut [f32]) {
    let (m, k, n) = (lhs.rows, lhs.cols, rhs.cols);
    assert_eq!(k, rhs.rows, "inner dimensions");
    assert_eq!(out.len(), m * n, "output of {m} x {n}");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        out.fill(0.0);
        return;
    }
    let long = m.max(n);
    let blocks = blocks(m, n, k);
    let size = long.div_ceil(blocks).next_multiple_of(16);
    let dst = SendPtr(out.as_mut_ptr());
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
/// `j` and `p`. With `m` at most 64, a multiple of 16, and `n` at most 48 nothing is packed.
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

/// How many blocks pay for themselves: one for each 50 Mflop, four at most.
fn blocks(m: usize, n: usize, k: usize) -> usize {
    let flops = 2.0 * m as f64 * n as f64 * k as f64;
    ((flops / 5e7) as usize).clamp(1, 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(lhs: MatRef<'_>, rhs: MatRef<'_>) -> Vec<f32> {
        let at = |m: &MatRef<'_>, i: usize, j: usize| {
            f64::from(m.data[i * m.row_stride + j * m.col_stride])
        };
        let mut out = Vec::new();
        for i in 0..lhs.rows {
            for j in 0..rhs.cols {
                out.push((0..lhs.cols).map(|p| at(&lhs, i, p) * at(&rhs, p, j)).sum::<f64>() as f32);
            }
        }
        out
    }

    #[test]
    fn every_layout_agrees_with_the_definition() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (130, 20, 33), (20, 700, 90), (700, 300, 290)] {
            let a: Vec<f32> = (0..m * k).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
            let b: Vec<f32> = (0..k * n).map(|i| ((i * 53 % 97) as f32 - 48.0) / 48.0).collect();
            let pairs = [
                (MatRef::new(&a, m, k), MatRef::new(&b, k, n)),
                (MatRef::new(&a, k, m).t(), MatRef::new(&b, k, n)),
                (MatRef::new(&a, m, k), MatRef::new(&b, n, k).t()),
            ];
            for (lhs, rhs) in pairs {
                let mut out = vec![f32::NAN; m * n];
                product(lhs, rhs, &mut out);
                for (got, want) in out.iter().zip(naive(lhs, rhs)) {
                    assert!((got - want).abs() <= 1e-5 * k as f32, "{m} {n} {k}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn thread_count_does_not_matter() {
        let (m, n, k) = (512, 300, 400);
        let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.37).sin()).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i as f32 * 0.53).cos()).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut out = vec![0.0; m * n];
                product(MatRef::new(&a, m, k), MatRef::new(&b, k, n), &mut out);
                out
            })
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn a_block_is_written_or_added_between_its_strides() {
        for [m, n, k] in [[1, 1, 1], [16, 1, 3], [5, 7, 2], [64, 48, 130], [1, 9, 40], [33, 50, 17]]
        {
            let (ls, rs, os) = (m + 3, k + 2, m + 1);
            let a: Vec<f32> = (0..k * ls).map(|i| (i as f32 * 0.37).sin()).collect();
            let b: Vec<f32> = (0..n * rs).map(|i| (i as f32 * 0.53).cos()).collect();
            for accumulate in [false, true] {
                let old = if accumulate { 2.0 } else { f32::NAN };
                let mut out = vec![old; n * os];
                block_product((&mut out, os), (&a, ls), (&b, rs), [m, n, k], accumulate);
                for (at, got) in out.iter().enumerate() {
                    let (j, i) = (at / os, at % os);
                    let sum: f32 = (0..k).map(|p| a[p * ls + i.min(m - 1)] * b[j * rs + p]).sum();
                    let want = sum + if accumulate { 2.0 } else { 0.0 };
                    let outside = i == m && got.to_bits() == old.to_bits();
                    assert!(outside || (got - want).abs() <= 1e-5 * k as f32, "{m} {n} {k}: {at}");
                }
            }
        }
    }

    #[test]
    fn an_empty_inner_dimension_gives_zeros() {
        let mut out = [1.0; 4];
        product(MatRef::new(&[], 2, 0), MatRef::new(&[], 0, 2), &mut out);
        assert_eq!(out, [0.0; 4]);
    }
}
