//! Energy networks as plain structs; presets are the rows of Table 7.

use chains_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Largest number of channels, and of blocks: a foreign file cannot ask for more.
const WIDEST: usize = 1 << 12;
const MOST: usize = 1 << 6;

/// A network of energies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum EnergyConfig {
    /// Residual blocks on images.
    Convolutional(ConvEnergyConfig),
    /// Dense layers on points.
    Mlp {
        /// Numbers in a point.
        dim: usize,
        /// Widths of the hidden layers.
        hidden: Vec<usize>,
    },
}

/// A residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockConfig {
    /// Channels of its result.
    pub output: usize,
    /// Does it halve the resolution?
    pub down: bool,
}

/// A convolution, residual blocks, a sum over positions and a linear layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvEnergyConfig {
    /// Channels of an image.
    pub channels: usize,
    /// Height and width of an image; the network itself fits others too.
    pub side: usize,
    /// Channels behind the first convolution.
    pub width: usize,
    /// The blocks in their order.
    pub blocks: Vec<BlockConfig>,
}

const fn down(output: usize) -> BlockConfig {
    BlockConfig { output, down: true }
}

const fn same(output: usize) -> BlockConfig {
    BlockConfig { output, down: false }
}

impl ConvEnergyConfig {
    fn rgb(side: usize, width: usize, blocks: Vec<BlockConfig>) -> Self {
        Self { channels: 3, side, width, blocks }
    }

    /// CIFAR-10 (Table 7): 5,137,921 parameters.
    pub fn cifar10() -> Self {
        let blocks = vec![down(128), same(128), down(256), same(256), down(256), same(256)];
        Self::rgb(32, 128, blocks)
    }

    /// CelebA at 64 pixels (Table 7): 4,337,537 parameters.
    pub fn celeba64() -> Self {
        let blocks = vec![
            down(64),
            same(64),
            down(128),
            same(128),
            down(128),
            same(256),
            down(256),
            same(256),
        ];
        Self::rgb(64, 64, blocks)
    }

    /// LSUN church outdoor at 64 pixels (Table 7): 5,813,633 parameters.
    pub fn lsun_church64() -> Self {
        let blocks = vec![
            down(64),
            same(64),
            down(128),
            same(128),
            same(128),
            down(128),
            same(256),
            same(256),
            down(256),
            same(256),
        ];
        Self::rgb(64, 64, blocks)
    }

    /// CelebA-HQ at 256 pixels (Table 7): 14,207,105 parameters.
    pub fn celeba_hq256() -> Self {
        let widths = [64, 128, 128, 256, 256, 512];
        let blocks = widths.into_iter().flat_map(|width| [down(width), same(width)]).collect();
        Self::rgb(256, 64, blocks)
    }

    /// MNIST and StackedMNIST at 32 pixels, in the published code and not in the paper. With 64
    /// channels and RGB 679,553 parameters; our small ones have 16, 24 or 32.
    pub fn mnist(channels: usize, width: usize) -> Self {
        let blocks = vec![down(width), same(width), down(2 * width), same(2 * width)];
        Self { channels, side: 32, width, blocks }
    }

    /// Channels before the linear layer.
    pub fn features(&self) -> usize {
        self.blocks.last().map_or(self.width, |block| block.output)
    }

    fn validate(&self) -> Result<()> {
        let widths = [self.channels, self.width].into_iter();
        if widths.chain(self.blocks.iter().map(|block| block.output)).any(|width| width == 0) {
            let reason = "channels of images and layers must be one or more".into();
            return Err(Error::Config { field: "energy.width", reason });
        }
        if self.blocks.len() > MOST {
            let reason = format!("{} are more than {MOST}", self.blocks.len());
            return Err(Error::Config { field: "energy.blocks", reason });
        }
        let widest = self.blocks.iter().map(|block| block.output).max().unwrap_or(0);
        if widest.max(self.width).max(self.channels) > WIDEST {
            let reason = format!("channels must be at most {WIDEST}");
            return Err(Error::Config { field: "energy.width", reason });
        }
        let halvings = self.blocks.iter().filter(|block| block.down).count();
        if u32::try_from(halvings).ok().and_then(|n| self.side.checked_shr(n)).unwrap_or(0) == 0 {
            let reason = format!("{} pixels cannot be halved {halvings} times", self.side);
            return Err(Error::Config { field: "energy.side", reason });
        }
        Ok(())
    }
}

impl EnergyConfig {
    /// 25 Gaussians: two numbers, four dense layers of 256 (section 5.2 says so; swish between them is
    /// our choice).
    pub fn plane() -> Self {
        Self::Mlp { dim: 2, hidden: vec![256; 3] }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Convolutional(config) => config.validate(),
            Self::Mlp { dim, hidden } if *dim == 0 || hidden.contains(&0) => {
                let reason = "widths must be one or more".into();
                Err(Error::Config { field: "energy.hidden", reason })
            }
            Self::Mlp { .. } => Ok(()),
        }
    }
}
