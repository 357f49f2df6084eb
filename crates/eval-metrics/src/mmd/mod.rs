//! Maximum mean discrepancy with Gaussian kernels, and its permutation test (Gretton et al. 2012).
//!
//! `MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y)` with `k(x, y) = exp(-|x - y|^2 / (2 h^2))`; it is
//! zero for equal distributions only.

mod median;

use ndarray::ArrayView2;
use serde::Serialize;

pub use self::median::median_distance;
use self::median::pooled_median;
use crate::{
    error::{Error, Result},
    pairs::{PairSums, Pooled},
    real::Real,
    sampling::subset,
};

/// Widths of a mixture, as multiples of its centre.
const MIXTURE: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];
/// Divisions that are summed in one pass over the kernel.
const BATCH: usize = 1024;
/// Statistics of a kernel in `[0, 1]` that differ by less are equal up to rounding.
const TIE: f64 = 1e-12;

/// The bandwidth `h` of the kernel.
///
/// Scores of several models compare only at one bandwidth: take it from the real rows by
/// [`median_distance`]. The median of both sets moves with the model, and suits a test of one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Bandwidth {
    /// This one, in the unit of the columns.
    Fixed(f64),
    /// The mean of five kernels, 1/4, 1/2, 1, 2 and 4 times this wide.
    FixedMixture(f64),
    /// The median distance between two different rows of either set.
    Median,
    /// The mean of five kernels, 1/4, 1/2, 1, 2 and 4 times the median wide.
    MedianMixture,
}

/// Settings of a maximum mean discrepancy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MmdOptions {
    /// Width of the kernel.
    pub bandwidth: Bandwidth,
    /// Random divisions of the pooled rows behind the p-value, usually 1,000; zero for no p-value.
    pub permutations: usize,
    /// Seed of the divisions.
    pub seed: u64,
}

/// A maximum mean discrepancy with its settings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mmd {
    /// The unbiased estimate of the squared discrepancy, which may be negative.
    pub value: f64,
    /// The estimate over all pairs, a row with itself included: never negative, too large.
    pub biased: f64,
    /// `(1 + divisions with a value as large) / (1 + divisions)`; none without permutations.
    pub p_value: Option<f64>,
    /// The widths that were used.
    pub bandwidths: Vec<f64>,
    /// Real rows.
    pub n_real: usize,
    /// Generated rows.
    pub n_fake: usize,
    /// Columns.
    pub width: usize,
    /// The settings.
    pub options: MmdOptions,
}

/// The squared maximum mean discrepancy between two sets of rows.
///
/// The kernel is computed in f64 and tile by tile, once for every 1,024 permutations; a median
/// costs five passes more.
///
/// # Shapes
/// `real`: `(n, d)`; `fake`: `(m, d)`; at least two rows each.
///
/// # Errors
/// [`Error::TooFew`], [`Error::Mismatch`], [`Error::NonFinite`] for unusable rows;
/// [`Error::Argument`] for magnitudes that overflow, for a bandwidth that is not positive, and for
/// a median of zero.
///
/// # Example
/// ```
/// use eval_metrics::{Bandwidth, MmdOptions, mmd};
/// use ndarray::array;
///
/// let (real, fake) = (array![[0.0], [1.0], [2.0]], array![[5.0], [6.0], [7.0]]);
/// let options = MmdOptions { bandwidth: Bandwidth::Median, permutations: 100, seed: 0 };
/// let distance = mmd(real.view(), fake.view(), &options)?;
/// assert!(distance.value > 0.5);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn mmd<T: Real>(
    real: ArrayView2<'_, T>,
    fake: ArrayView2<'_, T>,
    options: &MmdOptions,
) -> Result<Mmd> {
    let pooled = Pooled::new(real, fake)?;
    let bandwidths = bandwidths(options.bandwidth, &pooled)?;
    let sums = all_sums(&pooled, &bandwidths, options);
    let value = sums[0].unbiased();
    let as_large = sums[1..].iter().filter(|sums| sums.unbiased() >= value - TIE).count();
    let share = (1 + as_large) as f64 / sums.len() as f64;
    Ok(Mmd {
        value,
        biased: sums[0].biased(),
        p_value: (options.permutations > 0).then_some(share),
        bandwidths,
        n_real: real.nrows(),
        n_fake: fake.nrows(),
        width: real.ncols(),
        options: *options,
    })
}

fn bandwidths(rule: Bandwidth, pooled: &Pooled) -> Result<Vec<f64>> {
    let (centre, factors) = match rule {
        Bandwidth::Fixed(h) => (h, &MIXTURE[2..3]),
        Bandwidth::FixedMixture(h) => (h, &MIXTURE[..]),
        Bandwidth::Median => (pooled_median(pooled), &MIXTURE[2..3]),
        Bandwidth::MedianMixture => (pooled_median(pooled), &MIXTURE[..]),
    };
    let widths: Vec<f64> = factors.iter().map(|factor| factor * centre).collect();
    let usable = |h: &f64| *h > 0.0 && h.is_finite() && (0.5 / (h * h)).is_finite();
    if widths.iter().all(usable) {
        return Ok(widths);
    }
    let reason = match rule {
        Bandwidth::Fixed(_) | Bandwidth::FixedMixture(_) => {
            format!("{centre} is not a positive number whose square f64 can hold")
        }
        Bandwidth::Median | Bandwidth::MedianMixture => {
            format!("the median distance is {centre:e}; most rows are copies: give a fixed one")
        }
    };
    Err(Error::Argument { name: "bandwidth", reason })
}

/// The sums of the division as given and then of all random ones.
fn all_sums(pooled: &Pooled, bandwidths: &[f64], options: &MmdOptions) -> Vec<PairSums> {
    let scales: Vec<f64> = bandwidths.iter().map(|h| -0.5 / (h * h)).collect();
    let share = 1.0 / scales.len() as f64;
    let kernel =
        |squared: f64| scales.iter().map(|scale| (scale * squared).exp()).sum::<f64>() * share;
    let (n, n_real) = (pooled.distances.rows, pooled.n_real);
    let division = |number: usize| match number {
        0 => (0..n_real).collect(),
        _ => subset(n, n_real, options.seed, number as u64),
    };
    let mut sums = Vec::with_capacity(options.permutations + 1);
    while sums.len() <= options.permutations {
        let end = (sums.len() + BATCH).min(options.permutations + 1);
        let divisions: Vec<Vec<usize>> = (sums.len()..end).map(division).collect();
        sums.extend(pooled.divided_sums(&divisions, kernel));
    }
    sums
}

#[cfg(test)]
mod tests;
