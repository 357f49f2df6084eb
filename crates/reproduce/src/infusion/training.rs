//! Trains a model once for all experiments of a command that ask for it; resumes exactly.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use candle_core::Tensor;
use chains_core::{
    Seed, checkpoint,
    nn::Statistics,
    optim::{Adam, WeightAverage},
    train::{Event, Observer, StateDir},
};
use datasets::{Cursor, ImageSet, Shuffle};
use infusion::{InfusionModel, ModelConfig, Moments, StatisticsPass, TrainConfig, update};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    data::{Images, usage},
    estimates::blocks,
};
use crate::{
    error::{Error, Result},
    request::Request,
    run::Run,
};

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

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Extra {
    cursor: Cursor,
    curve: Vec<EpochBounds>,
    loss_sum: f64,
    loss_count: usize,
    seconds: f64,
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
    /// Where the model lies.
    pub dir: PathBuf,
}

impl Trained {
    /// How long training took, in words.
    pub fn sentence(&self) -> String {
        let Self { updates, seconds, .. } = self;
        let each = 1e3 * seconds / (*updates).max(1) as f64;
        format!("Training: {updates} updates in {seconds:.0} s, {each:.1} ms each.")
    }
}

/// [`train_or_load`] with the listeners of a run; `stage` names the loop in `metrics.jsonl`.
///
/// # Errors
/// As [`train_or_load`].
pub fn train(run: &mut Run<'_>, images: &Images, recipe: &Recipe, stage: &str) -> Result<Trained> {
    let request = run.request;
    if let Some(step) = resume_position(request, images, recipe)? {
        run.rewind(stage, step)?;
    }
    train_or_load(request, images, recipe, stage, run.observer()?)
}

/// Trains as `recipe` says, or takes the model that this command has trained already.
///
/// # Errors
/// [`chains_core::Error::NonFinite`] if the loss breaks; the last saved state stays.
pub fn train_or_load(
    request: &Request,
    images: &Images,
    recipe: &Recipe,
    stage: &str,
    observer: &mut dyn Observer,
) -> Result<Trained> {
    recipe.model.validate()?;
    recipe.train.validate()?;
    let name = recipe_name(request, images, recipe)?;
    let dir = request.models.join(&name);
    let fresh = !request.resume && !request.trained.borrow().contains(&name);
    if fresh && dir.exists() {
        fs::remove_dir_all(&dir).map_err(|e| Error::io(&dir, e))?;
    }
    let mut training = Training::new(request, images, recipe, &dir)?;
    if !dir.join("done.json").exists() {
        training.resume()?;
        training.run(stage, observer)?;
        training.finish(observer)?;
    }
    request.trained.borrow_mut().insert(name);
    training.into_trained()
}

/// The update at which an interrupted training would go on; `None` if the command does not resume
/// or the training is done.
fn resume_position(request: &Request, images: &Images, recipe: &Recipe) -> Result<Option<usize>> {
    let dir = request.models.join(recipe_name(request, images, recipe)?);
    if !request.resume || dir.join("done.json").exists() {
        return Ok(None);
    }
    Ok(Some(StateDir::new(dir.join("states")).position()?.unwrap_or(0)))
}

/// A name that no other recipe, data or version shares.
fn recipe_name(request: &Request, images: &Images, recipe: &Recipe) -> Result<String> {
    let text = serde_json::to_string(&(
        recipe,
        images.digest(),
        images.pooled,
        request.seed,
        request.device_name.as_str(),
        env!("CARGO_PKG_VERSION"),
    ))
    .map_err(|e| Error::Usage(format!("recipe: {e}")))?;
    let digest = Sha256::digest(text.as_bytes());
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

#[derive(Serialize, Deserialize)]
struct Done {
    curve: Vec<EpochBounds>,
    seconds: f64,
    updates: usize,
}

struct Training<'a> {
    images: &'a Images,
    recipe: &'a Recipe,
    dir: PathBuf,
    seed: Seed,
    model: InfusionModel,
    adam: Adam,
    average: Option<WeightAverage>,
    moments: Moments,
    update: usize,
    extra: Extra,
}

impl<'a> Training<'a> {
    fn new(request: &Request, images: &'a Images, recipe: &'a Recipe, dir: &Path) -> Result<Self> {
        let seed = request.stream();
        let model = InfusionModel::new(recipe.model.clone(), seed, &request.device)?;
        // One dequantised pass, section 3.1 of the method: moments of what the model will see.
        let mut moments = Moments::default();
        let mut noise = seed.child("prior").host_noise();
        for block in blocks(images.train.len(), 1000) {
            moments.push(&images.rows(&images.train, &block, &mut noise, &request.device)?)?;
        }
        model.set_prior(&moments.mean(), &moments.variance())?;
        let adam = Adam::new(recipe.train.adam);
        Ok(Self {
            images,
            recipe,
            dir: dir.to_owned(),
            seed,
            model,
            adam,
            average: None,
            moments,
            update: 0,
            extra: Extra::default(),
        })
    }

    fn states(&self) -> StateDir {
        StateDir::new(self.dir.join("states"))
    }

    fn shuffle(&self) -> Shuffle {
        Shuffle {
            n: self.images.train.len(),
            batch_size: self.recipe.train.batch_size,
            seed: self.seed.child("data"),
            drop_last: true,
        }
    }

    fn decay(&self) -> Option<f64> {
        (self.recipe.weight_average > 0.0).then_some(self.recipe.weight_average)
    }

    fn resume(&mut self) -> Result<()> {
        let store = self.model.store();
        match self.states().latest()? {
            Some(path) => {
                let adam = self.recipe.train.adam;
                let (adam, average, progress) =
                    StateDir::load::<Extra>(&path, store, adam, self.decay())?;
                (self.adam, self.average) = (adam, average);
                (self.update, self.extra) = (progress.update, progress.extra);
            }
            None => {
                self.average =
                    self.decay().map(|decay| WeightAverage::new(decay, store)).transpose()?;
            }
        }
        Ok(())
    }

    fn run(&mut self, stage: &str, observer: &mut dyn Observer) -> Result<()> {
        fs::create_dir_all(&self.dir).map_err(|e| Error::io(&self.dir, e))?;
        let mut batches = self.shuffle().resume(self.extra.cursor).map_err(usage)?;
        let per_epoch = batches.batches_per_epoch();
        let total = per_epoch * self.recipe.train.epochs;
        let (step, total_steps) = (self.update, Some(total));
        observer.observe(&Event::Started { stage, step, total: total_steps })?;
        if self.update == 0 {
            self.snapshot(0)?;
        }
        while self.update < total {
            let rate = self.recipe.train.learning_rate.at(self.update, total);
            let loss = self.one_update(batches.next_batch(), rate)?;
            self.extra.cursor = batches.cursor();
            let step = self.update;
            let values = [("loss", loss), ("learning_rate", rate)];
            observer.observe(&Event::Scalars { step, values: &values })?;
            let epoch_ends = step.is_multiple_of(per_epoch);
            if epoch_ends {
                self.end_epoch(step / per_epoch, observer)?;
            }
            // An eighth of an epoch, or so many updates, is what a kill can cost.
            let every = (per_epoch / 8).max(100);
            if epoch_ends || (step % per_epoch).is_multiple_of(every) {
                self.save(observer)?;
            }
        }
        Ok(observer.observe(&Event::Finished { step: total })?)
    }

    fn one_update(&mut self, indices: &[usize], rate: f64) -> Result<f64> {
        let started = Instant::now();
        let at = self.update as u64;
        let mut noise = self.seed.child("dequantise").indexed(at).host_noise();
        let x = self.images.rows(&self.images.train, indices, &mut noise, self.model.device())?;
        let mut noise = self.seed.child("chain").indexed(at).host_noise();
        let config = &self.recipe.train;
        let loss = update(&self.model, &mut self.adam, config, rate, &x, &mut noise)?;
        self.update += 1;
        if let Some(average) = &self.average {
            average.update(self.model.store(), self.update)?;
        }
        self.extra.loss_sum += loss;
        self.extra.loss_count += 1;
        self.extra.seconds += started.elapsed().as_secs_f64();
        Ok(loss)
    }

    fn save(&self, observer: &mut dyn Observer) -> Result<()> {
        let (step, store) = (self.update, self.model.store());
        if !store.is_finite()? {
            let what = "parameter";
            return Err(chains_core::Error::NonFinite { what, step }.into());
        }
        let average = self.average.as_ref();
        let path = self.states().save(step, store, &self.adam, average, &self.extra)?;
        Ok(observer.observe(&Event::Saved { step, path: &path })?)
    }

    /// Exchanges weights and average, if there is one.
    fn swap(&self) -> Result<()> {
        match &self.average {
            Some(average) => Ok(average.swap(self.model.store())?),
            None => Ok(()),
        }
    }

    /// Looks at the averaged weights, if there are any.
    fn end_epoch(&mut self, epoch: usize, observer: &mut dyn Observer) -> Result<()> {
        let loss = self.extra.loss_sum / self.extra.loss_count.max(1) as f64;
        (self.extra.loss_sum, self.extra.loss_count) = (0.0, 0);
        self.swap()?;
        self.snapshot(epoch)?;
        if self.recipe.followed > 0 {
            self.follow(epoch, loss, observer)?;
        }
        self.swap()
    }

    fn follow(&mut self, epoch: usize, loss: f64, observer: &mut dyn Observer) -> Result<()> {
        let images = self.images;
        let bounds = EpochBounds {
            epoch,
            loss,
            train: self.bound(&images.train)?,
            validation: self.bound(&images.validation)?,
            test: self.bound(&images.test)?,
        };
        let best = self.extra.curve.iter().map(|b| b.validation).fold(f64::NEG_INFINITY, f64::max);
        if self.recipe.select && bounds.validation > best {
            self.model.store().save(&self.dir.join("best.safetensors"))?;
        }
        self.extra.curve.push(bounds);
        let values = [
            ("epoch", epoch as f64),
            ("epoch_loss", loss),
            ("bound_train", bounds.train),
            ("bound_validation", bounds.validation),
            ("bound_test", bounds.test),
        ];
        Ok(observer.observe(&Event::Scalars { step: self.update, values: &values })?)
    }

    /// The bound of the first images with batch statistics, one chain each.
    fn bound(&self, set: &ImageSet) -> Result<f64> {
        let n = self.recipe.followed.min(set.len());
        let (operator, prior) = (self.model.operator(Statistics::Batch), self.model.prior()?);
        let chain = self.model.infusion_chain(&operator, &prior);
        let mut noise = self.seed.child("followed").host_noise();
        let (mut sum, mut count) = (0.0, 0);
        for block in blocks(n, self.recipe.train.batch_size.max(100)) {
            // A short last block would have poor statistics.
            if block.len() < 50 && count > 0 {
                break;
            }
            let x = self.images.rows(set, &block, &mut noise, self.model.device())?;
            let weights = &chain.log_weights(&x, &[None], &mut noise)?.weights[0];
            sum += weights.iter().sum::<f64>();
            count += weights.len();
        }
        Ok(sum / count.max(1) as f64)
    }

    /// Keeps the infusion chain of one fixed image, after `epoch` epochs.
    fn snapshot(&self, epoch: usize) -> Result<()> {
        if !self.recipe.snapshots {
            return Ok(());
        }
        let labels = &self.images.train.labels;
        let target = labels.iter().position(|label| *label == 3).unwrap_or(0);
        // The other rows only give the batch its statistics.
        let n = self.images.train.len().min(100);
        let indices: Vec<usize> =
            std::iter::once(target).chain((0..n).filter(|i| *i != target)).take(n).collect();
        let mut noise = self.seed.child("snapshot").host_noise();
        let x = self.images.rows(&self.images.train, &indices, &mut noise, self.model.device())?;
        let (operator, prior) = (self.model.operator(Statistics::Batch), self.model.prior()?);
        let chain = self.model.infusion_chain(&operator, &prior);
        let states = chain.states(&x, &mut noise)?;
        let row: Vec<Tensor> =
            states.iter().map(|z| z.get(0)).collect::<candle_core::Result<_>>()?;
        let row = vec![("chain".to_owned(), Tensor::stack(&row, 0)?)];
        Ok(checkpoint::save_tensors(&self.snapshot_path(epoch), &row, None)?)
    }

    fn snapshot_path(&self, epoch: usize) -> PathBuf {
        self.dir.join(format!("snapshot-{epoch:04}.safetensors"))
    }

    /// Takes the best epoch, freezes statistics over the training images, saves the model.
    fn finish(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let best = self.dir.join("best.safetensors");
        if self.recipe.select && best.exists() {
            self.model.store().load_strict(&best)?;
        } else {
            self.swap()?;
        }
        let n = self.recipe.statistics.min(self.images.train.len());
        let total = Some(n);
        observer.observe(&Event::Started { stage: "statistics", step: 0, total })?;
        let mut pass = StatisticsPass::new(&self.model);
        let mut noise = self.seed.child("statistics").host_noise();
        for block in blocks(n, 500) {
            let x =
                self.images.rows(&self.images.train, &block, &mut noise, self.model.device())?;
            pass.push(&x, &mut noise)?;
            let step = block.last().map_or(0, |last| last + 1);
            observer.observe(&Event::Scalars { step, values: &[] })?;
        }
        pass.finish()?;
        observer.observe(&Event::Finished { step: n })?;
        self.model.save(&self.dir.join("model"))?;
        let Extra { curve, seconds, .. } = self.extra.clone();
        let done = Done { curve, seconds, updates: self.update };
        let text = serde_json::to_string_pretty(&done)
            .map_err(|e| Error::Usage(format!("training record: {e}")))?;
        Ok(checkpoint::write_bytes_atomic(&self.dir.join("done.json"), text.as_bytes())?)
    }

    fn into_trained(self) -> Result<Trained> {
        let path = self.dir.join("done.json");
        let bytes = fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let done: Done = serde_json::from_slice(&bytes)
            .map_err(|e| Error::Format { path, reason: e.to_string() })?;
        let dir = self.dir.join("model");
        let model = InfusionModel::load(&dir, self.model.device())?;
        let mut snapshots = Vec::new();
        if self.recipe.snapshots {
            for epoch in 0..=self.recipe.train.epochs {
                let path = self.snapshot_path(epoch);
                let mut found = checkpoint::load_tensors(&path, self.model.device())?;
                snapshots.extend(found.remove("chain"));
            }
        }
        let Done { curve, seconds, updates } = done;
        Ok(Trained { model, curve, seconds, updates, moments: self.moments, snapshots, dir })
    }
}
