//! Dense decompositions and products whose bits do not depend on the number of threads.
//!
//! Decompositions run on the calling thread, but for eigenvalues alone, which two tasks share
//! whatever the number of threads; products run in parallel over fixed panels.

use faer::{
    Accum, Mat, MatMut, MatRef, Par,
    diag::Diag,
    dyn_stack::{MemBuffer, MemStack},
    linalg::{
        cholesky::llt_pivoting::factor::{cholesky_in_place, cholesky_in_place_scratch},
        evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch},
        matmul::matmul,
        svd::{ComputeSvdVectors, svd, svd_scratch},
    },
};
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Columns of a product that one task computes.
const PANEL: usize = 128;

/// Eigenvalues in ascending order with their eigenvectors; only the lower triangle is read.
pub(crate) fn symmetric_eigen(matrix: MatRef<'_, f64>) -> Result<(Vec<f64>, Mat<f64>)> {
    let n = matrix.nrows();
    let mut vectors = Mat::zeros(n, n);
    let values = eigen(matrix, Some(vectors.as_mut()))?;
    Ok((values, vectors))
}

/// Eigenvalues in ascending order; only the lower triangle is read.
pub(crate) fn symmetric_eigenvalues(matrix: MatRef<'_, f64>) -> Result<Vec<f64>> {
    eigen(matrix, None)
}

fn eigen(matrix: MatRef<'_, f64>, vectors: Option<MatMut<'_, f64>>) -> Result<Vec<f64>> {
    let n = matrix.nrows();
    // Two parts, not the number of threads, which would show in the last bits.
    let (wanted, par) = match vectors {
        Some(_) => (ComputeEigenvectors::Yes, Par::Seq),
        None => (ComputeEigenvectors::No, Par::rayon(2)),
    };
    let scratch = self_adjoint_evd_scratch::<f64>(n, wanted, par, Default::default());
    let mut memory = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut memory);
    let mut values = Diag::zeros(n);
    self_adjoint_evd(matrix, values.as_mut(), vectors, par, stack, Default::default())
        .map_err(|_| no_convergence("eigenvalues"))?;
    Ok(values.column_vector().iter().copied().collect())
}

/// Singular values in descending order.
pub(crate) fn singular_values(matrix: MatRef<'_, f64>) -> Result<Vec<f64>> {
    let (rows, columns) = matrix.shape();
    let none = ComputeSvdVectors::No;
    let scratch = svd_scratch::<f64>(rows, columns, none, none, Par::Seq, Default::default());
    let mut memory = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut memory);
    let mut values = Diag::zeros(rows.min(columns));
    svd(matrix, values.as_mut(), None, None, Par::Seq, stack, Default::default())
        .map_err(|_| no_convergence("singular values"))?;
    Ok(values.column_vector().iter().copied().collect())
}

fn no_convergence(what: &'static str) -> Error {
    let reason = "the iteration did not converge; rescale the columns or take another route";
    Error::Numerical { what, reason: reason.into() }
}

/// A factor of a positive semidefinite matrix: `matrix[order, order] = L L^T`.
pub(crate) struct PivotedCholesky {
    /// `L`, lower trapezoidal, one column for every pivot above rounding.
    pub(crate) lower: Mat<f64>,
    /// The row of the matrix that every row of `L` stands for.
    pub(crate) order: Vec<usize>,
}

/// By the largest pivots first, up to the numerical rank; none if a pivot is negative beyond
/// rounding. Only the lower triangle is read.
pub(crate) fn pivoted_cholesky(matrix: MatRef<'_, f64>) -> Option<PivotedCholesky> {
    let n = matrix.nrows();
    let mut work = matrix.to_owned();
    let (mut order, mut inverse) = (vec![0_usize; n], vec![0_usize; n]);
    let scratch = cholesky_in_place_scratch::<usize, f64>(n, Par::Seq, Default::default());
    let mut memory = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut memory);
    let params = Default::default();
    let (info, _) =
        cholesky_in_place(work.as_mut(), &mut order, &mut inverse, Par::Seq, stack, params).ok()?;
    // Above the diagonal the work space holds other numbers.
    let lower = Mat::from_fn(n, info.rank, |i, j| if i < j { 0.0 } else { work[(i, j)] });
    Some(PivotedCholesky { lower, order })
}

/// `L^T S L` for a symmetric `S` and the lower trapezoidal `L`; only the lower triangle is right.
///
/// Of both products only what is not zero by the shape of `L`, and not wanted, is computed.
pub(crate) fn congruence(lower: MatRef<'_, f64>, symmetric: MatRef<'_, f64>) -> Mat<f64> {
    let (n, rank) = lower.shape();
    let mut out = vec![0.0; rank * rank];
    out.par_chunks_mut((PANEL * rank).max(1)).enumerate().for_each(|(panel, out)| {
        let (start, count) = (panel * PANEL, out.len() / rank);
        // Columns of `L` are zero above `start`.
        let columns = lower.submatrix(start, start, n - start, count);
        let mut half = Mat::zeros(n - start, count);
        let square = symmetric.submatrix(start, start, n - start, n - start);
        matmul(half.as_mut(), Accum::Replace, square, columns, 1.0, Par::Seq);
        let out = MatMut::from_column_major_slice_mut(out, rank, count);
        let below = lower.submatrix(start, start, n - start, rank - start);
        let (_, out) = out.split_at_row_mut(start);
        matmul(out, Accum::Replace, below.transpose(), half.as_ref(), 1.0, Par::Seq);
    });
    MatRef::from_column_major_slice(&out, rank, rank).to_owned()
}

/// `a b`.
pub(crate) fn product(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let (rows, columns) = (a.nrows(), b.ncols());
    let mut out = vec![0.0; rows * columns];
    out.par_chunks_mut((PANEL * rows).max(1)).enumerate().for_each(|(panel, out)| {
        let count = out.len() / rows;
        let out = MatMut::from_column_major_slice_mut(out, rows, count);
        matmul(out, Accum::Replace, a, b.subcols(panel * PANEL, count), 1.0, Par::Seq);
    });
    MatRef::from_column_major_slice(&out, rows, columns).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{array, assert_close};

    fn matrix(seed: u32, rows: usize, columns: usize) -> Mat<f64> {
        let values = array(seed, rows, columns);
        Mat::from_fn(rows, columns, |i, j| values[(i, j)] - 0.5)
    }

    fn assert_equal(a: &Mat<f64>, b: &Mat<f64>, tolerance: f64) {
        assert_eq!(a.shape(), b.shape());
        assert!((a - b).norm_max() < tolerance, "{}", (a - b).norm_max());
    }

    #[test]
    fn decompositions_give_the_matrix_back() -> Result<()> {
        for n in [1, 2, 3, 40, 150] {
            let a = matrix(1, n, n);
            let symmetric = product(a.as_ref(), a.transpose());
            let (values, vectors) = symmetric_eigen(symmetric.as_ref())?;
            let scaled = Mat::from_fn(n, n, |i, j| vectors[(i, j)] * values[j]);
            assert_equal(&product(scaled.as_ref(), vectors.transpose()), &symmetric, 1e-12);
            let PivotedCholesky { lower, order } = pivoted_cholesky(symmetric.as_ref()).unwrap();
            let moved = Mat::from_fn(n, n, |i, j| symmetric[(order[i], order[j])]);
            assert_equal(&product(lower.as_ref(), lower.transpose()), &moved, 1e-12);
            let mut squares: Vec<f64> =
                singular_values(a.as_ref())?.iter().map(|value| value * value).collect();
            squares.reverse();
            for other in [values, symmetric_eigenvalues(symmetric.as_ref())?] {
                squares.iter().zip(&other).for_each(|(a, b)| assert_close(*a, *b, 1e-12));
            }
        }
        Ok(())
    }

    #[test]
    fn products_of_any_shape_are_those_of_the_definition() {
        for (rows, inner, columns) in [(3, 4, 2), (1, 300, 1), (5, 1, 300), (130, 7, 129)] {
            let (a, b) = (matrix(2, rows, inner), matrix(3, inner, columns));
            let direct = Mat::from_fn(rows, columns, |i, j| {
                (0..inner).map(|k| a[(i, k)] * b[(k, j)]).sum::<f64>()
            });
            assert_equal(&product(a.as_ref(), b.as_ref()), &direct, 1e-12);
        }
        assert_eq!(product(matrix(4, 3, 2).as_ref(), matrix(4, 2, 0).as_ref()).shape(), (3, 0));
    }

    #[test]
    fn a_pivoted_factor_has_the_rank_of_the_matrix() {
        let thin = matrix(5, 30, 7);
        let symmetric = product(thin.as_ref(), thin.transpose());
        let PivotedCholesky { lower, order } = pivoted_cholesky(symmetric.as_ref()).unwrap();
        assert_eq!(lower.shape(), (30, 7));
        let moved = Mat::from_fn(30, 30, |i, j| symmetric[(order[i], order[j])]);
        assert_equal(&product(lower.as_ref(), lower.transpose()), &moved, 1e-12);
    }

    #[test]
    fn a_congruence_is_two_products() {
        for (n, rank) in [(1, 1), (5, 3), (300, 300), (280, 130)] {
            let (a, b) = (matrix(6, n, n), matrix(7, n, rank));
            let symmetric = Mat::from_fn(n, n, |i, j| a[(i, j)] + a[(j, i)]);
            let lower = Mat::from_fn(n, rank, |i, j| if i < j { 0.0 } else { b[(i, j)] });
            let direct =
                product(lower.transpose(), product(symmetric.as_ref(), lower.as_ref()).as_ref());
            let found = congruence(lower.as_ref(), symmetric.as_ref());
            let triangle =
                |m: &Mat<f64>| Mat::from_fn(rank, rank, |i, j| if i < j { 0.0 } else { m[(i, j)] });
            assert_equal(&triangle(&found), &triangle(&direct), 1e-10);
        }
    }
}
