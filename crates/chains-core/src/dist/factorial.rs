//! One Gaussian for all rows, as the start of a chain.

use candle_core::Tensor;

use super::DiagGaussian;
use crate::{
    density::Sample,
    error::{Error, Result},
    noise::Noise,
};

/// A Gaussian of independent dimensions, from which chains start.
#[derive(Clone, Debug)]
pub struct FactorialGaussian {
    mean: Tensor,
    variance: Tensor,
}

impl FactorialGaussian {
    /// From mean and variance, both `(D,)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if they differ in shape.
    pub fn new(mean: Tensor, variance: Tensor) -> Result<Self> {
        if mean.rank() != 1 || mean.dims() != variance.dims() {
            return Err(Error::Shape {
                what: "prior",
                expected: "(D,)".into(),
                got: variance.dims().to_vec(),
            });
        }
        Ok(Self { mean, variance })
    }

    /// The law of `b` independent chains, parameters `(b, D)`.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn batch(&self, b: usize) -> Result<DiagGaussian> {
        let wide =
            |t: &Tensor| -> Result<Tensor> { Ok(t.broadcast_as((b, t.dim(0)?))?.contiguous()?) };
        DiagGaussian::new(wide(&self.mean)?, wide(&self.variance)?)
    }

    /// Start states `(n, D)`.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn sample(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        self.batch(n)?.sample(1, noise)
    }
}
