//! Parzen windows: the mean log density of test rows under Gaussians on generated samples.
//!
//! `ln p(x) = ln mean_j exp(-|x - g_j|^2 / (2 h^2)) - d ln(h sqrt(2 pi))` with the bandwidth `h`.
//!
//! Kept because older papers report it. It is unreliable beyond a few dimensions, does not rank
//! models correctly and favours samples that look like cluster centres; and it moves with the pixel
//! range, so a number means nothing without its bandwidth and its scaling.

mod refine;

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

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array, s};

    use super::*;
    use crate::golden::{array as golden, assert_close, fake, normals, real};

    #[test]
    fn golden_values_are_met() -> Result<()> {
        for (bandwidth, mean, std_error) in [
            (0.1, -12.775771951104794, 0.7620984099423932),
            (0.2, -3.518492809050951, 0.20019368476972724),
            (0.3, -3.0912047061076793, 0.10683606917412417),
        ] {
            let score = parzen(fake().view(), real().view(), bandwidth)?;
            assert_close(score.mean, mean, 1e-12);
            assert_close(score.std_error, std_error, 1e-12);
            assert_eq!((score.n, score.centres), (200, 200));
        }
        let score = parzen(fake().view(), real().view(), 0.1)?;
        assert_close(score.std_error_unbiased(), 0.7640108305401417, 1e-12);
        Ok(())
    }

    #[test]
    fn one_centre_is_an_exact_gaussian() -> Result<()> {
        let density =
            parzen_log_density(array![[1.0, -2.0]].view(), array![[0.5, 1.0]].view(), 0.7)?;
        // Sum over dimensions of -ln(h sqrt(2 pi)) - (x - g)^2 / (2 h^2), term by term.
        let log_normal =
            |z: f64| -0.5 * (z / 0.7).powi(2) - (0.7 * (2.0 * std::f64::consts::PI).sqrt()).ln();
        assert_close(density[0], log_normal(0.5) + log_normal(3.0), 1e-14);
        Ok(())
    }

    #[test]
    fn many_normal_samples_approach_the_convolved_normal() -> Result<()> {
        let (s, t, h) = (1.0, 0.7, 0.5);
        let (centres, points) = (normals(11, 20_000) * s, normals(12, 4_000) * t);
        let score = parzen(centres.view(), points.view(), h)?;
        let variance: f64 = s * s + h * h;
        let expected = -0.5 * (std::f64::consts::TAU * variance).ln() - t * t / (2.0 * variance);
        // The centres' own sampling error is smaller than the test rows'.
        assert!((score.mean - expected).abs() < 5.0 * score.std_error, "{score:?} {expected}");
        Ok(())
    }

    #[test]
    fn distant_rows_neither_overflow_nor_vanish() -> Result<()> {
        let density = parzen_log_density(array![[0.0], [1.0]].view(), array![[142.0]].view(), 1.0)?;
        let expected = -0.5 * 141.0_f64.powi(2) + (1.0 + (-141.5_f64).exp()).ln()
            - 2.0_f64.ln()
            - 0.5 * std::f64::consts::TAU.ln();
        assert_close(density[0], expected, 1e-14);
        Ok(())
    }

    #[test]
    fn block_sizes_do_not_matter() -> Result<()> {
        let mut distances = Distances::new(("points", real().view()), ("centres", fake().view()))?;
        let whole = log_densities(&distances, 8, &[0.1, 0.3]);
        for (rows, columns) in [(1, 7), (7, 1), (256, 64)] {
            (distances.row_block, distances.column_block) = (rows, columns);
            let blocked = log_densities(&distances, 8, &[0.1, 0.3]);
            whole.iter().zip(&blocked).for_each(|(a, b)| assert_close(*a, *b, 1e-12));
        }
        Ok(())
    }

    #[test]
    fn single_precision_input_agrees() -> Result<()> {
        let narrow = |rows: Array2<f64>| rows.mapv(|x| x as f32);
        let found = parzen(narrow(fake()).view(), narrow(real()).view(), 0.2)?;
        assert_close(found.mean, -3.518492809050951, 1e-5);
        assert_close(found.std_error, 0.20019368476972724, 1e-5);
        let turned = parzen(fake().slice(s![..;-1, ..]), real().slice(s![..;-1, ..]), 0.2)?;
        assert_close(turned.mean, -3.518492809050951, 1e-12);
        Ok(())
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
        let (centres, points) = (golden(5, 3000, 20), golden(6, 1100, 20));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| parzen(centres.view(), points.view(), 0.2))
        };
        assert_eq!(run(1)?, run(3)?);
        Ok(())
    }

    #[test]
    fn single_precision_agrees_with_double_where_it_is_used() -> Result<()> {
        let wide = golden(7, 3300, 784).mapv(|x| x as f32);
        let (centres, points) = (wide.slice(s![..1650, ..]), wide.slice(s![1650.., ..]));
        let single = parzen_log_density(centres, points, 0.17)?;
        let (centres, points) = (centres.mapv(f64::from), points.mapv(f64::from));
        let double = parzen_log_density(centres.view(), points.view(), 0.17)?;
        let worst = single.iter().zip(&double).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst > 0.0 && worst < 2e-3, "{worst} nats");
        Ok(())
    }

    #[test]
    fn the_chosen_bandwidth_is_the_best_of_the_grid_on_the_validation_set() -> Result<()> {
        let (samples, validation) = (normals(21, 400), normals(22, 300));
        let grid = log_grid(0.02, 4.0, 15)?;
        let choice = select_bandwidth(samples.view(), validation.view(), &grid)?;
        for (score, &h) in choice.scores.iter().zip(&grid) {
            assert_eq!(*score, parzen(samples.view(), validation.view(), h)?);
            let best = parzen(samples.view(), validation.view(), choice.bandwidth)?;
            assert!(score.mean <= best.mean);
        }
        assert!(!choice.at_edge);
        assert!(select_bandwidth(samples.view(), validation.view(), &grid[..3])?.at_edge);
        Ok(())
    }

    #[test]
    fn the_grid_has_a_constant_ratio_and_both_ends() -> Result<()> {
        let grid = log_grid(0.1, 1.0, 10)?;
        assert_eq!((grid.len(), grid[0], grid[9]), (10, 0.1, 1.0));
        grid.windows(2)
            .for_each(|pair| assert_close(pair[1] / pair[0], 10f64.powf(1.0 / 9.0), 1e-12));
        assert!(log_grid(0.0, 1.0, 3).is_err() && log_grid(0.1, 1.0, 1).is_err());
        Ok(())
    }

    #[test]
    fn unusable_input_is_named() {
        let (good, mut bad) = (Array2::<f32>::zeros((3, 2)), Array2::<f32>::zeros((3, 2)));
        let text = |centres: &Array2<f32>, points: &Array2<f32>, h| {
            parzen(centres.view(), points.view(), h).unwrap_err().to_string()
        };
        assert!(text(&good, &good, 0.0).contains("bandwidth"));
        assert!(text(&good, &good, f64::NAN).contains("bandwidth"));
        assert!(text(&good, &good, 1e-200).contains("bandwidth"));
        assert!(text(&good, &(&good + 1e30), 1e-140).contains("leaves the range"));
        assert!(parzen_log_density(good.view(), (&good + 1e30).view(), 1e-140).is_err());
        assert!(
            text(&good, &Array2::zeros((3, 4)), 1.0).contains("points: expected 2 columns, got 4")
        );
        assert!(text(&Array2::zeros((0, 2)), &good, 1.0).contains("centres: 0 rows"));
        assert!(text(&good, &Array2::zeros((1, 2)), 1.0).contains("points: 1 rows"));
        bad[(2, 1)] = f32::NAN;
        assert!(text(&bad, &good, 1.0).contains("centres: row 2, column 1"));
        assert!(select_bandwidth(good.view(), good.view(), &[]).is_err());
    }
}
