//! The dense layer.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

use crate::{error::Result, ops, tangent::Signal};

/// How a dense layer's weight begins; its bias begins at zero where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LinearInit {
    /// Uniform with limit `sqrt(6 / (in + out))` (Glorot and Bengio 2010, equation 16).
    GlorotUniform,
    /// Normal with mean zero and this standard deviation.
    Normal(f64),
    /// Uniform with limit `1 / sqrt(in)`, the bias too: PyTorch's default.
    FanIn,
}

/// Uniform with limit `1 / sqrt(fan_in)`, PyTorch's default for weights and biases.
pub fn fan_in_uniform(fan_in: usize) -> Init {
    let limit = 1.0 / (fan_in.max(1) as f64).sqrt();
    Init::Uniform { lo: -limit, up: limit }
}

/// `x weight^T + bias`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Asks `vb` for `weight`, `(output, input)`, and, if wanted, `bias`, `(output,)`.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(
        input: usize,
        output: usize,
        bias: bool,
        init: LinearInit,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let zero = Init::Const(0.0);
        let (hint, begun) = match init {
            LinearInit::GlorotUniform => {
                let limit = (6.0 / (input + output) as f64).sqrt();
                (Init::Uniform { lo: -limit, up: limit }, zero)
            }
            LinearInit::Normal(stdev) => (Init::Randn { mean: 0.0, stdev }, zero),
            LinearInit::FanIn => (fan_in_uniform(input), fan_in_uniform(input)),
        };
        let weight = vb.get_with_hints((output, input), "weight", hint)?;
        let bias = if bias { Some(vb.get_with_hints(output, "bias", begun)?) } else { None };
        Ok(Self { weight, bias })
    }

    /// The weight, `(output, input)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, `(output,)`, if there is one.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// `(.., input)` -> `(.., output)`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for another input.
    pub fn forward<S: Signal>(&self, x: &S) -> Result<S> {
        x.linear(&self.weight, self.bias.as_ref())
    }

    /// The same layer on an input whose result is known already; see [`ops::linear_known`].
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for another input or value.
    pub fn forward_known(&self, x: &Tensor, value: &[Tensor]) -> Result<Tensor> {
        ops::linear_known(x, &self.weight, self.bias.as_ref(), value)
    }
}
