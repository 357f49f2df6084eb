//! Whether two samples of numbers come from one law, by their distribution functions.

use serde::Serialize;

use crate::{
    error::{Error, Result},
    real::Real,
};

/// The two-sample test of Kolmogorov and Smirnov.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct KolmogorovSmirnov {
    /// Largest distance of the empirical distribution functions, in `[0, 1]`.
    pub statistic: f64,
    /// Probability of a statistic as large or larger if both samples come from one continuous law, by
    /// the limit of large samples; conservative for laws with ties.
    pub p_value: f64,
    /// Sizes of the samples.
    pub n: [usize; 2],
}

/// `D = max_x |F_a(x) - F_b(x)|` and its p-value `Q(D sqrt(n m / (n + m)))`, where
/// `Q(l) = 2 sum_k (-1)^(k-1) exp(-2 k^2 l^2)` (Smirnov 1948).
///
/// # Errors
/// [`Error::TooFew`] for an empty sample, [`Error::NonFinite`] for a value that is not a number.
///
/// # Example
/// ```
/// let found = eval_metrics::kolmogorov_smirnov(&[1.0, 2.0, 3.0, 4.0], &[2.5, 3.5, 4.5, 5.5])?;
/// assert_eq!(found.statistic, 0.5);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn kolmogorov_smirnov<T: Real>(a: &[T], b: &[T]) -> Result<KolmogorovSmirnov> {
    let (a, b) = (sorted("first sample", a)?, sorted("second sample", b)?);
    let (n, m) = (a.len(), b.len());
    let (mut i, mut j, mut statistic) = (0, 0, 0.0_f64);
    while i < n && j < m {
        // Past all values equal to the smaller one, in both.
        let at = a[i].min(b[j]);
        i += a[i..].iter().take_while(|v| **v <= at).count();
        j += b[j..].iter().take_while(|v| **v <= at).count();
        statistic = statistic.max((i as f64 / n as f64 - j as f64 / m as f64).abs());
    }
    let effective = n as f64 * m as f64 / (n + m) as f64;
    Ok(KolmogorovSmirnov { statistic, p_value: tail(statistic * effective.sqrt()), n: [n, m] })
}

fn sorted<T: Real>(what: &'static str, values: &[T]) -> Result<Vec<f64>> {
    if values.is_empty() {
        return Err(Error::TooFew { what, needed: 1, got: 0 });
    }
    let mut values: Vec<f64> = values.iter().map(|&value| value.into()).collect();
    if let Some(row) = values.iter().position(|value| value.is_nan()) {
        return Err(Error::NonFinite { what, row, column: 0 });
    }
    values.sort_unstable_by(f64::total_cmp);
    Ok(values)
}

/// `Q`, the tail of Kolmogorov's law.
fn tail(l: f64) -> f64 {
    // Below this the series converges slowly, and the result is one to fifteen digits.
    if l < 0.2 {
        return 1.0;
    }
    let term = |k: f64| (-2.0 * k * k * l * l).exp();
    let sum: f64 =
        (1..=100).map(|k| f64::from(if k % 2 == 1 { 1 } else { -1 }) * term(f64::from(k))).sum();
    (2.0 * sum).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{array as golden, assert_close};

    #[test]
    fn the_tail_is_that_of_kolmogorovs_law() {
        // scipy.stats.kstwobign.sf.
        for (l, q) in [
            (0.3, 0.9999906941986655),
            (0.5, 0.9639452436648751),
            (0.8, 0.5441424115741981),
            (1.0, 0.26999967167735456),
            (1.5, 0.022217962616525127),
            (2.5, 7.453306344157342e-06),
        ] {
            assert_close(tail(l), q, 1e-12);
        }
        assert_eq!((tail(0.0), tail(0.1)), (1.0, 1.0));
    }

    #[test]
    fn samples_of_one_law_pass_and_shifted_ones_do_not() {
        let (a, b) = (golden(1, 400, 1), golden(2, 300, 1));
        let (a, b): (Vec<f64>, Vec<f64>) = (a.into_iter().collect(), b.into_iter().collect());
        let same = kolmogorov_smirnov(&a, &b).unwrap();
        assert!(same.p_value > 0.01 && same.statistic > 0.0, "{same:?}");
        let moved: Vec<f64> = b.iter().map(|v| v + 0.3).collect();
        let other = kolmogorov_smirnov(&a, &moved).unwrap();
        // Of the even law on [0, 1] a shift of 0.3 makes a distance of 0.3.
        assert!((other.statistic - 0.3).abs() < 0.1 && other.p_value < 1e-8, "{other:?}");
        let turned = kolmogorov_smirnov(&moved, &a).unwrap();
        assert_close(turned.statistic, other.statistic, 1e-15);
        assert_eq!(other.n, [400, 300]);
    }

    #[test]
    fn ties_count_once_and_bad_samples_are_refused() {
        let same = kolmogorov_smirnov(&[1.0, 1.0, 2.0], &[1.0, 1.0, 2.0]).unwrap();
        assert_eq!((same.statistic, same.p_value), (0.0, 1.0));
        let apart = kolmogorov_smirnov(&[1.0, 1.0], &[2.0]).unwrap();
        assert_close(apart.statistic, 1.0, 1e-15);
        let partly = kolmogorov_smirnov(&[1.0, 2.0, 2.0, 3.0], &[2.0, 2.0]).unwrap();
        assert_close(partly.statistic, 0.25, 1e-15);
        assert!(matches!(kolmogorov_smirnov::<f64>(&[], &[1.0]), Err(Error::TooFew { .. })));
        assert!(matches!(kolmogorov_smirnov(&[1.0], &[f64::NAN]), Err(Error::NonFinite { .. })));
    }
}
