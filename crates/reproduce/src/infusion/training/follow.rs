//! What is looked at after an epoch: bounds, and the infusion chain of one image.

use std::path::PathBuf;

use candle_core::Tensor;
use chains_core::{
    checkpoint,
    nn::Statistics,
    train::{Event, Observer},
};
use datasets::ImageSet;

use super::{super::estimates::blocks, EpochBounds, session::Training};
use crate::error::Result;

/// Weights of the epoch with the best validation bound.
pub(super) const BEST_FILE: &str = "best.safetensors";

/// An epoch's line in `metrics.jsonl`.
pub(super) fn epoch_values(bounds: &EpochBounds) -> [(&'static str, f64); 5] {
    [
        ("epoch", bounds.epoch as f64),
        ("epoch_loss", bounds.loss),
        ("bound_train", bounds.train),
        ("bound_validation", bounds.validation),
        ("bound_test", bounds.test),
    ]
}

impl Training<'_> {
    /// Looks at the averaged weights, if there are any.
    pub(super) fn end_epoch(&mut self, epoch: usize, observer: &mut dyn Observer) -> Result<()> {
        let loss = self.extra.take_loss();
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
        // A state that holds such a bound could not be trained on; the one before it stays.
        if [bounds.train, bounds.validation, bounds.test].iter().any(|bound| !bound.is_finite()) {
            let (what, step) = ("followed bound", self.update);
            return Err(chains_core::Error::NonFinite { what, step }.into());
        }
        let best = self.extra.curve.iter().map(|b| b.validation).fold(f64::NEG_INFINITY, f64::max);
        if self.recipe.select && bounds.validation > best {
            self.model.store().save(&self.dir.join(BEST_FILE))?;
        }
        self.extra.curve.push(bounds);
        let values = epoch_values(&bounds);
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
    pub(super) fn snapshot(&self, epoch: usize) -> Result<()> {
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

    pub(super) fn snapshot_path(&self, epoch: usize) -> PathBuf {
        self.dir.join(format!("snapshot-{epoch:04}.safetensors"))
    }
}
