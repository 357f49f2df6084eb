//! The network of energies of images (Table 7).

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Result,
    density::Energy,
    nn::{WeightNormConfig, WeightNormConv2d},
};

use super::{EnergyNetwork, skeleton::Skeleton};
use crate::config::ConvEnergyConfig;

/// Weight-normalised convolutions in residual blocks, a sum over positions and a linear layer, swish
/// divided by 1.1 between them.
///
/// Tensors are named as in the published checkpoints: `conv1`, `blocks.{i}.conv1`, `.conv2`,
/// `.skip.0`, `linear`. A network of trainable tensors is begun by [`EnergyNetwork::initialise`].
#[derive(Clone, Debug)]
pub struct ConvEnergy(Skeleton<WeightNormConv2d>);

impl ConvEnergy {
    /// Asks `vb` for the tensors of a configuration.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(config: &ConvEnergyConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let make = |conv, bias, vb: VarBuilder<'_>| {
            let config = match bias {
                true => WeightNormConfig::biased(conv),
                false => WeightNormConfig::unbiased(conv),
            };
            WeightNormConv2d::new(config, vb)
        };
        Ok(Self(Skeleton::new(config, &vb, make)?))
    }
}

impl Energy for ConvEnergy {
    /// `(b, channels, h, w)` with values in `[0, 1]` -> `(b,)`.
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        self.0.pass(x, |layer, x| layer.forward(x))
    }
}

impl EnergyNetwork for ConvEnergy {
    fn normalised(&self) -> Result<Self> {
        Ok(Self(self.0.map(WeightNormConv2d::normalised)?))
    }

    fn kernels(&self) -> Result<Vec<Tensor>> {
        self.0.layers().map(WeightNormConv2d::kernel).collect()
    }

    fn initialise(&self, x: &Tensor) -> Result<()> {
        self.0.pass(x, |layer, x| layer.initialise(x))?;
        Ok(())
    }
}
