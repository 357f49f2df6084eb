//! Dense decompositions and products whose bits do not depend on the number of threads.
//!
//! Decompositions run on the calling thread, whichever features faer was built with; products
//! run in parallel over fixed panels.

use faer::{
    Accum, Mat, MatMut, MatRef, Par,
    diag::Diag,
    dyn_stack::{MemBuffer, MemStack},
    linalg::{
        cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch},
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
    let wanted = match vectors {
        Some(_) => ComputeEigenvectors::Yes,
        None => ComputeEigenvectors::No,
    };
    let scratch = self_adjoint_evd_scratch::<f64>(n, wanted, Par::Seq, Default::default());
    let mut memory = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut memory);
    let mut values = Diag::zeros(n);
    self_adjoint_evd(matrix, values.as_mut(), vectors, Par::Seq, stack, Default::default())
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

/// The lower triangle `L` with `L L^T = matrix`; none if the matrix is not positive definite.
pub(crate) fn cholesky(matrix: MatRef<'_, f64>) -> Option<Mat<f64>> {
    let n = matrix.nrows();
    let mut work = matrix.to_owned();
    let scratch = cholesky_in_place_scratch::<f64>(n, Par::Seq, Default::default());
    let mut memory = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut memory);
    let (no_shift, params) = (Default::default(), Default::default());
    cholesky_in_place(work.as_mut(), no_shift, Par::Seq, stack, params).ok()?;
    // Above the diagonal the work space holds other numbers.
    let mut lower = Mat::zeros(n, n);
    lower.copy_from_triangular_lower(work.as_ref());
    Some(lower)
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
            let lower = cholesky(symmetric.as_ref()).unwrap();
            assert_equal(&product(lower.as_ref(), lower.transpose()), &symmetric, 1e-12);
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
    fn a_matrix_that_is_not_positive_definite_has_no_cholesky_factor() {
        let indefinite = Mat::from_fn(2, 2, |i, j| if i == j { 1.0 } else { 2.0 });
        assert!(cholesky(indefinite.as_ref()).is_none());
    }
}
