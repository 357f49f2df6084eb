//! An energy and a decoder that are trained together, as a training that resumes: the adversarial
//! baseline, and the extension of appendix C.

use std::{collections::BTreeMap, mem, path::Path};

use candle_core::Tensor;
use chains_core::{
    Noise, ParamStore, Seed,
    nn::SpectralNorms,
    noise,
    optim::{Adam, AdamConfig},
    schedule::LearningRate,
    train::Observer,
};
use serde::Serialize;
use serde_json::Value;
use vaebm::{
    EnergyNetwork, EnergyTrainConfig, NoiseDecoder, NvaeModel,
    energy::EnergyPair,
    nvae::NvaeDecoder,
    train::{EnergyState, update_energy, update_generator},
};

use super::{
    super::digits::{
        base::Base,
        data::{Batches, Digits},
        energy::FIRST_BATCHES,
    },
    learning::{Carried, Learnt, Point, learn},
    pixels::{Norms, begin_anew},
};
use crate::{
    error::Result,
    run::Run,
    training::{EpochEnd, Learner, Plan, Sums, UpdateAt, json},
};

/// Where the trained networks lie in their folder.
const ENERGY_FILE: &str = "energy.safetensors";
const DECODER_FILE: &str = "autoencoder.safetensors";
/// What names of the decoder's tensors, and of their moments, begin with in a state.
const DECODER: &str = "decoder.";
const MOMENTS: &str = "decoder-moments.";

/// Everything that determines the pair besides data, seed and the autoencoder it begins with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct GameRecipe {
    /// Which networks: a name.
    pub(super) game: &'static str,
    pub(super) width: usize,
    /// Of the energy; chains without steps are the decoder's own samples.
    pub(super) train: EnergyTrainConfig,
    /// On digits, see [`EnergyRecipe::data_noise`](super::super::digits::energy::EnergyRecipe::data_noise).
    pub(super) data_noise: f64,
    /// Of the decoder, Adam's, falling by half a cosine to nothing.
    pub(super) decoder_rate: f64,
    pub(super) updates: usize,
    pub(super) follow_every: usize,
}

struct Game<'a, N> {
    digits: &'a Digits,
    recipe: &'a GameRecipe,
    seed: Seed,
    pair: EnergyPair<N>,
    /// Of a critic.
    norms: Option<Norms>,
    autoencoder: NvaeModel,
    /// Its optimiser is a stand-in: the loop has the real one.
    state: EnergyState,
    adam: Adam,
    sums: Sums,
}

/// The decoder's optimiser; its constants are not in the paper.
const ADAM: AdamConfig = AdamConfig::standard();

impl<N: EnergyNetwork> Game<'_, N> {
    fn batches(&self) -> Batches<'_> {
        let (digits, batch_size) = (self.digits, self.recipe.train.batch_size);
        let GameRecipe { data_noise, .. } = *self.recipe;
        Batches { digits, batch_size, dequantise: false, data_noise, seed: self.seed }
    }

    /// One step of the energy, then one of the decoder.
    fn play(
        &mut self,
        x: &Tensor,
        rate: f64,
        noise: &mut dyn Noise,
    ) -> chains_core::Result<[f64; 4]> {
        let config = &self.recipe.train;
        let fixed = self.autoencoder.decoder()?;
        let terms = update_energy(&self.pair, &fixed, &mut self.state, config, x, noise)?;
        let live = NvaeDecoder::new(self.autoencoder.network().clone())?;
        let energy = self.pair.frozen().normalised()?;
        let optimiser = (&mut self.adam, rate);
        let (b, store) = (config.batch_size, self.autoencoder.store());
        let samples = update_generator((&live, store), &energy, optimiser, b, noise)?;
        let contrast = terms.contrast;
        Ok([contrast.loss, contrast.data, contrast.negatives, samples])
    }
}

impl<N: EnergyNetwork> Learner for Game<'_, N> {
    type Epoch = Point;

    fn store(&self) -> &ParamStore {
        self.pair.store()
    }

    fn begin(&mut self, _: &Path) -> Result<()> {
        if self.recipe.train.data_dependent_init {
            let x = self.batches().first(FIRST_BATCHES, self.pair.store().device())?;
            self.pair.live().initialise(&x)?;
        }
        Ok(())
    }

    fn update(&mut self, adam: &mut Adam, at: &UpdateAt<'_>) -> Result<f64> {
        let GameRecipe { decoder_rate: value, updates, .. } = *self.recipe;
        let rate = LearningRate::Cosine { value, last: 0.0, warmup: 0 }.at(at.update, updates);
        let device = self.pair.store().device();
        let x = self.batches().of(at.update, device)?;
        let seed = self.seed.child("chains").indexed(at.update as u64);
        let mut noise = noise::of_device(seed, device);
        mem::swap(adam, &mut self.state.adam);
        let found = self.play(&x, rate, &mut *noise);
        mem::swap(adam, &mut self.state.adam);
        let values = found?;
        self.sums.push(&values);
        Ok(values[0])
    }

    fn carried(&self) -> Result<Value> {
        let steps = [self.state.adam.steps(), self.adam.steps()];
        Carried { steps, update: self.state.update, sums: self.sums.clone() }.json()
    }

    fn carried_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let under = |prefix: &'static str, tensors: Vec<(String, Tensor)>| {
            tensors.into_iter().map(move |(name, tensor)| (format!("{prefix}{name}"), tensor))
        };
        let mut tensors = self.state.tensors()?;
        tensors.extend(under(DECODER, self.autoencoder.store().tensors()));
        tensors.extend(under(MOMENTS, self.adam.tensors()));
        Ok(tensors)
    }

    fn restore(&mut self, carried: Value, tensors: BTreeMap<String, Tensor>) -> Result<()> {
        let Carried { steps: [steps, decoder_steps], update, sums } = Carried::of(carried)?;
        let under = |prefix: &str| -> BTreeMap<String, Tensor> {
            let own = |(name, tensor): (&String, &Tensor)| {
                Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
            };
            tensors.iter().filter_map(own).collect()
        };
        let decoder = self.autoencoder.store();
        decoder.assign(Path::new("the state"), &under(DECODER))?;
        self.adam = Adam::restore(ADAM, decoder_steps, &under(MOMENTS), decoder)?;
        let shapes = self.autoencoder.decoder()?.noise_shapes();
        let (config, store) = (&self.recipe.train, self.pair.store());
        self.state = EnergyState::restore(config, &shapes, (&tensors, steps), update, store)?;
        self.sums = sums;
        Ok(())
    }

    fn end_epoch(&mut self, at: &EpochEnd<'_, Point>) -> Result<Option<Point>> {
        self.state.norms = SpectralNorms::new();
        self.norms.iter().for_each(begin_anew);
        Ok(Some(Point::of(&mut self.sums, at.epoch, at.update)))
    }

    fn finish(&mut self, dir: &Path, _: &[Point], _: &mut dyn Observer) -> Result<()> {
        self.pair.store().save(&dir.join(ENERGY_FILE))?;
        Ok(self.autoencoder.store().save(&dir.join(DECODER_FILE))?)
    }
}

/// Both networks at the end, and how training went.
pub(super) struct Played<N> {
    pub(super) pair: EnergyPair<N>,
    pub(super) autoencoder: NvaeModel,
    pub(super) learnt: Learnt,
}

/// Trains the energy `pair`, with the vectors of its spectral norms if it is a critic, and a copy of the
/// autoencoder's decoder as `recipe` says; `stage` names the loop.
///
/// # Errors
/// As [`learn`].
pub(super) fn play<N: EnergyNetwork>(
    run: &mut Run<'_>,
    (digits, base): (&Digits, &Base),
    (pair, norms): (EnergyPair<N>, Option<Norms>),
    recipe: &GameRecipe,
    stage: &str,
) -> Result<Played<N>> {
    let seed = run.request.stream().child("vaebm").child("game");
    let parts = [json(&("vaebm-game", recipe))?, json(&base.name)?, json(&digits.digest())?];
    let autoencoder = base.copy(&run.request.device)?;
    let shapes = autoencoder.decoder()?.noise_shapes();
    let state = EnergyState::new(&recipe.train, &shapes)?;
    let (adam, sums) = (Adam::new(ADAM), Sums::default());
    let mut game = Game { digits, recipe, seed, pair, norms, autoencoder, state, adam, sums };
    let batch_size = recipe.train.batch_size;
    let plan = Plan {
        // An epoch of the loop is a point of the curves; the learner has its own order.
        examples: recipe.follow_every * batch_size,
        batch_size,
        epochs: recipe.updates / recipe.follow_every,
        learning_rate: LearningRate::Constant { value: recipe.train.learning_rate },
        adam: recipe.train.adam,
        weight_average: 0.0,
        order: seed.child("unused"),
    };
    let learnt = learn(run, stage, &parts, &plan, &mut game)?;
    if let Some(dir) = &learnt.dir {
        game.pair.store().load_strict(&dir.join(ENERGY_FILE))?;
        game.autoencoder.store().load_strict(&dir.join(DECODER_FILE))?;
    }
    Ok(Played { pair: game.pair, autoencoder: game.autoencoder, learnt })
}
