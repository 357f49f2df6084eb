//! What the comparison of scores is set by.

use chains_core::config::positive;
use serde::{Deserialize, Serialize};

use crate::{error::Result, limits::at_least, request::Request};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ScoreSettings {
    /// Standard deviation of the corruption; 0.2 in the paper.
    pub(super) sigma: f64,
    /// Units of the denoiser's hidden layers.
    pub(super) hidden: Vec<usize>,
    /// Updates of the denoiser.
    pub(super) updates: usize,
    /// Points in an update, generated afresh.
    pub(super) batch_size: usize,
    /// Adam's rate at the beginning; half a cosine down to a hundredth.
    pub(super) rate: f64,
    /// h.
    pub(super) step_size: f64,
    /// Steps of a chain.
    pub(super) steps: usize,
    /// Chains, and exact points.
    pub(super) chains: usize,
}

impl ScoreSettings {
    pub(super) fn resolve(request: &Request) -> Result<Self> {
        let scale = request.scale;
        let settings: Self = request.settings(&Self {
            sigma: 0.2,
            hidden: scale.pick(vec![16], vec![128; 3], vec![256; 3]),
            updates: scale.pick(50, 5_000, 40_000),
            batch_size: scale.pick(64, 4_096, 4_096),
            rate: 2e-3,
            // Steps of the untrained denoiser's residual score would run away.
            step_size: scale.pick(1e-4, 0.01, 0.01),
            steps: scale.pick(20, 1_000, 1_000),
            chains: scale.pick(100, 2_000, 2_000),
        })?;
        positive("sigma", settings.sigma)?;
        positive("rate", settings.rate)?;
        positive("step_size", settings.step_size)?;
        at_least(&[
            ("updates", settings.updates, 1),
            ("batch_size", settings.batch_size, 1),
            ("chains", settings.chains, 2),
        ])?;
        Ok(settings)
    }

    /// Of the smoothed banana: `3 + sigma^2` and `4 + sigma^2`.
    pub(super) fn variances(&self) -> [f64; 2] {
        [3.0, 4.0].map(|v| v + self.sigma * self.sigma)
    }
}
