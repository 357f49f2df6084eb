//! Negatives without chains: the product by importance sampling from the autoencoder.

use candle_core::Tensor;
use chains_core::{Error, Noise, Result, density::Energy, host};

use super::NegativeBatch;
use crate::noise_decoder::NoiseDecoder;

/// Samples of the autoencoder with their weights under the product.
#[derive(Clone, Debug)]
pub struct Weighted {
    /// Samples, `(n, ..event)`, detached.
    pub x: Tensor,
    /// `exp(-E(x_i))` divided by their sum, `(n,)`.
    pub weights: Tensor,
    /// `1 / sum w_i^2`, between 1 and `n`.
    pub effective_samples: f64,
}

impl Weighted {
    /// As the negatives of an update.
    pub fn negatives(&self) -> NegativeBatch<'_> {
        NegativeBatch { x: &self.x, weights: Some(&self.weights) }
    }
}

/// `n` samples of the autoencoder and their self-normalised weights: `sum w_i grad E(x_i)` is the
/// negative phase without the error of a chain, for energies of which enough samples count. A control
/// of ours; the paper has chains only.
///
/// # Errors
/// [`Error::NonFinite`] if an energy is no number; those of the networks.
pub fn importance_negatives(
    decoder: &impl NoiseDecoder,
    energy: &impl Energy,
    n: usize,
    noise: &mut dyn Noise,
) -> Result<Weighted> {
    let x = decoder.decode(&decoder.draw_noise(n, noise)?)?.image.detach();
    let minus = energy.energy(&x)?.detach().neg()?;
    let weights = minus.broadcast_sub(&minus.max_keepdim(0)?)?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(0)?)?;
    let square = host::scalar(&weights.sqr()?.sum_all()?)?;
    if !square.is_finite() {
        return Err(Error::NonFinite { what: "importance weight", step: 0 });
    }
    Ok(Weighted { x, weights, effective_samples: 1.0 / square })
}
