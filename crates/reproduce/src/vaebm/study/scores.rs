//! Log-likelihood estimates and energies of sets of images.

use chains_core::{
    Seed, host,
    train::{Event, Observer},
};
use datasets::ImageSet;
use vaebm::{NvaeTrainConfig, VaebmModel, importance_weights, unnormalised_log_density};

use super::super::digits::{data::batch, stored::SHIPPED};
use crate::{error::Result, images::blocks, run::Run};

/// Images that are encoded at a time.
const BLOCK: usize = 100;
/// Rows of a pass.
const ROWS: usize = 200;

/// Draws of an image from which on its bound is importance-weighted.
const WEIGHTED: usize = 100;

/// What the parts of a model say of every image.
pub(super) struct Scored {
    /// Bounds of the autoencoder's `ln p(x)`, nats, of draws of `ln p(x, z) - ln q(z|x)`: their mean or,
    /// of 100 draws and more, the importance-weighted one; see [`bound_name`].
    pub(super) bound: Vec<f64>,
    /// `E(x)`.
    pub(super) energy: Vec<f64>,
    /// `bound - E`: of the product, up to its partition function.
    pub(super) product: Vec<f64>,
}

/// The three scores, in their order in tables.
pub(super) const SCORES: [&str; 3] = ["autoencoder", "VAEBM", "minus energy"];

impl Scored {
    /// Images of the size of the model. Levels are dequantised for the autoencoder, which was trained so,
    /// and not for the energy.
    ///
    /// # Errors
    /// Of the networks and the observer.
    pub(super) fn of(
        model: &VaebmModel,
        set: &ImageSet,
        draws: usize,
        seed: Seed,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let network = model.space().decoder().network();
        let (device, margin) = (network.device().clone(), NvaeTrainConfig::small_mnist().margin);
        let energy_of = model.space().image_energy();
        let mut scored = Self { bound: vec![], energy: vec![], product: vec![] };
        observer.observe(&Event::Started { stage: "score", step: 0, total: Some(set.len()) })?;
        for block in blocks(set.len(), BLOCK) {
            let mut noise = seed.indexed(block[0] as u64).host_noise();
            let x = batch(set, &block, Some(&mut noise), &device)?;
            let weights = importance_weights(&x, draws, ROWS, &mut noise, |x, noise| {
                network.log_weights(x, margin, noise)
            })?;
            let bound: Vec<f64> = weights
                .iter()
                .map(|weights| match draws {
                    WEIGHTED.. => weights.importance_sampling(),
                    _ => weights.lower_bound(),
                })
                .collect();
            let x = batch(set, &block, None, &device)?;
            let energy = chains_core::density::Energy::energy(energy_of, &x)?.detach();
            scored.product.extend(unnormalised_log_density(&bound, &energy)?);
            scored.energy.extend(host::vector(&energy)?);
            scored.bound.extend(bound);
            let step = scored.bound.len();
            observer.observe(&Event::Scalars { step, values: &[] })?;
        }
        observer.observe(&Event::Finished { step: set.len() })?;
        Ok(scored)
    }

    /// One of [`SCORES`], larger for what is found likely.
    pub(super) fn score(&self, name: &str) -> Vec<f64> {
        match name {
            "autoencoder" => self.bound.clone(),
            "VAEBM" => self.product.clone(),
            _ => self.energy.iter().map(|energy| -energy).collect(),
        }
    }
}

/// What the bound of so many draws is called.
pub(super) fn bound_name(draws: usize) -> &'static str {
    if draws >= WEIGHTED { "importance-weighted bound" } else { "lower bound" }
}

/// Says on which noise the energy of the model in folder `model` was trained, as far as that is known: a
/// model does not keep it.
pub(super) fn training_noise(run: &mut Run<'_>, model: &str) {
    match model {
        "" => {}
        SHIPPED => run.paragraph(
            "The energy was trained on digits with noise of deviation 0.05 and is scored on clean ones.",
        ),
        _ => run.paragraph(
            "The model does not say whether its energy was trained on digits with noise; it is scored on \
             clean ones.",
        ),
    }
}

/// Mean and standard deviation.
pub(super) fn moments(values: &[f64]) -> [f64; 2] {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    [mean, (square / (n - 1.0).max(1.0)).sqrt()]
}
