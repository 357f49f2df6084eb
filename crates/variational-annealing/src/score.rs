//! Scores of denoising autoencoders, and a Langevin sampler that follows them.

mod langevin;
mod plane;
#[cfg(test)]
mod tests;

use candle_core::Tensor;
use chains_core::{Result, density::value_and_grad};

pub use self::{
    langevin::{LangevinConfig, ScoreField, euler_variance, langevin},
    plane::ScoreModel,
};

/// The denoiser's score `(phi(y) - y) / sigma^2` (supplement, section G), detached.
///
/// At the optimum it is the score of the *smoothed* density `mu * N(0, sigma^2 I)` (Tweedie): of a normal
/// of variance `s^2` the slope is `-1 / (s^2 + sigma^2)`, not `-1 / s^2`.
///
/// # Shapes
/// `y`, `denoised` (`phi(y)`) and the score: `(b, F)`.
///
/// # Errors
/// If the shapes differ.
pub fn dae_score(y: &Tensor, denoised: &Tensor, sigma: f64) -> Result<Tensor> {
    Ok(((denoised - y)? / (sigma * sigma))?.detach())
}

/// The residual score `-grad_y |phi(y) - y|^2`, through `phi`, detached: a baseline that fails
/// (supplement, section G).
///
/// Of the best denoiser of a normal of variance `s^2` it is `-2 sigma^4 y / (s^2 + sigma^2)^2`.
///
/// # Shapes
/// `y` and the score: `(b, F)`; rows must not interact in `phi`.
///
/// # Errors
/// Of `phi`.
pub fn residual_score(y: &Tensor, phi: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let square = |y: &Tensor| Ok((phi(y)? - y)?.sqr()?.sum(1)?.neg()?);
    Ok(value_and_grad(y, square)?.1)
}
