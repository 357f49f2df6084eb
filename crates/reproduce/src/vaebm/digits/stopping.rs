//! The stopping rule around trainings of the energy: what is kept while it is content, and what is left
//! when it is not.

use std::path::Path;

use chains_core::{Error as Core, ParamStore};
use serde::{Deserialize, Serialize};
use vaebm::train::DivergenceRule;

use crate::{
    error::{Error, LastState, Result},
    run::Run,
    training::{self, Broken, EpochEnd, Finished, Learner, Plan, load_best, rescue, save_best},
};

/// What the rule refuses.
const APART: &str = "energy difference (run away)";

/// The rule as a training carries it, and the network that would be left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Guard {
    rule: DivergenceRule,
    /// Updates of the network that was kept last.
    healthy: Option<usize>,
}

impl Guard {
    /// Takes `mean E(x+) - mean E(x-)` of an update, numbered from 0.
    ///
    /// # Errors
    /// If the rule says stop: the error of numbers that are none, which ends a training beside its last
    /// saved state.
    pub(super) fn push(&mut self, update: usize, difference: f64) -> Result<()> {
        if !self.rule.push(difference) {
            return Ok(());
        }
        // What is no number is an error as everywhere, not a training to be stopped.
        let what = if difference.is_finite() { APART } else { "energy difference" };
        Err(Core::NonFinite { what, step: update }.into())
    }

    /// Keeps the network at a point of the curves, unless it is running away.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn look<E>(&mut self, store: &ParamStore, at: &EpochEnd<'_, E>) -> Result<()> {
        // The loop refuses parameters that are no numbers after this, when it saves them.
        if self.rule.within_bound() && store.is_finite()? {
            save_best(store, at.dir)?;
            self.healthy = Some(at.update);
        }
        Ok(())
    }
}

/// A learner with a guard.
pub(super) trait Guarded: Learner {
    /// As it is now.
    fn guard(&self) -> Guard;
}

/// Why a training ended before its time, and what is left of it.
pub(super) struct Stopped {
    /// The update, from 0.
    at: usize,
    /// Updates of the network that is left.
    pub(super) healthy: usize,
}

impl Stopped {
    /// For the report.
    pub(super) fn sentence(&self) -> String {
        format!(
            "Training was stopped by its rule (the running mean of E(data) - E(negatives) was more than {} \
             of its early deviations below zero for {} updates in a row, up to update {}); its last network \
             is the one kept before, after {} updates.",
            DivergenceRule::BOUND,
            DivergenceRule::PATIENCE,
            self.at + 1,
            self.healthy
        )
    }
}

/// [`training::train`]. A training that runs away leaves the learner with the network kept last, and what
/// was followed until the last saved state.
///
/// # Errors
/// Those of training.
pub(super) fn train<L: Guarded>(
    run: &mut Run<'_>,
    stage: &str,
    name: String,
    plan: &Plan,
    learner: &mut L,
) -> Result<(Finished<L::Epoch>, Option<Stopped>)> {
    let error = match training::train(run, stage, name, plan, learner) {
        Ok(finished) => return Ok((finished, None)),
        Err(error) => error,
    };
    let (at, dir) = match &error {
        // The folder of the training has one of states.
        Error::Diverged {
            source: Core::NonFinite { what: APART, step },
            state: LastState(Some(path)),
        } => (*step, path.ancestors().nth(2).map(Path::to_owned)),
        _ => return Err(error),
    };
    // The last saved state may be from before this network.
    let (Some(dir), Some(healthy)) = (dir, learner.guard().healthy) else { return Err(error) };
    let Broken { curve, seconds, updates, .. } = rescue(error, plan, learner)?;
    load_best(learner.store(), &dir)?;
    Ok((Finished { dir, curve, seconds, updates }, Some(Stopped { at, healthy })))
}

#[cfg(test)]
mod tests;
