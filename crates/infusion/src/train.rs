//! One optimiser step as a function.

use candle_core::Tensor;
use chains_core::{
    Noise, Result,
    autograd::value_and_gradients,
    chain::{Step, TransitionOperator},
    density::LogDensity,
    host::{self, Later},
    nn::Statistics,
    ops,
    optim::Adam,
};

use crate::{
    config::{Objective, TrainConfig},
    model::InfusionModel,
    objective::{increasing_weights, weighted_log_likelihood},
};

/// One update on a batch; returns the loss, the negative objective in nats per dimension.
///
/// # Shapes
/// `x`: `(b, D)`, dequantised, in `[0, 1)`.
///
/// # Errors
/// [`chains_core::Error::NonFinite`] if the loss is not a number; the parameters are then unchanged, except for
/// the steps that [`Objective::DenoisingPerStep`] made before.
pub fn update(
    model: &InfusionModel,
    adam: &mut Adam,
    config: &TrainConfig,
    learning_rate: f64,
    x: &Tensor,
    noise: &mut dyn Noise,
) -> Result<f64> {
    if config.objective == Objective::DenoisingPerStep {
        return per_step(model, adam, learning_rate, x, noise);
    }
    descend(model, adam, learning_rate, || loss(model, config.objective, x, noise))
}

/// [`update`] that on CUDA does not wait for the loss: the host prepares the next update meanwhile. There
/// parameters move whatever the loss is, so that one that is no number leaves them useless.
///
/// # Shapes
/// As [`update`].
///
/// # Errors
/// As [`update`] on other devices and with [`Objective::DenoisingPerStep`]; else of the tensor library.
pub fn update_later(
    model: &InfusionModel,
    adam: &mut Adam,
    config: &TrainConfig,
    learning_rate: f64,
    x: &Tensor,
    noise: &mut dyn Noise,
) -> Result<Later> {
    if !x.device().is_cuda() || config.objective == Objective::DenoisingPerStep {
        return update(model, adam, config, learning_rate, x, noise).map(Later::known);
    }
    let (loss, grads) = value_and_gradients(|| loss(model, config.objective, x, noise))?;
    let later = Later::new(&loss)?;
    adam.step(model.store(), &grads, learning_rate)?;
    Ok(later)
}

/// The negative objective of all steps together.
fn loss(
    model: &InfusionModel,
    objective: Objective,
    x: &Tensor,
    noise: &mut dyn Noise,
) -> Result<Tensor> {
    match objective {
        Objective::LowerBound => lower_bound_loss(model, x, noise),
        Objective::LowerBoundDetached { weighted } => {
            stacked_loss(model, x, noise, Targets::States { weighted })
        }
        Objective::Denoising | Objective::DenoisingPerStep => {
            stacked_loss(model, x, noise, Targets::Data)
        }
    }
}

/// What the conditionals are asked to explain.
#[derive(Clone, Copy)]
enum Targets {
    Data,
    States { weighted: bool },
}

/// Draws the chain without a graph, then records the graph of all T states at once.
///
/// States are constants of the objective, so one pass over the stacked states has the gradient of T
/// separate passes, with products T times as tall; the affine maps are not computed again.
fn stacked_loss(
    model: &InfusionModel,
    x: &Tensor,
    noise: &mut dyn Noise,
    targets: Targets,
) -> Result<Tensor> {
    let steps = model.config().network.steps;
    let (mut states, passes) = model.infused(&model.config().chain, x, noise)?;
    let inputs = ops::stack(&states.iter().collect::<Vec<_>>())?;
    let layers = passes.first().map_or(0, |pass| pass.values.len());
    let known = (0..layers)
        .map(|layer| passes.iter().map(|pass| pass.values[layer].clone()).collect())
        .collect::<Vec<_>>();
    let indices: Vec<usize> = (0..steps).collect();
    let network = model.network();
    let pass = network.pass(&inputs, &indices, Statistics::Batch, &known)?;
    let (targets, weights) = match targets {
        Targets::Data => (x.clone(), increasing_weights(steps)),
        Targets::States { weighted } => {
            states.remove(0);
            states.push(x.clone());
            let weights = if weighted { increasing_weights(steps) } else { vec![1.0; steps] };
            (Tensor::stack(&states, 0)?, weights)
        }
    };
    let log_prob = network.log_prob(&pass, &targets, network.config().variance_floor)?;
    weighted_log_likelihood(&log_prob, x.dim(1)?, &weights)
}

/// `-mean_b L / D` with back-propagation through the chain.
fn lower_bound_loss(model: &InfusionModel, x: &Tensor, noise: &mut dyn Noise) -> Result<Tensor> {
    let (operator, prior) = (model.live_operator(), model.prior()?);
    let chain = model.infusion_chain(&operator, &prior);
    let d = x.dim(1)? as f64;
    Ok((chain.log_weight(x, noise)?.mean(0)? * (-1.0 / d))?)
}

/// An optimiser step after every t, with the rate scaled by t / T.
fn per_step(
    model: &InfusionModel,
    adam: &mut Adam,
    learning_rate: f64,
    x: &Tensor,
    noise: &mut dyn Noise,
) -> Result<f64> {
    let steps = model.config().network.steps;
    let prior = model.prior()?;
    let operator = model.live_operator();
    let chain = model.infusion_chain(&operator, &prior);
    let spike = chain.spike(x)?;
    let mut z = chain.proposal(0, prior.batch(x.dim(0)?)?, spike.clone())?.draw(noise)?.detach();
    let mut sum = 0.0;
    for t in 1..=steps {
        let share = t as f64 / steps as f64;
        let mut drawn_from = None;
        let loss = || {
            let conditional = operator.conditional(&z, Step::at(t - 1))?;
            drawn_from = Some(conditional.detach());
            weighted_log_likelihood(&conditional.log_prob(x)?.unsqueeze(0)?, x.dim(1)?, &[1.0])
        };
        sum += share * descend(model, adam, learning_rate * share, loss)?;
        if let Some(conditional) = drawn_from.filter(|_| t < steps) {
            z = chain.proposal(t, conditional, spike.clone())?.draw(noise)?.detach();
        }
    }
    Ok(sum)
}

/// One step against the gradients of a loss, whose value it returns.
fn descend(
    model: &InfusionModel,
    adam: &mut Adam,
    learning_rate: f64,
    loss: impl FnOnce() -> Result<Tensor>,
) -> Result<f64> {
    let (loss, grads) = value_and_gradients(loss)?;
    let step = usize::try_from(adam.steps()).unwrap_or(usize::MAX);
    let value = host::finite(&loss, "loss", step)?;
    adam.step(model.store(), &grads, learning_rate)?;
    Ok(value)
}

#[cfg(test)]
mod tests;
