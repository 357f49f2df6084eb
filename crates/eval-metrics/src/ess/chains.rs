//! Effective sample size and convergence of Markov chains.

use ndarray::{ArrayView1, ArrayView2, Axis, s};
use serde::Serialize;

use crate::{
    error::{Error, Result},
    real::{Real, check_rows},
};

/// How many independent draws one chain is worth for the mean of what it records.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ChainEss {
    /// `n / autocorrelation_time`; above `n` where draws alternate.
    pub ess: f64,
    /// Integrated autocorrelation time, steps per independent draw.
    pub autocorrelation_time: f64,
    /// Mean of the chain.
    pub mean: f64,
    /// Standard error of the mean, `sqrt(variance / ess)`.
    pub std_error: f64,
    /// Population variance of the chain.
    pub variance: f64,
    /// Steps.
    pub n: usize,
}

/// Effective sample size of one chain of a real quantity by Geyer's initial monotone sequence.
///
/// The autocorrelation time is `-1 + 2 sum_k G_k` with the pairs `G_k = rho_2k + rho_(2k+1)` up to
/// the first that is not positive, each replaced by the smallest so far (Geyer, 1992);
/// autocovariances have the divisor `n`. The size is bounded by `n log10 n`, as Vehtari and others
/// (2021) do, since noise can bring the time of an alternating chain to zero. Costs `n` times the lag
/// of the last pair.
///
/// # Errors
/// [`Error::TooFew`] for fewer than four steps, [`Error::NonFinite`] for a step that is no finite
/// number, [`Error::Argument`] for a chain that does not move or whose squares overflow.
///
/// # Example
/// ```
/// let chain: Vec<f64> = (0..400).map(|step| f64::from(step / 4 % 2)).collect();
/// let found = eval_metrics::chain_ess(&chain)?;
/// assert!(found.ess < 400.0);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn chain_ess<T: Real>(chain: &[T]) -> Result<ChainEss> {
    let n = chain.len();
    if n < 4 {
        return Err(Error::TooFew { what: "chain", needed: 4, got: n });
    }
    check_rows("chain", ArrayView1::from(chain).insert_axis(Axis(1)), 4)?;
    let series = Series::new(ArrayView1::from(chain));
    let variance = series.covariance(0);
    check_variance("chain", variance, [&series])?;
    let time = geyer_time(n, |lag| series.covariance(lag) / variance);
    let ess = bounded(n as f64 / time, n);
    Ok(ChainEss {
        ess,
        autocorrelation_time: n as f64 / ess,
        mean: series.mean,
        std_error: (variance / ess).sqrt(),
        variance,
        n,
    })
}

/// Agreement and pooled size of several chains of one real quantity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Convergence {
    /// Split R-hat: about one when the halves of all chains agree; above 1.01 run longer.
    pub r_hat: f64,
    /// Effective number of independent draws in all chains together; small when they disagree.
    pub ess: f64,
    /// Draws in all halves over `ess`.
    pub autocorrelation_time: f64,
    /// Mean over all halves.
    pub mean: f64,
    /// Standard error of the mean, from the pooled variance and `ess`.
    pub std_error: f64,
    /// Chains.
    pub chains: usize,
    /// Steps of each; of an odd number the middle one is left out.
    pub steps: usize,
}

/// Split R-hat and pooled effective sample size of chains that started apart.
///
/// Every chain is cut into halves, so that a drift inside a chain shows as well. With `W` the mean
/// of the halves' variances and `B` the variance of their means times the length of a half `n`,
/// `V = (n - 1) / n W + B / n` and R-hat is `sqrt(V / W)` (Gelman and Rubin, 1992); the pooled
/// autocorrelation is `1 - (W - mean_j s_j^2 rho_j) / V` and goes through Geyer's sequence (Vehtari
/// and others, 2021, without ranks). For one chain prefer [`chain_ess`] where drift is no question.
///
/// # Shapes
/// `chains`: `(chains, steps)`, at least eight steps.
///
/// # Errors
/// [`Error::TooFew`], [`Error::NonFinite`] for unusable chains, [`Error::Argument`] when no chain
/// moves or squares overflow.
pub fn convergence<T: Real>(chains: ArrayView2<'_, T>) -> Result<Convergence> {
    check_rows("chains", chains, 1)?;
    let (count, steps) = chains.dim();
    if steps < 8 {
        return Err(Error::TooFew { what: "steps of the chains", needed: 8, got: steps });
    }
    let n = steps / 2;
    let halves: Vec<Series> = chains
        .outer_iter()
        .flat_map(|chain| [chain.slice_move(s![..n]), chain.slice_move(s![steps - n..])])
        .map(Series::new)
        .collect();
    let (pieces, length) = (halves.len() as f64, n as f64);
    let mean_covariance =
        |lag| halves.iter().map(|half| half.covariance(lag)).sum::<f64>() / pieces;
    let unbias = length / (length - 1.0);
    let within = mean_covariance(0) * unbias;
    check_variance("chains", within, &halves)?;
    let mean = halves.iter().map(|half| half.mean).sum::<f64>() / pieces;
    let squares: f64 = halves.iter().map(|half| (half.mean - mean).powi(2)).sum();
    let pooled = within / unbias + squares / (pieces - 1.0);
    let time = geyer_time(n, |lag| 1.0 - (within - mean_covariance(lag) * unbias) / pooled);
    let total = halves.len() * n;
    let ess = bounded(total as f64 / time, total);
    Ok(Convergence {
        r_hat: (pooled / within).sqrt(),
        ess,
        autocorrelation_time: total as f64 / ess,
        mean,
        std_error: (pooled / ess).sqrt(),
        chains: count,
        steps,
    })
}

/// A chain less its mean.
struct Series {
    mean: f64,
    centred: Vec<f64>,
}

impl Series {
    fn new<T: Real>(chain: ArrayView1<'_, T>) -> Self {
        let n = chain.len() as f64;
        // From the first step, which keeps the digits of a chain far from zero.
        let origin: f64 = chain[0].into();
        let mut centred: Vec<f64> = chain.iter().map(|&value| value.into() - origin).collect();
        let shift = centred.iter().sum::<f64>() / n;
        centred.iter_mut().for_each(|value| *value -= shift);
        Self { mean: origin + shift, centred }
    }

    /// Autocovariance with divisor `n`; `lag` is below `n`.
    fn covariance(&self, lag: usize) -> f64 {
        let later = self.centred[lag..].iter();
        self.centred.iter().zip(later).map(|(a, b)| a * b).sum::<f64>() / self.centred.len() as f64
    }
}

fn check_variance<'a>(
    name: &'static str,
    variance: f64,
    series: impl IntoIterator<Item = &'a Series>,
) -> Result<()> {
    let moves =
        |series: &Series| series.centred.windows(2).any(|pair| (pair[1] - pair[0]).abs() > 0.0);
    if !variance.is_finite() {
        let reason = "squares overflow; rescale".into();
        return Err(Error::Argument { name, reason });
    }
    if variance <= 0.0 || !series.into_iter().any(moves) {
        let reason =
            "no step differs noticeably from the one before; nothing can be estimated".into();
        return Err(Error::Argument { name, reason });
    }
    Ok(())
}

/// `-1 + 2 sum G_k` over the initial monotone sequence of a series of `n`.
fn geyer_time(n: usize, correlation: impl Fn(usize) -> f64) -> f64 {
    let (mut time, mut smallest) = (-1.0, f64::INFINITY);
    for even in (0..n - 1).step_by(2) {
        let pair = correlation(even) + correlation(even + 1);
        if pair <= 0.0 {
            break;
        }
        smallest = smallest.min(pair);
        time += 2.0 * smallest;
    }
    time
}

/// A size between zero and `n log10 n`; a time that is not positive means the latter.
fn bounded(ess: f64, n: usize) -> f64 {
    let most = n as f64 * (n as f64).log10().max(1.0);
    if ess > 0.0 { ess.min(most) } else { most }
}

#[cfg(test)]
mod tests {
    use chains_core::Seed;
    use ndarray::{Array2, array};

    use super::*;
    use crate::golden::{array as golden, assert_close, assert_mean};

    /// `x_t = phi x_(t-1) + e_t` from `x_0 = 0`, steps from the first.
    fn autoregression(phi: f64, innovations: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let step = |x: &mut f64, e: f64| {
            *x = phi * *x + e;
            Some(*x)
        };
        innovations.into_iter().scan(0.0, step).collect()
    }

    fn golden_chain() -> Vec<f64> {
        let sums = golden(9, 4000, 12).sum_axis(Axis(1));
        autoregression(0.9, sums.iter().map(|sum| sum - 6.0))
    }

    #[test]
    fn golden_values_are_met() -> Result<()> {
        let chain = golden_chain();
        for (step, expected) in [(0, -0.87449064), (1, -1.2503441), (2, -1.06755479)] {
            assert_close(chain[step], expected, 1e-8);
        }
        let found = chain_ess(&chain)?;
        assert!((found.ess - 270.984252).abs() < 5e-7, "{}", found.ess);
        assert_close(found.variance, 4.914525670069552, 1e-12);
        assert_close(found.autocorrelation_time, 4000.0 / 270.984252, 1e-8);
        assert_close(found.std_error, (found.variance / found.ess).sqrt(), 1e-15);
        Ok(())
    }

    /// As [`autoregression`], of so many normal innovations.
    fn normal_autoregression(phi: f64, seed: u64, steps: usize) -> Vec<f64> {
        let mut innovations = vec![0_f32; steps];
        Seed::new(seed).child("innovations").host_noise().fill_normal(&mut innovations);
        autoregression(phi, innovations.into_iter().map(f64::from))
    }

    #[test]
    fn autoregression_has_its_autocorrelation_time() -> Result<()> {
        // The noise in the sequence's last pairs, all of them positive, biases an estimate by a fixed
        // fraction of its own standard deviation: with few long chains that is well inside the error
        // of their mean.
        for phi in [0.5, -0.5, 0.8] {
            let times = (0..10)
                .map(|seed| {
                    chain_ess(&normal_autoregression(phi, seed, 200_000))
                        .map(|found| found.autocorrelation_time)
                })
                .collect::<Result<Vec<_>>>()?;
            assert_mean(&times, (1.0 + phi) / (1.0 - phi));
        }
        Ok(())
    }

    #[test]
    fn independent_draws_have_the_time_that_the_sequence_gives_noise() -> Result<()> {
        // Autocorrelations are independent N(0, 1/n), the pairs after the first N(0, 2/n): the sum of
        // the running minima of a row of positive ones has the mean sqrt(2/n) times the integral of
        // (1 - Phi) / Phi over the positive half axis.
        let (steps, integral) = (40_000_u32, 0.585_895_491_160_578_9);
        let times = (0..100)
            .map(|seed| {
                chain_ess(&normal_autoregression(0.0, 100 + seed, steps as usize))
                    .map(|found| found.autocorrelation_time)
            })
            .collect::<Result<Vec<_>>>()?;
        assert_mean(&times, 1.0 + 2.0 * (2.0 / f64::from(steps)).sqrt() * integral);
        Ok(())
    }

    #[test]
    fn the_sequence_stops_and_stays_monotone() {
        // Pairs 1.4, 0.5, 0.6 (raised: 0.5), -0.1 ends.
        let rho = [1.0, 0.4, 0.3, 0.2, 0.4, 0.2, -0.2, 0.1, 0.9, 0.9];
        assert_close(geyer_time(10, |lag| rho[lag]), -1.0 + 2.0 * (1.4 + 0.5 + 0.5), 1e-15);
        assert_close(geyer_time(2, |lag| rho[lag]), 1.8, 1e-15);
    }

    #[test]
    fn alternating_chains_are_bounded() -> Result<()> {
        let chain: Vec<f32> = (0..100).map(|step| [1.0, -1.0][step % 2]).collect();
        assert_close(chain_ess(&chain)?.ess, 200.0, 1e-12);
        Ok(())
    }

    #[test]
    fn shift_scale_direction_and_precision_do_not_matter() -> Result<()> {
        let chain = golden_chain();
        let found = chain_ess(&chain)?;
        let moved: Vec<f64> = chain.iter().map(|x| 3.0 * x - 1e6).collect();
        assert_close(chain_ess(&moved)?.ess, found.ess, 1e-6);
        assert_close(chain_ess(&moved)?.mean, 3.0 * found.mean - 1e6, 1e-12);
        let turned: Vec<f64> = chain.iter().rev().copied().collect();
        assert_close(chain_ess(&turned)?.ess, found.ess, 1e-10);
        let narrow: Vec<f32> = chain.iter().map(|&x| x as f32).collect();
        assert_close(chain_ess(&narrow)?.ess, found.ess, 1e-5);
        Ok(())
    }

    #[test]
    fn r_hat_of_offset_chains_is_counted_by_hand() -> Result<()> {
        // Halves of mean 0, 0, 2, 2 and variance 4/3: W = 4/3, B/n = 4/3, V = 7/3.
        let base = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0];
        let chains = array![base, base.map(|x| x + 2.0)];
        let found = convergence(chains.view())?;
        assert_close(found.r_hat, 1.75_f64.sqrt(), 1e-14);
        assert_close(found.mean, 1.0, 1e-15);
        // Autocovariances of a half, times 4/3: -1, 2/3, -1/3; so rho = 1, 0, 5/7, 2/7.
        assert_close(found.autocorrelation_time, -1.0 + 2.0 * (1.0 + 1.0), 1e-14);
        assert_eq!((found.chains, found.steps), (2, 8));
        Ok(())
    }

    #[test]
    fn independent_chains_agree_and_their_sizes_add_up() -> Result<()> {
        let steps = 20_001;
        let mut sizes = Vec::new();
        for group in 0..6 {
            let chains: Vec<Vec<f64>> =
                (0..4).map(|i| normal_autoregression(0.6, 600 + 4 * group + i, steps)).collect();
            let chains = Array2::from_shape_fn((4, steps), |(row, step)| chains[row][step]);
            let found = convergence(chains.view())?;
            assert!(found.r_hat < 1.01, "{found:?}");
            assert!(found.mean.abs() < 4.0 * found.std_error, "{found:?}");
            sizes.push(found.ess);
        }
        // 80,000 draws kept, four per independent one.
        assert_mean(&sizes, 20_000.0);
        Ok(())
    }

    #[test]
    fn chains_that_disagree_or_drift_show() -> Result<()> {
        let mut chains = Array2::from_shape_fn((2, 1000), |(row, _)| 5.0 * row as f64);
        chains += &golden(77, 2, 1000);
        let apart = convergence(chains.view())?;
        assert!(apart.r_hat > 2.0 && apart.ess < 10.0, "{apart:?}");
        let drift = Array2::from_shape_fn((1, 1000), |(_, step)| 0.01 * step as f64);
        assert!(convergence((drift + golden(78, 1, 1000)).view())?.r_hat > 1.5);
        Ok(())
    }

    #[test]
    fn one_stuck_chain_among_others_is_data() -> Result<()> {
        let mut chains = golden(79, 3, 100);
        chains.row_mut(1).fill(0.1);
        let found = convergence(chains.view())?;
        assert!(found.r_hat > 1.1 && found.ess.is_finite());
        Ok(())
    }

    #[test]
    fn order_of_chains_and_precision_do_not_matter() -> Result<()> {
        let chains = golden(80, 4, 300);
        let found = convergence(chains.view())?;
        let turned = convergence(chains.slice(s![..;-1, ..]))?;
        assert_close(turned.ess, found.ess, 1e-10);
        assert_close(turned.r_hat, found.r_hat, 1e-13);
        let narrow = convergence(chains.mapv(|x| x as f32).view())?;
        assert_close(narrow.ess, found.ess, 1e-5);
        assert_close(narrow.r_hat, found.r_hat, 1e-7);
        Ok(())
    }

    #[test]
    fn unusable_chains_are_named() {
        let text = |chain: &[f64]| chain_ess(chain).unwrap_err().to_string();
        assert!(text(&[]).contains("chain: 0 rows, at least 4"));
        assert!(text(&[0.0, 1.0, 2.0]).contains("at least 4"));
        assert!(text(&[0.1; 50]).contains("no step differs"));
        assert!(text(&[0.0, 1e-200, 0.0, 1e-200]).contains("no step differs"));
        assert!(text(&[1e200, -1e200, 1e200, 0.0]).contains("overflow"));
        assert!(text(&[0.0, 1.0, f64::NAN, 0.0]).contains("row 2"));
        let text = |chains: Array2<f64>| convergence(chains.view()).unwrap_err().to_string();
        assert!(text(Array2::zeros((0, 9))).contains("chains: 0 rows"));
        assert!(text(Array2::zeros((2, 7))).contains("steps of the chains: 7"));
        assert!(text(Array2::from_elem((2, 9), 0.1)).contains("no step differs"));
        assert!(text(golden(1, 2, 9) * f64::INFINITY).contains("row 0, column 0"));
        assert!(text(golden(1, 2, 9) * 1e300).contains("overflow"));
    }
}
