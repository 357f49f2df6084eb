//! What the trainings of the baselines have in common: what is followed, what a state holds, and that a
//! training which breaks is reported.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::{Error, Result},
    plots::{Plot, Series},
    run::Run,
    training::{self, Broken, Finished, Followed, Learner, Plan, Sums, mean_of, rescue},
};

/// The numbers that are followed.
const NAMES: [&str; 4] = ["loss", "data", "negatives", "samples"];

/// Means over some updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Point {
    epoch: usize,
    /// Updates done.
    pub(super) update: usize,
    /// Loss of the energy, mean energy of data, of negatives, of fresh samples of the decoder.
    pub(super) means: Vec<f64>,
}

impl Point {
    /// The point that ends here.
    pub(super) fn of(sums: &mut Sums, epoch: usize, update: usize) -> Self {
        Self { epoch, update, means: sums.means() }
    }
}

impl Followed for Point {
    fn epoch(&self) -> usize {
        self.epoch
    }

    fn values(&self) -> Vec<(&'static str, f64)> {
        // The loss of every update is there already.
        NAMES.into_iter().zip(self.means.iter().copied()).skip(1).collect()
    }
}

/// What a state holds as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Carried {
    /// Of the optimisers of energy and decoder.
    pub(super) steps: [u64; 2],
    pub(super) update: usize,
    pub(super) sums: Sums,
}

impl Carried {
    pub(super) fn json(&self) -> Result<Value> {
        serde_json::to_value(self)
            .map_err(|error| Error::Usage(format!("state of a baseline: {error}")))
    }

    pub(super) fn of(value: Value) -> Result<Self> {
        serde_json::from_value(value)
            .map_err(|error| Error::Usage(format!("state of a baseline: {error}")))
    }
}

/// A training that ended, well or not.
pub(super) struct Learnt {
    /// The folder of a finished training; none of one that broke, whose learner is back at its last
    /// saved state.
    pub(super) dir: Option<PathBuf>,
    pub(super) curve: Vec<Point>,
    /// Seconds spent in updates.
    pub(super) seconds: f64,
    /// Updates made.
    pub(super) updates: usize,
    /// Why it broke.
    pub(super) broken: Option<String>,
}

/// Trains; a training that diverges is put back to its last saved state.
///
/// # Errors
/// [`Error::Diverged`] before the first saved state; other errors of training.
pub(super) fn learn<L: Learner<Epoch = Point>>(
    run: &mut Run<'_>,
    stage: &str,
    parts: &[String],
    plan: &Plan,
    learner: &mut L,
) -> Result<Learnt> {
    let name = training::name(run.request, parts)?;
    match training::train(run, stage, name, plan, learner) {
        Ok(Finished { dir, curve, seconds, updates }) => {
            Ok(Learnt { dir: Some(dir), curve, seconds, updates, broken: None })
        }
        Err(error) => {
            let Broken { reason, curve, seconds, updates } = rescue(error, plan, learner)?;
            Ok(Learnt { dir: None, curve, seconds, updates, broken: Some(reason.to_string()) })
        }
    }
}

/// Plots energies over updates.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn plot(run: &mut Run<'_>, name: &str, curve: &[Point]) -> Result<()> {
    let line = |term: &str| {
        let mean = |point: &Point| mean_of(&NAMES, &point.means, term);
        Series::line(term, curve.iter().map(|point| (point.update as f64, mean(point))))
    };
    let mut plot = Plot::new(format!("Energies, {name}"), "update", "E");
    plot.series(line("data"));
    plot.series(line("negatives"));
    run.plot(&format!("energies-{name}"), &plot, "Means of updates; the constant of E is free.")
}
