//! The two potentials that chains in the noise space run on.

use candle_core::{Tensor, Var};
use chains_core::{Result, autograd::value_and_gradients, density::Energy, ops::gaussian_log_prob};
use serde::{Deserialize, Serialize};

use crate::noise_decoder::{Decoded, JointNoise, NoiseDecoder, NoiseShapes};

/// `ln(2 pi) / 2`.
const HALF_LN_TWO_PI: f64 = 0.918_938_533_204_672_7;

/// What is added to the energy of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Potential {
    /// `E(x(e)) + |e|^2 / 2`, the density of the noise under the model (equation 9, up to a constant).
    /// Clamping is a part of `E`; pixels that are clamped keep their `e^2 / 2`.
    Paper,
    /// `E(x(e)) - sum_l ln N(z_l; mean_l, scale_l) - ln N(y; mean_x, floored_scale_x)`, what the
    /// published program differentiates, `y` the clamped pixels.
    ///
    /// The Jacobian of the map from noise is missing, so this is another density: chains are pulled
    /// to where later groups have small scales. A clamped pixel exerts no force on its noise. Only to
    /// repeat published scores of images.
    Official,
}

impl std::fmt::Display for Potential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Paper => "paper",
            Self::Official => "official",
        })
    }
}

/// A potential at the noise of a batch; everything detached.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// The potential, `(b,)`, nats.
    pub potential: Tensor,
    /// The energy of the image alone, `(b,)`.
    pub energy: Tensor,
    /// Gradient of the potential in all noise, example by example.
    pub grad: JointNoise,
}

/// The noise space of a decoder with an energy on its images.
///
/// As an [`Energy`] it is the potential of positions `(b, D)`, latent groups in their order and then
/// pixels ([`JointNoise::flat`]), so that every kernel of [`chains_core::mcmc`] moves on it. Decoder and
/// energy network should hold detached parameters.
#[derive(Clone, Debug)]
pub struct NoiseSpace<D, E> {
    decoder: D,
    energy: E,
    potential: Potential,
    shapes: NoiseShapes,
}

impl<D: NoiseDecoder, E: Energy> NoiseSpace<D, E> {
    /// The space of that decoder and that energy of images.
    pub fn new(decoder: D, energy: E, potential: Potential) -> Self {
        let shapes = decoder.noise_shapes();
        Self { decoder, energy, potential, shapes }
    }

    /// The decoder.
    pub fn decoder(&self) -> &D {
        &self.decoder
    }

    /// The energy of images.
    pub fn image_energy(&self) -> &E {
        &self.energy
    }

    /// The potential in use.
    pub fn potential(&self) -> Potential {
        self.potential
    }

    /// The shapes of the noise.
    pub fn shapes(&self) -> &NoiseShapes {
        &self.shapes
    }

    /// Potential and gradient in all groups and pixels at once.
    ///
    /// The quadratic terms are not differentiated but added: `z_l` is affine in its own noise, so
    /// that `-ln N(z_l)` is `|e_l|^2 / 2 + sum ln scale_l` and a constant.
    ///
    /// # Errors
    /// Of decoder and energy.
    pub fn evaluate(&self, noise: &JointNoise) -> Result<Evaluated> {
        noise.check(&self.shapes)?;
        let var = |tensor: &Tensor| Var::from_tensor(&tensor.detach());
        let latents: Vec<Var> =
            noise.latents.iter().map(var).collect::<candle_core::Result<_>>()?;
        let pixels = var(&noise.pixels)?;
        let mut energy = None;
        let (rest, grads) = value_and_gradients(|| {
            let latents = latents.iter().map(|var| var.as_tensor().clone()).collect();
            let at = JointNoise { latents, pixels: pixels.as_tensor().clone() };
            let decoded = self.decoder.decode(&at)?;
            let of_image = self.energy.energy(&decoded.image)?;
            energy = Some(of_image.detach());
            match self.potential {
                Potential::Paper => Ok(of_image),
                Potential::Official => Ok((of_image + official_terms(&decoded)?)?),
            }
        })?;
        let grad = |var: &Var| match grads.get(var.as_tensor()) {
            Some(grad) => Ok(grad.detach()),
            None => var.as_detached_tensor().zeros_like(),
        };
        let with_pull = |var: &Var| grad(var)? + var.as_detached_tensor();
        let grad = JointNoise {
            latents: latents.iter().map(with_pull).collect::<candle_core::Result<_>>()?,
            pixels: match self.potential {
                Potential::Paper => with_pull(&pixels)?,
                Potential::Official => grad(&pixels)?,
            },
        };
        let potential = (&rest + self.quadratic(noise)?)?.detach();
        Ok(Evaluated { potential, energy: energy.unwrap_or(rest), grad })
    }

    /// Decodes noise and takes the energy of the images, `(b,)`; all detached.
    ///
    /// # Errors
    /// Of decoder and energy.
    pub fn decode(&self, noise: &JointNoise) -> Result<(Decoded, Tensor)> {
        noise.check(&self.shapes)?;
        let decoded = self.decoder.decode(noise)?;
        let energy = self.energy.energy(&decoded.image)?.detach();
        Ok((decoded, energy))
    }

    /// What the potential has of the noise itself, `(b,)`.
    fn quadratic(&self, noise: &JointNoise) -> Result<Tensor> {
        let mut sum = match self.potential {
            Potential::Paper => half_square(&noise.pixels)?,
            Potential::Official => {
                let constant = HALF_LN_TWO_PI * self.shapes.latent_width() as f64;
                let zero = noise.pixels.zeros_like()?.flatten_from(1)?.sum(1)?;
                (zero + constant)?
            }
        };
        for latent in &noise.latents {
            sum = (sum + half_square(latent)?)?;
        }
        Ok(sum)
    }
}

/// `|t|^2 / 2` of each example.
fn half_square(tensor: &Tensor) -> Result<Tensor> {
    Ok((tensor.flatten_from(1)?.sqr()?.sum(1)? * 0.5)?)
}

/// What autodiff has to see of the official potential: `sum_l sum ln scale_l - ln N(y)`, `(b,)`.
fn official_terms(decoded: &Decoded) -> Result<Tensor> {
    let law = &decoded.law;
    let contiguous = |tensor: &Tensor| tensor.contiguous();
    let mut sum = gaussian_log_prob(
        &contiguous(&decoded.clamped)?,
        &contiguous(&law.mean)?,
        &contiguous(&law.floored_scale.sqr()?)?,
    )?
    .neg()?;
    for group in &decoded.groups {
        sum = (sum + group.scale.log()?.flatten_from(1)?.sum(1)?)?;
    }
    Ok(sum)
}

impl<D: NoiseDecoder, E: Energy> Energy for NoiseSpace<D, E> {
    fn energy(&self, position: &Tensor) -> Result<Tensor> {
        let noise = JointNoise::split(position, &self.shapes)?;
        let decoded = self.decoder.decode(&noise)?;
        let energy = (self.energy.energy(&decoded.image)? + self.quadratic(&noise)?)?;
        match self.potential {
            Potential::Paper => Ok(energy),
            Potential::Official => Ok((energy + official_terms(&decoded)?)?),
        }
    }

    fn energy_and_grad(&self, position: &Tensor) -> Result<(Tensor, Tensor)> {
        let found = self.evaluate(&JointNoise::from_flat(position, &self.shapes)?)?;
        Ok((found.potential, found.grad.flat()?))
    }
}
