//! When a training of the energy has begun to run away.

use serde::{Deserialize, Serialize};

/// Says when data and negatives have come apart for good. The paper trains until samples degrade; the
/// rule is ours.
///
/// Of `d = mean E(x+) - mean E(x-)` an exponential average with factor 0.99 is kept. Its standard
/// deviation over updates 100 to 1,000 is the yardstick; from then on training should stop once the
/// average is below minus ten of them for 200 updates in a row, and at any time when `d` is no number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DivergenceRule {
    seen: usize,
    average: f64,
    /// Mean and sum of squared deviations of the average in the first phase.
    mean: f64,
    scatter: f64,
    below: usize,
    lost: bool,
}

impl DivergenceRule {
    /// First and last update of the yardstick.
    const PHASE: [usize; 2] = [100, 1000];
    /// Deviations below zero that are too many.
    pub const BOUND: f64 = 10.0;
    /// Updates in a row that are too many.
    pub const PATIENCE: usize = 200;

    /// Takes the difference of an update; is it time to stop?
    pub fn push(&mut self, difference: f64) -> bool {
        if !difference.is_finite() {
            self.lost = true;
        }
        if self.lost {
            return true;
        }
        self.average =
            if self.seen == 0 { difference } else { 0.99 * self.average + 0.01 * difference };
        self.seen += 1;
        let [from, to] = Self::PHASE;
        if (from..=to).contains(&self.seen) {
            // Welford 1962.
            let delta = self.average - self.mean;
            self.mean += delta / (self.seen - from + 1) as f64;
            self.scatter += delta * (self.average - self.mean);
        }
        if self.seen <= to {
            return false;
        }
        let deviation = (self.scatter / (to - from) as f64).sqrt();
        let beyond = self.average < -Self::BOUND * deviation;
        self.below = if beyond { self.below + 1 } else { 0 };
        self.below >= Self::PATIENCE
    }

    /// Was all well at the last update? While it is not, networks are not worth keeping.
    pub fn within_bound(&self) -> bool {
        self.below == 0 && !self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sequence without trend.
    fn wave(i: usize) -> f64 {
        (i as f64 * 0.37).sin() + (i as f64 * 0.011).cos()
    }

    #[test]
    fn a_quiet_training_goes_on() {
        let mut rule = DivergenceRule::default();
        assert!((0..5000).all(|i| !rule.push(wave(i))));
    }

    #[test]
    fn a_training_that_runs_away_stops_after_two_hundred_updates_beyond_the_bound() {
        let mut rule = DivergenceRule::default();
        assert!((0..1500).all(|i| !rule.push(wave(i)) && rule.within_bound()));
        let mut next = rule;
        assert!(!next.push(-1e6) && !next.within_bound());
        let stopped = (0..1000).position(|_| rule.push(-1e6)).unwrap();
        // The average is beyond at once, and the update that is the two-hundredth stops.
        assert_eq!(stopped, 199);
        // Data above negatives is not that failure.
        let mut rule = DivergenceRule::default();
        assert!((0..1500).all(|i| !rule.push(wave(i))));
        assert!((0..1000).all(|_| !rule.push(1e6)));
    }

    #[test]
    fn no_number_stops_at_once_and_for_good() {
        let mut rule = DivergenceRule::default();
        assert!(!rule.push(0.0) && rule.push(f64::NAN) && rule.push(0.0));
        assert!(!rule.within_bound());
    }
}
