//! Inner products of all pairs of rows: the crate's only `unsafe` code, one call into `gemm`.
#![allow(unsafe_code)]

use crate::real::Real;

/// `out[i * n + j] = <a_i, b_j>` for rows of `width` numbers, `m` in `a` and `n` in `b`.
///
/// Runs on the calling thread only, so that the result does not depend on the number of threads.
pub(crate) fn inner_products<T: Real>(a: &[T], b: &[T], width: usize, out: &mut [T]) {
    let (m, n) = (a.len() / width, b.len() / width);
    assert!(a.len() == m * width && b.len() == n * width && out.len() == m * n);
    // Lengths of slices fit `isize`.
    let (row, column) = (width as isize, n as isize);
    // SAFETY: `Real` is sealed to f32 and f64, which gemm implements. `a` holds an m x width matrix
    // with strides (width, 1), `b` read as its transpose a width x n matrix with strides (1, width),
    // and `out` an m x n matrix with strides (n, 1); the assertion above keeps every index inside
    // its slice, and `out`, being borrowed mutably, overlaps neither. `read_dst` is false, so the
    // old contents and the first factor are ignored.
    unsafe {
        gemm::gemm(
            m,
            n,
            width,
            out.as_mut_ptr(),
            1,
            column,
            false,
            a.as_ptr(),
            1,
            row,
            b.as_ptr(),
            row,
            1,
            T::from_f64(0.0),
            T::from_f64(1.0),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_rows_is_multiplied_once() {
        // Three rows against two, small integers: exact in both types.
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0];
        let b = [1.0, 0.0, -1.0, 2.0, 0.5, 3.0, 0.0, -2.0];
        let expected = [6.0, -1.5, 14.0, 4.5, 22.0, 10.5];
        let direct: Vec<f64> = a
            .chunks(4)
            .flat_map(|x| b.chunks(4).map(move |y| x.iter().zip(y).map(|(x, y)| x * y).sum()))
            .collect();
        assert_eq!(direct, expected);
        let mut out = [9.0; 6];
        inner_products(&a, &b, 4, &mut out);
        assert_eq!(out.to_vec(), expected);
        let mut out = [9.0_f32; 6];
        inner_products(&a.map(|x| x as f32), &b.map(|x| x as f32), 4, &mut out);
        assert_eq!(out.map(f64::from).to_vec(), expected);
    }
}
