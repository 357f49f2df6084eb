//! Inner products of all pairs of rows.

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};

use crate::real::{Real, sealed::Sealed};

/// `out[i * n + j] = <a_i, b_j>` for rows of `width` numbers, `m` in `a` and `n` in `b`.
///
/// Runs on the calling thread only, so that the result does not depend on the number of threads.
pub(crate) fn inner_products<T: Real>(a: &[T], b: &[T], width: usize, out: &mut [T]) {
    T::inner_products(a, b, width, out);
}

impl Sealed for f32 {
    fn inner_products(a: &[Self], b: &[Self], width: usize, out: &mut [Self]) {
        chains_core::ops::inner_products(a, b, width, out);
    }
}

impl Sealed for f64 {
    fn inner_products(a: &[Self], b: &[Self], width: usize, out: &mut [Self]) {
        let (m, n) = (a.len() / width, b.len() / width);
        let a = MatRef::from_row_major_slice(a, m, width);
        let b = MatRef::from_row_major_slice(b, n, width);
        let out = MatMut::from_row_major_slice_mut(out, m, n);
        matmul(out, Accum::Replace, a, b.transpose(), 1.0, Par::Seq);
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
