//! What the settings of the MNIST experiments may be, checked before anything is touched.

use super::settings::{LikelihoodSettings, SampleSettings, TrainSettings};
use crate::{
    error::Result,
    limits::{at_least, bad},
};

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
