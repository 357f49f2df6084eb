//! Estimates with frozen statistics that report progress.

use candle_core::Tensor;
use chains_core::{
    Seed,
    nn::Statistics,
    noise,
    train::{Event, Observer},
};
use infusion::{EstimateOptions, InfusionModel, estimate};

use crate::error::Result;

/// The bound and importance-sampling estimates of `x` with frozen statistics; see
/// [`infusion::estimate`].
///
/// # Errors
/// Of the estimator or the observer.
pub fn frozen_estimate(
    model: &InfusionModel,
    x: &Tensor,
    options: &EstimateOptions,
    seed: Seed,
    observer: &mut dyn Observer,
) -> Result<infusion::Estimate> {
    let (operator, prior) = (model.operator(Statistics::Running), model.prior()?);
    let chain = model.infusion_chain(&operator, &prior);
    let total = 1000;
    observer.observe(&Event::Started { stage: "likelihood", step: 0, total: Some(total) })?;
    let mut noise = noise::of_device(seed, model.device());
    let found = estimate(&chain, x, options, &mut *noise, &mut |share| {
        let step = (share * total as f64) as usize;
        observer.observe(&Event::Scalars { step, values: &[] })
    })?;
    observer.observe(&Event::Finished { step: total })?;
    Ok(found)
}
