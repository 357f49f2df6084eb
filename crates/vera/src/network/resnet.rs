//! The residual energy network for images of side 32 that the published code offers beside the wide
//! one.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Result,
    nn::{Conv2d, Conv2dConfig, Linear, LinearInit},
    tangent::Signal,
};

use super::EnergyNetwork;
use crate::config::SLOPE;

/// Two halving blocks and two more, leaky ReLU, the mean over space, a dense layer.
///
/// A block is `[leaky] conv3x3 leaky conv3x3`, both it and its shortcut averaged over 2x2 pixels where
/// it halves; the shortcut is a 1x1 convolution behind the average where channels change. The first
/// block has no leaky ReLU in front. Weights are Glorot uniform with gain `sqrt 2`, 1 in the first
/// convolution.
#[derive(Clone, Debug)]
pub struct ResNetEnergy {
    blocks: Vec<Block>,
    linear: Linear,
}

#[derive(Clone, Debug)]
struct Block {
    convolutions: [Conv2d; 2],
    shortcut: Option<Conv2d>,
    halves: bool,
    leaky_first: bool,
}

impl ResNetEnergy {
    /// Asks `vb` for `block{1..4}.conv{1,2}`, `block1.shortcut` and `linear`; the sizes are channels of
    /// the images, width, outputs.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new([channels, width, outputs]: [usize; 3], vb: VarBuilder<'_>) -> Result<Self> {
        let block = |i: usize| {
            let input = if i == 0 { channels } else { width };
            Block::new([input, width], i < 2, i > 0, vb.pp(format!("block{}", i + 1)))
        };
        let blocks = (0..4).map(block).collect::<Result<_>>()?;
        let linear = Linear::new(width, outputs, true, LinearInit::FanIn, vb.pp("linear"))?;
        Ok(Self { blocks, linear })
    }
}

impl Block {
    fn new(
        [input, output]: [usize; 2],
        halves: bool,
        leaky_first: bool,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let gain = 2_f64.sqrt();
        let first = if leaky_first { gain } else { 1.0 };
        let convolutions = [
            Conv2d::glorot(Conv2dConfig::same3(input, output), true, first, vb.pp("conv1"))?,
            Conv2d::glorot(Conv2dConfig::same3(output, output), true, gain, vb.pp("conv2"))?,
        ];
        let shortcut = if input == output {
            None
        } else {
            let config = Conv2dConfig { input, output, kernel: 1, stride: 1, padding: 0 };
            Some(Conv2d::glorot(config, true, gain, vb.pp("shortcut"))?)
        };
        Ok(Self { convolutions, shortcut, halves, leaky_first })
    }

    fn forward<S: Signal>(&self, x: &S) -> Result<S> {
        let h = if self.leaky_first { x.leaky_relu(SLOPE)? } else { x.clone() };
        let h = self.convolutions[0].forward(&h)?.leaky_relu(SLOPE)?;
        let h = self.convolutions[1].forward(&h)?;
        let halved = |x: &S| if self.halves { x.avg_pool2() } else { Ok(x.clone()) };
        let around = halved(x)?;
        match &self.shortcut {
            Some(shortcut) => halved(&h)?.add(&shortcut.forward(&around)?),
            None => halved(&h)?.add(&around),
        }
    }
}

impl EnergyNetwork for ResNetEnergy {
    fn logits<S: Signal>(&self, x: &S, _masks: &[Tensor]) -> Result<S> {
        let mut h = x.clone();
        for block in &self.blocks {
            h = block.forward(&h)?;
        }
        self.linear.forward(&h.leaky_relu(SLOPE)?.mean_space()?)
    }
}
