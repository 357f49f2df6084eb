//! The network of the baselines: spectral normalisation in place of weight normalisation.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Result, Seed,
    density::Energy,
    nn::{SpectralNorms, fan_in_uniform},
    ops,
};

use super::{EnergyNetwork, skeleton::Skeleton};
use crate::config::ConvEnergyConfig;

/// The layers of [`ConvEnergy`](super::ConvEnergy) with kernels divided by their largest singular value
/// (section 5.3, energy on pixels; without the batch norm of its critic).
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
        let layers = Skeleton::new(config, &vb, |conv, bias, vb: VarBuilder<'_>| {
            let side = conv.kernel;
            let init = fan_in_uniform(conv.input * side * side);
            let shape = (conv.output, conv.input, side, side);
            let kernel = vb.get_with_hints(shape, "weight", init)?;
            let bias =
                if bias { Some(vb.get_with_hints(conv.output, "bias", init)?) } else { None };
            Ok(Layer { kernel, bias, padding: conv.padding })
        })?;
        Ok(Self { layers, norms: Some(norms) })
    }
}

impl Energy for CriticEnergy {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        if self.norms.is_some() {
            return self.normalised()?.energy(x);
        }
        self.layers.pass(x, |Layer { kernel, bias, padding }, x| {
            ops::conv2d(x, kernel, bias.as_ref(), 1, *padding)
        })
    }
}

impl EnergyNetwork for CriticEnergy {
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
