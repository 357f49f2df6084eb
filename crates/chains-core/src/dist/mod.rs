//! Distributions with sampling and normalised log-probabilities, all constants included.
//!
//! Event shapes are `(b, ..event)`: the first axis numbers independent conditionals.

mod discrete;
mod factorial;
mod gaussian;
mod law;
mod mixture;
mod moments;
#[cfg(test)]
mod tests;
mod uniform;

pub use discrete::Bernoulli;
pub use factorial::FactorialGaussian;
pub use gaussian::DiagGaussian;
pub use law::Law;
pub use mixture::{DimensionMixture, Masks};
pub use moments::Moments;
pub use uniform::Uniform;

use candle_core::Tensor;

use crate::error::{Error, Result};

/// Repeats a batch of conditionals `n` times along the first axis, the conditionals varying fastest.
fn repeat(tensor: &Tensor, n: usize) -> Result<Tensor> {
    if n == 1 {
        return Ok(tensor.clone());
    }
    Ok(Tensor::cat(&vec![tensor; n], 0)?)
}

/// Sums a `(b, ..event)` tensor to `(b,)`.
fn sum_event(tensor: &Tensor) -> Result<Tensor> {
    Ok(if tensor.rank() == 1 { tensor.clone() } else { tensor.flatten_from(1)?.sum(1)? })
}

/// Checks that `got` has the shape of `expected`.
fn same_shape(what: &'static str, expected: &Tensor, got: &Tensor) -> Result<()> {
    if expected.dims() == got.dims() {
        return Ok(());
    }
    Err(Error::Shape { what, expected: format!("{:?}", expected.dims()), got: got.dims().to_vec() })
}
