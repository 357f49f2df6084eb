//! One axis of a plot: its range, its round ticks and their labels, linear or logarithmic.

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::report::{format_number, scientific};

/// A range of numbers on a screen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) log: bool,
}

/// Can the axis show this number?
pub(super) fn shows(log: bool, value: f64) -> bool {
    // Beyond these a range, or its padding, is no longer finite.
    value.abs() < 1e250 && (!log || value > 1e-250)
}

impl Axis {
    /// Around all the numbers that can be shown, with a little room. Nothing to show gives
    /// `0..1` (`1..10` on a logarithmic axis).
    pub(super) fn around(values: impl Iterator<Item = f64>, log: bool) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| shows(log, *value)) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = if log { (1.0, 10.0) } else { (0.0, 1.0) };
        }
        if log {
            // A constant gets a factor of two on both sides.
            let nats = high.ln() - low.ln();
            let room = if nats < 0.01 { 0.7 } else { 0.05 * nats };
            return Self { low: low / room.exp(), high: high * room.exp(), log };
        }
        let magnitude = low.abs().max(high.abs());
        // Constant, up to rounding.
        let flat = high - low <= 1e-9 * magnitude;
        let room = match flat {
            true if magnitude > 0.0 => 0.1 * magnitude,
            true => 0.5,
            false => 0.05 * (high - low),
        };
        Self { low: low - room, high: high + room, log }
    }

    /// Grows to `span`, about the same middle.
    pub(super) fn widened(&self, span: f64) -> Self {
        let middle = self.low + (self.high - self.low) / 2.0;
        Self { low: middle - span / 2.0, high: middle + span / 2.0, log: self.log }
    }

    /// Round numbers inside the range, at most about `most`.
    pub(super) fn ticks(&self, most: usize) -> Vec<f64> {
        let ticks = if self.log { self.log_ticks(most) } else { Vec::new() };
        if ticks.len() >= 2 { ticks } else { self.linear_ticks(most) }
    }

    fn log_ticks(&self, most: usize) -> Vec<f64> {
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let inside = |value: &f64| (self.low..=self.high).contains(value);
        let at = |digits: &'static [f64], stride: usize| -> Vec<f64> {
            let decades = (first..=last).filter(move |k| k.rem_euclid(stride as i32) == 0);
            decades
                .flat_map(|k| digits.iter().map(move |d| d * 10_f64.powi(k)))
                .filter(inside)
                .collect()
        };
        let fine = at(&[1.0, 2.0, 5.0], 1);
        if fine.len() <= most {
            return fine;
        }
        at(&[1.0], ((last - first + 1) as usize).div_ceil(most.max(1)).max(1))
    }

    fn linear_ticks(&self, most: usize) -> Vec<f64> {
        let step = self.step(most);
        let first = (self.low / step).ceil();
        let ticks = (0..=most).map(|i| (first + i as f64) * step);
        // `+ 0.0` turns a negative zero into zero.
        ticks.take_while(|tick| *tick <= self.high).map(|tick| tick + 0.0).collect()
    }

    /// 1, 2 or 5 times a power of ten.
    fn step(&self, most: usize) -> f64 {
        let least = (self.high - self.low) / most.max(1) as f64;
        let power = 10_f64.powf(least.log10().floor());
        let digit = [1.0, 2.0, 5.0, 10.0].into_iter().find(|d| d * power >= least * (1.0 - 1e-9));
        digit.unwrap_or(10.0) * power
    }

    /// A tick's label: as many decimals as tell neighbours apart, powers of ten far from one.
    pub(super) fn label(&self, value: f64, most: usize) -> String {
        let magnitude = self.low.abs().max(self.high.abs());
        if self.log && self.log_ticks(most).len() >= 2 {
            let plain = (1e-3..1e5).contains(&value);
            return if plain { format_number(value) } else { scientific(value, 0) };
        }
        let step = self.step(most);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        if magnitude >= 1e6 || decimals > 5 {
            let digits = (magnitude.log10().floor() - step.log10().floor()).clamp(0.0, 6.0);
            return if value.abs() <= 0.0 {
                "0".into()
            } else {
                scientific(value, digits as usize)
            };
        }
        format!("{value:.decimals$}")
    }

    /// The label of one of this axis's ticks.
    pub(super) fn text(&self, value: f64) -> String {
        self.label(value, TICKS)
    }

    /// Where a number is between two pixels.
    pub(super) fn pixel(&self, value: f64, from: i32, to: i32) -> i32 {
        let place = self.place(value).clamp(0.0, 1.0);
        from + (place * f64::from(to - from)).round() as i32
    }

    fn place(&self, value: f64) -> f64 {
        if self.log {
            (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }
}

/// Ticks that plotters is asked for, whatever it would like.
const TICKS: usize = 8;

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.pixel(*value, limit.0, limit.1)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // The light lines between the bold ones are not wanted.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks(TICKS) }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.text(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64, log: bool) -> Vec<String> {
        let axis = Axis { low, high, log };
        axis.ticks(TICKS).into_iter().map(|tick| axis.label(tick, TICKS)).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(labels(-0.05, 1.05, false), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(-3.0, 3.0, false), ["-3", "-2", "-1", "0", "1", "2", "3"]);
        assert_eq!(labels(0.0012, 0.0031, false)[0], "0.0015");
        assert_eq!(labels(0.0, 2e7, false)[..2], ["0", "5e6"]);
        assert_eq!(labels(1.0, 100.0, true), ["1", "2", "5", "10", "20", "50", "100"]);
        assert_eq!(labels(1e-6, 1e2, true)[..4], ["1e-6", "1e-4", "0.01", "1"]);
        // Too narrow for powers of ten.
        assert_eq!(labels(90.0, 110.0, true), ["90", "95", "100", "105", "110"]);
    }

    #[test]
    fn every_range_has_room_and_few_ticks() {
        let hard: [&[f64]; 8] = [
            &[],
            &[f64::NAN],
            &[0.0],
            &[1e249, -1e249],
            &[5.0, 5.0],
            &[1e16, 1e16 + 2.0],
            &[1e-249, f64::INFINITY],
            &[1e-249, 1e249],
        ];
        for values in hard {
            for log in [false, true] {
                let axis = Axis::around(values.iter().copied(), log);
                assert!(axis.low < axis.high && (axis.high - axis.low).is_finite(), "{axis:?}");
                let ticks = axis.ticks(TICKS);
                assert!(ticks.len() <= 2 * TICKS, "{axis:?} {ticks:?}");
                assert!(ticks.iter().all(|tick| axis.label(*tick, TICKS).len() <= 16), "{axis:?}");
            }
        }
    }

    #[test]
    fn places_are_proportions_of_the_range() {
        let axis = Axis { low: 1.0, high: 100.0, log: true };
        assert_eq!(axis.map(&10.0, (0, 200)), 100);
        let axis = Axis { low: -1.0, high: 3.0, log: false };
        assert_eq!([axis.map(&0.0, (400, 0)), axis.map(&3.0, (400, 0))], [300, 0]);
    }
}
