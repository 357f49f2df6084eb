//! Elementary functions without branches or calls, so that loops over them become vectors.
//!
//! Relative errors are below 3e-7, NaN stays NaN. The reduction is that of Cody and Waite:
//! `exp(x) = 2^n exp(r)` with `n` the integer next to `x / ln 2` and `|r| <= ln(2) / 2`.

/// Adding and subtracting it rounds to an integer, which is then in the low bits.
const ROUND: f32 = 12_582_912.0;
/// `ln 2` in two parts; products of the first with small integers are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// `exp(r) - 1` and `n`.
#[inline(always)]
fn reduced(x: f32) -> (f32, i32) {
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2[0] - n * LN_2[1];
    // The Taylor series: the next term is below 2^-24 of the sum.
    let tail = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let tail = 0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * tail)));
    (r + r * r * tail, shifted.to_bits() as i32 - ROUND.to_bits() as i32)
}

/// `2^n` for `-127 < n < 128`.
#[inline(always)]
fn power(n: i32) -> f32 {
    f32::from_bits(((n + 127) << 23) as u32)
}

/// The exponential function, also where it overflows or vanishes.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Comparisons and not `clamp`, for NaN.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let (part, n) = reduced(x);
    let half = n >> 1;
    (1.0 + part) * power(half) * power(n - half)
}

/// `exp(x) - 1` for `x <= 0`.
#[inline(always)]
pub(super) fn exp_m1(x: f32) -> f32 {
    let x = if x < -30.0 { -30.0 } else { x };
    let (part, n) = reduced(x);
    let scale = power(n);
    scale * part + (scale - 1.0)
}

/// `ln(1 + x)` for `0 <= x <= 1`.
#[inline(always)]
pub(super) fn ln_1p(x: f32) -> f32 {
    // Twice the inverse hyperbolic tangent of `s <= 1/3`.
    let s = x / (2.0 + x);
    let q = s * s;
    let tail = 1.0 / 11.0 + q * (1.0 / 13.0 + q * (1.0 / 15.0));
    let tail = q * (1.0 / 3.0 + q * (0.2 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q * tail))));
    2.0 * (s + s * tail)
}

/// The natural logarithm; `-inf` of zero and NaN of negative numbers.
#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    // Subnormal numbers are lifted by 2^24.
    let small = x < f32::MIN_POSITIVE;
    let lifted = if small { x * 16_777_216.0 } else { x };
    // `lifted = 2^n m` with `m` between the roots of 1/2 and 2.
    let bits = lifted.to_bits().wrapping_sub(HALF_ROOT);
    let n = (bits as i32 >> 23) as f32 - if small { 24.0 } else { 0.0 };
    let m = f32::from_bits((bits & 0x007f_ffff).wrapping_add(HALF_ROOT));
    // Twice the inverse hyperbolic tangent of `|s| <= 0.172`.
    let s = (m - 1.0) / (m + 1.0);
    let q = s * s;
    let tail = q * (1.0 / 3.0 + q * (0.2 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q * (1.0 / 11.0)))));
    let value = 2.0 * (s + s * tail) + n * LN_2[1] + n * LN_2[0];
    let value = if x > 0.0 { value } else { f32::NAN };
    let value = if x == 0.0 { f32::NEG_INFINITY } else { value };
    if x == f32::INFINITY { x } else { value }
}

/// The bits of the root of 1/2.
const HALF_ROOT: u32 = 0x3f35_04f3;

/// The logistic function.
#[inline(always)]
pub(super) fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(f: fn(f32) -> f32, want: fn(f64) -> f64, range: [f32; 2]) {
        let count = 200_000;
        for i in 0..=count {
            let x = range[0] + (range[1] - range[0]) * i as f32 / count as f32;
            let want = want(f64::from(x));
            let error = (f64::from(f(x)) - want).abs();
            assert!(error <= 3e-7 * want.abs() + 1e-44, "{x}: {}, expected {want}", f(x));
        }
    }

    #[test]
    fn relative_errors_are_a_few_units_in_the_last_place() {
        check(exp, f64::exp, [-87.0, 88.7]);
        check(exp_m1, f64::exp_m1, [-40.0, 0.0]);
        check(exp_m1, f64::exp_m1, [-1e-3, 0.0]);
        check(ln_1p, f64::ln_1p, [0.0, 1.0]);
        check(ln_1p, f64::ln_1p, [0.0, 1e-5]);
        for range in [[1e-3, 0.9], [0.9, 1.1], [1.1, 1e3], [1e25, 1e33], [1e-40, 1e-37]] {
            check(ln, f64::ln, range);
        }
        check(logistic, |x| 1.0 / (1.0 + (-x).exp()), [-80.0, 80.0]);
    }

    #[test]
    fn limits_and_nan_are_kept() {
        let ends = [exp(f32::INFINITY), exp(f32::NEG_INFINITY), exp(0.0), exp(1e30), exp(-1e30)];
        assert_eq!(ends, [f32::INFINITY, 0.0, 1.0, f32::INFINITY, 0.0]);
        assert_eq!([exp_m1(f32::NEG_INFINITY), exp_m1(0.0), ln_1p(0.0)], [-1.0, 0.0, 0.0]);
        assert_eq!([logistic(1e30), logistic(-1e30), logistic(0.0)], [1.0, 0.0, 0.5]);
        let ends = [ln(0.0), ln(-0.0), ln(1.0), ln(f32::INFINITY)];
        assert_eq!(ends, [f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0, f32::INFINITY]);
        assert!(ln(-1.0).is_nan());
        for f in [exp, exp_m1, ln_1p, ln, logistic] {
            assert!(f(f32::NAN).is_nan());
        }
    }
}
