//! One iteration of the game as a function.

mod losses;
mod state;
#[cfg(test)]
mod tests;

use candle_core::Tensor;
use chains_core::{Error, Noise, Result};

use self::losses::Moved;
pub use self::{
    losses::{Losses, Terms, Turn, losses},
    state::TrainState,
};
use crate::{
    config::{Order, TrainConfig},
    model::GanModel,
    objective::AnnealTerm,
};

/// A loss beyond which a training has diverged.
pub const DIVERGED: f64 = 1e8;

/// One iteration: the steps of critic, denoiser and generator in the configured order.
///
/// # Shapes
/// `x`: `(critic_steps * b, c, h, w)` in `[-1, 1]`; each critic step sees its own `b` rows.
///
/// # Errors
/// [`Error::NonFinite`] if a loss is no number or beyond [`DIVERGED`], before anything moves by it;
/// [`Error::Shape`] for a number of images that the critic's steps do not divide.
pub fn update(
    model: &GanModel,
    state: &mut TrainState,
    config: &TrainConfig,
    x: &Tensor,
    noise: &mut dyn Noise,
) -> Result<Terms> {
    let rows = x.dims().first().copied().unwrap_or(0);
    let steps = config.critic_steps.max(1);
    if rows == 0 || !rows.is_multiple_of(steps) {
        let expected = format!("({steps} b, c, h, w)");
        return Err(Error::Shape { what: "images", expected, got: x.dims().to_vec() });
    }
    let b = rows / steps;
    let mut terms = Terms::default();
    for i in 0..steps {
        let x = x.narrow(0, i * b, b)?;
        let turn = match config.order {
            Order::CriticFirst => Turn::Critic,
            _ if i == 0 => Turn::All,
            _ => Turn::Critic,
        };
        step(model, state, config, (&x, turn), &mut terms, noise)?;
    }
    if config.order == Order::CriticFirst {
        step(model, state, config, (&x.narrow(0, 0, b)?, Turn::Generator), &mut terms, noise)?;
    }
    state.iteration += 1;
    Ok(terms)
}

/// Losses at one set of weights, then the steps of those whose turn it is.
fn step(
    model: &GanModel,
    state: &mut TrainState,
    config: &TrainConfig,
    (x, turn): (&Tensor, Turn),
    terms: &mut Terms,
    noise: &mut dyn Noise,
) -> Result<()> {
    let iteration = state.iteration;
    let Losses { terms: found, critic, generator, denoiser, moved } =
        losses(model, config, iteration, (x, turn), noise)?;
    terms.take(&found, turn);
    for (what, loss) in [
        ("critic loss", found.critic),
        ("generator loss", found.generator),
        ("denoiser loss", found.denoiser),
    ] {
        // Not a number fails the comparison, too.
        if loss.abs() > DIVERGED || loss.is_nan() {
            return Err(Error::NonFinite { what, step: iteration });
        }
    }
    let (store, rate) = (model.store(), config.learning_rate);
    if let Some(grads) = generator {
        state.generator.step(store, &grads, rate)?;
    }
    if let Some(grads) = critic {
        state.critic.step(store, &grads, config.critic_rate())?;
    }
    if let (Some(grads), true) = (denoiser, config.train_denoiser) {
        state.denoiser.step(store, &grads, rate)?;
    }
    moved.follow(model, iteration == 0)
}

/// Does the configuration have a use for a denoiser?
fn denoises(config: &TrainConfig) -> bool {
    config.term != AnnealTerm::Off
}

impl Moved {
    /// Moves all running moments, each once for every pass that found some.
    fn follow(&self, model: &GanModel, first: bool) -> Result<()> {
        use crate::{
            model::{DENOISER, DISCRIMINATOR, FEATURES, GENERATOR},
            network::follow,
        };
        let store = model.store();
        for (root, moments) in [
            (DISCRIMINATOR, &self.real),
            (DISCRIMINATOR, &self.fake),
            (GENERATOR, &self.generator),
            (DENOISER, &self.denoiser),
        ] {
            follow(store, root, moments)?;
        }
        if let (Some(standardiser), Some(feature)) = (&model.frozen().standardiser, &self.feature) {
            standardiser.follow(store, FEATURES, feature, first)?;
        }
        Ok(())
    }
}
