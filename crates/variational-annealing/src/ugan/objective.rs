//! The losses, as functions of tensors.

use candle_core::Tensor;
use chains_core::{Result, ops};

use super::Target;
use crate::anneal::Weights;

/// The critic's loss `mean sp(-d(x)) + mean sp(d(y))` with `x` of the generator and `y` of the proposal,
/// `sp(t) = log(1 + e^t)`, in nats.
///
/// The generator has the positive label, so that the optimum is `d = log q - log nu`; with the other
/// sign the generator would run away.
///
/// # Shapes
/// Logits `(b,)` and `(k,)`; the result is a scalar.
///
/// # Errors
/// Of the tensor library.
pub fn ratio_loss(of_generator: &Tensor, of_proposal: &Tensor) -> Result<Tensor> {
    let own = ops::softplus(&of_generator.neg()?)?.mean_all()?;
    Ok((own + ops::softplus(of_proposal)?.mean_all()?)?)
}

/// `c_q log q(x) - c_u log u(x)` of every row, and its gradient in `x`, both detached.
///
/// `own` is an estimate of the generator's log density at `x`, `(b,)`, and its gradient, `(b, d)`: the
/// critic's logit plus the proposal's log density. Their parameters are constants: because `E_q[grad_theta log q] = 0` the gradient along
/// `x = G(z)` is then the whole gradient of the annealed divergence, divided by `beta` in the entropy
/// form.
///
/// # Shapes
/// `x`: `(b, d)`; `context`: `(b, c)`, for the target; the results `(b,)` and `(b, d)`.
///
/// # Errors
/// Of the functions.
pub fn sample_gradient(
    x: &Tensor,
    context: Option<&Tensor>,
    own: (Tensor, Tensor),
    target: &dyn Target,
    Weights { c_q, c_u }: Weights,
) -> Result<(Tensor, Tensor)> {
    let (own, own_grad) = own;
    let (log_u, grad) = target.log_density_and_grad(x, context)?;
    let value = ((own * c_q)? - (log_u * c_u)?)?;
    Ok((value.detach(), ((own_grad * c_q)? - (grad * c_u)?)?.detach()))
}
