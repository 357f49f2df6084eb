//! The model whose likelihood is asked for.

use candle_core::{DType, Device, Shape, Tensor};
use chains_core::{
    Error, Noise, Result,
    density::{LogDensity, Sample},
    dist::{Bernoulli, DiagGaussian},
};
use serde::{Deserialize, Serialize};

/// A network from latents to the parameters of the observation model.
pub trait Decoder {
    /// Columns of the latents, whose prior is `N(0, I)`.
    fn latent_width(&self) -> usize;

    /// `(b, z)` -> `(b, d)`: logits for [`Observation::Bernoulli`], means for
    /// [`Observation::Gaussian`]. Differentiable in the latents, and rows must not interact (no batch
    /// norm with statistics of the batch); build the network on frozen parameters.
    ///
    /// # Errors
    /// If the latents have not the documented shape.
    fn decode(&self, latents: &Tensor) -> Result<Tensor>;
}

/// `p(x | z)`, independent over the columns of `x`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Observation {
    /// `sum x log s(y) + (1 - x) log (1 - s(y))` for logits `y` of the decoder, `s` the logistic
    /// function. Values between 0 and 1 are accepted; then it is a cross-entropy, no likelihood.
    Bernoulli,
    /// `N(y, variance I)` for means `y` of the decoder.
    Gaussian {
        /// Variance of every column, not the standard deviation. The published study of MNIST has
        /// 0.025 (GAN-10, GMMN-10), 0.03 (VAE-10), 0.01 (GAN-50, GMMN-50) and 0.005 (VAE-50), where
        /// its code calls the argument sigma.
        variance: f64,
    },
}

impl Observation {
    pub(super) fn check(self) -> Result<()> {
        match self {
            Self::Gaussian { variance } if !(variance > 0.0 && variance.is_finite()) => {
                let reason = format!("{variance} is not a positive number");
                Err(Error::Config { field: "variance", reason })
            }
            _ => Ok(()),
        }
    }

    /// Are these values that an observation can have?
    pub(super) fn check_data(self, values: &[f64]) -> Result<()> {
        let wrong = |value: &&f64| match self {
            Self::Bernoulli => !(0.0..=1.0).contains(*value),
            Self::Gaussian { .. } => !value.is_finite(),
        };
        match values.iter().find(wrong) {
            None => Ok(()),
            Some(value) => {
                let allowed = match self {
                    Self::Bernoulli => "within [0, 1], as Bernoulli observations are",
                    Self::Gaussian { .. } => "a finite number",
                };
                Err(Error::Config { field: "data", reason: format!("{value} is not {allowed}") })
            }
        }
    }
}

/// `p(z) p(x | z)` with `z ~ N(0, I)`.
#[derive(Clone, Copy)]
pub struct DecoderModel<'a> {
    /// From latents to the parameters of the observation.
    pub decoder: &'a dyn Decoder,
    /// The law of the observation.
    pub observation: Observation,
}

/// Latents with data drawn from them: an exact posterior sample for every row.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// `z ~ p(z)`, `(n, z)`.
    pub latents: Tensor,
    /// `x ~ p(x | z)`, `(n, d)`.
    pub data: Tensor,
}

impl DecoderModel<'_> {
    /// `log p(x | z)`, nats, differentiable in the latents.
    ///
    /// # Shapes
    /// `latents`: `(b, z)`; `data`: `(b, d)`; the result `(b,)`.
    ///
    /// # Errors
    /// [`Error::Config`] for a variance that is not positive, [`Error::Shape`] if the decoder's output
    /// has not the shape of the data.
    pub fn log_likelihood(&self, latents: &Tensor, data: &Tensor) -> Result<Tensor> {
        self.observation.check()?;
        self.log_likelihood_with(latents, data, self.variances(data)?.as_ref())
    }

    /// Draws latents from the prior and data from the observation model.
    ///
    /// # Errors
    /// [`Error::Config`] for no latents or a variance that is not positive; those of the decoder.
    pub fn simulate(
        &self,
        n: usize,
        (dtype, device): (DType, &Device),
        noise: &mut dyn Noise,
    ) -> Result<Simulated> {
        self.observation.check()?;
        let shape = Shape::from((n, self.latent_width()?));
        let latents = noise.normal(&shape, dtype, device)?;
        let outputs = self.decoder.decode(&latents)?.detach();
        let data = match self.observation {
            Observation::Bernoulli => Bernoulli::new(outputs).sample(1, noise)?,
            Observation::Gaussian { .. } => match self.variances(&outputs)? {
                Some(variances) => DiagGaussian::new(outputs, variances)?.sample(1, noise)?,
                None => outputs,
            },
        };
        Ok(Simulated { latents, data })
    }

    pub(super) fn latent_width(&self) -> Result<usize> {
        match self.decoder.latent_width() {
            0 => Err(Error::Config { field: "latent_width", reason: "must be one or more".into() }),
            width => Ok(width),
        }
    }

    /// The variance of every element, for Gaussian observations.
    pub(super) fn variances(&self, like: &Tensor) -> Result<Option<Tensor>> {
        Ok(match self.observation {
            Observation::Bernoulli => None,
            Observation::Gaussian { variance } => Some((like.ones_like()? * variance)?),
        })
    }

    /// [`Self::log_likelihood`] with [`Self::variances`] known.
    pub(super) fn log_likelihood_with(
        &self,
        latents: &Tensor,
        data: &Tensor,
        variances: Option<&Tensor>,
    ) -> Result<Tensor> {
        let outputs = self.decoder.decode(latents)?;
        if outputs.dims() != data.dims() {
            return Err(Error::Shape {
                what: "decoder output",
                expected: format!("{:?}, as the data", data.dims()),
                got: outputs.dims().to_vec(),
            });
        }
        match variances {
            None => Bernoulli::new(outputs).log_prob(data),
            Some(variances) => chains_core::ops::gaussian_log_prob(data, &outputs, variances),
        }
    }
}
