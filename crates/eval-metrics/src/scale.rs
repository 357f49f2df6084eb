//! Columns brought to mean zero and variance one.

use ndarray::{Array1, Array2, Axis, Zip};

/// Mean and inverse standard deviation of every column of some rows.
pub(crate) struct Scale {
    means: Array1<f64>,
    factors: Array1<f64>,
}

impl Scale {
    /// Of one row or more. A column that is constant but for rounding becomes zero.
    pub(crate) fn of(rows: &Array2<f64>) -> Self {
        let n = rows.nrows() as f64;
        let means = rows.sum_axis(Axis(0)) / n;
        let mut squares = Array1::<f64>::zeros(means.len());
        for row in rows.outer_iter() {
            Zip::from(&mut squares).and(row).and(&means).for_each(|sum, x, mean| {
                *sum += (x - mean).powi(2);
            });
        }
        // Rounding says nothing, and must not be blown up.
        let noise = 8.0 * f64::EPSILON;
        let factor = |square: f64, mean: f64| {
            let deviation = (square / n).sqrt();
            if deviation > noise * mean.abs() { 1.0 / deviation } else { 0.0 }
        };
        let factors = Zip::from(&squares).and(&means).map_collect(|&s, &m| factor(s, m));
        Self { means, factors }
    }

    pub(crate) fn apply(&self, rows: Array2<f64>) -> Array2<f64> {
        (rows - &self.means) * &self.factors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{array as golden, assert_close};

    #[test]
    fn columns_have_mean_zero_and_variance_one_and_constants_vanish() {
        let mut rows = golden(1, 50, 3) * 7.0 + 100.0;
        rows.column_mut(1).fill(0.1);
        let scaled = Scale::of(&rows).apply(rows);
        for (column, variance) in [(0, 1.0), (1, 0.0), (2, 1.0)] {
            let values = scaled.column(column);
            assert_close(values.sum() / 50.0, 0.0, 1e-12);
            assert_close(values.mapv(|x| x * x).sum() / 50.0, variance, 1e-12);
        }
    }
}
