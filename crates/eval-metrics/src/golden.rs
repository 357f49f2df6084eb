//! The golden data of the tests: a linear congruential generator that any language can repeat.

use ndarray::Array2;

use crate::summary::mean_and_error;

/// `s = 1664525 s + 1013904223 mod 2^32`, giving `(s + 0.5) / 2^32`, row-major.
pub(crate) fn array(seed: u32, rows: usize, columns: usize) -> Array2<f64> {
    let mut state = seed;
    Array2::from_shape_simple_fn((rows, columns), || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(state) + 0.5) / 4_294_967_296.0
    })
}

/// The real set of the golden values, 200 rows of 8.
pub(crate) fn real() -> Array2<f64> {
    array(1, 200, 8)
}

/// The generated set of the golden values, 200 rows of 8.
pub(crate) fn fake() -> Array2<f64> {
    array(2, 200, 8) * 0.8 + 0.3
}

/// Independent standard normal numbers by Box and Muller's method, one column.
pub(crate) fn normals(seed: u32, rows: usize) -> Array2<f64> {
    let uniform = array(seed, rows, 2);
    Array2::from_shape_fn((rows, 1), |(row, _)| {
        let (u, v) = (uniform[(row, 0)], uniform[(row, 1)]);
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    })
}

/// `|value - expected| <= tolerance * max(1, |expected|)`.
#[track_caller]
pub(crate) fn assert_close(value: f64, expected: f64, tolerance: f64) {
    let error = (value - expected).abs();
    assert!(error <= tolerance * expected.abs().max(1.0), "{value} is not {expected}");
}

/// The mean of independent estimates is within three standard errors of what is expected.
#[track_caller]
pub(crate) fn assert_mean(values: &[f64], expected: f64) {
    let (mean, error) = mean_and_error(values);
    let error = error.expect("several estimates");
    assert!((mean - expected).abs() < 3.0 * error, "{mean} is not {expected}, error {error}");
}

#[test]
fn golden_data_are_the_published_ones() {
    let (x, y) = (real(), fake());
    for (value, expected) in [
        (x[(0, 0)], 0.23645553),
        (x[(0, 1)], 0.36927067),
        (x[(0, 2)], 0.50424203),
        (y[(0, 0)], 0.48947446),
        (y[(0, 1)], 0.66797955),
        (y[(0, 2)], 0.45116024),
    ] {
        assert_close(value, expected, 1e-8);
    }
    assert_close(x[(199, 7)], 0.9642591628944501, 1e-15);
}
