//! The Gaussian of which everything is built.

use std::f64::consts::PI;

use candle_core::Tensor;
use chains_core::{Error, Result, ops};

/// Bound of the soft clamp.
const BOUND: f64 = 5.0;
/// Added to the deviation of latent groups.
pub(crate) const FLOOR: f64 = 0.01;

/// `c(v) = 5 tanh(v / 5)`, elementwise.
///
/// # Errors
/// Of the tensor library.
pub fn soft_clamp(v: &Tensor) -> Result<Tensor> {
    ops::soft_clamp(v, BOUND)
}

/// A diagonal Gaussian of raw outputs `(m, s)` of a network: mean `c(m)`, standard deviation
/// `exp(c(s)) + floor`, the floor being added behind the exponential (NVAE's code).
///
/// With the floor 0.01 of latent groups the deviation is between 0.0167 and 148.43, and that of raw zeros
/// is 1.01.
#[derive(Clone, Debug)]
pub struct SoftNormal {
    /// Mean.
    pub mean: Tensor,
    /// Standard deviation.
    pub scale: Tensor,
}

impl SoftNormal {
    /// From raw mean and raw logarithm of the deviation, with the floor 0.01.
    ///
    /// # Shapes
    /// Both and the results: the same.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn new(mean: &Tensor, log_scale: &Tensor) -> Result<Self> {
        Self::with_floor(mean, log_scale, FLOOR)
    }

    /// As [`SoftNormal::new`] with another floor.
    ///
    /// # Errors
    /// As there.
    pub fn with_floor(mean: &Tensor, log_scale: &Tensor, floor: f64) -> Result<Self> {
        let scale = ops::soft_clamped_exp(log_scale, BOUND, floor)?;
        Ok(Self { mean: soft_clamp(mean)?, scale })
    }

    /// The same with `temperature` times the deviation.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn tempered(&self, temperature: f64) -> Result<Self> {
        // No product for the temperature of training.
        if (temperature - 1.0).abs() < f64::EPSILON {
            return Ok(self.clone());
        }
        Ok(Self { mean: self.mean.clone(), scale: (&self.scale * temperature)? })
    }

    /// `mean + scale noise`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the noise has another shape.
    pub fn sample(&self, noise: &Tensor) -> Result<Tensor> {
        if noise.dims() != self.mean.dims() {
            let (expected, got) = (format!("{:?}", self.mean.dims()), noise.dims().to_vec());
            return Err(Error::Shape { what: "noise", expected, got });
        }
        ops::add_product(&self.mean, &self.scale, noise)
    }

    /// `(v - mean) / scale`, the noise that gives `v`.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn noise_of(&self, v: &Tensor) -> Result<Tensor> {
        Ok((v - &self.mean)?.div(&self.scale)?)
    }

    /// `-0.5 ((v - mean) / scale)^2 - 0.5 ln(2 pi) - ln scale`, elementwise, in nats.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn log_density(&self, v: &Tensor) -> Result<Tensor> {
        let square = self.noise_of(v)?.sqr()?;
        let constant = -0.5 * (2.0 * PI).ln();
        Ok(square.affine(-0.5, constant)?.sub(&self.scale.log()?)?)
    }

    /// The sum of [`SoftNormal::log_density`] over all but the first axis, `(b,)`.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn log_prob(&self, v: &Tensor) -> Result<Tensor> {
        ops::gaussian_log_prob(v, &self.mean, &ops::square(&self.scale)?)
    }

    /// `KL(self | other)` elementwise: `0.5 (((mean - mean') / scale')^2 + (scale / scale')^2) - 0.5 -
    /// ln(scale / scale')`.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn kl(&self, other: &Self) -> Result<Tensor> {
        let distance = (&self.mean - &other.mean)?.div(&other.scale)?.sqr()?;
        let ratio = self.scale.div(&other.scale)?;
        Ok((distance + ratio.sqr()?)?.affine(0.5, -0.5)?.sub(&ratio.log()?)?)
    }

    /// The sum of [`SoftNormal::kl`] over all but the first axis, `(b,)`.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn kl_sum(&self, other: &Self) -> Result<Tensor> {
        ops::gaussian_divergence([&self.mean, &self.scale], [&other.mean, &other.scale])
    }
}

/// The sum over all axes but the first, `(b,)`.
pub(crate) fn sum_event(x: &Tensor) -> Result<Tensor> {
    Ok(x.flatten_from(1)?.sum(1)?)
}

#[cfg(test)]
mod tests;
