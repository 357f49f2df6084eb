//! The course of a signed weight over a training.

use std::f64::consts::TAU;

use chains_core::{Error, Result, config::positive};
use serde::{Deserialize, Serialize};

/// A signed weight over a training of `total` iterations: an initial value and its [`Course`].
///
/// With `T_max = zero_from * total` the weight of every course but [`Course::Constant`] and
/// [`Course::Zigzag`] is exactly zero from `T_max` on: only a schedule that ends at zero leaves a
/// model without bias (theorem 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// `lambda_0`, signed.
    pub initial: f64,
    /// `T_max` as a share of the training; 0.8 in released code of the paper.
    pub zero_from: f64,
    /// The course.
    pub course: Course,
}

/// How a weight moves from its initial value `lambda_0`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Course {
    /// Always `lambda_0`: static regularisation, a biased model.
    Constant,
    /// `lambda_0 (1 - t / T_max)_+` (the paper's first choice).
    Linear,
    /// `lambda_0 exp(-t ln(1000) / total)`, then zero from `T_max` on. The form is the paper's; the rate,
    /// which would end at a thousandth of `lambda_0`, is a reconstruction.
    Exponential,
    /// `lambda_0 (1 - t / T_max)_+ cos(2 pi cycles t / T_max)`. The paper states the sine and five
    /// cycles; envelope and start at the peak are those of released code.
    Sine {
        /// Whole swings until `T_max`; 5 in the paper.
        cycles: f64,
    },
    /// `lambda_0 cos(2 pi cycles t / T_max)` before `T_max`: the literal reading (a reconstruction).
    FlatSine {
        /// Whole swings until `T_max`.
        cycles: f64,
    },
    /// `lambda_0 (1 - t / T_max)_+` with the sign changed at every half cycle (tried in the paper, behind
    /// the sine).
    Step {
        /// Whole swings until `T_max`.
        cycles: f64,
    },
    /// Straight lines between `lambda_0 (1 - k P / total) (-1)^k` at `t = k P`, as in released code; zero
    /// where `floor(t / P) = floor(total / P)`. Five cycles need `P = total / 10`.
    Zigzag {
        /// `P`, iterations between two peaks of opposite sign.
        interval: usize,
    },
}

impl Course {
    /// Does the weight take both signs?
    pub fn changes_sign(self) -> bool {
        !matches!(self, Self::Constant | Self::Linear | Self::Exponential)
    }
}

impl Schedule {
    /// `T_max / total` of released code.
    pub const ZERO_FROM: f64 = 0.8;
    /// Swings of the paper's oscillating schedule.
    pub const CYCLES: f64 = 5.0;

    /// `initial` along `course` until 0.8 of the training.
    pub const fn of(initial: f64, course: Course) -> Self {
        Self { initial, zero_from: Self::ZERO_FROM, course }
    }

    /// Always zero.
    pub const fn none() -> Self {
        Self::of(0.0, Course::Constant)
    }

    /// Always `lambda`.
    pub const fn constant(lambda: f64) -> Self {
        Self::of(lambda, Course::Constant)
    }

    /// Straight to zero at 0.8 of the training.
    pub const fn linear(initial: f64) -> Self {
        Self::of(initial, Course::Linear)
    }

    /// Exponential decay, cut at 0.8 of the training.
    pub const fn exponential(initial: f64) -> Self {
        Self::of(initial, Course::Exponential)
    }

    /// Five decaying swings until 0.8 of the training.
    pub const fn sine(initial: f64) -> Self {
        Self::of(initial, Course::Sine { cycles: Self::CYCLES })
    }

    /// Straight lines with a change of sign every `interval` iterations.
    pub const fn zigzag(initial: f64, interval: usize) -> Self {
        Self::of(initial, Course::Zigzag { interval })
    }

    /// The weight of iteration `t` (from 0) of `total`.
    pub fn at(&self, t: usize, total: usize) -> f64 {
        let initial = self.initial;
        let (now, all) = (t as f64, total as f64);
        let last = self.zero_from * all;
        let share = now / last;
        let over = now >= last;
        let fall = 1.0 - share;
        match self.course {
            Course::Constant => initial,
            Course::Zigzag { interval } => initial * zigzag(t, total, interval.max(1)),
            _ if over => 0.0,
            Course::Linear => initial * fall,
            Course::Exponential => initial * (-1000.0_f64.ln() * now / all).exp(),
            Course::Sine { cycles } => initial * fall * (TAU * cycles * share).cos(),
            Course::FlatSine { cycles } => initial * (TAU * cycles * share).cos(),
            Course::Step { cycles } => {
                let even = (2.0 * cycles * share).floor() % 2.0 < 0.5;
                initial * if even { fall } else { -fall }
            }
        }
    }

    /// Is the weight zero at the end of the training, so that the model is not biased by it?
    pub fn ends_at_zero(&self, total: usize) -> bool {
        // The last piece of a zigzag ends in zero but may not have arrived; it is a part of the first
        // piece over the number of pieces.
        let least = match self.course {
            Course::Zigzag { interval } => self.initial.abs() / interval.max(1) as f64,
            _ => 0.0,
        };
        self.at(total.saturating_sub(1), total).abs() <= least
    }

    /// # Errors
    /// [`Error::Config`] if a number is not finite, `zero_from` is no share above zero, or there are no
    /// cycles.
    pub fn validate(&self) -> Result<()> {
        if !self.initial.is_finite() {
            let reason = format!("{} must be finite", self.initial);
            return Err(Error::Config { field: "schedule.initial", reason });
        }
        if !(self.zero_from > 0.0 && self.zero_from <= 1.0) {
            let reason = format!("{} must be above 0, at most 1", self.zero_from);
            return Err(Error::Config { field: "schedule.zero_from", reason });
        }
        match self.course {
            Course::Sine { cycles } | Course::FlatSine { cycles } | Course::Step { cycles } => {
                positive("schedule.cycles", cycles)
            }
            Course::Zigzag { interval: 0 } => {
                let reason = "must be at least 1".into();
                Err(Error::Config { field: "schedule.interval", reason })
            }
            _ => Ok(()),
        }
    }
}

/// The zigzag of unit height.
fn zigzag(t: usize, total: usize, interval: usize) -> f64 {
    let piece = t / interval;
    if piece >= total / interval {
        return 0.0;
    }
    let knot = |k: usize| {
        let height = 1.0 - (k * interval) as f64 / total as f64;
        if k.is_multiple_of(2) { height } else { -height }
    };
    let within = (t - piece * interval) as f64 / interval as f64;
    knot(piece) + within * (knot(piece + 1) - knot(piece))
}
