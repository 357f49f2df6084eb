//! The gradient of the generator's entropy: its score by importance sampling of the latent posterior.

use candle_core::{D, Tensor};
use chains_core::{Error, Noise, Result, host, nn::BatchNormMoments, ops};

use crate::generator::{Drawn, Generator, GeneratorNetwork};

const LN_2PI: f64 = 1.837_877_066_409_345_3;

/// An estimate of minus the score of the generator's density at its own samples.
///
/// With `q(x) = E_z N(x; g(z), sigma^2)` the score is `E_{q(z | x)}[-(x - g(z)) / sigma^2]`, and
/// `grad_phi H(q) = E[c dx/dphi]` with `c` minus the score held constant: [`entropy_surrogate`].
#[derive(Clone, Debug)]
pub struct ScoreEstimate {
    /// c, of the shape of the samples, detached.
    pub minus_score: Tensor,
    /// Self-normalised weights of the proposals, `(k, b)`; equal ones for chains.
    pub weights: Tensor,
}

impl ScoreEstimate {
    /// Mean over examples of `1 / sum_i w_i^2`, from 1 to k.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn effective_samples(&self) -> Result<f64> {
        host::scalar(&self.effective()?)
    }

    /// The same on the device.
    pub(crate) fn effective(&self) -> Result<Tensor> {
        Ok(self.weights.sqr()?.sum(0)?.recip()?.mean_all()?)
    }
}

/// Minus the score by self-normalised importance sampling (equation 7): `k` proposals `z_i ~ N(z_0,
/// eta^2)` around the latent that gave the sample, weighted by `q(x, z_i)` over their density.
///
/// `moments` are what batch norms use for the proposals: their own in the published code, those of the
/// sampling pass with [`BatchNormMoments::fixed`].
///
/// # Shapes
/// `log_eta`: `(d,)`.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit.
pub fn importance_score<G: GeneratorNetwork>(
    generator: &Generator<G>,
    drawn: &Drawn,
    log_eta: &Tensor,
    k: usize,
    moments: &mut BatchNormMoments,
    noise: &mut dyn Noise,
) -> Result<ScoreEstimate> {
    let (x, z0, log_eta) = (drawn.x.detach(), drawn.latent.detach(), log_eta.detach());
    let (b, d) = z0.dims2()?;
    let u = noise.normal(&(k, b, d).into(), z0.dtype(), z0.device())?;
    let z = u.broadcast_mul(&log_eta.exp()?)?.broadcast_add(&z0)?;
    let means = generator.network.mean(&z.reshape((k * b, d))?, moments)?.detach();
    let variance = generator.sigma()?.powi(2);
    // ln q(z_i) - ln xi(z_i); the constants in sigma and pi cancel in the weights.
    let ratio = ((u.sqr()? - z.sqr()?)?.sum(D::Minus1)? * 0.5)?;
    let ratio = ratio.broadcast_add(&log_eta.sum_all()?)?;
    let flat = x.flatten_from(1)?;
    let width = flat.dims()[1];
    let proposals = means.reshape((k, b, width))?;
    let (weights, mean) = ops::self_normalised_mean(&flat, &proposals, &ratio, variance)?;
    let minus_score = ((flat - mean)? * (1.0 / variance))?.reshape(x.shape())?;
    Ok(ScoreEstimate { minus_score, weights })
}

/// `S_H = mean_b sum (c x)`, whose gradient in the generator estimates that of its entropy. Its value
/// is not the entropy.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ.
pub fn entropy_surrogate(minus_score: &Tensor, x: &Tensor) -> Result<Tensor> {
    if minus_score.dims() != x.dims() {
        let (expected, got) = (format!("{:?}", x.dims()), minus_score.dims().to_vec());
        return Err(Error::Shape { what: "score", expected, got });
    }
    let b = x.dims().first().copied().unwrap_or(1).max(1);
    Ok((minus_score.detach().mul(x)?.sum_all()? * (1.0 / b as f64))?)
}

/// The bound on `ln q(x)` by which the approximate posterior `N(z_0, eta^2)` learns its width, of one
/// sample an example:
/// `ln q(x | z) + ln q(z) + sum_d (ln eta + (1 + ln 2 pi) / 2)`, `z = z_0 + eta u`.
///
/// # Shapes
/// `(b,)`; differentiate in `log_eta`, `(d,)`.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit.
pub fn posterior_bound<G: GeneratorNetwork>(
    generator: &Generator<G>,
    drawn: &Drawn,
    log_eta: &Tensor,
    moments: &mut BatchNormMoments,
    noise: &mut dyn Noise,
) -> Result<Tensor> {
    let (x, z0) = (drawn.x.detach(), drawn.latent.detach());
    let u = noise.normal(z0.shape(), z0.dtype(), z0.device())?;
    let z = z0.add(&u.broadcast_mul(&log_eta.exp()?)?)?;
    let mean = generator.network.mean(&z, moments)?;
    let sigma = generator.sigma()?;
    let residual = (x - mean)?.flatten_from(1)?;
    let width = residual.dims()[1] as f64;
    let square = (residual.sqr()?.sum(1)? * (-0.5 / (sigma * sigma)))?;
    let likelihood = square.affine(1.0, -width * (sigma.ln() + 0.5 * LN_2PI))?;
    let d = z.dims()[1] as f64;
    let prior = (z.sqr()?.sum(1)? * -0.5)?.affine(1.0, -0.5 * d * LN_2PI)?;
    let entropy = log_eta.sum_all()?.affine(1.0, 0.5 * d * (1.0 + LN_2PI))?;
    Ok((likelihood + prior)?.broadcast_add(&entropy)?)
}
