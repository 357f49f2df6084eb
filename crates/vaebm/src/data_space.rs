//! The product density over images and latent variables themselves, without reparameterisation: what
//! chains would run on if there were no noise space.

use candle_core::Tensor;
use chains_core::{Error, Result, density::Energy};

use crate::{
    noise_decoder::{JointNoise, NoiseShapes},
    nvae::{NvaeDecoder, Pass},
};

/// `-ln h(x, z) = E(x) - ln p(x|z) - sum_l ln p(z_l|z_<l)` up to `ln Z` (equation 3; appendix B.1 runs
/// chains on it, with one step size for coordinates whose scales differ by orders of magnitude).
///
/// A position is `(b, D)`: latent groups in their order, then pixels in the decoder's range `[-1, 1]`,
/// which chains may leave; the energy sees them clamped.
#[derive(Debug)]
pub struct DataSpace<'a, E> {
    decoder: &'a NvaeDecoder,
    energy: E,
    shapes: NoiseShapes,
}

impl<'a, E: Energy> DataSpace<'a, E> {
    /// Of a decoder with Gaussian pixels and an energy of images in `[0, 1]`.
    pub fn new(decoder: &'a NvaeDecoder, energy: E) -> Self {
        let shapes = crate::NoiseDecoder::noise_shapes(&decoder);
        Self { decoder, energy, shapes }
    }

    /// Shapes of the parts of a position.
    pub fn shapes(&self) -> &NoiseShapes {
        &self.shapes
    }

    /// Where the noise leads: `(z, x)` as a position, `(b, D)`, detached.
    ///
    /// # Errors
    /// [`Error::Shape`] for other noise.
    pub fn of_noise(&self, noise: &JointNoise) -> Result<Tensor> {
        noise.check(&self.shapes)?;
        let decoded = crate::NoiseDecoder::decode(&self.decoder, noise)?;
        let latents = decoded.groups.into_iter().map(|group| group.z).collect();
        JointNoise { latents, pixels: decoded.raw }.flat()
    }

    /// The decoder's mean image of a position's latent variables, not clamped, and the position's own
    /// image in `[0, 1]`; both `(b, ..event)` and detached.
    ///
    /// # Errors
    /// [`Error::Shape`] for another width.
    pub fn images(&self, position: &Tensor) -> Result<[Tensor; 2]> {
        let at = JointNoise::from_flat(position, &self.shapes)?;
        let (_, generated) =
            self.decoder.network().noise_of(&at.latents, &mut Pass::evaluation())?;
        Ok([generated.pixels.mean()?.detach(), unit(&at.pixels)?])
    }
}

fn unit(y: &Tensor) -> Result<Tensor> {
    Ok(y.clamp(-1.0, 1.0)?.affine(0.5, 0.5)?)
}

impl<E: Energy> Energy for DataSpace<'_, E> {
    fn energy(&self, position: &Tensor) -> Result<Tensor> {
        let at = JointNoise::split(position, &self.shapes)?;
        let (_, generated) =
            self.decoder.network().noise_of(&at.latents, &mut Pass::evaluation())?;
        let Some(b) = position.dims().first() else {
            let expected = format!("(b, {})", self.shapes.width());
            return Err(Error::Shape { what: "position", expected, got: vec![] });
        };
        let image = unit(&at.pixels)?;
        let pixels = at.pixels.affine(0.5, 0.5)?;
        let mut sum = (self.energy.energy(&image)? - generated.pixels.log_prob(&pixels, 0)?)?;
        for group in &generated.groups {
            sum = (sum - group.prior.log_prob(&group.z)?)?;
        }
        Ok(sum.reshape(*b)?)
    }
}
