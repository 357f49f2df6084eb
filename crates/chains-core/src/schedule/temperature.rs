//! Temperatures of a chain that heats and of the chain that cools again.

use serde::{Deserialize, Serialize};

use crate::{
    chain::{Schedule, Step},
    error::{Error, Result},
};

/// How the temperature, which multiplies the variance of a transition, grows along a heated chain
/// (Variational Walkback, supplement, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Temperatures {
    /// `T_t = factor^(t - 1)`, t = 1, 2, ..; cooling is the exact reverse. With factor 2 the standard
    /// deviation grows like `sqrt(2^t)`, which is how the printed schedule is read.
    Geometric {
        /// Above 1.
        factor: f64,
    },
    /// The printed formulas to the letter: heating `T_t = sqrt(2 t)`, the t-th of N cooling steps at
    /// `sqrt(N / t)`. The two are no reverses, so such a chain gives no bound.
    SqrtLinear,
}

impl Temperatures {
    /// The steps after which a geometric ladder reaches `largest / smallest`:
    /// `1 + ceil(ln(largest / smallest) / ln factor)`, variances to be bridged.
    ///
    /// # Errors
    /// [`Error::Config`] unless `factor` is above 1 and `0 < smallest <= largest`.
    pub fn steps_between(factor: f64, smallest: f64, largest: f64) -> Result<usize> {
        Self::Geometric { factor }.validate()?;
        if !(smallest > 0.0 && largest >= smallest && largest.is_finite()) {
            let reason = format!("no ladder from {smallest} to {largest}");
            return Err(Error::Config { field: "temperatures", reason });
        }
        // One part in 10^12 of a step is rounding of the logarithms, not a further step.
        let steps = (largest / smallest).ln() / factor.ln();
        Ok(1 + (steps - 1e-12 * steps.max(1.0)).ceil().max(0.0) as usize)
    }

    /// The temperature of heating transition `index`, from 0.
    pub fn heating(self, index: usize) -> f64 {
        match self {
            Self::Geometric { factor } => power(factor, index),
            Self::SqrtLinear => (2.0 * (index + 1) as f64).sqrt(),
        }
    }

    /// The temperature of cooling transition `index`, from 0, of `steps`.
    pub fn cooling(self, index: usize, steps: usize) -> f64 {
        match self {
            Self::Geometric { factor } => power(factor, steps.saturating_sub(index + 1)),
            Self::SqrtLinear => (steps as f64 / (index + 1) as f64).sqrt(),
        }
    }

    /// Is cooling the reverse of heating?
    pub fn is_reversible(self) -> bool {
        matches!(self, Self::Geometric { .. })
    }

    /// # Errors
    /// [`Error::Config`] unless the factor is a finite number above 1.
    pub fn validate(self) -> Result<()> {
        match self {
            Self::Geometric { factor } if !(factor.is_finite() && factor > 1.0) => {
                let reason = format!("{factor} must be above 1");
                Err(Error::Config { field: "factor", reason })
            }
            _ => Ok(()),
        }
    }
}

/// From the closed form, not by repeated products, so that both directions have the same bits.
fn power(factor: f64, exponent: usize) -> f64 {
    factor.powi(i32::try_from(exponent).unwrap_or(i32::MAX))
}

/// A heated chain: `extra` transitions of index 0 at temperature 1, then transitions 0, 1, ..,
/// `steps - 1` at rising temperatures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heating {
    /// Which temperatures.
    pub temperatures: Temperatures,
    /// K.
    pub steps: usize,
    /// Transitions at temperature 1 before them, at the data's end.
    pub extra: usize,
}

impl Schedule for Heating {
    fn at(&self, index: usize) -> Step {
        match index.checked_sub(self.extra) {
            None => Step::at(0),
            Some(index) => Step { index, temperature: self.temperatures.heating(index) },
        }
    }

    fn len(&self) -> Option<usize> {
        Some(self.steps + self.extra)
    }
}

/// A cooled chain: transitions `steps - 1`, .., 0 at falling temperatures, then `extra` of index 0 at
/// temperature 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cooling {
    /// Which temperatures.
    pub temperatures: Temperatures,
    /// N.
    pub steps: usize,
    /// Transitions at temperature 1 after them.
    pub extra: usize,
}

impl Schedule for Cooling {
    fn at(&self, index: usize) -> Step {
        match self.steps.checked_sub(index.saturating_add(1)) {
            None => Step::at(0),
            Some(number) => {
                Step { index: number, temperature: self.temperatures.cooling(index, self.steps) }
            }
        }
    }

    fn len(&self) -> Option<usize> {
        Some(self.steps + self.extra)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(schedule: &dyn Schedule) -> Vec<Step> {
        (0..schedule.len().unwrap()).map(|index| schedule.at(index)).collect()
    }

    #[test]
    fn cooling_is_the_exact_reverse_of_heating_and_ends_at_one() {
        for factor in [2.0, 1.1, 1.5, 2_f64.powf(29.0 / 9.0)] {
            for steps in [0, 1, 8, 30] {
                let temperatures = Temperatures::Geometric { factor };
                let heat = list(&Heating { temperatures, steps, extra: 0 });
                let mut cool = list(&Cooling { temperatures, steps, extra: 0 });
                cool.reverse();
                assert_eq!(heat, cool, "{factor}");
                assert!(heat.first().is_none_or(|step| *step == Step::at(0)));
            }
        }
        let doubling = Temperatures::Geometric { factor: 2.0 };
        assert!((doubling.heating(29) - 2_f64.powi(29)).abs() < f64::EPSILON);
        let slow = Temperatures::Geometric { factor: 1.1 };
        assert!((slow.heating(29) - 1.1_f64.powf(29.0)).abs() < 1e-12 * slow.heating(29));
    }

    #[test]
    fn further_steps_are_at_temperature_one_with_the_first_index() {
        let temperatures = Temperatures::Geometric { factor: 2.0 };
        let step = |index, temperature| Step { index, temperature };
        let heat = list(&Heating { temperatures, steps: 3, extra: 2 });
        let want = [(0, 1.0), (0, 1.0), (0, 1.0), (1, 2.0), (2, 4.0)].map(|(i, t)| step(i, t));
        assert_eq!(heat, want);
        let cool = list(&Cooling { temperatures, steps: 3, extra: 2 });
        assert_eq!(cool, want.into_iter().rev().collect::<Vec<_>>());
        assert_eq!(list(&Cooling { temperatures, steps: 0, extra: 4 }), [Step::at(0); 4]);
        let cool = Cooling { temperatures, steps: 3, extra: 1 };
        assert_eq!(cool.at(usize::MAX), Step::at(0));
    }

    #[test]
    fn the_printed_schedule_is_no_reverse() {
        let printed = Temperatures::SqrtLinear;
        let heat: Vec<_> = (0..3).map(|index| printed.heating(index)).collect();
        assert_eq!(heat, [2_f64.sqrt(), 2.0, 6_f64.sqrt()]);
        let cool: Vec<_> = (0..4).map(|index| printed.cooling(index, 4)).collect();
        assert_eq!(cool, [2.0, 2_f64.sqrt(), (4.0_f64 / 3.0).sqrt(), 1.0]);
        assert!(!printed.is_reversible());
        assert!(Temperatures::Geometric { factor: 2.0 }.is_reversible());
    }

    #[test]
    fn the_rule_gives_the_first_ladder_that_is_long_enough() {
        let steps =
            |factor, small, large| Temperatures::steps_between(factor, small, large).unwrap();
        for (factor, small, large, want) in [
            (2.0, 1.0, 1.0, 1),
            (2.0, 1.0, 8.0, 4),
            (2.0, 1.0, 8.1, 5),
            (10.0, 1e-4, 0.1, 4),
            (1.1, 0.01, 0.5, 43),
        ] {
            assert_eq!(steps(factor, small, large), want, "{factor} {small} {large}");
            let top = Temperatures::Geometric { factor }.heating(want - 1);
            assert!(top >= large / small * (1.0 - 1e-9));
        }
        for (factor, small, large) in [(1.0, 1.0, 2.0), (2.0, 0.0, 1.0), (2.0, 2.0, 1.0)] {
            assert!(Temperatures::steps_between(factor, small, large).is_err());
        }
        assert!(Temperatures::steps_between(2.0, 1.0, f64::INFINITY).is_err());
        assert!(Temperatures::steps_between(2.0, f64::NAN, 1.0).is_err());
    }

    #[test]
    fn configs_are_written_by_kind_and_factors_checked() {
        let text = serde_json::to_string(&Temperatures::Geometric { factor: 1.5 }).unwrap();
        assert_eq!(text, r#"{"kind":"geometric","factor":1.5}"#);
        let back: Temperatures = serde_json::from_str(r#"{"kind":"sqrt-linear"}"#).unwrap();
        assert_eq!(back, Temperatures::SqrtLinear);
        assert!(back.validate().is_ok());
        for factor in [1.0, 0.5, f64::NAN, f64::INFINITY] {
            assert!(Temperatures::Geometric { factor }.validate().is_err());
        }
    }
}
