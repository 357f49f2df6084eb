//! The network of the baselines: spectral normalisation in place of weight normalisation.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Result, Seed,
    density::Energy,
    nn::{BatchNorm, BatchNormMoments, SpectralNorms, fan_in_uniform},
    ops,
};

use super::{EnergyNetwork, skeleton::Skeleton};
use crate::config::ConvEnergyConfig;

/// The layers of [`ConvEnergy`](super::ConvEnergy) with kernels divided by their largest singular value
/// (section 5.3): the energy on pixels, and with [`CriticEnergy::batch_normalised`] the critic of the
/// paper's adversarial baseline.
///
/// Vectors of the power iteration are shared by clones and go on at every
/// [`EnergyNetwork::normalised`]; an energy of a network that is not normalised normalises for itself.
#[derive(Clone, Debug)]
pub struct CriticEnergy {
    layers: Skeleton<Layer>,
    norms: Option<Arc<Mutex<SpectralNorms>>>,
}

#[derive(Clone, Debug)]
struct Layer {
    kernel: Tensor,
    bias: Option<Tensor>,
    padding: usize,
    norm: Option<BatchNorm>,
}

impl CriticEnergy {
    /// Asks `vb` for `weight` and `bias` of every layer; `norms` holds the vectors, which the trainable
    /// and the frozen network of one store share.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(
        config: &ConvEnergyConfig,
        norms: Arc<Mutex<SpectralNorms>>,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        Self::build(config, norms, vb, false)
    }

    /// With a batch norm, `bn`, in place of the bias behind every 3x3 convolution, before its activation
    /// (section 5.3 says that the critic has batch norm; where is our choice). Its moments are those of
    /// the batch it is given, always, so that the rows of a batch interact: data and samples pass it
    /// apart, see [`EnergyNetwork::rows_interact`].
    ///
    /// # Errors
    /// As [`CriticEnergy::new`].
    pub fn batch_normalised(
        config: &ConvEnergyConfig,
        norms: Arc<Mutex<SpectralNorms>>,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        Self::build(config, norms, vb, true)
    }

    fn build(
        config: &ConvEnergyConfig,
        norms: Arc<Mutex<SpectralNorms>>,
        vb: VarBuilder<'_>,
        batch_norm: bool,
    ) -> Result<Self> {
        let layers = Skeleton::new(config, &vb, |conv, bias, vb: VarBuilder<'_>| {
            // The skip connections have neither bias nor norm.
            let normalised = batch_norm && bias;
            let side = conv.kernel;
            let init = fan_in_uniform(conv.input * side * side);
            let shape = (conv.output, conv.input, side, side);
            let kernel = vb.get_with_hints(shape, "weight", init)?;
            let bias = match bias && !normalised {
                true => Some(vb.get_with_hints(conv.output, "bias", init)?),
                false => None,
            };
            let norm = match normalised {
                true => Some(BatchNorm::new(conv.output, false, vb.pp("bn"))?),
                false => None,
            };
            Ok(Layer { kernel, bias, padding: conv.padding, norm })
        })?;
        Ok(Self { layers, norms: Some(norms) })
    }
}

impl Energy for CriticEnergy {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        if self.norms.is_some() {
            return self.normalised()?.energy(x);
        }
        self.layers.pass(x, |Layer { kernel, bias, padding, norm }, x| {
            let h = ops::conv2d(x, kernel, bias.as_ref(), 1, *padding)?;
            match norm {
                Some(norm) => norm.forward(&h, &mut BatchNormMoments::batch()),
                None => Ok(h),
            }
        })
    }
}

impl EnergyNetwork for CriticEnergy {
    fn rows_interact(&self) -> bool {
        self.layers.layers().any(|layer| layer.norm.is_some())
    }

    fn normalised(&self) -> Result<Self> {
        let Some(norms) = &self.norms else { return Ok(self.clone()) };
        let kernels: Vec<Tensor> = self.layers.layers().map(|layer| layer.kernel.clone()).collect();
        // A panic elsewhere leaves vectors of some length behind, which the next call makes units.
        let mut norms = norms.lock().unwrap_or_else(PoisonError::into_inner);
        let mut noise = Seed::new(0).child("spectral norms").host_noise();
        let mut sigma = norms.each(&kernels, &mut noise)?.into_iter();
        let layers = self.layers.map(|layer| {
            let kernel = match sigma.next() {
                Some(sigma) => layer.kernel.broadcast_div(&sigma.reshape((1, 1, 1, 1))?)?,
                None => layer.kernel.clone(),
            };
            Ok(Layer { kernel, ..layer.clone() })
        })?;
        Ok(Self { layers, norms: None })
    }
}
