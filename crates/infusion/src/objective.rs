//! The training objectives as functions of distributions and tensors.

use candle_core::Tensor;
use chains_core::{Error, Result};

/// `-(1 / (b D)) sum_b sum_t w_t ln p_t(target_t)`.
///
/// The log densities are those of steps t = 1 .. T. Denoising training (section 2.3.2) has
/// `target_t = x` and `w_t = t / T`; the detached bound has `target_t = z_t` for t < T.
///
/// # Shapes
/// `log_prob`: `(T, b)`; `weights`: T numbers; the result is a scalar, in nats for each of the `d`
/// dimensions.
///
/// # Errors
/// [`Error::Shape`] unless there are T weights.
pub fn weighted_log_likelihood(log_prob: &Tensor, d: usize, weights: &[f64]) -> Result<Tensor> {
    let (steps, b) = log_prob.dims2()?;
    if steps != weights.len() {
        let (expected, got) = (format!("({}, b)", weights.len()), vec![steps, b]);
        return Err(Error::Shape { what: "log densities of the steps", expected, got });
    }
    let narrow: Vec<f32> = weights.iter().map(|w| *w as f32).collect();
    let column = Tensor::from_vec(narrow, (weights.len(), 1), log_prob.device())?;
    let weighted = log_prob.broadcast_mul(&column.to_dtype(log_prob.dtype())?)?;
    Ok((weighted.sum_all()? * (-1.0 / (b as f64 * d as f64)))?)
}

/// The weights t / T, t = 1 .. T.
pub fn increasing_weights(steps: usize) -> Vec<f64> {
    (1..=steps).map(|t| t as f64 / steps as f64).collect()
}
