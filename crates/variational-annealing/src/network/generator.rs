//! The generator.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use chains_core::{
    Noise, Result,
    nn::{BatchNorm, BatchNormMoments, Conv2dConfig, ConvTranspose2d, Linear, LinearInit},
    ops::{self, NormActivation},
};

use super::{STDEV, norm};
use crate::config::GeneratorConfig;

/// See [`GeneratorConfig`].
#[derive(Clone, Debug)]
pub struct Generator {
    dense: Linear,
    convolutions: Vec<ConvTranspose2d>,
    norms: Vec<BatchNorm>,
    latent: usize,
    first: [usize; 3],
}

impl Generator {
    /// Asks `vb` for `dense` (`weight`, `bias`), `norms.<i>` (`weight`, `bias`, running moments; the first
    /// of the dense layer's units) and `convolutions.<i>` (`weight`, `bias`).
    ///
    /// # Errors
    /// [`chains_core::Error::Config`] for a layer that does not fit; if the builder holds tensors of other
    /// shapes.
    pub fn new(config: &GeneratorConfig, vb: VarBuilder<'_>) -> Result<Self> {
        config.shapes()?;
        let units = config.first.iter().product();
        let init = LinearInit::Normal(STDEV);
        let dense = Linear::new(config.latent, units, true, init, vb.pp("dense"))?;
        let relu = |channels, i| {
            let config = norm(channels, true, NormActivation::Relu);
            BatchNorm::configured(config, vb.pp("norms").pp(i))
        };
        let (mut convolutions, mut norms) = (Vec::new(), vec![relu(units, 0)?]);
        let mut input = config.first[0];
        for (i, layer) in config.layers.iter().enumerate() {
            let conv = Conv2dConfig {
                input,
                output: layer.output,
                kernel: layer.kernel,
                stride: layer.stride,
                padding: layer.padding,
            };
            let vb = vb.pp("convolutions").pp(i);
            convolutions.push(ConvTranspose2d::new(conv, true, STDEV, vb)?);
            if i + 1 < config.layers.len() {
                norms.push(relu(layer.output, i + 1)?);
            }
            input = layer.output;
        }
        Ok(Self { dense, convolutions, norms, latent: config.latent, first: config.first })
    }

    /// `n` latent rows, uniform in `[-1, 1]`: `(n, latent)`.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn latents(
        &self,
        n: usize,
        noise: &mut dyn Noise,
        (dtype, device): (DType, &Device),
    ) -> Result<Tensor> {
        let u = noise.uniform(&(n, self.latent).into(), dtype, device)?;
        Ok(u.affine(2.0, -1.0)?)
    }

    /// `(b, latent)` -> images `(b, c, h, w)` in `[-1, 1]`.
    ///
    /// # Errors
    /// [`chains_core::Error::Shape`] for other rows.
    pub fn forward(&self, z: &Tensor, moments: &mut BatchNormMoments) -> Result<Tensor> {
        let [c, h, w] = self.first;
        let units = self.norms[0].forward(&self.dense.forward(z)?, moments)?;
        let mut x = ops::reshape(&units, (z.dims()[0], c, h, w))?;
        for (i, convolution) in self.convolutions.iter().enumerate() {
            x = convolution.forward(&x)?;
            if let Some(norm) = self.norms.get(i + 1) {
                x = norm.forward(&x, moments)?;
            }
        }
        ops::tanh(&x)
    }
}
