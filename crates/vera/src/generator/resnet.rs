//! The residual generator of colour images of side 32.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Result,
    nn::{BatchNorm, BatchNormMoments, Conv2d, Conv2dConfig, Linear, LinearInit},
    ops,
};

use super::GeneratorNetwork;
use crate::config::Output;

/// A dense layer to maps of 4x4, three blocks that double them, batch norm, ReLU and a convolution to
/// the image (the generator of SN-GAN; names and layout are those of the published checkpoints).
///
/// A block is batch norm, ReLU, doubling by nearest neighbours, `conv3x3`, batch norm, ReLU, `conv3x3`,
/// plus the doubled input. Weights are Glorot uniform with gain `sqrt 2`, 1 in the dense layer.
#[derive(Clone, Debug)]
pub struct ResNetGenerator {
    input: Linear,
    blocks: Vec<Block>,
    norm: BatchNorm,
    last: Conv2d,
    latent: usize,
    width: usize,
    output: Output,
}

#[derive(Clone, Debug)]
struct Block {
    norms: [BatchNorm; 2],
    convolutions: [Conv2d; 2],
}

impl ResNetGenerator {
    /// Asks `vb` for `input_linear`, `block{1..3}.{bn1, conv1, bn2, conv2}`, `output_bn` and
    /// `output_conv`; the sizes are latent variables, channels of the images and width.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(
        [latent, channels, width]: [usize; 3],
        output: Output,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let gain = 2_f64.sqrt();
        let conv = |out: usize, vb: VarBuilder<'_>| {
            Conv2d::glorot(Conv2dConfig::same3(width, out), true, gain, vb)
        };
        let block = |k: usize| -> Result<Block> {
            let vb = vb.pp(format!("block{k}"));
            let norm = |name: &str| BatchNorm::new(width, true, vb.pp(name));
            Ok(Block {
                norms: [norm("bn1")?, norm("bn2")?],
                convolutions: [conv(width, vb.pp("conv1"))?, conv(width, vb.pp("conv2"))?],
            })
        };
        let dense = vb.pp("input_linear");
        Ok(Self {
            input: Linear::new(latent, 16 * width, true, LinearInit::GlorotUniform, dense)?,
            blocks: (1..=3).map(block).collect::<Result<_>>()?,
            norm: BatchNorm::new(width, true, vb.pp("output_bn"))?,
            last: conv(channels, vb.pp("output_conv"))?,
            latent,
            width,
            output,
        })
    }
}

impl Block {
    fn forward(&self, x: &Tensor, moments: &mut BatchNormMoments) -> Result<Tensor> {
        let [first, second] = &self.norms;
        let h = self.convolutions[0].forward_upsampled(&first.forward(x, moments)?)?;
        let h = second.forward(&h, moments)?;
        ops::add(&self.convolutions[1].forward(&h)?, &ops::upsample2(x)?)
    }
}

impl GeneratorNetwork for ResNetGenerator {
    fn mean(&self, z: &Tensor, moments: &mut BatchNormMoments) -> Result<Tensor> {
        let mut h = ops::reshape(&self.input.forward(z)?, (z.dims()[0], self.width, 4, 4))?;
        for block in &self.blocks {
            h = block.forward(&h, moments)?;
        }
        self.output.of(&self.last.forward(&self.norm.forward(&h, moments)?)?)
    }

    fn latent(&self) -> usize {
        self.latent
    }

    fn norms(&self) -> Vec<String> {
        let blocks = (1..=self.blocks.len())
            .flat_map(|k| [format!("block{k}.bn1"), format!("block{k}.bn2")]);
        blocks.chain(["output_bn".to_owned()]).collect()
    }
}
