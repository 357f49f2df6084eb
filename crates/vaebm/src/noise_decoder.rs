//! From standard normal noise to images: what chains in the noise space need of a generator.

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Error, Noise, Result, host,
    ops::{self, Span},
};

/// The noise of a batch: every coordinate is standard normal before a chain moves it.
#[derive(Clone, Debug)]
pub struct JointNoise {
    /// Noise of the latent groups in the order of generation, `(b, ..group)` each.
    pub latents: Vec<Tensor>,
    /// Noise of the pixels, `(b, ..event)`.
    pub pixels: Tensor,
}

/// The shapes of [`JointNoise`] without the axis of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoiseShapes {
    /// Of each latent group.
    pub latents: Vec<Vec<usize>>,
    /// Of an image.
    pub pixels: Vec<usize>,
}

impl NoiseShapes {
    /// Numbers in the latent groups of one example.
    pub fn latent_width(&self) -> usize {
        self.latents.iter().map(|dims| dims.iter().product::<usize>()).sum()
    }

    /// Numbers in all noise of one example, `D`.
    pub fn width(&self) -> usize {
        self.latent_width() + self.pixels.iter().product::<usize>()
    }
}

impl JointNoise {
    /// Fresh noise of `b` examples: groups in their order, then pixels.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn normal(
        b: usize,
        shapes: &NoiseShapes,
        noise: &mut dyn Noise,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let mut draw = |dims: &[usize]| {
            let shape = [&[b], dims].concat();
            noise.normal(&shape.into(), dtype, device)
        };
        let latents = shapes.latents.iter().map(|dims| draw(dims)).collect::<Result<_>>()?;
        Ok(Self { latents, pixels: draw(&shapes.pixels)? })
    }

    /// Number of examples.
    pub fn batch(&self) -> usize {
        self.pixels.dims().first().copied().unwrap_or(0)
    }

    /// Are the shapes those, with one batch for all?
    ///
    /// # Errors
    /// [`Error::Shape`] if not.
    pub fn check(&self, shapes: &NoiseShapes) -> Result<()> {
        let b = self.batch();
        let fits = |tensor: &Tensor, dims: &[usize]| tensor.dims() == [&[b], dims].concat();
        let groups = self.latents.len() == shapes.latents.len()
            && self.latents.iter().zip(&shapes.latents).all(|(tensor, dims)| fits(tensor, dims));
        if groups && fits(&self.pixels, &shapes.pixels) {
            return Ok(());
        }
        let expected =
            format!("(b, ..) of latents {:?}, pixels {:?}", shapes.latents, shapes.pixels);
        let got = self.latents.iter().chain([&self.pixels]).flat_map(|t| t.dims().to_vec());
        Err(Error::Shape { what: "noise", expected, got: got.collect() })
    }

    /// All coordinates of an example in a row, groups in their order, then pixels.
    ///
    /// # Shapes
    /// The result: `(b, D)`, detached.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn flat(&self) -> Result<Tensor> {
        let b = self.batch();
        let rows = |tensor: &Tensor| tensor.detach().reshape((b, tensor.elem_count() / b.max(1)));
        let rows = self.latents.iter().chain([&self.pixels]).map(rows);
        Ok(Tensor::cat(&rows.collect::<candle_core::Result<Vec<_>>>()?, 1)?)
    }

    /// The inverse of [`JointNoise::flat`]: `(b, D)` -> noise, detached.
    ///
    /// # Errors
    /// [`Error::Shape`] if the width is another.
    pub fn from_flat(flat: &Tensor, shapes: &NoiseShapes) -> Result<Self> {
        Self::split(&flat.detach(), shapes)
    }

    /// [`JointNoise::from_flat`], differentiable.
    pub(crate) fn split(flat: &Tensor, shapes: &NoiseShapes) -> Result<Self> {
        if flat.rank() != 2 || flat.dims()[1] != shapes.width() {
            let expected = format!("(b, {})", shapes.width());
            return Err(Error::Shape { what: "noise", expected, got: flat.dims().to_vec() });
        }
        // A map of one row, whose parts are copied without a graph of candle's.
        let map = ops::reshape(flat, (flat.dims()[0], 1, 1, flat.dims()[1]))?;
        let mut at = 0;
        let mut take = |dims: &[usize]| -> Result<Tensor> {
            let width = dims.iter().product();
            let one = Span::new(0, 1);
            let part = ops::part(&map, [one, one, Span::new(at, width)])?;
            at += width;
            ops::reshape(&part, [&[flat.dims()[0]], dims].concat())
        };
        let latents = shapes.latents.iter().map(|dims| take(dims)).collect::<Result<_>>()?;
        Ok(Self { latents, pixels: take(&shapes.pixels)? })
    }
}

/// The range of what a decoder emits, and of the images made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelRange {
    /// The decoder works in `[-1, 1]`: `y = clamp(raw, -1, 1)`, `x = (y + 1) / 2` in `[0, 1]`, mean
    /// image `(mean + 1) / 2`, which may leave `[0, 1]`.
    Unit,
    /// Points of a plane: `x = raw`.
    Plain,
}

/// The law of one latent group and what was drawn from it, `(b, ..group)` each.
#[derive(Clone, Debug)]
pub struct Group {
    /// Mean of the prior given the groups before.
    pub mean: Tensor,
    /// Standard deviation of the prior given the groups before.
    pub scale: Tensor,
    /// `z = mean + scale noise`.
    pub z: Tensor,
}

/// The Gaussian of the pixels, `(b, ..event)` each, in the range of the decoder.
#[derive(Clone, Debug)]
pub struct PixelLaw {
    /// Mean.
    pub mean: Tensor,
    /// Standard deviation that pixels are drawn with, `exp(c(s)) + floor`.
    pub scale: Tensor,
    /// Standard deviation that the official program scores them with,
    /// `exp(max(c(s), -2)) + floor`; the same as `scale` for decoders that know no second one.
    pub floored_scale: Tensor,
}

/// Everything between noise and image.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The latent groups in the order of generation.
    pub groups: Vec<Group>,
    /// The law of the pixels.
    pub law: PixelLaw,
    /// `mean + scale noise`, in the range of the decoder.
    pub raw: Tensor,
    /// [`Decoded::raw`] clamped to the range of the decoder: where densities are taken.
    pub clamped: Tensor,
    /// The image that an energy sees: [`Decoded::clamped`] in the range of images.
    pub image: Tensor,
    range: PixelRange,
}

impl Decoded {
    /// The image of pixel noise under a law.
    ///
    /// # Shapes
    /// `pixels` and the parts of `law`: `(b, ..event)`.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn new(
        groups: Vec<Group>,
        law: PixelLaw,
        pixels: &Tensor,
        range: PixelRange,
    ) -> Result<Self> {
        let raw = (&law.mean + (&law.scale * pixels)?)?;
        let (clamped, image) = match range {
            PixelRange::Unit => {
                let clamped = raw.clamp(-1.0, 1.0)?;
                let image = clamped.affine(0.5, 0.5)?;
                (clamped, image)
            }
            PixelRange::Plain => (raw.clone(), raw.clone()),
        };
        Ok(Self { groups, law, raw, clamped, image, range })
    }

    /// The decoder's mean as an image, not clamped.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn mean_image(&self) -> Result<Tensor> {
        match self.range {
            PixelRange::Unit => Ok(self.law.mean.affine(0.5, 0.5)?),
            PixelRange::Plain => Ok(self.law.mean.clone()),
        }
    }

    /// The share of pixels that were clamped, in `[0, 1]`.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn clamped_share(&self) -> Result<f64> {
        self.beyond()?.map_or(Ok(0.0), |share| host::scalar(&share))
    }

    /// The same on the device; none where nothing is clamped.
    pub(crate) fn beyond(&self) -> Result<Option<Tensor>> {
        if self.range == PixelRange::Plain || self.raw.elem_count() == 0 {
            return Ok(None);
        }
        let raw = self.raw.detach();
        Ok(Some(raw.abs()?.gt(1.0)?.to_dtype(raw.dtype())?.mean_all()?))
    }
}

/// A generator as a deterministic map of standard normal noise (VAEBM, section 3.2).
///
/// A decoder that chains run on holds detached parameters, so that a gradient in the noise computes
/// none of the weights.
pub trait NoiseDecoder {
    /// The shapes of the noise of one example.
    fn noise_shapes(&self) -> NoiseShapes;

    /// Type of the numbers.
    fn dtype(&self) -> DType;

    /// Where the parameters are.
    fn device(&self) -> Device;

    /// `z_l = mean_l(z_1..z_{l-1}) + scale_l(..) noise_l` group after group, then the pixels.
    ///
    /// Every result is differentiable in the noise.
    ///
    /// # Errors
    /// [`Error::Shape`] unless the noise has the shapes of [`NoiseDecoder::noise_shapes`].
    fn decode(&self, noise: &JointNoise) -> Result<Decoded>;

    /// Fresh noise of `b` examples.
    ///
    /// # Errors
    /// If the device cannot hold it.
    fn draw_noise(&self, b: usize, noise: &mut dyn Noise) -> Result<JointNoise> {
        JointNoise::normal(b, &self.noise_shapes(), noise, self.dtype(), &self.device())
    }
}

impl<D: NoiseDecoder + ?Sized> NoiseDecoder for &D {
    fn noise_shapes(&self) -> NoiseShapes {
        (**self).noise_shapes()
    }

    fn dtype(&self) -> DType {
        (**self).dtype()
    }

    fn device(&self) -> Device {
        (**self).device()
    }

    fn decode(&self, noise: &JointNoise) -> Result<Decoded> {
        (**self).decode(noise)
    }
}
