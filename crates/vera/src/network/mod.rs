//! Networks of log densities.

mod dcgan;
mod gaussian;
mod mixture;
mod mlp;
mod nice;
mod resnet;
mod wide_resnet;

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{Noise, Result, density::Energy, tangent::Signal};

pub use self::{
    dcgan::DcganEnergy, gaussian::GaussianEnergy, mixture::MixtureEnergy, mlp::MlpEnergy,
    nice::Nice, resnet::ResNetEnergy, wide_resnet::WideResNet,
};
use crate::config::EnergyConfig;

/// A network with an output for every class, or a single one.
///
/// The log density, up to a constant, is `f(x) = ln sum_y exp logits(x)[y]` (a joint energy model),
/// which of a single output is that output itself. The energy is `-f`.
pub trait EnergyNetwork {
    /// `(b, ..event)` -> `(b, K)`, of values or with derivatives.
    ///
    /// `masks` are those that [`EnergyNetwork::masks`] drew for these rows; none means evaluation.
    ///
    /// # Errors
    /// [`chains_core::Error::Shape`] if `x` does not fit.
    fn logits<S: Signal>(&self, x: &S, masks: &[Tensor]) -> Result<S>;

    /// The masks of dropout for `n` rows, `1 / (1 - p)` where a unit stays; none without dropout.
    ///
    /// # Errors
    /// Of the tensor library.
    fn masks(&self, _n: usize, _noise: &mut dyn Noise) -> Result<Vec<Tensor>> {
        Ok(Vec::new())
    }

    /// Is `f` a log density with its constant?
    fn is_normalised(&self) -> bool {
        false
    }

    /// `f(x)`, `(b,)`.
    ///
    /// # Errors
    /// As [`EnergyNetwork::logits`].
    fn log_density<S: Signal>(&self, x: &S, masks: &[Tensor]) -> Result<S> {
        log_density(&self.logits(x, masks)?)
    }
}

impl<E: EnergyNetwork> EnergyNetwork for &E {
    fn logits<S: Signal>(&self, x: &S, masks: &[Tensor]) -> Result<S> {
        (**self).logits(x, masks)
    }

    fn masks(&self, n: usize, noise: &mut dyn Noise) -> Result<Vec<Tensor>> {
        (**self).masks(n, noise)
    }

    fn is_normalised(&self) -> bool {
        (**self).is_normalised()
    }
}

/// `f` from logits, `(b, K)` -> `(b,)`.
///
/// # Errors
/// Of the tensor library.
pub fn log_density<S: Signal>(logits: &S) -> Result<S> {
    match logits.dims().last() {
        Some(1) => logits.sum_last(),
        _ => logits.log_sum_exp(),
    }
}

/// The energy `-f` of a network in evaluation, for chains.
#[derive(Clone, Copy, Debug)]
pub struct EnergyOf<E>(pub E);

impl<E: EnergyNetwork> Energy for EnergyOf<E> {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.0.log_density(x, &[])?.neg()?)
    }
}

/// Any of the networks of the paper.
#[derive(Clone, Debug)]
pub enum EnergyNet {
    /// See [`GaussianEnergy`].
    Gaussian(GaussianEnergy),
    /// See [`MixtureEnergy`].
    Mixture(MixtureEnergy),
    /// See [`Nice`].
    Nice(Nice),
    /// See [`MlpEnergy`].
    Mlp(MlpEnergy),
    /// See [`DcganEnergy`].
    Dcgan(DcganEnergy),
    /// See [`WideResNet`].
    WideResNet(WideResNet),
    /// See [`ResNetEnergy`].
    ResNet(ResNetEnergy),
}

impl EnergyNet {
    /// The network of a configuration, its variables asked of `vb`.
    ///
    /// # Errors
    /// If the configuration is invalid or the builder holds tensors of other shapes.
    pub fn new(config: &EnergyConfig, vb: VarBuilder<'_>) -> Result<Self> {
        config.validate()?;
        Ok(match config {
            EnergyConfig::Gaussian { dim } => Self::Gaussian(GaussianEnergy::new(*dim, vb)?),
            EnergyConfig::Mixture { dim, components } => {
                Self::Mixture(MixtureEnergy::new(*dim, *components, vb)?)
            }
            EnergyConfig::Nice { dim, hidden, layers } => {
                Self::Nice(Nice::new(*dim, *hidden, *layers, vb)?)
            }
            EnergyConfig::Mlp { dim, hidden, outputs, weight_norm } => {
                Self::Mlp(MlpEnergy::new(*dim, hidden, *outputs, *weight_norm, vb)?)
            }
            EnergyConfig::Dcgan { side, channels, width, outputs } => {
                Self::Dcgan(DcganEnergy::new(*side, [*channels, *width, *outputs], vb)?)
            }
            EnergyConfig::WideResNet { depth, widening, channels, outputs, dropout } => {
                let sizes = [*depth, *widening, *channels, *outputs];
                Self::WideResNet(WideResNet::new(sizes, *dropout, vb)?)
            }
            EnergyConfig::ResNet { channels, width, outputs, .. } => {
                Self::ResNet(ResNetEnergy::new([*channels, *width, *outputs], vb)?)
            }
        })
    }

    /// The flow, if it is one.
    pub fn as_nice(&self) -> Option<&Nice> {
        match self {
            Self::Nice(nice) => Some(nice),
            _ => None,
        }
    }
}

impl EnergyNetwork for EnergyNet {
    fn logits<S: Signal>(&self, x: &S, masks: &[Tensor]) -> Result<S> {
        match self {
            Self::Gaussian(net) => net.logits(x, masks),
            Self::Mixture(net) => net.logits(x, masks),
            Self::Nice(net) => net.logits(x, masks),
            Self::Mlp(net) => net.logits(x, masks),
            Self::Dcgan(net) => net.logits(x, masks),
            Self::WideResNet(net) => net.logits(x, masks),
            Self::ResNet(net) => net.logits(x, masks),
        }
    }

    fn masks(&self, n: usize, noise: &mut dyn Noise) -> Result<Vec<Tensor>> {
        match self {
            Self::WideResNet(net) => net.masks(n, noise),
            _ => Ok(Vec::new()),
        }
    }

    fn is_normalised(&self) -> bool {
        matches!(self, Self::Mixture(_) | Self::Nice(_))
    }
}
