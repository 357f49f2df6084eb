//! Sizes of the networks.

use candle_core::Tensor;
use chains_core::{Error, Result, config::event_dim, ops};
use serde::{Deserialize, Serialize};

/// Slope of every leaky ReLU.
pub const SLOPE: f64 = 0.2;

/// Largest number of units, channels, components or outputs.
const WIDEST: usize = 1 << 16;

/// A network of a log density.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum EnergyConfig {
    /// A diagonal Gaussian without its normaliser.
    Gaussian {
        /// D.
        dim: usize,
    },
    /// A mixture of diagonal Gaussians, normalised.
    Mixture {
        /// D.
        dim: usize,
        /// Number of Gaussians.
        components: usize,
    },
    /// NICE with four couplings, normalised.
    Nice {
        /// D, even.
        dim: usize,
        /// Units of a hidden layer.
        hidden: usize,
        /// Hidden layers of a coupling.
        layers: usize,
    },
    /// Dense layers.
    Mlp {
        /// D.
        dim: usize,
        /// Units of the hidden layers.
        hidden: Vec<usize>,
        /// Number of classes, 1 for a density without classes.
        outputs: usize,
        /// Weight normalisation of the hidden layers.
        weight_norm: bool,
    },
    /// The discriminator of DCGAN.
    Dcgan {
        /// Side of the images: 64, 32 or 16.
        side: usize,
        /// Channels of the images.
        channels: usize,
        /// Channels of the first convolution.
        width: usize,
        /// Number of classes, or 1.
        outputs: usize,
    },
    /// A wide residual network for images of side 32.
    WideResNet {
        /// 4 more than a multiple of 6.
        depth: usize,
        /// How many times 16 channels the first stage has.
        widening: usize,
        /// Channels of the images.
        channels: usize,
        /// Number of classes, or 1.
        outputs: usize,
        /// Share of units that dropout leaves out in training.
        dropout: f64,
    },
    /// A residual network for images of side 32.
    ResNet {
        /// Channels of the images.
        channels: usize,
        /// Channels of the maps; 128 in the published code.
        width: usize,
        /// Number of classes, or 1.
        outputs: usize,
    },
}

impl EnergyConfig {
    /// Shape of an example.
    pub fn event(&self) -> Vec<usize> {
        match *self {
            Self::Gaussian { dim }
            | Self::Mixture { dim, .. }
            | Self::Nice { dim, .. }
            | Self::Mlp { dim, .. } => vec![dim],
            Self::Dcgan { side, channels, .. } => vec![channels, side, side],
            Self::WideResNet { channels, .. } | Self::ResNet { channels, .. } => {
                vec![channels, 32, 32]
            }
        }
    }

    /// K: number of classes, 1 for a density without.
    pub fn outputs(&self) -> usize {
        match *self {
            Self::Gaussian { .. } | Self::Mixture { .. } | Self::Nice { .. } => 1,
            Self::Mlp { outputs, .. }
            | Self::Dcgan { outputs, .. }
            | Self::WideResNet { outputs, .. }
            | Self::ResNet { outputs, .. } => outputs,
        }
    }

    /// Is `f` a log density with its constant?
    pub fn is_normalised(&self) -> bool {
        matches!(self, Self::Mixture { .. } | Self::Nice { .. })
    }

    /// Checks sizes.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Gaussian { dim } => sizes(&[("dim", *dim)]),
            Self::Mixture { dim, components } => {
                sizes(&[("dim", *dim), ("components", *components)])
            }
            Self::Nice { dim, hidden, layers } => {
                sizes(&[("dim", *dim), ("hidden", *hidden), ("layers", *layers)])?;
                refuse_unless(dim % 2 == 0, "dim", || format!("{dim} is not even"))
            }
            Self::Mlp { dim, hidden, outputs, .. } => {
                sizes(&[("dim", *dim), ("outputs", *outputs)])?;
                hidden.iter().try_for_each(|width| sizes(&[("hidden", *width)]))
            }
            Self::Dcgan { side, channels, width, outputs } => {
                halvings(*side)?;
                sizes(&[("channels", *channels), ("width", *width), ("outputs", *outputs)])
            }
            Self::WideResNet { depth, widening, channels, outputs, dropout } => {
                let fits = *depth >= 10 && depth % 6 == 4 && *depth <= 1000;
                refuse_unless(fits, "depth", || format!("{depth} is not 10, 16, 22, 28, .."))?;
                let share = (0.0..1.0).contains(dropout);
                refuse_unless(share, "dropout", || format!("{dropout} is not from 0 to below 1"))?;
                let widening = ("widening", *widening);
                sizes(&[widening, ("channels", *channels), ("outputs", *outputs)])
            }
            Self::ResNet { channels, width, outputs } => {
                sizes(&[("channels", *channels), ("width", *width), ("outputs", *outputs)])
            }
        }
    }
}

/// What follows the last layer of a generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// Nothing: data of any range.
    Linear,
    /// Images in `[-1, 1]`.
    Tanh,
    /// Images in `[0, 1]`.
    Sigmoid,
}

impl Output {
    pub(crate) fn of(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Linear => Ok(x.clone()),
            Self::Tanh => ops::tanh(x),
            Self::Sigmoid => ops::sigmoid(x),
        }
    }
}

/// What follows the batch norms of a dense generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GeneratorActivation {
    /// Toys.
    Relu,
    /// Flows and tables.
    Softplus,
}

/// A network of a generator's mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum GeneratorConfig {
    /// A dense layer.
    Linear {
        /// d.
        latent: usize,
        /// D.
        dim: usize,
    },
    /// Dense layers with batch norm.
    Mlp {
        /// d.
        latent: usize,
        /// Units of a hidden layer.
        width: usize,
        /// Hidden layers.
        layers: usize,
        /// D.
        dim: usize,
        /// What follows a batch norm.
        activation: GeneratorActivation,
        /// What follows the last layer.
        output: Output,
    },
    /// The generator of DCGAN, with a tanh.
    Dcgan {
        /// d.
        latent: usize,
        /// Side of the images: 64, 32 or 16.
        side: usize,
        /// Channels of the images.
        channels: usize,
        /// Channels before the last convolution.
        width: usize,
    },
    /// The residual generator of images of side 32.
    ResNet {
        /// d.
        latent: usize,
        /// Channels of the images.
        channels: usize,
        /// Channels of the maps.
        width: usize,
        /// What follows the last convolution.
        output: Output,
    },
}

impl GeneratorConfig {
    /// Two hidden layers with ReLU, two latent variables, points of the plane.
    pub fn toy(width: usize) -> Self {
        let (activation, output) = (GeneratorActivation::Relu, Output::Linear);
        Self::Mlp { latent: 2, width, layers: 2, dim: 2, activation, output }
    }

    /// Three hidden layers with softplus.
    pub fn softplus(latent: usize, width: usize, dim: usize) -> Self {
        let (activation, output) = (GeneratorActivation::Softplus, Output::Linear);
        Self::Mlp { latent, width, layers: 3, dim, activation, output }
    }

    /// d.
    pub fn latent(&self) -> usize {
        match *self {
            Self::Linear { latent, .. }
            | Self::Mlp { latent, .. }
            | Self::Dcgan { latent, .. }
            | Self::ResNet { latent, .. } => latent,
        }
    }

    /// Shape of a sample.
    pub fn event(&self) -> Vec<usize> {
        match *self {
            Self::Linear { dim, .. } | Self::Mlp { dim, .. } => vec![dim],
            Self::Dcgan { side, channels, .. } => vec![channels, side, side],
            Self::ResNet { channels, .. } => vec![channels, 32, 32],
        }
    }

    /// Checks sizes.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        sizes(&[("latent", self.latent())])?;
        match *self {
            Self::Linear { dim, .. } => sizes(&[("dim", dim)]),
            Self::Mlp { width, layers, dim, .. } => {
                refuse_unless(layers <= 64, "layers", || format!("{layers} is above 64"))?;
                sizes(&[("width", width), ("dim", dim)])
            }
            Self::Dcgan { side, channels, width, .. } => {
                halvings(side)?;
                sizes(&[("channels", channels), ("width", width)])
            }
            Self::ResNet { channels, width, .. } => {
                sizes(&[("channels", channels), ("width", width)])
            }
        }
    }
}

/// How often a DCGAN halves images of a side, and the side that is left.
pub(crate) fn halvings(side: usize) -> Result<[usize; 2]> {
    match side {
        64 => Ok([4, 4]),
        32 => Ok([4, 2]),
        16 => Ok([3, 2]),
        _ => {
            let reason = format!("{side} is none of 64, 32, 16");
            Err(Error::Config { field: "side", reason })
        }
    }
}

fn refuse_unless(holds: bool, field: &'static str, reason: impl Fn() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Config { field, reason: reason() }) }
}

/// Are all sizes positive and of a network that can be?
fn sizes(values: &[(&'static str, usize)]) -> Result<()> {
    for (field, value) in values {
        let most = if *field == "dim" { event_dim([*value, 1, 1]).unwrap_or(0) } else { WIDEST };
        let fits = (1..=most).contains(value);
        refuse_unless(fits, field, || format!("{value} is not from 1 to {WIDEST}"))?;
    }
    Ok(())
}
