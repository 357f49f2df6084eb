//! Products that sum over the rows of both operands.

use gemm::Parallelism;

#[cfg(target_arch = "x86_64")]
use super::{
    avx512::{Avx512, store},
    driver::{LANES, ROWS, VECTORS},
    strips,
};

/// `out[i][j] = sum over t of a[t][i] * b[t][j]`, added to what `out` holds if `accumulate`.
///
/// One thread, nothing is packed. Every operand is a slice and the distance between its rows; `[m, n, k]`
/// bound `i`, `j` and `t`, the first two multiples of 16.
pub(crate) fn outer_product(
    (out, out_stride): (&mut [f32], usize),
    (a, a_stride): (&[f32], usize),
    (b, b_stride): (&[f32], usize),
    [m, n, k]: [usize; 3],
    accumulate: bool,
) {
    assert_sizes([out.len(), a.len(), b.len()], [out_stride, a_stride, b_stride], [m, n, k]);
    #[cfg(target_arch = "x86_64")]
    if Avx512::detect().is_some() {
        for cols in strips(n) {
            for i in (0..m).step_by(ROWS) {
                let (a, b) = (&a[i..], &b[cols.start..]);
                let job = Job { a: a.as_ptr(), a_stride, b: b.as_ptr(), b_stride, k, accumulate };
                let out = out[i * out_stride + cols.start..].as_mut_ptr();
                // SAFETY: the assertions bound every access of these rows and columns; `detect` proved
                // the instruction set.
                unsafe {
                    match cols.len() / LANES {
                        1 => tile::<1>(&job, out, out_stride),
                        2 => tile::<2>(&job, out, out_stride),
                        _ => tile::<VECTORS>(&job, out, out_stride),
                    }
                }
            }
        }
        return;
    }
    by_gemm((out, out_stride), (a, a_stride), (b, b_stride), [m, n, k], accumulate);
}

/// The bounds of all accesses, of lengths and strides of `out`, `a` and `b`.
fn assert_sizes(lens: [usize; 3], strides: [usize; 3], [m, n, k]: [usize; 3]) {
    assert!(m > 0 && n > 0 && k > 0, "empty product {m} x {n} x {k}");
    assert!(m.is_multiple_of(16) && n.is_multiple_of(16), "product of {m} x {n}");
    assert!(n <= strides[0] && (m - 1) * strides[0] + n <= lens[0], "output of {m} x {n}");
    assert!((k - 1) * strides[1] + m <= lens[1], "left operand of {m} x {k}");
    assert!((k - 1) * strides[2] + n <= lens[2], "right operand of {k} x {n}");
}

/// The same for processors without a kernel of ours.
fn by_gemm(
    (out, out_stride): (&mut [f32], usize),
    (a, a_stride): (&[f32], usize),
    (b, b_stride): (&[f32], usize),
    [m, n, k]: [usize; 3],
    accumulate: bool,
) {
    assert_sizes([out.len(), a.len(), b.len()], [out_stride, a_stride, b_stride], [m, n, k]);
    // SAFETY: the assertions bound the last element of each operand; `out` is borrowed mutably and
    // its rows do not overlap.
    unsafe {
        gemm::gemm(
            n,
            m,
            k,
            out.as_mut_ptr(),
            out_stride as isize,
            1,
            accumulate,
            b.as_ptr(),
            b_stride as isize,
            1,
            a.as_ptr(),
            1,
            a_stride as isize,
            1.0_f32,
            1.0_f32,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// What a tile reads.
#[cfg(target_arch = "x86_64")]
struct Job {
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    b_stride: usize,
    k: usize,
    accumulate: bool,
}

/// # Safety
/// AVX-512; `k` rows of [`ROWS`] values in `a` and of `V` vectors in `b`; as many rows and vectors in
/// `out`, which no other thread uses meanwhile.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn tile<const V: usize>(job: &Job, out: *mut f32, out_stride: usize) {
    use std::arch::x86_64::*;

    let mut sums = [[_mm512_setzero_ps(); V]; ROWS];
    let (mut a, mut b) = (job.a, job.b);
    for _ in 0..job.k {
        // SAFETY: the caller's promise.
        unsafe {
            let mut vectors = [_mm512_setzero_ps(); V];
            for (v, vector) in vectors.iter_mut().enumerate() {
                *vector = _mm512_loadu_ps(b.add(v * LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*a.add(i));
                for (sum, vector) in sums.iter_mut().zip(vectors) {
                    *sum = _mm512_fmadd_ps(x, vector, *sum);
                }
            }
        }
        (a, b) = (a.wrapping_add(job.a_stride), b.wrapping_add(job.b_stride));
    }
    // SAFETY: the caller's promise.
    unsafe { store(sums, u16::MAX, (out, out_stride), job.accumulate) }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Product = fn((&mut [f32], usize), (&[f32], usize), (&[f32], usize), [usize; 3], bool);

    #[test]
    fn agrees_with_the_definition() {
        // Also what processors without a kernel of ours run.
        for product in [outer_product as Product, by_gemm] {
            check(product);
        }
    }

    fn check(product: Product) {
        for [m, n, k] in [[16, 16, 1], [32, 32, 5], [16, 48, 7], [48, 80, 64], [64, 128, 33]] {
            let [a_stride, b_stride, out_stride] = [m + 3, n + 1, n + 5];
            let a: Vec<f32> = (0..k * a_stride).map(|i| (i as f32 * 0.37).sin()).collect();
            let b: Vec<f32> = (0..k * b_stride).map(|i| (i as f32 * 0.53).cos()).collect();
            for accumulate in [false, true] {
                let old = if accumulate { 2.0 } else { f32::NAN };
                let mut out = vec![old; m * out_stride];
                let sizes = [m, n, k];
                let operands = ((&a[..], a_stride), (&b[..], b_stride));
                product((&mut out, out_stride), operands.0, operands.1, sizes, accumulate);
                for (i, row) in out.chunks(out_stride).enumerate() {
                    for (j, got) in row[..n].iter().enumerate() {
                        let sum: f32 =
                            (0..k).map(|t| a[t * a_stride + i] * b[t * b_stride + j]).sum();
                        let want = sum + if accumulate { 2.0 } else { 0.0 };
                        assert!((got - want).abs() < 1e-4, "{sizes:?}: {i} {j}");
                    }
                    assert!(row[n..].iter().all(|x| x.to_bits() == old.to_bits()), "{sizes:?}");
                }
            }
        }
    }
}
