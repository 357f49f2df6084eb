//! Circles blurred by Gaussian noise.

use std::f64::consts::PI;

use candle_core::Tensor;
use chains_core::{
    Noise, Result,
    density::{LogDensity, Sample},
};

use super::{constants, coordinates, log_sum_exp, normals, points, uniforms};
use crate::error::Error;

/// Equally likely circles about the origin, uniform in angle, plus round Gaussian noise.
///
/// The law of `r (cos a, sin a) + sigma z` with `a` uniform and `z` normal is exactly
///
/// `p(x) = exp(-(|x|^2 + r^2) / (2 sigma^2)) I0(|x| r / sigma^2) / (2 pi sigma^2)`,
///
/// with `I0` the modified Bessel function, here by the approximations 9.8.1 and 9.8.2 of Abramowitz
/// and Stegun (relative error below 2e-7). `log_prob` maps `(b, 2)` to `(b,)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rings {
    radii: Vec<f64>,
    sigma: f64,
}

impl Rings {
    /// Circles with these radii, noise of standard deviation `sigma` in each coordinate.
    ///
    /// # Errors
    /// If there is no circle, or a radius or `sigma` is not positive.
    pub fn new(radii: Vec<f64>, sigma: f64) -> crate::Result<Self> {
        let positive = |v: &f64| v.is_finite() && *v > 0.0;
        if radii.is_empty() || !radii.iter().all(positive) || !positive(&sigma) {
            let reason =
                format!("radii {radii:?} and sigma {sigma} must be positive, one at least");
            return Err(Error::argument("rings", reason));
        }
        Ok(Self { radii, sigma })
    }

    /// Four rings, radii 3, 2.25, 1.5, 0.75, sigma 0.08: VERA's `rings`.
    pub fn four() -> Self {
        Self { radii: vec![3.0, 2.25, 1.5, 0.75], sigma: 0.08 }
    }

    /// Two circles, radii 1 and 0.5, sigma 0.08, all times 3: VERA's `circles`.
    pub fn circles() -> Self {
        Self { radii: vec![3.0, 1.5], sigma: 0.24 }
    }

    /// Radii of the circles.
    pub fn radii(&self) -> &[f64] {
        &self.radii
    }

    /// Standard deviation of the noise in each coordinate.
    pub fn sigma(&self) -> f64 {
        self.sigma
    }
}

/// Where the two approximations of `I0` meet.
const BESSEL_SPLIT: f64 = 3.75;

/// Abramowitz and Stegun 9.8.1: `I0(z)` in powers of `(z / 3.75)^2`, `z <= 3.75`.
const BESSEL_SMALL: [f64; 7] =
    [1.0, 3.515_622_9, 3.089_942_4, 1.206_749_2, 0.265_973_2, 0.036_076_8, 0.004_581_3];

/// Abramowitz and Stegun 9.8.2: `sqrt(z) exp(-z) I0(z)` in powers of `3.75 / z`, `z >= 3.75`.
const BESSEL_LARGE: [f64; 9] = [
    0.398_942_28,
    0.013_285_92,
    0.002_253_19,
    -0.001_575_65,
    0.009_162_81,
    -0.020_577_06,
    0.026_355_37,
    -0.016_476_33,
    0.003_923_77,
];

impl LogDensity for Rings {
    fn log_prob(&self, x: &Tensor) -> Result<Tensor> {
        let (x0, x1) = coordinates(x)?;
        let variance = self.sigma * self.sigma;
        let row = |f: &dyn Fn(f64) -> f64| constants(self.radii.iter().map(|&r| f(r)), x);
        let square = (x0.sqr()? + x1.sqr()?)?;
        // (z / 3.75)^2 with z = |x| r / variance, (b, k).
        let scaled = square.broadcast_mul(&row(&|r| (r / variance / BESSEL_SPLIT).powi(2))?)?;
        let is_small = scaled.lt(1.0)?;
        // Each branch sees only arguments for which it and its derivative are finite.
        let near = scaled.minimum(1.0)?;
        let energy = square.broadcast_add(&row(&|r| r * r)?)?;
        let small = ((energy * (-0.5 / variance))? + polynomial(&near, &BESSEL_SMALL)?.log()?)?;
        let ratio = scaled.maximum(1.0)?.sqrt()?;
        let radius = ratio.broadcast_mul(&row(&|r| BESSEL_SPLIT * variance / r)?)?;
        // exp(-(|x|^2 + r^2) / 2v) exp(z) is one square: no cancellation.
        let square = radius.broadcast_sub(&row(&|r| r)?)?.sqr()?;
        let tail = polynomial(&ratio.recip()?, &BESSEL_LARGE)?.log()?;
        let root = ((ratio.log()? + BESSEL_SPLIT.ln())? * -0.5)?;
        let large = (((square * (-0.5 / variance))? + tail)? + root)?;
        let constant = -(2.0 * PI * variance * self.radii.len() as f64).ln();
        Ok((log_sum_exp(&is_small.where_cond(&small, &large)?)? + constant)?)
    }
}

/// `sum_i coefficients[i] x^i` by Horner's rule.
fn polynomial(x: &Tensor, coefficients: &[f64]) -> Result<Tensor> {
    let mut sum = x.zeros_like()?;
    for (index, &coefficient) in coefficients.iter().rev().enumerate() {
        sum = if index == 0 { (sum + coefficient)? } else { ((sum * x)? + coefficient)? };
    }
    Ok(sum)
}

impl Sample for Rings {
    fn sample(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let (choice, angle) = (uniforms(n, noise)?, uniforms(n, noise)?);
        let normals = normals(n, noise)?;
        points((0..n).map(|i| {
            // The product may round up to the length.
            let ring = (choice[i] * self.radii.len() as f64) as usize;
            let radius = self.radii[ring.min(self.radii.len() - 1)];
            let (sin, cos) = (2.0 * PI * angle[i]).sin_cos();
            let [z0, z1] = normals[i];
            [radius * cos + self.sigma * z0, radius * sin + self.sigma * z1]
        }))
    }
}
