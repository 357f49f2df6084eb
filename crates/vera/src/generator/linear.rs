//! `g(z) = W z + mu`: the model of principal components, of which everything is known.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Result,
    nn::{BatchNormMoments, Linear, LinearInit},
};

use super::GeneratorNetwork;

/// A dense layer with a bias.
#[derive(Clone, Debug)]
pub struct LinearGenerator {
    layer: Linear,
    latent: usize,
}

impl LinearGenerator {
    /// Asks `vb` for `weight`, `(dim, latent)`, and `bias`, `(dim,)`.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(latent: usize, dim: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self { layer: Linear::new(latent, dim, true, LinearInit::FanIn, vb)?, latent })
    }
}

impl GeneratorNetwork for LinearGenerator {
    fn mean(&self, z: &Tensor, _: &mut BatchNormMoments) -> Result<Tensor> {
        self.layer.forward(z)
    }

    fn latent(&self) -> usize {
        self.latent
    }
}
