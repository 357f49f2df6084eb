//! Trains a digit network: shifted digits, dropout on the features, cross entropy.

use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use chains_core::{
    HostNoise, Noise, ParamStore, Seed, autograd::value_and_gradients, noise, optim::Adam,
    train::Observer,
};
use datasets::{ImageSet, Mnist};
use eval_metrics::networks::{DigitConfig, DigitNetwork, save_digits, scaled_digits};
use serde::{Deserialize, Serialize};

use super::settings::TrainSettings;
use crate::{
    error::{Error, Result},
    training::{EpochEnd, Followed, Learner, UpdateAt},
};

/// Test images that are classified together.
const BLOCK: usize = 250;
/// The folder of the trained network within that of its training.
pub(super) const MODEL: &str = "model";

/// What is seen after an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct EpochAccuracy {
    pub(super) epoch: usize,
    /// Mean cross entropy of the epoch, of shifted digits with dropout, nats.
    pub(super) loss: f64,
    /// Share of the followed test digits that are classified correctly, unrounded weights.
    pub(super) test: f64,
}

impl Followed for EpochAccuracy {
    fn epoch(&self) -> usize {
        self.epoch
    }

    fn values(&self) -> Vec<(&'static str, f64)> {
        let epoch = self.epoch as f64;
        vec![("epoch", epoch), ("epoch_loss", self.loss), ("accuracy_test", self.test)]
    }
}

/// A digit network in training.
pub(super) struct Digits<'a> {
    data: &'a Mnist,
    settings: &'a TrainSettings,
    seed: Seed,
    config: DigitConfig,
    store: ParamStore,
    network: DigitNetwork,
}

impl<'a> Digits<'a> {
    /// `data` is cut to what is trained on and followed.
    pub(super) fn new(
        data: &'a Mnist,
        settings: &'a TrainSettings,
        seed: Seed,
        device: &Device,
    ) -> Result<Self> {
        let config = DigitConfig::mnist();
        let store = ParamStore::new(seed, DType::F32, device);
        let network = DigitNetwork::new(&config, store.builder())?;
        Ok(Self { data, settings, seed, config, store, network })
    }

    /// Shares of features, kept at random and enlarged to keep the mean: `(b, features)`.
    pub(super) fn dropout(&self, b: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let keep = 1.0 - self.settings.dropout;
        let shape = (b, self.config.features).into();
        let draws = noise.uniform(&shape, DType::F32, self.store.device())?;
        Ok(draws.lt(keep)?.to_dtype(DType::F32)?.affine(1.0 / keep, 0.0)?)
    }

    pub(super) fn accuracy(&self) -> Result<f64> {
        let test = &self.data.test;
        let n = self.settings.followed.min(test.len());
        let network = DigitNetwork::new(&self.config, self.store.frozen())?;
        let mut correct = 0;
        for start in (0..n).step_by(BLOCK) {
            let block: Vec<usize> = (start..n.min(start + BLOCK)).collect();
            let images = bytes(test, &block)?.to_device(self.store.device())?;
            let logits = network.logits(&network.features(&scaled_digits(&images)?)?)?;
            let found = logits.argmax(D::Minus1)?.to_device(&Device::Cpu)?.to_vec1::<u32>()?;
            let right = |(class, at): (&u32, &usize)| *class == u32::from(test.labels[*at]);
            correct += found.iter().zip(&block).filter(|pair| right(*pair)).count();
        }
        Ok(correct as f64 / n.max(1) as f64)
    }
}

impl Learner for Digits<'_> {
    type Epoch = EpochAccuracy;

    fn store(&self) -> &ParamStore {
        &self.store
    }

    fn update(&mut self, adam: &mut Adam, at: &UpdateAt<'_>) -> Result<f64> {
        let seed = |name: &str| self.seed.child(name).indexed(at.update as u64);
        let (device, train) = (self.store.device(), &self.data.train);
        let x = shifted(train, at.indices, self.settings.shift, &mut seed("shift").host_noise())?;
        let x = x.to_device(device)?;
        let labels: Vec<u32> = at.indices.iter().map(|i| u32::from(train.labels[*i])).collect();
        let labels = Tensor::new(labels, device)?.unsqueeze(1)?;
        let mut noise = noise::of_device(seed("dropout"), device);
        let kept = self.dropout(at.indices.len(), &mut *noise)?;
        let (loss, grads) = value_and_gradients(|| {
            let features = self.network.features(&x)?.mul(&kept)?;
            let logits = self.network.logits(&features)?;
            let log_probs = candle_nn::ops::log_softmax(&logits, D::Minus1)?;
            Ok(log_probs.gather(&labels, 1)?.mean_all()?.neg()?)
        })?;
        let loss = f64::from(loss.to_scalar::<f32>()?);
        if !loss.is_finite() {
            let (what, step) = ("loss", at.update);
            return Err(chains_core::Error::NonFinite { what, step }.into());
        }
        adam.step(&self.store, &grads, at.learning_rate)?;
        Ok(loss)
    }

    fn end_epoch(&mut self, at: &EpochEnd<'_, EpochAccuracy>) -> Result<Option<EpochAccuracy>> {
        if self.settings.followed == 0 {
            return Ok(None);
        }
        let (epoch, loss) = (at.epoch, at.loss);
        Ok(Some(EpochAccuracy { epoch, loss, test: self.accuracy()? }))
    }

    fn finish(&mut self, dir: &Path, _: &[EpochAccuracy], _: &mut dyn Observer) -> Result<()> {
        Ok(save_digits(&dir.join(MODEL), &self.config, &self.store)?)
    }
}

/// Grey images as the networks take them: bytes `(n, 1, h, w)`.
pub(super) fn bytes(set: &ImageSet, indices: &[usize]) -> Result<Tensor> {
    let shape = (indices.len(), set.channels, set.height, set.width);
    Ok(Tensor::from_vec(set.gather(indices), shape, &Device::Cpu)?)
}

/// Images moved by up to `most` pixels along both axes, evenly and independently, over black:
/// `(n, 1, h, w)`, in `[0, 1]`.
pub(super) fn shifted(
    set: &ImageSet,
    indices: &[usize],
    most: usize,
    noise: &mut HostNoise,
) -> Result<Tensor> {
    let (h, w) = (set.height, set.width);
    if set.channels != 1 || most >= h.min(w) {
        let message = format!("digits of {}x{h}x{w} cannot be shifted by {most}", set.channels);
        return Err(Error::Usage(message));
    }
    let mut values = vec![0.0_f32; indices.len() * h * w];
    for (index, out) in indices.iter().zip(values.chunks_exact_mut(h * w)) {
        let mut draw = || noise.below(2 * most as u64 + 1) as usize;
        let (down, right) = (draw(), draw());
        let image = set.image(*index);
        // A shift by `down - most` rows: row y of the result is row y + most - down of the image.
        for y in down.saturating_sub(most)..h.min(h + down - most) {
            let from = &image[(y + most - down) * w..][..w];
            for x in right.saturating_sub(most)..w.min(w + right - most) {
                out[y * w + x] = f32::from(from[x + most - right]) * (1.0 / 255.0);
            }
        }
    }
    Ok(Tensor::from_vec(values, (indices.len(), 1, h, w), &Device::Cpu)?)
}
