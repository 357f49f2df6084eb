//! Parzen windows: the mean log density of test rows under Gaussians on generated samples.
//!
//! `ln p(x) = ln mean_j exp(-|x - g_j|^2 / (2 h^2)) - d ln(h sqrt(2 pi))` with the bandwidth `h`.
//!
//! Kept because older papers report it. It is unreliable beyond a few dimensions, does not rank
//! models correctly and favours samples that look like cluster centres; and it moves with the pixel
//! range, so a number means nothing without its bandwidth and its scaling.

mod refine;
#[cfg(test)]
mod tests;

use ndarray::{Array1, ArrayView2};
use rayon::prelude::*;
use serde::Serialize;

use crate::{
    distances::{Distances, Scratch, blocks},
    error::{Error, Result},
    log_sum_exp::LogSumExp,
    real::Real,
};
pub use refine::refine_bandwidth;

/// A Parzen-window score with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Parzen {
    /// Mean log density of the test rows, nats per row.
    pub mean: f64,
    /// Population standard deviation over the test rows divided by `sqrt(n)`, as published scores
    /// have it. It says nothing about the choice of centres.
    pub std_error: f64,
    /// Test rows.
    pub n: usize,
    /// Samples under the window.
    pub centres: usize,
    /// Standard deviation of the window, in the unit of the data.
    pub bandwidth: f64,
}

impl Parzen {
    /// The standard error with `n - 1` in the variance instead of `n`.
    pub fn std_error_unbiased(&self) -> f64 {
        self.std_error * (self.n as f64 / (self.n as f64 - 1.0)).sqrt()
    }

    fn of(log_density: &[f64], centres: usize, bandwidth: f64) -> Self {
        let n = log_density.len();
        let mean = log_density.iter().sum::<f64>() / n as f64;
        let squares: f64 = log_density.iter().map(|value| (value - mean).powi(2)).sum();
        Self { mean, std_error: squares.sqrt() / n as f64, n, centres, bandwidth }
    }
}

/// Mean log density of `points` under an isotropic Gaussian window on `centres`.
///
/// Choose the bandwidth on other rows than `points`: see [`select_bandwidth`].
///
/// Below `2e9` multiplications, and for f64 input of any size, a log density is good to about twelve
/// digits. Larger f32 problems multiply in f32: an exponent is then off by about
/// `1e-7 sqrt(d) |x| |g| / h^2` with norms taken from the mean of the centres, in MNIST at
/// `h = 0.17` a thousandth of a nat, far below the standard error.
///
/// # Shapes
/// `centres`: `(m, d)`; `points`: `(n, d)`, `n >= 2`.
///
/// # Errors
/// [`Error::TooFew`], [`Error::Mismatch`], [`Error::NonFinite`] for unusable rows;
/// [`Error::Argument`] for a bandwidth that is not a positive number, or so small that a log density
/// leaves the range of f64.
pub fn parzen<T: Real>(
    centres: ArrayView2<'_, T>,
    points: ArrayView2<'_, T>,
    bandwidth: f64,
) -> Result<Parzen> {
    Ok(score_all(centres, points, &[bandwidth])?[0])
}

/// Log density of every row of `points`, nats; settings and errors as [`parzen`], any `n >= 1`.
///
/// # Shapes
/// `centres`: `(m, d)`; `points`: `(n, d)`; the result `(n,)`.
///
/// # Errors
/// As [`parzen`].
pub fn parzen_log_density<T: Real>(
    centres: ArrayView2<'_, T>,
    points: ArrayView2<'_, T>,
    bandwidth: f64,
) -> Result<Array1<f64>> {
    check_bandwidths(&[bandwidth])?;
    let distances = Distances::new(("points", points), ("centres", centres))?;
    Ok(finite(log_densities(&distances, points.ncols(), &[bandwidth]))?.into())
}

/// The bandwidth that a validation set prefers, and what every candidate gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BandwidthChoice {
    /// The candidate with the largest mean; of equal ones the first.
    pub bandwidth: f64,
    /// The choice is the smallest or the largest candidate: widen the grid.
    pub at_edge: bool,
    /// The score of every candidate on the validation set, in the order of the grid.
    pub scores: Vec<Parzen>,
}

/// Chooses the bandwidth on a validation set, which must share no row with the test set.
///
/// All candidates are scored in one pass over the distances.
///
/// # Shapes
/// `centres`: `(m, d)`; `validation`: `(n, d)`, `n >= 2`.
///
/// # Errors
/// As [`parzen`]; [`Error::Argument`] also for an empty grid.
///
/// # Example
/// ```
/// use eval_metrics::{log_grid, parzen, select_bandwidth};
/// use ndarray::array;
///
/// let samples = array![[0.0], [0.4], [1.0]];
/// let (validation, test) = (array![[0.1], [0.9]], array![[0.3], [0.5]]);
/// let choice = select_bandwidth(samples.view(), validation.view(), &log_grid(0.01, 1.0, 20)?)?;
/// assert!(!choice.at_edge);
/// let score = parzen(samples.view(), test.view(), choice.bandwidth)?;
/// assert!(score.mean.is_finite());
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn select_bandwidth<T: Real>(
    centres: ArrayView2<'_, T>,
    validation: ArrayView2<'_, T>,
    grid: &[f64],
) -> Result<BandwidthChoice> {
    if grid.is_empty() {
        return Err(Error::Argument {
            name: "grid",
            reason: "no bandwidths to choose from".into(),
        });
    }
    let scores = score_all(centres, validation, grid)?;
    let best = scores
        .iter()
        .skip(1)
        .fold(scores[0], |best, score| if score.mean > best.mean { *score } else { best });
    let inside =
        grid.iter().any(|&h| h < best.bandwidth) && grid.iter().any(|&h| h > best.bandwidth);
    Ok(BandwidthChoice { bandwidth: best.bandwidth, at_edge: !inside, scores })
}

/// `count` bandwidths from `low` to `high`, both included, with a constant ratio.
///
/// # Errors
/// [`Error::Argument`] unless `0 < low < high` and `count >= 2`.
pub fn log_grid(low: f64, high: f64, count: usize) -> Result<Vec<f64>> {
    if !(low > 0.0 && low < high && high.is_finite()) || count < 2 {
        return Err(Error::Argument {
            name: "grid",
            reason: format!(
                "needs 0 < low < high and two points or more, got {low}, {high}, {count}"
            ),
        });
    }
    let ratio = (high / low).ln() / (count - 1) as f64;
    let mut grid: Vec<f64> = (0..count).map(|i| low * (ratio * i as f64).exp()).collect();
    grid[count - 1] = high;
    Ok(grid)
}

fn score_all<T: Real>(
    centres: ArrayView2<'_, T>,
    points: ArrayView2<'_, T>,
    bandwidths: &[f64],
) -> Result<Vec<Parzen>> {
    check_bandwidths(bandwidths)?;
    if points.nrows() < 2 {
        return Err(Error::TooFew { what: "points", needed: 2, got: points.nrows() });
    }
    let distances = Distances::new(("points", points), ("centres", centres))?;
    let densities = finite(log_densities(&distances, points.ncols(), bandwidths))?;
    let score = |(at, &bandwidth): (usize, &f64)| {
        let column: Vec<f64> =
            densities.iter().skip(at).step_by(bandwidths.len()).copied().collect();
        Parzen::of(&column, centres.nrows(), bandwidth)
    };
    Ok(bandwidths.iter().enumerate().map(score).collect())
}

fn check_bandwidths(bandwidths: &[f64]) -> Result<()> {
    match bandwidths.iter().find(|h| !(h.is_finite() && **h > 0.0 && (0.5 / (*h * *h)).is_finite()))
    {
        None => Ok(()),
        Some(h) => Err(Error::Argument {
            name: "bandwidth",
            reason: format!("{h} is not a positive number whose square f64 can hold"),
        }),
    }
}

/// The squared distance beyond which a term can be seen in none of the sums.
fn farthest<'a>(sums: impl Iterator<Item = (&'a LogSumExp, &'a f64)>) -> f64 {
    sums.map(|(sum, &scale)| sum.farthest(scale)).fold(0.0, f64::max)
}

/// The log densities, if all are numbers whose squares are.
fn finite(densities: Vec<f64>) -> Result<Vec<f64>> {
    if densities.iter().all(|density| density.abs() < 1e150) {
        return Ok(densities);
    }
    let reason = "is too small beside the distances: a log density leaves the range of f64".into();
    Err(Error::Argument { name: "bandwidth", reason })
}

/// Log density of every point at every bandwidth, `(n, bandwidths)` in row-major order.
fn log_densities(distances: &Distances, width: usize, bandwidths: &[f64]) -> Vec<f64> {
    let scales: Vec<f64> = bandwidths.iter().map(|h| 0.5 / (h * h)).collect();
    let constants: Vec<f64> = bandwidths
        .iter()
        .map(|h| width as f64 * (h.ln() + 0.5 * std::f64::consts::TAU.ln()))
        .collect();
    let mut out = vec![0.0; distances.rows * scales.len()];
    let size = distances.row_block;
    out.par_chunks_mut(size * scales.len()).enumerate().for_each_init(
        Scratch::default,
        |scratch, (block, out)| {
            let rows = block * size..block * size + out.len() / scales.len();
            let mut sums = vec![LogSumExp::default(); out.len()];
            let mut near: Vec<Vec<f64>> = vec![Vec::new(); rows.len()];
            for columns in blocks(distances.columns, distances.column_block) {
                let limits: Vec<f64> = sums
                    .chunks(scales.len())
                    .map(|sums| farthest(sums.iter().zip(&scales)))
                    .collect();
                let (start, terms) = (rows.start, columns.len());
                let tile = (rows.clone(), columns);
                distances.near(tile, [Some(&limits), None], scratch, |row, _, squared| {
                    near[row - start].push(squared);
                });
                for (near, sums) in near.iter_mut().zip(sums.chunks_mut(scales.len())) {
                    for (sum, &scale) in sums.iter_mut().zip(&scales) {
                        sum.push_scaled(near, terms, scale);
                    }
                    near.clear();
                }
            }
            for (at, (sum, out)) in sums.iter().zip(out).enumerate() {
                *out = sum.log_mean() - constants[at % constants.len()];
            }
        },
    );
    out
}
