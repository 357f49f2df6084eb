//! Trains a joint energy model of digits in one go, until its end or until it diverges.

use std::time::Instant;

use candle_core::{Device, Tensor};
use chains_core::{Seed, noise};
use datasets::{Cursor, ImageSet, Shuffle};
use serde::{Deserialize, Serialize};
use vera::{EnergyConfig, GeneratorConfig, ModelConfig, VeraModel, config::Output};

use super::methods::Method;
use crate::{data::usage, error::Result, training::Ticker};

/// Updates between two signs of life.
const TICK: usize = 50;

/// One training.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fit {
    pub(super) name: String,
    pub(super) model: ModelConfig,
    pub(super) method: Method,
    pub(super) updates: usize,
    pub(super) seed: u64,
}

/// How it went.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// Updates made.
    pub(super) updates: usize,
    /// The update whose loss was no number or beyond 1e8, if one was.
    pub(super) diverged: Option<usize>,
    pub(super) seconds: f64,
    /// The last loss.
    pub(super) loss: f64,
}

impl Outcome {
    /// Milliseconds an update.
    pub(super) fn each(&self) -> f64 {
        1e3 * self.seconds / self.updates.max(1) as f64
    }
}

/// The network of tables with half the widths, or of `hidden`, and its generator with a tanh.
pub(super) fn networks(
    hidden: &[usize],
    weight_norm: bool,
    [latent, width]: [usize; 2],
) -> ModelConfig {
    let energy = EnergyConfig::Mlp { dim: 784, hidden: hidden.to_vec(), outputs: 10, weight_norm };
    let generator = match GeneratorConfig::softplus(latent, width, 784) {
        GeneratorConfig::Mlp { latent, width, layers, dim, activation, .. } => {
            GeneratorConfig::Mlp { latent, width, layers, dim, activation, output: Output::Tanh }
        }
        other => other,
    };
    ModelConfig::of(energy, generator)
}

/// Some digits in `[-1, 1]`, flat, and their classes.
pub(super) fn batch(set: &ImageSet, indices: &[usize], device: &Device) -> Result<[Tensor; 2]> {
    let classes: Vec<u32> = indices.iter().map(|i| u32::from(set.labels[*i])).collect();
    let x = set.symmetric(indices).map_err(usage)?.to_device(device)?;
    Ok([x, Tensor::new(classes, device)?])
}

impl Fit {
    pub(super) fn seed(&self) -> Seed {
        Seed::new(self.seed).child("joint")
    }

    /// The model at the end, or before the update that diverged.
    ///
    /// # Errors
    /// Of the method, divergence apart.
    pub(super) fn train(
        &self,
        set: &ImageSet,
        device: &Device,
        ticker: &Ticker,
    ) -> Result<(VeraModel, Outcome)> {
        let seed = self.seed();
        let model = VeraModel::new(self.model.clone(), seed.child("model"), device)?;
        let mut outcome = Outcome { updates: 0, diverged: None, seconds: 0.0, loss: 0.0 };
        let shuffle = Shuffle {
            n: set.len(),
            batch_size: self.method.batch_size(),
            seed: seed.child("order"),
            drop_last: true,
        };
        let mut batches = shuffle.resume(Cursor::default()).map_err(usage)?;
        let mut step = self.method.begin(&model, seed.child("method"))?;
        let mut noise = noise::of_device(seed.child("noise"), device);
        for update in 1..=self.updates {
            let [x, y] = batch(set, batches.next_batch(), device)?;
            let started = Instant::now();
            match step(&x, &y, &mut *noise) {
                Ok(loss) => outcome.loss = loss,
                Err(chains_core::Error::NonFinite { .. }) => {
                    outcome.diverged = Some(update);
                    break;
                }
                Err(error) => return Err(error.into()),
            }
            outcome.seconds += started.elapsed().as_secs_f64();
            outcome.updates = update;
            if update.is_multiple_of(TICK) {
                ticker.at(update, &[("loss", outcome.loss)]);
            }
        }
        drop(step);
        Ok((model, outcome))
    }
}
