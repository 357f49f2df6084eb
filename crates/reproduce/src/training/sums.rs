//! Means of what updates measure, until they are a point of a curve.

use serde::{Deserialize, Serialize};

/// Sums of numbers that come in one order, and how often they came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sums {
    sums: Vec<f64>,
    count: usize,
}

impl Sums {
    /// Adds what one update measured.
    pub(crate) fn push(&mut self, values: &[f64]) {
        self.sums.resize(values.len(), 0.0);
        self.sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        self.count += 1;
    }

    /// The means; the sums begin anew.
    pub(crate) fn means(&mut self) -> Vec<f64> {
        let Self { sums, count } = std::mem::take(self);
        sums.into_iter().map(|sum| sum / count.max(1) as f64).collect()
    }
}

/// The mean of that name; not a number if there is none.
pub(crate) fn mean_of(names: &[&str], means: &[f64], name: &str) -> f64 {
    let at = names.iter().position(|known| *known == name);
    at.and_then(|at| means.get(at)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_of_the_updates_since_the_last_ones() {
        let mut sums = Sums::default();
        sums.push(&[1.0, 4.0]);
        sums.push(&[2.0, 8.0]);
        let means = sums.means();
        assert_eq!(means, [1.5, 6.0]);
        assert_eq!(means[1].to_bits(), mean_of(&["a", "b"], &means, "b").to_bits());
        assert!(mean_of(&["a", "b"], &means, "c").is_nan());
        sums.push(&[3.0, 5.0]);
        // As it is saved beside other fields of a state.
        let saved = serde_json::to_string(&sums).unwrap();
        assert_eq!(saved, r#"{"sums":[3.0,5.0],"count":1}"#);
        assert_eq!(serde_json::from_str::<Sums>(&saved).unwrap().means(), [3.0, 5.0]);
    }
}
