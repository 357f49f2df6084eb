//! `p*`, the law of the states that generation starts from.

use candle_core::Tensor;
use chains_core::{
    Error, Noise, Result,
    density::{LogDensity, Sample},
    dist::{Bernoulli, FactorialGaussian},
};

/// A start, the same for every chain.
#[derive(Clone, Debug)]
pub enum Start {
    /// `N(m*, diag(V*))`.
    Gaussian(FactorialGaussian),
    /// The same clipped to `[0, 1]`: atoms at both ends, so no density.
    Clipped(FactorialGaussian),
    /// Independent bits by their logits, `(D,)`.
    Bernoulli(Tensor),
}

impl Start {
    /// States `(n, D)`.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn sample(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        match self {
            Self::Gaussian(law) => law.sample(n, noise),
            Self::Clipped(law) => Ok(law.sample(n, noise)?.clamp(0.0, 1.0)?),
            Self::Bernoulli(logits) => bits(logits, n)?.sample(1, noise),
        }
    }

    /// `ln p*(s)`, `(b, D)` -> `(b,)`, in nats.
    ///
    /// # Errors
    /// [`Error::Config`] for a clipped start; [`Error::Shape`] for states of another size.
    pub fn log_prob(&self, s: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gaussian(law) => law.batch(s.dim(0)?)?.log_prob(s),
            Self::Bernoulli(logits) => bits(logits, s.dim(0)?)?.log_prob(s),
            Self::Clipped(_) => {
                let reason = "a clipped start has no density".into();
                Err(Error::Config { field: "start", reason })
            }
        }
    }

    /// Has it a density?
    pub fn has_density(&self) -> bool {
        !matches!(self, Self::Clipped(_))
    }
}

fn bits(logits: &Tensor, n: usize) -> Result<Bernoulli> {
    Ok(Bernoulli::new(logits.broadcast_as((n, logits.dim(0)?))?.contiguous()?))
}
