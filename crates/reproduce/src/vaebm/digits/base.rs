//! The autoencoder that several energies share, and its products with them.

use candle_core::Device;
use vaebm::{EnergyModel, NvaeModel, VaebmModel};

use super::{
    autoencoder::{NvaeEpoch, NvaeRecipe, TrainedNvae, train_autoencoder},
    data::Digits,
    energy::EnergyRecipe,
    stored::{stored, stored_digest},
};
use crate::{
    error::Result,
    limits::finite_check,
    plots::{Plot, Series},
    results::Metric,
    run::Run,
    training::{json, took},
};

/// An autoencoder.
pub(crate) struct Base {
    /// The model.
    pub(crate) model: NvaeModel,
    /// What determines it.
    pub(crate) name: String,
}

/// The autoencoder of the stored model in folder `model` or, if that is empty, one that is trained now
/// by `recipe`.
///
/// # Errors
/// As [`stored`] and [`train_autoencoder`].
pub(crate) fn base(
    run: &mut Run<'_>,
    digits: &Digits,
    model: &str,
    recipe: &NvaeRecipe,
) -> Result<Base> {
    run.heading("Autoencoder");
    if !model.is_empty() {
        let (found, _) = stored(run.request, model)?.into_parts();
        run.paragraph(format!("The autoencoder of `{model}`, trained before."));
        return Ok(Base { model: found, name: stored_digest(run.request, model)? });
    }
    let TrainedNvae { model, curve, seconds, updates } = train_autoencoder(run, digits, recipe)?;
    run.paragraph(took(updates, seconds));
    let mut plot = Plot::new("The autoencoder", "epoch", "nats of an image");
    let line = |name: &str, of: fn(&NvaeEpoch) -> f64| {
        Series::line(name, curve.iter().map(|point| (point.epoch as f64, of(point))))
    };
    plot.series(line("-ln p(x|z)", |point| point.reconstruction));
    plot.series(line("divergences", |point| point.divergence));
    plot.series(line("minus the bound", |point| point.reconstruction + point.divergence));
    let validation = curve.iter().filter_map(|p| Some((p.epoch as f64, p.validation?)));
    plot.series(Series::line("minus the bound, validation", validation));
    run.plot("autoencoder", &plot, "Means over epochs; densities of pixels in [-1, 1].")?;
    let mut values: Vec<f64> = curve.iter().map(|point| point.loss).collect();
    values.extend(curve.iter().filter_map(|point| point.validation));
    finite_check(run, "losses and bounds of the autoencoder", &values);
    if let Some(bound) = curve.last().and_then(|point| point.validation) {
        let n = recipe.followed.min(digits.validation.len());
        run.metric(Metric::new("negative_bound_autoencoder", bound, "nats").n(n));
    }
    Ok(Base { model, name: json(recipe)? })
}

impl Base {
    /// A copy of the autoencoder, to be owned by a model or trained further.
    ///
    /// # Errors
    /// Of the tensor library.
    pub(crate) fn copy(&self, device: &Device) -> Result<NvaeModel> {
        let seed = chains_core::Seed::new(0);
        let copy = NvaeModel::new(self.model.network().config(), seed, device)?;
        for (name, var) in copy.store().all() {
            if let Some(own) = self.model.store().get(&name) {
                var.set(&own.as_detached_tensor())?;
            }
        }
        Ok(copy)
    }
}

/// The product with an energy; its chains are those of samples.
///
/// # Errors
/// If the two do not fit each other.
pub(crate) fn product(
    run: &Run<'_>,
    base: &Base,
    energy: EnergyModel,
    recipe: &EnergyRecipe,
) -> Result<VaebmModel> {
    let train = &recipe.train;
    let copy = base.copy(&run.request.device)?;
    Ok(VaebmModel::new(copy, energy, train.test_chains(), train.potential)?)
}
