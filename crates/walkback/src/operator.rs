//! The transition operator `p_T(s' | s)` and the laws it gives.

use candle_core::Tensor;
use chains_core::{
    Error, Noise, Result,
    chain::{Step, TransitionOperator},
    density::{LogDensity, Sample},
    dist::{Bernoulli, DiagGaussian, Law},
    ops,
};

use crate::{
    config::{ChainConfig, Mixing, OperatorConfig},
    network::{OperatorNetwork, Outputs, Statistics},
};

/// The law of the next state.
#[derive(Clone, Debug)]
pub enum Conditional {
    /// With a density.
    Gaussian(DiagGaussian),
    /// The limit of temperature zero: the mean itself, `(b, D)`.
    Point(Tensor),
    /// Without a density, clipped to `[0, 1]`.
    Clipped(Clipped),
    /// Of bits.
    Bernoulli(Bernoulli),
}

/// `clip(mean + deviation e, 0, 1)`; see [`OperatorConfig::Reconstruction`].
#[derive(Clone, Debug)]
pub struct Clipped {
    raw: Tensor,
    mean: Tensor,
    deviation: Option<Tensor>,
}

impl Clipped {
    /// `F_mu`, which the reconstruction error is taken of, `(b, D)`.
    pub fn raw(&self) -> &Tensor {
        &self.raw
    }

    /// `a s + (1 - a) F_mu`, not clipped, `(b, D)`.
    pub fn mean(&self) -> &Tensor {
        &self.mean
    }

    /// The standard deviation of the noise, `(b, D)`, if the variance branch was run.
    pub fn deviation(&self) -> Option<&Tensor> {
        self.deviation.as_ref()
    }

    fn draw(&self, noise: &mut dyn Noise) -> Result<Tensor> {
        let (mean, Some(deviation)) = (&self.mean, &self.deviation) else {
            let reason = "an operator that learns by reconstruction gives means, no draws".into();
            return Err(Error::Config { field: "operator", reason });
        };
        let e = noise.normal(mean.shape(), mean.dtype(), mean.device())?;
        Ok((mean + deviation.mul(&e)?)?.clamp(0.0, 1.0)?)
    }
}

fn no_density() -> Error {
    let reason = "this law has no density; bounds need a Gaussian or Bernoulli operator at a \
                  temperature above zero";
    Error::Config { field: "operator", reason: reason.into() }
}

impl LogDensity for Conditional {
    fn log_prob(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gaussian(law) => law.log_prob(x),
            Self::Bernoulli(law) => law.log_prob(x),
            Self::Point(_) | Self::Clipped(_) => Err(no_density()),
        }
    }
}

impl Sample for Conditional {
    fn sample(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let repeat = |t: &Tensor| -> Result<Tensor> {
            Ok(if n == 1 { t.detach() } else { Tensor::cat(&vec![t.detach(); n], 0)? })
        };
        match self {
            Self::Gaussian(law) => law.sample(n, noise),
            Self::Bernoulli(law) => law.sample(n, noise),
            Self::Point(mean) => repeat(mean),
            Self::Clipped(Clipped { raw, mean, deviation }) => {
                let deviation = deviation.as_ref().map(repeat).transpose()?;
                Clipped { raw: raw.clone(), mean: repeat(mean)?, deviation }.draw(noise)
            }
        }
    }
}

impl Law for Conditional {
    fn centre(&self) -> Result<Tensor> {
        match self {
            Self::Gaussian(law) => law.centre(),
            Self::Bernoulli(law) => law.centre(),
            Self::Point(mean) => Ok(mean.clone()),
            Self::Clipped(law) => Ok(law.mean.clone()),
        }
    }

    fn entropy(&self) -> Result<Tensor> {
        match self {
            Self::Gaussian(law) => law.entropy(),
            Self::Bernoulli(law) => law.entropy(),
            Self::Point(_) | Self::Clipped(_) => Err(no_density()),
        }
    }

    fn differentiable_sample(&self, noise: &mut dyn Noise) -> Result<Tensor> {
        match self {
            Self::Gaussian(law) => law.differentiable_sample(noise),
            Self::Bernoulli(law) => law.differentiable_sample(noise),
            Self::Point(mean) => Ok(mean.clone()),
            Self::Clipped(law) => law.draw(noise),
        }
    }
}

/// The operator made of a network: every transition mixes the old state with the network's mean.
#[derive(Clone, Copy, Debug)]
pub struct Operator<'a> {
    network: &'a OperatorNetwork,
    law: OperatorConfig,
    mixing: Mixing,
    statistics: Statistics,
    outputs: Outputs,
}

impl<'a> Operator<'a> {
    /// The operator with chosen moments; all outputs of the network are evaluated.
    pub fn new(
        network: &'a OperatorNetwork,
        law: OperatorConfig,
        chain: &ChainConfig,
        statistics: Statistics,
    ) -> Self {
        Self { network, law, mixing: chain.mixing, statistics, outputs: Outputs::Both }
    }

    /// The operator as a loss needs it: reconstruction does not run the variance branch, so its laws
    /// cannot be drawn from.
    pub fn learning(self) -> Self {
        let outputs = if self.law.learns_variance() { Outputs::Both } else { Outputs::Mean };
        Self { outputs, ..self }
    }
}

impl TransitionOperator for Operator<'_> {
    type Dist = Conditional;

    /// `(b, D)` -> laws `(b, D)`.
    fn conditional(&self, s: &Tensor, at: Step) -> Result<Conditional> {
        let outputs = match self.law {
            OperatorConfig::Bernoulli => Outputs::Mean,
            _ => self.outputs,
        };
        let raw = self.network.raw(s, at, self.statistics, outputs)?;
        let a = self.mixing.at(at.index);
        let mean = ((s * a)? + (&raw.mean * (1.0 - a))?)?;
        match (self.law, raw.variance) {
            (OperatorConfig::Bernoulli, _) => {
                if at.temperature > 0.0 {
                    return Ok(Conditional::Bernoulli(Bernoulli::new((mean / at.temperature)?)));
                }
                // The more likely bit.
                Ok(Conditional::Point(mean.gt(0.0)?.to_dtype(mean.dtype())?))
            }
            (OperatorConfig::Gaussian { .. }, _) if at.temperature <= 0.0 => {
                Ok(Conditional::Point(mean))
            }
            (OperatorConfig::Gaussian { scale, floor, effect }, Some(raw)) => {
                let factor = effect.factor(at.temperature);
                let variance = ops::softplus(&raw)?.affine(scale * factor, floor * factor)?;
                Ok(Conditional::Gaussian(DiagGaussian::new(mean, variance)?))
            }
            (OperatorConfig::Gaussian { .. }, None) => Err(no_density()),
            (OperatorConfig::Reconstruction { noise, outside }, variance) => {
                let share = if outside { 1.0 } else { 1.0 - a };
                let deviation = |raw: Tensor| -> Result<Tensor> {
                    let heated = (ops::softplus(&raw)? * at.temperature)?;
                    Ok((heated.sqrt()? * (noise * share))?)
                };
                let deviation = variance.map(deviation).transpose()?;
                Ok(Conditional::Clipped(Clipped { raw: raw.mean, mean, deviation }))
            }
        }
    }
}
