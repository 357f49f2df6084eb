//! Sums of exponentials that neither overflow nor lose their last digits.

/// `ln sum_i exp(x_i)`; minus infinity for an empty slice.
pub fn log_sum_exp(values: &[f64]) -> f64 {
    values.iter().copied().collect::<LogSumExp>().log_sum()
}

/// `ln (1/n sum_i exp(x_i))`; minus infinity for an empty slice.
///
/// # Example
/// ```
/// let value = eval_metrics::log_mean_exp(&[1e4, 1e4]);
/// assert!((value - 1e4).abs() < 1e-9);
/// ```
pub fn log_mean_exp(values: &[f64]) -> f64 {
    values.iter().copied().collect::<LogSumExp>().log_mean()
}

/// A running `ln sum exp`, in any number of pieces.
///
/// Terms of minus infinity count and add nothing; a term of plus infinity or NaN is the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogSumExp {
    largest: f64,
    /// Sum of `exp(x - largest)`.
    sum: f64,
    count: u64,
}

impl Default for LogSumExp {
    fn default() -> Self {
        Self { largest: f64::NEG_INFINITY, sum: 0.0, count: 0 }
    }
}

impl LogSumExp {
    /// Adds one term.
    pub fn push(&mut self, value: f64) {
        self.merge(&Self { largest: value, sum: 1.0, count: 1 });
    }

    /// Adds all terms of another sum.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        if other.largest == f64::NEG_INFINITY {
            return;
        }
        if self.largest == f64::NEG_INFINITY || other.largest.is_nan() {
            (self.largest, self.sum) = (other.largest, other.sum);
        } else if other.largest > self.largest {
            self.sum = self.sum * (self.largest - other.largest).exp() + other.sum;
            self.largest = other.largest;
        } else if self.largest.is_finite() {
            self.sum += other.sum * (other.largest - self.largest).exp();
        }
    }

    /// Adds `terms` terms `-scale * d` for non-negative `d`, of which only those in `distances` are
    /// near enough to be seen.
    pub(crate) fn push_scaled(&mut self, distances: &[f64], terms: usize, scale: f64) {
        self.count += terms as u64;
        let smallest = distances.iter().fold(f64::INFINITY, |a, &b| a.min(b));
        if distances.is_empty() || smallest > self.farthest(scale) {
            return;
        }
        let largest = self.largest.max(-scale * smallest);
        self.sum *= (self.largest - largest).exp();
        self.largest = largest;
        let limit = self.farthest(scale);
        for &distance in distances {
            if distance <= limit {
                self.sum += (-scale * distance - largest).exp();
            }
        }
    }

    /// A term `-scale * d` beyond this `d` is [`CUTOFF`] nats below the largest one and changes
    /// nothing that f64 can hold; infinity without terms.
    pub(crate) fn farthest(&self, scale: f64) -> f64 {
        (CUTOFF - self.largest) / scale
    }

    /// Number of terms.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// `ln sum exp` of the terms so far.
    pub fn log_sum(&self) -> f64 {
        if self.largest.is_finite() { self.largest + self.sum.ln() } else { self.largest }
    }

    /// `ln mean exp` of the terms so far; minus infinity when there are none.
    pub fn log_mean(&self) -> f64 {
        if self.count == 0 { self.largest } else { self.log_sum() - (self.count as f64).ln() }
    }
}

/// Nats: a million terms at this depth add less than half a unit in the last place.
const CUTOFF: f64 = 52.0;

impl Extend<f64> for LogSumExp {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.push(value));
    }
}

impl FromIterator<f64> for LogSumExp {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut sum = Self::default();
        sum.extend(values);
        sum
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::golden::assert_close;

    #[test]
    fn large_terms_of_either_sign_do_not_overflow() {
        for shift in [1e4, -1e4] {
            assert_close(
                log_sum_exp(&[shift, shift + 1.0]),
                shift + (1.0 + 1f64.exp()).ln(),
                1e-15,
            );
            assert_close(log_mean_exp(&[shift; 7]), shift, 1e-15);
        }
    }

    #[test]
    fn means_far_from_one_neither_vanish_nor_overflow() {
        let two = std::f64::consts::LN_2;
        assert_close(log_mean_exp(&[-1000.0, -1000.0]), -1000.0, 1e-15);
        assert_close(log_sum_exp(&[-1000.0, -1000.0]), -1000.0 + two, 1e-15);
        assert_close(log_mean_exp(&[-1e4, 0.0]), -two, 1e-15);
        assert_close(log_sum_exp(&[-1e4, 0.0]), 0.0, 1e-15);
        assert_close(log_mean_exp(&[5000.0, 5000.0]), 5000.0, 1e-15);
    }

    #[test]
    fn infinite_terms_are_taken_at_their_word() {
        assert_close(log_mean_exp(&[f64::NEG_INFINITY, 0.0]), -std::f64::consts::LN_2, 1e-15);
        assert!(log_sum_exp(&[]) == f64::NEG_INFINITY);
        assert!(log_mean_exp(&[f64::NEG_INFINITY; 2]) == f64::NEG_INFINITY);
        assert!(log_sum_exp(&[f64::INFINITY, 0.0, f64::INFINITY]) == f64::INFINITY);
        assert!(log_sum_exp(&[0.0, f64::NAN, 5.0, f64::NEG_INFINITY]).is_nan());
    }

    #[test]
    fn scaled_distances_equal_plain_terms() {
        let distances: Vec<f64> = (0..500).map(|i| f64::from(i * i % 997) * 0.3).collect();
        let mut blocked = LogSumExp::default();
        for block in distances.chunks(7) {
            let limit = blocked.farthest(2.5);
            let near: Vec<f64> = block.iter().copied().filter(|d| *d <= limit).collect();
            blocked.push_scaled(&near, block.len(), 2.5);
        }
        let plain: LogSumExp = distances.iter().map(|d| -2.5 * d).collect();
        assert_eq!(blocked.count(), 500);
        assert_close(blocked.log_mean(), plain.log_mean(), 1e-14);
    }

    proptest! {
        #[test]
        fn blocks_merge_to_the_value_of_the_whole(
            values in prop::collection::vec(-1e4..1e4_f64, 1..50),
            at in 0_usize..50,
        ) {
            let (left, right) = values.split_at(at.min(values.len()));
            let mut merged: LogSumExp = left.iter().copied().collect();
            merged.merge(&right.iter().copied().collect());
            let largest = values.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            let direct = largest + values.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
            prop_assert!((merged.log_sum() - direct).abs() <= 1e-12 * direct.abs().max(1.0));
            prop_assert_eq!(merged.count(), values.len() as u64);
        }
    }
}
