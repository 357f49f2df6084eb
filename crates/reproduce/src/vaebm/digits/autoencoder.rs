//! The first stage as a training that resumes.

use std::{collections::BTreeMap, path::Path};

use candle_core::{Device, Tensor};
use chains_core::{
    ParamStore, Seed, noise,
    optim::{Adam, AdamConfig},
    schedule::LearningRate,
    train::Observer,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vaebm::{
    NvaeConfig, NvaeModel, NvaeTrainConfig,
    preprocess::reduce_bits,
    train::{NvaeTerms, NvaeTrainState, update_vae},
};

use super::data::{Digits, batch};
use crate::{
    error::{Error, Result},
    images::blocks,
    run::Run,
    training::{self, EpochEnd, Finished, Followed, Learner, Plan, UpdateAt, json},
};

/// Images of a pass in evaluation.
const ROWS: usize = 100;

/// Everything that determines a trained autoencoder besides data and seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct NvaeRecipe {
    /// The network.
    pub(crate) model: NvaeConfig,
    /// Its training.
    pub(crate) train: NvaeTrainConfig,
    /// Dequantise images: `(255 x + u) / 256` instead of levels / 255.
    pub(crate) dequantise: bool,
    /// Validation images that the bound is followed on; 0 for none.
    pub(crate) followed: usize,
}

/// Means over an epoch, nats of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NvaeEpoch {
    /// Epochs done.
    pub(crate) epoch: usize,
    /// All terms.
    pub(crate) loss: f64,
    /// `-ln p(x|z)`, a density of pixels in `[-1, 1]`.
    pub(crate) reconstruction: f64,
    /// Sum of the divergences of the groups.
    pub(crate) divergence: f64,
    /// Their weight at the end.
    pub(crate) kl_weight: f64,
    /// Minus the lower bound of validation images, in evaluation, one draw each.
    pub(crate) validation: Option<f64>,
}

impl Followed for NvaeEpoch {
    fn epoch(&self) -> usize {
        self.epoch
    }

    fn values(&self) -> Vec<(&'static str, f64)> {
        let mut values = vec![
            ("epoch", self.epoch as f64),
            ("epoch_loss", self.loss),
            ("reconstruction", self.reconstruction),
            ("divergence", self.divergence),
            ("kl_weight", self.kl_weight),
        ];
        values.extend(self.validation.map(|bound| ("validation_negative_bound", bound)));
        values
    }
}

/// Sums of the epoch that runs.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Sums {
    updates: usize,
    count: usize,
    reconstruction: f64,
    divergence: f64,
    kl_weight: f64,
}

impl Sums {
    fn push(&mut self, terms: &NvaeTerms) {
        self.count += 1;
        self.reconstruction += terms.reconstruction;
        self.divergence += terms.kl.iter().sum::<f64>();
        self.kl_weight = terms.kl_weight;
    }
}

struct Autoencoder<'a> {
    digits: &'a Digits,
    recipe: &'a NvaeRecipe,
    seed: Seed,
    model: NvaeModel,
    state: NvaeTrainState,
    sums: Sums,
}

impl Autoencoder<'_> {
    fn per_epoch(&self) -> usize {
        self.state.per_epoch
    }

    fn validation(&self) -> Result<Option<f64>> {
        let n = self.recipe.followed.min(self.digits.validation.len());
        if n == 0 {
            return Ok(None);
        }
        let (network, seed) = (self.model.fixed()?, self.seed.child("followed"));
        let mut noise = seed.host_noise();
        let mut sum = 0.0;
        for block in blocks(n, ROWS) {
            let device = self.model.store().device();
            let levels = self.recipe.dequantise.then_some(&mut noise);
            let x = batch(&self.digits.validation, &block, levels, device)?;
            let x = reduce_bits(&x, self.recipe.model.bits)?;
            let weights = network.log_weights(&x, self.recipe.train.margin, &mut noise)?;
            sum += weights.to_vec1::<f32>()?.into_iter().map(f64::from).sum::<f64>();
        }
        Ok(Some(-sum / n as f64))
    }
}

impl Learner for Autoencoder<'_> {
    type Epoch = NvaeEpoch;

    fn store(&self) -> &ParamStore {
        self.model.store()
    }

    fn update(&mut self, _: &mut Adam, at: &UpdateAt<'_>) -> Result<f64> {
        let seed = |name: &str| self.seed.child(name).indexed(at.update as u64);
        let device = self.model.store().device();
        let mut levels = seed("dequantise").host_noise();
        let levels = self.recipe.dequantise.then_some(&mut levels);
        let x =
            self.digits.training(at.indices, &mut seed("flips").host_noise(), levels, device)?;
        let x = reduce_bits(&x, self.recipe.model.bits)?;
        let mut noise = noise::of_device(seed("posterior"), device);
        let terms = update_vae(&self.model, &mut self.state, &self.recipe.train, &x, &mut *noise)?;
        self.sums.push(&terms);
        Ok(terms.loss)
    }

    fn learning_rate(&self, update: usize, _: f64) -> f64 {
        self.recipe.train.rate(update, self.per_epoch())
    }

    fn carried(&self) -> Result<Value> {
        let sums = Sums { updates: self.state.update, ..self.sums };
        serde_json::to_value(sums)
            .map_err(|error| Error::Usage(format!("sums of the epoch: {error}")))
    }

    fn carried_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(self.state.tensors()?)
    }

    fn restore(&mut self, carried: Value, tensors: BTreeMap<String, Tensor>) -> Result<()> {
        self.sums = serde_json::from_value(carried)
            .map_err(|error| Error::Usage(format!("state of the autoencoder: {error}")))?;
        let at = [self.sums.updates, self.per_epoch()];
        let adamax = self.recipe.train.adamax;
        self.state = NvaeTrainState::restore(adamax, at, &tensors, &self.model)?;
        Ok(())
    }

    fn end_epoch(&mut self, at: &EpochEnd<'_, NvaeEpoch>) -> Result<Option<NvaeEpoch>> {
        let sums = std::mem::take(&mut self.sums);
        let n = sums.count.max(1) as f64;
        Ok(Some(NvaeEpoch {
            epoch: at.epoch,
            loss: at.loss,
            reconstruction: sums.reconstruction / n,
            divergence: sums.divergence / n,
            kl_weight: sums.kl_weight,
            validation: self.validation()?,
        }))
    }

    fn finish(&mut self, dir: &Path, _: &[NvaeEpoch], _: &mut dyn Observer) -> Result<()> {
        Ok(self.model.save(&dir.join("model"))?)
    }
}

/// A trained autoencoder.
pub(crate) struct TrainedNvae {
    /// The model.
    pub(crate) model: NvaeModel,
    /// What was followed.
    pub(crate) curve: Vec<NvaeEpoch>,
    /// Seconds spent in updates.
    pub(crate) seconds: f64,
    /// Updates made.
    pub(crate) updates: usize,
}

/// Trains as `recipe` says, or takes the model that this command has trained already; see
/// [`training::train`].
///
/// # Errors
/// [`Error::Diverged`] if a loss is no number: the last saved state stays.
pub(crate) fn train_autoencoder(
    run: &mut Run<'_>,
    digits: &Digits,
    recipe: &NvaeRecipe,
) -> Result<TrainedNvae> {
    let request = run.request;
    recipe.train.validate()?;
    let seed = request.stream().child("vaebm").child("autoencoder");
    let device: &Device = &request.device;
    let name =
        training::name(request, &[json(&("vaebm-autoencoder", recipe))?, json(&digits.digest())?])?;
    let per_epoch = digits.train.len() / recipe.train.batch.max(1);
    let mut learner = Autoencoder {
        digits,
        recipe,
        seed,
        model: NvaeModel::new(&recipe.model, seed.child("model"), device)?,
        state: NvaeTrainState::new(&recipe.train, per_epoch),
        sums: Sums::default(),
    };
    let plan = Plan {
        examples: digits.train.len(),
        batch_size: recipe.train.batch,
        epochs: recipe.train.epochs,
        learning_rate: LearningRate::Constant { value: recipe.train.learning_rate },
        // The loop's own optimiser makes no step: Adamax is the learner's.
        adam: AdamConfig::standard(),
        weight_average: 0.0,
        order: seed.child("order"),
    };
    let Finished { dir, curve, seconds, updates } =
        training::train(run, "train-autoencoder", name, &plan, &mut learner)?;
    let model = NvaeModel::load(&dir.join("model"), device)?;
    Ok(TrainedNvae { model, curve, seconds, updates })
}
