//! `tr (C_1 C_2)^{1/2}` of two covariances.
//!
//! With `C_1 = G_1 G_1^T` the eigenvalues of `C_1 C_2` that are not zero are those of the symmetric
//! `G_1^T C_2 G_1`, and with `C_2 = G_2 G_2^T` too their roots are the singular values of
//! `G_1^T G_2`.

use faer::Mat;

use crate::{
    error::{Error, Result},
    linear_algebra::{
        PivotedCholesky, congruence, pivoted_cholesky, product, singular_values, symmetric_eigen,
        symmetric_eigenvalues,
    },
};

/// Negative eigenvalues down to this fraction of the norm are rounding.
const NEGATIVE: f64 = 1e-6;

/// By a symmetric eigen-decomposition of the first.
pub(super) fn eigen(real: &Mat<f64>, fake: &Mat<f64>) -> Result<f64> {
    root_trace(real, &factor(real)?, fake)
}

/// By a pivoted Cholesky factor of the first, of as many columns as its rank.
pub(super) fn cholesky(real: &Mat<f64>, fake: &Mat<f64>) -> Result<f64> {
    let norm = real.norm_l2();
    let refuse = || Error::Numerical {
        what: "covariance of real",
        reason: "is not positive semidefinite; compute it in f64".into(),
    };
    let PivotedCholesky { lower, order } = pivoted_cholesky(real.as_ref()).ok_or_else(refuse)?;
    let ordered = |matrix: &Mat<f64>| {
        let n = matrix.nrows();
        Mat::from_fn(n, n, |i, j| matrix[(order[i], order[j])])
    };
    if lower.ncols() < lower.nrows() {
        let rest = product(lower.as_ref(), lower.transpose()) - ordered(real);
        if rest.norm_max() > NEGATIVE * norm {
            return Err(refuse());
        }
    }
    let inner = congruence(lower.as_ref(), ordered(fake).as_ref());
    sum_of_roots(&inner, norm * fake.norm_l2())
}

/// The nuclear norm of `G_1^T G_2`.
pub(super) fn thin(real: &Mat<f64>, fake: &Mat<f64>) -> Result<f64> {
    Ok(singular_values(product(real.transpose(), fake.as_ref()).as_ref())?.iter().sum())
}

/// `G` with `G G^T = matrix`, one column for every eigenvalue above rounding.
pub(super) fn factor(matrix: &Mat<f64>) -> Result<Mat<f64>> {
    let (values, vectors) = symmetric_eigen(matrix.as_ref())?;
    check_not_negative(&values, matrix.norm_l2())?;
    let n = values.len();
    let largest = values.last().copied().unwrap_or(0.0);
    // The usual numerical rank: the root of what is left out is rounding of the others.
    let smallest = n as f64 * f64::EPSILON * largest;
    let skip = values.iter().take_while(|value| **value <= smallest).count();
    Ok(Mat::from_fn(n, n - skip, |i, j| vectors[(i, j + skip)] * values[j + skip].sqrt()))
}

/// The sum of the roots of the eigenvalues of `G^T C G`.
fn root_trace(real: &Mat<f64>, factor: &Mat<f64>, fake: &Mat<f64>) -> Result<f64> {
    let half = product(fake.as_ref(), factor.as_ref());
    let inner = product(factor.transpose(), half.as_ref());
    sum_of_roots(&inner, real.norm_l2() * fake.norm_l2())
}

/// The sum of the roots of the eigenvalues, up to rounding of numbers of size `norm`.
fn sum_of_roots(matrix: &Mat<f64>, norm: f64) -> Result<f64> {
    let values = symmetric_eigenvalues(matrix.as_ref())?;
    check_not_negative(&values, norm)?;
    Ok(values.iter().map(|value| value.max(0.0).sqrt()).sum())
}

fn check_not_negative(ascending: &[f64], norm: f64) -> Result<()> {
    match ascending.first() {
        Some(&lowest) if lowest < -NEGATIVE * norm => Err(Error::Numerical {
            what: "covariance",
            reason: format!(
                "has a negative eigenvalue, {:e} of its norm; compute it in f64",
                lowest / norm
            ),
        }),
        _ => Ok(()),
    }
}

/// By the Newton-Schulz iteration for the root of `C_1 C_2`.
pub(super) fn newton_schulz(real: &Mat<f64>, fake: &Mat<f64>) -> Result<f64> {
    let matrix = product(real.as_ref(), fake.as_ref());
    let norm = matrix.norm_l2();
    if norm <= 0.0 {
        return Ok(0.0);
    }
    let mut iteration = NewtonSchulz::new(&matrix, norm);
    let settled = (0..MOST_STEPS).any(|_| iteration.step() <= SETTLED);
    let residual = iteration.residual(&matrix, norm);
    if settled && residual < 1e-6 {
        return Ok(iteration.trace(norm));
    }
    let reason = format!(
        "no root after {MOST_STEPS} Newton-Schulz steps (residual {residual:.1e}): \
         ill-conditioned; take the route Cholesky, or an eps above zero"
    );
    Err(Error::Numerical { what: "covariances", reason })
}

/// An eigenvalue at the roundoff of the largest needs 45 steps to grow to its root.
const MOST_STEPS: usize = 60;
/// Relative change of a step that ends the iteration; the error is about its square by then.
const SETTLED: f64 = 1e-12;

/// The coupled iteration of Denman and Beavers with Schulz's inverse: `Y T` and `T Z` with
/// `T = (3 I - Z Y) / 2` go to the root and its inverse (Higham 2008, section 6.3).
struct NewtonSchulz {
    root: Mat<f64>,
    inverse: Mat<f64>,
}

impl NewtonSchulz {
    fn new(matrix: &Mat<f64>, norm: f64) -> Self {
        let n = matrix.nrows();
        Self {
            root: Mat::from_fn(n, n, |i, j| matrix[(i, j)] / norm),
            inverse: Mat::identity(n, n),
        }
    }

    /// One step; gives the relative change of the root.
    fn step(&mut self) -> f64 {
        let n = self.root.nrows();
        let both = product(self.inverse.as_ref(), self.root.as_ref());
        let update =
            Mat::from_fn(n, n, |i, j| (if i == j { 1.5 } else { 0.0 }) - 0.5 * both[(i, j)]);
        let root = product(self.root.as_ref(), update.as_ref());
        self.inverse = product(update.as_ref(), self.inverse.as_ref());
        let change = (&root - &self.root).norm_l2() / root.norm_l2();
        self.root = root;
        change
    }

    /// `|Y^2 - M / |M||`.
    fn residual(&self, matrix: &Mat<f64>, norm: f64) -> f64 {
        let square = product(self.root.as_ref(), self.root.as_ref());
        let n = square.nrows();
        Mat::from_fn(n, n, |i, j| square[(i, j)] - matrix[(i, j)] / norm).norm_l2()
    }

    fn trace(&self, norm: f64) -> f64 {
        (0..self.root.nrows()).map(|i| self.root[(i, i)]).sum::<f64>() * norm.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        golden::{assert_close, fake, real},
        moments::Moments,
    };

    fn covariance(rows: &ndarray::Array2<f64>) -> Result<Mat<f64>> {
        let moments = Moments::of(rows.view())?;
        let covariance = moments.covariance();
        Ok(Mat::from_fn(rows.ncols(), rows.ncols(), |i, j| covariance[(i, j)]))
    }

    #[test]
    fn newton_schulz_converges_as_fast_as_stated() -> Result<()> {
        let (c1, c2) = (covariance(&real())?, covariance(&fake())?);
        let exact = eigen(&c1, &c2)?;
        let matrix = product(c1.as_ref(), c2.as_ref());
        let norm = matrix.norm_l2();
        let mut iteration = NewtonSchulz::new(&matrix, norm);
        for (steps, tolerance) in [(5, 1e-6), (5, 1e-15)] {
            for _ in 0..steps {
                iteration.step();
            }
            assert!((iteration.trace(norm) - exact).abs() <= tolerance);
        }
        assert!(iteration.residual(&matrix, norm) < 1e-14);
        Ok(())
    }

    #[test]
    fn all_routes_agree_with_the_eigenvalues_of_the_unsymmetric_product() -> Result<()> {
        let (c1, c2) = (covariance(&real())?, covariance(&fake())?);
        let values = product(c1.as_ref(), c2.as_ref()).eigenvalues().unwrap();
        // The real part of a complex root.
        let roots = values.iter().map(|z| (0.5 * (z.re.hypot(z.im) + z.re)).sqrt());
        let trace: f64 = roots.sum();
        for route in [eigen, cholesky, newton_schulz] {
            assert_close(route(&c1, &c2)?, trace, 1e-12);
        }
        assert_close(thin(&factor(&c1)?, &factor(&c2)?)?, trace, 1e-12);
        Ok(())
    }

    #[test]
    fn a_matrix_with_a_negative_eigenvalue_is_refused() {
        let indefinite = Mat::from_fn(2, 2, |i, j| if i == j { 1.0 } else { 2.0 });
        let identity = Mat::<f64>::identity(2, 2);
        for result in [
            eigen(&indefinite, &identity),
            eigen(&identity, &indefinite),
            cholesky(&identity, &indefinite),
        ] {
            assert!(result.unwrap_err().to_string().contains("negative eigenvalue"));
        }
        assert!(cholesky(&indefinite, &identity).is_err());
        assert!(newton_schulz(&indefinite, &identity).is_err());
    }

    #[test]
    fn disjoint_ranges_have_no_root() -> Result<()> {
        let only = |at: usize| Mat::from_fn(3, 3, |i, j| if i == j && i == at { 1.0 } else { 0.0 });
        assert_close(eigen(&only(0), &only(2))?, 0.0, 1e-15);
        assert_close(newton_schulz(&only(0), &only(2))?, 0.0, 1e-15);
        Ok(())
    }
}
