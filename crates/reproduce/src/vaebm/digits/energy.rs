//! The second stage as a training that resumes.

use std::{
    collections::BTreeMap,
    mem,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use chains_core::{ParamStore, Seed, noise, optim::Adam, schedule::LearningRate, train::Observer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vaebm::{
    ConvEnergyConfig, EnergyConfig, EnergyModel, EnergyNetwork, EnergyTrainConfig, NoiseDecoder,
    NvaeModel,
    nvae::NvaeDecoder,
    train::{EnergyState, EnergyTerms, update_energy},
};

use super::{
    data::{Batches, Digits},
    stopping::{self, Guard, Guarded},
};
use crate::{
    error::{Error, Result},
    run::Run,
    training::{self, EpochEnd, Finished, Followed, Learner, Plan, Sums, UpdateAt, json, mean_of},
};

/// Batches of the initialisation by data, in the published code.
pub(crate) const FIRST_BATCHES: usize = 5;

/// Everything that determines a trained energy besides data, seed and autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct EnergyRecipe {
    /// The network.
    pub(crate) model: ConvEnergyConfig,
    /// Its training.
    pub(crate) train: EnergyTrainConfig,
    /// Dequantise digits: `(255 x + u) / 256` instead of levels / 255.
    pub(crate) dequantise: bool,
    /// Standard deviation of noise on digits in `[0, 1]`, which are then clamped like samples. The
    /// decoder's least deviation is half its floor here, which no digit has on its black ground: an
    /// energy tells the two by it at once, and learns nothing else.
    pub(crate) data_noise: f64,
    /// Updates.
    pub(crate) updates: usize,
    /// Updates whose means are a point of the curves.
    pub(crate) follow_every: usize,
    /// Points of the curves from one kept network to the next; the last one is always kept.
    pub(crate) keep_every: usize,
}

impl EnergyRecipe {
    /// The network.
    pub(crate) fn model(&self) -> EnergyConfig {
        EnergyConfig::Convolutional(self.model.clone())
    }
}

/// Means over some updates of what tells whether training is healthy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EnergyEpoch {
    /// Points of the curves so far.
    pub(crate) epoch: usize,
    /// Updates done.
    pub(crate) update: usize,
    /// Means, see [`NAMES`].
    pub(crate) means: Vec<f64>,
}

/// The numbers that are followed.
pub(crate) const NAMES: [&str; 10] = [
    "loss",
    "data",
    "negatives",
    "difference",
    "spectral",
    "fall",
    "drift_to_noise",
    "latent_rms",
    "clamped_share",
    "replayed",
];

fn values(terms: &EnergyTerms) -> [f64; NAMES.len()] {
    let (contrast, health) = (terms.contrast, terms.health);
    [
        contrast.loss,
        contrast.data,
        contrast.negatives,
        contrast.data - contrast.negatives,
        contrast.spectral,
        health.energy_start - health.energy_end,
        health.drift_to_noise,
        health.latent_rms,
        health.clamped_share,
        terms.replayed as f64,
    ]
}

impl EnergyEpoch {
    /// The mean of a number.
    pub(crate) fn mean(&self, name: &str) -> f64 {
        mean_of(&NAMES, &self.means, name)
    }
}

impl Followed for EnergyEpoch {
    fn epoch(&self) -> usize {
        self.epoch
    }

    fn values(&self) -> Vec<(&'static str, f64)> {
        // The loss of every update is there already.
        NAMES.into_iter().zip(self.means.iter().copied()).skip(1).collect()
    }
}

/// What a state holds as JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Carried {
    steps: u64,
    update: usize,
    /// Begins anew after older states.
    #[serde(default)]
    guard: Guard,
    #[serde(flatten)]
    sums: Sums,
}

struct Energy<'a> {
    digits: &'a Digits,
    decoder: NvaeDecoder,
    recipe: &'a EnergyRecipe,
    seed: Seed,
    model: EnergyModel,
    /// Its optimiser is a stand-in: the loop has the real one.
    state: EnergyState,
    sums: Sums,
    guard: Guard,
}

impl Energy<'_> {
    fn batches(&self) -> Batches<'_> {
        let EnergyRecipe { train, dequantise, data_noise, .. } = self.recipe;
        let (digits, batch_size, seed) = (self.digits, train.batch_size, self.seed);
        Batches { digits, batch_size, dequantise: *dequantise, data_noise: *data_noise, seed }
    }
}

impl Guarded for Energy<'_> {
    fn guard(&self) -> Guard {
        self.guard
    }
}

impl Learner for Energy<'_> {
    type Epoch = EnergyEpoch;

    fn store(&self) -> &ParamStore {
        self.model.store()
    }

    fn begin(&mut self, _: &Path) -> Result<()> {
        if !self.recipe.train.data_dependent_init {
            return Ok(());
        }
        let x = self.batches().first(FIRST_BATCHES, self.model.store().device())?;
        Ok(self.model.live().initialise(&x)?)
    }

    fn update(&mut self, adam: &mut Adam, at: &UpdateAt<'_>) -> Result<f64> {
        let device = self.model.store().device();
        let x = self.batches().of(at.update, device)?;
        let seed = self.seed.child("chains").indexed(at.update as u64);
        let mut noise = noise::of_device(seed, device);
        mem::swap(adam, &mut self.state.adam);
        let (model, config) = (&self.model, &self.recipe.train);
        let found = update_energy(model, &self.decoder, &mut self.state, config, &x, &mut *noise);
        mem::swap(adam, &mut self.state.adam);
        let terms = found?;
        self.sums.push(&values(&terms));
        self.guard.push(at.update, terms.contrast.data - terms.contrast.negatives)?;
        Ok(terms.contrast.loss)
    }

    fn carried(&self) -> Result<Value> {
        let (update, guard, sums) = (self.state.update, self.guard, self.sums.clone());
        let carried = Carried { steps: self.state.adam.steps(), update, guard, sums };
        serde_json::to_value(carried)
            .map_err(|error| Error::Usage(format!("state of the energy: {error}")))
    }

    fn carried_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        // The stand-in has no moments; the buffer and the vectors of the spectral norms are left.
        Ok(self.state.tensors()?)
    }

    fn restore(&mut self, carried: Value, tensors: BTreeMap<String, Tensor>) -> Result<()> {
        let Carried { steps, update, guard, sums } = serde_json::from_value(carried)
            .map_err(|error| Error::Usage(format!("state of the energy: {error}")))?;
        let shapes = self.decoder.noise_shapes();
        let (config, store) = (&self.recipe.train, self.model.store());
        self.state = EnergyState::restore(config, &shapes, (&tensors, steps), update, store)?;
        (self.sums, self.guard) = (sums, guard);
        Ok(())
    }

    fn end_epoch(&mut self, at: &EpochEnd<'_, EnergyEpoch>) -> Result<Option<EnergyEpoch>> {
        let means = self.sums.means();
        if at.epoch.is_multiple_of(self.recipe.keep_every.max(1)) {
            self.model.save(&kept(at.dir, at.update))?;
        }
        self.guard.look(self.model.store(), at)?;
        Ok(Some(EnergyEpoch { epoch: at.epoch, update: at.update, means }))
    }

    fn finish(&mut self, dir: &Path, curve: &[EnergyEpoch], _: &mut dyn Observer) -> Result<()> {
        let last = curve.last().map_or(0, |point| point.update);
        Ok(self.model.save(&kept(dir, last))?)
    }
}

/// Where the network after so many updates lies.
fn kept(dir: &Path, update: usize) -> PathBuf {
    dir.join(format!("energy-{update}"))
}

/// A trained energy, as it was after some of its updates.
pub(crate) struct TrainedEnergy {
    dir: PathBuf,
    /// What was followed.
    pub(crate) curve: Vec<EnergyEpoch>,
    /// The updates after which the network was kept; the last is [`TrainedEnergy::end`].
    pub(crate) kept: Vec<usize>,
    /// Seconds spent in updates.
    pub(crate) seconds: f64,
    /// Updates made; of a training that was stopped, until its last saved state.
    pub(crate) updates: usize,
    /// Updates of the last network: the last healthy one of a training that was stopped.
    pub(crate) end: usize,
}

impl TrainedEnergy {
    /// The network after `update` updates, one of [`TrainedEnergy::kept`].
    ///
    /// # Errors
    /// If it was not kept.
    pub(crate) fn after(&self, update: usize, device: &Device) -> Result<EnergyModel> {
        Ok(EnergyModel::load(&kept(&self.dir, update), device)?)
    }

    /// The last network.
    ///
    /// # Errors
    /// If its file is missing or damaged.
    pub(crate) fn last(&self, device: &Device) -> Result<EnergyModel> {
        self.after(self.end, device)
    }

    /// What was followed until the last network.
    pub(crate) fn followed(&self) -> &[EnergyEpoch] {
        let n = self.curve.iter().take_while(|point| point.update <= self.end).count();
        &self.curve[..n]
    }
}

/// Trains an energy beside `autoencoder`, or takes the one that this command has trained already; see
/// [`training::train`]. `stage` names the loop; `autoencoder_name` is what determines the autoencoder.
///
/// A training that the [rule](vaebm::train::DivergenceRule) stops leaves its last healthy network, and the
/// report says so.
///
/// # Errors
/// [`Error::Diverged`] if a chain or a loss is no number: the last saved state stays.
pub(crate) fn train_energy(
    run: &mut Run<'_>,
    digits: &Digits,
    (autoencoder, autoencoder_name): (&NvaeModel, &str),
    recipe: &EnergyRecipe,
    stage: &str,
) -> Result<TrainedEnergy> {
    let request = run.request;
    let seed = request.stream().child("vaebm").child("energy");
    let parts =
        [json(&("vaebm-energy", recipe))?, json(&autoencoder_name)?, json(&digits.digest())?];
    let name = training::name(request, &parts)?;
    let decoder = autoencoder.decoder()?;
    let state = EnergyState::new(&recipe.train, &decoder.noise_shapes())?;
    let model = EnergyModel::new(recipe.model(), seed.child("model"), &request.device)?;
    let (sums, guard) = (Sums::default(), Guard::default());
    let mut learner = Energy { digits, decoder, recipe, seed, model, state, sums, guard };
    let every = recipe.follow_every.clamp(1, recipe.updates.max(1));
    let batch_size = recipe.train.batch_size;
    let plan = Plan {
        // An epoch of the loop is a point of the curves; the learner has its own order.
        examples: every * batch_size,
        batch_size,
        epochs: recipe.updates / every,
        learning_rate: LearningRate::Constant { value: recipe.train.learning_rate },
        adam: recipe.train.adam,
        weight_average: 0.0,
        order: seed.child("unused"),
    };
    let (Finished { dir, curve, seconds, updates }, stopped) =
        stopping::train(run, stage, name, &plan, &mut learner)?;
    let mut end = updates;
    if let Some(stopped) = stopped {
        end = stopped.healthy;
        learner.model.save(&kept(&dir, end))?;
        run.paragraph(stopped.sentence());
    }
    let keep = recipe.keep_every.max(1);
    let mut kept: Vec<usize> = curve
        .iter()
        .filter(|point| point.epoch.is_multiple_of(keep) && point.update <= end)
        .map(|point| point.update)
        .collect();
    if kept.last() != Some(&end) {
        kept.push(end);
    }
    Ok(TrainedEnergy { dir, curve, kept, seconds, updates, end })
}
