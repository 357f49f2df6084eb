//! Trains a model once for all experiments of a command that ask for it; resumes exactly.
//!
//! A method brings a [`Learner`]: its model, one update, what is followed, what is kept. The loop, its
//! saved states and the place where they lie are the same for all.

mod place;
mod session;

use std::path::{Path, PathBuf};

use chains_core::{
    ParamStore, Seed,
    optim::{Adam, AdamConfig},
    schedule::LearningRate,
    train::{Event, Observer},
};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use self::{
    place::{DONE_FILE, place, states},
    session::{Record, Session},
};
use crate::{
    error::{Error, Result},
    observers::JsonLines,
    request::Request,
    run::Run,
    run_dir::accelerators,
};

/// Layout of training states and of what lies beside them; to be raised with every change after
/// which older ones cannot go on.
const STATE_FORMAT: u32 = 1;

/// What a method adds to the loop.
pub trait Learner {
    /// What is followed over epochs.
    type Epoch: Followed;

    /// What the optimiser moves, networks built.
    fn store(&self) -> &ParamStore;

    /// Makes one update and returns its loss.
    ///
    /// # Errors
    /// [`chains_core::Error::NonFinite`] if the loss is no number, before anything moves.
    fn update(&mut self, adam: &mut Adam, at: &UpdateAt<'_>) -> Result<f64>;

    /// Called in the folder of the training before the first update.
    ///
    /// # Errors
    /// An error ends the training.
    fn begin(&mut self, _dir: &Path) -> Result<()> {
        Ok(())
    }

    /// Looks at the model after an epoch: at the averaged weights, if there are any.
    ///
    /// # Errors
    /// An error ends the training, and the last saved state stays.
    fn end_epoch(&mut self, at: &EpochEnd<'_, Self::Epoch>) -> Result<Option<Self::Epoch>>;

    /// Writes what is kept of the finished training into its folder. The store has the averaged
    /// weights, if there are any, else the last ones.
    ///
    /// # Errors
    /// An error leaves the training unfinished.
    fn finish(
        &mut self,
        dir: &Path,
        curve: &[Self::Epoch],
        observer: &mut dyn Observer,
    ) -> Result<()>;
}

/// What is followed after an epoch; kept in states and in the record of a finished training.
pub trait Followed: Clone + Serialize + DeserializeOwned {
    /// Epochs done.
    fn epoch(&self) -> usize;

    /// Its line in `metrics.jsonl`.
    fn values(&self) -> Vec<(&'static str, f64)>;
}

/// Where an update stands, and what it is made on.
#[derive(Clone, Copy, Debug)]
pub struct UpdateAt<'a> {
    /// Number of the update, from 0.
    pub update: usize,
    /// Numbers of the examples.
    pub indices: &'a [usize],
    /// The rate of Adam.
    pub learning_rate: f64,
}

/// Where an epoch ended.
#[derive(Clone, Copy, Debug)]
pub struct EpochEnd<'a, E> {
    /// The folder of the training.
    pub dir: &'a Path,
    /// Epochs done.
    pub epoch: usize,
    /// Updates done.
    pub update: usize,
    /// Mean loss of the epoch.
    pub loss: f64,
    /// What was followed after the epochs before.
    pub curve: &'a [E],
}

/// The loop around the updates.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Examples to train on.
    pub examples: usize,
    /// Examples in an update; the last, short batch of an epoch is left out.
    pub batch_size: usize,
    /// Passes over the examples.
    pub epochs: usize,
    /// The rate of Adam over all updates.
    pub learning_rate: LearningRate,
    /// Constants of Adam.
    pub adam: AdamConfig,
    /// Decay of the exponential average of weights that is followed and kept; 0 for the raw weights.
    pub weight_average: f64,
    /// The stream of the orders of the examples.
    pub order: Seed,
}

impl Plan {
    fn updates_per_epoch(&self) -> usize {
        self.examples / self.batch_size.max(1)
    }
}

/// A finished training.
#[derive(Clone, Debug)]
pub struct Finished<E> {
    /// Where [`Learner::finish`] left its files.
    pub dir: PathBuf,
    /// What was followed.
    pub curve: Vec<E>,
    /// Seconds spent in updates, over all resumed parts.
    pub seconds: f64,
    /// Updates made.
    pub updates: usize,
}

impl<E> Finished<E> {
    /// How long training took, in words.
    pub fn sentence(&self) -> String {
        took(self.updates, self.seconds)
    }
}

/// How long so many updates took, in words.
pub(crate) fn took(updates: usize, seconds: f64) -> String {
    let each = 1e3 * seconds / updates.max(1) as f64;
    format!("Training: {updates} updates in {seconds:.0} s, {each:.1} ms each.")
}

/// A name that no other training, data or build shares: of the JSON of everything that determines it
/// besides seed, device and build.
///
/// # Errors
/// Of the serializer.
pub fn name(request: &Request, parts: &[String]) -> Result<String> {
    let common = json(&(
        request.seed,
        request.device_name.as_str(),
        (env!("CARGO_PKG_VERSION"), accelerators(), STATE_FORMAT),
    ))?;
    // One list of all.
    let text = format!("[{},{}", parts.join(","), &common[1..]);
    let digest = Sha256::digest(text.as_bytes());
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// A part of a [`name`].
///
/// # Errors
/// Of the serializer.
pub fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::Usage(format!("recipe: {e}")))
}

/// Trains as `plan` says, unless this command has done so already under the same [`name`]; `stage`
/// names the loop in `metrics.jsonl`, which holds what was followed in either case.
///
/// With `--resume` a training goes on where it is found: in the run directory, or in the folder
/// `.models` beside it or up to two folders above, where a command with several experiments trains.
///
/// # Errors
/// Those of the learner; the last saved state stays. [`Error::Format`] if a file of a finished
/// training is missing or damaged.
pub fn train<L: Learner>(
    run: &mut Run<'_>,
    stage: &str,
    name: String,
    plan: &Plan,
    learner: &mut L,
) -> Result<Finished<L::Epoch>> {
    let request = run.request;
    let dir = place(run, &name)?;
    let mut session = Session::new(plan, learner, &dir);
    let done = dir.join(DONE_FILE).is_file();
    if !done {
        if request.resume {
            run.rewind(stage, states(&dir).position()?.unwrap_or(0))?;
        }
        session.resume()?;
    }
    record_curve(run, &session, stage)?;
    if !done {
        let observer = run.observer()?;
        session.run(stage, observer)?;
        session.finish(observer)?;
    }
    request.trained.borrow_mut().insert(name, dir.clone());
    let Record { curve, seconds, updates } = Record::read(&dir)?;
    Ok(Finished { dir, curve, seconds, updates })
}

/// Writes what was followed earlier to `metrics.jsonl`, unless it has that: another experiment may
/// have trained the model.
fn record_curve<L: Learner>(
    run: &mut Run<'_>,
    session: &Session<'_, L>,
    stage: &str,
) -> Result<()> {
    let curve = session.curve()?;
    let per_epoch = session.plan.updates_per_epoch();
    let Some(last) = curve.last().map(|followed| followed.epoch() * per_epoch) else {
        return Ok(());
    };
    let found = JsonLines::last(&run.dir().metrics(), Some(stage))?;
    if found.is_some_and(|(step, _)| step >= last) {
        return Ok(());
    }
    // Lines of a training that was cut off here and went on elsewhere.
    run.rewind(stage, 0)?;
    let observer = run.observer()?;
    observer.observe(&Event::Started { stage, step: last, total: Some(last) })?;
    for followed in &curve {
        let (step, values) = (followed.epoch() * per_epoch, followed.values());
        observer.observe(&Event::Scalars { step, values: &values })?;
    }
    Ok(observer.observe(&Event::Finished { step: last })?)
}
