//! The Frechet distance of infinitely many rows.
//!
//! The expected distance of `n` rows is `d_inf + b / n` to first order, and `b` differs between
//! models. A line through distances of subsets gives `d_inf` (Chong and Forsyth 2020).

use ndarray::{Array2, ArrayView2, Axis};
use serde::Serialize;

use super::{Frechet, FrechetOptions, frechet_distance_of_rows};
use crate::{
    error::{Error, Result},
    real::{Real, check_pair},
    sampling::subset,
};

/// An extrapolated Frechet distance with the distances behind it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrechetExtrapolation {
    /// The line's value for infinitely many rows; may be slightly negative.
    pub value: f64,
    /// The line's slope in `1 / n`.
    pub slope: f64,
    /// Root mean square distance of the points from the line. Subsets overlap: it is no standard
    /// error.
    pub residual: f64,
    /// The distance of every size, in the order of the sizes, with its settings.
    pub points: Vec<Frechet>,
    /// Seed of the subsets.
    pub seed: u64,
    /// Rows that real subsets are drawn from.
    pub n_real: usize,
    /// Rows that generated subsets are drawn from.
    pub n_fake: usize,
}

/// Distances between random subsets of equal size, extrapolated to infinitely many rows.
///
/// For every size one subset is drawn from each set without replacement, afresh. Chong and Forsyth
/// keep one reference of fixed size, whose part of the bias stays; here both sets shrink together
/// and both parts vanish. [`subset_sizes`] gives the usual sizes. Memory holds a copy of one subset
/// of each set.
///
/// # Shapes
/// `real`: `(n, d)`; `fake`: `(m, d)`; sizes from 2 to the smaller of `n` and `m`.
///
/// # Errors
/// As [`frechet_distance_of_rows`]; [`Error::Argument`] for fewer than two different sizes or a
/// size out of range.
///
/// # Example
/// ```
/// use eval_metrics::{FrechetOptions, frechet_extrapolated, subset_sizes};
/// use ndarray::Array2;
///
/// let real = Array2::from_shape_fn((64, 2), |(i, j)| ((3 * i + j) % 7) as f64);
/// let fake = Array2::from_shape_fn((64, 2), |(i, j)| ((5 * i + j) % 7) as f64);
/// let (sizes, options) = (subset_sizes(64, 5)?, FrechetOptions::default());
/// let line = frechet_extrapolated(real.view(), fake.view(), &sizes, 0, &options)?;
/// assert_eq!(line.points.len(), 5);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn frechet_extrapolated<T: Real>(
    real: ArrayView2<'_, T>,
    fake: ArrayView2<'_, T>,
    sizes: &[usize],
    seed: u64,
    options: &FrechetOptions,
) -> Result<FrechetExtrapolation> {
    check_pair(real, fake, 2, 1e150)?;
    let most = real.nrows().min(fake.nrows());
    check_sizes(sizes, most)?;
    let draw = |rows: ArrayView2<'_, T>, size, index| -> Array2<T> {
        rows.select(Axis(0), &subset(rows.nrows(), size, seed, index))
    };
    let mut points = Vec::with_capacity(sizes.len());
    for (index, &size) in (0_u64..).zip(sizes) {
        let (real, fake) = (draw(real, size, 2 * index), draw(fake, size, 2 * index + 1));
        points.push(frechet_distance_of_rows(real.view(), fake.view(), options)?);
    }
    let inverse: Vec<f64> = sizes.iter().map(|&size| 1.0 / size as f64).collect();
    let values: Vec<f64> = points.iter().map(|point| point.value).collect();
    let (value, slope, residual) = line(&inverse, &values);
    let (n_real, n_fake) = (real.nrows(), fake.nrows());
    Ok(FrechetExtrapolation { value, slope, residual, points, seed, n_real, n_fake })
}

/// `count` sizes from `n / 2` to `n`, both included, equally spaced.
///
/// # Errors
/// [`Error::Argument`] for fewer than two sizes, [`Error::TooFew`] for too few rows to have so
/// many different sizes of two rows or more.
pub fn subset_sizes(n: usize, count: usize) -> Result<Vec<usize>> {
    if count < 2 {
        let reason = format!("a line needs two sizes or more, got {count}");
        return Err(Error::Argument { name: "count", reason });
    }
    let needed = (2 * count).max(4);
    if n < needed {
        return Err(Error::TooFew { what: "rows", needed, got: n });
    }
    let half = n / 2;
    Ok((0..count).map(|at| half + (n - half) * at / (count - 1)).collect())
}

fn check_sizes(sizes: &[usize], most: usize) -> Result<()> {
    let wrong = |reason: String| Err(Error::Argument { name: "sizes", reason });
    if let Some(size) = sizes.iter().find(|size| !(2..=most).contains(*size)) {
        return wrong(format!("{size} is not from 2 to {most}, the rows of the smaller set"));
    }
    if !sizes.iter().any(|size| *size != sizes[0]) {
        return wrong("two different sizes or more make a line".into());
    }
    Ok(())
}

/// Least squares: intercept, slope and root mean square residual.
fn line(x: &[f64], y: &[f64]) -> (f64, f64, f64) {
    let n = x.len() as f64;
    let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let square: f64 = x.iter().map(|x| (x - mean_x).powi(2)).sum();
    let product: f64 = x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let slope = product / square;
    let intercept = mean_y - slope * mean_x;
    let squares: f64 = x.iter().zip(y).map(|(x, y)| (y - intercept - slope * x).powi(2)).sum();
    (intercept, slope, (squares / n).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        golden::{array as golden, assert_close, assert_mean, fake, normals, real},
        summary::mean_and_error,
    };

    #[test]
    fn the_line_is_that_of_least_squares() {
        let x = [0.1, 0.2, 0.4];
        let (intercept, slope, residual) = line(&x, &x.map(|x| 3.0 - 2.0 * x));
        assert_close(intercept, 3.0, 1e-14);
        assert_close(slope, -2.0, 1e-14);
        assert!(residual < 1e-14);
        // Normal equations by hand: x = 0, 1, 2 and y = 0, 0, 3 give -1/2 + 3 x / 2.
        let (intercept, slope, residual) = line(&[0.0, 1.0, 2.0], &[0.0, 0.0, 3.0]);
        assert_close(intercept, -0.5, 1e-14);
        assert_close(slope, 1.5, 1e-14);
        assert_close(residual, 0.5_f64.sqrt(), 1e-14);
    }

    #[test]
    fn equal_distributions_extrapolate_to_zero() -> Result<()> {
        // Forty pairs of sets, 300 rows of 6 normal numbers each: the mean is zero, that of
        // plain distances far above.
        let rows = |seed| normals(seed, 1800).into_shape_with_order((300, 6)).unwrap();
        let sizes = subset_sizes(300, 5)?;
        let options = FrechetOptions::default();
        let mut values = Vec::new();
        for pair in 0..40 {
            let (real, fake) = (rows(1000 + 2 * pair), rows(1001 + 2 * pair));
            values.push(frechet_extrapolated(real.view(), fake.view(), &sizes, 5, &options)?);
        }
        let limits: Vec<f64> = values.iter().map(|line| line.value).collect();
        assert_mean(&limits, 0.0);
        let plain: Vec<f64> = values.iter().map(|line| line.points[4].value).collect();
        let (plain, error) = mean_and_error(&plain);
        assert!(plain > 10.0 * error.unwrap(), "{plain} {error:?}");
        Ok(())
    }

    #[test]
    fn points_carry_their_settings_and_follow_from_the_seed() -> Result<()> {
        let options = FrechetOptions::default();
        let (x, y) = (real(), fake());
        let run = |seed| frechet_extrapolated(x.view(), y.view(), &[100, 150, 200], seed, &options);
        let result = run(1)?;
        assert_eq!(result, run(1)?);
        assert_ne!(result.points, run(2)?.points);
        let sizes: Vec<_> =
            result.points.iter().map(|point| (point.n_real, point.n_fake)).collect();
        assert_eq!(sizes, [(100, 100), (150, 150), (200, 200)]);
        // All rows are in the last subset, in whatever order.
        assert_close(result.points[2].value, 0.3690139752969119, 1e-9);
        Ok(())
    }

    #[test]
    fn sizes_span_the_upper_half() -> Result<()> {
        assert_eq!(subset_sizes(100, 5)?, [50, 62, 75, 87, 100]);
        assert_eq!(subset_sizes(4, 2)?, [2, 4]);
        assert!(subset_sizes(100, 1).is_err() && subset_sizes(3, 2).is_err());
        Ok(())
    }

    #[test]
    fn unusable_sizes_are_named() {
        let (x, y) = (golden(1, 20, 3), golden(2, 10, 3));
        let text = |sizes: &[usize]| {
            let result =
                frechet_extrapolated(x.view(), y.view(), sizes, 0, &FrechetOptions::default());
            result.unwrap_err().to_string()
        };
        assert!(text(&[5, 11]).contains("11 is not from 2 to 10"));
        assert!(text(&[1, 5]).contains("1 is not"));
        assert!(text(&[5, 5]).contains("different"));
        assert!(text(&[]).contains("different"));
    }
}
