//! Trains a model once for all experiments of a command that ask for it; resumes exactly.

mod follow;
mod session;

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use candle_core::Tensor;
use chains_core::train::Event;
use infusion::{InfusionModel, ModelConfig, Moments, TrainConfig};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::{
    follow::epoch_values,
    session::{DONE_FILE, Training, states},
};
use super::data::Images;
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

/// Everything that determines a trained model besides the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Network and chain.
    pub model: ModelConfig,
    /// Objective and optimiser.
    pub train: TrainConfig,
    /// Examples of each split whose bound is followed over epochs; 0 follows nothing.
    pub followed: usize,
    /// Keep the epoch with the best validation bound instead of the last.
    pub select: bool,
    /// Decay of the exponential average of weights that is scored and kept; 0 for the raw weights.
    pub weight_average: f64,
    /// Begin with head biases that give the training moments.
    pub data_biases: bool,
    /// Training images in the frozen statistics.
    pub statistics: usize,
    /// Keep the infusion chain of one training image after every epoch (Figure 2).
    pub snapshots: bool,
}

/// Bounds after an epoch, with batch statistics, in nats: examples interact, so these are not strict
/// bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochBounds {
    /// Epochs done.
    pub epoch: usize,
    /// Mean training loss of the epoch, nats per dimension.
    pub loss: f64,
    /// Bound of the first training images.
    pub train: f64,
    /// Bound of the first validation images.
    pub validation: f64,
    /// Bound of the first test images.
    pub test: f64,
}

/// A trained model with frozen statistics.
pub struct Trained {
    /// The model.
    pub model: InfusionModel,
    /// Bounds by epoch, if they were followed.
    pub curve: Vec<EpochBounds>,
    /// Seconds spent in updates, over all resumed parts.
    pub seconds: f64,
    /// Updates made.
    pub updates: usize,
    /// Moments of the training images behind the prior.
    pub moments: Moments,
    /// States of the followed infusion chain: before training, then after each epoch, `(T, D)`.
    pub snapshots: Vec<Tensor>,
}

impl Trained {
    /// How long training took, in words.
    pub fn sentence(&self) -> String {
        let Self { updates, seconds, .. } = self;
        let each = 1e3 * seconds / (*updates).max(1) as f64;
        format!("Training: {updates} updates in {seconds:.0} s, {each:.1} ms each.")
    }
}

/// Trains as `recipe` says, or takes the model that this command has trained already; `stage` names
/// the loop in `metrics.jsonl`, which holds the followed bounds in either case.
///
/// With `--resume` a training goes on where it is found: in the run directory, or in the folder
/// `.models` beside it or up to two folders above, where a command with several experiments trains.
///
/// # Errors
/// [`chains_core::Error::NonFinite`] if the loss or a followed bound breaks; the last saved state
/// stays. [`Error::Format`] if a file of a finished training is missing or damaged.
pub fn train(run: &mut Run<'_>, images: &Images, recipe: &Recipe, stage: &str) -> Result<Trained> {
    recipe.model.validate()?;
    recipe.train.validate()?;
    let request = run.request;
    let name = recipe_name(request, images, recipe)?;
    let dir = place(run, &name)?;
    let mut training = Training::new(request, images, recipe, &dir)?;
    let done = training.is_done();
    if !done {
        if request.resume {
            run.rewind(stage, states(&dir).position()?.unwrap_or(0))?;
        }
        training.resume()?;
    }
    record_curve(run, &training, stage)?;
    if !done {
        let observer = run.observer()?;
        training.run(stage, observer)?;
        training.finish(observer)?;
    }
    request.trained.borrow_mut().insert(name, dir);
    training.into_trained()
}

/// The folder of the training with this name. What an earlier command left there is deleted unless
/// this one resumes.
fn place(run: &Run<'_>, name: &str) -> Result<PathBuf> {
    let request = run.request;
    if let Some(dir) = request.trained.borrow().get(name) {
        return Ok(dir.clone());
    }
    let dir = request.models.join(name);
    if !request.resume {
        discard(&dir)?;
        return Ok(dir);
    }
    let root = run.dir().root();
    let root = fs::canonicalize(root).map_err(|e| Error::io(root, e))?;
    let mut places = vec![run.dir().checkpoints().join("training").join(name), dir.clone()];
    places.extend(root.ancestors().skip(1).take(3).map(|above| above.join(".models").join(name)));
    for place in places {
        if place.join(DONE_FILE).is_file() || states(&place).position()?.is_some() {
            return Ok(place);
        }
    }
    Ok(dir)
}

/// Deletes a training; cut off at any moment it leaves nothing that passes for a finished one.
fn discard(dir: &Path) -> Result<()> {
    let gone = dir.with_extension("gone");
    let tolerant = |path: &Path, done: std::io::Result<()>| match done {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(Error::io(path, source)),
        _ => Ok(()),
    };
    tolerant(&gone, fs::remove_dir_all(&gone))?;
    let done = dir.join(DONE_FILE);
    tolerant(&done, fs::remove_file(&done))?;
    tolerant(dir, fs::rename(dir, &gone))?;
    tolerant(&gone, fs::remove_dir_all(&gone))
}

/// Writes the bounds that were followed earlier to `metrics.jsonl`, unless it has them: another
/// experiment may have trained the model.
fn record_curve(run: &mut Run<'_>, training: &Training<'_>, stage: &str) -> Result<()> {
    let curve = training.curve()?;
    let train = &training.recipe.train;
    // The last, short batch of an epoch is left out.
    let per_epoch = training.images.train.len() / train.batch_size.max(1);
    let Some(last) = curve.last().map(|bounds| bounds.epoch * per_epoch) else {
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
    for bounds in &curve {
        let values = epoch_values(bounds);
        observer.observe(&Event::Scalars { step: bounds.epoch * per_epoch, values: &values })?;
    }
    Ok(observer.observe(&Event::Finished { step: last })?)
}

/// A name that no other recipe, data or build shares.
fn recipe_name(request: &Request, images: &Images, recipe: &Recipe) -> Result<String> {
    let text = serde_json::to_string(&(
        recipe,
        images.digest(),
        images.pooled,
        request.seed,
        request.device_name.as_str(),
        (env!("CARGO_PKG_VERSION"), accelerators(), STATE_FORMAT),
    ))
    .map_err(|e| Error::Usage(format!("recipe: {e}")))?;
    let digest = Sha256::digest(text.as_bytes());
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discarded_training_leaves_nothing_even_after_a_discard_that_was_cut_off() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("00ff");
        for name in ["00ff", "00ff.gone"] {
            fs::create_dir_all(temp.path().join(name).join("model")).unwrap();
            fs::write(temp.path().join(name).join(DONE_FILE), "{}").unwrap();
        }
        discard(&dir).unwrap();
        discard(&dir).unwrap();
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
