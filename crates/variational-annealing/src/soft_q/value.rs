//! The soft value and the targets of the Q function.

use candle_core::{D, Tensor};
use chains_core::{Error, Result};

/// `alpha [ logsumexp_j (q_j / alpha - log p_j) - log J ]`: an estimate of `alpha log` of the integral of
/// `exp(Q / alpha)` from `J` actions drawn from `p`.
///
/// # Shapes
/// `q`, `log_p`: `(b, J)`; the result `(b,)`.
///
/// # Errors
/// [`Error::Shape`] if they differ.
pub fn soft_value(q: &Tensor, log_p: &Tensor, temperature: f64) -> Result<Tensor> {
    if q.rank() != 2 || q.dims() != log_p.dims() {
        let (expected, got) = (format!("{:?}", q.dims()), log_p.dims().to_vec());
        return Err(Error::Shape { what: "log density of actions", expected, got });
    }
    let particles = q.dim(1)? as f64;
    let terms = ((q / temperature)? - log_p)?;
    let sum = terms.log_sum_exp(D::Minus1)?;
    Ok(sum.affine(temperature, -temperature * particles.ln())?)
}

/// `reward_scale r + gamma (1 - done) V(s')`.
///
/// # Shapes
/// All `(b,)`.
///
/// # Errors
/// If the shapes differ.
pub fn bellman_targets(
    rewards: &Tensor,
    done: &Tensor,
    values: &Tensor,
    [reward_scale, discount]: [f64; 2],
) -> Result<Tensor> {
    let going_on = done.affine(-discount, discount)?;
    Ok(((rewards * reward_scale)? + going_on.mul(values)?)?)
}
