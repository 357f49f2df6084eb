//! Dense layers with leaky ReLUs, with or without weight normalisation.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use chains_core::{
    Result,
    nn::{Linear, LinearInit, fan_in_uniform},
    tangent::Signal,
};

use super::EnergyNetwork;
use crate::config::SLOPE;

/// Dense layers with leaky ReLUs of slope 0.2 between them: the energy of toys (widths 2, 100, 100, 1)
/// and of tables (`D`, 1000, 500, 500, 250, 250, 250, `K`).
#[derive(Clone, Debug)]
pub struct MlpEnergy {
    dim: usize,
    layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
enum Layer {
    Plain(Linear),
    /// `w = g v / |v|`, row by row.
    Normed {
        gain: Tensor,
        direction: Tensor,
        bias: Tensor,
    },
}

impl MlpEnergy {
    /// Asks `vb` for `layers.<i>.weight` and `.bias`; with `weight_norm` hidden layers have `weight_g`,
    /// `(out, 1)`, and `weight_v`, `(out, in)`, for the weight, the gains begun at the lengths of the
    /// rows of `weight_v`.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(
        dim: usize,
        hidden: &[usize],
        outputs: usize,
        weight_norm: bool,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let mut widths = vec![dim];
        widths.extend_from_slice(hidden);
        widths.push(outputs);
        let layers = widths.windows(2).enumerate().map(|(i, pair)| {
            let (vb, [input, output]) = (vb.pp("layers").pp(i), [pair[0], pair[1]]);
            if weight_norm && i + 2 < widths.len() {
                return Layer::normed(input, output, vb);
            }
            Ok(Layer::Plain(Linear::new(input, output, true, LinearInit::FanIn, vb)?))
        });
        Ok(Self { dim, layers: layers.collect::<Result<_>>()? })
    }
}

impl Layer {
    fn normed(input: usize, output: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let init = fan_in_uniform(input);
        let direction = vb.get_with_hints((output, input), "weight_v", init)?;
        // The mean square of the uniform law begins rows at length sqrt(1/3); the exact lengths are
        // set by the model that owns the variables.
        let gain = vb.get_with_hints((output, 1), "weight_g", Init::Const(1.0 / 3_f64.sqrt()))?;
        Ok(Self::Normed { gain, direction, bias: vb.get_with_hints(output, "bias", init)? })
    }

    fn forward<S: Signal>(&self, x: &S) -> Result<S> {
        match self {
            Self::Plain(layer) => layer.forward(x),
            Self::Normed { gain, direction, bias } => {
                let length = direction.sqr()?.sum_keepdim(1)?.sqrt()?;
                x.linear(&direction.broadcast_mul(&gain.div(&length)?)?, Some(bias))
            }
        }
    }
}

impl EnergyNetwork for MlpEnergy {
    fn logits<S: Signal>(&self, x: &S, _masks: &[Tensor]) -> Result<S> {
        let mut h = x.reshape_event(&[self.dim])?;
        for (i, layer) in self.layers.iter().enumerate() {
            h = layer.forward(&h)?;
            if i + 1 < self.layers.len() {
                h = h.leaky_relu(SLOPE)?;
            }
        }
        Ok(h)
    }
}
