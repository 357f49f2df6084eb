//! One walk as a function: heat, teach the operator to undo each step, follow the moments of the end.

use candle_core::{DType, Device, Tensor, backprop::GradStore};
use chains_core::{
    Error, Noise, ParamStore, Result,
    autograd::{add_gradients, value_and_gradients},
    chain::{Schedule, Step, TransitionOperator},
    density::Sample,
    dist::Moments,
    host,
    optim::{Adam, AdamConfig},
    schedule::Heating,
};

use crate::{
    chain::WalkbackChain,
    config::{Objective, StartConfig, TrainConfig},
    model::WalkbackModel,
    network::Statistics,
    objective::StepLoss,
};

/// What training carries from update to update beside the model: all of it is saved for an exact
/// resume.
pub struct TrainState {
    /// The optimiser.
    pub adam: Adam,
    /// Moments of the ends of the walks of this epoch, which a fitted start takes after every walk.
    pub ends: Moments,
}

impl TrainState {
    /// Before the first update.
    pub fn new(adam: AdamConfig) -> Self {
        Self { adam: Adam::new(adam), ends: Moments::default() }
    }

    /// Forgets the ends of the last epoch, whose walks another operator made.
    pub fn begin_epoch(&mut self) {
        self.ends = Moments::default();
    }
}

/// What one walk gives.
#[derive(Clone, Debug)]
pub struct Walked {
    /// The loss of every transition in its order, before the update that it led to; nats where the
    /// operator has a density, else reconstruction errors; per example, summed over dimensions.
    pub losses: Vec<f64>,
    /// Minus their sum and, where there is such a density, plus the mean of `ln p*(s_K)`. A monitor:
    /// without `-ln q` it is no bound. With [`Objective::FullBound`] it is the bound.
    pub score: f64,
    /// `s_K`, detached, `(b, D)`.
    pub end: Tensor,
}

/// An operator that is taught: the same one twice, and where its parameters are.
pub struct Learner<'a, O> {
    /// Draws the walk; no graph.
    pub drawing: &'a O,
    /// Gives the laws that the loss is taken of, with a graph.
    pub learning: &'a O,
    /// The parameters.
    pub store: &'a ParamStore,
    /// The transitions of a walk.
    pub heating: Heating,
}

impl<O> Learner<'_, O>
where
    O: TransitionOperator,
    O::Dist: StepLoss,
{
    /// The loss of giving `before` from `after`, both constants, and its gradients. With
    /// [`Objective::SelfReconstruct`] `before` is given from itself.
    ///
    /// # Errors
    /// [`Error::NonFinite`] at `step` if the loss is no number, [`Error::Config`] for
    /// [`Objective::FullBound`], which has no loss of one transition, and those of the operator.
    pub fn loss(
        &self,
        config: &TrainConfig,
        [before, after]: [&Tensor; 2],
        at: Step,
        step: u64,
    ) -> Result<(f64, GradStore)> {
        let (loss, grads) = self.unread(config, [before, after], at)?;
        Ok((finite(&loss, step)?, grads))
    }

    /// [`Learner::loss`] left on the device.
    fn unread(
        &self,
        config: &TrainConfig,
        [before, after]: [&Tensor; 2],
        at: Step,
    ) -> Result<(Tensor, GradStore)> {
        let input = match config.objective {
            Objective::Walkback => after,
            Objective::SelfReconstruct => before,
            Objective::FullBound => {
                let reason = "the bound is of whole walks, not of transitions; use `update`";
                return Err(Error::Config { field: "objective", reason: reason.into() });
            }
        };
        // Constants, whatever they come from: no gradient flows through time.
        let (input, target) = (input.detach(), before.detach());
        value_and_gradients(|| {
            self.learning.conditional(&input, at)?.step_loss(&target, config.error)
        })
    }

    /// Teaches the operator one transition: [`Learner::loss`] and a step against its gradients.
    ///
    /// # Errors
    /// As [`Learner::loss`]; the parameters are then unchanged.
    pub fn step(
        &self,
        adam: &mut Adam,
        config: &TrainConfig,
        learning_rate: f64,
        states: [&Tensor; 2],
        at: Step,
    ) -> Result<f64> {
        let (loss, grads) = self.loss(config, states, at, adam.steps())?;
        adam.step_without_nan(self.store, &grads, learning_rate)?;
        Ok(loss)
    }

    /// Walks away from the rows of `x` and teaches the operator to undo every step.
    ///
    /// A transition is drawn, then learnt, and the drawn state kept. [`Walked::score`] is without
    /// the start.
    ///
    /// # Errors
    /// As [`Learner::loss`]; updates made before in this walk stay. An accelerator is waited for once,
    /// so that the error comes at the end of the walk there and all its updates stay.
    pub fn walk(
        &self,
        adam: &mut Adam,
        config: &TrainConfig,
        learning_rate: f64,
        x: &Tensor,
        noise: &mut dyn Noise,
    ) -> Result<Walked> {
        let (len, group) = (self.heating.len().unwrap_or(0), config.updates.group());
        let mut losses = Vec::with_capacity(len);
        let mut gathered: Option<GradStore> = None;
        let mut before = x.detach();
        for index in 0..len {
            let at = self.heating.at(index);
            let after = self.drawing.conditional(&before, at)?.sample(1, noise)?.detach();
            let (loss, grads) = self.unread(config, [&before, &after], at)?;
            if loss.device().is_cpu() {
                finite(&loss, adam.steps())?;
            }
            losses.push((loss.detach(), adam.steps()));
            let sum = match gathered.take() {
                None => grads,
                Some(mut sum) => {
                    add_gradients(&mut sum, &grads)?;
                    sum
                }
            };
            if (index + 1).is_multiple_of(group) || index + 1 == len {
                adam.step_without_nan(self.store, &sum, learning_rate)?;
            } else {
                gathered = Some(sum);
            }
            before = after;
        }
        let found = host::scalars(&losses.iter().map(|(loss, _)| loss).collect::<Vec<_>>())?;
        if let Some(lost) = found.iter().position(|loss| !loss.is_finite()) {
            return Err(not_finite(losses[lost].1));
        }
        Ok(Walked { score: -found.iter().sum::<f64>(), losses: found, end: before })
    }
}

/// One walk from the rows of a batch with its updates.
///
/// # Shapes
/// `x`: `(b, D)`; dequantised, if bounds are to be reported.
///
/// # Errors
/// [`Error::NonFinite`] if a loss is not a number; updates made before in this walk stay, on an
/// accelerator all of them.
/// [`Error::Config`] for [`Objective::FullBound`] on an operator without a density.
pub fn update(
    model: &WalkbackModel,
    state: &mut TrainState,
    config: &TrainConfig,
    learning_rate: f64,
    x: &Tensor,
    noise: &mut dyn Noise,
) -> Result<Walked> {
    let extra = further_steps(config.extra_steps, noise)?;
    let heating = model.heating(extra);
    let walked = if config.objective == Objective::FullBound {
        full_bound(model, &mut state.adam, learning_rate, heating, x, noise)?
    } else {
        let learner = Learner {
            drawing: &model.operator(Statistics::Batch),
            learning: &model.live_operator().learning(),
            store: model.store(),
            heating,
        };
        let mut walked = learner.walk(&mut state.adam, config, learning_rate, x, noise)?;
        let start = model.start()?;
        if start.has_density() && model.config().operator.has_density() {
            walked.score += mean(&host::values(&start.log_prob(&walked.end)?)?);
        }
        walked
    };
    if let StartConfig::Fitted { .. } = model.config().chain.start {
        state.ends.push(&walked.end)?;
        model.set_start(&state.ends.mean(), &state.ends.variance())?;
    }
    Ok(walked)
}

/// One step along the gradient of the bound, through all states of the walk.
fn full_bound(
    model: &WalkbackModel,
    adam: &mut Adam,
    learning_rate: f64,
    heating: Heating,
    x: &Tensor,
    noise: &mut dyn Noise,
) -> Result<Walked> {
    let (operator, start) = (model.live_operator(), model.start()?);
    let chain = WalkbackChain { heat: &operator, cool: &operator, start: &start, heating };
    let mut end = None;
    let (loss, grads) = value_and_gradients(|| {
        let (weight, last) = chain.log_weight_and_end(x, noise)?;
        end = Some(last.detach().copy()?);
        Ok(weight.mean(0)?.neg()?)
    })?;
    let loss = finite(&loss, adam.steps())?;
    adam.step_without_nan(model.store(), &grads, learning_rate)?;
    Ok(Walked { losses: vec![loss], score: -loss, end: end.unwrap_or_else(|| x.detach()) })
}

/// The walkback score of rows without an update, for validation: minus the losses of a walk of K
/// transitions and, where there is such a density, plus the mean of `ln p*(s_K)`.
///
/// The losses are of the earlier state given the later one, whatever `config.objective` is. With
/// [`Objective::Walkback`] it is the [`Walked::score`] of a walk that does not learn. `statistics`: those
/// of the walk away, then those of the steps back.
///
/// # Errors
/// Of the operator.
pub fn score(
    model: &WalkbackModel,
    config: &TrainConfig,
    statistics: [Statistics; 2],
    x: &Tensor,
    noise: &mut dyn Noise,
) -> Result<f64> {
    let [heat, cool] = statistics.map(|statistics| model.operator(statistics));
    let (cool, heating) = (cool.learning(), model.heating(0));
    let (mut before, mut score) = (x.detach(), 0.0);
    for index in 0..heating.len().unwrap_or(0) {
        let at = heating.at(index);
        let after = heat.conditional(&before, at)?.sample(1, noise)?.detach();
        let loss = cool.conditional(&after, at)?.step_loss(&before, config.error)?;
        score -= mean(&host::values(&loss)?);
        before = after;
    }
    let start = model.start()?;
    if start.has_density() && model.config().operator.has_density() {
        score += mean(&host::values(&start.log_prob(&before)?)?);
    }
    Ok(score)
}

/// How many transitions at temperature 1 a walk begins with: uniform from 0 to `most`.
fn further_steps(most: usize, noise: &mut dyn Noise) -> Result<usize> {
    if most == 0 {
        return Ok(0);
    }
    let u = host::values(&noise.uniform(&1.into(), DType::F32, &Device::Cpu)?)?;
    let n = u.first().map_or(0.0, |u| u * (most as f64 + 1.0));
    Ok((n as usize).min(most))
}

/// The value of a loss on the host, if it is a finite number.
fn finite(loss: &Tensor, step: u64) -> Result<f64> {
    let value = mean(&host::values(loss)?);
    if value.is_finite() {
        return Ok(value);
    }
    Err(not_finite(step))
}

fn not_finite(step: u64) -> Error {
    Error::NonFinite { what: "loss", step: usize::try_from(step).unwrap_or(usize::MAX) }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
