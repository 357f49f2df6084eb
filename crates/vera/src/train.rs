//! One iteration of the game as a function.

mod state;

use std::cell::RefCell;

use candle_core::{Tensor, backprop::GradStore};
use chains_core::{
    Error, Noise, Result,
    autograd::value_and_gradients,
    density::value_and_grad,
    host,
    nn::BatchNormMoments,
    tangent::{Recorded, Stacked},
};

pub use self::state::TrainState;
use crate::{
    config::{Entropy, TrainConfig},
    entropy::{ScoreEstimate, entropy_surrogate, importance_score, posterior_bound},
    generator::{Drawn, GeneratorNetwork},
    network::{EnergyNetwork, log_density},
    objective::{class_entropy, cross_entropy},
    players::Players,
    posterior_hmc::hmc_score,
};

/// A loss beyond which a training has diverged (that of the published code).
pub const DIVERGED: f64 = 1e8;

/// Labelled examples of an update.
#[derive(Clone, Copy, Debug)]
pub enum Labels<'a> {
    /// There are none.
    None,
    /// The batch itself is labelled: classes `(b,)`, u32.
    Same(&'a Tensor),
    /// Other examples, `(l, ..event)`, with their classes `(l,)`, u32.
    Other(&'a Tensor, &'a Tensor),
}

/// What an iteration gives, measured before the step that it led to; means over examples, nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// The energy's loss, all terms.
    pub energy_loss: f64,
    /// `f` of data.
    pub data: f64,
    /// `f` of samples, before the energy's step.
    pub samples: f64,
    /// `|grad_x f|^2 / 2` at data; 0 without penalty.
    pub penalty: f64,
    /// Cross-entropy of labelled examples.
    pub classification: f64,
    /// Entropy of predictions on the batch.
    pub class_entropy: f64,
    /// `f` of samples after the energy's step, which the generator climbs.
    pub generator: f64,
    /// Mean length of the estimated score; 0 without entropy.
    pub score_norm: f64,
    /// Effective number of proposals; 0 without entropy.
    pub effective_samples: f64,
    /// `sigma` at the end of the iteration.
    pub sigma: f64,
}

/// One iteration in the order of the published code: sample, step of the energy, posterior and step of
/// the generator on the same sample, `sigma` back into its range.
///
/// # Shapes
/// `x`: `(b, ..event)`, unlabelled or, with [`Labels::Same`], labelled.
///
/// # Errors
/// [`Error::NonFinite`] if a loss is no number or beyond [`DIVERGED`], before anything moves by it.
pub fn update<E: EnergyNetwork, G: GeneratorNetwork>(
    players: &Players<E, G>,
    state: &mut TrainState,
    config: &TrainConfig,
    (x, labels): (&Tensor, Labels<'_>),
    noise: &mut dyn Noise,
) -> Result<Terms> {
    let iteration = state.iteration;
    let mut terms = Terms::default();
    let energy_turn = iteration.is_multiple_of(config.energy_every);
    let generator_turn = iteration.is_multiple_of(config.generator_every);
    let b = x.dims().first().copied().unwrap_or(0);
    let mut moments = BatchNormMoments::batch();
    if generator_turn {
        // Read with the loss, so that a device is waited for once.
        let (mut f, mut effective, mut norm) = (None, None, None);
        // The sample keeps its graph while the energy moves.
        let (loss, grads) = value_and_gradients(|| {
            let drawn = players.live_generator().draw(b, BatchNormMoments::batch(), noise)?;
            moments = drawn.moments.clone();
            let fixed = Drawn { x: drawn.x.detach(), ..drawn.clone() };
            if energy_turn {
                energy_step(players, state, config, (x, &fixed.x, labels), &mut terms, noise)?;
            }
            let masks = players.energy().masks(b, noise)?;
            let mean = players.energy().log_density(&drawn.x, &masks)?.mean_all()?;
            f = Some(mean.detach());
            let loss = mean.neg()?;
            if config.entropy_weight <= 0.0 {
                return Ok(loss);
            }
            let estimate = entropy(players, state, config, &fixed, noise)?;
            let c = &estimate.minus_score;
            let norms = c.flatten_from(1)?.sqr()?.sum(1)?.sqrt()?;
            (effective, norm) = (Some(estimate.effective()?), Some(norms.mean_all()?));
            Ok((loss - (entropy_surrogate(c, &drawn.x)? * config.entropy_weight)?)?)
        })?;
        let all = [Some(&loss), f.as_ref(), effective.as_ref(), norm.as_ref()];
        let [loss, f, effective, norm] = host::scalars_or_zero(all)?;
        (terms.generator, terms.effective_samples, terms.score_norm) = (f, effective, norm);
        finite(loss, "generator loss", iteration)?;
        let rate = config.generator_rate.at(iteration);
        state.generator.step(players.store(), &grads, rate)?;
    } else if energy_turn {
        let drawn = players.generator().draw(b, BatchNormMoments::batch(), noise)?;
        moments = drawn.moments.clone();
        let fixed = drawn.x.detach();
        energy_step(players, state, config, (x, &fixed, labels), &mut terms, noise)?;
    }
    players.follow(&moments)?;
    players.clamp_sigma()?;
    terms.sigma = players.generator().sigma()?;
    state.iteration += 1;
    Ok(terms)
}

/// The energy's loss and its gradients, without a step.
///
/// Data, samples and other labelled examples pass the network as one batch, the tangents of the data
/// along their scores behind them: with `s = grad_x f` held constant the penalty `|s|^2 / 2` has the
/// parameter gradient of `s . grad_x f`.
///
/// # Errors
/// Of the network.
pub fn energy_gradients<E: EnergyNetwork>(
    [live, frozen]: [&E; 2],
    config: &TrainConfig,
    (x, samples, labels): (&Tensor, &Tensor, Labels<'_>),
    terms: &mut Terms,
    noise: &mut dyn Noise,
) -> Result<GradStore> {
    let b = x.dims().first().copied().unwrap_or(0);
    let mut points = vec![x.clone(), samples.clone()];
    if let Labels::Other(x, _) = labels {
        points.push(x.clone());
    }
    let points = Tensor::cat(&points, 0)?;
    let masks = live.masks(points.dims()[0], noise)?;
    let score = if config.gradient_penalty > 0.0 {
        let own: Vec<Tensor> =
            masks.iter().map(|mask| mask.narrow(0, 0, b)).collect::<candle_core::Result<_>>()?;
        let before = RefCell::new(None);
        let f = |x: &Tensor| {
            let x = Recorded::new(x);
            let f = frozen.log_density(&x, &own)?.value().clone();
            *before.borrow_mut() = Some(x);
            Ok(f)
        };
        let score = value_and_grad(x, f)?.1;
        before.into_inner().map(|before| (score, before))
    } else {
        None
    };
    let scale = config.gradient_penalty * if config.penalty_half { 1.0 } else { 2.0 };
    let mut seen = Seen::default();
    let (loss, grads) = value_and_gradients(|| {
        let (logits, f, along) = match &score {
            Some((score, before)) => {
                // The forward pass of the score is that of the data here.
                let points = Stacked::new(&points, score)?.knowing(before);
                let logits = live.logits(&points, &masks)?;
                let f = log_density(&logits)?;
                (logits.values()?, f.values()?, Some(f.tangents()?))
            }
            None => {
                let logits = live.logits(&points, &masks)?;
                (logits.clone(), log_density(&logits)?, None)
            }
        };
        let (data, generated) = (f.narrow(0, 0, b)?, f.narrow(0, b, samples.dims()[0])?);
        let (data_mean, sample_mean) = (data.mean_all()?, generated.mean_all()?);
        seen.data = Some(data_mean.detach());
        seen.samples = Some(sample_mean.detach());
        let mut loss = (sample_mean - data_mean)?;
        if let Some(along) = along {
            let along = (along.mean_all()? * scale)?;
            seen.surrogate = Some(along.detach());
            loss = (loss + along)?;
        }
        for (weight, f) in [(config.data_control, &data), (config.sample_control, &generated)] {
            if weight > 0.0 {
                loss = (loss + (f.sqr()?.mean_all()? * weight)?)?;
            }
        }
        with_classes(loss, config, &logits, (b, samples.dims()[0], labels), &mut seen)
    })?;
    if let Some((score, _)) = score {
        seen.square = Some(score.sqr()?.sum_all()?);
    }
    seen.loss = Some(loss);
    seen.read((b, scale), terms)?;
    Ok(grads)
}

/// What is told of an energy's loss, left on the device until all of it is there.
#[derive(Default)]
struct Seen {
    loss: Option<Tensor>,
    data: Option<Tensor>,
    samples: Option<Tensor>,
    class_entropy: Option<Tensor>,
    classification: Option<Tensor>,
    /// What stands in the loss for the penalty.
    surrogate: Option<Tensor>,
    /// Squared length of the scores of all data.
    square: Option<Tensor>,
}

impl Seen {
    /// Reads everything at once; `b` examples, `scale` of the penalty.
    fn read(&self, (b, scale): (usize, f64), terms: &mut Terms) -> Result<()> {
        let Self { loss, data, samples, class_entropy, classification, surrogate, square } = self;
        let all = [loss, data, samples, class_entropy, classification, surrogate, square];
        let [loss, data, samples, class_entropy, classification, surrogate, square] =
            host::scalars_or_zero(all.map(Option::as_ref))?;
        (terms.data, terms.samples) = (data, samples);
        (terms.class_entropy, terms.classification) = (class_entropy, classification);
        terms.penalty = 0.5 * (square / b.max(1) as f64);
        // The loss with the penalty itself.
        terms.energy_loss = loss - (surrogate - terms.penalty * scale);
        Ok(())
    }
}

/// Adds the terms of classification.
fn with_classes(
    loss: Tensor,
    config: &TrainConfig,
    logits: &Tensor,
    (b, samples, labels): (usize, usize, Labels<'_>),
    seen: &mut Seen,
) -> Result<Tensor> {
    let mut loss = loss;
    let (own, classes) = match labels {
        Labels::None => (None, None),
        Labels::Same(y) => (None, Some((logits.narrow(0, 0, b)?, y))),
        Labels::Other(x, y) => {
            let other = logits.narrow(0, b + samples, x.dims()[0])?;
            (Some(logits.narrow(0, 0, b)?), Some((other, y)))
        }
    };
    if let (Some(own), true) = (own, config.class_entropy_weight > 0.0) {
        let entropy = class_entropy(&own)?;
        seen.class_entropy = Some(entropy.detach());
        loss = (loss + (entropy * config.class_entropy_weight)?)?;
    }
    if let (Some((logits, y)), true) = (classes, config.class_weight > 0.0) {
        let cross = cross_entropy(&logits, y)?;
        seen.classification = Some(cross.detach());
        loss = (loss + (cross * config.class_weight)?)?;
    }
    Ok(loss)
}

fn energy_step<E: EnergyNetwork, G: GeneratorNetwork>(
    players: &Players<E, G>,
    state: &mut TrainState,
    config: &TrainConfig,
    batch: (&Tensor, &Tensor, Labels<'_>),
    terms: &mut Terms,
    noise: &mut dyn Noise,
) -> Result<()> {
    let networks = [players.live_energy(), players.energy()];
    let grads = energy_gradients(networks, config, batch, terms, noise)?;
    finite(terms.energy_loss, "energy loss", state.iteration)?;
    let rate = config.energy_rate.at(state.iteration);
    state.energy.step(players.store(), &grads, rate)
}

/// The score of the samples; moves the approximate posterior.
fn entropy<E: EnergyNetwork, G: GeneratorNetwork>(
    players: &Players<E, G>,
    state: &mut TrainState,
    config: &TrainConfig,
    drawn: &Drawn,
    noise: &mut dyn Noise,
) -> Result<ScoreEstimate> {
    let generator = players.generator();
    let moments = || match config.fixed_moments {
        true => drawn.moments.clone().fixed(),
        false => BatchNormMoments::batch(),
    };
    match config.entropy {
        Entropy::ImportanceSampling { samples } => {
            if config.posterior_first {
                posterior_step(players, state, config, drawn, moments(), noise)?;
            }
            let (log_eta, moments_now) = (players.log_eta(), &mut moments());
            let found = importance_score(generator, drawn, log_eta, samples, moments_now, noise)?;
            if !config.posterior_first {
                posterior_step(players, state, config, drawn, moments(), noise)?;
            }
            Ok(found)
        }
        Entropy::Hmc(hmc) => {
            let (moments, size) = (drawn.moments.clone(), players.step_size()?);
            let (found, size) = hmc_score(generator, drawn, &hmc, moments, size, noise)?;
            players.set_step_size(size)?;
            Ok(found)
        }
    }
}

/// One step of the posterior's width along its bound. Generator and noise stay.
///
/// # Errors
/// [`Error::NonFinite`] if the bound is no number.
pub fn posterior_step<E: EnergyNetwork, G: GeneratorNetwork>(
    players: &Players<E, G>,
    state: &mut TrainState,
    config: &TrainConfig,
    drawn: &Drawn,
    mut moments: BatchNormMoments,
    noise: &mut dyn Noise,
) -> Result<()> {
    let (loss, grads) = value_and_gradients(|| {
        let log_eta = players.live_log_eta();
        let bound = posterior_bound(players.generator(), drawn, log_eta, &mut moments, noise)?;
        Ok(bound.mean_all()?.neg()?)
    })?;
    let value = host::scalar(&loss)?;
    if !value.is_finite() {
        return Err(Error::NonFinite { what: "posterior bound", step: state.iteration });
    }
    state.posterior.step(players.store(), &grads, config.posterior_rate)
}

/// Refuses a loss of a training that has diverged.
pub(crate) fn finite(loss: f64, what: &'static str, step: usize) -> Result<()> {
    // Not a number fails the comparison, too.
    if loss.abs() <= DIVERGED {
        return Ok(());
    }
    Err(Error::NonFinite { what, step })
}
