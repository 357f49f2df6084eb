//! What networks pass through their layers: values alone, or with derivatives along a direction.

use candle_core::{D, Tensor};

use super::Dual;
use crate::{
    error::Result,
    ops::{self, Padding},
};

/// A tensor, possibly with its derivatives along a direction.
///
/// A network that is written once against this trait gives values of a [`Tensor`], the first
/// derivative of a [`Dual`] and the second of a [`Jet`](super::Jet). The pointwise functions and
/// products are those of the energies of the papers; everything else is an affine map, which
/// derivatives pass without its constant part.
pub trait Signal: Clone {
    /// Number of examples.
    fn batch(&self) -> usize;

    /// Shape of the value; the first axis may be longer than [`Signal::batch`] where derivatives stand
    /// behind values.
    fn dims(&self) -> &[usize];

    /// A linear map that leaves rows on their own, the same of values and derivatives.
    ///
    /// # Errors
    /// Of the map.
    fn linear_map(&self, map: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self>;

    /// An affine map that leaves rows on their own: `map(t, true)` of values, its linear part
    /// `map(t, false)` of derivatives.
    ///
    /// # Errors
    /// Of the map.
    fn affine_map(&self, map: impl Fn(&Tensor, bool) -> Result<Tensor>) -> Result<Self>;

    /// A linear map of several operands, which leaves rows on their own.
    ///
    /// # Errors
    /// Of the map.
    fn joined(parts: &[&Self], map: impl Fn(&[&Tensor]) -> Result<Tensor>) -> Result<Self>;

    /// [`ops::leaky_relu`].
    ///
    /// # Errors
    /// Of the tensor library.
    fn leaky_relu(&self, slope: f64) -> Result<Self>;

    /// [`ops::softplus`].
    ///
    /// # Errors
    /// Of the tensor library.
    fn softplus(&self) -> Result<Self>;

    /// The square of every element.
    ///
    /// # Errors
    /// Of the tensor library.
    fn square(&self) -> Result<Self>;

    /// `ln sum exp` over the last axis, without overflow.
    ///
    /// # Errors
    /// For a scalar.
    fn log_sum_exp(&self) -> Result<Self>;

    /// `ln sum_j exp(log_scale_j - 0.5 sum_d ((x_d - mean_jd) root_jd)^2)`, the logarithm of a mixture of
    /// diagonal Gaussians with these root precisions.
    ///
    /// # Shapes
    /// `(n, d)` -> `(n,)`; `mean`, `root`: `(k, d)`; `log_scale`: `(k,)`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the operands do not fit.
    fn gaussian_mixture(&self, parameters: [&Tensor; 3]) -> Result<Self> {
        mixture(self, parameters)
    }

    /// [`ops::linear`].
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the operands do not fit.
    fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        self.affine_map(|x, constant| ops::linear(x, weight, bias.filter(|_| constant)))
    }

    /// [`ops::conv2d`].
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the operands do not fit.
    fn conv2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        stride: usize,
        padding: impl Into<Padding>,
    ) -> Result<Self> {
        let padding = padding.into();
        self.affine_map(|x, constant| {
            ops::conv2d(x, weight, bias.filter(|_| constant), stride, padding)
        })
    }

    /// [`ops::conv_transpose2d`] with stride, padding and output padding.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the operands do not fit.
    fn conv_transpose2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        [stride, padding, output_padding]: [usize; 3],
    ) -> Result<Self> {
        self.affine_map(|x, constant| {
            let bias = bias.filter(|_| constant);
            ops::conv_transpose2d(x, weight, bias, stride, padding, output_padding)
        })
    }

    /// [`ops::depthwise_conv2d`].
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the operands do not fit.
    fn depthwise_conv2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        stride: usize,
        padding: impl Into<Padding>,
    ) -> Result<Self> {
        let padding = padding.into();
        self.affine_map(|x, constant| {
            ops::depthwise_conv2d(x, weight, bias.filter(|_| constant), stride, padding)
        })
    }

    /// The sum of two operands of one shape.
    ///
    /// # Errors
    /// If the shapes differ.
    fn add(&self, other: &Self) -> Result<Self> {
        Self::joined(&[self, other], |parts| ops::add(parts[0], parts[1]))
    }

    /// Operands one after the other along an axis other than the first.
    ///
    /// # Errors
    /// If there is none or the other axes differ.
    fn cat(parts: &[&Self], axis: usize) -> Result<Self> {
        Self::joined(parts, |parts| Ok(Tensor::cat(parts, axis)?))
    }

    /// `scale * x + shift`.
    ///
    /// # Errors
    /// Of the tensor library.
    fn affine(&self, scale: f64, shift: f64) -> Result<Self> {
        if shift == 0.0 {
            return self.linear_map(|x| Ok(x.affine(scale, 0.0)?));
        }
        self.affine_map(|x, constant| Ok(x.affine(scale, if constant { shift } else { 0.0 })?))
    }

    /// Times a tensor that does not change along the direction, both broadcast; the first axis of the
    /// factor, if it has as many, is of length one.
    ///
    /// # Errors
    /// If the shapes do not fit.
    fn scaled(&self, factor: &Tensor) -> Result<Self> {
        self.linear_map(|x| Ok(x.broadcast_mul(factor)?))
    }

    /// Times a constant of the shape of the values, such as a mask of dropout.
    ///
    /// # Errors
    /// If the shapes differ.
    fn masked(&self, mask: &Tensor) -> Result<Self> {
        self.linear_map(|x| Ok(x.mul(mask)?))
    }

    /// Plus a tensor that does not change along the direction, both broadcast, as with
    /// [`Signal::scaled`].
    ///
    /// # Errors
    /// If the shapes do not fit.
    fn shifted(&self, by: &Tensor) -> Result<Self> {
        self.affine_map(|x, constant| {
            if constant {
                return Ok(x.broadcast_add(by)?);
            }
            Ok(x.broadcast_as(x.shape().broadcast_shape_binary_op(by.shape(), "shift")?)?)
        })
    }

    /// Examples of another shape with the same elements.
    ///
    /// # Errors
    /// If the number of elements differs.
    fn reshape_event(&self, event: &[usize]) -> Result<Self> {
        self.linear_map(|x| {
            let rows = x.dims().first().copied().unwrap_or(1);
            ops::reshape(x, [&[rows], event].concat())
        })
    }

    /// `len` entries of an axis other than the first from `start` on.
    ///
    /// # Errors
    /// If the axis is shorter.
    fn narrow(&self, axis: usize, start: usize, len: usize) -> Result<Self> {
        self.linear_map(|x| Ok(x.narrow(axis, start, len)?))
    }

    /// The sum over the last axis.
    ///
    /// # Errors
    /// For a scalar.
    fn sum_last(&self) -> Result<Self> {
        self.linear_map(|x| Ok(x.sum(D::Minus1)?))
    }

    /// The sum over all axes but the first, `(b,)`.
    ///
    /// # Errors
    /// Of the tensor library.
    fn sum_event(&self) -> Result<Self> {
        self.affine_map(
            |x, _| {
                if x.rank() < 2 { Ok(x.clone()) } else { Ok(x.flatten_from(1)?.sum(1)?) }
            },
        )
    }

    /// The mean over height and width, `(b, c, h, w)` -> `(b, c)`.
    ///
    /// # Errors
    /// For another rank.
    fn mean_space(&self) -> Result<Self> {
        self.linear_map(|x| Ok(x.mean((2, 3))?))
    }

    /// [`ops::upsample2`].
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for another rank.
    fn upsample2(&self) -> Result<Self> {
        self.linear_map(ops::upsample2)
    }

    /// [`ops::avg_pool2`].
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for another rank or if the result would be empty.
    fn avg_pool2(&self) -> Result<Self> {
        self.linear_map(ops::avg_pool2)
    }
}

/// [`Signal::gaussian_mixture`] of other operations.
pub(super) fn mixture<S: Signal>(x: &S, [mean, root, log_scale]: [&Tensor; 3]) -> Result<S> {
    let (k, d) = mean.dims2()?;
    let offset = x.reshape_event(&[1, d])?.shifted(&mean.neg()?.unsqueeze(0)?)?;
    let square = offset.scaled(&root.unsqueeze(0)?)?.square()?.sum_last()?;
    square.affine(-0.5, 0.0)?.shifted(&log_scale.reshape((1, k))?)?.log_sum_exp()
}

impl Signal for Tensor {
    fn batch(&self) -> usize {
        self.dims().first().copied().unwrap_or(1)
    }

    fn dims(&self) -> &[usize] {
        self.dims()
    }

    fn linear_map(&self, map: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        map(self)
    }

    fn affine_map(&self, map: impl Fn(&Tensor, bool) -> Result<Tensor>) -> Result<Self> {
        map(self, true)
    }

    fn joined(parts: &[&Self], map: impl Fn(&[&Tensor]) -> Result<Tensor>) -> Result<Self> {
        map(parts)
    }

    fn leaky_relu(&self, slope: f64) -> Result<Self> {
        ops::leaky_relu(self, slope)
    }

    fn softplus(&self) -> Result<Self> {
        ops::softplus(self)
    }

    fn square(&self) -> Result<Self> {
        Ok(self.sqr()?)
    }

    fn log_sum_exp(&self) -> Result<Self> {
        // The shift cancels, so it is held constant.
        let shift = self.detach().max_keepdim(D::Minus1)?;
        let sum = self.broadcast_sub(&shift)?.exp()?.sum(D::Minus1)?;
        Ok((sum.log()? + shift.squeeze(D::Minus1)?)?)
    }

    fn gaussian_mixture(&self, parameters: [&Tensor; 3]) -> Result<Self> {
        match ops::gaussian_mixture(self, self.dim(0)?, parameters)? {
            Some(rows) => Ok(rows),
            None => mixture(self, parameters),
        }
    }
}

impl Signal for Dual {
    fn batch(&self) -> usize {
        Signal::batch(&self.value)
    }

    fn dims(&self) -> &[usize] {
        self.value.dims()
    }

    fn linear_map(&self, map: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Self::new(map(&self.value)?, map(&self.tangent)?)
    }

    fn affine_map(&self, map: impl Fn(&Tensor, bool) -> Result<Tensor>) -> Result<Self> {
        Self::new(map(&self.value, true)?, map(&self.tangent, false)?)
    }

    fn joined(parts: &[&Self], map: impl Fn(&[&Tensor]) -> Result<Tensor>) -> Result<Self> {
        let of = |f: fn(&Self) -> &Tensor| map(&parts.iter().map(|p| f(p)).collect::<Vec<_>>());
        Self::new(of(Self::value)?, of(Self::tangent)?)
    }

    fn leaky_relu(&self, slope: f64) -> Result<Self> {
        self.pointwise(ops::leaky_relu(&self.value, slope)?, &self.slope(slope)?)
    }

    fn softplus(&self) -> Result<Self> {
        self.pointwise(ops::softplus(&self.value)?, &ops::sigmoid(&self.value)?)
    }

    fn square(&self) -> Result<Self> {
        self.pointwise(self.value.sqr()?, &(&self.value * 2.0)?)
    }

    fn log_sum_exp(&self) -> Result<Self> {
        let value = Signal::log_sum_exp(&self.value)?;
        let shares = self.value.broadcast_sub(&value.unsqueeze(D::Minus1)?)?.exp()?;
        let tangent = shares.mul(&self.tangent)?.sum(D::Minus1)?;
        Self::new(value, tangent)
    }
}
