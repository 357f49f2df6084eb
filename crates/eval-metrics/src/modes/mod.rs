//! How many modes do samples reach, and how evenly?
//!
//! On StackedMNIST every one of the 1,000 triples of digits is a cell; a classifier says which cell
//! a sample is in (Metz and others, 2017). A classifier that errs invents modes: of `n` samples, at
//! an error rate `e` per digit about `3 e n` land in a wrong cell, which is why modes of two and of
//! five hits are counted too. Never compare numbers of different `n`.

mod centres;
mod perfect;

use serde::Serialize;

use crate::error::{Error, Result};
pub use centres::{ModeHits, mode_hits};
pub use perfect::PerfectSampler;
use perfect::{check_cells, frequencies};

/// What the samples' frequencies are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeReference {
    /// All cells are equally likely.
    Uniform,
    /// The frequencies of the training data.
    Empirical,
}

/// Modes that samples reach, with the values of a perfect sampler.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModeCoverage {
    /// Cells with a sample.
    pub modes: usize,
    /// Cells with two samples or more.
    pub modes_with_2_hits: usize,
    /// Cells with five samples or more.
    pub modes_with_5_hits: usize,
    /// Kullback-Leibler divergence of the samples' frequencies from the reference, nats.
    pub kl: f64,
    /// What a sampler of the reference itself reaches with as many samples.
    pub perfect: PerfectSampler,
    /// The reference.
    pub reference: ModeReference,
    /// Cells.
    pub cells: usize,
    /// Samples.
    pub n: usize,
}

/// The cells `100 a + 10 b + c` of stacked digits, from the classes of the three channels.
///
/// # Errors
/// [`Error::Mismatch`] for channels of different lengths, [`Error::Label`] for a class above nine.
pub fn stacked_classes<L: Copy + TryInto<usize>>(
    first: &[L],
    second: &[L],
    third: &[L],
) -> Result<Vec<usize>> {
    for (what, channel) in [("second", second), ("third", third)] {
        if channel.len() != first.len() {
            let (expected, got) = (first.len(), channel.len());
            return Err(Error::Mismatch { what, unit: "labels", expected, got });
        }
    }
    let digits = first.iter().zip(second).zip(third);
    let cell = |(row, ((&a, &b), &c)): (usize, ((&L, &L), &L))| {
        [a, b, c].into_iter().try_fold(0, |cell, digit| Ok(10 * cell + class_of(digit, row, 10)?))
    };
    digits.enumerate().map(cell).collect()
}

/// Modes among `cells` equally likely ones.
///
/// # Errors
/// [`Error::TooFew`] for no samples, [`Error::Label`] for a sample in no cell, [`Error::Argument`]
/// for no cells.
///
/// # Example
/// ```
/// let cells = eval_metrics::stacked_classes(&[0_u8, 9, 9], &[0, 9, 9], &[7, 9, 9])?;
/// assert_eq!(cells, [7, 999, 999]);
/// let found = eval_metrics::mode_coverage(&cells, 1000)?;
/// assert_eq!((found.modes, found.modes_with_2_hits), (2, 1));
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn mode_coverage<L: Copy + TryInto<usize>>(
    samples: &[L],
    cells: usize,
) -> Result<ModeCoverage> {
    check_cells(cells)?;
    let perfect = PerfectSampler::uniform(cells, samples.len())?;
    let counts = count(samples, cells)?;
    let kl = divergence(&counts, samples.len(), |_| 1.0 / cells as f64);
    Ok(coverage(&counts, kl, perfect, ModeReference::Uniform))
}

/// Modes among the cells of a reference set, whose frequencies replace the uniform ones.
///
/// `reference` holds the number of reference rows in every cell.
///
/// # Errors
/// As [`mode_coverage`]; [`Error::Argument`] also for a reference without rows, or one without rows
/// in a cell that samples reach, from which the divergence is infinite.
pub fn mode_coverage_against<L: Copy + TryInto<usize>>(
    samples: &[L],
    reference: &[u64],
) -> Result<ModeCoverage> {
    let frequencies = frequencies(reference)?;
    let perfect = PerfectSampler::of_counts(reference, samples.len())?;
    let counts = count(samples, reference.len())?;
    let outside = counts.iter().zip(reference).position(|(&hits, &rows)| hits > 0 && rows == 0);
    if let Some(cell) = outside {
        let reason = format!(
            "cell {cell} holds samples but no reference rows, so the divergence is infinite; \
             compare with uniform frequencies, or merge cells"
        );
        return Err(Error::Argument { name: "reference", reason });
    }
    let kl = divergence(&counts, samples.len(), |cell| frequencies[cell]);
    Ok(coverage(&counts, kl, perfect, ModeReference::Empirical))
}

fn class_of<L: Copy + TryInto<usize>>(label: L, row: usize, classes: usize) -> Result<usize> {
    let label = label.try_into().ok().filter(|&label| label < classes);
    label.ok_or(Error::Label { row, classes })
}

fn count<L: Copy + TryInto<usize>>(samples: &[L], cells: usize) -> Result<Vec<usize>> {
    let mut counts = vec![0; cells];
    for (row, &sample) in samples.iter().enumerate() {
        counts[class_of(sample, row, cells)?] += 1;
    }
    Ok(counts)
}

/// `sum_k p_k ln(p_k / u_k)` over the cells with samples.
fn divergence(counts: &[usize], n: usize, reference: impl Fn(usize) -> f64) -> f64 {
    let hit = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let terms = hit.map(|(cell, &count)| {
        let share = count as f64 / n as f64;
        share * (share / reference(cell)).ln()
    });
    terms.sum()
}

fn coverage(
    counts: &[usize],
    kl: f64,
    perfect: PerfectSampler,
    reference: ModeReference,
) -> ModeCoverage {
    let with = |hits: usize| counts.iter().filter(|count| **count >= hits).count();
    ModeCoverage {
        modes: with(1),
        modes_with_2_hits: with(2),
        modes_with_5_hits: with(5),
        kl,
        perfect,
        reference,
        cells: counts.len(),
        n: counts.iter().sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        golden::{assert_close, assert_mean},
        sampling::Stream,
    };

    #[test]
    fn one_sample_in_each_cell_has_no_divergence() -> Result<()> {
        let found = mode_coverage(&(0..1000).collect::<Vec<i32>>(), 1000)?;
        assert_eq!(
            (found.modes, found.modes_with_2_hits, found.n, found.cells),
            (1000, 0, 1000, 1000)
        );
        assert_close(found.kl, 0.0, 1e-12);
        assert_eq!(found.reference, ModeReference::Uniform);
        Ok(())
    }

    #[test]
    fn one_cell_for_all_is_as_far_as_possible() -> Result<()> {
        let found = mode_coverage(&[3_u16; 1000], 1000)?;
        assert_eq!((found.modes, found.modes_with_2_hits, found.modes_with_5_hits), (1, 1, 1));
        assert_close(found.kl, 1000_f64.ln(), 1e-12);
        Ok(())
    }

    #[test]
    fn hits_are_counted_by_hand() -> Result<()> {
        let samples = [0_u8, 0, 0, 0, 0, 1, 1, 3];
        let found = mode_coverage(&samples, 4)?;
        assert_eq!((found.modes, found.modes_with_2_hits, found.modes_with_5_hits), (3, 2, 1));
        let expected = 0.625 * 2.5_f64.ln() + 0.125 * 0.5_f64.ln();
        assert_close(found.kl, expected, 1e-14);
        Ok(())
    }

    #[test]
    fn the_empirical_reference_is_its_own_zero() -> Result<()> {
        let samples = [0_u8, 0, 0, 1, 2, 2];
        let same = mode_coverage_against(&samples, &[30, 10, 20, 0])?;
        assert_close(same.kl, 0.0, 1e-15);
        assert_eq!((same.reference, same.cells), (ModeReference::Empirical, 4));
        let even = mode_coverage_against(&samples, &[7, 7, 7])?;
        assert_close(even.kl, mode_coverage(&samples, 3)?.kl, 1e-14);
        assert_close(even.perfect.kl, mode_coverage(&samples, 3)?.perfect.kl, 1e-14);
        Ok(())
    }

    #[test]
    fn a_perfect_sampler_meets_its_own_floor() -> Result<()> {
        let (cells, n) = (50, 120);
        let mut found = Vec::new();
        for seed in 0..60 {
            let mut stream = Stream::new(seed, 0);
            let samples: Vec<usize> = (0..n).map(|_| stream.below(cells)).collect();
            found.push(mode_coverage(&samples, cells)?);
        }
        let check = |values: Vec<f64>, expected: f64| assert_mean(&values, expected);
        let perfect = found[0].perfect;
        check(found.iter().map(|found| found.modes as f64).collect(), perfect.modes);
        check(found.iter().map(|found| found.kl).collect(), perfect.kl);
        Ok(())
    }

    #[test]
    fn order_does_not_matter() -> Result<()> {
        let samples: Vec<usize> = (0..300).map(|row| row * row % 17).collect();
        let turned: Vec<usize> = samples.iter().rev().copied().collect();
        assert_eq!(mode_coverage(&turned, 17)?, mode_coverage(&samples, 17)?);
        Ok(())
    }

    #[test]
    fn unusable_input_is_named() {
        let text = |samples: &[i64], cells| mode_coverage(samples, cells).unwrap_err().to_string();
        assert!(text(&[], 10).contains("samples: 0 rows"));
        assert!(text(&[0, 10], 10).contains("number 1 is none of the 10 classes"));
        assert!(text(&[-1], 10).contains("number 0"));
        assert!(text(&[0], 0).contains("`cells`"));
        assert!(text(&[0], usize::MAX).contains("`cells`"));
        let text = |reference: &[u64]| {
            mode_coverage_against(&[0_u8, 1], reference).unwrap_err().to_string()
        };
        assert!(text(&[]).contains("`reference`"));
        assert!(text(&[0, 0]).contains("`reference`"));
        assert!(text(&[4, 0]).contains("cell 1 holds samples"));
        assert!(text(&[4]).contains("number 1 is none of the 1 classes"));
        let stacked = |third: &[u8]| stacked_classes(&[1, 2], &[3, 4], third);
        assert_eq!(stacked(&[5, 6]), Ok(vec![135, 246]));
        assert!(stacked(&[5]).unwrap_err().to_string().contains("third: expected 2 labels, got 1"));
        assert!(stacked(&[5, 10]).unwrap_err().to_string().contains("number 1 is none of the 10"));
    }
}
