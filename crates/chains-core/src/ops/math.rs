//! Elementary functions without branches or calls, so that loops over them become vectors.
//!
//! Relative errors are below 3e-7, NaN stays NaN. A fused multiply-add rounds once on every machine,
//! so that the bits do not depend on the vectors; a processor without one (x86 before AVX2) calls a
//! slow library function for each. The reduction is that of Cody and Waite:
//! `exp(x) = 2^n exp(r)` with `n` the integer next to `x / ln 2` and `|r| <= ln(2) / 2`.

/// Adding and subtracting it rounds to an integer, which is then in the low bits.
const ROUND: f32 = 12_582_912.0;
/// `ln 2` in two parts; products of the first with small integers are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// `exp(r) - 1`, and `n + ROUND`.
#[inline(always)]
fn reduced(x: f32) -> (f32, f32) {
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2[1], n.mul_add(-LN_2[0], x));
    // The Taylor series: the next term is below 2^-24 of the sum.
    let tail = horner(r, [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5]);
    ((r * r).mul_add(tail, r), shifted)
}

/// A polynomial, from the coefficient of its highest power on.
#[inline(always)]
pub(crate) fn horner<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[0];
    for c in &coefficients[1..] {
        sum = sum.mul_add(x, *c);
    }
    sum
}

/// `2^(n + add)` from `n + ROUND`, for `-127 <= n + add < 128`; the least is taken for 0.
#[inline(always)]
fn power(shifted: f32, add: u32) -> f32 {
    f32::from_bits(shifted.to_bits().wrapping_add(127).wrapping_add(add) << 23)
}

/// The exponential function; zero where it is below 1.7e-38, infinite where it overflows.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Comparisons and not `clamp`, for NaN.
    let x = if x < -87.5 { -87.5 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let (part, shifted) = reduced(x);
    // Half the power, which for the largest results is not a number of f32.
    part.mul_add(2.0, 2.0) * power(shifted, u32::MAX)
}

/// `exp(x) - 1` for `x <= 0`.
#[inline(always)]
pub(super) fn exp_m1(x: f32) -> f32 {
    let x = if x < -30.0 { -30.0 } else { x };
    let (part, shifted) = reduced(x);
    let scale = power(shifted, 0);
    scale.mul_add(part, scale - 1.0)
}

/// `ln(1 + x)` for `0 <= x <= 1`.
#[inline(always)]
pub(super) fn ln_1p(x: f32) -> f32 {
    // Twice the inverse hyperbolic tangent of `s <= 1/3`.
    let s = x / (2.0 + x);
    let q = s * s;
    let tail =
        horner(q, [1.0 / 15.0, 1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 0.2, 1.0 / 3.0]);
    2.0 * (s * q).mul_add(tail, s)
}

/// The natural logarithm; `-inf` of zero and NaN of negative numbers.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
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
    let tail = horner(q, [1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 0.2, 1.0 / 3.0]);
    let value = n.mul_add(LN_2[0], 2.0 * (s * q).mul_add(tail, s) + n * LN_2[1]);
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
        check(exp, f64::exp, [-86.9, 88.72]);
        for x in (8700..10400).map(|x| x as f32 / -100.0) {
            assert_eq!(exp(x).to_bits(), 0, "{x}: {}", exp(x));
        }
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
        fn check<const N: usize>(got: [f32; N], want: [f32; N]) {
            assert_eq!(got.map(f32::to_bits), want.map(f32::to_bits), "{got:?}, expected {want:?}");
        }
        let ends = [exp(f32::INFINITY), exp(f32::NEG_INFINITY), exp(0.0), exp(1e30), exp(-1e30)];
        check(ends, [f32::INFINITY, 0.0, 1.0, f32::INFINITY, 0.0]);
        check([exp_m1(f32::NEG_INFINITY), exp_m1(0.0), ln_1p(0.0)], [-1.0, 0.0, 0.0]);
        check([logistic(1e30), logistic(-1e30), logistic(0.0)], [1.0, 0.0, 0.5]);
        let ends = [ln(0.0), ln(-0.0), ln(1.0), ln(f32::INFINITY)];
        check(ends, [f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0, f32::INFINITY]);
        assert!(ln(-1.0).is_nan());
        for f in [exp, exp_m1, ln_1p, ln, logistic] {
            assert!(f(f32::NAN).is_nan());
        }
    }
}
