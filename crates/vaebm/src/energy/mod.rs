//! Energy networks: what makes some images of the autoencoder less likely than it thinks.

mod convolutional;
mod critic;
mod mlp;
mod model;
mod skeleton;

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{Result, density::Energy};

pub use self::{
    convolutional::ConvEnergy,
    critic::CriticEnergy,
    mlp::MlpEnergy,
    model::{ENERGY_METHOD, EnergyModel, EnergyPair},
};
use crate::config::EnergyConfig;

/// A network of energies, trained with its normalised kernels.
pub trait EnergyNetwork: Energy + Sized {
    /// The network with its kernels as they are now, normalised once for several passes.
    ///
    /// Of trainable tensors it still has gradients; later changes of parameters it does not follow.
    ///
    /// # Errors
    /// Of the tensor library.
    fn normalised(&self) -> Result<Self>;

    /// Kernels whose spectral norms are held down, `(output, ..)` each; none by default.
    ///
    /// # Errors
    /// Of the tensor library.
    fn kernels(&self) -> Result<Vec<Tensor>> {
        Ok(Vec::new())
    }

    /// Does the energy of a row depend on its batch? Then data and negatives are to pass the network
    /// apart. Chains need rows that do not interact.
    fn rows_interact(&self) -> bool {
        false
    }

    /// Sets lengths and biases by a large batch of data; a network without such layers does nothing.
    ///
    /// # Errors
    /// [`chains_core::Error::Shape`] if `x` does not fit.
    fn initialise(&self, _x: &Tensor) -> Result<()> {
        Ok(())
    }
}

/// Any of the networks of the paper.
#[derive(Clone, Debug)]
pub enum EnergyNet {
    /// See [`ConvEnergy`].
    Convolutional(ConvEnergy),
    /// See [`MlpEnergy`].
    Mlp(MlpEnergy),
}

impl EnergyNet {
    /// The network of a configuration, its variables asked of `vb`.
    ///
    /// # Errors
    /// If the configuration is invalid or the builder holds tensors of other shapes.
    pub fn new(config: &EnergyConfig, vb: VarBuilder<'_>) -> Result<Self> {
        config.validate()?;
        Ok(match config {
            EnergyConfig::Convolutional(config) => {
                Self::Convolutional(ConvEnergy::new(config, vb)?)
            }
            EnergyConfig::Mlp { dim, hidden } => Self::Mlp(MlpEnergy::new(*dim, hidden, vb)?),
        })
    }
}

impl Energy for EnergyNet {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Convolutional(net) => net.energy(x),
            Self::Mlp(net) => net.energy(x),
        }
    }
}

impl EnergyNetwork for EnergyNet {
    fn normalised(&self) -> Result<Self> {
        Ok(match self {
            Self::Convolutional(net) => Self::Convolutional(net.normalised()?),
            Self::Mlp(net) => Self::Mlp(net.normalised()?),
        })
    }

    fn kernels(&self) -> Result<Vec<Tensor>> {
        match self {
            Self::Convolutional(net) => net.kernels(),
            Self::Mlp(net) => net.kernels(),
        }
    }

    fn initialise(&self, x: &Tensor) -> Result<()> {
        match self {
            Self::Convolutional(net) => net.initialise(x),
            Self::Mlp(net) => net.initialise(x),
        }
    }
}
