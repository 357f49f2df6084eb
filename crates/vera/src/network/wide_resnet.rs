//! The wide residual network of joint energy models.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use chains_core::{
    Noise, Result,
    nn::{Conv2d, Conv2dConfig, Linear, LinearInit},
    tangent::Signal,
};

use super::EnergyNetwork;
use crate::config::SLOPE;

/// A wide residual network without normalisation (Zagoruyko and Komodakis 2016): `conv3x3`, three
/// stages of `(depth - 4) / 6` blocks with `16 w`, `32 w` and `64 w` channels, leaky ReLU of slope 0.2, the mean
/// over space, a dense layer.
///
/// A block is `conv3x3(leaky(x))`, dropout, `conv3x3(leaky(.))` plus the shortcut of `x`, which is a
/// 1x1 convolution where the shape changes. The stride of a stage stands in its first block's *second*
/// convolution. Names and layout are those of the published checkpoints.
#[derive(Clone, Debug)]
pub struct WideResNet {
    first: Conv2d,
    blocks: Vec<Block>,
    linear: Linear,
    dropout: f64,
}

#[derive(Clone, Debug)]
struct Block {
    convolutions: [Conv2d; 2],
    shortcut: Option<Conv2d>,
    /// Channels within, and how many times smaller than the image its first map is.
    inner: [usize; 2],
}

impl WideResNet {
    /// Asks `vb` for the 58 tensors of the published names, or those of other sizes: depth, widening,
    /// channels of the images, outputs.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(
        [depth, widening, channels, outputs]: [usize; 4],
        dropout: f64,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let per_stage = (depth - 4) / 6;
        let first = Conv2d::fan_in(Conv2dConfig::same3(channels, 16), true, vb.pp("conv1"))?;
        let (mut blocks, mut input, mut shrunk) = (Vec::new(), 16, 1);
        for stage in 0..3 {
            let output = (16 * widening) << stage;
            for i in 0..per_stage {
                let stride = if stage > 0 && i == 0 { 2 } else { 1 };
                let vb = vb.pp(format!("layer{}", stage + 1)).pp(i);
                blocks.push(Block::new([input, output], stride, shrunk, vb)?);
                shrunk *= stride;
                input = output;
            }
        }
        let linear = Linear::new(input, outputs, true, LinearInit::FanIn, vb.pp("linear"))?;
        Ok(Self { first, blocks, linear, dropout })
    }
}

impl Block {
    fn new(
        [input, output]: [usize; 2],
        stride: usize,
        shrunk: usize,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let second = Conv2dConfig { stride, ..Conv2dConfig::same3(output, output) };
        let convolutions = [
            Conv2d::fan_in(Conv2dConfig::same3(input, output), true, vb.pp("conv1"))?,
            Conv2d::fan_in(second, true, vb.pp("conv2"))?,
        ];
        let shortcut = if stride == 1 && input == output {
            None
        } else {
            let config = Conv2dConfig { input, output, kernel: 1, stride, padding: 0 };
            Some(Conv2d::fan_in(config, true, vb.pp("shortcut").pp(0))?)
        };
        Ok(Self { convolutions, shortcut, inner: [output, shrunk] })
    }

    fn forward<S: Signal>(&self, x: &S, mask: Option<&Tensor>) -> Result<S> {
        let mut h = self.convolutions[0].forward(&x.leaky_relu(SLOPE)?)?;
        if let Some(mask) = mask {
            h = h.masked(mask)?;
        }
        let h = self.convolutions[1].forward(&h.leaky_relu(SLOPE)?)?;
        match &self.shortcut {
            Some(shortcut) => h.add(&shortcut.forward(x)?),
            None => h.add(x),
        }
    }
}

/// Side of the images.
const SIDE: usize = 32;

impl EnergyNetwork for WideResNet {
    fn logits<S: Signal>(&self, x: &S, masks: &[Tensor]) -> Result<S> {
        let mut h = self.first.forward(x)?;
        for (i, block) in self.blocks.iter().enumerate() {
            h = block.forward(&h, masks.get(i))?;
        }
        self.linear.forward(&h.leaky_relu(SLOPE)?.mean_space()?)
    }

    fn masks(&self, n: usize, noise: &mut dyn Noise) -> Result<Vec<Tensor>> {
        if self.dropout <= 0.0 {
            return Ok(Vec::new());
        }
        let one = |block: &Block| -> Result<Tensor> {
            let [channels, shrunk] = block.inner;
            let side = SIDE / shrunk;
            let device: &Device = self.linear.weight().device();
            let u = noise.uniform(&(n, channels, side, side).into(), DType::F32, device)?;
            let kept = u.ge(self.dropout)?.to_dtype(self.linear.weight().dtype())?;
            Ok((kept * (1.0 / (1.0 - self.dropout)))?)
        };
        self.blocks.iter().map(one).collect()
    }
}
