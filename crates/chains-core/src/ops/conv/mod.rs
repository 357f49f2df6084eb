//! Convolutions.

mod dense;
mod depthwise;
mod forward;
pub(super) mod geometry;
mod lanes;
mod minimal;
pub(super) mod op;
mod patches;
mod planes;
mod tasks;

use candle_core::Tensor;

use self::{
    geometry::Geometry,
    op::{Convolution, Kind},
};
#[cfg(feature = "cuda")]
use super::cuda;
use super::{fused, linear::first_rows, on_cuda, relu};
use crate::error::{Error, Result};

/// Zeros around an image, as many on either side of an axis; `1` and `[1, 1]` are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// Rows above, and as many below.
    pub rows: usize,
    /// Columns on the left, and as many on the right.
    pub columns: usize,
}

impl From<usize> for Padding {
    fn from(both: usize) -> Self {
        Self { rows: both, columns: both }
    }
}

impl From<[usize; 2]> for Padding {
    fn from([rows, columns]: [usize; 2]) -> Self {
        Self { rows, columns }
    }
}

/// 2-D convolution (cross-correlation, as in PyTorch).
///
/// `y[o, i, j] = bias[o] + sum weight[o, c, u, v] x[c, i stride + u - rows, j stride + v - columns]`
/// with zeros outside of `x`; a side of the result is `(h + 2 rows - kh) / stride + 1`, rounded down.
///
/// # Shapes
/// `x`: `(b, in, h, w)`; `weight`: `(out, in, kh, kw)`; `bias`: `(out,)`; the result
/// `(b, out, oh, ow)`.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit or the result would be empty.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: impl Into<Padding>,
) -> Result<Tensor> {
    direct(Kind::Dense, x, (weight, bias, usize::MAX), (stride, padding.into()), None)
}

/// [`conv2d`] that adds the bias to the maps of the first `biased` images only: values and, behind
/// them, tangents of one batch. The maps of as many of the first images as `known` has are taken from
/// there.
///
/// # Errors
/// As [`conv2d`].
pub(crate) fn conv2d_rows(
    x: &Tensor,
    weight: &Tensor,
    (bias, biased): (Option<&Tensor>, usize),
    geometry: (usize, Padding),
    known: Option<&Tensor>,
) -> Result<Tensor> {
    direct(Kind::Dense, x, (weight, bias, biased), geometry, known)
}

/// [`relu`] of [`conv2d`] in one pass: layers whose normalisation is folded into the weight.
///
/// # Shapes
/// As [`conv2d`].
///
/// # Errors
/// As [`conv2d`].
pub fn conv2d_relu(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: impl Into<Padding>,
) -> Result<Tensor> {
    direct(Kind::Rectified, x, (weight, bias, usize::MAX), (stride, padding.into()), None)
}

fn direct(
    kind: Kind,
    x: &Tensor,
    (weight, bias, biased): (&Tensor, Option<&Tensor>, usize),
    (stride, padding): (usize, Padding),
    known: Option<&Tensor>,
) -> Result<Tensor> {
    let what = kind.title();
    let (b, c, h, w) = rank4(what, "(b, in, h, w)", x)?;
    let (out, input, kh, kw) = rank4(what, "a weight (out, in, kh, kw)", weight)?;
    if c != input {
        return Err(misfit(what, "(b, in, h, w)", "(out, in, kh, kw)", [x, weight]));
    }
    check_bias(what, bias, out)?;
    let geometry = Geometry::direct(what, [b, c, h, w], out, [kh, kw], (stride, padding))?;
    let biased = biased.min(b);
    if let Some(known) = known {
        let [_, maps @ ..] = geometry.map_shape();
        if known.rank() != 4 || known.dims()[1..] != maps || known.dims()[0] > biased {
            let (expected, got) = (format!("at most {biased} of {maps:?}"), known.dims().to_vec());
            return Err(Error::Shape { what: "known maps", expected, got });
        }
    }
    let operands = [x, weight, bias.unwrap_or(weight)];
    on_cuda!(operands => cuda::convolution(kind, geometry, x, weight, (bias, biased)));
    if fused(&operands) {
        let known = known.filter(|known| fused(&[known])).map(Tensor::contiguous).transpose()?;
        return Convolution { kind, geometry, biased, known }.apply(x, weight, bias);
    }
    let y = composed(&geometry, x, weight, None, 1)?;
    let y = first_rows(&y, biased, |y| with_bias(y.clone(), bias))?;
    if let Kind::Rectified = kind { relu(&y) } else { Ok(y) }
}

/// Transposed 2-D convolution, the gradient of [`conv2d`] in its input.
///
/// Every pixel of `x` adds its multiple of the kernel at `stride * position - padding`; a side of
/// the result is `(h - 1) stride - 2 padding + k + output_padding`.
///
/// # Shapes
/// `x`: `(b, in, h, w)`; `weight`: `(in, out, kh, kw)`, as in PyTorch; `bias`: `(out,)`; the
/// result `(b, out, oh, ow)`.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit, the result would be empty, or the output padding
/// is not below the stride.
pub fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: usize,
    output_padding: usize,
) -> Result<Tensor> {
    const WHAT: &str = "conv_transpose2d";
    let (b, c, h, w) = rank4(WHAT, "(b, in, h, w)", x)?;
    let (input, out, kh, kw) = rank4(WHAT, "a weight (in, out, kh, kw)", weight)?;
    if c != input {
        return Err(misfit(WHAT, "(b, in, h, w)", "(in, out, kh, kw)", [x, weight]));
    }
    check_bias(WHAT, bias, out)?;
    let settings = [stride, padding, output_padding];
    let geometry = Geometry::transposed(WHAT, [b, c, h, w], out, [kh, kw], settings)?;
    let operands = [x, weight, bias.unwrap_or(weight)];
    on_cuda!(operands => cuda::convolution(Kind::Transposed, geometry, x, weight, (bias, b)));
    if fused(&operands) {
        return Convolution::of(Kind::Transposed, geometry).apply(x, weight, bias);
    }
    let y = x.conv_transpose2d(weight, padding, output_padding, stride, 1)?;
    with_bias(y, bias)
}

/// 2-D convolution of every channel with a kernel of its own.
///
/// # Shapes
/// `x`: `(b, c, h, w)`; `weight`: `(c, 1, kh, kw)`, as in PyTorch with `c` groups; `bias`: `(c,)`;
/// the result `(b, c, oh, ow)` with the sides of [`conv2d`].
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit or the result would be empty.
pub fn depthwise_conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: impl Into<Padding>,
) -> Result<Tensor> {
    const WHAT: &str = "depthwise_conv2d";
    let (b, c, h, w) = rank4(WHAT, "(b, c, h, w)", x)?;
    let (out, one, kh, kw) = rank4(WHAT, "a weight (c, 1, kh, kw)", weight)?;
    if c != out || one != 1 {
        return Err(misfit(WHAT, "(b, c, h, w)", "(c, 1, kh, kw)", [x, weight]));
    }
    check_bias(WHAT, bias, c)?;
    let settings = (stride, padding.into());
    let geometry = Geometry::direct(WHAT, [b, c, h, w], c, [kh, kw], settings)?;
    let operands = [x, weight, bias.unwrap_or(weight)];
    on_cuda!(operands => cuda::convolution(Kind::Depthwise, geometry, x, weight, (bias, b)));
    if fused(&operands) {
        return Convolution::of(Kind::Depthwise, geometry).apply(x, weight, bias);
    }
    composed(&geometry, x, weight, bias, c)
}

fn rank4(
    what: &'static str,
    expected: &str,
    tensor: &Tensor,
) -> Result<(usize, usize, usize, usize)> {
    let got = || tensor.dims().to_vec();
    tensor.dims4().map_err(|_| Error::Shape { what, expected: expected.into(), got: got() })
}

fn misfit(what: &'static str, x: &str, weight: &str, operands: [&Tensor; 2]) -> Error {
    let [got, of] = operands.map(|t| t.dims().to_vec());
    Error::Shape { what, expected: format!("{x} for a weight {weight} = {of:?}"), got }
}

fn check_bias(what: &'static str, bias: Option<&Tensor>, out: usize) -> Result<()> {
    match bias {
        Some(bias) if bias.dims() != [out] => {
            let expected = format!("a bias ({out},)");
            Err(Error::Shape { what, expected, got: bias.dims().to_vec() })
        }
        _ => Ok(()),
    }
}

fn composed(
    g: &Geometry,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    groups: usize,
) -> Result<Tensor> {
    // Padded and cut to what the kernel reads: candle's backward pass takes the part that a stride
    // leaves over from the height alone.
    let mut x = x.clone();
    for axis in [0, 1] {
        let read = (g.map[axis + 1] - 1) * g.stride + g.kernel[axis];
        x = x.pad_with_zeros(axis + 2, g.padding[axis], g.padding[axis])?;
        x = x.narrow(axis + 2, 0, read)?;
    }
    with_bias(x.contiguous()?.conv2d(weight, 0, g.stride, 1, groups)?, bias)
}

fn with_bias(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    Ok(match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, bias.dim(0)?, 1, 1))?)?,
        None => y,
    })
}
