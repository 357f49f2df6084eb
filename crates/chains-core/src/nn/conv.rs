//! Convolutional layers.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

use crate::{error::Result, ops};

/// A transposed 2-D convolution with a square kernel.
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: usize,
    padding: usize,
    output_padding: usize,
}

impl ConvTranspose2d {
    /// The layer that doubles height and width: kernel 5, stride 2, padding 2, output padding 1.
    ///
    /// Asks `vb` for `weight`, `(input, output, 5, 5)`, begun as a normal with standard deviation
    /// `stdev`, and, if wanted, `bias`, `(output,)`, begun at zero.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn doubling(
        input: usize,
        output: usize,
        bias: bool,
        stdev: f64,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let hint = Init::Randn { mean: 0.0, stdev };
        let weight = vb.get_with_hints((input, output, 5, 5), "weight", hint)?;
        let bias =
            if bias { Some(vb.get_with_hints(output, "bias", Init::Const(0.0))?) } else { None };
        Ok(Self { weight, bias, stride: 2, padding: 2, output_padding: 1 })
    }

    /// `(b, input, h, w)` -> `(b, output, 2 h, 2 w)`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for another input.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (stride, padding, output_padding) = (self.stride, self.padding, self.output_padding);
        ops::conv_transpose2d(x, &self.weight, self.bias.as_ref(), stride, padding, output_padding)
    }
}
