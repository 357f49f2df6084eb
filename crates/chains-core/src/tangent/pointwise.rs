//! Activations: the tangent is multiplied by the derivative.

use candle_core::Tensor;

use super::Dual;
use crate::{error::Result, ops};

impl Dual {
    /// A function of every element with the given value and derivative, tensors of its shape.
    ///
    /// For functions that are not here. The derivative has to carry a graph if the tangent is to be
    /// differentiated in full.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn pointwise(&self, value: Tensor, derivative: &Tensor) -> Result<Self> {
        Self::new(value, self.tangent.mul(derivative)?)
    }

    /// [`ops::relu`].
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn relu(&self) -> Result<Self> {
        self.pointwise(ops::relu(&self.value)?, &self.slope(0.0)?)
    }

    /// One where the value is positive, elsewhere `slope`; constant in pieces, so without a graph.
    pub(super) fn slope(&self, slope: f64) -> Result<Tensor> {
        let value = self.value.detach();
        Ok(value.gt(0.0)?.to_dtype(value.dtype())?.affine(1.0 - slope, slope)?)
    }

    /// [`ops::silu`].
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn silu(&self) -> Result<Self> {
        let gate = ops::sigmoid(&self.value)?;
        let value = ops::silu(&self.value)?;
        // gate + x gate (1 - gate).
        let derivative = (&gate + value.mul(&gate.affine(-1.0, 1.0)?)?)?;
        self.pointwise(value, &derivative)
    }

    /// [`ops::elu`].
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn elu(&self, scale: f64) -> Result<Self> {
        let value = ops::elu(&self.value, scale)?;
        let below = value.affine(1.0, scale)?;
        let derivative = self.value.gt(0.0)?.where_cond(&below.ones_like()?, &below)?;
        self.pointwise(value, &derivative)
    }

    /// [`ops::sigmoid`].
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn sigmoid(&self) -> Result<Self> {
        let value = ops::sigmoid(&self.value)?;
        let derivative = value.mul(&value.affine(-1.0, 1.0)?)?;
        self.pointwise(value, &derivative)
    }

    /// [`ops::tanh`].
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn tanh(&self) -> Result<Self> {
        let value = ops::tanh(&self.value)?;
        let derivative = value.sqr()?.affine(-1.0, 1.0)?;
        self.pointwise(value, &derivative)
    }

    /// [`ops::exp`].
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn exp(&self) -> Result<Self> {
        let value = ops::exp(&self.value)?;
        self.pointwise(value.clone(), &value)
    }

    /// [`ops::gaussian_log_prob`] as a function of `x`, with constant mean and variance: `(b,)`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the shapes differ.
    pub fn gaussian_log_prob(&self, mean: &Tensor, variance: &Tensor) -> Result<Self> {
        let value = ops::gaussian_log_prob(&self.value, mean, variance)?;
        let slope = (mean - &self.value)?.div(variance)?;
        let along = slope.mul(&self.tangent)?;
        let along = if along.rank() < 2 { along } else { along.flatten_from(1)?.sum(1)? };
        Self::new(value, along)
    }
}
