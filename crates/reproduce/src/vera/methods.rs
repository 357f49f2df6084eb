//! Ways to train a density, as one closure each.

use candle_core::Tensor;
use chains_core::{Error, Noise, Result, Seed};
use serde::{Deserialize, Serialize};
use vera::{
    EnergyNet, GeneratorNet, Labels, Players, TrainConfig, TrainState, VeraModel,
    baselines::{
        CoopConfig, CoopState, EnergyState, MegConfig, MegState, Optimisation, PcdConfig, PcdState,
        ScoreMatchingConfig, coop_update, curvature_update, likelihood_update, meg_update,
        pcd_update, score_matching_update,
    },
    update,
};

/// A way to train a density on examples without classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "method", content = "config")]
pub(super) enum Method {
    /// Maximum likelihood, of a model with a known constant.
    Likelihood(Optimisation),
    /// The game.
    Vera(TrainConfig),
    /// Persistent contrastive divergence.
    Pcd(PcdConfig),
    /// Maximum-entropy generators.
    Meg(MegConfig),
    /// Sliced or denoising score matching.
    Score(ScoreMatchingConfig),
    /// Score matching by curvature propagation, of a flow.
    Curvature(Optimisation),
    /// Cooperative networks.
    Coop(CoopConfig),
}

/// One update on a batch; gives the loss.
pub(super) type Step<'a> = Box<dyn FnMut(&Tensor, &mut dyn Noise) -> Result<f64> + 'a>;

impl Method {
    /// The training of `model`, before its first update.
    ///
    /// # Errors
    /// Of the method.
    pub(super) fn begin<'a>(&'a self, model: &'a VeraModel, seed: Seed) -> Result<Step<'a>> {
        let players: &Players<EnergyNet, GeneratorNet> = model;
        let player = players.into();
        Ok(match self {
            Self::Likelihood(config) => {
                let mut state = EnergyState::new(config);
                Box::new(move |x, noise| {
                    Ok(-likelihood_update(player, &mut state, config, x, noise)?)
                })
            }
            Self::Vera(config) => {
                let mut state = TrainState::new(config);
                Box::new(move |x, noise| {
                    let batch = (x, Labels::None);
                    Ok(update(players, &mut state, config, batch, noise)?.energy_loss)
                })
            }
            Self::Pcd(config) => {
                let (event, store) = (model.config().energy.event(), model.store());
                let mut start = seed.child("buffer").host_noise();
                let mut state = PcdState::new(config, &event, store, &mut start)?;
                Box::new(move |x, noise| {
                    let batch = (x, Labels::None);
                    Ok(pcd_update(player, &mut state, config, batch, noise)?.energy.loss)
                })
            }
            Self::Meg(config) => {
                let dim = model.config().energy.event().iter().product();
                let mut state = MegState::new(config, players, dim, seed)?;
                Box::new(move |x, noise| {
                    let batch = (x, Labels::None);
                    Ok(meg_update(players, &mut state, config, batch, noise)?.energy.loss)
                })
            }
            Self::Score(config) => {
                let mut state = EnergyState::new(&config.optimisation);
                Box::new(move |x, noise| {
                    score_matching_update(player, &mut state, config, x, noise)
                })
            }
            Self::Curvature(config) => {
                let Some(nice) = model.live_energy().as_nice() else {
                    let reason = "curvature propagation is for NICE".into();
                    return Err(Error::Config { field: "energy", reason });
                };
                let mut state = EnergyState::new(config);
                Box::new(move |x, noise| {
                    curvature_update((players.store(), nice), &mut state, config, x, noise)
                })
            }
            Self::Coop(config) => {
                let mut state = CoopState::new(config);
                Box::new(move |x, noise| {
                    let batch = (x, Labels::None);
                    Ok(coop_update(players, &mut state, config, batch, noise)?.energy.loss)
                })
            }
        })
    }
}
