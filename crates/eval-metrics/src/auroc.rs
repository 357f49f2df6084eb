//! How well a score separates two classes, over all thresholds.

use serde::Serialize;

use crate::{
    error::{Error, Result},
    real::Real,
};

/// Area under the receiver operating characteristic, with what is usually printed beside it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Auroc {
    /// `P(s+ > s-) + P(s+ = s-) / 2` for a random positive and a random negative: one for perfect
    /// separation, one half for none.
    pub value: f64,
    /// Standard error over both samples (DeLong and others, 1988); none for a class of one member.
    pub std_error: Option<f64>,
    /// Area under the precision-recall curve by steps, that is the average precision. Without
    /// separation it is the share of positives.
    pub aupr: f64,
    /// Share of the negatives at or above the highest threshold that keeps 95 per cent of the
    /// positives.
    pub fpr_at_95_tpr: f64,
    /// Positives.
    pub n_positive: usize,
    /// Negatives.
    pub n_negative: usize,
}

/// Separation of two classes by a score that is larger for positives.
///
/// The Mann-Whitney statistic with average ranks for ties, so that no order among equal scores is
/// invented. For out-of-distribution detection say which class is positive: by convention the data
/// of the training distribution, with the log density as score. Infinite scores are ordered like all
/// others.
///
/// # Errors
/// [`Error::TooFew`] for an empty class, [`Error::NonFinite`] for a score that is not a number.
///
/// # Example
/// ```
/// let (inside, outside) = ([0.35, 0.8], [0.1, 0.4]);
/// let score = eval_metrics::auroc(&inside, &outside)?;
/// assert_eq!((score.value, score.fpr_at_95_tpr), (0.75, 0.5));
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn auroc<T: Real>(positives: &[T], negatives: &[T]) -> Result<Auroc> {
    let (n, m) = (positives.len(), negatives.len());
    let mut pooled = labelled("positives", positives, true)?;
    pooled.extend(labelled("negatives", negatives, false)?);
    pooled.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let mut sums = Sums::default();
    // In descending order what is not smaller is equal.
    for ties in pooled.chunk_by(|a, b| b.0 >= a.0) {
        let hits = ties.iter().filter(|tie| tie.1).count();
        sums.push(hits, ties.len() - hits, (n, m));
    }
    Ok(sums.finish((n, m)))
}

fn labelled<T: Real>(what: &'static str, scores: &[T], label: bool) -> Result<Vec<(f64, bool)>> {
    if scores.is_empty() {
        return Err(Error::TooFew { what, needed: 1, got: 0 });
    }
    let scores: Vec<_> = scores.iter().map(|&score| (score.into(), label)).collect();
    match scores.iter().position(|(score, _): &(f64, bool)| score.is_nan()) {
        None => Ok(scores),
        Some(row) => Err(Error::NonFinite { what, row, column: 0 }),
    }
}

/// What the groups of equal scores add up to, from the highest score down.
#[derive(Default)]
struct Sums {
    /// Positives and negatives so far.
    above: (usize, usize),
    /// Twice the number of pairs in the right order, ties counting one half.
    twice_right: u128,
    average_precision: f64,
    false_at_95: Option<usize>,
    /// For every group its positives with their share of lower negatives, and its negatives with
    /// their share of higher positives.
    placements: Vec<[(usize, f64); 2]>,
}

impl Sums {
    fn push(&mut self, hits: usize, misses: usize, (n, m): (usize, usize)) {
        let (hits_above, misses_above) = self.above;
        // Twice the negatives below, ties half: an integer.
        let lower = 2 * (m - misses_above) - misses;
        let higher = 2 * hits_above + hits;
        self.twice_right += hits as u128 * lower as u128;
        self.placements.push([
            (hits, lower as f64 / (2 * m) as f64),
            (misses, higher as f64 / (2 * n) as f64),
        ]);
        self.above = (hits_above + hits, misses_above + misses);
        let (found, wrong) = self.above;
        self.average_precision += hits as f64 / n as f64 * found as f64 / (found + wrong) as f64;
        if self.false_at_95.is_none() && 20 * found >= 19 * n {
            self.false_at_95 = Some(wrong);
        }
    }

    fn finish(self, (n, m): (usize, usize)) -> Auroc {
        let value = self.twice_right as f64 / (2.0 * n as f64 * m as f64);
        let variance = |class: usize, count: usize| {
            let squares = self.placements.iter().map(|groups| {
                let (members, share) = groups[class];
                members as f64 * (share - value).powi(2)
            });
            squares.sum::<f64>() / (count - 1) as f64 / count as f64
        };
        Auroc {
            value,
            std_error: (n > 1 && m > 1).then(|| (variance(0, n) + variance(1, m)).sqrt()),
            aupr: self.average_precision,
            // All positives lie above the lowest threshold, so it was set.
            fpr_at_95_tpr: self.false_at_95.unwrap_or(m) as f64 / m as f64,
            n_positive: n,
            n_negative: m,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{array as golden, assert_close, normals};

    /// Scores with many ties and labels, as the golden value has them.
    fn tied() -> (Vec<f64>, Vec<f64>) {
        let (scores, labels) = (golden(4, 60, 1), golden(5, 60, 1));
        let pairs = scores.iter().map(|u| (10.0 * u).floor() / 10.0).zip(labels);
        let (positive, negative): (Vec<_>, Vec<_>) = pairs.partition(|(_, label)| *label < 0.4);
        let strip = |pairs: Vec<(f64, f64)>| pairs.into_iter().map(|pair| pair.0).collect();
        (strip(positive), strip(negative))
    }

    #[test]
    fn golden_value_is_met() -> Result<()> {
        let (positive, negative) = tied();
        let score = auroc(&positive, &negative)?;
        assert_eq!((score.n_positive, score.n_negative), (29, 31));
        assert_close(score.value, 0.582313681868743, 1e-12);
        Ok(())
    }

    #[test]
    fn perfect_reversed_and_tied_scores() -> Result<()> {
        let (low, high) = ([1.0, 2.0, 3.0], [4.0, 5.0]);
        let perfect = auroc(&high, &low)?;
        assert_eq!((perfect.value, perfect.aupr, perfect.fpr_at_95_tpr), (1.0, 1.0, 0.0));
        assert_eq!(perfect.std_error, Some(0.0));
        let reversed = auroc(&low, &high)?;
        assert_eq!((reversed.value, reversed.fpr_at_95_tpr), (0.0, 1.0));
        assert_close(reversed.aupr, (1.0 / 3.0 + 2.0 / 4.0 + 3.0 / 5.0) / 3.0, 1e-15);
        let ties = auroc(&[0.0, -0.0], &[-0.0, 0.0, 0.0])?;
        assert_eq!((ties.value, ties.fpr_at_95_tpr), (0.5, 1.0));
        assert_close(ties.aupr, 0.4, 1e-15);
        Ok(())
    }

    #[test]
    fn monotone_maps_do_not_matter_and_a_sign_reverses() -> Result<()> {
        let (positive, negative) = tied();
        let map = |scores: &[f64], f: fn(f64) -> f64| scores.iter().map(|s| f(*s)).collect();
        let score = auroc(&positive, &negative)?;
        let curved: [Vec<f64>; 2] = [&positive, &negative].map(|s| map(s, |x| (7.0 * x).exp()));
        assert_eq!(auroc(&curved[0], &curved[1])?, score);
        let turned: [Vec<f64>; 2] = [&positive, &negative].map(|s| map(s, |x| -x));
        let turned = auroc(&turned[0], &turned[1])?;
        assert_close(turned.value, 1.0 - score.value, 1e-15);
        assert_close(turned.std_error.unwrap(), score.std_error.unwrap(), 1e-15);
        Ok(())
    }

    #[test]
    fn order_and_precision_do_not_matter() -> Result<()> {
        let (mut positive, mut negative) = tied();
        let score = auroc(&positive, &negative)?;
        positive.reverse();
        negative.rotate_left(11);
        assert_eq!(auroc(&positive, &negative)?, score);
        let narrow = |scores: &[f64]| scores.iter().map(|&s| s as f32).collect::<Vec<_>>();
        assert_eq!(auroc(&narrow(&positive), &narrow(&negative))?, score);
        Ok(())
    }

    #[test]
    fn gaussian_scores_have_their_closed_form() -> Result<()> {
        // The difference of means is the root of the summed variances: the value is Phi(1).
        let positive = normals(51, 4000).mapv(|x| 1.5 * x + 2.5).into_raw_vec_and_offset().0;
        let negative = normals(52, 3000).mapv(|x| 2.0 * x).into_raw_vec_and_offset().0;
        let score = auroc(&positive, &negative)?;
        let std_error = score.std_error.unwrap();
        assert!((score.value - 0.841_344_746_068_543).abs() < 3.0 * std_error, "{score:?}");
        // The threshold that keeps 95 per cent is 2.5 - 1.5 * 1.644854; above it lie
        // 1 - Phi(0.016360) of the negatives.
        // The densities there, 0.1994 and 0.0688, carry the threshold's own variance over.
        let variance: f64 = 0.25 / 3000.0 + (0.1994_f64 / 0.0688).powi(2) * 0.95 * 0.05 / 4000.0;
        assert!((score.fpr_at_95_tpr - 0.493_473_7).abs() < 3.0 * variance.sqrt(), "{score:?}");
        Ok(())
    }

    #[test]
    fn standard_error_is_that_of_the_definition() -> Result<()> {
        let (positive, negative) = tied();
        let psi = |a: f64, b: f64| 0.5 * (f64::from(a > b) + f64::from(a >= b));
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let v10: Vec<f64> = positive
            .iter()
            .map(|&a| mean(&negative.iter().map(|&b| psi(a, b)).collect::<Vec<_>>()))
            .collect();
        let v01: Vec<f64> = negative
            .iter()
            .map(|&b| mean(&positive.iter().map(|&a| psi(a, b)).collect::<Vec<_>>()))
            .collect();
        let part = |values: &[f64]| {
            let (n, centre) = (values.len() as f64, mean(values));
            values.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / (n - 1.0) / n
        };
        let score = auroc(&positive, &negative)?;
        assert_close(score.value, mean(&v10), 1e-14);
        assert_close(score.std_error.unwrap(), (part(&v10) + part(&v01)).sqrt(), 1e-14);
        Ok(())
    }

    #[test]
    fn the_threshold_keeps_at_least_95_per_cent() -> Result<()> {
        // Of twenty positives the lowest may fall below, of nineteen none.
        let positive: Vec<f64> = (0..20).map(f64::from).collect();
        let negative = [0.5, 0.0, -1.0, 30.0];
        assert_close(auroc(&positive, &negative)?.fpr_at_95_tpr, 0.25, 1e-15);
        assert_close(auroc(&positive[..19], &negative)?.fpr_at_95_tpr, 0.75, 1e-15);
        Ok(())
    }

    #[test]
    fn unusable_input_is_named() -> Result<()> {
        let text = |a: &[f32], b: &[f32]| auroc(a, b).unwrap_err().to_string();
        assert!(text(&[], &[1.0]).contains("positives: 0 rows"));
        assert!(text(&[1.0], &[]).contains("negatives: 0 rows"));
        assert!(text(&[1.0], &[0.0, f32::NAN]).contains("negatives: row 1"));
        let infinite = auroc(&[f64::INFINITY, 0.0], &[f64::NEG_INFINITY, 0.0])?;
        assert_close(infinite.value, 0.875, 1e-15);
        assert_eq!(auroc(&[1.0], &[0.0, 2.0])?.std_error, None);
        Ok(())
    }
}
