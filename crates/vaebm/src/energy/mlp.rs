//! The dense network of energies of points.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::{
    Error, Result,
    density::Energy,
    nn::{Linear, LinearInit},
    ops,
};

use super::EnergyNetwork;

/// Dense layers with swish between them; neither weight norm nor a spectral term.
#[derive(Clone, Debug)]
pub struct MlpEnergy {
    dim: usize,
    layers: Vec<Linear>,
}

impl MlpEnergy {
    /// Asks `vb` for `layers.{i}.weight` and `.bias`.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(dim: usize, hidden: &[usize], vb: VarBuilder<'_>) -> Result<Self> {
        let widths = [&[dim], hidden, &[1]].concat();
        let layers = widths.windows(2).enumerate().map(|(i, pair)| {
            Linear::new(pair[0], pair[1], true, LinearInit::FanIn, vb.pp("layers").pp(i))
        });
        Ok(Self { dim, layers: layers.collect::<Result<_>>()? })
    }
}

impl Energy for MlpEnergy {
    /// `(b, dim)` -> `(b,)`.
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        if x.rank() != 2 || x.dims()[1] != self.dim {
            let (expected, got) = (format!("(b, {})", self.dim), x.dims().to_vec());
            return Err(Error::Shape { what: "point of an energy", expected, got });
        }
        let mut h = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                h = ops::silu(&h)?;
            }
            h = layer.forward(&h)?;
        }
        Ok(h.squeeze(1)?)
    }
}

impl EnergyNetwork for MlpEnergy {
    fn normalised(&self) -> Result<Self> {
        Ok(self.clone())
    }
}
