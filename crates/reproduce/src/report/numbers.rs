//! Numbers as people read them.

/// A number with about five significant digits, whole numbers in full up to ten million.
///
/// # Example
/// ```
/// use reproduce::report::format_number;
/// assert_eq!(format_number(1350.598), "1350.6");
/// assert_eq!(format_number(2.0), "2");
/// assert_eq!(format_number(3.14159265), "3.1416");
/// assert_eq!(format_number(1.5e-7), "1.5e-7");
/// ```
pub fn format_number(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs();
    // `+ 0.0` turns a negative zero into zero.
    if value.fract().abs() <= 0.0 && magnitude < 1e7 {
        return format!("{:.0}", value + 0.0);
    }
    if !(1e-4..1e7).contains(&magnitude) {
        return scientific(value, 4);
    }
    let decimals = (4 - magnitude.log10().floor() as i32).clamp(0, 8) as usize;
    trim(&format!("{value:.decimals$}")).to_owned()
}

/// A number and its standard error, the error with two significant digits and the number with as
/// many decimals.
///
/// # Example
/// ```
/// use reproduce::report::format_with_error;
/// assert_eq!(format_with_error(1093.2417, 1.1), "1093.2 ± 1.1");
/// assert_eq!(format_with_error(0.91234, 0.00049), "0.91234 ± 0.00049");
/// ```
pub fn format_with_error(value: f64, error: f64) -> String {
    let error = error.abs();
    if !(value.is_finite() && error.is_finite() && error > 0.0) {
        return format!("{} ± {}", format_number(value), format_number(error));
    }
    let magnitude = value.abs().max(error);
    if !(1e-4..1e7).contains(&magnitude) {
        let power = magnitude.log10().floor() as i32;
        let unit = 10_f64.powi(power);
        // The unit of the smallest numbers is not a normal number.
        if unit.is_normal() {
            let decimals = two_digits(error / unit);
            let (value, error) = (value / unit, error / unit);
            return format!("({value:.decimals$} ± {error:.decimals$})e{power}");
        }
        return format!("{value:e} ± {error:e}");
    }
    let decimals = two_digits(error);
    format!("{value:.decimals$} ± {error:.decimals$}")
}

/// A duration in the unit that suits it.
pub(super) fn format_seconds(seconds: f64) -> String {
    match seconds {
        s if s < 99.5 => format!("{s:.1} s"),
        s if s < 5970.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// `1.5e-7`: at most so many decimals, no zeros at their end.
pub(crate) fn scientific(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$e}");
    match text.split_once('e') {
        Some((digits, power)) => format!("{}e{power}", trim(digits)),
        None => text,
    }
}

/// Decimals that leave two significant digits, at most nine.
fn two_digits(error: f64) -> usize {
    (1 - error.log10().floor() as i32).clamp(0, 9) as usize
}

fn trim(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_sensible_digits() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (100.0, "100"),
            (1_234_567.0, "1234567"),
            (1_234_567.8, "1234568"),
            (123_456_789.0, "1.2346e8"),
            (-45.678_91, "-45.679"),
            (0.000_123_456, "0.00012346"),
            (0.5, "0.5"),
            (99_999.99, "100000"),
            (1e-300, "1e-300"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(format_number(value), expected);
        }
    }

    #[test]
    fn the_error_sets_the_decimals() {
        for (value, error, expected) in [
            (1093.2, 1.1, "1093.2 ± 1.1"),
            (1093.2, 12.34, "1093 ± 12"),
            (1093.2, 123.4, "1093 ± 123"),
            (0.0, 0.05, "0.000 ± 0.050"),
            (2.0, 0.0, "2 ± 0"),
            (1.234_56e-7, 3.2e-9, "(1.235 ± 0.032)e-7"),
            (3.0, 1e-15, "3.000000000 ± 0.000000000"),
            (1.0, f64::NAN, "1 ± NaN"),
        ] {
            assert_eq!(format_with_error(value, error), expected);
        }
    }

    #[test]
    fn durations_choose_their_unit() {
        assert_eq!([412.0, 9.04, 36_000.0].map(format_seconds), ["6.9 min", "9.0 s", "10.0 h"]);
    }
}
