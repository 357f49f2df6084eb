//! Classification alone.

use candle_core::Tensor;
use chains_core::{Noise, Result, autograd::value_and_gradients, host};

use super::shared::{EnergyPlayer, EnergyState, Optimisation};
use crate::{network::EnergyNetwork, objective::cross_entropy, train::finite};

/// One update along the gradient of the cross-entropy, which comes back in nats, as it was before.
///
/// With the few labelled examples it is "supervised" of Table 6, with all of them "full label".
///
/// # Shapes
/// `x`: `(b, ..event)`; `classes`: `(b,)`, u32.
///
/// # Errors
/// [`chains_core::Error::NonFinite`] if the loss is no number or beyond
/// [`DIVERGED`](crate::DIVERGED), and nothing has moved.
pub fn supervised_update<E: EnergyNetwork>(
    player: EnergyPlayer<'_, E>,
    state: &mut EnergyState,
    config: &Optimisation,
    (x, classes): (&Tensor, &Tensor),
    noise: &mut dyn Noise,
) -> Result<f64> {
    let masks = player.live.masks(x.dims().first().copied().unwrap_or(0), noise)?;
    let (loss, grads) =
        value_and_gradients(|| cross_entropy(&player.live.logits(x, &masks)?, classes))?;
    let loss = host::scalar(&loss)?;
    finite(loss, "classification loss", state.iteration)?;
    state.step(player.store, &grads, config)?;
    Ok(loss)
}
