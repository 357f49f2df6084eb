//! Importance-weighted likelihoods of a linear autoencoder.

use candle_core::Tensor;
use chains_core::{Noise, Result, chain::LogWeights};
use vaebm::{importance_weights, unnormalised_log_density};

use crate::{noise, normal, tensor, values};

/// `W = (1, 0.5)`, `b = (0.2, -0.1)`, `s = 0.3`; the posterior's deviation times `r`.
fn log_weights(x: &Tensor, r: f64, noise: &mut dyn Noise) -> Result<Tensor> {
    let precision = 1.0 + 1.25 / 0.09;
    let centred = x.broadcast_sub(&tensor([[0.2, -0.1]]))?;
    let w = tensor([[1.0], [0.5]]);
    let mean = (centred.matmul(&w)? / (0.09 * precision))?;
    let deviation = precision.sqrt().recip() * r;
    let e = normal(noise, mean.dims());
    let z = (&mean + (&e * deviation)?)?;
    let residual = (centred - z.matmul(&w.t()?)?)?.sqr()?.sum_keepdim(1)?;
    let ln_two_pi = (2.0 * std::f64::consts::PI).ln();
    let log_x = (residual * (-0.5 / 0.09))?.affine(1.0, -ln_two_pi - 2.0 * 0.3_f64.ln())?;
    // The constants of prior and posterior cancel.
    let ratio = ((e.sqr()? - z.sqr()?)? * 0.5)?.affine(1.0, deviation.ln())?;
    Ok((log_x + ratio)?.squeeze(1)?)
}

fn point(copies: usize) -> Tensor {
    tensor([[1.0, 0.0]]).repeat((copies, 1)).unwrap()
}

fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// Estimates of `copies` runs of `k` draws.
fn estimates(copies: usize, k: usize, r: f64) -> Result<Vec<LogWeights>> {
    let mut noise = noise("draws");
    importance_weights(&point(copies), k, 4096, &mut noise, |x, noise| log_weights(x, r, noise))
}

#[test]
fn the_exact_posterior_gives_the_likelihood_at_every_draw() -> Result<()> {
    for k in [1, 7] {
        for found in estimates(5, k, 1.0)? {
            assert!((found.importance_sampling() - -1.395_911).abs() < 1e-6);
            assert!((found.lower_bound() - -1.395_911).abs() < 1e-6);
            assert_eq!(found.chains(), k as u64);
        }
    }
    Ok(())
}

#[test]
fn a_wide_posterior_has_the_bound_and_the_estimates_of_the_quadrature() -> Result<()> {
    let of = |copies, k| -> Result<(f64, f64)> {
        let found = estimates(copies, k, 2.0)?;
        Ok(mean_and_error(&found.iter().map(LogWeights::importance_sampling).collect::<Vec<_>>()))
    };
    for (copies, k, want) in [(40_000, 1, -2.202_764), (40_000, 2, -1.634_454)] {
        let (mean, error) = of(copies, k)?;
        assert!((mean - want).abs() < 4.0 * error, "{k}: {mean} and not {want}, error {error}");
    }
    let (mean, error) = of(4000, 100)?;
    assert!((mean - -1.3986).abs() < 4.0 * error + 4e-4, "{mean} {error}");
    let mut last = f64::NEG_INFINITY;
    for (copies, k) in
        [(40_000, 1), (40_000, 2), (20_000, 5), (10_000, 10), (4000, 100), (1000, 1000)]
    {
        let (mean, _) = of(copies, k)?;
        assert!(last < mean && mean < -1.395, "{k}: {mean} after {last}");
        last = mean;
    }
    let found = estimates(2, 2000, 2.0)?;
    // The same draws give the bound.
    let bound = found[0].lower_bound();
    let error = found[0].std_between_chains() / 2000_f64.sqrt();
    assert!((bound - -2.202_764).abs() < 4.0 * error, "{bound} {error}");
    Ok(())
}

#[test]
fn every_example_gets_its_own_weights_however_rows_are_cut() -> Result<()> {
    let x = tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 1.0]]);
    let run = |rows| {
        let mut counts = Vec::new();
        let found = importance_weights(&x, 5, rows, &mut noise("cut"), |x, _| {
            counts.push(x.dims()[0]);
            // A weight that says which example it is of.
            Ok((x.sum(1)? * 1.0)?)
        })?;
        assert!(counts.iter().all(|n| *n <= rows.max(1)), "{counts:?}");
        Ok::<_, chains_core::Error>(found)
    };
    for rows in [1, 2, 3, 7, 100] {
        for (found, want) in run(rows)?.iter().zip([0.0, 1.0, 3.0]) {
            assert_eq!(found.chains(), 5);
            assert!((found.importance_sampling() - want).abs() < 1e-12);
        }
    }
    assert!(importance_weights(&x, 0, 1, &mut noise("cut"), |x, _| Ok(x.sum(1)?)).is_err());
    let none = x.narrow(0, 0, 0)?;
    assert!(importance_weights(&none, 1, 1, &mut noise("cut"), |x, _| Ok(x.sum(1)?)).is_err());
    Ok(())
}

#[test]
fn the_score_of_the_product_is_the_difference() -> Result<()> {
    let energy = tensor([[1.0, -2.0]]).squeeze(0)?;
    assert_eq!(unnormalised_log_density(&[-3.0, -4.0], &energy)?, [-4.0, -2.0]);
    assert!(unnormalised_log_density(&[-3.0], &energy).is_err());
    assert_eq!(values(&energy), [1.0, -2.0]);
    Ok(())
}
