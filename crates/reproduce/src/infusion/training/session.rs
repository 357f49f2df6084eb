//! The loop of one training: updates, saved states, the end.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use chains_core::{
    Seed, checkpoint,
    optim::{Adam, WeightAverage},
    train::{Event, Observer, StateDir},
};
use datasets::{Cursor, Shuffle};
use infusion::{InfusionModel, Moments, StatisticsPass, update};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        data::{Images, usage},
        estimates::blocks,
    },
    EpochBounds, Recipe, Trained,
    follow::BEST_FILE,
};
use crate::{
    error::{Error, Result},
    request::Request,
};

/// Written last.
pub(super) const DONE_FILE: &str = "done.json";

/// The saved states of the training in `dir`.
pub(super) fn states(dir: &Path) -> StateDir {
    StateDir::new(dir.join("states"))
}

/// What a state holds besides tensors.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Extra {
    cursor: Cursor,
    pub(super) curve: Vec<EpochBounds>,
    loss_sum: f64,
    loss_count: usize,
    seconds: f64,
}

/// What `done.json` says: everything else of the training is there.
#[derive(Serialize, Deserialize)]
struct Done {
    curve: Vec<EpochBounds>,
    seconds: f64,
    updates: usize,
}

impl Extra {
    /// Mean loss of the epoch that ends; the next one starts from nothing.
    pub(super) fn take_loss(&mut self) -> f64 {
        let loss = self.loss_sum / self.loss_count.max(1) as f64;
        (self.loss_sum, self.loss_count) = (0.0, 0);
        loss
    }
}

impl Done {
    fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(DONE_FILE);
        let bytes = fs::read(&path).map_err(|e| Error::io(&path, e))?;
        serde_json::from_slice(&bytes)
            .map_err(|e| Error::format(path, format!("{e}; leave out --resume to train afresh")))
    }
}

/// One training: its model, its optimiser, and where it is.
pub(super) struct Training<'a> {
    pub(super) images: &'a Images,
    pub(super) recipe: &'a Recipe,
    pub(super) dir: PathBuf,
    pub(super) seed: Seed,
    pub(super) model: InfusionModel,
    adam: Adam,
    average: Option<WeightAverage>,
    moments: Moments,
    pub(super) update: usize,
    pub(super) extra: Extra,
}

impl<'a> Training<'a> {
    pub(super) fn new(
        request: &Request,
        images: &'a Images,
        recipe: &'a Recipe,
        dir: &Path,
    ) -> Result<Self> {
        let seed = request.stream();
        let model = InfusionModel::new(recipe.model.clone(), seed, &request.device)?;
        // One dequantised pass, section 3.1 of the method: moments of what the model will see.
        let mut moments = Moments::default();
        let mut noise = seed.child("prior").host_noise();
        for block in blocks(images.train.len(), 1000) {
            moments.push(&images.rows(&images.train, &block, &mut noise, &request.device)?)?;
        }
        model.set_prior(&moments.mean(), &moments.variance())?;
        if recipe.data_biases {
            model.set_head_biases(&moments.mean(), &moments.variance())?;
        }
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

    pub(super) fn is_done(&self) -> bool {
        self.dir.join(DONE_FILE).is_file()
    }

    /// The bounds followed so far, or to the end of a finished training.
    pub(super) fn curve(&self) -> Result<Vec<EpochBounds>> {
        match self.is_done() {
            true => Ok(Done::read(&self.dir)?.curve),
            false => Ok(self.extra.curve.clone()),
        }
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

    pub(super) fn resume(&mut self) -> Result<()> {
        let store = self.model.store();
        match states(&self.dir).latest()? {
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

    pub(super) fn run(&mut self, stage: &str, observer: &mut dyn Observer) -> Result<()> {
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
        let path = states(&self.dir).save(step, store, &self.adam, average, &self.extra)?;
        Ok(observer.observe(&Event::Saved { step, path: &path })?)
    }

    /// Exchanges weights and average, if there is one.
    pub(super) fn swap(&self) -> Result<()> {
        match &self.average {
            Some(average) => Ok(average.swap(self.model.store())?),
            None => Ok(()),
        }
    }

    /// Takes the best epoch, freezes statistics over the training images, saves the model.
    pub(super) fn finish(&mut self, observer: &mut dyn Observer) -> Result<()> {
        if self.recipe.select && !self.extra.curve.is_empty() {
            let best = self.dir.join(BEST_FILE);
            if !best.is_file() {
                let reason =
                    "is missing, so the best epoch is lost; leave out --resume to train afresh";
                return Err(Error::format(best, reason));
            }
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
        Ok(checkpoint::write_bytes_atomic(&self.dir.join(DONE_FILE), text.as_bytes())?)
    }

    pub(super) fn into_trained(self) -> Result<Trained> {
        let Done { curve, seconds, updates } = Done::read(&self.dir)?;
        let model = InfusionModel::load(&self.dir.join("model"), self.model.device())?;
        let mut snapshots = Vec::new();
        if self.recipe.snapshots {
            for epoch in 0..=self.recipe.train.epochs {
                let path = self.snapshot_path(epoch);
                let mut found = checkpoint::load_tensors(&path, self.model.device())?;
                snapshots.extend(found.remove("chain"));
            }
        }
        Ok(Trained { model, curve, seconds, updates, moments: self.moments, snapshots })
    }
}
