//! Estimates along paths, repeated with fresh paths.

use chains_core::chain::{LogWeights, PathSummary};

use crate::error::Result;

/// A repeated estimate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Repeated {
    /// Means over repetitions, with standard errors over examples.
    pub(crate) summary: PathSummary,
    /// Standard deviation of the importance-sampling estimate over repetitions, in nats; none of one
    /// repetition.
    pub(crate) spread: Option<f64>,
}

impl Repeated {
    /// Of the summaries of one repetition or more.
    fn of(repeats: &[PathSummary]) -> Self {
        let n = repeats.len() as f64;
        let mean = |f: fn(&PathSummary) -> f64| repeats.iter().map(f).sum::<f64>() / n;
        let importance_sampling = mean(|s| s.importance_sampling);
        let scatter = repeats
            .iter()
            .map(|s| (s.importance_sampling - importance_sampling).powi(2))
            .sum::<f64>();
        let summary = PathSummary {
            lower_bound: mean(|s| s.lower_bound),
            lower_bound_se: mean(|s| s.lower_bound_se),
            importance_sampling,
            importance_sampling_se: mean(|s| s.importance_sampling_se),
            effective_sample_size: mean(|s| s.effective_sample_size),
            ..repeats[0]
        };
        Self { summary, spread: (repeats.len() > 1).then(|| (scatter / (n - 1.0)).sqrt()) }
    }
}

/// The estimates of repetitions `0..repeats`, at least one. `once` gives the log weights of every
/// example for every way of weighting, in the order of the result.
///
/// # Errors
/// Of `once`.
pub(crate) fn repeated(
    repeats: usize,
    mut once: impl FnMut(u64) -> Result<Vec<Vec<LogWeights>>>,
) -> Result<Vec<Repeated>> {
    let mut all: Vec<Vec<PathSummary>> = Vec::new();
    for repeat in 0..repeats as u64 {
        let weights = once(repeat)?;
        all.resize_with(weights.len(), Vec::new);
        for (found, weights) in all.iter_mut().zip(&weights) {
            found.push(PathSummary::of(weights));
        }
    }
    Ok(all.iter().map(|found| Repeated::of(found)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(importance_sampling: f64) -> PathSummary {
        PathSummary {
            lower_bound: importance_sampling - 1.0,
            lower_bound_se: 0.25,
            importance_sampling,
            importance_sampling_se: 0.5,
            effective_sample_size: 2.0,
            examples: 3,
            chains: 7,
        }
    }

    #[test]
    fn one_repetition_is_itself() {
        let one = summary(0.1 + 0.2);
        assert_eq!(Repeated::of(&[one]), Repeated { summary: one, spread: None });
    }

    #[test]
    fn the_spread_is_over_repetitions() {
        // Deviations -1, 0 and 1: variance 2 / (3 - 1).
        let found = Repeated::of(&[summary(4.0), summary(5.0), summary(6.0)]);
        assert_eq!(found, Repeated { summary: summary(5.0), spread: Some(1.0) });
    }

    #[test]
    fn every_repetition_is_asked_for_and_ways_of_weighting_stay_apart() {
        let mut asked = Vec::new();
        let found = repeated(2, |repeat| {
            asked.push(repeat);
            Ok(vec![vec![LogWeights::default(); 2], vec![LogWeights::default(); 3]])
        })
        .unwrap();
        assert_eq!(asked, [0, 1]);
        assert_eq!(found.iter().map(|f| f.summary.examples).collect::<Vec<_>>(), [2, 3]);
    }
}
