//! The loop of one training: updates, saved states, the end.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chains_core::{
    checkpoint,
    host::Later,
    optim::{Adam, WeightAverage},
    train::{Event, Loaded, Observer, Parts, StateDir},
};
use datasets::{Cursor, Shuffle};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    EpochEnd, Followed, Learner, Plan, UpdateAt,
    place::{DONE_FILE, states},
};
use crate::{
    data::usage,
    error::{Error, LastState, Result},
};

/// What a state holds besides tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Extra<E> {
    cursor: Cursor,
    curve: Vec<E>,
    loss_sum: f64,
    loss_count: usize,
    seconds: f64,
    carried: Value,
}

impl<E> Default for Extra<E> {
    fn default() -> Self {
        let (cursor, curve) = (Cursor::default(), Vec::new());
        Self { cursor, curve, loss_sum: 0.0, loss_count: 0, seconds: 0.0, carried: Value::Null }
    }
}

impl<E> Extra<E> {
    /// Mean loss of the epoch that ends; the next one starts from nothing.
    fn take_loss(&mut self) -> f64 {
        let loss = self.loss_sum / self.loss_count.max(1) as f64;
        (self.loss_sum, self.loss_count) = (0.0, 0);
        loss
    }
}

/// What `done.json` says: everything else of the training is there.
#[derive(Serialize, Deserialize)]
pub(super) struct Record<E> {
    pub(super) curve: Vec<E>,
    pub(super) seconds: f64,
    pub(super) updates: usize,
}

impl<E: DeserializeOwned> Record<E> {
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(DONE_FILE);
        let bytes = fs::read(&path).map_err(|e| Error::io(&path, e))?;
        serde_json::from_slice(&bytes)
            .map_err(|e| Error::format(path, format!("{e}; leave out --resume to train afresh")))
    }
}

/// One training: its learner, its optimiser, and where it is.
pub(super) struct Session<'a, L: Learner> {
    pub(super) plan: &'a Plan,
    learner: &'a mut L,
    dir: PathBuf,
    adam: Adam,
    average: Option<WeightAverage>,
    update: usize,
    extra: Extra<L::Epoch>,
    /// When a state was last saved.
    saved: Option<Instant>,
}

/// An update whose loss is to be shown.
struct Told {
    /// Updates made with it.
    step: usize,
    rate: f64,
    loss: Later,
}

/// Least time between two states of a training on an accelerator, where an epoch can take less than to
/// write what it led to.
const REST: Duration = Duration::from_secs(15);

impl<'a, L: Learner> Session<'a, L> {
    pub(super) fn new(plan: &'a Plan, learner: &'a mut L, dir: &Path) -> Self {
        let (adam, dir) = (Adam::new(plan.adam), dir.to_owned());
        let extra = Extra::default();
        Self { plan, learner, dir, adam, average: None, update: 0, extra, saved: None }
    }

    /// What was followed so far, or to the end of a finished training.
    pub(super) fn curve(&self) -> Result<Vec<L::Epoch>> {
        match self.dir.join(DONE_FILE).is_file() {
            true => Ok(Record::read(&self.dir)?.curve),
            false => Ok(self.extra.curve.clone()),
        }
    }

    fn shuffle(&self) -> Shuffle {
        let Plan { examples: n, batch_size, order: seed, .. } = *self.plan;
        Shuffle { n, batch_size, seed, drop_last: true }
    }

    pub(super) fn resume(&mut self) -> Result<()> {
        let Plan { adam, weight_average, .. } = *self.plan;
        let decay = (weight_average > 0.0).then_some(weight_average);
        let store = self.learner.store();
        match states(&self.dir).latest()? {
            Some(path) => {
                let loaded = StateDir::load::<Extra<L::Epoch>>(&path, store, adam, decay)?;
                let Loaded { adam, average, carried, progress } = loaded;
                (self.adam, self.average) = (adam, average);
                (self.update, self.extra) = (progress.update, progress.extra);
                self.learner.restore(self.extra.carried.take(), carried)?;
            }
            None => {
                self.average = decay.map(|decay| WeightAverage::new(decay, store)).transpose()?;
            }
        }
        Ok(())
    }

    /// The updates that are left, with saved states.
    ///
    /// # Errors
    /// [`Error::Diverged`] if something is no number: its update, and the last saved state, which is
    /// from before.
    pub(super) fn run(&mut self, stage: &str, observer: &mut dyn Observer) -> Result<()> {
        match self.updates(stage, observer) {
            Err(Error::Chains(source)) if source.is_recoverable() => {
                let state = states(&self.dir).latest()?;
                Err(Error::Diverged { source, state: state.into() })
            }
            other => other,
        }
    }

    fn updates(&mut self, stage: &str, observer: &mut dyn Observer) -> Result<()> {
        fs::create_dir_all(&self.dir).map_err(|e| Error::io(&self.dir, e))?;
        let mut batches = self.shuffle().resume(self.extra.cursor).map_err(usage)?;
        let per_epoch = batches.batches_per_epoch();
        let total = per_epoch * self.plan.epochs;
        let (step, total_steps) = (self.update, Some(total));
        observer.observe(&Event::Started { stage, step, total: total_steps })?;
        if self.update == 0 {
            self.learner.begin(&self.dir)?;
        }
        let mut waiting = None;
        while self.update < total {
            let planned = self.plan.learning_rate.at(self.update, total);
            let rate = self.learner.learning_rate(self.update, planned);
            let loss = self.one_update(batches.next_batch(), rate)?;
            self.extra.cursor = batches.cursor();
            let step = self.update;
            let told = Told { step, rate, loss };
            let known = told.loss.is_known();
            if let Some(before) = waiting.replace(told) {
                self.tell(before, observer)?;
            }
            let epoch_ends = step.is_multiple_of(per_epoch);
            // An eighth of an epoch, or so many updates, is what a kill can cost; on an accelerator also
            // as many seconds.
            let every = (per_epoch / 8).max(100);
            let rested = self.learner.store().device().is_cpu()
                || step == total
                || self.saved.is_none_or(|at| at.elapsed() >= REST);
            let saves = rested && (epoch_ends || (step % per_epoch).is_multiple_of(every));
            if (known || epoch_ends || saves)
                && let Some(last) = waiting.take()
            {
                self.tell(last, observer)?;
            }
            if epoch_ends {
                self.end_epoch(step / per_epoch, observer)?;
            }
            if saves {
                self.save(observer)?;
                self.saved = Some(Instant::now());
            }
        }
        Ok(observer.observe(&Event::Finished { step: total })?)
    }

    fn one_update(&mut self, indices: &[usize], learning_rate: f64) -> Result<Later> {
        let started = Instant::now();
        let at = UpdateAt { update: self.update, indices, learning_rate };
        let loss = self.learner.update_later(&mut self.adam, &at)?;
        self.update += 1;
        if let Some(average) = &self.average {
            average.update(self.learner.store(), self.update)?;
        }
        self.extra.seconds += started.elapsed().as_secs_f64();
        Ok(loss)
    }

    /// Waits for the loss of an update and shows it.
    fn tell(&mut self, told: Told, observer: &mut dyn Observer) -> Result<()> {
        let (Told { step, rate, loss }, started) = (told, Instant::now());
        let loss = loss.wait()?;
        self.extra.seconds += started.elapsed().as_secs_f64();
        if !loss.is_finite() {
            return Err(chains_core::Error::NonFinite { what: "loss", step: step - 1 }.into());
        }
        self.extra.loss_sum += loss;
        self.extra.loss_count += 1;
        let values = [("loss", loss), ("learning_rate", rate)];
        Ok(observer.observe(&Event::Scalars { step, values: &values })?)
    }

    fn end_epoch(&mut self, epoch: usize, observer: &mut dyn Observer) -> Result<()> {
        let loss = self.extra.take_loss();
        self.swap()?;
        let (dir, update, curve) = (self.dir.as_path(), self.update, self.extra.curve.as_slice());
        let found = self.learner.end_epoch(&EpochEnd { dir, epoch, update, loss, curve })?;
        if let Some(followed) = found {
            let values = followed.values();
            observer.observe(&Event::Scalars { step: update, values: &values })?;
            self.extra.curve.push(followed);
        }
        self.swap()
    }

    fn save(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let (step, store) = (self.update, self.learner.store());
        if !store.is_finite()? {
            let what = "parameter";
            return Err(chains_core::Error::NonFinite { what, step }.into());
        }
        self.extra.carried = self.learner.carried()?;
        let (adam, average) = (&self.adam, self.average.as_ref());
        let carried = self.learner.carried_tensors()?;
        let parts = Parts { store, adam, average, carried: &carried };
        let path = states(&self.dir).save(step, parts, &self.extra)?;
        Ok(observer.observe(&Event::Saved { step, path: &path })?)
    }

    /// Exchanges weights and average, if there is one.
    fn swap(&self) -> Result<()> {
        match &self.average {
            Some(average) => Ok(average.swap(self.learner.store())?),
            None => Ok(()),
        }
    }

    /// Has the learner write what is kept, and then the record that all is there.
    pub(super) fn finish(&mut self, observer: &mut dyn Observer) -> Result<()> {
        self.swap()?;
        self.learner.finish(&self.dir, &self.extra.curve, observer)?;
        let Extra { curve, seconds, .. } = self.extra.clone();
        let record = Record { curve, seconds, updates: self.update };
        let text = serde_json::to_string_pretty(&record)
            .map_err(|e| Error::Usage(format!("training record: {e}")))?;
        Ok(checkpoint::write_bytes_atomic(&self.dir.join(DONE_FILE), text.as_bytes())?)
    }
}

/// What is left of a training that broke.
pub(crate) struct Broken<E> {
    /// What is no number, and at which update.
    pub(crate) reason: chains_core::Error,
    /// What was followed until the last saved state.
    pub(crate) curve: Vec<E>,
    /// Seconds spent in updates until then.
    pub(crate) seconds: f64,
    /// Updates made until then.
    pub(crate) updates: usize,
}

/// Puts the learner of a training that ended with `error` back to its last saved state, for an experiment
/// that reports a training which broke and goes on.
///
/// # Errors
/// `error` itself if it is another one, or no state was saved.
pub(crate) fn rescue<L: Learner>(
    error: Error,
    plan: &Plan,
    learner: &mut L,
) -> Result<Broken<L::Epoch>> {
    let (reason, path) = match error {
        Error::Diverged { source, state: LastState(Some(path)) } => (source, path),
        other => return Err(other),
    };
    // The folder of the training has one of states.
    let dir = path.ancestors().nth(2).unwrap_or(&path).to_owned();
    let mut session = Session::new(plan, learner, &dir);
    session.resume()?;
    let Session { update: updates, extra, .. } = session;
    let Extra { curve, seconds, .. } = extra;
    Ok(Broken { reason, curve, seconds, updates })
}

#[cfg(test)]
mod tests;
