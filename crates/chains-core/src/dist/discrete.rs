//! Bernoulli variables.

use candle_core::Tensor;

use super::{repeat, same_shape, sum_event};
use crate::{
    density::{LogDensity, Sample},
    error::Result,
    noise::Noise,
    ops,
};

/// Independent Bernoulli variables given by their logits.
#[derive(Clone, Debug)]
pub struct Bernoulli {
    logits: Tensor,
}

impl Bernoulli {
    /// From `ln(p / (1 - p))`, `(b, ..event)`.
    pub fn new(logits: Tensor) -> Self {
        Self { logits }
    }

    /// Logits, `(b, ..event)`.
    pub fn logits(&self) -> &Tensor {
        &self.logits
    }

    /// Probabilities of one, `(b, ..event)`.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn mean(&self) -> Result<Tensor> {
        ops::sigmoid(&self.logits)
    }
}

impl LogDensity for Bernoulli {
    /// `sum_i [x_i logit_i - ln(1 + exp(logit_i))]`, finite for any logit.
    fn log_prob(&self, x: &Tensor) -> Result<Tensor> {
        same_shape("Bernoulli value", &self.logits, x)?;
        let softplus = ops::log_add_exp(&self.logits, &self.logits.zeros_like()?)?;
        sum_event(&(x.mul(&self.logits)? - softplus)?)
    }
}

impl Sample for Bernoulli {
    fn sample(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let p = repeat(&self.mean()?.detach(), n)?;
        let u = noise.uniform(p.shape(), p.dtype(), p.device())?;
        Ok(u.lt(&p)?.to_dtype(p.dtype())?)
    }
}
