//! The unnormalised targets of the variational annealing paper.

use std::f64::consts::PI;

use candle_core::Tensor;
use chains_core::{
    Noise, Result,
    density::{Energy, LogDensity, Sample},
};

use super::{coordinates, log_sum_exp, normals, points, uniforms};
use crate::error::Error;

/// A parabola of Gaussians: `energy = (x2^2 / 4 + (x1 - x2^2 / 4)^2) / (2 temperature)`.
///
/// The map `(u1, u2) -> (u1 + u2^2 / 4, u2)` keeps areas, so that all is exact: `x2` is normal with
/// variance `4 temperature`, `x1` given `x2` normal with mean `x2^2 / 4` and variance `temperature`,
/// and the integral of `exp(-energy)` is `4 pi temperature`. `(b, 2)` to `(b,)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Banana {
    temperature: f64,
}

/// Two wings of a ring of radius 2:
///
/// `energy = (((|x| - 2) / 0.4)^2 / 2 - log(sum over m = +-2 of exp(-((x1 - m) / 0.6)^2 / 2))) /
/// temperature`.
///
/// The normalising constant has no closed form; by quadrature its logarithm is 1.877502 at
/// temperature 1. The paper prints the energy with the name of the log density; this is the sign
/// under which it can be normalised. `(b, 2)` to `(b,)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kidney {
    temperature: f64,
}

fn positive(temperature: f64) -> crate::Result<f64> {
    if temperature.is_finite() && temperature > 0.0 {
        return Ok(temperature);
    }
    let reason = format!("{temperature} must be positive and finite");
    Err(Error::argument("temperature", reason))
}

impl Banana {
    /// The target at a temperature; 1 is the paper's.
    ///
    /// # Errors
    /// If the temperature is not positive.
    pub fn new(temperature: f64) -> crate::Result<Self> {
        Ok(Self { temperature: positive(temperature)? })
    }
}

impl Kidney {
    /// The target at a temperature; 1 is the paper's.
    ///
    /// # Errors
    /// If the temperature is not positive.
    pub fn new(temperature: f64) -> crate::Result<Self> {
        Ok(Self { temperature: positive(temperature)? })
    }

    /// Log of the unnormalised density at temperature 1.
    fn log_weight([x0, x1]: [f64; 2]) -> f64 {
        let ring = (x0.hypot(x1) - 2.0) / 0.4;
        let wing = |m: f64| (-0.5 * ((x0 - m) / 0.6).powi(2)).exp();
        -0.5 * ring * ring + (wing(2.0) + wing(-2.0)).ln()
    }
}

impl Default for Banana {
    fn default() -> Self {
        Self { temperature: 1.0 }
    }
}

impl Default for Kidney {
    fn default() -> Self {
        Self { temperature: 1.0 }
    }
}

impl Energy for Banana {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let (x0, x1) = coordinates(x)?;
        let bend = (x1.sqr()? * 0.25)?;
        let energy = (&bend + (x0 - &bend)?.sqr()?)?;
        Ok((energy.squeeze(1)? * (0.5 / self.temperature))?)
    }
}

impl LogDensity for Banana {
    fn log_prob(&self, x: &Tensor) -> Result<Tensor> {
        Ok((self.energy(x)?.neg()? - (4.0 * PI * self.temperature).ln())?)
    }
}

impl Sample for Banana {
    fn sample(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let root = self.temperature.sqrt();
        points(normals(n, noise)?.into_iter().map(|[z0, z1]| {
            let x1 = 2.0 * root * z1;
            [0.25 * x1 * x1 + root * z0, x1]
        }))
    }
}

impl Energy for Kidney {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let (x0, x1) = coordinates(x)?;
        // The floor keeps the derivative of the root finite at the origin.
        let radius = ((x0.sqr()? + x1.sqr()?)? + 1e-12)?.sqrt()?;
        let ring = ((radius - 2.0)?.sqr()? * (0.5 / 0.16))?;
        let wing = |m: f64| (&x0 - m)?.sqr()? * (-0.5 / 0.36);
        let wings = log_sum_exp(&Tensor::cat(&[wing(2.0)?, wing(-2.0)?], 1)?)?;
        Ok(((ring.squeeze(1)? - wings)? * (1.0 / self.temperature))?)
    }
}

/// Exact up to the mass outside a square of half width `2 + 3 sqrt(temperature)`, 7.5 standard
/// deviations of the ring: rejection from the uniform law on it.
impl Sample for Kidney {
    fn sample(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let half = 2.0 + 3.0 * self.temperature.sqrt();
        let mut accepted = Vec::with_capacity(n);
        while accepted.len() < n {
            // The same size each time, so that the first samples do not depend on how many follow.
            let u = uniforms(3 * 4096, noise)?;
            accepted.extend(u.chunks_exact(3).filter_map(|u| {
                let x = [half * (2.0 * u[0] - 1.0), half * (2.0 * u[1] - 1.0)];
                // exp(log weight) is at most 1 + 3e-10: accept with this probability.
                (u[2].ln() < Self::log_weight(x) / self.temperature).then_some(x)
            }));
        }
        accepted.truncate(n);
        points(accepted.into_iter())
    }
}
