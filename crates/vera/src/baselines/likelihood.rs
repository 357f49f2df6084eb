//! Maximum likelihood of a network that is normalised.

use candle_core::Tensor;
use chains_core::{Error, Noise, Result, autograd::value_and_gradients, host};

use super::shared::{EnergyPlayer, EnergyState, Optimisation};
use crate::{network::EnergyNetwork, train::finite};

/// One update along the gradient of `mean log p(x)`, which comes back in nats, as it was before
/// (Tables 2 and 10, "ML").
///
/// # Shapes
/// `x`: `(b, ..event)`.
///
/// # Errors
/// [`Error::Config`] for a network that is not normalised, whose `f` has no bound;
/// [`Error::NonFinite`] if the loss is no number or beyond [`DIVERGED`](crate::DIVERGED), and nothing
/// has moved.
pub fn likelihood_update<E: EnergyNetwork>(
    player: EnergyPlayer<'_, E>,
    state: &mut EnergyState,
    config: &Optimisation,
    x: &Tensor,
    noise: &mut dyn Noise,
) -> Result<f64> {
    if !player.live.is_normalised() {
        let reason = "maximum likelihood needs a normalised log density".into();
        return Err(Error::Config { field: "energy", reason });
    }
    let masks = player.live.masks(x.dims().first().copied().unwrap_or(0), noise)?;
    let (loss, grads) =
        value_and_gradients(|| Ok(player.live.log_density(x, &masks)?.mean_all()?.neg()?))?;
    let loss = host::scalar(&loss)?;
    finite(loss, "likelihood", state.iteration)?;
    state.step(player.store, &grads, config)?;
    Ok(-loss)
}
