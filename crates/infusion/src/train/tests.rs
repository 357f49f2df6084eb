//! Oracles of the losses behind [`update`], which the optimiser hides from outside.

use std::collections::BTreeMap;

use candle_core::{DType, Device};
use chains_core::{
    Error, HostNoise, Seed, density::LogDensity, dist::Masks, optim::AdamConfig,
    schedule::InfusionRate,
};

use super::*;
use crate::chain::InfusionChain;
use crate::config::{Architecture, ChainConfig, ModelConfig, NetworkConfig};

type Gradients = BTreeMap<String, Vec<f64>>;

fn models(steps: usize) -> Result<[InfusionModel; 2]> {
    let make = |event, architecture| {
        let chain = ChainConfig::with(InfusionRate::increasing(0.05, 0.1));
        let config =
            ModelConfig { network: NetworkConfig::with(event, architecture, steps), chain };
        let model = InfusionModel::new(config, Seed::new(5), &Device::Cpu)?;
        let d = model.config().network.dim();
        model.set_prior(&vec![0.5; d], &vec![0.05; d])?;
        Ok::<_, Error>(model)
    };
    Ok([
        make([3, 2, 2], Architecture::Mlp { hidden: vec![16, 12] })?,
        make([2, 16, 16], Architecture::Deconv { widths: vec![6, 4] })?,
    ])
}

fn rows(model: &InfusionModel, n: usize) -> Result<Tensor> {
    let shape = (n, model.config().network.dim()).into();
    Seed::new(1).child("data").host_noise().uniform(&shape, DType::F32, &Device::Cpu)
}

fn noise() -> HostNoise {
    Seed::new(0).child("chain").host_noise()
}

fn gradients(model: &InfusionModel, loss: &Tensor) -> Result<Gradients> {
    let grads = loss.backward()?;
    let mut found = BTreeMap::new();
    for (name, var) in model.store().trainable() {
        if let Some(grad) = grads.get(var.as_tensor()) {
            found.insert(name, grad.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?);
        }
    }
    Ok(found)
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// Equal to f32 rounding of sums over batch and positions, tensor by tensor.
#[track_caller]
fn assert_equal(got: &Gradients, want: &Gradients) {
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
    for (name, want) in want {
        let difference: Vec<f64> = got[name].iter().zip(want).map(|(a, b)| a - b).collect();
        let (off, size) = (norm(&difference), norm(want));
        assert!(off <= 2e-5 * size, "{name}: {off} of {size}");
    }
}

/// The states that `stacked_loss` visits with [`noise`], and the chain's own conditionals.
fn states(model: &InfusionModel, x: &Tensor) -> Result<Vec<Tensor>> {
    let (operator, prior) = (model.operator(Statistics::Batch), model.prior()?);
    let (steps, config) = (model.config().network.steps, &model.config().chain);
    let chain = InfusionChain { operator: &operator, prior: &prior, config, steps };
    chain.states(x, &mut noise())
}

#[test]
fn the_states_of_an_update_are_those_of_the_chain() -> Result<()> {
    for model in models(4)? {
        let (x, mut chain) = (rows(&model, 7)?, model.config().chain.clone());
        for masks in [Masks::PerDimension, Masks::PerPixel { channels: 2 }] {
            // Twelve numbers are planes of two as well as of three channels.
            chain.masks = masks;
            let (operator, prior) = (model.operator(Statistics::Batch), model.prior()?);
            let config = &chain;
            let walk = InfusionChain { operator: &operator, prior: &prior, config, steps: 4 };
            let (mut one, mut other) = (noise(), noise());
            let want = walk.states(&x, &mut one)?;
            let (got, passes) = model.infused(&chain, &x, &mut other)?;
            assert_eq!((got.len(), passes.len()), (4, 4));
            for (got, want) in got.iter().zip(&want) {
                assert_eq!(got.to_vec2::<f32>()?, want.to_vec2::<f32>()?, "{masks:?}");
            }
            assert_eq!(one.state(), other.state());
        }
    }
    Ok(())
}

/// `-(1 / (b D)) sum_b ln p_t(target | z_{t-1})` alone; t counts from 1.
fn single(model: &InfusionModel, t: usize, z: &Tensor, target: &Tensor) -> Result<Tensor> {
    let conditional = model.live_operator().conditional(z, Step::at(t - 1))?;
    Ok((conditional.log_prob(target)?.sum_all()? * (-1.0 / target.elem_count() as f64))?)
}

fn add(sum: &mut Gradients, part: Gradients, factor: f64) {
    for (name, part) in part {
        let sum = sum.entry(name).or_insert_with(|| vec![0.0; part.len()]);
        sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += factor * part);
    }
}

fn scalar(loss: &Tensor) -> Result<f64> {
    Ok(f64::from(loss.to_scalar::<f32>()?))
}

#[test]
fn the_denoising_gradient_is_the_weighted_sum_of_single_steps() -> Result<()> {
    for steps in [1, 4] {
        for model in models(steps)? {
            let x = rows(&model, 16)?;
            let loss = stacked_loss(&model, &x, &mut noise(), Targets::Data)?;
            let (mut want, mut value) = (Gradients::new(), 0.0);
            for (t, z) in (1..=steps).zip(&states(&model, &x)?) {
                let part = single(&model, t, z, &x)?;
                let weight = t as f64 / steps as f64;
                value += weight * scalar(&part)?;
                add(&mut want, gradients(&model, &part)?, weight);
            }
            let got = scalar(&loss)?;
            assert!((got - value).abs() < 1e-5 * value.abs().max(1.0), "{got} {value}");
            assert_equal(&gradients(&model, &loss)?, &want);
        }
    }
    Ok(())
}

#[test]
fn the_detached_bound_explains_the_next_state_and_at_last_the_data() -> Result<()> {
    let steps = 3;
    for weighted in [false, true] {
        for model in models(steps)? {
            let x = rows(&model, 16)?;
            let loss = stacked_loss(&model, &x, &mut noise(), Targets::States { weighted })?;
            let states = states(&model, &x)?;
            let (mut want, mut value) = (Gradients::new(), 0.0);
            for t in 1..=steps {
                let target = states.get(t).unwrap_or(&x);
                let part = single(&model, t, &states[t - 1], target)?;
                let weight = if weighted { t as f64 / steps as f64 } else { 1.0 };
                value += weight * scalar(&part)?;
                add(&mut want, gradients(&model, &part)?, weight);
            }
            let got = scalar(&loss)?;
            assert!((got - value).abs() < 1e-5 * value.abs().max(1.0), "{got} {value}");
            assert_equal(&gradients(&model, &loss)?, &want);
        }
    }
    Ok(())
}

#[test]
fn a_step_moves_its_own_normalisation_only() -> Result<()> {
    let steps = 3;
    for model in models(steps)? {
        let x = rows(&model, 16)?;
        for (t, z) in (1..=steps).zip(&states(&model, &x)?) {
            let found = gradients(&model, &single(&model, t, z, &x)?)?;
            for layer in 0..2 {
                for step in 0..steps {
                    for leaf in ["weight", "bias"] {
                        let name = format!("operator.hidden.{layer}.norms.{step}.{leaf}");
                        let moved = found.get(&name).is_some_and(|g| norm(g) > 0.0);
                        assert_eq!(moved, step == t - 1, "t = {t}: {name}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn the_bound_of_training_is_the_mean_log_weight_and_reaches_earlier_steps() -> Result<()> {
    let steps = 3;
    for model in models(steps)? {
        let x = rows(&model, 16)?;
        let loss = lower_bound_loss(&model, &x, &mut noise())?;
        let (operator, prior) = (model.operator(Statistics::Batch), model.prior()?);
        let config = &model.config().chain;
        let chain = InfusionChain { operator: &operator, prior: &prior, config, steps };
        let found = chain.log_weights(&x, &[None], &mut noise())?;
        let want = -found.weights[0].iter().sum::<f64>() / x.elem_count() as f64;
        let got = scalar(&loss)?;
        assert!((got - want).abs() < 1e-5 * want.abs().max(1.0), "{got} {want}");
        let grads = gradients(&model, &loss)?;
        assert_eq!(grads.len(), model.store().trainable().len());
        assert!(grads.values().all(|grad| norm(grad) > 0.0));
    }
    Ok(())
}

/// The slope of `loss` along `direction`, by central differences in steps of `h`.
fn slope(
    model: &InfusionModel,
    direction: &Gradients,
    h: f64,
    loss: &dyn Fn() -> Result<Tensor>,
) -> Result<f64> {
    let shift = |by: f64| -> Result<()> {
        for (name, var) in model.store().trainable() {
            let step: Vec<f32> = direction[&name].iter().map(|d| (by * d) as f32).collect();
            let step = Tensor::from_vec(step, var.shape(), &Device::Cpu)?;
            var.set(&(var.as_tensor() + step)?.detach())?;
        }
        Ok(())
    };
    shift(h)?;
    let up = scalar(&loss()?)?;
    shift(-2.0 * h)?;
    let down = scalar(&loss()?)?;
    shift(h)?;
    Ok((up - down) / (2.0 * h))
}

/// The slope along the gradient is its norm. What central differences in f32 can tell apart is the
/// change between two step sizes, and rounding of the two losses.
fn assert_slope(model: &InfusionModel, loss: &dyn Fn() -> Result<Tensor>) -> Result<()> {
    let value = loss()?;
    let mut direction = gradients(model, &value)?;
    for (name, var) in model.store().trainable() {
        direction.entry(name).or_insert_with(|| vec![0.0; var.elem_count()]);
    }
    let size = norm(&direction.values().flatten().copied().collect::<Vec<_>>());
    let at = |h: f64| Ok::<_, Error>(slope(model, &direction, h / size, loss)? / size);
    let h = 5e-4;
    let (wide, narrow) = (at(2.0 * h)?, at(h)?);
    let rounding = 4.0 * f64::from(f32::EPSILON) * scalar(&value)?.abs().max(1.0) / h;
    let tolerance = 2.0 * (wide - narrow).abs() + rounding;
    assert!(tolerance < 0.03 * size, "{tolerance} is no test of {size}");
    assert!((narrow - size).abs() < tolerance, "{narrow}, expected {size} within {tolerance}");
    Ok(())
}

#[test]
fn gradients_through_network_and_chain_agree_with_slopes() -> Result<()> {
    for model in models(3)? {
        let x = rows(&model, 16)?;
        assert_slope(&model, &|| lower_bound_loss(&model, &x, &mut noise()))?;
        let states = states(&model, &x)?;
        assert_slope(&model, &|| single(&model, 2, &states[1], &x))?;
    }
    Ok(())
}

/// Adam without moments and with a constant far above every gradient: a step is nearly `RATE / eps`
/// gradients long, so that rounding stays rounding.
const NO_MOMENTS: AdamConfig = AdamConfig { beta1: 0.0, beta2: 0.0, eps: 10.0 };
const RATE: f64 = 50.0;

/// Trainable parameters, one behind the other.
fn parameters(model: &InfusionModel) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    for (_, var) in model.store().trainable() {
        all.extend(var.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?);
    }
    Ok(all)
}

/// Section 2.3.2 as printed, one piece after the other: after every t a step at [`RATE`] times
/// `share(t)`; `z_t` is drawn from the conditional before that step, or, if `late`, after it.
/// Returns `sum_t (t/T) loss_t`.
fn per_step_by_hand(
    model: &InfusionModel,
    x: &Tensor,
    share: &dyn Fn(usize) -> f64,
    late: bool,
) -> Result<f64> {
    let steps = model.config().network.steps;
    let (operator, prior) = (model.operator(Statistics::Batch), model.prior()?);
    let chain = model.infusion_chain(&operator, &prior);
    let (mut adam, mut noise, spike) = (Adam::new(NO_MOMENTS), noise(), chain.spike(x)?);
    let mut z = chain.proposal(0, prior.batch(x.dim(0)?)?, spike.clone())?.draw(&mut noise)?;
    let mut sum = 0.0;
    for t in 1..=steps {
        let at = Step::at(t - 1);
        let before = operator.conditional(&z, at)?;
        let loss = single(model, t, &z, x)?;
        sum += t as f64 / steps as f64 * scalar(&loss)?;
        adam.step(model.store(), &loss.backward()?, RATE * share(t))?;
        if t < steps {
            let law = if late { operator.conditional(&z, at)? } else { before };
            z = chain.proposal(t, law, spike.clone())?.draw(&mut noise)?;
        }
    }
    Ok(sum)
}

#[test]
fn updates_after_every_t_scale_their_rate_and_draw_the_next_state_before_they_step() -> Result<()> {
    let steps = 3;
    let objective = Objective::DenoisingPerStep;
    let config = TrainConfig { objective, ..TrainConfig::published() };
    for convolutional in [false, true] {
        let fresh = || -> Result<InfusionModel> {
            let [dense, maps] = models(steps)?;
            Ok(if convolutional { maps } else { dense })
        };
        let model = fresh()?;
        let (x, begun) = (rows(&model, 16)?, parameters(&model)?);
        let mut adam = Adam::new(NO_MOMENTS);
        let loss = update(&model, &mut adam, &config, RATE, &x, &mut noise())?;
        assert_eq!(adam.steps(), 3);
        let ended = parameters(&model)?;
        let distance =
            |a: &[f64], b: &[f64]| norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>());
        let moved = distance(&ended, &begun);
        // The distance from what is done by hand, as a share of the whole way.
        let off = |share: &dyn Fn(usize) -> f64, late: bool| -> Result<(f64, f64)> {
            let other = fresh()?;
            let loss = per_step_by_hand(&other, &x, share, late)?;
            Ok((loss, distance(&parameters(&other)?, &ended) / moved))
        };
        let scaled = |t: usize| t as f64 / steps as f64;
        let (want, same) = off(&scaled, false)?;
        assert!((loss - want).abs() < 1e-4 * want.abs().max(1.0), "{loss} {want}");
        assert!(same < 1e-4, "{same} of the way apart");
        // The comparison tells other rates from these, and a later draw.
        let (_, unscaled) = off(&|_| 1.0, false)?;
        assert!(unscaled > 1e-2, "{unscaled} of the way apart at one rate for all t");
        let (_, early) = off(&|t| scaled(t - 1), false)?;
        assert!(early > 1e-2, "{early} of the way apart at rates one step early");
        if !convolutional {
            let (_, late) = off(&scaled, true)?;
            assert!(late > 1e-3, "{late} of the way apart with states drawn after the step");
        }
    }
    Ok(())
}
