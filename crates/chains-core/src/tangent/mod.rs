//! Forward-mode directional derivatives of networks.
//!
//! A [`Dual`] carries a tensor and its derivative along one direction through every layer that an
//! energy is made of. A network that is written once for any [`Signal`] can be called with plain tensors,
//! with a [`Dual`] or, in one batch with other rows, a [`Stacked`], and with a [`Jet`], which carries
//! the second derivative as well. Both are ordinary tensors with an ordinary graph, so one backward pass through
//! the tangent differentiates the derivative: candle, which differentiates once, then trains on
//! penalties of a gradient's norm.
//!
//! With `s = grad_x f(x)` held constant, `grad_theta |s|^2 = 2 grad_theta (s . grad_x f)`, and
//! `s . grad_x f` is the tangent of `f` along `s`:
//!
//! ```
//! use candle_core::{DType, Device, Tensor, Var};
//! use chains_core::{ops, tangent::{Dual, Signal}};
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

mod jet;
mod layers;
mod pointwise;
mod signal;
mod stacked;
#[cfg(test)]
mod tests;

use candle_core::Tensor;

pub use self::{
    jet::Jet,
    signal::Signal,
    stacked::{Recorded, Stacked},
};
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

    /// The product, element by element; both operands of one shape.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn mul(&self, other: &Self) -> Result<Self> {
        let cross = (self.value.mul(&other.tangent)? + self.tangent.mul(&other.value)?)?;
        Ok(Self { value: self.value.mul(&other.value)?, tangent: cross })
    }

    /// The sum over all elements, a scalar.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn sum_all(&self) -> Result<Self> {
        Ok(Self { value: self.value.sum_all()?, tangent: self.tangent.sum_all()? })
    }
}
