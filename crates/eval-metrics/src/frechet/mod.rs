//! The Frechet distance between two Gaussians fitted to rows of features.
//!
//! `d^2 = |m_1 - m_2|^2 + tr C_1 + tr C_2 - 2 tr (C_1 C_2)^{1/2}` (Dowson and Landau 1982). On the
//! 2,048 features of the ImageNet network of 2015 it is the FID of Heusel et al. (2017); on any
//! other features it has a value of its own and needs a name of its own.
//!
//! It is biased upwards by about a constant over the number of rows: compare only at equal numbers,
//! report the distance of two real sets beside it, or extrapolate with [`frechet_extrapolated`].

mod extrapolation;
mod root;

use faer::{Mat, MatRef};
use ndarray::{ArrayView1, ArrayView2};
use serde::Serialize;

pub use self::extrapolation::{FrechetExtrapolation, frechet_extrapolated, subset_sizes};
use crate::{
    error::{Error, Result},
    moments::{Moments, centred},
    real::{Real, check_pair},
};

/// How the trace of the root of the product of two covariances is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum FrechetRoute {
    /// Eigenvalues of `G^T C_2 G` with `C_1 = G G^T` by a symmetric eigen-decomposition: always
    /// real, for any rank. Each root is good to about `1e-8` of the largest.
    Eigen,
    /// Nuclear norm of `A_1 A_2^T`, the centred rows over `sqrt(n - 1)`: cheap for fewer rows than
    /// columns; needs the rows. It squares nothing and is the most precise route at any shape: a
    /// factor of the covariance stands for a set of more rows than columns.
    Thin,
    /// Newton-Schulz iteration on `C_1 C_2`, products only; for well-conditioned covariances.
    NewtonSchulz,
    /// Eigenvalues of `L^T C_2 L` with `C_1 = L L^T` by Cholesky with pivoting: always real, for any
    /// rank, as good as [`FrechetRoute::Eigen`] and faster.
    Cholesky,
}

/// Settings of a Frechet distance; the default chooses the route by shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct FrechetOptions {
    /// None: [`FrechetRoute::Thin`] for rows fewer than columns, else [`FrechetRoute::Cholesky`].
    pub route: Option<FrechetRoute>,
    /// Added to all variances inside the root only, as older codes do (`1e-6`) when their root
    /// fails. It lowers the distance by as much as `2 d eps`; zero is right.
    pub eps: f64,
}

/// A Frechet distance with its parts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Frechet {
    /// The squared distance, in squared units of the features; this is what FID reports.
    pub value: f64,
    /// `|m_1 - m_2|^2`.
    pub mean_part: f64,
    /// `tr C_1`.
    pub trace_real: f64,
    /// `tr C_2`.
    pub trace_fake: f64,
    /// `tr (C_1 C_2)^{1/2}`.
    pub root_trace: f64,
    /// Rows behind the first Gaussian.
    pub n_real: usize,
    /// Rows behind the second Gaussian.
    pub n_fake: usize,
    /// Columns.
    pub width: usize,
    /// The route taken.
    pub route: FrechetRoute,
    /// Added to all variances inside the root.
    pub eps: f64,
}

/// The squared Frechet distance between the Gaussians of two sets of moments.
///
/// A result that rounding made negative is zero, down to a millionth of the traces.
///
/// # Errors
/// [`Error::Mismatch`] for different widths; [`Error::Argument`] for a negative `eps` and for
/// [`FrechetRoute::Thin`], which needs rows; [`Error::Numerical`] for a matrix that is no
/// covariance or does not suit the chosen route.
///
/// # Example
/// ```
/// use eval_metrics::{FrechetOptions, Moments, frechet_distance};
/// use ndarray::array;
///
/// let real = Moments::new(array![0.0, 0.0], array![[1.0, 0.0], [0.0, 4.0]], 1000)?;
/// let fake = Moments::new(array![1.0, 0.0], array![[1.0, 0.0], [0.0, 9.0]], 1000)?;
/// let distance = frechet_distance(&real, &fake, &FrechetOptions::default())?;
/// assert!((distance.value - 2.0).abs() < 1e-12);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn frechet_distance(
    real: &Moments,
    fake: &Moments,
    options: &FrechetOptions,
) -> Result<Frechet> {
    check_eps(options.eps)?;
    let width = real.width();
    if fake.width() != width {
        let (what, unit, got) = ("fake", "columns", fake.width());
        return Err(Error::Mismatch { what, unit, expected: width, got });
    }
    let route = options.route.unwrap_or(FrechetRoute::Cholesky);
    let take = match route {
        FrechetRoute::Eigen => root::eigen,
        FrechetRoute::NewtonSchulz => root::newton_schulz,
        FrechetRoute::Cholesky => root::cholesky,
        FrechetRoute::Thin => {
            let reason = "Thin needs the rows; call frechet_distance_of_rows".into();
            return Err(Error::Argument { name: "route", reason });
        }
    };
    // The trace is symmetric; a factor of the smaller rank leaves fewer zeros to rounding.
    let factored = matches!(route, FrechetRoute::Eigen | FrechetRoute::Cholesky);
    let swap = factored && fake.n() < real.n();
    let (first, second) = if swap { (fake, real) } else { (real, fake) };
    let root_trace = match (Scaled::of(first, options.eps), Scaled::of(second, options.eps)) {
        (Some(a), Some(b)) => take(&a.matrix, &b.matrix)? * a.scale.sqrt() * b.scale.sqrt(),
        _ => 0.0,
    };
    let parts = Frechet {
        value: 0.0,
        mean_part: squared_difference(real.mean(), fake.mean()),
        trace_real: real.covariance().diag().sum(),
        trace_fake: fake.covariance().diag().sum(),
        root_trace,
        n_real: real.n(),
        n_fake: fake.n(),
        width,
        route,
        eps: options.eps,
    };
    parts.assembled()
}

/// The squared Frechet distance between the Gaussians fitted to two sets of rows.
///
/// # Shapes
/// `real`: `(n, d)`; `fake`: `(m, d)`; at least two rows each.
///
/// # Errors
/// As [`frechet_distance`], and [`Error::TooFew`], [`Error::NonFinite`] for unusable rows;
/// [`Error::Argument`] for magnitudes above `1e150` and for [`FrechetRoute::Thin`] with an `eps`.
///
/// # Example
/// ```
/// use eval_metrics::{FrechetOptions, frechet_distance_of_rows};
/// use ndarray::array;
///
/// let real = array![[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]];
/// let moved = &real + &array![3.0, 4.0];
/// let distance =
///     frechet_distance_of_rows(real.view(), moved.view(), &FrechetOptions::default())?;
/// assert!((distance.value - 25.0).abs() < 1e-9);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn frechet_distance_of_rows<T: Real>(
    real: ArrayView2<'_, T>,
    fake: ArrayView2<'_, T>,
    options: &FrechetOptions,
) -> Result<Frechet> {
    check_eps(options.eps)?;
    check_pair(real, fake, 2, 1e150)?;
    let few = real.nrows().min(fake.nrows()) < real.ncols();
    let thin = match options.route {
        Some(route) => route == FrechetRoute::Thin,
        None => few && options.eps <= 0.0,
    };
    if !thin {
        return frechet_distance(&Moments::of(real)?, &Moments::of(fake)?, options);
    }
    if options.eps > 0.0 {
        let reason = "Thin knows no eps; take another route".into();
        return Err(Error::Argument { name: "route", reason });
    }
    let (a, b) = (Factored::of(real)?, Factored::of(fake)?);
    let root_trace = match (&a.factor, &b.factor) {
        (Some(left), Some(right)) => root::thin(left, right)? * a.scale.sqrt() * b.scale.sqrt(),
        _ => 0.0,
    };
    let width = real.ncols();
    let parts = Frechet {
        value: 0.0,
        mean_part: squared_difference((&a.mean).into(), (&b.mean).into()),
        trace_real: a.scale * width as f64,
        trace_fake: b.scale * width as f64,
        root_trace,
        n_real: real.nrows(),
        n_fake: fake.nrows(),
        width,
        route: FrechetRoute::Thin,
        eps: 0.0,
    };
    parts.assembled()
}

impl Frechet {
    /// Fills in the value.
    fn assembled(mut self) -> Result<Self> {
        let traces = self.trace_real + self.trace_fake;
        let value = self.mean_part + traces - 2.0 * self.root_trace;
        // With eps inside the root alone, equal Gaussians are at minus 2 d eps.
        let slack = 1e-6 * traces + 2.0 * self.width as f64 * self.eps;
        if value.is_nan() || value < -slack {
            let reason = format!("{value} is negative; compute the moments in f64");
            return Err(Error::Numerical { what: "squared distance", reason });
        }
        self.value = value.max(0.0);
        Ok(self)
    }
}

fn check_eps(eps: f64) -> Result<()> {
    if eps.is_finite() && eps >= 0.0 {
        return Ok(());
    }
    let reason = format!("{eps} is neither zero nor a positive number");
    Err(Error::Argument { name: "eps", reason })
}

fn squared_difference(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

/// A covariance over its mean variance, so that products of two stay in the range of f64.
struct Scaled {
    matrix: Mat<f64>,
    scale: f64,
}

impl Scaled {
    /// None if all variances are zero.
    fn of(moments: &Moments, eps: f64) -> Option<Self> {
        let covariance = moments.covariance();
        let width = moments.width();
        let scale = covariance.diag().sum() / width as f64 + eps;
        let entry = |i, j| (covariance[(i, j)] + if i == j { eps } else { 0.0 }) / scale;
        (scale > 0.0).then(|| Self { matrix: Mat::from_fn(width, width, entry), scale })
    }
}

/// A covariance as `scale G G^T`, with no more columns in `G` than rows in the data.
struct Factored {
    mean: Vec<f64>,
    /// None if all variances are zero.
    factor: Option<Mat<f64>>,
    /// The mean variance.
    scale: f64,
}

impl Factored {
    fn of<T: Real>(rows: ArrayView2<'_, T>) -> Result<Self> {
        let (n, width) = rows.dim();
        if n > width {
            let moments = Moments::of(rows)?;
            let scaled = Scaled::of(&moments, 0.0);
            let scale = scaled.as_ref().map_or(0.0, |scaled| scaled.scale);
            let factor = scaled.map(|scaled| root::factor(&scaled.matrix)).transpose()?;
            return Ok(Self { mean: moments.mean().to_vec(), factor, scale });
        }
        let (mean, centred) = centred(rows);
        let squares: f64 = centred.iter().map(|value| value * value).sum();
        let scale = squares / (n as f64 - 1.0) / width as f64;
        let unit = 1.0 / (scale * (n as f64 - 1.0)).sqrt();
        let columns = MatRef::from_column_major_slice(&centred, width, n);
        let factor = (scale > 0.0).then(|| Mat::from_fn(width, n, |i, j| columns[(i, j)] * unit));
        Ok(Self { mean, factor, scale })
    }
}

#[cfg(test)]
mod tests;
