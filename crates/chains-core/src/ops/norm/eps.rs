//! The small number of a normalisation.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// Where the small number stands that keeps a normalisation finite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "value", deny_unknown_fields)]
pub enum Eps {
    /// The deviation is `sqrt(variance + eps)`, as in PyTorch; what a plain number stands for.
    InVariance(f64),
    /// The deviation is `sqrt(variance) + eps`. The derivative of the root, infinite at a variance of
    /// zero, is taken as zero there.
    OnDeviation(f64),
}

impl From<f64> for Eps {
    fn from(eps: f64) -> Self {
        Self::InVariance(eps)
    }
}

impl Eps {
    /// One over the deviation, and what the derivative of the deviation is multiplied by compared to
    /// that of `sqrt(variance)` with the deviation in its place: `deviation / sqrt(variance)`.
    #[inline(always)]
    pub(crate) fn scale_and_pull(self, variance: f32) -> (f32, f32) {
        match self {
            Self::InVariance(eps) => (1.0 / (variance + eps as f32).sqrt(), 1.0),
            Self::OnDeviation(eps) => {
                let root = variance.sqrt();
                let deviation = root + eps as f32;
                (1.0 / deviation, if root > 0.0 { deviation / root } else { 0.0 })
            }
        }
    }

    /// The deviation, of candle's operations.
    pub(crate) fn deviation(self, variance: &Tensor) -> Result<Tensor> {
        match self {
            Self::InVariance(eps) => Ok((variance + eps)?.sqrt()?),
            Self::OnDeviation(eps) => {
                // Where nothing varies the root is a constant, so that no infinity meets a zero.
                let varies = variance.gt(0.0)?;
                let root = varies.where_cond(variance, &variance.ones_like()?)?.sqrt()?;
                let root = varies.where_cond(&root, &variance.zeros_like()?)?;
                Ok((root + eps)?)
            }
        }
    }
}
