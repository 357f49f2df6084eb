//! The energy on pixels without an autoencoder, as a training that resumes.

use std::{
    collections::BTreeMap,
    mem,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{DType, Tensor};
use chains_core::{
    HostNoise, Noise, ParamStore, Seed, nn::SpectralNorms, noise, optim::Adam,
    schedule::LearningRate, train::Observer,
};
use serde::Serialize;
use serde_json::Value;
use vaebm::{
    ConvEnergyConfig, EnergyNetwork, NoiseDecoder,
    baselines::{
        PixelChainConfig, PixelConfig, PixelState, run_pixel_chains, uniform_images,
        update_pixel_energy,
    },
    energy::{CriticEnergy, EnergyPair},
    nvae::NvaeDecoder,
};

use super::{
    super::digits::{
        base::Base,
        data::{Batches, Digits, SIDE},
        samples::{BATCH, in_blocks},
    },
    learning::{Carried, Learnt, Point, learn},
};
use crate::{
    error::Result,
    images::blocks,
    run::Run,
    training::{EpochEnd, Learner, Plan, Sums, UpdateAt, json},
};

const EVENT: [usize; 3] = [1, SIDE, SIDE];
/// Where the trained network lies in its folder.
const FILE: &str = "energy.safetensors";

/// Everything that determines a trained energy on pixels besides data, seed and autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct PixelRecipe {
    pub(super) width: usize,
    pub(super) train: PixelConfig,
    /// Examples and chains of an update.
    pub(super) batch_size: usize,
    /// New chains begin at samples of the autoencoder instead of uniform noise.
    pub(super) from_samples: bool,
    pub(super) updates: usize,
    pub(super) follow_every: usize,
}

/// The vectors of the spectral norms of a critic. They are not saved; to go on alike with and without
/// an interruption, a training begins them anew at every state.
pub(super) type Norms = Arc<Mutex<SpectralNorms>>;

/// Begins them anew.
pub(super) fn begin_anew(norms: &Norms) {
    *norms.lock().unwrap_or_else(PoisonError::into_inner) = SpectralNorms::new();
}

/// A critic and the vectors of its spectral norms.
pub(super) fn critic(
    width: usize,
    seed: Seed,
    run: &Run<'_>,
) -> Result<(EnergyPair<CriticEnergy>, Norms)> {
    let store = ParamStore::new(seed, DType::F32, &run.request.device);
    let norms = Norms::default();
    let config = ConvEnergyConfig::mnist(1, width);
    let pair = EnergyPair::new(store, |vb| CriticEnergy::new(&config, norms.clone(), vb))?;
    Ok((pair, norms))
}

struct Pixels<'a> {
    digits: &'a Digits,
    decoder: NvaeDecoder,
    recipe: &'a PixelRecipe,
    seed: Seed,
    pair: EnergyPair<CriticEnergy>,
    norms: Norms,
    /// Its optimiser is a stand-in: the loop has the real one.
    state: PixelState,
    sums: Sums,
}

/// Where chains begin anew.
fn fresh(
    decoder: &NvaeDecoder,
    from_samples: bool,
    n: usize,
    noise: &mut dyn Noise,
) -> chains_core::Result<Tensor> {
    if !from_samples {
        return uniform_images(n, &EVENT, noise, &decoder.device());
    }
    let start = decoder.draw_noise(n, noise)?;
    Ok(decoder.decode(&start)?.image)
}

impl Learner for Pixels<'_> {
    type Epoch = Point;

    fn store(&self) -> &ParamStore {
        self.pair.store()
    }

    fn begin(&mut self, _: &Path) -> Result<()> {
        let mut noise = noise::of_device(self.seed.child("buffer"), &self.decoder.device());
        let blocks = blocks(self.recipe.train.capacity, BATCH);
        let rows = blocks.map(|block| {
            Ok(fresh(&self.decoder, self.recipe.from_samples, block.len(), &mut *noise)?)
        });
        let rows = Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)?;
        self.state = PixelState::from_images(&self.recipe.train, &rows)?;
        Ok(())
    }

    fn update(&mut self, adam: &mut Adam, at: &UpdateAt<'_>) -> Result<f64> {
        let PixelRecipe { batch_size, from_samples, .. } = *self.recipe;
        let seed = self.seed;
        let digits = self.digits;
        let batches = Batches { digits, batch_size, dequantise: false, data_noise: 0.0, seed };
        let device = self.pair.store().device();
        let x = batches.of(at.update, device)?;
        let mut noise = noise::of_device(seed.child("chains").indexed(at.update as u64), device);
        mem::swap(adam, &mut self.state.adam);
        let (decoder, config) = (&self.decoder, &self.recipe.train);
        let begin = |n, noise: &mut dyn Noise| fresh(decoder, from_samples, n, noise);
        let found =
            update_pixel_energy(&self.pair, &mut self.state, config, &x, begin, &mut *noise);
        mem::swap(adam, &mut self.state.adam);
        let terms = found?;
        self.sums.push(&[terms.loss, terms.data, terms.negatives, 0.0]);
        Ok(terms.loss)
    }

    fn carried(&self) -> Result<Value> {
        Carried {
            steps: [self.state.adam.steps(), 0],
            update: self.state.update,
            sums: self.sums.clone(),
        }
        .json()
    }

    fn carried_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        // The stand-in has no moments; the buffer is left.
        Ok(self.state.tensors()?)
    }

    fn restore(&mut self, carried: Value, tensors: BTreeMap<String, Tensor>) -> Result<()> {
        let Carried { steps: [steps, _], update, sums } = Carried::of(carried)?;
        let (config, store) = (&self.recipe.train, self.pair.store());
        self.state = PixelState::restore(config, (&tensors, steps), update, store)?;
        self.sums = sums;
        Ok(())
    }

    fn end_epoch(&mut self, at: &EpochEnd<'_, Point>) -> Result<Option<Point>> {
        begin_anew(&self.norms);
        Ok(Some(Point::of(&mut self.sums, at.epoch, at.update)))
    }

    fn finish(&mut self, dir: &Path, _: &[Point], _: &mut dyn Observer) -> Result<()> {
        Ok(self.pair.store().save(&dir.join(FILE))?)
    }
}

/// Trains as `recipe` says; `stage` names the loop.
///
/// # Errors
/// As [`learn`].
pub(super) fn train(
    run: &mut Run<'_>,
    digits: &Digits,
    base: &Base,
    recipe: &PixelRecipe,
    stage: &str,
) -> Result<(EnergyPair<CriticEnergy>, Learnt)> {
    let seed = run.request.stream().child("vaebm").child("pixels");
    let parts = [json(&("vaebm-pixels", recipe))?, json(&base.name)?, json(&digits.digest())?];
    let device = &run.request.device;
    // Chains begin there in the first update; see `begin`.
    let unused = uniform_images(1, &EVENT, &mut seed.host_noise(), device)?;
    let (pair, norms) = critic(recipe.width, seed.child("model"), run)?;
    let mut learner = Pixels {
        digits,
        decoder: base.model.decoder()?,
        recipe,
        seed,
        pair,
        norms,
        state: PixelState::from_images(&recipe.train, &unused)?,
        sums: Sums::default(),
    };
    let plan = Plan {
        // An epoch of the loop is a point of the curves; the learner has its own order.
        examples: recipe.follow_every * recipe.batch_size,
        batch_size: recipe.batch_size,
        epochs: recipe.updates / recipe.follow_every,
        learning_rate: LearningRate::Constant { value: recipe.train.learning_rate },
        adam: recipe.train.adam,
        weight_average: 0.0,
        order: seed.child("unused"),
    };
    let learnt = learn(run, stage, &parts, &plan, &mut learner)?;
    if let Some(dir) = &learnt.dir {
        learner.pair.store().load_strict(&dir.join(FILE))?;
    }
    Ok((learner.pair, learnt))
}

/// `n` images at the ends of the chains of samples, `(n, 1, 28, 28)`.
///
/// # Errors
/// Of the networks and of the observer.
pub(super) fn samples(
    run: &mut Run<'_>,
    pair: &EnergyPair<CriticEnergy>,
    base: &Base,
    recipe: &PixelRecipe,
    n: usize,
) -> Result<Tensor> {
    let decoder = base.model.decoder()?;
    let energy = pair.frozen().normalised()?;
    let PixelConfig { chains, test_steps, .. } = recipe.train;
    let chains = PixelChainConfig { steps: test_steps, ..chains };
    let seed = run.request.stream().child("generate");
    in_blocks(n, seed, run.observer()?, |b, noise: &mut HostNoise| {
        let start = fresh(&decoder, recipe.from_samples, b, noise)?;
        Ok(run_pixel_chains(&energy, &chains, &start, noise)?)
    })
}
