//! Sizes of the networks and the training, at every scale.

use datasets::ImageSet;
use serde::{Deserialize, Serialize};
use vera::{EnergyConfig, Entropy, GeneratorConfig, HmcConfig, ModelConfig, TrainConfig};

use super::super::game::Recipe;
use crate::{
    data::usage,
    error::Result,
    limits::{at_least, bad},
    request::Request,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StackedSettings {
    /// Side of the images: 32 (a black frame) or 64 (enlarged, as in the paper).
    pub(super) side: usize,
    /// Channels next to the images in both networks.
    pub(super) width: usize,
    /// d.
    pub(super) latent: usize,
    /// Weights of the entropy.
    pub(super) entropy_weights: Vec<f64>,
    /// How the entropy's gradient is estimated: `importance-sampling` or `hmc`.
    pub(super) entropy: String,
    /// k, of importance sampling.
    pub(super) proposals: usize,
    /// gamma.
    pub(super) gradient_penalty: f64,
    /// `sigma` at the beginning where the entropy has a weight; else it is its least, 0.01.
    pub(super) initial_sigma: f64,
    /// Rate of the energy.
    pub(super) energy_rate: f64,
    /// Rate of generator and posterior.
    pub(super) generator_rate: f64,
    /// Stacked images to train on.
    pub(super) triples: usize,
    pub(super) epochs: usize,
    pub(super) batch_size: usize,
    /// Samples that are classified, and as many real stacked images.
    pub(super) samples: usize,
    /// Samples on the sheet.
    pub(super) shown: usize,
}

pub(super) fn resolve(request: &Request) -> Result<StackedSettings> {
    let scale = request.scale;
    let settings = request.settings(&StackedSettings {
        side: scale.pick(32, 32, 64),
        width: scale.pick(4, 16, 64),
        latent: scale.pick(4, 64, 100),
        entropy_weights: scale.pick(vec![1.0, 0.0], vec![0.01, 0.0], vec![1.0, 0.0]),
        entropy: IMPORTANCE.into(),
        proposals: scale.pick(2, 5, 20),
        gradient_penalty: scale.pick(10.0, 10.0, 0.1),
        initial_sigma: scale.pick(0.1, 0.1, 0.01),
        energy_rate: 1e-3,
        generator_rate: 1e-3,
        triples: scale.pick(16, 12_800, 60_000),
        epochs: scale.pick(1, 10, 17),
        batch_size: scale.pick(8, 64, 100),
        samples: scale.pick(16, 10_000, 10_000),
        shown: scale.pick(10, 60, 100),
    })?;
    at_least(&[
        ("width", settings.width, 1),
        ("latent", settings.latent, 1),
        ("proposals", settings.proposals, 1),
        ("epochs", settings.epochs, 1),
        ("batch_size", settings.batch_size, 2),
        ("triples", settings.triples, settings.batch_size),
        ("samples", settings.samples, settings.batch_size),
        ("shown", settings.shown, 1),
        ("entropy_weights", settings.entropy_weights.len(), 1),
    ])?;
    if ![32, 64].contains(&settings.side) {
        return bad("side", "must be 32 or 64");
    }
    if ![IMPORTANCE, HMC].contains(&settings.entropy.as_str()) {
        return bad("entropy", &format!("must be {IMPORTANCE} or {HMC}"));
    }
    if settings.shown > settings.samples {
        return bad("shown", "must be at most samples");
    }
    if !(0.01..=0.3).contains(&settings.initial_sigma) {
        return bad("initial_sigma", "must be from 0.01 to 0.3");
    }
    for weight in &settings.entropy_weights {
        settings.recipe(*weight).train.validate()?;
    }
    settings.recipe(1.0).model.validate()?;
    Ok(settings)
}

pub(super) const IMPORTANCE: &str = "importance-sampling";
pub(super) const HMC: &str = "hmc";

impl StackedSettings {
    pub(super) fn recipe(&self, entropy_weight: f64) -> Recipe {
        let (side, channels, width) = (self.side, 3, self.width);
        let entropy = match self.entropy.as_str() {
            HMC => Entropy::Hmc(HmcConfig::published()),
            _ => Entropy::ImportanceSampling { samples: self.proposals },
        };
        let model = ModelConfig::of(
            EnergyConfig::Dcgan { side, channels, width, outputs: 1 },
            GeneratorConfig::Dcgan { latent: self.latent, side, channels, width },
        );
        let fast = self.generator_rate;
        let initial_sigma = if entropy_weight > 0.0 { self.initial_sigma } else { 0.01 };
        Recipe {
            model: ModelConfig { initial_sigma, ..model },
            train: TrainConfig {
                entropy,
                gradient_penalty: self.gradient_penalty,
                batch_size: self.batch_size,
                ..TrainConfig::density(entropy_weight, [self.energy_rate, fast, fast])
            },
            epochs: self.epochs,
        }
    }

    /// Digits of the side of the networks.
    pub(super) fn sized(&self, set: &ImageSet) -> Result<ImageSet> {
        if self.side == 64 { set.enlarged(64, 64) } else { set.padded(32) }.map_err(usage)
    }

    /// The published number of modes, of importance sampling or Hamiltonian chains.
    pub(super) fn published(&self, entropy_weight: f64) -> Option<f64> {
        let is = |weight: f64| (entropy_weight - weight).abs() < 1e-12;
        (is(1.0) || is(0.0)).then_some(if is(0.0) { 998.0 } else { 999.0 })
    }
}
