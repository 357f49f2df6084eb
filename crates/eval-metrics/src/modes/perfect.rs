//! What a sampler of the reference itself would score: finite samples miss modes and diverge.

use serde::Serialize;

use crate::error::{Error, Result};

/// More cells than anyone counts; guards the memory.
const MOST_CELLS: usize = 1 << 24;

/// Expected scores of a perfect sampler, to be printed beside every result.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PerfectSampler {
    /// Expected number of cells hit, `sum_k 1 - (1 - u_k)^n`.
    pub modes: f64,
    /// Expected divergence, the exact sum over the binomial law of every cell's count; to first order
    /// `(cells - 1) / (2 n)`. Nats.
    pub kl: f64,
    /// Standard deviation of the divergence, about `sqrt(2 (cells - 1)) / (2 n)`, since `2 n` times
    /// the divergence tends to a chi-squared law. Nats.
    pub kl_std_dev: f64,
}

impl PerfectSampler {
    /// `n` samples over equally likely cells.
    ///
    /// # Errors
    /// [`Error::TooFew`] for no samples, [`Error::Argument`] for no cells.
    ///
    /// # Example
    /// ```
    /// let perfect = eval_metrics::PerfectSampler::uniform(1000, 10_000)?;
    /// assert!((perfect.modes - 999.95).abs() < 0.01 && (perfect.kl - 0.050891).abs() < 1e-6);
    /// # Ok::<(), eval_metrics::Error>(())
    /// ```
    pub fn uniform(cells: usize, n: usize) -> Result<Self> {
        check_cells(cells)?;
        check_samples(n)?;
        let one = Self::of_cell(1.0 / cells as f64, n);
        let count = cells as f64;
        Ok(Self { modes: count * one.0, kl: count * one.1, kl_std_dev: deviation(cells, n) })
    }

    /// `n` samples by the frequencies of a reference set, given by its rows in every cell.
    ///
    /// # Errors
    /// As [`uniform`](Self::uniform); [`Error::Argument`] also for a reference without rows.
    pub fn of_counts(reference: &[u64], n: usize) -> Result<Self> {
        let frequencies = frequencies(reference)?;
        check_samples(n)?;
        let (mut modes, mut kl) = (0.0, 0.0);
        for frequency in &frequencies {
            let (hit, term) = Self::of_cell(*frequency, n);
            modes += hit;
            kl += term;
        }
        let reached = reference.iter().filter(|rows| **rows > 0).count();
        Ok(Self { modes, kl, kl_std_dev: deviation(reached, n) })
    }

    /// Chance to be hit and expected term of the divergence, for one cell.
    fn of_cell(frequency: f64, n: usize) -> (f64, f64) {
        if frequency <= 0.0 {
            return (0.0, 0.0);
        }
        let hit = -(n as f64 * (-frequency).ln_1p()).exp_m1();
        let term = |count: usize| {
            let share = count as f64 / n as f64;
            if count == 0 { 0.0 } else { share * (share / frequency).ln() }
        };
        (hit, binomial_mean(n, frequency, term))
    }
}

fn deviation(cells: usize, n: usize) -> f64 {
    (2.0 * (cells - 1) as f64).sqrt() / (2.0 * n as f64)
}

fn check_samples(n: usize) -> Result<()> {
    if n == 0 {
        return Err(Error::TooFew { what: "samples", needed: 1, got: 0 });
    }
    Ok(())
}

/// At least one cell, and not more than can be counted.
pub(super) fn check_cells(cells: usize) -> Result<()> {
    if cells == 0 || cells > MOST_CELLS {
        let reason = format!("must be from 1 to {MOST_CELLS}, got {cells}");
        return Err(Error::Argument { name: "cells", reason });
    }
    Ok(())
}

/// Rows per cell as shares of all rows.
pub(super) fn frequencies(reference: &[u64]) -> Result<Vec<f64>> {
    let total: f64 = reference.iter().map(|&rows| rows as f64).sum();
    if total <= 0.0 {
        let reason = "has no rows in any cell".into();
        return Err(Error::Argument { name: "reference", reason });
    }
    Ok(reference.iter().map(|&rows| rows as f64 / total).collect())
}

/// `E value(c)` for `c` binomial with `n` trials of chance `chance > 0`.
///
/// Probabilities relative to the largest one, outward from it by their ratios, and divided by their
/// sum: no factorials, and no error that grows with `n`.
fn binomial_mean(n: usize, chance: f64, value: impl Fn(usize) -> f64) -> f64 {
    /// Terms below this share of the largest add nothing that f64 can hold.
    const NEGLIGIBLE: f64 = 1e-22;
    if chance >= 1.0 {
        return value(n);
    }
    let odds = chance / (1.0 - chance);
    let likeliest = (((n as f64 + 1.0) * chance) as usize).min(n);
    let (mut sum, mut total) = (value(likeliest), 1.0);
    let mut weight = 1.0;
    for count in likeliest..n {
        weight *= (n - count) as f64 / (count + 1) as f64 * odds;
        if weight < NEGLIGIBLE {
            break;
        }
        sum += weight * value(count + 1);
        total += weight;
    }
    weight = 1.0;
    for count in (1..=likeliest).rev() {
        weight *= count as f64 / (n - count + 1) as f64 / odds;
        if weight < NEGLIGIBLE {
            break;
        }
        sum += weight * value(count - 1);
        total += weight;
    }
    sum / total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_close;

    #[test]
    fn published_floors_are_met() -> Result<()> {
        for (n, modes, kl) in [(10_000, 999.95, 0.050891), (26_000, 1000.0, 0.019340)] {
            let perfect = PerfectSampler::uniform(1000, n)?;
            assert!((perfect.modes - modes).abs() < 0.01, "{perfect:?}");
            assert!((perfect.kl - kl).abs() < 5e-7, "{perfect:?}");
            assert_close(perfect.modes, 1000.0 * (1.0 - 0.999_f64.powi(n as i32)), 1e-9);
            assert_close(perfect.kl_std_dev, (2.0 * 999.0_f64).sqrt() / (2.0 * n as f64), 1e-15);
        }
        Ok(())
    }

    #[test]
    fn all_outcomes_of_few_samples_are_counted() -> Result<()> {
        // Three samples over two cells of chance 1/4 and 3/4: every sequence, one by one.
        let chances = [0.25, 0.75_f64];
        let (mut modes, mut kl) = (0.0, 0.0);
        for sequence in 0..8 {
            let second = [0, 1, 2].iter().filter(|&bit| sequence >> bit & 1 == 1).count();
            let counts = [3 - second, second];
            let chance = chances[0].powi(counts[0] as i32) * chances[1].powi(counts[1] as i32);
            for (count, u) in counts.into_iter().zip(chances) {
                if count > 0 {
                    let share = count as f64 / 3.0;
                    modes += chance;
                    kl += chance * share * (share / u).ln();
                }
            }
        }
        let perfect = PerfectSampler::of_counts(&[5, 15], 3)?;
        assert_close(perfect.modes, modes, 1e-14);
        assert_close(perfect.kl, kl, 1e-14);
        Ok(())
    }

    #[test]
    fn one_sample_always_diverges_fully() -> Result<()> {
        let perfect = PerfectSampler::uniform(40, 1)?;
        assert_close(perfect.kl, 40_f64.ln(), 1e-13);
        assert_close(perfect.modes, 1.0, 1e-13);
        let single = PerfectSampler::uniform(1, 9)?;
        assert_eq!((single.modes, single.kl, single.kl_std_dev), (1.0, 0.0, 0.0));
        Ok(())
    }

    #[test]
    fn equal_counts_are_the_uniform_reference() -> Result<()> {
        let (even, uniform) =
            (PerfectSampler::of_counts(&[6; 30], 77)?, PerfectSampler::uniform(30, 77)?);
        assert_close(even.kl, uniform.kl, 1e-13);
        assert_close(even.modes, uniform.modes, 1e-13);
        // Cells without rows are never reached.
        let mut padded = [6; 40];
        padded[30..].fill(0);
        assert_close(PerfectSampler::of_counts(&padded, 77)?.kl, uniform.kl, 1e-13);
        assert_close(PerfectSampler::of_counts(&padded, 77)?.kl_std_dev, uniform.kl_std_dev, 1e-15);
        Ok(())
    }

    #[test]
    fn binomial_means_have_their_closed_forms() {
        for (n, chance) in
            [(1, 0.3), (50, 0.5), (26_000, 0.001), (10_000, 0.97), (7, 1e-12), (9, 1.0)]
        {
            let mean = n as f64 * chance;
            assert_close(binomial_mean(n, chance, |count| count as f64), mean, 1e-12);
            let square = binomial_mean(n, chance, |count| (count as f64 - mean).powi(2));
            assert_close(square, mean * (1.0 - chance), 1e-11);
        }
    }
}
