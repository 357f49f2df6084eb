//! Mean and covariance of rows, streamed in f64.

mod accumulator;

use faer::Mat;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2};

pub use self::accumulator::MomentAccumulator;
pub(crate) use self::accumulator::centred;
use crate::{
    error::{Error, Result},
    linear_algebra::symmetric_eigen,
    real::{Real, check_rows},
};

/// Mean and covariance of a set of rows: all that a Frechet distance looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    mean: Array1<f64>,
    covariance: Array2<f64>,
    n: usize,
}

impl Moments {
    /// Moments that were computed elsewhere, from `n` rows.
    ///
    /// # Shapes
    /// `mean`: `(d,)`; `covariance`: `(d, d)`, with the divisor `n - 1`.
    ///
    /// # Errors
    /// [`Error::TooFew`] for `n < 2`; [`Error::Mismatch`] for other shapes; [`Error::NonFinite`];
    /// [`Error::Argument`] for a matrix that is no covariance: not symmetric within `1e-6` of its
    /// largest variance, or with a negative variance.
    pub fn new(mean: Array1<f64>, covariance: Array2<f64>, n: usize) -> Result<Self> {
        if n < 2 {
            return Err(Error::TooFew { what: "moments", needed: 2, got: n });
        }
        let width = mean.len();
        check_rows("mean", mean.view().insert_axis(ndarray::Axis(0)), 1)?;
        for (unit, got) in [("rows", covariance.nrows()), ("columns", covariance.ncols())] {
            if got != width {
                return Err(Error::Mismatch { what: "covariance", unit, expected: width, got });
            }
        }
        check_rows("covariance", covariance.view(), 1)?;
        let wrong = |reason: String| Err(Error::Argument { name: "covariance", reason });
        if let Some(at) = covariance.diag().iter().position(|variance| *variance < 0.0) {
            return wrong(format!("variance {at} is negative"));
        }
        let largest = covariance.diag().iter().fold(0.0_f64, |a, &b| a.max(b));
        for ((row, column), &value) in covariance.indexed_iter() {
            if (value - covariance[(column, row)]).abs() > 1e-6 * largest {
                return wrong(format!("entries ({row}, {column}) and its mirror image differ"));
            }
        }
        let covariance = (&covariance + &covariance.t()) * 0.5;
        Ok(Self { mean, covariance, n })
    }

    /// The moments of all rows at once.
    ///
    /// # Shapes
    /// `rows`: `(n, d)`, `n >= 2`.
    ///
    /// # Errors
    /// As [`MomentAccumulator::push`] and [`MomentAccumulator::finish`].
    pub fn of<T: Real>(rows: ArrayView2<'_, T>) -> Result<Self> {
        let mut sums = MomentAccumulator::new(rows.ncols());
        sums.push(rows)?;
        sums.finish()
    }

    /// The mean, `(d,)`.
    pub fn mean(&self) -> ArrayView1<'_, f64> {
        self.mean.view()
    }

    /// The covariance with the divisor `n - 1`, `(d, d)`.
    pub fn covariance(&self) -> ArrayView2<'_, f64> {
        self.covariance.view()
    }

    /// Rows behind the moments.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Columns of the rows.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// Eigenvalues of the covariance, the largest first, `(d,)`, and their unit eigenvectors as
    /// columns, `(d, d)`. The sign of an eigenvector is that of the decomposition. Same bits for any
    /// number of threads.
    ///
    /// # Errors
    /// [`Error::Numerical`] if the iteration does not converge.
    pub fn principal_components(&self) -> Result<(Array1<f64>, Array2<f64>)> {
        let d = self.width();
        let matrix = Mat::from_fn(d, d, |i, j| self.covariance[(i, j)]);
        let (values, vectors) = symmetric_eigen(matrix.as_ref())?;
        let values = values.into_iter().rev().collect();
        Ok((values, Array2::from_shape_fn((d, d), |(i, j)| vectors[(i, d - 1 - j)])))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn principal_components_are_axes_by_their_variance() -> Result<()> {
        // Eigenvalues 3 and 1 along (1, 1) and (1, -1).
        let covariance = array![[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.5]];
        let moments = Moments::new(array![0.0, 0.0, 0.0], covariance.clone(), 10)?;
        let (values, axes) = moments.principal_components()?;
        for (value, want) in values.iter().zip([3.0, 1.0, 0.5]) {
            assert!((value - want).abs() < 1e-12, "{values}");
        }
        let back = axes.dot(&Array2::from_diag(&values)).dot(&axes.t());
        assert!((&back - &covariance).iter().all(|gap| gap.abs() < 1e-12), "{back}");
        assert!((axes[(0, 0)] * axes[(1, 0)] - 0.5).abs() < 1e-12, "{axes}");
        Ok(())
    }

    #[test]
    fn stored_moments_are_checked() -> Result<()> {
        let good = array![[2.0, 0.5], [0.5, 1.0]];
        let stored = Moments::new(array![1.0, 2.0], good.clone(), 10)?;
        assert_eq!((stored.covariance(), stored.n(), stored.width()), (good.view(), 10, 2));
        let text = |mean: Array1<f64>, covariance: &Array2<f64>, n| {
            Moments::new(mean, covariance.clone(), n).unwrap_err().to_string()
        };
        assert!(text(array![1.0, 2.0], &good, 1).contains("at least 2"));
        assert!(text(array![1.0], &good, 9).contains("covariance: expected 1 rows, got 2"));
        assert!(text(array![1.0, f64::NAN], &good, 9).contains("mean: row 0, column 1"));
        assert!(text(array![], &Array2::zeros((0, 0)), 9).contains("no columns"));
        let mean = array![0.0, 0.0];
        assert!(text(mean.clone(), &array![[1.0, 0.2], [0.3, 1.0]], 9).contains("mirror"));
        assert!(text(mean.clone(), &array![[1.0, 0.0], [0.0, -1.0]], 9).contains("variance 1"));
        assert!(text(mean, &array![[1.0, f64::INFINITY], [0.0, 1.0]], 9).contains("finite"));
        Ok(())
    }
}
