//! Trains a model once for all experiments of a command that ask for it; resumes exactly.
//!
//! A method brings a [`Learner`]: its model, one update, what is followed, what is kept. The loop, its
//! saved states and the place where they lie are the same for all.

mod cells;
mod place;
mod session;
mod sums;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::Tensor;
use chains_core::{
    ParamStore, Seed,
    host::Later,
    optim::{Adam, AdamConfig},
    schedule::LearningRate,
    train::{Event, Observer},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(crate) use self::{
    cells::{Cell, Ticker, cells},
    session::{Broken, rescue},
    sums::{Sums, mean_of},
};
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
const STATE_FORMAT: u32 = 3;

/// Weights of the best epoch so far.
const BEST_FILE: &str = "best.safetensors";

/// Keeps the weights of the best epoch so far in the folder of the training.
///
/// # Errors
/// If the file cannot be written.
pub fn save_best(store: &ParamStore, dir: &Path) -> Result<()> {
    Ok(store.save(&dir.join(BEST_FILE))?)
}

/// Takes the weights of the best epoch.
///
/// # Errors
/// [`Error::Format`] if the file is missing or damaged.
pub fn load_best(store: &ParamStore, dir: &Path) -> Result<()> {
    let best = dir.join(BEST_FILE);
    if !best.is_file() {
        let reason = "is missing, so the best epoch is lost; leave out --resume to train afresh";
        return Err(Error::format(best, reason));
    }
    Ok(store.load_strict(&best)?)
}

/// What a method adds to the loop.
pub trait Learner {
    /// What is followed over epochs.
    type Epoch: Followed;

    /// What the optimiser moves, networks built.
    fn store(&self) -> &ParamStore;

    /// Makes one update and returns its loss.
    ///
    /// # Errors
    /// [`chains_core::Error::NonFinite`] if the loss is no number, before anything moves (on an
    /// accelerator walkback training tells at the end of a walk).
    fn update(&mut self, adam: &mut Adam, at: &UpdateAt<'_>) -> Result<f64>;

    /// [`Learner::update`] whose loss may reach the host later: it is asked for when the next update is on its
    /// way, and before anything is looked at or saved. The loop refuses one that is no number; parameters
    /// have then moved.
    ///
    /// # Errors
    /// As there, for a loss that is known.
    fn update_later(&mut self, adam: &mut Adam, at: &UpdateAt<'_>) -> Result<Later> {
        self.update(adam, at).map(Later::known)
    }

    /// What an exact resume needs besides parameters and optimiser.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    fn carried(&self) -> Result<Value> {
        Ok(Value::Null)
    }

    /// Tensors that an exact resume needs besides parameters, optimiser and [`Learner::carried`]:
    /// moments of further optimisers, persistent chains.
    ///
    /// # Errors
    /// Of the tensor library.
    fn carried_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(Vec::new())
    }

    /// Takes what [`Learner::carried`] and [`Learner::carried_tensors`] gave when the state was saved.
    ///
    /// # Errors
    /// If they are something else.
    fn restore(&mut self, _carried: Value, _tensors: BTreeMap<String, Tensor>) -> Result<()> {
        Ok(())
    }

    /// The rate that is followed: of the plan, unless the learner has its own.
    fn learning_rate(&self, _update: usize, planned: f64) -> f64 {
        planned
    }

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
/// Those of the learner; the last saved state stays, and [`Error::Diverged`] names it. [`Error::Format`] if a file of a finished
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use candle_core::Device;

    use super::*;
    use crate::request::Scale;

    fn request(seed: u64, device: &str) -> Request {
        Request {
            scale: Scale::Smoke,
            seed,
            device: Device::Cpu,
            device_name: device.into(),
            data: None,
            offline: true,
            root: PathBuf::default(),
            models: PathBuf::default(),
            resume: false,
            overrides: Vec::new(),
            trained: RefCell::default(),
        }
    }

    #[test]
    fn another_seed_recipe_data_or_device_gives_another_name_and_the_same_the_same() -> Result<()> {
        #[derive(Serialize)]
        struct Recipe {
            rate: f64,
            epochs: usize,
        }
        let named = |request: &Request, (rate, epochs): (f64, usize), data: &str| {
            name(request, &[json(&Recipe { rate, epochs })?, json(&data)?])
        };
        let usual = request(3, "cpu");
        let first = named(&usual, (0.1, 2), "a digest")?;
        assert_eq!(first.len(), 16);
        assert!(first.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
        // Where and how a command runs has no part in what it trains.
        let elsewhere = Request { models: "elsewhere".into(), resume: true, ..request(3, "cpu") };
        assert_eq!(named(&elsewhere, (0.1, 2), "a digest")?, first);
        let others = [
            named(&request(4, "cpu"), (0.1, 2), "a digest")?,
            named(&request(3, "cuda"), (0.1, 2), "a digest")?,
            named(&usual, (0.100_000_000_000_000_02, 2), "a digest")?,
            named(&usual, (0.1, 3), "a digest")?,
            named(&usual, (0.1, 2), "another digest")?,
            // The same parts in another order, and fewer of them.
            name(&usual, &[json(&"a digest")?, json(&Recipe { rate: 0.1, epochs: 2 })?])?,
            name(&usual, &[json(&Recipe { rate: 0.1, epochs: 2 })?])?,
        ];
        let mut all: Vec<&String> = others.iter().chain([&first]).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), others.len() + 1, "{first} {others:?}");
        Ok(())
    }
}
