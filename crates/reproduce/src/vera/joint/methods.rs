//! Ways to train a classifier that is a density, as one closure each.

use candle_core::Tensor;
use chains_core::{Noise, Result, Seed};
use serde::{Deserialize, Serialize};
use vera::{
    EnergyNet, GeneratorNet, Labels, Players, TrainConfig, TrainState, VeraModel,
    baselines::{EnergyState, Optimisation, PcdConfig, PcdState, pcd_update, supervised_update},
    update,
};

/// A way to train on examples with classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "method", content = "config")]
pub(super) enum Method {
    /// The game.
    Vera(TrainConfig),
    /// Persistent chains.
    Pcd(PcdConfig),
    /// Cross entropy alone.
    Classifier(Optimisation),
}

/// One update on examples and classes; gives the loss.
pub(super) type Step<'a> = Box<dyn FnMut(&Tensor, &Tensor, &mut dyn Noise) -> Result<f64> + 'a>;

impl Method {
    /// Examples of an update.
    pub(super) fn batch_size(&self) -> usize {
        match self {
            Self::Vera(config) => config.batch_size,
            Self::Pcd(config) => config.optimisation.batch_size,
            Self::Classifier(config) => config.batch_size,
        }
    }

    /// The training of `model`, before its first update.
    ///
    /// # Errors
    /// Of the method.
    pub(super) fn begin<'a>(&'a self, model: &'a VeraModel, seed: Seed) -> Result<Step<'a>> {
        let players: &Players<EnergyNet, GeneratorNet> = model;
        let player = players.into();
        Ok(match self {
            Self::Vera(config) => {
                config.validate()?;
                let mut state = TrainState::new(config);
                Box::new(move |x, y, noise| {
                    let batch = (x, Labels::Same(y));
                    Ok(update(players, &mut state, config, batch, noise)?.energy_loss)
                })
            }
            Self::Pcd(config) => {
                let (event, store) = (model.config().energy.event(), model.store());
                let mut start = seed.child("buffer").host_noise();
                let mut state = PcdState::new(config, &event, store, &mut start)?;
                Box::new(move |x, y, noise| {
                    let batch = (x, Labels::Same(y));
                    Ok(pcd_update(player, &mut state, config, batch, noise)?.energy.loss)
                })
            }
            Self::Classifier(config) => {
                config.validate()?;
                let mut state = EnergyState::new(config);
                Box::new(move |x, y, noise| {
                    supervised_update(player, &mut state, config, (x, y), noise)
                })
            }
        })
    }
}
