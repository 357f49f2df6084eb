//! Gaussians with diagonal covariance.

use candle_core::Tensor;

use super::{repeat, same_shape};
use crate::{
    density::{LogDensity, Sample},
    error::Result,
    noise::Noise,
    ops,
};

/// `N(mean, diag(variance))`, one for every row of the batch.
#[derive(Clone, Debug)]
pub struct DiagGaussian {
    mean: Tensor,
    variance: Tensor,
}

impl DiagGaussian {
    /// Finished parts, both `(b, ..event)`; variances, not standard deviations.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the shapes differ.
    pub fn new(mean: Tensor, variance: Tensor) -> Result<Self> {
        same_shape("Gaussian variance", &mean, &variance)?;
        Ok(Self { mean, variance })
    }

    /// Means, `(b, ..event)`.
    pub fn mean(&self) -> &Tensor {
        &self.mean
    }

    /// Variances, `(b, ..event)`.
    pub fn variance(&self) -> &Tensor {
        &self.variance
    }

    /// The same law without a graph.
    pub fn detach(&self) -> Self {
        Self { mean: self.mean.detach(), variance: self.variance.detach() }
    }

    /// One sample of each conditional from standard normal noise `e`: `mean + sqrt(variance) e`,
    /// differentiable in mean and variance.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn reparameterised(&self, e: &Tensor) -> Result<Tensor> {
        ops::gaussian_draw(&self.mean, &self.variance, e)
    }

    /// The log density of every dimension, in nats.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] unless `x` is `(b, ..event)`.
    pub fn log_density(&self, x: &Tensor) -> Result<Tensor> {
        ops::gaussian_log_density(x, &self.mean, &self.variance)
    }
}

impl LogDensity for DiagGaussian {
    fn log_prob(&self, x: &Tensor) -> Result<Tensor> {
        ops::gaussian_log_prob(x, &self.mean, &self.variance)
    }
}

impl Sample for DiagGaussian {
    fn sample(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let this =
            Self { mean: repeat(&self.mean, n)?, variance: repeat(&self.variance, n)? }.detach();
        let e = noise.normal(this.mean.shape(), this.mean.dtype(), this.mean.device())?;
        this.reparameterised(&e)
    }
}
