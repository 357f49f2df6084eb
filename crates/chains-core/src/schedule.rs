//! Schedules: values with closed forms.

mod temperature;

use serde::{Deserialize, Serialize};

pub use self::temperature::{Cooling, Heating, Temperatures};
use crate::error::{Error, Result};

/// The infusion rate `alpha_t = clamp(initial + t * increment, 0, 1)`, `t = 0, 1, ..`
/// (infusion training, section 2.3.1, footnote 2).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfusionRate {
    /// `alpha_0`.
    pub initial: f64,
    /// `omega`; 0 is the constant schedule.
    pub increment: f64,
    /// Use the index of the published code, whose state `t > 0` has the rate of `t - 1`.
    pub code_shift: bool,
}

impl InfusionRate {
    /// `alpha_0 + t * omega` with the paper's index.
    pub const fn increasing(initial: f64, increment: f64) -> Self {
        Self { initial, increment, code_shift: false }
    }

    /// The same rate at every step.
    pub const fn constant(rate: f64) -> Self {
        Self { initial: rate, increment: 0.0, code_shift: false }
    }

    /// The probability with which each dimension of `z_t` is infused.
    pub fn at(&self, t: usize) -> f64 {
        let t = if self.code_shift { t.saturating_sub(1) } else { t };
        (self.initial + t as f64 * self.increment).clamp(0.0, 1.0)
    }

    /// # Errors
    /// [`Error::Config`] if the initial rate is no probability or the increment is not finite.
    pub fn validate(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.initial) {
            let reason = format!("{} is not a probability", self.initial);
            return Err(Error::Config { field: "rate.initial", reason });
        }
        if !self.increment.is_finite() {
            return Err(Error::Config { field: "rate.increment", reason: "must be finite".into() });
        }
        Ok(())
    }
}

/// The learning rate over a training of known length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum LearningRate {
    /// Always `value`.
    Constant {
        /// The rate.
        value: f64,
    },
    /// Linear warm-up over `warmup` updates to `value`, then half a cosine down to `last`.
    Cosine {
        /// The highest rate.
        value: f64,
        /// The rate at the end.
        last: f64,
        /// Updates until the highest rate.
        warmup: usize,
    },
}

impl LearningRate {
    /// The rate of update `update` (from 0) of `total`.
    pub fn at(&self, update: usize, total: usize) -> f64 {
        match *self {
            Self::Constant { value } => value,
            Self::Cosine { value, last, warmup } => {
                if update < warmup {
                    return value * (update + 1) as f64 / warmup as f64;
                }
                let span = total.saturating_sub(warmup + 1).max(1) as f64;
                let share = ((update - warmup) as f64 / span).min(1.0);
                last + (value - last) * 0.5 * (1.0 + (std::f64::consts::PI * share).cos())
            }
        }
    }

    /// # Errors
    /// [`Error::Config`] if a rate is negative or not finite.
    pub fn validate(&self) -> Result<()> {
        let (value, last) = match *self {
            Self::Constant { value } => (value, value),
            Self::Cosine { value, last, .. } => (value, last),
        };
        if [value, last].iter().all(|rate| rate.is_finite() && *rate >= 0.0) {
            return Ok(());
        }
        let reason = format!("{value} and {last} must be finite and not negative");
        Err(Error::Config { field: "learning_rate", reason })
    }
}

/// A rate that falls by a factor at given updates, after a linear warm-up.
///
/// The update with the number of a milestone is the first at the lower rate; of the warm-up update
/// `i` has the rate `value (i + 1) / warmup`, whatever the milestones (as in the code of VERA).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultiStep {
    /// The highest rate.
    pub value: f64,
    /// Updates until the highest rate; 0 begins with it.
    pub warmup: usize,
    /// Numbers of the updates at which the rate falls, in ascending order.
    pub milestones: Vec<usize>,
    /// What it is multiplied by there.
    pub factor: f64,
}

impl MultiStep {
    /// The same rate at every update.
    pub const fn constant(value: f64) -> Self {
        Self { value, warmup: 0, milestones: Vec::new(), factor: 1.0 }
    }

    /// The rate of update `update`, from 0.
    pub fn at(&self, update: usize) -> f64 {
        if update < self.warmup {
            return self.value * (update + 1) as f64 / self.warmup as f64;
        }
        let passed = self.milestones.iter().filter(|milestone| **milestone <= update).count();
        self.value * self.factor.powi(i32::try_from(passed).unwrap_or(i32::MAX))
    }

    /// # Errors
    /// [`Error::Config`] if a rate or the factor is negative or not finite, or milestones are out of
    /// order.
    pub fn validate(&self) -> Result<()> {
        let fine = |x: f64| x.is_finite() && x >= 0.0;
        if !fine(self.value) || !fine(self.factor) {
            let reason = format!("{} and {} must be finite, not negative", self.value, self.factor);
            return Err(Error::Config { field: "learning_rate", reason });
        }
        if !self.milestones.is_sorted() {
            let reason = format!("{:?} are not in ascending order", self.milestones);
            return Err(Error::Config { field: "learning_rate.milestones", reason });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infusion_rates_follow_the_papers_examples() {
        // T = 15, omega = 0.01: 0, 0.01, ..., 0.14; T = 20, omega = 0.02: 0 ... 0.38.
        let mnist = InfusionRate::increasing(0.0, 0.01);
        assert!((0..15).all(|t| (mnist.at(t) - 0.01 * t as f64).abs() < 1e-15));
        assert!((InfusionRate::increasing(0.0, 0.02).at(19) - 0.38).abs() < 1e-15);
        // The code's index: alpha_0 twice.
        let code = InfusionRate { code_shift: true, ..InfusionRate::increasing(0.02, 0.02) };
        let rates: Vec<_> = (0..4).map(|t| (code.at(t) * 100.0).round()).collect();
        assert_eq!(rates, [2.0, 2.0, 4.0, 6.0]);
    }

    #[test]
    fn rates_stay_probabilities() {
        let rate = InfusionRate::increasing(0.5, 0.2);
        assert!((rate.at(10) - 1.0).abs() < f64::EPSILON);
        assert!(InfusionRate::increasing(-0.1, 0.0).validate().is_err());
        assert!(InfusionRate::increasing(f64::NAN, 0.0).validate().is_err());
        assert!(InfusionRate::increasing(0.0, f64::INFINITY).validate().is_err());
    }

    #[test]
    fn learning_rates_survive_odd_lengths_and_say_what_is_wrong() {
        let constant = LearningRate::Constant { value: 0.25 };
        assert!([(0, 0), (7, 5)].iter().all(|(u, n)| (constant.at(*u, *n) - 0.25).abs() < 1e-15));
        // A warm-up longer than the training, none at all, and a training of one update.
        let long = LearningRate::Cosine { value: 1.0, last: 0.0, warmup: 10 };
        assert!((long.at(4, 5) - 0.5).abs() < 1e-15);
        let none = LearningRate::Cosine { value: 1.0, last: 0.0, warmup: 0 };
        assert!((none.at(0, 1) - 1.0).abs() < 1e-15 && none.at(1, 1).abs() < 1e-15);
        let rates: Vec<_> = (0..100).map(|u| none.at(u, 100)).collect();
        assert!(rates.is_sorted_by(|a, b| a > b));
        assert!(none.validate().is_ok() && constant.validate().is_ok());
        for value in [-0.1, f64::NAN, f64::INFINITY] {
            assert!(LearningRate::Constant { value }.validate().is_err());
            let cosine = LearningRate::Cosine { value: 0.1, last: value, warmup: 0 };
            assert!(cosine.validate().unwrap_err().to_string().contains("learning_rate"));
        }
    }

    #[test]
    fn configs_are_written_by_kind_and_read_strictly() {
        let rate = LearningRate::Cosine { value: 0.5, last: 0.0, warmup: 3 };
        let text = serde_json::to_string(&rate).unwrap();
        assert_eq!(text, r#"{"kind":"cosine","value":0.5,"last":0.0,"warmup":3}"#);
        assert_eq!(serde_json::from_str::<LearningRate>(&text).unwrap(), rate);
        let extra = r#"{"kind":"constant","value":0.5,"warmup":3}"#;
        assert!(serde_json::from_str::<LearningRate>(extra).is_err());
    }

    #[test]
    fn the_cosine_begins_and_ends_where_it_should() {
        let rate = LearningRate::Cosine { value: 1.0, last: 0.1, warmup: 10 };
        assert!((rate.at(0, 111) - 0.1).abs() < 1e-12);
        assert!((rate.at(10, 111) - 1.0).abs() < 1e-12);
        assert!((rate.at(60, 111) - 0.55).abs() < 1e-12);
        assert!((rate.at(110, 111) - 0.1).abs() < 1e-12);
        assert!((rate.at(500, 111) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn steps_and_warm_up_follow_the_table() {
        let rate = MultiStep { value: 1.0, warmup: 4, milestones: vec![6, 8], factor: 0.3 };
        let want = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.3, 0.3, 0.09, 0.09];
        for (update, want) in want.into_iter().enumerate() {
            assert!((rate.at(update) - want).abs() < 1e-12, "{update}: {}", rate.at(update));
        }
        assert!((MultiStep::constant(0.1).at(1_000) - 0.1).abs() < 1e-15);
        assert!(rate.validate().is_ok());
        for bad in [
            MultiStep { value: f64::NAN, ..rate.clone() },
            MultiStep { factor: -1.0, ..rate.clone() },
            MultiStep { milestones: vec![3, 2], ..rate },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }
}
