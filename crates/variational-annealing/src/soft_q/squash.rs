//! Actions are squashed: densities before and after.

use candle_core::Tensor;
use chains_core::{Result, ops};

use super::q_function::QNetwork;

/// `sum_i log(1 - tanh(h_i)^2)`, the logarithm of the volume that the squash makes of a unit volume at
/// `h`, as `2 (log 2 - h - softplus(-2 h))`, which stays exact where `tanh` rounds to one (the public
/// code adds 1e-6 instead).
///
/// # Shapes
/// `h`: `(n, d)`; the result `(n,)`.
///
/// # Errors
/// Of the tensor library.
pub fn log_squash(h: &Tensor) -> Result<Tensor> {
    let soft = ops::softplus(&(h * -2.0)?)?;
    let each = (h + soft)?.affine(-2.0, 2.0 * std::f64::consts::LN_2)?;
    Ok(each.sum(1)?)
}

/// `log u(h | s) = Q(s, tanh h) / alpha + sum_i log(1 - tanh(h_i)^2)`, what a policy is trained on.
///
/// # Shapes
/// `states`: `(n, d)`; `h`: `(n, 2)`; the result `(n,)`.
///
/// # Errors
/// Of the network.
pub fn squashed_log_target(
    q: &QNetwork,
    temperature: f64,
    states: &Tensor,
    h: &Tensor,
) -> Result<Tensor> {
    let value = q.forward(states, &ops::tanh(h)?)?;
    Ok(((value / temperature)? + log_squash(h)?)?)
}
