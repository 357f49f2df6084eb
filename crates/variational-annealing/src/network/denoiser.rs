//! The denoising autoencoder.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Result,
    nn::{BatchNorm, BatchNormMoments, Linear, LinearInit},
    ops,
};

use super::{LEAKY, norm};
use crate::config::{DenoiserConfig, SLOPE};

/// See [`DenoiserConfig`]. It gives a feature, not a correction of one.
#[derive(Clone, Debug)]
pub struct Denoiser {
    layers: Vec<Linear>,
    norms: Vec<BatchNorm>,
}

impl Denoiser {
    /// Asks `vb` for `layers.<i>` (`weight`, `bias`) and, with batch norm, `norms.<i>` of all but the last.
    /// Weights begin as normals with variance `1 / fan_in`.
    ///
    /// # Errors
    /// [`chains_core::Error::Config`] for a configuration out of range; if the builder holds tensors of
    /// other shapes.
    pub fn new(config: &DenoiserConfig, vb: VarBuilder<'_>) -> Result<Self> {
        config.validate()?;
        let (mut layers, mut norms) = (Vec::new(), Vec::new());
        let mut input = config.features;
        for (i, output) in config.hidden.iter().chain([&config.features]).enumerate() {
            let init = LinearInit::Normal(1.0 / (input as f64).sqrt());
            layers.push(Linear::new(input, *output, true, init, vb.pp("layers").pp(i))?);
            if config.batch_norm && i < config.hidden.len() {
                let config = norm(*output, true, LEAKY);
                norms.push(BatchNorm::configured(config, vb.pp("norms").pp(i))?);
            }
            input = *output;
        }
        Ok(Self { layers, norms })
    }

    /// `(b, F)` -> `(b, F)`.
    ///
    /// # Errors
    /// [`chains_core::Error::Shape`] for other rows.
    pub fn forward(&self, x: &Tensor, moments: &mut BatchNormMoments) -> Result<Tensor> {
        let mut h = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            h = layer.forward(&h)?;
            if i + 1 < self.layers.len() {
                h = match self.norms.get(i) {
                    Some(norm) => norm.forward(&h, moments)?,
                    None => ops::leaky_relu(&h, SLOPE)?,
                };
            }
        }
        Ok(h)
    }
}
