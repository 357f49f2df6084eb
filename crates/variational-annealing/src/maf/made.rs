//! One block: a masked network that gives shift and log scale of every coordinate.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use chains_core::{
    Result,
    ops::{PrefixLayer, Prefixes, autoregressive_inverse, prefix_linear},
};

use super::MafConfig;

/// A masked autoregressive network (MADE) for `D` coordinates, with ReLU between its layers.
///
/// Coordinate `i` has degree `i = 1..D`, a context has degree 0, hidden unit `k` of `H` degree
/// `1 + floor(k (D - 1) / H)` without context and `floor(k D / H)` with one, so that the first
/// coordinate sees the context, too. A unit reads what has its own degree or less, the heads of
/// coordinate `i` what has less than `i`. As degrees ascend, every unit reads a prefix. The rule without
/// context is the usual one; neither is given by the paper (reconstruction).
#[derive(Clone, Debug)]
pub struct Made {
    layers: Vec<PrefixLayer>,
    log_scale: [f64; 2],
}

/// Degrees of hidden units, ascending.
fn degrees(width: usize, dim: usize, context: bool) -> Vec<usize> {
    (0..width)
        .map(|k| match context {
            true => k * dim / width,
            false => 1 + k * (dim - 1) / width,
        })
        .collect()
}

impl Made {
    /// Asks `vb` for `layers.<l>.weight`, `(out, in)`, and `layers.<l>.bias`. Inputs are the context and
    /// then the coordinates; outputs of the last layer `m_1, a_1, m_2, a_2, ..`.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(config: &MafConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let (d, c) = (config.dim, config.context);
        let mut below: Vec<usize> = std::iter::repeat_n(0, c).chain(1..=d).collect();
        let mut layers = Vec::with_capacity(config.hidden.len() + 1);
        for l in 0..=config.hidden.len() {
            let (own, ends): (Vec<usize>, Vec<usize>) = match config.hidden.get(l) {
                Some(width) => {
                    let own = degrees(*width, d, c > 0);
                    let ends = own.iter().map(|g| below.partition_point(|b| b <= g)).collect();
                    (own, ends)
                }
                None => {
                    let own: Vec<usize> = (1..=d).flat_map(|i| [i, i]).collect();
                    let ends = own.iter().map(|i| below.partition_point(|b| b < i)).collect();
                    (own, ends)
                }
            };
            let (inputs, outputs) = (below.len(), own.len());
            let last = if l == config.hidden.len() { 0.01 } else { 1.0 };
            let limit = last * (6.0 / (inputs + outputs) as f64).sqrt();
            let vb = vb.pp("layers").pp(l);
            let init = Init::Uniform { lo: -limit, up: limit };
            layers.push(PrefixLayer {
                weight: vb.get_with_hints((outputs, inputs), "weight", init)?,
                bias: vb.get_with_hints(outputs, "bias", Init::Const(0.0))?,
                prefixes: Prefixes::new(inputs, ends)?,
            });
            below = own;
        }
        Ok(Self { layers, log_scale: config.log_scale })
    }

    /// The layers, from the inputs up.
    pub fn layers(&self) -> &[PrefixLayer] {
        &self.layers
    }

    /// Shifts and raw log scales, rows `m_1, a_1, m_2, a_2, ..`.
    ///
    /// # Shapes
    /// Feature-major: `x`: `(D, b)`, further rows are not read; `context`: `(C, b)`; the result
    /// `(2 D, b)`.
    ///
    /// # Errors
    /// [`chains_core::Error::Shape`] if the operands do not fit.
    pub fn heads(&self, x: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        let mut h = match context {
            Some(context) => Tensor::cat(&[context, x], 0)?,
            None => x.clone(),
        };
        for (l, layer) in self.layers.iter().enumerate() {
            let relu = l + 1 < self.layers.len();
            h = prefix_linear(&h, &layer.weight, &layer.bias, &layer.prefixes, relu)?;
        }
        Ok(h)
    }

    /// The `x` with `u_i = (x_i - m_i) exp(-a_i)`, feature-major and detached.
    ///
    /// # Errors
    /// [`chains_core::Error::Shape`] if the operands do not fit.
    pub fn inverse(&self, u: &Tensor, context: Option<&Tensor>) -> Result<Tensor> {
        autoregressive_inverse(u, context, &self.layers, self.log_scale)
    }

    /// A parameter, for type and device.
    pub(super) fn like(&self) -> &Tensor {
        &self.layers[0].weight
    }
}
