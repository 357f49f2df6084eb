//! The convolutional generator of stacked digits.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Result,
    nn::{BatchNorm, BatchNormMoments, Conv2dConfig, ConvTranspose2d},
    ops,
};

use super::GeneratorNetwork;
use crate::config::halvings;

/// The generator of DCGAN: transposed convolutions of kernel 4 and stride 2, batch norm and ReLU, down
/// to `width` channels and then the image, with a tanh.
#[derive(Clone, Debug)]
pub struct DcganGenerator {
    hidden: Vec<(ConvTranspose2d, BatchNorm)>,
    last: ConvTranspose2d,
    latent: usize,
}

impl DcganGenerator {
    /// Asks `vb` for `convolutions.<i>.weight` (the last has a `bias`) and `norms.<i>.*`.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(
        latent: usize,
        side: usize,
        [channels, width]: [usize; 2],
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let [halvings, first] = halvings(side)?;
        let mut hidden = Vec::new();
        let mut input = latent;
        for i in 0..halvings {
            let output = width << (halvings - 1 - i);
            let config = if i == 0 {
                Conv2dConfig { input, output, kernel: first, stride: 1, padding: 0 }
            } else {
                Conv2dConfig { input, output, kernel: 4, stride: 2, padding: 1 }
            };
            let layer = ConvTranspose2d::fan_in(config, false, vb.pp("convolutions").pp(i))?;
            hidden.push((layer, BatchNorm::new(output, true, vb.pp("norms").pp(i))?));
            input = output;
        }
        let config = Conv2dConfig { input, output: channels, kernel: 4, stride: 2, padding: 1 };
        let last = ConvTranspose2d::fan_in(config, true, vb.pp("convolutions").pp(halvings))?;
        Ok(Self { hidden, last, latent })
    }
}

impl GeneratorNetwork for DcganGenerator {
    fn mean(&self, z: &Tensor, moments: &mut BatchNormMoments) -> Result<Tensor> {
        let mut h = ops::reshape(z, (z.dims()[0], self.latent, 1, 1))?;
        for (layer, norm) in &self.hidden {
            h = norm.forward(&layer.forward(&h)?, moments)?;
        }
        ops::tanh(&self.last.forward(&h)?)
    }

    fn latent(&self) -> usize {
        self.latent
    }

    fn norms(&self) -> Vec<String> {
        (0..self.hidden.len()).map(|i| format!("norms.{i}")).collect()
    }
}
