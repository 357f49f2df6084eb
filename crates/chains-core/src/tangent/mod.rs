//! Forward-mode directional derivatives of networks.
//!
//! A [`Dual`] carries a tensor and its derivative along one direction through every layer that an
//! energy is made of. Both are ordinary tensors with an ordinary graph, so one backward pass through
//! the tangent differentiates the derivative: candle, which differentiates once, then trains on
//! penalties of a gradient's norm.
//!
//! With `s = grad_x f(x)` held constant, `grad_theta |s|^2 = 2 grad_theta (s . grad_x f)`, and
//! `s . grad_x f` is the tangent of `f` along `s`:
//!
//! ```
//! use candle_core::{DType, Device, Tensor, Var};
//! use chains_core::{ops, tangent::Dual};
//!
//! # fn main() -> chains_core::Result<()> {
//! // f(x) = sum softplus(x w^T), the penalty 0.5 |grad_x f|^2 and its gradient in w.
//! let w = Var::rand(-1.0_f32, 1.0, (3, 2), &Device::Cpu)?;
//! let x = Var::rand(-1.0_f32, 1.0, (4, 2), &Device::Cpu)?;
//! let f = ops::softplus(&ops::linear(&x, &w, None)?)?.sum_all()?;
//! let s = f.backward()?.get(&x).cloned().expect("x has a gradient");
//!
//! let dual = Dual::new(x.as_detached_tensor(), s.detach())?;
//! let f = dual.linear(&w, None)?.softplus()?.sum_all()?;
//! assert!((f.tangent().to_scalar::<f32>()? - s.sqr()?.sum_all()?.to_scalar::<f32>()?).abs() < 1e-4);
//! let penalty_grads = f.tangent().backward()?; // of 0.5 |s|^2
//! assert!(penalty_grads.get(&w).is_some());
//! # Ok(())
//! # }
//! ```

mod layers;
mod pointwise;
#[cfg(test)]
mod tests;

use candle_core::{D, Shape, Tensor};

use crate::error::{Error, Result};

/// A tensor and its directional derivative, of the same shape.
#[derive(Clone, Debug)]
pub struct Dual {
    value: Tensor,
    tangent: Tensor,
}

impl Dual {
    /// A point and a direction.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes differ.
    pub fn new(value: Tensor, tangent: Tensor) -> Result<Self> {
        if value.dims() != tangent.dims() {
            let (expected, got) = (format!("{:?}", value.dims()), tangent.dims().to_vec());
            return Err(Error::Shape { what: "tangent", expected, got });
        }
        Ok(Self { value, tangent })
    }

    /// A value that does not change along the direction.
    ///
    /// # Errors
    /// If the device cannot hold the zeros.
    pub fn constant(value: Tensor) -> Result<Self> {
        let tangent = value.zeros_like()?;
        Ok(Self { value, tangent })
    }

    /// The value.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// Its derivative along the direction.
    pub fn tangent(&self) -> &Tensor {
        &self.tangent
    }

    /// The same linear map of value and tangent.
    fn both(&self, f: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> Result<Self> {
        Ok(Self { value: f(&self.value)?, tangent: f(&self.tangent)? })
    }

    /// The sum; both operands of one shape.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn add(&self, other: &Self) -> Result<Self> {
        Ok(Self {
            value: (&self.value + &other.value)?,
            tangent: (&self.tangent + &other.tangent)?,
        })
    }

    /// The product, element by element; both operands of one shape.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn mul(&self, other: &Self) -> Result<Self> {
        let cross = (self.value.mul(&other.tangent)? + self.tangent.mul(&other.value)?)?;
        Ok(Self { value: self.value.mul(&other.value)?, tangent: cross })
    }

    /// `scale * x + shift`.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn affine(&self, scale: f64, shift: f64) -> Result<Self> {
        Ok(Self {
            value: self.value.affine(scale, shift)?,
            tangent: self.tangent.affine(scale, 0.0)?,
        })
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// If the number of elements differs.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        self.both(|t| t.reshape(&shape))
    }

    /// `len` entries of an axis from `start` on.
    ///
    /// # Errors
    /// If the axis is shorter.
    pub fn narrow(&self, axis: usize, start: usize, len: usize) -> Result<Self> {
        self.both(|t| t.narrow(axis, start, len))
    }

    /// Operands one after the other along an axis.
    ///
    /// # Errors
    /// If there is none or the other axes differ.
    pub fn cat(parts: &[&Self], axis: usize) -> Result<Self> {
        let of = |f: fn(&Self) -> &Tensor| {
            Tensor::cat(&parts.iter().map(|part| f(part)).collect::<Vec<_>>(), axis)
        };
        Ok(Self { value: of(Self::value)?, tangent: of(Self::tangent)? })
    }

    /// The sum over all elements, a scalar.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn sum_all(&self) -> Result<Self> {
        self.both(Tensor::sum_all)
    }

    /// The sum over all axes but the first, `(b,)`.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn sum_event(&self) -> Result<Self> {
        if self.value.rank() < 2 {
            return Ok(self.clone());
        }
        self.both(|t| t.flatten_from(1)?.sum(1))
    }

    /// The mean over height and width, `(b, c, h, w)` -> `(b, c)`.
    ///
    /// # Errors
    /// For another rank.
    pub fn mean_space(&self) -> Result<Self> {
        self.both(|t| t.mean((2, 3)))
    }

    /// `ln sum exp` over the last axis, without overflow.
    ///
    /// # Errors
    /// For a scalar.
    pub fn log_sum_exp(&self) -> Result<Self> {
        let value = self.value.log_sum_exp(D::Minus1)?;
        let shares = self.value.broadcast_sub(&value.unsqueeze(D::Minus1)?)?.exp()?;
        Ok(Self { value, tangent: shares.mul(&self.tangent)?.sum(D::Minus1)? })
    }
}
