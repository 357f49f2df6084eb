//! Sliced and denoising score matching.

use candle_core::{Tensor, backprop::GradStore};
use chains_core::{
    Noise, Result,
    autograd::value_and_gradients,
    config::positive,
    density::value_and_grad,
    host,
    optim::AdamConfig,
    schedule::MultiStep,
    tangent::{Jet, Stacked},
};
use serde::{Deserialize, Serialize};

use super::shared::{EnergyPlayer, EnergyState, Optimisation, share};
use crate::{network::EnergyNetwork, train::finite};

/// The law of the random directions of slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Directions {
    /// Signs.
    Rademacher,
    /// Standard normal numbers.
    Gaussian,
}

impl Directions {
    /// One direction for every row of `x`, of its shape.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn draw(self, x: &Tensor, noise: &mut dyn Noise) -> Result<Tensor> {
        let (shape, dtype, device) = (x.shape(), x.dtype(), x.device());
        match self {
            Self::Gaussian => noise.normal(shape, dtype, device),
            Self::Rademacher => {
                let heads = noise.uniform(shape, dtype, device)?.ge(0.5)?;
                Ok(heads.to_dtype(dtype)?.affine(2.0, -1.0)?)
            }
        }
    }
}

/// Which objective; `s = grad_x f`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum ScoreMatching {
    /// `mean[v . (ds/dx) v + (v . s)^2 / 2]`, or `|s|^2 / 2` for the second term (Song et al. 2020).
    Sliced {
        /// `|s|^2 / 2`, the mean over directions (SSM-VR).
        variance_reduced: bool,
        /// The law of `v`.
        directions: Directions,
    },
    /// `mean |d^2 s(x + d n) + d n|^2 / 2`, `n` standard normal (Vincent 2011, times `d^4`).
    Denoising {
        /// d.
        deviation: f64,
    },
}

/// Objective and optimiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreMatchingConfig {
    /// What is minimised.
    pub objective: ScoreMatching,
    /// The energy's optimiser.
    pub optimisation: Optimisation,
}

impl ScoreMatchingConfig {
    /// NICE as in Song et al. 2020, whence the number of Table 2: signs, Adam(0.9, 0.999) at 1e-4,
    /// batches of 128.
    pub fn sliced(variance_reduced: bool) -> Self {
        let objective =
            ScoreMatching::Sliced { variance_reduced, directions: Directions::Rademacher };
        Self { objective, optimisation: published(1e-4) }
    }

    /// The flag `ssm` of VERA's code: Gaussian directions, the form of reduced variance, Adam(0, 0.9).
    pub fn vera_sliced(rate: f64, batch_size: usize) -> Self {
        let objective =
            ScoreMatching::Sliced { variance_reduced: true, directions: Directions::Gaussian };
        Self { objective, optimisation: Optimisation::constant(rate, batch_size) }
    }

    /// NICE as in Song et al. 2020: rate 1e-3; 0.16 is the deviation that its code begins with.
    pub fn denoising(deviation: f64) -> Self {
        let objective = ScoreMatching::Denoising { deviation };
        Self { objective, optimisation: published(1e-3) }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`chains_core::Error::Config`] naming the field and what is allowed.
    pub fn validate(&self) -> Result<()> {
        if let ScoreMatching::Denoising { deviation } = self.objective {
            positive("deviation", deviation)?;
        }
        self.optimisation.validate()
    }
}

fn published(rate: f64) -> Optimisation {
    let (rate, adam) = (MultiStep::constant(rate), AdamConfig::standard());
    Optimisation { rate, adam, batch_size: 128 }
}

/// One update; the objective comes back, as it was before.
///
/// # Shapes
/// `x`: `(b, ..event)`.
///
/// # Errors
/// [`chains_core::Error::NonFinite`] if the objective is no number or beyond
/// [`DIVERGED`](crate::DIVERGED), and nothing has moved.
pub fn score_matching_update<E: EnergyNetwork>(
    player: EnergyPlayer<'_, E>,
    state: &mut EnergyState,
    config: &ScoreMatchingConfig,
    x: &Tensor,
    noise: &mut dyn Noise,
) -> Result<f64> {
    let masks = player.live.masks(x.dims().first().copied().unwrap_or(0), noise)?;
    let (loss, grads) = match config.objective {
        ScoreMatching::Sliced { variance_reduced, directions } => {
            let v = directions.draw(x, noise)?;
            sliced_gradients(player, x, &v, variance_reduced, &masks)?
        }
        ScoreMatching::Denoising { deviation } => {
            let n = noise.normal(x.shape(), x.dtype(), x.device())?;
            denoising_gradients(player, x, &n, deviation, &masks)?
        }
    };
    finite(loss, "score matching loss", state.iteration)?;
    state.step(player.store, &grads, &config.optimisation)?;
    Ok(loss)
}

/// Sliced score matching along given directions: the objective and its gradients.
///
/// Second derivatives are carried forward along `v`. In the form of reduced variance, with `s` held
/// constant, `|s|^2 / 2` has the parameter gradient of `s . grad_x f`.
///
/// # Shapes
/// `x`, `v`: `(b, ..event)`.
///
/// # Errors
/// [`chains_core::Error::Shape`] if they differ or the network refuses them.
pub fn sliced_gradients<E: EnergyNetwork>(
    player: EnergyPlayer<'_, E>,
    x: &Tensor,
    v: &Tensor,
    variance_reduced: bool,
    masks: &[Tensor],
) -> Result<(f64, GradStore)> {
    let score = match variance_reduced {
        true => Some(value_and_grad(x, |x| player.frozen.log_density(x, masks))?.1),
        false => None,
    };
    let mut curvature = 0.0;
    let (loss, grads) = value_and_gradients(|| {
        let jet = player.live.log_density(&Jet::along(x.clone(), v.clone())?, masks)?;
        let bent = jet.second().mean_all()?;
        curvature = host::scalar(&bent)?;
        match &score {
            None => Ok((bent + (jet.first().sqr()?.mean_all()? * 0.5)?)?),
            Some(score) => {
                let along = player.live.log_density(&Stacked::new(x, score)?, masks)?;
                Ok((bent + along.tangents()?.mean_all()?)?)
            }
        }
    })?;
    match score {
        None => Ok((host::scalar(&loss)?, grads)),
        Some(score) => Ok((curvature + half_square(&score)?, grads)),
    }
}

/// Denoising score matching at `x + deviation n`: the objective and its gradients.
///
/// With `r = d^2 grad f + d n` held constant, `|r|^2 / 2` has the parameter gradient of
/// `d^2 r . grad f`.
///
/// # Shapes
/// `x`, `n`: `(b, ..event)`.
///
/// # Errors
/// [`chains_core::Error::Shape`] if they differ or the network refuses them.
pub fn denoising_gradients<E: EnergyNetwork>(
    player: EnergyPlayer<'_, E>,
    x: &Tensor,
    n: &Tensor,
    deviation: f64,
    masks: &[Tensor],
) -> Result<(f64, GradStore)> {
    let (kick, variance) = ((n * deviation)?, deviation * deviation);
    let noisy = (x + &kick)?;
    let score = value_and_grad(&noisy, |x| player.frozen.log_density(x, masks))?.1;
    let residual = ((score * variance)? + kick)?;
    let (_, grads) = value_and_gradients(|| {
        let along = player.live.log_density(&Stacked::new(&noisy, &residual)?, masks)?;
        Ok((along.tangents()?.mean_all()? * variance)?)
    })?;
    Ok((half_square(&residual)?, grads))
}

/// `mean |x|^2 / 2` over rows.
fn half_square(x: &Tensor) -> Result<f64> {
    Ok(0.5 * share(x) * host::scalar(&x.sqr()?.sum_all()?)?)
}
