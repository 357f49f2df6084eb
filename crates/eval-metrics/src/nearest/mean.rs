//! How far the nearest row of the other set is, on average.

use ndarray::ArrayView2;
use serde::Serialize;

use super::{Neighbours, nearest_named};
use crate::{error::Result, real::Real, summary::mean_and_error};

/// Mean Euclidean distances between two sets, either way, in the unit of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NearestDistances {
    /// From a generated row to its nearest real one: small for samples that look like data, and for
    /// copies of data.
    pub fake_to_real: f64,
    /// Its standard error over generated rows, for these real ones; none for one row.
    pub fake_to_real_std_error: Option<f64>,
    /// From a real row to its nearest generated one: large when parts of the data are missing.
    pub real_to_fake: f64,
    /// Its standard error over real rows, for these generated ones; none for one row.
    pub real_to_fake_std_error: Option<f64>,
    /// Real rows.
    pub n_real: usize,
    /// Generated rows.
    pub n_fake: usize,
    /// Columns.
    pub width: usize,
}

/// Mean distances to the nearest row of the other set, the two sides of a Chamfer distance (with the
/// distances themselves, not their squares).
///
/// Both shrink as the set that is searched grows: compare only at equal numbers of rows.
///
/// # Shapes
/// `real`: `(n, d)`; `fake`: `(m, d)`.
///
/// # Errors
/// [`Error::TooFew`](crate::Error::TooFew), [`Error::Mismatch`](crate::Error::Mismatch),
/// [`Error::NonFinite`](crate::Error::NonFinite) for unusable rows;
/// [`Error::Argument`](crate::Error::Argument) for magnitudes that overflow when squared.
///
/// # Example
/// ```
/// use ndarray::array;
/// let (real, fake) = (array![[0.0, 0.0], [10.0, 0.0]], array![[3.0, 4.0]]);
/// let found = eval_metrics::nearest_distances(real.view(), fake.view())?;
/// assert_eq!(found.fake_to_real, 5.0);
/// assert_eq!(found.real_to_fake, (5.0 + 65_f64.sqrt()) / 2.0);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn nearest_distances<T: Real>(
    real: ArrayView2<'_, T>,
    fake: ArrayView2<'_, T>,
) -> Result<NearestDistances> {
    let sets = (("real", real), ("fake", fake));
    let roots = |found: Neighbours| -> Vec<f64> {
        found.squared_distances.iter().map(|squared| squared.sqrt()).collect()
    };
    let (fake_to_real, fake_to_real_std_error) =
        mean_and_error(&roots(nearest_named(sets.1, sets.0)?));
    let (real_to_fake, real_to_fake_std_error) =
        mean_and_error(&roots(nearest_named(sets.0, sets.1)?));
    Ok(NearestDistances {
        fake_to_real,
        fake_to_real_std_error,
        real_to_fake,
        real_to_fake_std_error,
        n_real: real.nrows(),
        n_fake: fake.nrows(),
        width: real.ncols(),
    })
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array, s};

    use super::*;
    use crate::golden::{assert_close, fake, normals, real};

    #[test]
    fn golden_values_are_met() -> Result<()> {
        let found = nearest_distances(real().view(), fake().view())?;
        assert_close(found.fake_to_real, 0.490261848070827, 1e-12);
        assert_close(found.real_to_fake, 0.5889164145852935, 1e-12);
        assert_eq!((found.n_real, found.n_fake, found.width), (200, 200, 8));
        Ok(())
    }

    #[test]
    fn a_point_among_uniform_ones_has_its_closed_form() -> Result<()> {
        // The nearest of n uniform numbers on a circle of length one is 1 / (2 (n + 1)) away on
        // average; copies on both sides close the circle.
        let n = 20;
        let mut means = Vec::new();
        for seed in 0..400 {
            let points = crate::golden::array(seed, n, 1);
            let wrapped =
                ndarray::concatenate![ndarray::Axis(0), &points - 1.0, points, &points + 1.0];
            let query = array![[0.5]];
            means.push(nearest_distances(wrapped.view(), query.view())?.fake_to_real);
        }
        crate::golden::assert_mean(&means, 1.0 / (2.0 * (n as f64 + 1.0)));
        Ok(())
    }

    #[test]
    fn swapping_order_scale_and_precision_do_what_they_should() -> Result<()> {
        let (x, y) = (real(), fake().slice(s![..150, ..]).to_owned());
        let found = nearest_distances(x.view(), y.view())?;
        let swapped = nearest_distances(y.view(), x.view())?;
        assert_eq!((found.fake_to_real, found.n_fake), (swapped.real_to_fake, swapped.n_real));
        assert_eq!(found.real_to_fake_std_error, swapped.fake_to_real_std_error);
        let turned = nearest_distances(x.slice(s![..;-1, ..]), y.slice(s![..;-1, ..]))?;
        assert_close(turned.fake_to_real, found.fake_to_real, 1e-14);
        let scaled = nearest_distances((&x * 8.0).view(), (&y * 8.0).view())?;
        assert_close(scaled.real_to_fake, 8.0 * found.real_to_fake, 1e-13);
        let narrow = |rows: &Array2<f64>| rows.mapv(|x| x as f32);
        let single = nearest_distances(narrow(&x).view(), narrow(&y).view())?;
        assert_close(single.fake_to_real, found.fake_to_real, 1e-5);
        let same = nearest_distances(x.view(), x.view())?;
        assert_eq!((same.fake_to_real, same.real_to_fake), (0.0, 0.0));
        Ok(())
    }

    #[test]
    fn errors_are_those_of_a_mean() -> Result<()> {
        let (x, y) = (normals(1, 30), normals(2, 40));
        let found = nearest_distances(x.view(), y.view())?;
        let distances = super::super::nearest(y.view(), x.view())?.squared_distances;
        let roots: Vec<f64> = distances.iter().map(|squared| squared.sqrt()).collect();
        let mean = roots.iter().sum::<f64>() / 40.0;
        let squares: f64 = roots.iter().map(|d| (d - mean).powi(2)).sum();
        assert_close(found.fake_to_real_std_error.unwrap(), (squares / 1560.0).sqrt(), 1e-14);
        let one = nearest_distances(x.slice(s![..1, ..]), y.view())?;
        assert_eq!(one.real_to_fake_std_error, None);
        Ok(())
    }

    #[test]
    fn unusable_input_is_named() {
        let good = normals(1, 5);
        let text = |real: &Array2<f64>, fake: &Array2<f64>| {
            nearest_distances(real.view(), fake.view()).unwrap_err().to_string()
        };
        assert!(text(&good, &Array2::zeros((0, 1))).contains("fake: 0 rows"));
        assert!(text(&Array2::zeros((0, 1)), &good).contains("real: 0 rows"));
        assert!(text(&good, &Array2::zeros((5, 2))).contains("columns"));
        assert!(text(&(&good * f64::NAN), &good).contains("real: row 0, column 0"));
    }
}
