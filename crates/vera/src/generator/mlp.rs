//! The dense generator of toys, flows and tables.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Result,
    nn::{BatchNorm, BatchNormMoments, Linear, LinearInit},
    ops,
};

use super::GeneratorNetwork;
use crate::config::{GeneratorActivation, Output};

/// Dense layers without bias, each followed by batch norm and an activation, then a dense layer with
/// one.
///
/// Toys: two layers of 100 with ReLU; NICE and tables: three of 500 with softplus (the paper says two).
#[derive(Clone, Debug)]
pub struct MlpGenerator {
    hidden: Vec<(Linear, BatchNorm)>,
    last: Linear,
    latent: usize,
    activation: GeneratorActivation,
    output: Output,
}

impl MlpGenerator {
    /// Asks `vb` for `layers.<i>.weight`, `norms.<i>.*` and `last.{weight, bias}`; the sizes are latent
    /// variables, width, hidden layers and data dimension.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(
        [latent, width, layers, dim]: [usize; 4],
        activation: GeneratorActivation,
        output: Output,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let relu = activation == GeneratorActivation::Relu;
        let one = |i: usize| -> Result<(Linear, BatchNorm)> {
            let input = if i == 0 { latent } else { width };
            let dense = vb.pp("layers").pp(i);
            let dense = Linear::new(input, width, false, LinearInit::FanIn, dense)?;
            Ok((dense, BatchNorm::new(width, relu, vb.pp("norms").pp(i))?))
        };
        let hidden = (0..layers).map(one).collect::<Result<_>>()?;
        let input = if layers == 0 { latent } else { width };
        let last = Linear::new(input, dim, true, LinearInit::FanIn, vb.pp("last"))?;
        Ok(Self { hidden, last, latent, activation, output })
    }
}

impl GeneratorNetwork for MlpGenerator {
    fn mean(&self, z: &Tensor, moments: &mut BatchNormMoments) -> Result<Tensor> {
        let mut h = z.clone();
        for (dense, norm) in &self.hidden {
            h = norm.forward(&dense.forward(&h)?, moments)?;
            if self.activation == GeneratorActivation::Softplus {
                h = ops::softplus(&h)?;
            }
        }
        self.output.of(&self.last.forward(&h)?)
    }

    fn latent(&self) -> usize {
        self.latent
    }

    fn norms(&self) -> Vec<String> {
        (0..self.hidden.len()).map(|i| format!("norms.{i}")).collect()
    }
}
