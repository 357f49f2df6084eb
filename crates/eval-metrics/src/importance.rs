//! Lower bounds on the log likelihood from log weights.
//!
//! A log weight is `ln p(x, z) - ln q(z | x)` for a draw `z` of `q`; of a chain it is the sum over
//! its steps. The mean of one weight is the likelihood, so that the mean log weight (ELBO) and the
//! log mean of `k` weights (IWAE; Burda, Grosse and Salakhutdinov, 2016) lie below the log likelihood
//! in expectation, the latter the less so the larger `k`.

use ndarray::{ArrayView1, ArrayView2, ArrayView3, Axis};
use rayon::prelude::*;
use serde::Serialize;

use crate::{
    error::{Error, Result},
    ess::weight_ess,
    real::{Real, check_rows},
    summary::mean_and_error,
};

/// Lower bounds over test points, nats per point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ImportanceBound {
    /// Mean log weight.
    pub elbo: f64,
    /// Its standard error over points; none for one point.
    pub elbo_std_error: Option<f64>,
    /// Mean over points of the log mean of the `k` weights.
    pub iwae: f64,
    /// Its standard error over points; none for one point.
    pub iwae_std_error: Option<f64>,
    /// Effective sample size of a point's weights, on average; see [`weight_ess`].
    pub mean_ess: f64,
    /// The smallest of any point.
    pub smallest_ess: f64,
    /// The largest normalised weight of any point.
    pub largest_weight: f64,
    /// Weights per point; a bound means nothing without it.
    pub k: usize,
    /// Points.
    pub n: usize,
}

/// ELBO and importance-weighted bound of `n` test points with `k` log weights each.
///
/// # Shapes
/// `log_weights`: `(n, k)`, nats.
///
/// # Errors
/// [`Error::TooFew`] for no points, [`Error::NonFinite`] for a log weight that is no finite number
/// (a weight of zero makes the ELBO minus infinity), [`Error::Argument`] for no weights and for
/// magnitudes that overflow when squared.
///
/// # Example
/// ```
/// use ndarray::array;
/// let found = eval_metrics::importance_bound(array![[-90.0, -92.0], [-80.0, -80.0]].view())?;
/// assert_eq!((found.elbo, found.k, found.n), (-85.5, 2, 2));
/// assert!(found.iwae > found.elbo && found.iwae < -85.0);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn importance_bound<T: Real>(log_weights: ArrayView2<'_, T>) -> Result<ImportanceBound> {
    let largest = check_rows("log_weights", log_weights, 1)?;
    if largest > 1e150 {
        let reason = format!("magnitudes up to {largest:e} overflow when squared; in nats?");
        return Err(Error::Argument { name: "log_weights", reason });
    }
    let (n, k) = log_weights.dim();
    let points = (0..n).into_par_iter().map(|row| Point::of(log_weights.row(row)));
    let points: Vec<Point> = points.collect::<Result<_>>()?;
    let column = |value: fn(&Point) -> f64| points.iter().map(value).collect::<Vec<f64>>();
    let (elbo, elbo_std_error) = mean_and_error(&column(|point| point.elbo));
    let (iwae, iwae_std_error) = mean_and_error(&column(|point| point.iwae));
    let sizes = column(|point| point.ess);
    Ok(ImportanceBound {
        elbo,
        elbo_std_error,
        iwae,
        iwae_std_error,
        mean_ess: mean_and_error(&sizes).0,
        smallest_ess: sizes.iter().fold(f64::INFINITY, |a, &b| a.min(b)),
        largest_weight: points.iter().fold(0.0, |a, point| a.max(point.largest_weight)),
        k,
        n,
    })
}

struct Point {
    elbo: f64,
    iwae: f64,
    ess: f64,
    largest_weight: f64,
}

impl Point {
    fn of<T: Real>(log_weights: ArrayView1<'_, T>) -> Result<Self> {
        let logs: Vec<f64> = log_weights.iter().map(|&log| log.into()).collect();
        let found = weight_ess(&logs)?;
        Ok(Self {
            elbo: mean_and_error(&logs).0,
            iwae: found.log_mean_weight,
            ess: found.ess,
            largest_weight: found.largest_weight,
        })
    }
}

/// Bounds that were estimated several times for the same points, nats per point.
///
/// The spread tells the noise of the draws from the variation among points, which the standard
/// errors of one estimate mix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RepeatedBound {
    /// Mean of the repeats' ELBO.
    pub elbo: f64,
    /// Standard deviation of the ELBO over repeats (`n - 1` in the variance).
    pub elbo_spread: f64,
    /// Mean of the repeats' importance-weighted bound.
    pub iwae: f64,
    /// Standard deviation of the importance-weighted bound over repeats.
    pub iwae_spread: f64,
    /// Every repeat, in order, with its standard errors over points.
    pub repeats: Vec<ImportanceBound>,
}

/// [`importance_bound`] of every repeat with the Monte Carlo spread over them.
///
/// # Shapes
/// `log_weights`: `(repeats, n, k)`, two repeats or more, nats.
///
/// # Errors
/// [`Error::TooFew`] for fewer than two repeats, else as [`importance_bound`].
pub fn repeated_bound<T: Real>(log_weights: ArrayView3<'_, T>) -> Result<RepeatedBound> {
    let count = log_weights.len_of(Axis(0));
    if count < 2 {
        return Err(Error::TooFew { what: "repeats of the log weights", needed: 2, got: count });
    }
    let repeats: Vec<ImportanceBound> =
        log_weights.outer_iter().map(importance_bound).collect::<Result<_>>()?;
    let summary = |value: fn(&ImportanceBound) -> f64| {
        let values: Vec<f64> = repeats.iter().map(value).collect();
        let (mean, std_error) = mean_and_error(&values);
        // Two repeats or more have a standard error.
        (mean, std_error.unwrap_or(0.0) * (count as f64).sqrt())
    };
    let (elbo, elbo_spread) = summary(|bound| bound.elbo);
    let (iwae, iwae_spread) = summary(|bound| bound.iwae);
    Ok(RepeatedBound { elbo, elbo_spread, iwae, iwae_spread, repeats })
}

/// Bits per dimension of dequantised images of 256 levels, from a log density on `[0, 1]`.
///
/// `-log_density / (dimensions ln 2) + 8`, for a density of `(v + u) / 256` with `v` from 0 to 255
/// and `u` uniform on `[0, 1)`. The bits that the discrete images need are at most as many (Theis, van
/// den Oord and Bethge, 2016), also when `log_density` is a lower bound.
///
/// # Errors
/// [`Error::Argument`] for no dimensions or a log density that is no finite number.
///
/// # Example
/// ```
/// // The uniform density on the unit cube knows nothing of eight bits.
/// assert_eq!(eval_metrics::bits_per_dim(0.0, 784)?, 8.0);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn bits_per_dim(log_density: f64, dimensions: usize) -> Result<f64> {
    if dimensions == 0 {
        let reason = "must be one or more".into();
        return Err(Error::Argument { name: "dimensions", reason });
    }
    if !log_density.is_finite() {
        let reason = format!("{log_density} is not a finite number");
        return Err(Error::Argument { name: "log_density", reason });
    }
    Ok(8.0 - log_density / (dimensions as f64 * std::f64::consts::LN_2))
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Array3, array, s};

    use super::*;
    use crate::golden::{array as golden, assert_close, normals};

    const LOG_LIKELIHOOD: f64 = -3.2732163261517155;

    /// The linear decoder of three pixels and two latents with noise variance 1/4, at one image.
    fn log_likelihood(z: [f64; 2]) -> f64 {
        let (w, b) = ([[1.0, 0.5], [-0.3, 0.8], [0.2, -0.7]], [0.1, -0.2, 0.3]);
        let x = [0.7, -0.4, 1.1];
        let pixel = |at: usize| {
            let rest: f64 = x[at] - b[at] - w[at][0] * z[0] - w[at][1] * z[1];
            -2.0 * rest * rest - 0.5 * (std::f64::consts::TAU * 0.25).ln()
        };
        (0..3).map(pixel).sum()
    }

    fn log_normal(z: [f64; 2]) -> f64 {
        -0.5 * (z[0] * z[0] + z[1] * z[1]) - std::f64::consts::TAU.ln()
    }

    /// Log weights with the prior as proposal.
    fn from_prior(seed: u32, n: usize, k: usize) -> Array2<f64> {
        let noise = normals(seed, 2 * n * k);
        Array2::from_shape_fn((n, k), |(row, draw)| {
            let at = 2 * (row * k + draw);
            log_likelihood([noise[(at, 0)], noise[(at + 1, 0)]])
        })
    }

    #[test]
    fn the_exact_posterior_makes_every_weight_the_likelihood() -> Result<()> {
        // Precision I + 4 W'W and its inverse; the mean solves precision m = 4 W'(x - b).
        let (a, b, c): (f64, f64, f64) = (1.0 + 4.0 * 1.13, 4.0 * 0.12, 1.0 + 4.0 * 1.38);
        let determinant = a * c - b * b;
        let right = [4.0 * (0.6 + 0.06 + 0.16), 4.0 * (0.3 - 0.16 - 0.56)];
        let mean = [
            (c * right[0] - b * right[1]) / determinant,
            (a * right[1] - b * right[0]) / determinant,
        ];
        let covariance = [c / determinant, -b / determinant, a / determinant];
        for (value, expected) in mean.iter().chain(&covariance).zip([
            0.62058166,
            -0.3033557,
            0.18232662,
            -0.01342282,
            0.15436242,
        ]) {
            assert_close(*value, expected, 1e-8);
        }
        // Lower triangular root of the covariance.
        let root = [covariance[0].sqrt(), covariance[1] / covariance[0].sqrt()];
        let corner = (covariance[2] - root[1] * root[1]).sqrt();
        let noise = normals(91, 2 * 4 * 5);
        let weights = Array2::from_shape_fn((4, 5), |(row, draw)| {
            let at = 2 * (5 * row + draw);
            let e = [noise[(at, 0)], noise[(at + 1, 0)]];
            let z = [mean[0] + root[0] * e[0], mean[1] + root[1] * e[0] + corner * e[1]];
            let log_q = log_normal(e) - (root[0] * corner).ln();
            log_likelihood(z) + log_normal(z) - log_q
        });
        let found = importance_bound(weights.view())?;
        assert_close(found.elbo, LOG_LIKELIHOOD, 1e-12);
        assert_close(found.iwae, LOG_LIKELIHOOD, 1e-12);
        assert_close(found.smallest_ess, 5.0, 1e-10);
        assert!(found.iwae_std_error.unwrap() < 1e-13);
        Ok(())
    }

    #[test]
    fn the_prior_gives_bounds_that_rise_to_the_likelihood() -> Result<()> {
        let one = importance_bound(from_prior(92, 100_000, 1).view())?;
        assert!(
            (one.elbo + 7.777374057934182).abs() < 3.0 * one.elbo_std_error.unwrap(),
            "{one:?}"
        );
        assert_close(one.iwae, one.elbo, 1e-12);
        let mut below = (one.elbo, one.elbo_std_error.unwrap());
        for (seed, parts, n, k) in [(93, 1, 100_000, 10), (900, 100, 1000, 1000)] {
            let [iwae, elbo] = pooled(seed, parts, n, k)?;
            assert!(iwae.0 > below.0 + 3.0 * (iwae.1 + below.1), "{iwae:?} {below:?}");
            assert!(iwae.0 < LOG_LIKELIHOOD + 3.0 * iwae.1, "{iwae:?}");
            assert!((elbo.0 + 7.777374057934182).abs() < 3.0 * elbo.1, "{elbo:?}");
            below = iwae;
        }
        // The gap of a thousand weights is about their variance over two thousand.
        assert!((below.0 - LOG_LIKELIHOOD).abs() < 0.01, "{below:?}");
        Ok(())
    }

    /// Both bounds with their standard errors over `parts` sets of `n` points.
    fn pooled(seed: u32, parts: u32, n: usize, k: usize) -> Result<[(f64, f64); 2]> {
        let mut sums = [(0.0, 0.0); 2];
        for part in 0..parts {
            let found = importance_bound(from_prior(seed + part, n, k).view())?;
            let pairs = [(found.iwae, found.iwae_std_error), (found.elbo, found.elbo_std_error)];
            for (sum, (value, error)) in sums.iter_mut().zip(pairs) {
                *sum = (sum.0 + value, sum.1 + error.unwrap().powi(2));
            }
        }
        Ok(sums.map(|(value, square)| (value / f64::from(parts), square.sqrt() / f64::from(parts))))
    }

    #[test]
    fn standard_errors_are_those_over_points() -> Result<()> {
        let found = importance_bound(array![[0.0, 0.0], [1.0, 1.0], [5.0, 5.0]].view())?;
        let expected = (14.0_f64 / 6.0).sqrt();
        assert_close(found.elbo, 2.0, 1e-15);
        assert_close(found.elbo_std_error.unwrap(), expected, 1e-14);
        assert_close(found.iwae_std_error.unwrap(), expected, 1e-14);
        assert_close(found.mean_ess, 2.0, 1e-14);
        assert_close(found.largest_weight, 0.5, 1e-14);
        let single = importance_bound(array![[0.0, 3.0_f64.ln()]].view())?;
        assert_eq!((single.elbo_std_error, single.iwae_std_error), (None, None));
        assert_close(single.iwae, 2.0_f64.ln(), 1e-15);
        assert_close(single.largest_weight, 0.75, 1e-15);
        Ok(())
    }

    #[test]
    fn repeats_spread_by_their_draws_only() -> Result<()> {
        let base = golden(95, 6, 4) * 20.0;
        let repeats = Array3::from_shape_fn((3, 6, 4), |(repeat, row, draw)| {
            base[(row, draw)] + [0.0, 1.0, 5.0][repeat]
        });
        let found = repeated_bound(repeats.view())?;
        let plain = importance_bound(base.view())?;
        assert_close(found.iwae, plain.iwae + 2.0, 1e-13);
        assert_close(found.elbo, plain.elbo + 2.0, 1e-13);
        assert_close(found.iwae_spread, 7.0_f64.sqrt(), 1e-13);
        assert_close(found.elbo_spread, 7.0_f64.sqrt(), 1e-13);
        assert_eq!(found.repeats[0], plain);
        let equal = Array3::from_shape_fn((2, 6, 4), |(_, row, draw)| base[(row, draw)]);
        assert_close(repeated_bound(equal.view())?.iwae_spread, 0.0, 0.0);
        Ok(())
    }

    #[test]
    fn order_precision_and_threads_do_not_matter() -> Result<()> {
        let weights = golden(96, 300, 20) * 10.0 - 700.0;
        let found = importance_bound(weights.view())?;
        let turned = importance_bound(weights.slice(s![..;-1, ..;-1]))?;
        assert_close(turned.iwae, found.iwae, 1e-13);
        assert_close(turned.smallest_ess, found.smallest_ess, 1e-12);
        let narrow = importance_bound(weights.mapv(|x| x as f32).view())?;
        assert_close(narrow.iwae, found.iwae, 1e-5);
        assert_close(narrow.elbo, found.elbo, 1e-5);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| importance_bound(weights.view()))
        };
        assert_eq!(run(1)?, run(3)?);
        Ok(())
    }

    #[test]
    fn bits_of_a_known_density() -> Result<()> {
        // The uniform density on the unit cube says nothing about 8-bit pixels.
        assert_close(bits_per_dim(0.0, 784)?, 8.0, 1e-15);
        // A density of 256 on each of 3 dimensions is certainty of one level.
        assert_close(bits_per_dim(3.0 * 256_f64.ln(), 3)?, 0.0, 1e-14);
        assert_close(bits_per_dim(-2.0 * 2_f64.ln(), 4)?, 8.5, 1e-14);
        assert!(bits_per_dim(0.0, 0).is_err() && bits_per_dim(f64::NAN, 3).is_err());
        Ok(())
    }

    #[test]
    fn unusable_weights_are_named() {
        let text = |weights: Array2<f64>| importance_bound(weights.view()).unwrap_err().to_string();
        assert!(text(Array2::zeros((0, 3))).contains("log_weights: 0 rows"));
        assert!(text(Array2::zeros((3, 0))).contains("no columns"));
        assert!(text(array![[0.0, f64::NEG_INFINITY]]).contains("row 0, column 1"));
        assert!(text(array![[0.0], [f64::NAN]]).contains("row 1, column 0"));
        assert!(text(array![[1e308, 1e308]]).contains("overflow"));
        let repeats = Array3::<f64>::zeros((1, 4, 4));
        assert!(repeated_bound(repeats.view()).unwrap_err().to_string().contains("repeats"));
    }
}
