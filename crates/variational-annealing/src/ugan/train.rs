//! One update of proposal, critic and generator as a function.

use std::collections::BTreeMap;

use candle_core::Tensor;
use chains_core::{
    Error, Noise, ParamStore, Result,
    autograd::{value_and_gradients, value_and_weighted_gradients},
    host,
    optim::{Adam, WeightAverage, clip_norm},
};

use super::{Proposal, Target, Ugan, UganTraining, ratio_loss, sample_gradient};

/// What training carries from update to update beside the networks: all of it is saved for an exact
/// resume.
pub struct TrainState {
    /// Optimisers of generator, critic and proposal.
    optimisers: [Adam; 3],
    /// The average of the generator's weights.
    pub average: WeightAverage,
    /// Updates done, those of the warm-up included.
    pub iteration: usize,
}

const NAMES: [&str; 3] = ["generator", "critic", "flow"];

impl TrainState {
    /// Before the first update.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn new(model: &Ugan, config: &UganTraining) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            optimisers: [(); 3].map(|()| Adam::new(config.adam)),
            average: WeightAverage::new(config.average, model.generator_store())?,
            iteration: 0,
        })
    }

    /// Is the training over?
    pub fn finished(&self, config: &UganTraining) -> bool {
        self.iteration >= config.warm_up + config.updates
    }

    /// Moments of all optimisers and averages by name, and the optimisers' numbers of steps.
    pub fn tensors(&self) -> (Vec<(String, Tensor)>, [u64; 3]) {
        let steps = self.optimisers.each_ref().map(Adam::steps);
        let named = self.optimisers.iter().zip(NAMES).flat_map(|(adam, who)| {
            adam.tensors().into_iter().map(move |(name, tensor)| (format!("{who}.{name}"), tensor))
        });
        (named.chain(self.average.tensors()).collect(), steps)
    }

    /// Takes what [`TrainState::tensors`] gave.
    ///
    /// # Errors
    /// [`Error::Config`] for a state that does not fit the model.
    pub fn restore(
        (model, config): (&Ugan, &UganTraining),
        (tensors, steps): (&BTreeMap<String, Tensor>, [u64; 3]),
        iteration: usize,
    ) -> Result<Self> {
        let one = |i: usize, store: &ParamStore| {
            let prefix = format!("{}.", NAMES[i]);
            let own = tensors.iter().filter_map(|(name, tensor)| {
                Some((name.strip_prefix(&prefix)?.to_owned(), tensor.clone()))
            });
            Adam::restore(config.adam, steps[i], &own.collect(), store)
        };
        Ok(Self {
            optimisers: [
                one(0, model.generator_store())?,
                one(1, model.critic_store())?,
                one(2, model.flow_store())?,
            ],
            average: WeightAverage::restore(config.average, tensors, model.generator_store())?,
            iteration,
        })
    }

    /// Calls `f` while the generator has its averaged weights.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn averaged<R>(&self, model: &Ugan, f: impl FnOnce() -> Result<R>) -> Result<R> {
        self.average.swap(model.generator_store())?;
        let result = f();
        self.average.swap(model.generator_store())?;
        result
    }
}

/// What an update gives, measured before the steps that it led to; means over samples, nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// The critic's loss, `2 log 2` where it tells nothing apart.
    pub critic_loss: f64,
    /// Minus the proposal's log density of samples of the generator.
    pub proposal_nll: f64,
    /// `c_q (d + log nu) - c_u log u` of samples of the generator; with an optimal critic the annealed
    /// divergence less `log Z` (in the entropy form divided by `beta`). 0 in the warm-up.
    pub objective: f64,
    /// Length of the generator's gradient before it is clipped. 0 in the warm-up.
    pub gradient_norm: f64,
    /// The signed weight; positive in the entropy form is hotter.
    pub lambda: f64,
    /// The inverse temperature.
    pub beta: f64,
}

/// One update: steps of critic and proposal on fresh samples of both sides, then a step of the generator
/// on the last of its samples, with the proposal and the critic held constant.
///
/// Gradients are made for the weights that take the step only. Samples of the proposal are drawn once.
///
/// # Shapes
/// With a context `(b, c)` there is a sample for each of its rows, else `batch_size` of them.
///
/// # Errors
/// [`Error::NonFinite`] if a loss is no number, before anything moves by it.
pub fn update(
    model: &Ugan,
    state: &mut TrainState,
    config: &UganTraining,
    (target, context): (&dyn Target, Option<&Tensor>),
    noise: &mut dyn Noise,
) -> Result<Terms> {
    let iteration = state.iteration;
    let time = iteration.saturating_sub(config.warm_up);
    let lambda = config.annealing.lambda(time, config.updates)?;
    let weights = config.annealing.reg.weights(lambda)?;
    let mut terms = Terms { lambda, beta: weights.beta(), ..Terms::default() };
    let b = context.map_or(Ok(config.batch_size), |context| context.dim(0))?;
    let noisy = (time as f64) < config.input_noise_share * config.updates as f64;
    let blur = if noisy { config.input_noise } else { 0.0 };
    let draw = |noise: &mut dyn Noise| -> Result<[Tensor; 2]> {
        let z = model.generator().latent(b, noise)?;
        let x = model.generator().forward(&z, context)?.detach();
        Ok([z, x])
    };
    let [mut z, mut x] = draw(noise)?;
    let proposal = Proposal::around(model.flow(), config.defence, &x)?;
    let y = proposal.sample(b, context, noise)?;
    for step in 0..config.critic_steps.max(config.flow_steps) {
        if step > 0 {
            [z, x] = draw(noise)?;
        }
        if step < config.critic_steps {
            let points = blurred(&Tensor::cat(&[&x, &y], 0)?, blur, noise)?;
            let twice = context.map(|context| Tensor::cat(&[context, context], 0)).transpose()?;
            terms.critic_loss = critic_step(model, state, config, (&points, twice.as_ref()))?;
        }
        if step < config.flow_steps {
            terms.proposal_nll = flow_step(model, state, config, (&x, context))?;
        }
    }
    if iteration >= config.warm_up {
        let own = model.log_density_and_grad(&proposal, &x, context)?;
        let (value, grad) = sample_gradient(&x, context, own, target, weights)?;
        terms.objective = host::finite(&value.mean_all()?, "generator objective", iteration)?;
        let each = (grad / b.max(1) as f64)?;
        terms.gradient_norm = generator_step(model, state, config, (&z, context), &each)?;
    }
    state.iteration += 1;
    Ok(terms)
}

fn blurred(x: &Tensor, deviation: f64, noise: &mut dyn Noise) -> Result<Tensor> {
    if deviation <= 0.0 {
        return Ok(x.clone());
    }
    Ok((x + (noise.normal(x.shape(), x.dtype(), x.device())? * deviation)?)?)
}

/// A step on samples of the generator and, behind them, as many of the proposal.
fn critic_step(
    model: &Ugan,
    state: &mut TrainState,
    config: &UganTraining,
    (points, context): (&Tensor, Option<&Tensor>),
) -> Result<f64> {
    let b = points.dim(0)? / 2;
    let (loss, grads) = value_and_gradients(|| {
        let d = model.live_critic().logit(points, context)?;
        ratio_loss(&d.narrow(0, 0, b)?, &d.narrow(0, b, b)?)
    })?;
    let loss = host::finite(&loss, "critic loss", state.iteration)?;
    state.optimisers[1].step(model.critic_store(), &grads, config.critic_rate)?;
    Ok(loss)
}

/// A step of maximum likelihood on samples of the generator.
fn flow_step(
    model: &Ugan,
    state: &mut TrainState,
    config: &UganTraining,
    (x, context): (&Tensor, Option<&Tensor>),
) -> Result<f64> {
    let (loss, grads) = value_and_gradients(|| {
        Ok(model.live_flow().log_prob_given(x, context)?.mean_all()?.neg()?)
    })?;
    let loss = host::finite(&loss, "negative log density of the proposal", state.iteration)?;
    state.optimisers[2].step(model.flow_store(), &grads, config.flow_rate)?;
    Ok(loss)
}

/// A step along the gradient `(b, d)` of the objective in the samples.
fn generator_step(
    model: &Ugan,
    state: &mut TrainState,
    config: &UganTraining,
    (z, context): (&Tensor, Option<&Tensor>),
    grad: &Tensor,
) -> Result<f64> {
    let generator = model.live_generator();
    let (_, mut grads) = value_and_weighted_gradients(|| generator.forward(z, context), grad)?;
    let store = model.generator_store();
    let length = clip_norm(store, &mut grads, config.gradient_limit)?;
    if !length.is_finite() {
        return Err(Error::NonFinite { what: "generator gradient", step: state.iteration });
    }
    state.optimisers[0].step(store, &grads, config.generator_rate)?;
    let done = state.iteration + 1 - config.warm_up;
    state.average.update(store, done)?;
    Ok(length)
}
