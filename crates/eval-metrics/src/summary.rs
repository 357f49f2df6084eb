//! Means with their standard errors, medians and quantiles.

/// Mean of independent numbers and its standard error, `sqrt(sum (x - mean)^2 / (n (n - 1)))`.
///
/// One number has no standard error; none at all have a mean of NaN.
pub(crate) fn mean_and_error(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| (squares / (n * (n - 1.0))).sqrt()))
}

/// The middle number, of an even count the mean of the middle two; NaN for none. Reorders.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// The number below which the share `level` of all lies, between two of them in proportion.
///
/// Reorders the values; NaN when there are none.
pub(crate) fn quantile(values: &mut [f64], level: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_unstable_by(f64::total_cmp);
    let at = level * (values.len() - 1) as f64;
    let (low, share) = (at.floor() as usize, at.fract());
    let high = (low + 1).min(values.len() - 1);
    values[low] * (1.0 - share) + values[high] * share
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_close;

    #[test]
    fn standard_error_has_one_degree_of_freedom_less() {
        let (mean, std_error) = mean_and_error(&[1.0, 2.0, 6.0]);
        assert_close(mean, 3.0, 1e-15);
        assert_close(std_error.unwrap(), (14.0_f64 / 6.0).sqrt(), 1e-15);
        assert_eq!(mean_and_error(&[4.0]), (4.0, None));
    }

    #[test]
    fn quantiles_lie_between_the_sorted_values() {
        let mut values = [9.0, 1.0, 3.0, 4.0];
        assert_close(median(&mut values), 3.5, 0.0);
        assert_close(median(&mut values[..3]), 3.0, 0.0);
        for (level, expected) in [(0.0, 1.0), (0.1, 1.6), (1.0, 9.0)] {
            assert_close(quantile(&mut values, level), expected, 1e-15);
        }
        assert_close(quantile(&mut [7.0], 0.3), 7.0, 1e-15);
        assert!(median(&mut []).is_nan());
    }
}
