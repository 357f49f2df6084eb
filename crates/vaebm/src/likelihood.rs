//! Estimates of likelihoods by draws of the posterior.

use candle_core::Tensor;
use chains_core::{Error, Noise, Result, chain::LogWeights, host};

/// The log weights of `draws` draws of the posterior for every example of `x`, `rows` at a time.
///
/// Their mean is the bound of an example, [`LogWeights::importance_sampling`] the importance-weighted
/// estimate of `ln p(x)`, whose expectation grows with the number of draws. `log_weights` gives
/// `ln p(x, z) - ln q(z | x)` at one draw for each of its rows, `(n, ..event)` -> `(n,)`; examples are
/// repeated for it.
///
/// # Shapes
/// `x`: `(b, ..event)`; the result has `b` entries.
///
/// # Errors
/// [`Error::Config`] without draws, [`Error::Shape`] without examples; those of `log_weights`.
pub fn importance_weights(
    x: &Tensor,
    draws: usize,
    rows: usize,
    noise: &mut dyn Noise,
    mut log_weights: impl FnMut(&Tensor, &mut dyn Noise) -> Result<Tensor>,
) -> Result<Vec<LogWeights>> {
    if draws == 0 {
        return Err(Error::Config { field: "draws", reason: "must be one or more".into() });
    }
    let b = x.dims().first().copied().unwrap_or(0);
    if b == 0 {
        let (expected, got) = ("(b, ..event), not empty".into(), x.dims().to_vec());
        return Err(Error::Shape { what: "examples", expected, got });
    }
    let mut weights = vec![LogWeights::default(); b];
    // Pieces of examples if not even one draw of all fits.
    let piece = b.min(rows.max(1));
    for at in (0..b).step_by(piece) {
        let n = piece.min(b - at);
        let (part, copies) = (x.narrow(0, at, n)?.contiguous()?, (rows / n).max(1));
        let mut left = draws;
        while left > 0 {
            let now = left.min(copies);
            let found = log_weights(&Tensor::cat(&vec![&part; now], 0)?, noise)?;
            for (i, weight) in host::vector(&found)?.into_iter().enumerate() {
                weights[at + i % n].push(weight);
            }
            left -= now;
        }
    }
    Ok(weights)
}

/// `ln h(x) = ln p(x) - E(x)` up to `-ln Z`, the score of an example under the product (section 5.4):
/// estimates of `ln p(x)` and energies `(b,)`, both in the order of the examples.
///
/// # Errors
/// [`Error::Shape`] if the numbers differ.
pub fn unnormalised_log_density(log_p: &[f64], energy: &Tensor) -> Result<Vec<f64>> {
    if energy.dims() != [log_p.len()] {
        let (expected, got) = (format!("({},)", log_p.len()), energy.dims().to_vec());
        return Err(Error::Shape { what: "energies", expected, got });
    }
    Ok(log_p.iter().zip(host::values(energy)?).map(|(log_p, energy)| log_p - energy).collect())
}
