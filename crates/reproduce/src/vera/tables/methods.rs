//! Ways to train a classifier of tables, as one closure each.

use candle_core::Tensor;
use chains_core::{Noise, Result, Seed};
use serde::Serialize;
use vera::{
    EnergyNet, GeneratorNet, Labels, Players, TrainConfig, TrainState, VeraModel,
    baselines::{
        EnergyState, MegConfig, MegState, Optimisation, PcdConfig, PcdState, VatConfig, meg_update,
        pcd_update, supervised_update, vat_update,
    },
    update,
};

/// A row of Table 6.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "method", content = "config")]
pub(super) enum Method {
    /// Cross-entropy of the few labels.
    Supervised(Optimisation),
    /// Virtual adversarial training.
    Vat(VatConfig),
    /// Maximum-entropy generators.
    Meg(MegConfig),
    /// A joint energy model by persistent chains.
    Jem(PcdConfig),
    /// The game.
    Vera(TrainConfig),
    /// Cross-entropy of all labels.
    FullLabel(Optimisation),
}

/// The examples of an update.
pub(super) struct Batch {
    /// `(b, D)`.
    pub(super) x: Tensor,
    /// Classes of `x`, `(b,)`, where all labels are used.
    pub(super) classes: Option<Tensor>,
    /// Labelled examples, `(l, D)`, with their classes, `(l,)`.
    pub(super) labelled: (Tensor, Tensor),
}

/// One update; gives the loss.
pub(super) type Step<'a> = Box<dyn FnMut(&Batch, &mut dyn Noise) -> Result<f64> + 'a>;

impl Method {
    /// Are all labels used?
    pub(super) fn uses_all_labels(&self) -> bool {
        matches!(self, Self::FullLabel(_))
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// Naming the field and what is allowed.
    pub(super) fn validate(&self) -> Result<()> {
        match self {
            Self::Supervised(config) | Self::FullLabel(config) => config.validate(),
            Self::Vat(config) => config.validate(),
            Self::Meg(config) => config.validate(),
            Self::Jem(config) => config.validate(),
            Self::Vera(config) => config.validate(),
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
            Self::Supervised(config) => {
                let mut state = EnergyState::new(config);
                Box::new(move |batch, noise| {
                    let (x, y) = &batch.labelled;
                    supervised_update(player, &mut state, config, (x, y), noise)
                })
            }
            Self::FullLabel(config) => {
                let mut state = EnergyState::new(config);
                Box::new(move |batch, noise| {
                    let (x, y) = match &batch.classes {
                        Some(classes) => (&batch.x, classes),
                        None => (&batch.labelled.0, &batch.labelled.1),
                    };
                    supervised_update(player, &mut state, config, (x, y), noise)
                })
            }
            Self::Vat(config) => {
                let mut state = EnergyState::new(&config.optimisation);
                Box::new(move |batch, noise| {
                    let found = vat_update(player, &mut state, config, examples(batch), noise)?;
                    Ok(found.loss)
                })
            }
            Self::Meg(config) => {
                let dim = model.config().energy.event().iter().product();
                let mut state = MegState::new(config, players, dim, seed)?;
                Box::new(move |batch, noise| {
                    let found = meg_update(players, &mut state, config, examples(batch), noise)?;
                    Ok(found.energy.loss)
                })
            }
            Self::Jem(config) => {
                let (event, store) = (model.config().energy.event(), model.store());
                let mut start = seed.child("buffer").host_noise();
                let mut state = PcdState::new(config, &event, store, &mut start)?;
                Box::new(move |batch, noise| {
                    let found = pcd_update(player, &mut state, config, examples(batch), noise)?;
                    Ok(found.energy.loss)
                })
            }
            Self::Vera(config) => {
                let mut state = TrainState::new(config);
                Box::new(move |batch, noise| {
                    let found = update(players, &mut state, config, examples(batch), noise)?;
                    Ok(found.energy_loss)
                })
            }
        })
    }
}

fn examples(batch: &Batch) -> (&Tensor, Labels<'_>) {
    (&batch.x, Labels::Other(&batch.labelled.0, &batch.labelled.1))
}
