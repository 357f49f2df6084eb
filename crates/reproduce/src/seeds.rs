//! Numbers of several seeds side by side.

use crate::report::format_number;

/// Seeds `first`, `first + 1`, ..: as many as `n` says.
pub(crate) fn seeds(first: u64, n: usize) -> Vec<u64> {
    (0..n as u64).map(|i| first.wrapping_add(i)).collect()
}

/// Mean of some numbers.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Standard error of the mean, where there is more than one number.
pub(crate) fn mean_error(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let (m, n) = (mean(values), values.len() as f64);
    let scatter = values.iter().map(|v| (v - m).powi(2)).sum::<f64>();
    Some((scatter / (n - 1.0) / n).sqrt())
}

/// Mean, and in brackets every seed, with three digits at least.
pub(crate) fn all(values: &[f64]) -> String {
    let each: Vec<String> = values.iter().map(|v| short(*v)).collect();
    match values {
        [] => "none".into(),
        [one] => format_number(*one),
        _ => format!("{} ({})", short(mean(values)), each.join(", ")),
    }
}

/// Three significant digits, and all before the point.
fn short(value: f64) -> String {
    let rounded = if value.abs() < 1e3 { format!("{value:.2e}") } else { format!("{value:.0}") };
    format_number(rounded.parse().unwrap_or(value))
}

/// Is every number of `upper` above that of `lower` with the same seed?
pub(crate) fn above_in_every_seed(upper: &[f64], lower: &[f64]) -> bool {
    !upper.is_empty()
        && upper.len() == lower.len()
        && upper.iter().zip(lower).all(|(upper, lower)| upper > lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_errors_and_words() {
        let values = [1.0, 2.0, 4.5];
        assert!((mean(&values) - 2.5).abs() < 1e-12);
        let error = mean_error(&values).unwrap();
        assert!((error - (3.25_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(all(&values), "2.5 (1, 2, 4.5)");
        let values = [0.001_023_4, -1234.56, f64::NAN];
        assert_eq!(all(&values), "NaN (0.00102, -1235, NaN)");
        assert_eq!((all(&[1.5]), mean_error(&[1.5])), ("1.5".into(), None));
        assert!(above_in_every_seed(&[2.0, 3.0], &[1.0, 2.5]));
        assert!(!above_in_every_seed(&[2.0, f64::NAN], &[1.0, 2.5]));
        assert!(!above_in_every_seed(&[2.0], &[1.0, 2.5]) && !above_in_every_seed(&[], &[]));
        assert_eq!(seeds(5, 3), [5, 6, 7]);
    }
}
