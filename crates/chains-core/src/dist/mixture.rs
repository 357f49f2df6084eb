//! The per-dimension mixture of two Gaussians with one known mixing rate.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{DiagGaussian, repeat, same_shape, sum_event};
use crate::{
    density::{LogDensity, Sample},
    error::{Error, Result},
    noise::Noise,
    ops,
};

/// Which dimensions share a decision between the two components.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Masks {
    /// Every dimension decides for itself.
    PerDimension,
    /// Events are planar images of so many channels; the channels of a pixel decide together.
    PerPixel {
        /// Channels.
        channels: usize,
    },
}

/// `prod_i [(1 - rate) base_i(z_i) + rate spike_i(z_i)]`, the proposal of infusion training
/// (section 2.3.1), with `base` the model's transition and `spike` a narrow Gaussian at the target.
///
/// The log density is computed per dimension in log space and summed afterwards; with
/// [`Masks::PerPixel`] it is the joint mixture over the channels of a pixel. A rate of 0 or 1 leaves
/// one component alone, without a logarithm of zero in the graph.
#[derive(Clone, Debug)]
pub struct DimensionMixture {
    rate: f64,
    base: DiagGaussian,
    spike: DiagGaussian,
    masks: Masks,
}

impl DimensionMixture {
    /// Finished parts; both components `(b, ..event)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the components differ in shape; [`Error::Config`] if `rate` is no
    /// probability or the channels do not divide the event.
    pub fn new(rate: f64, base: DiagGaussian, spike: DiagGaussian, masks: Masks) -> Result<Self> {
        same_shape("mixture component", base.mean(), spike.mean())?;
        if !(0.0..=1.0).contains(&rate) {
            let reason = format!("{rate} is not a probability");
            return Err(Error::Config { field: "rate", reason });
        }
        if let Masks::PerPixel { channels } = masks {
            let b = base.mean().dim(0)?;
            if channels == 0 || !(base.mean().elem_count() / b.max(1)).is_multiple_of(channels) {
                let reason = format!("{channels} do not divide the event {:?}", base.mean().dims());
                return Err(Error::Config { field: "channels", reason });
            }
        }
        Ok(Self { rate, base, spike, masks })
    }

    /// The probability of the spike.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// The first component.
    pub fn base(&self) -> &DiagGaussian {
        &self.base
    }

    /// The uniform numbers that decide: a dimension is drawn from the spike where they are below
    /// the rate; `(b, ..event)`.
    fn decide(&self, noise: &mut dyn Noise) -> Result<Tensor> {
        let mean = self.base.mean();
        let (dtype, device) = (mean.dtype(), mean.device());
        match self.masks {
            Masks::PerDimension => noise.uniform(mean.shape(), dtype, device),
            Masks::PerPixel { channels } => {
                let (b, pixels) = self.pixels(channels)?;
                let u = noise.uniform(&(b, 1, pixels).into(), dtype, device)?;
                Ok(u.broadcast_as((b, channels, pixels))?.reshape(mean.shape())?)
            }
        }
    }

    /// The sample with the given mask and standard normal noise, differentiable in both components.
    /// One noise tensor serves both, since every dimension uses one component only.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn reparameterised(&self, mask: &Tensor, e: &Tensor) -> Result<Tensor> {
        if self.rate <= 0.0 {
            return self.base.reparameterised(e);
        }
        let base = self.base.reparameterised(e)?;
        Ok(mask.where_cond(&self.spike.reparameterised(e)?, &base)?)
    }

    /// One sample of each conditional, differentiable in the components given the mask.
    ///
    /// # Errors
    /// If the device cannot hold the draws.
    pub fn draw(&self, noise: &mut dyn Noise) -> Result<Tensor> {
        let mean = self.base.mean();
        // At rate 0 nothing is infused; not drawing the decisions leaves the model's own chain.
        let u = if self.rate <= 0.0 { None } else { Some(self.decide(noise)?) };
        let e = noise.normal(mean.shape(), mean.dtype(), mean.device())?;
        let (base, spike) = (&self.base, &self.spike);
        let parts = [base.mean(), base.variance(), spike.mean(), spike.variance()];
        match u {
            None => base.reparameterised(&e),
            Some(u) if parts.iter().any(|part| part.track_op()) => {
                self.reparameterised(&u.lt(self.rate)?, &e)
            }
            Some(u) => {
                let [bm, bv, sm, sv] = parts;
                ops::mixture_draw(self.rate, [bm, bv], [sm, sv], &u, &e)
            }
        }
    }

    /// `ln base(z) - ln mixture(z)`, `(b,)`: at most `-ln(1 - rate)` for each decision, and exactly
    /// zero at rate 0.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `z` is `(b, ..event)`.
    pub fn log_ratio(&self, z: &Tensor) -> Result<Tensor> {
        same_shape("mixture value", self.base.mean(), z)?;
        if self.rate <= 0.0 {
            return Ok(Tensor::zeros(z.dim(0)?, z.dtype(), z.device())?);
        }
        if self.masks == Masks::PerDimension && self.rate < 1.0 {
            let [base, spike] = [&self.base, &self.spike].map(|law| [law.mean(), law.variance()]);
            return ops::mixture_log_ratio(self.rate, base, spike, z);
        }
        let base = self.decisions(&self.base.log_density(z)?)?;
        if self.rate >= 1.0 {
            let spike = self.decisions(&self.spike.log_density(z)?)?;
            return sum_event(&(base - spike)?);
        }
        // ln mixture - ln base = ln(1 - rate + rate spike / base): from the difference of two
        // densities, whose size may be far beyond the ratio's, and never below ln(1 - rate).
        let spike = self.decisions(&self.spike.log_density(z)?)?;
        let infused = (spike - &base)?.affine(1.0, self.rate.ln())?;
        let own = infused.zeros_like()?.affine(1.0, (-self.rate).ln_1p())?;
        sum_event(&ops::log_add_exp(&own, &infused)?.neg()?)
    }

    /// Log densities of the decisions: of dimensions, or summed over the channels of a pixel.
    fn decisions(&self, density: &Tensor) -> Result<Tensor> {
        match self.masks {
            Masks::PerDimension => Ok(density.clone()),
            Masks::PerPixel { channels } => {
                let (b, pixels) = self.pixels(channels)?;
                Ok(density.reshape((b, channels, pixels))?.sum(1)?)
            }
        }
    }

    fn pixels(&self, channels: usize) -> Result<(usize, usize)> {
        let mean = self.base.mean();
        let b = mean.dim(0)?;
        Ok((b, mean.elem_count() / b.max(1) / channels))
    }
}

impl LogDensity for DimensionMixture {
    fn log_prob(&self, z: &Tensor) -> Result<Tensor> {
        if self.rate <= 0.0 {
            return self.base.log_prob(z);
        }
        if self.rate >= 1.0 {
            return self.spike.log_prob(z);
        }
        let base = self.decisions(&self.base.log_density(z)?)?.affine(1.0, (-self.rate).ln_1p())?;
        let spike = self.decisions(&self.spike.log_density(z)?)?.affine(1.0, self.rate.ln())?;
        sum_event(&ops::log_add_exp(&base, &spike)?)
    }
}

impl Sample for DimensionMixture {
    fn sample(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let wide = |g: &DiagGaussian| -> Result<DiagGaussian> {
            DiagGaussian::new(repeat(g.mean(), n)?, repeat(g.variance(), n)?)
        };
        let this = Self { base: wide(&self.base)?, spike: wide(&self.spike)?, ..self.clone() };
        Ok(this.draw(noise)?.detach())
    }
}
