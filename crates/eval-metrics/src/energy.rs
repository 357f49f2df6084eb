//! The energy distance between two sets of rows (Szekely and Rizzo 2013).

use ndarray::ArrayView2;
use serde::Serialize;

use crate::{error::Result, pairs::Pooled, real::Real};

/// An energy distance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EnergyDistance {
    /// `2 mean |x - y| - mean |x - x'| - mean |y - y'|` over different rows, in the unit of the
    /// columns. Unbiased, hence negative at times; no square root is taken.
    pub value: f64,
    /// Real rows.
    pub n_real: usize,
    /// Generated rows.
    pub n_fake: usize,
    /// Columns.
    pub width: usize,
}

/// The energy distance between two sets of rows: zero for equal distributions only, and free of
/// any bandwidth.
///
/// It is the squared maximum mean discrepancy of the kernel `-|x - y|`, computed in f64.
///
/// # Shapes
/// `real`: `(n, d)`; `fake`: `(m, d)`; at least two rows each.
///
/// # Errors
/// [`Error::TooFew`](crate::Error::TooFew), [`Error::Mismatch`](crate::Error::Mismatch),
/// [`Error::NonFinite`](crate::Error::NonFinite) for unusable rows;
/// [`Error::Argument`](crate::Error::Argument) for magnitudes that overflow when squared.
///
/// # Example
/// ```
/// use ndarray::array;
/// let (real, fake) = (array![[0.0], [2.0]], array![[10.0], [11.0]]);
/// let distance = eval_metrics::energy_distance(real.view(), fake.view())?;
/// assert!((distance.value - (2.0 * 9.5 - 2.0 - 1.0)).abs() < 1e-12);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn energy_distance<T: Real>(
    real: ArrayView2<'_, T>,
    fake: ArrayView2<'_, T>,
) -> Result<EnergyDistance> {
    let value = Pooled::new(real, fake)?.sums(|squared| -squared.sqrt()).unbiased();
    Ok(EnergyDistance { value, n_real: real.nrows(), n_fake: fake.nrows(), width: real.ncols() })
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, s};

    use super::*;
    use crate::golden::{array as golden, assert_close, assert_mean, fake, normals, real};

    fn value(a: &Array2<f64>, b: &Array2<f64>) -> Result<f64> {
        Ok(energy_distance(a.view(), b.view())?.value)
    }

    #[test]
    fn the_golden_value_is_met() -> Result<()> {
        let result = energy_distance(real().view(), fake().view())?;
        assert_close(result.value, 0.2847002873916268, 1e-9);
        assert_eq!((result.n_real, result.n_fake, result.width), (200, 200, 8));
        Ok(())
    }

    #[test]
    fn shifted_normal_numbers_have_a_closed_form() -> Result<()> {
        // For variance 2 the mean of |z + shift| is 2 / sqrt(pi) exp(-shift^2 / 4) + shift (1 - 2
        // Phi(-shift / sqrt(2))); at shift 1, Phi(-0.70710678) = 0.23975006109347674.
        let within = 2.0 / std::f64::consts::PI.sqrt();
        let across = within * (-0.25_f64).exp() + 1.0 - 2.0 * 0.23975006109347674;
        for (shift, expected) in [(0.0, 0.0), (1.0, 2.0 * (across - within))] {
            let values: Vec<f64> = (0..40)
                .map(|at| value(&normals(2 * at, 300), &(normals(2 * at + 1, 300) + shift)))
                .collect::<Result<_>>()?;
            assert_mean(&values, expected);
        }
        Ok(())
    }

    #[test]
    fn order_sets_shift_scale_and_precision_do_what_they_should() -> Result<()> {
        let (x, y) = (golden(1, 300, 4), golden(2, 270, 4) * 0.8);
        let plain = value(&x, &y)?;
        assert_close(value(&x.slice(s![..;-1, ..]).to_owned(), &y)?, plain, 1e-12);
        assert_close(value(&y, &x)?, plain, 1e-12);
        assert_close(value(&(&x + 5.0), &(&y + 5.0))?, plain, 1e-12);
        assert_close(value(&(&x * 1e3), &(&y * 1e3))? / 1e3, plain, 1e-12);
        let single = [&x, &y].map(|rows| rows.mapv(|x| x as f32));
        let result = energy_distance(single[0].view(), single[1].view())?;
        assert_close(result.value, plain, 1e-5);
        let constant = Array2::from_elem((5, 3), 2.0);
        assert_close(value(&constant, &constant)?, 0.0, 1e-12);
        assert!(value(&golden(1, 2, 50), &golden(2, 3, 50))?.is_finite());
        Ok(())
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
        let (x, y) = (golden(7, 500, 6), golden(8, 400, 6));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| energy_distance(x.view(), y.view()))
        };
        assert_eq!(run(1)?, run(3)?);
        Ok(())
    }

    #[test]
    fn unusable_input_is_named() {
        let good = golden(1, 9, 3);
        let text = |a: &Array2<f64>, b: &Array2<f64>| value(a, b).unwrap_err().to_string();
        assert!(text(&Array2::zeros((0, 3)), &good).contains("real: 0 rows"));
        assert!(text(&good, &Array2::zeros((1, 3))).contains("fake: 1 rows"));
        assert!(text(&good, &golden(1, 9, 2)).contains("fake: expected 3 columns, got 2"));
        assert!(text(&(&good * 1e200), &good).contains("rescale"));
        let mut bad = good.clone();
        bad[(1, 2)] = f64::INFINITY;
        assert!(text(&good, &bad).contains("fake: row 1, column 2"));
    }
}
