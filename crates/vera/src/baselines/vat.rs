//! Virtual adversarial training.

use candle_core::{D, Tensor, backprop::GradStore};
use chains_core::{
    Noise, Result, autograd::value_and_gradients, config::positive, density::value_and_grad, host,
};
use serde::{Deserialize, Serialize};

use super::shared::{EnergyPlayer, EnergyState, Optimisation, at_least_one, not_negative, share};
use crate::{
    network::EnergyNetwork,
    objective::{class_entropy, cross_entropy, log_softmax},
    train::{Labels, finite},
};

/// Added to lengths of directions.
const SMALL: f64 = 1e-8;

/// Virtual adversarial training (Miyato et al. 2018) of a classifier, the strongest baseline of
/// Table 6: `alpha CE + beta H(p(y | x)) + LDS`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VatConfig {
    /// eps, the length of the adversarial step.
    pub radius: f64,
    /// xi, the length of the step by which a direction is probed; 10.
    pub probe: f64,
    /// Improvements of the direction; 1.
    pub power_iterations: usize,
    /// alpha.
    pub class_weight: f64,
    /// beta.
    pub class_entropy_weight: f64,
    /// Weight of the local smoothness; 1.
    pub smoothness_weight: f64,
    /// The optimiser.
    pub optimisation: Optimisation,
}

impl VatConfig {
    /// Table 8: `radius` is 0.1 for HEPMASS and HUMAN, 3 for CROP and MNIST; optimiser and weights of
    /// classes as [`TrainConfig::tabular`](crate::TrainConfig::tabular).
    pub fn tabular(radius: f64, rate: f64, class_weight: f64, milestones: Vec<usize>) -> Self {
        Self {
            radius,
            probe: 10.0,
            power_iterations: 1,
            class_weight,
            class_entropy_weight: 1.0,
            smoothness_weight: 1.0,
            optimisation: Optimisation::tabular(rate, milestones),
        }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`chains_core::Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        positive("radius", self.radius)?;
        positive("probe", self.probe)?;
        at_least_one("power_iterations", self.power_iterations)?;
        not_negative("class_weight", self.class_weight)?;
        not_negative("class_entropy_weight", self.class_entropy_weight)?;
        not_negative("smoothness_weight", self.smoothness_weight)?;
        self.optimisation.validate()
    }
}

/// What an update gives, measured before its step; means over examples, nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VatTerms {
    /// The whole loss.
    pub loss: f64,
    /// Cross-entropy of labelled examples.
    pub classification: f64,
    /// Entropy of predictions on the batch.
    pub class_entropy: f64,
    /// LDS: divergence between predictions on the batch and an adversarial step away.
    pub smoothness: f64,
}

/// `mean KL(p || softmax(logits))`, nats, from the logarithms of `p`: `(b, K)` twice -> a scalar.
///
/// # Errors
/// If the shapes differ.
pub fn divergence(log_p: &Tensor, logits: &Tensor) -> Result<Tensor> {
    let ratio = (log_p - log_softmax(logits)?)?;
    Ok(log_p.exp()?.mul(&ratio)?.sum(D::Minus1)?.mean_all()?)
}

/// The unit directions in which the predictions change most, by power iterations from
/// `U(-0.5, 0.5)^D`, shorter where the gradient is not long beside 1e-8, as of certain predictions in a
/// large batch; and the logarithms of the predictions, `(b, K)`. All is detached, in evaluation if
/// there are no masks.
///
/// # Shapes
/// `x`: `(b, ..event)`, as the directions.
///
/// # Errors
/// Of the network.
pub fn adversarial_direction<E: EnergyNetwork>(
    network: &E,
    config: &VatConfig,
    x: &Tensor,
    masks: &[Tensor],
    noise: &mut dyn Noise,
) -> Result<(Tensor, Tensor)> {
    let x = x.detach();
    let log_p = log_softmax(&network.logits(&x, masks)?)?.detach();
    let begun = noise.uniform(x.shape(), x.dtype(), x.device())?.affine(1.0, -0.5)?;
    let mut direction = normalised(&begun)?;
    let p = log_p.exp()?;
    for _ in 0..config.power_iterations {
        let away = (&x + (&direction * config.probe)?)?;
        // Of the batch's mean divergence in the direction: its length decides what SMALL does.
        let (_, grad) = value_and_grad(&away, |away| {
            Ok(p.mul(&log_softmax(&network.logits(away, masks)?)?)?.sum(D::Minus1)?.neg()?)
        })?;
        direction = normalised(&(grad * (config.probe * share(&x)))?)?;
    }
    Ok((direction, log_p))
}

/// Every example over its length.
fn normalised(x: &Tensor) -> Result<Tensor> {
    let flat = x.flatten_from(1)?;
    let length = (flat.sqr()?.sum_keepdim(1)?.sqrt()? + SMALL)?;
    Ok(flat.broadcast_div(&length)?.reshape(x.shape())?)
}

/// The loss with its terms, and its gradients. The batch `x` need not be labelled; every pass over it
/// has the same masks of dropout, and predictions and direction are held constant.
///
/// # Shapes
/// `x`: `(b, ..event)`.
///
/// # Errors
/// Of the network.
pub fn vat_gradients<E: EnergyNetwork>(
    player: EnergyPlayer<'_, E>,
    config: &VatConfig,
    (x, labels): (&Tensor, Labels<'_>),
    noise: &mut dyn Noise,
) -> Result<(VatTerms, GradStore)> {
    let b = x.dims().first().copied().unwrap_or(0);
    let own = player.live.masks(b, noise)?;
    let (direction, log_p) = adversarial_direction(player.frozen, config, x, &own, noise)?;
    let mut points = vec![x.clone(), (x + (direction * config.radius)?)?];
    let mut masks = own.iter().map(|mask| vec![mask.clone(), mask.clone()]).collect::<Vec<_>>();
    if let Labels::Other(x, _) = labels {
        points.push(x.clone());
        let others = player.live.masks(x.dims().first().copied().unwrap_or(0), noise)?;
        masks.iter_mut().zip(others).for_each(|(parts, other)| parts.push(other));
    }
    let points = Tensor::cat(&points, 0)?;
    let masks = masks.iter().map(|parts| Tensor::cat(parts, 0)).collect::<Result<Vec<_>, _>>()?;
    let mut terms = VatTerms::default();
    let (loss, grads) = value_and_gradients(|| {
        let logits = player.live.logits(&points, &masks)?;
        let here = logits.narrow(0, 0, b)?;
        let smoothness = divergence(&log_p, &logits.narrow(0, b, b)?)?;
        let entropy = class_entropy(&here)?;
        terms.smoothness = host::scalar(&smoothness)?;
        terms.class_entropy = host::scalar(&entropy)?;
        let loss = (smoothness * config.smoothness_weight)?;
        let loss = (loss + (entropy * config.class_entropy_weight)?)?;
        let cross = match labels {
            Labels::None => return Ok(loss),
            Labels::Same(classes) => cross_entropy(&here, classes)?,
            Labels::Other(x, classes) => {
                cross_entropy(&logits.narrow(0, 2 * b, x.dims()[0])?, classes)?
            }
        };
        terms.classification = host::scalar(&cross)?;
        Ok((loss + (cross * config.class_weight)?)?)
    })?;
    terms.loss = host::scalar(&loss)?;
    Ok((terms, grads))
}

/// One update along [`vat_gradients`].
///
/// # Shapes
/// `x`: `(b, ..event)`.
///
/// # Errors
/// [`chains_core::Error::NonFinite`] if the loss is no number or beyond
/// [`DIVERGED`](crate::DIVERGED), and nothing has moved.
pub fn vat_update<E: EnergyNetwork>(
    player: EnergyPlayer<'_, E>,
    state: &mut EnergyState,
    config: &VatConfig,
    batch: (&Tensor, Labels<'_>),
    noise: &mut dyn Noise,
) -> Result<VatTerms> {
    let (terms, grads) = vat_gradients(player, config, batch, noise)?;
    finite(terms.loss, "loss", state.iteration)?;
    state.step(player.store, &grads, &config.optimisation)?;
    Ok(terms)
}
