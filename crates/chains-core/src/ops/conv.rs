//! Convolutions.

use candle_core::Tensor;

use crate::error::{Error, Result};

/// Transposed 2-D convolution; the output side is `(h - 1) stride - 2 padding + k + output_padding`.
///
/// # Shapes
/// `x`: `(b, in, h, w)`; `weight`: `(in, out, k, k)`, as in PyTorch; `bias`: `(out,)`.
///
/// # Errors
/// [`Error::Shape`] if channels do not fit.
pub fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: usize,
    output_padding: usize,
) -> Result<Tensor> {
    if x.rank() != 4 || weight.rank() != 4 || x.dims()[1] != weight.dims()[0] {
        return Err(Error::Shape {
            what: "conv_transpose2d",
            expected: format!("(b, in, h, w) for a weight (in, out, k, k) = {:?}", weight.dims()),
            got: x.dims().to_vec(),
        });
    }
    let y = x.conv_transpose2d(weight, padding, output_padding, stride, 1)?;
    Ok(match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, bias.dim(0)?, 1, 1))?)?,
        None => y,
    })
}
