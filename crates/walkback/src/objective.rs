//! The losses of one transition, as functions of laws and states.

use candle_core::Tensor;
use chains_core::{
    Error, Result,
    density::LogDensity,
    dist::{Bernoulli, DiagGaussian, Law},
};

use crate::{config::ReconstructionError, operator::Conditional};

/// A law that can be taught to give a state.
pub trait StepLoss: Law {
    /// The loss of one transition, a scalar: mean over the batch of `-ln p(target)` or, for a law
    /// without a density, of the reconstruction error.
    ///
    /// # Shapes
    /// `target`: `(b, D)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the target does not fit.
    fn step_loss(&self, target: &Tensor, error: ReconstructionError) -> Result<Tensor>;
}

impl StepLoss for DiagGaussian {
    fn step_loss(&self, target: &Tensor, _: ReconstructionError) -> Result<Tensor> {
        negative_log_likelihood(self, target)
    }
}

impl StepLoss for Bernoulli {
    fn step_loss(&self, target: &Tensor, _: ReconstructionError) -> Result<Tensor> {
        negative_log_likelihood(self, target)
    }
}

impl StepLoss for Conditional {
    fn step_loss(&self, target: &Tensor, error: ReconstructionError) -> Result<Tensor> {
        match self {
            Self::Clipped(law) => reconstruction_error(law.raw(), target, error),
            _ => negative_log_likelihood(self, target),
        }
    }
}

/// `-mean_b ln p(target)`, nats, a scalar.
///
/// # Errors
/// Of the law.
pub fn negative_log_likelihood(law: &impl LogDensity, target: &Tensor) -> Result<Tensor> {
    Ok(law.log_prob(target)?.mean(0)?.neg()?)
}

/// `mean_b sum_D 0.5 (target - raw)^2`, or of absolute differences; a scalar.
///
/// # Shapes
/// Both `(b, D)`.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ.
pub fn reconstruction_error(
    raw: &Tensor,
    target: &Tensor,
    error: ReconstructionError,
) -> Result<Tensor> {
    if raw.dims() != target.dims() || raw.rank() != 2 {
        let (expected, got) = (format!("{:?}", raw.dims()), target.dims().to_vec());
        return Err(Error::Shape { what: "state to reconstruct", expected, got });
    }
    let difference = (raw - target)?;
    let error = match error {
        ReconstructionError::Squared => difference.sqr()?,
        ReconstructionError::Absolute => difference.abs()?,
    };
    Ok((error.sum_all()? * (0.5 / raw.dim(0)? as f64))?)
}
