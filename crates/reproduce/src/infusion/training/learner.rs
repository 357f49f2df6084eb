//! What infusion training adds to the loop: its update, followed bounds, frozen statistics.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use chains_core::{
    Noise, ParamStore, Seed, checkpoint,
    host::Later,
    nn::Statistics,
    optim::Adam,
    train::{Event, Observer},
};
use datasets::ImageSet;
use infusion::{InfusionModel, Moments, StatisticsPass, update, update_later};

use super::{EpochBounds, Recipe, Trained};
use crate::{
    error::Result,
    images::{Images, blocks},
    request::Request,
    training::{EpochEnd, Finished, Learner, UpdateAt, load_best, save_best},
};

/// A model in training.
pub(super) struct Infusion<'a> {
    request: &'a Request,
    images: &'a Images,
    recipe: &'a Recipe,
    seed: Seed,
    model: InfusionModel,
    moments: Moments,
    /// Training pixels on a device.
    resident: Option<Tensor>,
}

impl<'a> Infusion<'a> {
    pub(super) fn new(
        request: &'a Request,
        images: &'a Images,
        recipe: &'a Recipe,
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
        let resident = images.resident(&images.train, &request.device)?;
        Ok(Self { request, images, recipe, seed, model, moments, resident })
    }

    pub(super) fn into_trained(self, done: Finished<EpochBounds>) -> Result<Trained> {
        let Finished { dir, curve, seconds, updates } = done;
        let model = InfusionModel::load(&dir.join("model"), self.model.device())?;
        let mut snapshots = Vec::new();
        if self.recipe.snapshots {
            for epoch in 0..=self.recipe.train.epochs {
                let path = snapshot_path(&dir, epoch);
                let mut found = checkpoint::load_tensors(&path, self.model.device())?;
                snapshots.extend(found.remove("chain"));
            }
        }
        Ok(Trained { model, curve, seconds, updates, moments: self.moments, snapshots })
    }

    fn follow(&self, at: &EpochEnd<'_, EpochBounds>) -> Result<EpochBounds> {
        let images = self.images;
        let bounds = EpochBounds {
            epoch: at.epoch,
            loss: at.loss,
            train: self.bound(&images.train)?,
            validation: self.bound(&images.validation)?,
            test: self.bound(&images.test)?,
        };
        // A state that holds such a bound could not be trained on; the one before it stays.
        if [bounds.train, bounds.validation, bounds.test].iter().any(|bound| !bound.is_finite()) {
            let (what, step) = ("followed bound", at.update);
            return Err(chains_core::Error::NonFinite { what, step }.into());
        }
        let best = at.curve.iter().map(|b| b.validation).fold(f64::NEG_INFINITY, f64::max);
        if self.recipe.select && bounds.validation > best {
            save_best(self.model.store(), at.dir)?;
        }
        Ok(bounds)
    }

    /// The bound of the first images with batch statistics, one chain each.
    fn bound(&self, set: &ImageSet) -> Result<f64> {
        let n = self.recipe.followed.min(set.len());
        let (operator, prior) = (self.model.operator(Statistics::Batch), self.model.prior()?);
        let chain = self.model.infusion_chain(&operator, &prior);
        let mut noise = self.request.noise(self.seed.child("followed"));
        let (mut sum, mut count) = (0.0, 0);
        for block in blocks(n, self.recipe.train.batch_size.max(100)) {
            // A short last block would have poor statistics.
            if block.len() < 50 && count > 0 {
                break;
            }
            let x = self.images.rows(set, &block, &mut *noise, self.model.device())?;
            let weights = &chain.log_weights(&x, &[None], &mut *noise)?.weights[0];
            sum += weights.iter().sum::<f64>();
            count += weights.len();
        }
        Ok(sum / count.max(1) as f64)
    }

    /// The batch of an update, dequantised, and the noise of its chains.
    fn batch(&self, at: &UpdateAt<'_>) -> Result<(Tensor, Box<dyn Noise>)> {
        let stream =
            |name: &str| self.request.noise(self.seed.child(name).indexed(at.update as u64));
        let (mut noise, device) = (stream("dequantise"), self.model.device());
        let x = if let Some(pixels) = &self.resident {
            let indices: Vec<u32> = at.indices.iter().map(|index| *index as u32).collect();
            let indices = Tensor::new(indices, device)?;
            datasets::dequantise_tensor(&pixels.index_select(&indices, 0)?, &mut *noise)?
        } else {
            self.images.rows(&self.images.train, at.indices, &mut *noise, device)?
        };
        Ok((x, stream("chain")))
    }

    /// Keeps the infusion chain of one fixed image, after `epoch` epochs.
    fn snapshot(&self, dir: &Path, epoch: usize) -> Result<()> {
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
        Ok(checkpoint::save_tensors(&snapshot_path(dir, epoch), &row, None)?)
    }
}

fn snapshot_path(dir: &Path, epoch: usize) -> PathBuf {
    dir.join(format!("snapshot-{epoch:04}.safetensors"))
}

impl Learner for Infusion<'_> {
    type Epoch = EpochBounds;

    fn store(&self) -> &ParamStore {
        self.model.store()
    }

    fn update(&mut self, adam: &mut Adam, at: &UpdateAt<'_>) -> Result<f64> {
        let (x, mut noise) = self.batch(at)?;
        let (config, rate) = (&self.recipe.train, at.learning_rate);
        Ok(update(&self.model, adam, config, rate, &x, &mut *noise)?)
    }

    fn update_later(&mut self, adam: &mut Adam, at: &UpdateAt<'_>) -> Result<Later> {
        let (x, mut noise) = self.batch(at)?;
        let (config, rate) = (&self.recipe.train, at.learning_rate);
        Ok(update_later(&self.model, adam, config, rate, &x, &mut *noise)?)
    }

    fn begin(&mut self, dir: &Path) -> Result<()> {
        self.snapshot(dir, 0)
    }

    fn end_epoch(&mut self, at: &EpochEnd<'_, EpochBounds>) -> Result<Option<EpochBounds>> {
        self.snapshot(at.dir, at.epoch)?;
        (self.recipe.followed > 0).then(|| self.follow(at)).transpose()
    }

    /// Takes the best epoch, freezes statistics over the training images, saves the model.
    fn finish(
        &mut self,
        dir: &Path,
        curve: &[EpochBounds],
        observer: &mut dyn Observer,
    ) -> Result<()> {
        if self.recipe.select && !curve.is_empty() {
            load_best(self.model.store(), dir)?;
        }
        let n = self.recipe.statistics.min(self.images.train.len());
        let total = Some(n);
        observer.observe(&Event::Started { stage: "statistics", step: 0, total })?;
        let mut pass = if self.recipe.statistics_on_model_chain {
            StatisticsPass::on_model_chain(&self.model)
        } else {
            StatisticsPass::new(&self.model)
        };
        let mut noise = self.request.noise(self.seed.child("statistics"));
        for block in blocks(n, 500) {
            let x =
                self.images.rows(&self.images.train, &block, &mut *noise, self.model.device())?;
            pass.push(&x, &mut *noise)?;
            let step = block.last().map_or(0, |last| last + 1);
            observer.observe(&Event::Scalars { step, values: &[] })?;
        }
        pass.finish()?;
        observer.observe(&Event::Finished { step: n })?;
        Ok(self.model.save(&dir.join("model"))?)
    }
}
