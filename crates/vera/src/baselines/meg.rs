//! Maximum entropy generators: the entropy by a bound on mutual information.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use chains_core::{
    Error, Noise, ParamStore, Result, Seed,
    autograd::value_and_gradients,
    host,
    nn::BatchNormMoments,
    optim::{Adam, AdamConfig},
    schedule::MultiStep,
};
use serde::{Deserialize, Serialize};

use super::{
    shared::{EnergyLoss, EnergyTerms, at_least_one, named, not_negative, under},
    statistics::{StatisticsNet, information_loss, permutation},
};
use crate::{
    generator::{Generator, GeneratorNetwork},
    network::EnergyNetwork,
    players::Players,
    train::{Labels, finite},
};

/// Name of the statistics network among the tensors of a state.
const STATISTICS: &str = "statistics";

/// Maximum entropy generators (Kumar et al. 2019) with the optimiser, networks and loop of VERA's
/// comparison, whose code was not released.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MegConfig {
    /// Weight of the mutual information in the generator's loss, in place of that of the entropy.
    pub information_weight: f64,
    /// Units of the hidden layers of the statistics network; three of 500.
    pub hidden: Vec<usize>,
    /// Weights of the energy's loss.
    pub loss: EnergyLoss,
    /// The rate of the energy's optimiser.
    pub energy_rate: MultiStep,
    /// The rate of generator and statistics network.
    pub generator_rate: MultiStep,
    /// Constants of the optimisers.
    pub adam: AdamConfig,
    /// The generator is updated in every so manieth iteration; 5 in the code of the method, 1 in
    /// VERA's loop.
    pub generator_every: usize,
    /// Examples of an update.
    pub batch_size: usize,
}

impl MegConfig {
    /// A density without classes: Adam(0, 0.9), gamma 0.1, both players in every iteration.
    pub fn density(information_weight: f64, [energy, generator]: [f64; 2]) -> Self {
        Self {
            information_weight,
            hidden: vec![500; 3],
            loss: EnergyLoss::density(0.1),
            energy_rate: MultiStep::constant(energy),
            generator_rate: MultiStep::constant(generator),
            adam: AdamConfig { beta1: 0.0, beta2: 0.9, eps: 1e-8 },
            generator_every: 1,
            batch_size: 128,
        }
    }

    /// Table 2: the rates of [`TrainConfig::nice`](crate::TrainConfig::nice), of the same search. Not
    /// in the paper: weight 1.
    pub fn nice() -> Self {
        Self::density(1.0, [3e-6, 3e-4])
    }

    /// Table 6: as [`TrainConfig::tabular`](crate::TrainConfig::tabular), weight 1e-4.
    pub fn tabular(rate: f64, class_weight: f64, milestones: Vec<usize>) -> Self {
        let stepped = MultiStep { value: rate, warmup: 0, milestones, factor: 0.3 };
        let loss =
            EnergyLoss { class_weight, class_entropy_weight: 1.0, ..EnergyLoss::density(0.1) };
        Self {
            loss,
            energy_rate: stepped.clone(),
            generator_rate: stepped,
            batch_size: 64,
            ..Self::density(1e-4, [rate; 2])
        }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        not_negative("information_weight", self.information_weight)?;
        self.loss.validate()?;
        self.energy_rate.validate()?;
        self.generator_rate.validate()?;
        self.adam.validate()?;
        self.hidden.iter().try_for_each(|width| at_least_one("hidden", *width))?;
        at_least_one("generator_every", self.generator_every)?;
        // A batch norm of one example knows nothing, a permutation of one moves nothing.
        at_least_one("batch_size", self.batch_size.saturating_sub(1))
    }
}

/// What the training carries from update to update: optimisers and the statistics network.
pub struct MegState {
    /// The optimiser of the energy.
    pub energy: Adam,
    /// The optimiser of the generator.
    pub generator: Adam,
    /// The optimiser of the statistics network.
    pub statistics: Adam,
    /// Updates done.
    pub iteration: usize,
    store: ParamStore,
    network: StatisticsNet,
}

impl MegState {
    /// Before the first update: a statistics network with initial parameters from `seed`, of the type
    /// and on the device of the players, for events of `dim` numbers.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn new<E: EnergyNetwork, G: GeneratorNetwork>(
        config: &MegConfig,
        players: &Players<E, G>,
        dim: usize,
        seed: Seed,
    ) -> Result<Self> {
        config.validate()?;
        let dtype = players.log_eta().dtype();
        let store = ParamStore::new(seed.child(STATISTICS), dtype, players.store().device());
        let sizes = [dim, players.generator().network.latent()];
        let network = StatisticsNet::new(sizes, &config.hidden, store.builder())?;
        let [energy, generator, statistics] = [(); 3].map(|()| Adam::new(config.adam));
        Ok(Self { energy, generator, statistics, iteration: 0, store, network })
    }

    /// The statistics network, trainable.
    pub fn network(&self) -> &StatisticsNet {
        &self.network
    }

    /// The variables of the statistics network.
    pub fn store(&self) -> &ParamStore {
        &self.store
    }

    /// The statistics network and the moments of all three optimisers, and their numbers of steps.
    pub fn tensors(&self) -> (Vec<(String, Tensor)>, [u64; 3]) {
        let mut tensors = named("energy", &self.energy);
        tensors.extend(named("generator", &self.generator));
        tensors.extend(named(STATISTICS, &self.statistics));
        let network = self.store.tensors().into_iter();
        tensors.extend(network.map(|(name, tensor)| (format!("{STATISTICS}.{name}"), tensor)));
        let steps = [self.energy.steps(), self.generator.steps(), self.statistics.steps()];
        (tensors, steps)
    }

    /// A state as [`MegState::new`] gives it takes what [`MegState::tensors`] gave.
    ///
    /// # Errors
    /// [`Error::Config`] if a tensor of the network is missing or a moment does not fit; the state is
    /// then of no use.
    pub fn restore<E: EnergyNetwork, G: GeneratorNetwork>(
        self,
        config: &MegConfig,
        (tensors, steps): (&BTreeMap<String, Tensor>, [u64; 3]),
        iteration: usize,
        players: &Players<E, G>,
    ) -> Result<Self> {
        let own = under(STATISTICS, tensors);
        for (name, var) in self.store.all() {
            let Some(value) = own.get(&name).filter(|value| value.dims() == var.dims()) else {
                let reason = format!("`{STATISTICS}.{name}` is missing or has another shape");
                return Err(Error::Config { field: "state", reason });
            };
            var.set(&value.to_dtype(var.dtype())?.to_device(var.device())?)?;
        }
        let one = |who, steps, store: &ParamStore| {
            Adam::restore(config.adam, steps, &under(who, tensors), store)
        };
        Ok(Self {
            energy: one("energy", steps[0], players.store())?,
            generator: one("generator", steps[1], players.store())?,
            statistics: one(STATISTICS, steps[2], &self.store)?,
            iteration,
            ..self
        })
    }
}

/// What an iteration gives, measured before the step that it led to; means over examples, nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MegTerms {
    /// Terms of the energy.
    pub energy: EnergyTerms,
    /// `f` of samples after the energy's step, which the generator climbs.
    pub generator: f64,
    /// Loss of the statistics network, from 0 to `ln 2` if it has learnt anything; `ln 2` minus it is
    /// a bound on the Jensen-Shannon information.
    pub information_loss: f64,
}

/// One iteration: a step of the energy on samples of its own, then generator and statistics network
/// together on `-mean f(g(z)) + weight L(T(g(z), z))`. The generator is `g` without output noise.
///
/// # Shapes
/// `x`: `(b, ..event)`, `b > 1`.
///
/// # Errors
/// [`Error::NonFinite`] if a loss is no number or beyond [`DIVERGED`](crate::DIVERGED), before
/// anything moves by it.
pub fn meg_update<E: EnergyNetwork, G: GeneratorNetwork>(
    players: &Players<E, G>,
    state: &mut MegState,
    config: &MegConfig,
    (x, labels): (&Tensor, Labels<'_>),
    noise: &mut dyn Noise,
) -> Result<MegTerms> {
    let b = x.dims().first().copied().unwrap_or(0);
    let iteration = state.iteration;
    let mut moments = BatchNormMoments::batch();
    let z = latents(players.generator(), b, noise)?;
    let samples = players.generator().network.mean(&z, &mut moments)?.detach();
    let (grads, energy) =
        config.loss.gradients(players.into(), (x, &samples, labels), iteration, noise)?;
    state.energy.step(players.store(), &grads, config.energy_rate.at(iteration))?;
    players.follow(&moments)?;
    let mut terms = MegTerms { energy, ..MegTerms::default() };
    if iteration.is_multiple_of(config.generator_every) {
        let mut moments = BatchNormMoments::batch();
        let z = latents(players.generator(), b, noise)?;
        let order = permutation(b, noise, z.device())?;
        let masks = players.energy().masks(b, noise)?;
        let (loss, grads) = value_and_gradients(|| {
            let x = players.live_generator().network.mean(&z, &mut moments)?;
            let f = players.energy().log_density(&x, &masks)?.mean_all()?;
            let information = information_loss(&state.network, &x, &z, &order)?;
            terms.generator = host::scalar(&f)?;
            terms.information_loss = host::scalar(&information)?;
            Ok(((information * config.information_weight)? - f)?)
        })?;
        finite(host::scalar(&loss)?, "generator loss", iteration)?;
        let rate = config.generator_rate.at(iteration);
        state.generator.step(players.store(), &grads, rate)?;
        state.statistics.step(&state.store, &grads, rate)?;
        players.follow(&moments)?;
    }
    state.iteration += 1;
    Ok(terms)
}

/// `n` latents of a generator, `(n, d)`.
pub(super) fn latents<G: GeneratorNetwork>(
    generator: &Generator<G>,
    n: usize,
    noise: &mut dyn Noise,
) -> Result<Tensor> {
    let (dtype, device): (DType, _) = (generator.log_sigma.dtype(), generator.log_sigma.device());
    noise.normal(&(n, generator.network.latent()).into(), dtype, device)
}
