//! The first stage.

use std::path::Path;

use candle_core::{DType, Device};
use chains_core::{
    ParamStore, Seed,
    density::Sample,
    noise,
    optim::{Adam, AdamConfig},
    schedule::LearningRate,
    train::Observer,
};
use datasets::toys::Gaussians;
use serde::{Deserialize, Serialize};
use vaebm::plane::{PlaneModel, update_plane_weighted};

use super::settings::PlaneSettings;
use crate::{
    error::Result,
    run::Run,
    training::{self, EpochEnd, Finished, Followed, Learner, Plan, UpdateAt, json},
};

/// A trained autoencoder.
pub(super) struct Autoencoder {
    pub(super) model: PlaneModel,
    /// Updates done and the negative bound, means between records.
    pub(super) curve: Vec<(usize, f64)>,
    /// How long it took, in words.
    pub(super) sentence: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Part {
    part: usize,
    loss: f64,
}

impl Followed for Part {
    fn epoch(&self) -> usize {
        self.part
    }

    fn values(&self) -> Vec<(&'static str, f64)> {
        vec![("part", self.part as f64), ("negative_bound", self.loss)]
    }
}

struct Stage {
    model: PlaneModel,
    seed: Seed,
    batch: usize,
    kl_warmup: usize,
}

impl Learner for Stage {
    type Epoch = Part;

    fn store(&self) -> &ParamStore {
        self.model.store()
    }

    fn update(&mut self, adam: &mut Adam, at: &UpdateAt<'_>) -> Result<f64> {
        let seed = |name: &str| self.seed.child(name).indexed(at.update as u64);
        let device = self.model.store().device();
        let x = Gaussians::twenty_five().sample(self.batch, &mut seed("data").host_noise())?;
        let x = x.to_device(device)?;
        let kl_weight = ((at.update + 1) as f64 / self.kl_warmup.max(1) as f64).min(1.0);
        let rates = [at.learning_rate, kl_weight];
        let mut noise = noise::of_device(seed("noise"), device);
        let terms = update_plane_weighted(&self.model, adam, rates, &x, &mut *noise)?;
        Ok(terms.reconstruction + terms.divergence)
    }

    fn end_epoch(&mut self, at: &EpochEnd<'_, Part>) -> Result<Option<Part>> {
        Ok(Some(Part { part: at.epoch, loss: at.loss }))
    }

    fn finish(&mut self, dir: &Path, _: &[Part], _: &mut dyn Observer) -> Result<()> {
        Ok(self.model.save(&dir.join("model"))?)
    }
}

/// Trains the autoencoder, or takes the one that is there.
///
/// # Errors
/// [`crate::Error::Diverged`] if the bound is no number.
pub(super) fn train(
    run: &mut Run<'_>,
    settings: &PlaneSettings,
    seed: Seed,
) -> Result<Autoencoder> {
    let seed = seed.child("autoencoder");
    let (config, batch) = (settings.autoencoder(), settings.batch_size);
    let (updates, rate) = (settings.autoencoder_updates, settings.autoencoder_rate);
    let recipe = json(&("25-gaussians", &config, batch, updates, rate, settings.kl_warmup))?;
    let name = training::name(run.request, &[recipe])?;
    let device: &Device = &run.request.device;
    let model = PlaneModel::new(&config, seed.child("model"), DType::F32, device)?;
    // Parts take the place of epochs: every update has fresh points.
    let parts = settings.looks.min(updates);
    let plan = Plan {
        examples: (updates / parts) * batch,
        batch_size: batch,
        epochs: parts,
        learning_rate: LearningRate::Cosine { value: rate, last: 0.1 * rate, warmup: 0 },
        adam: AdamConfig::standard(),
        weight_average: 0.0,
        order: seed.child("order"),
    };
    let mut stage = Stage { model, seed, batch, kl_warmup: settings.kl_warmup };
    let finished = training::train(run, "autoencoder", name, &plan, &mut stage)?;
    let sentence = finished.sentence();
    let Finished { dir, curve, .. } = finished;
    let each = updates / parts;
    let curve = curve.into_iter().map(|part| (part.part * each, part.loss)).collect();
    let model = PlaneModel::load(&dir.join("model"), &run.request.device)?;
    Ok(Autoencoder { model, curve, sentence })
}
