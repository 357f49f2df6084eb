//! What chains ask of a law beside density and samples.

use candle_core::Tensor;

use super::{Bernoulli, DiagGaussian, sum_event};
use crate::{
    density::{LogDensity, Sample},
    error::{Error, Result},
    noise::Noise,
    ops,
};

/// A batch of laws with a mean and an entropy.
pub trait Law: LogDensity + Sample {
    /// The means, `(b, ..event)`; what papers show as pictures.
    ///
    /// # Errors
    /// Of the tensor library.
    fn centre(&self) -> Result<Tensor>;

    /// The (differential) entropies `-E[log_prob]`, `(b,)`, in nats.
    ///
    /// # Errors
    /// If the law has none.
    fn entropy(&self) -> Result<Tensor>;

    /// One sample of each law through which gradients flow to its parameters.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no such sample.
    fn differentiable_sample(&self, noise: &mut dyn Noise) -> Result<Tensor>;
}

impl Law for DiagGaussian {
    fn centre(&self) -> Result<Tensor> {
        Ok(self.mean().clone())
    }

    /// `0.5 sum ln(2 pi e variance)`.
    fn entropy(&self) -> Result<Tensor> {
        let inner = 2.0 * std::f64::consts::PI * std::f64::consts::E;
        Ok((sum_event(&self.variance().affine(inner, 0.0)?.log()?)? * 0.5)?)
    }

    fn differentiable_sample(&self, noise: &mut dyn Noise) -> Result<Tensor> {
        let mean = self.mean();
        self.reparameterised(&noise.normal(mean.shape(), mean.dtype(), mean.device())?)
    }
}

impl Law for Bernoulli {
    fn centre(&self) -> Result<Tensor> {
        self.mean()
    }

    /// `sum [ln(1 + exp(logit)) - p logit]`.
    fn entropy(&self) -> Result<Tensor> {
        let logits = self.logits();
        sum_event(&(ops::softplus(logits)? - self.mean()?.mul(logits)?)?)
    }

    fn differentiable_sample(&self, _: &mut dyn Noise) -> Result<Tensor> {
        let reason = "samples of Bernoulli variables pass no gradient".into();
        Err(Error::Config { field: "operator", reason })
    }
}
