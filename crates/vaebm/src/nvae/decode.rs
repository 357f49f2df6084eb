//! The autoencoder as a map of noise to images.

use candle_core::{DType, Device, Tensor};
use chains_core::{Error, Noise, Result};

use super::{Inferred, Nvae, Pass, Pixels};
use crate::{
    config::Head,
    noise_decoder::{Decoded, Group, JointNoise, NoiseDecoder, NoiseShapes, PixelLaw, PixelRange},
};

/// An autoencoder with a Gaussian head in evaluation, whose noise chains move.
///
/// Build the network of a frozen view with [`Nvae::fixed`]: then a step of a chain computes neither
/// kernels nor gradients of weights.
#[derive(Clone, Debug)]
pub struct NvaeDecoder(Nvae);

impl NvaeDecoder {
    /// Of a network with a Gaussian head.
    ///
    /// # Errors
    /// [`Error::Config`] for another head: its pixels are not continuous.
    pub fn new(network: Nvae) -> Result<Self> {
        match network.config.head {
            Head::Gaussian { .. } => Ok(Self(network)),
            other => {
                let reason = format!("chains need continuous pixels, not those of {other:?}");
                Err(Error::Config { field: "head", reason })
            }
        }
    }

    /// The network.
    pub fn network(&self) -> &Nvae {
        &self.0
    }
}

impl NoiseDecoder for NvaeDecoder {
    fn noise_shapes(&self) -> NoiseShapes {
        let config = &self.0.config;
        let latents = config.latent_shapes().iter().map(|shape| shape.to_vec()).collect();
        NoiseShapes { latents, pixels: config.event().to_vec() }
    }

    fn dtype(&self) -> DType {
        self.0.dtype
    }

    fn device(&self) -> Device {
        self.0.device.clone()
    }

    fn decode(&self, noise: &JointNoise) -> Result<Decoded> {
        noise.check(&self.noise_shapes())?;
        let generated = self.0.generate(&noise.latents, 1.0, &mut Pass::evaluation())?;
        let groups = generated.groups.into_iter().map(|group| Group {
            mean: group.prior.mean,
            scale: group.prior.scale,
            z: group.z,
        });
        let law = pixel_law(generated.pixels)?;
        Decoded::new(groups.collect(), law, &noise.pixels, PixelRange::Unit)
    }
}

fn pixel_law(pixels: Pixels) -> Result<PixelLaw> {
    match pixels {
        Pixels::Gaussian { law, floored_scale } => {
            Ok(PixelLaw { mean: law.mean, scale: law.scale, floored_scale })
        }
        _ => {
            let reason = "the pixels are not those of a Gaussian".into();
            Err(Error::Config { field: "head", reason })
        }
    }
}

impl Nvae {
    /// [`Inferred::log_weight`] of one draw of the posterior for every image, in evaluation: what
    /// [`importance_weights`](crate::importance_weights) asks for.
    ///
    /// # Shapes
    /// `x`: `(b, c, h, w)` in `[0, 1]`; the result `(b,)`.
    ///
    /// # Errors
    /// As [`Nvae::infer`].
    pub fn log_weights(&self, x: &Tensor, margin: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let latents = self.draw_latents(x.dims().first().copied().unwrap_or(0), noise)?;
        self.infer(x, &latents, &mut Pass::evaluation())?.log_weight(x, margin)
    }
}

impl Inferred {
    /// The noise that the model makes these latent variables and the images `x` of, at temperature 1:
    /// where chains may begin that are to stay near given images (VAEBM, appendix on CelebA-HQ).
    ///
    /// # Shapes
    /// `x`: the images that were encoded, or others of their shape, in `[0, 1]`.
    ///
    /// # Errors
    /// [`Error::Config`] for another head than a Gaussian, [`Error::Tensor`] for another shape.
    pub fn joint_noise(&self, x: &Tensor) -> Result<JointNoise> {
        let latents = self
            .groups
            .iter()
            .map(|group| group.prior.noise_of(&group.z))
            .collect::<Result<_>>()?;
        let law = pixel_law(self.pixels.clone())?;
        let pixels = x.affine(2.0, -1.0)?.sub(&law.mean)?.div(&law.scale)?;
        Ok(JointNoise { latents, pixels })
    }

    /// `ln p(x|z) + ln p(z) - ln q(z|x)` without the outermost `margin` pixels, `(b,)`: the mean over draws
    /// is a lower bound of `ln p(x)`, the logarithm of the mean of its exponential a tighter one (Burda and
    /// others 2016).
    ///
    /// # Errors
    /// As [`Pixels::log_prob`].
    pub fn log_weight(&self, x: &Tensor, margin: usize) -> Result<Tensor> {
        let mut sum = self.pixels.log_prob(x, margin)?;
        for group in &self.groups {
            sum = ((sum + &group.log_prior)? - &group.log_posterior)?;
        }
        Ok(sum)
    }
}
