//! Losses as pure functions of logits, features and scores.

mod penalty;
#[cfg(test)]
mod tests;

use candle_core::Tensor;
use chains_core::{Result, ops};
use serde::{Deserialize, Serialize};

pub(crate) use self::penalty::between;
pub use self::penalty::{Penalty, penalty_at};
use crate::anneal::LambdaNorm;

/// The bound of a logit in the exponential of [`Objective::RklDual`].
pub const DUAL_CLAMP: f64 = 10.0;

/// The adversarial losses, with logits `d` of data and `d'` of generated images and
/// `sp(t) = ln(1 + e^t)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Jensen-Shannon, not saturating: `mean sp(-d) + mean sp(d')`; generator `mean sp(-d')`.
    Jsd,
    /// Reverse Kullback-Leibler with the critic of [`Objective::Jsd`], so that the best logit is
    /// `ln(mu / q)`; generator `mean -d'`. The supplement says only that the objective was changed; this
    /// form is derived.
    Rkl,
    /// Reverse Kullback-Leibler by its dual (f-GAN): `mean exp(-d) + mean d'`, `d` within
    /// [`DUAL_CLAMP`] in the exponential; generator `mean -d'`. The same best logit.
    RklDual,
    /// Wasserstein: `mean d' - mean d`, the gradient penalty apart ([`penalty_at`]); generator
    /// `mean -d'`.
    WGanGp,
}

/// A critic's loss without a penalty, a scalar.
///
/// # Shapes
/// Logits `(b,)` of data and of generated images.
///
/// # Errors
/// Of the tensor library.
pub fn critic_loss(objective: Objective, real: &Tensor, fake: &Tensor) -> Result<Tensor> {
    let (of_real, of_fake) = match objective {
        Objective::Jsd | Objective::Rkl => (ops::softplus(&real.neg()?)?, ops::softplus(fake)?),
        Objective::RklDual => (real.clamp(-DUAL_CLAMP, DUAL_CLAMP)?.neg()?.exp()?, fake.clone()),
        Objective::WGanGp => (real.neg()?, fake.clone()),
    };
    Ok((of_real.mean_all()? + of_fake.mean_all()?)?)
}

/// The adversarial part of a generator's loss, a scalar.
///
/// # Shapes
/// `fake`: logits `(b,)` of generated images.
///
/// # Errors
/// Of the tensor library.
pub fn generator_loss(objective: Objective, fake: &Tensor) -> Result<Tensor> {
    match objective {
        Objective::Jsd => Ok(ops::softplus(&fake.neg()?)?.mean_all()?),
        Objective::Rkl | Objective::RklDual | Objective::WGanGp => Ok(fake.mean_all()?.neg()?),
    }
}

/// What joins a generator's loss with the weight `-lambda`, for features `f` of generated images, the
/// denoiser's answer `phi` and corruption of standard deviation `sigma`. The score is a constant in
/// all but [`AnnealTerm::ReferenceCompat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnnealTerm {
    /// Nothing.
    Off,
    /// `-lambda mean_b <s, f> / F` with the denoiser's score `s = (phi(f) - f) / sigma^2`, held constant
    /// ([`score_loss`]).
    Score,
    /// Denoising feature matching, `lambda / (2 sigma^2) mean_b |f - phi|^2 / F` with `phi` constant: the
    /// same gradient, and 0.03 of the published code at `lambda = 0.06`, `sigma = 1` ([`dfm_loss`]).
    Dfm,
    /// The term of released code, `-lambda mean_b <phi - f, f> / F` with only `phi` constant: a score of
    /// a unit Gaussian is added to that of the data. For comparison ([`reference_loss`]).
    ReferenceCompat,
    /// As [`AnnealTerm::Score`] with the residual score `-grad_f |phi(f) - f|^2`, shown to fail
    /// (supplement, section G).
    Residual,
}

/// The weight of a term with its normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weight {
    /// Signed: positive is colder.
    pub lambda: f64,
    /// Per element or per sample.
    pub norm: LambdaNorm,
}

impl Weight {
    /// `lambda` over batch and, per element, features.
    fn per_row(self, features: &Tensor) -> Result<f64> {
        let (b, f) = features.dims2()?;
        Ok(self.lambda / (b.max(1) as f64 * self.norm.divisor(f)))
    }
}

/// `-lambda mean_b <s, f> / F`, whose gradient in a feature is `-lambda s / (b F)`; without `F` per
/// sample. The score is held constant here.
///
/// # Shapes
/// `features`, `score`: `(b, F)`.
///
/// # Errors
/// If the shapes differ.
pub fn score_loss(features: &Tensor, score: &Tensor, weight: Weight) -> Result<Tensor> {
    let inner = features.mul(&score.detach())?.sum_all()?;
    Ok((inner * -weight.per_row(features)?)?)
}

/// `lambda / (2 sigma^2) mean_b |f - phi|^2 / F`, `phi` held constant; without `F` per sample.
///
/// # Shapes
/// `features`, `denoised`: `(b, F)`.
///
/// # Errors
/// If the shapes differ.
pub fn dfm_loss(
    features: &Tensor,
    denoised: &Tensor,
    sigma: f64,
    weight: Weight,
) -> Result<Tensor> {
    let square = (features - denoised.detach())?.sqr()?.sum_all()?;
    Ok((square * (weight.per_row(features)? / (2.0 * sigma * sigma)))?)
}

/// `-lambda mean_b <phi - f, f> / F` with only `phi` held constant; without `F` per sample. Its gradient
/// in a feature is `-lambda (phi - 2 f) / (b F)`.
///
/// # Shapes
/// `features`, `denoised`: `(b, F)`.
///
/// # Errors
/// If the shapes differ.
pub fn reference_loss(features: &Tensor, denoised: &Tensor, weight: Weight) -> Result<Tensor> {
    let inner = (denoised.detach() - features)?.mul(features)?.sum_all()?;
    Ok((inner * -weight.per_row(features)?)?)
}

/// The denoiser's loss, the mean square over all elements.
///
/// # Shapes
/// `denoised`, `clean`: `(b, F)`; `clean` is held constant.
///
/// # Errors
/// If the shapes differ.
pub fn denoising_loss(denoised: &Tensor, clean: &Tensor) -> Result<Tensor> {
    Ok((denoised - clean.detach())?.sqr()?.mean_all()?)
}
