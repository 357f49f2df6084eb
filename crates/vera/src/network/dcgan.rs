//! The convolutional energy of stacked digits.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Result,
    nn::{Conv2d, Conv2dConfig},
    tangent::Signal,
};

use super::EnergyNetwork;
use crate::config::{SLOPE, halvings};

/// The discriminator of DCGAN without normalisation: convolutions of kernel 4 and stride 2 from `width`
/// channels on, doubling, leaky ReLUs of slope 0.2, then one of the size of what is left.
///
/// Images of side 64 are halved four times to 4, those of 32 four times to 2, those of 16 three times.
#[derive(Clone, Debug)]
pub struct DcganEnergy {
    convolutions: Vec<Conv2d>,
    outputs: usize,
}

impl DcganEnergy {
    /// Asks `vb` for `convolutions.<i>.weight` and, but for the last, `.bias`. The sizes are channels
    /// of the images, width, outputs.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(
        side: usize,
        [channels, width, outputs]: [usize; 3],
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let [halvings, last] = halvings(side)?;
        let vb = vb.pp("convolutions");
        let mut convolutions = Vec::new();
        let mut input = channels;
        for i in 0..halvings {
            let output = width << i;
            let config = Conv2dConfig { input, output, kernel: 4, stride: 2, padding: 1 };
            convolutions.push(Conv2d::fan_in(config, true, vb.pp(i))?);
            input = output;
        }
        let config = Conv2dConfig { input, output: outputs, kernel: last, stride: 1, padding: 0 };
        convolutions.push(Conv2d::fan_in(config, false, vb.pp(halvings))?);
        Ok(Self { convolutions, outputs })
    }
}

impl EnergyNetwork for DcganEnergy {
    fn logits<S: Signal>(&self, x: &S, _masks: &[Tensor]) -> Result<S> {
        let mut h = self.convolutions[0].forward(x)?;
        for convolution in &self.convolutions[1..] {
            h = convolution.forward(&h.leaky_relu(SLOPE)?)?;
        }
        h.reshape_event(&[self.outputs])
    }
}
