//! What the settings of the MNIST experiments may be, checked before anything is touched, and where
//! the paper's numbers may stand beside ours.

use super::{
    data::Images,
    settings::{LikelihoodSettings, SampleSettings, TrainSettings},
};
use crate::{
    error::{Error, Result},
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
};

/// The error of an unusable value: what to set, and to what.
pub(super) fn bad<T>(key: &str, reason: &str) -> Result<T> {
    Err(Error::Usage(format!("--set {key}: {reason}")))
}

/// Refuses the first value, given as key, value and least value, that is too small.
pub(super) fn at_least(values: &[(&str, usize, usize)]) -> Result<()> {
    match values.iter().find(|(_, value, least)| value < least) {
        Some((key, _, least)) => bad(key, &format!("must be at least {least}")),
        None => Ok(()),
    }
}

/// Refuses overrides of keys that the experiment decides itself: they would have no effect.
pub(super) fn refuse(request: &Request, keys: &[&str], decided_by: &str) -> Result<()> {
    // `objective.kind` is within `objective`.
    let whole = |key: &str| key.split('.').next().is_some_and(|first| keys.contains(&first));
    match request.overrides.iter().find(|(key, _)| whole(key)) {
        Some((key, _)) => bad(key, &format!("has no effect here; {decided_by}")),
        None => Ok(()),
    }
}

impl TrainSettings {
    /// Can an MNIST model be trained, followed and scored with these?
    ///
    /// # Errors
    /// [`Error::Usage`] naming the key, or of the model's and the training's configuration.
    pub(super) fn validate_mnist(&self) -> Result<()> {
        self.cut()?;
        at_least(&[
            ("validation_images", self.validation_images, 2),
            ("test_images", self.test_images, 2),
            ("statistics_images", self.statistics_images, 2),
        ])?;
        if self.select && self.followed == 0 {
            return bad("followed", "must be at least 1, or `--set select=false`");
        }
        let side = if self.pooled { 14 } else { 28 };
        let recipe = self.recipe([1, side, side]);
        recipe.model.validate()?;
        Ok(recipe.train.validate()?)
    }
}

impl LikelihoodSettings {
    /// # Errors
    /// [`Error::Usage`] naming the key.
    pub(super) fn validate(&self) -> Result<()> {
        at_least(&[
            ("bound_images", self.bound_images, 2),
            ("bound_chains", self.bound_chains, 1),
            ("is_images", self.is_images, 4),
            ("is_train_images", self.is_train_images, 2),
            ("is_repeats", self.is_repeats, 1),
        ])?;
        let chains = &self.is_chains;
        if chains.first().is_none_or(|k| *k == 0) || !chains.is_sorted_by(|a, b| a < b) {
            return bad("is_chains", "must be a list of ascending numbers from 1, such as [1,10]");
        }
        Ok(())
    }
}

impl SampleSettings {
    /// # Errors
    /// [`Error::Usage`] naming the key.
    pub(super) fn validate(&self) -> Result<()> {
        at_least(&[
            ("sample_steps", self.sample_steps, 1),
            ("parzen_samples", self.parzen_samples, 20),
            ("parzen_images", self.parzen_images, 2),
        ])?;
        if !self.parzen_bandwidth.is_finite() || self.parzen_bandwidth <= 0.0 {
            return bad("parzen_bandwidth", "must be positive, in units of pixels from 0 to 1");
        }
        Ok(())
    }
}

/// May the paper's numbers of MNIST stand beside those of these images? Means of 2x2 pixels have
/// another density, and `smoke` measures nothing.
pub(super) fn compares(run: &Run<'_>, images: &Images) -> bool {
    run.request.scale != Scale::Smoke && !images.pooled
}

/// With the paper's number, if it may stand there.
pub(super) fn beside(metric: Metric, published: f64, may: bool) -> Metric {
    if may { metric.published(published) } else { metric }
}

/// The check that holds at every scale: every bound is a number.
pub(super) fn finite_check(run: &mut Run<'_>, what: &str, bounds: &[f64]) {
    let broken = bounds.iter().filter(|bound| !bound.is_finite()).count();
    let detail = format!("{broken} of {} are not", bounds.len());
    run.check(Check::new(format!("{what} are finite"), broken == 0, detail));
}
