//! Gradients of the loss of a transition (W9): differences, who gets one, what is constant.

mod common;

use candle_core::{DType, Device, Tensor, Var};
use chains_core::{
    Noise, ParamStore, Result, Seed,
    autograd::value_and_gradients,
    chain::{Step, TransitionOperator},
};
use common::{
    assert_close, bernoulli, gaussian, networks, norm_variants, reconstruction, rows, values,
};
use walkback::{
    ModelConfig, NetworkConfig, Objective, Operator, OperatorNetwork, ReconstructionError,
    Statistics, StepLoss, TrainConfig,
};

const AT: Step = Step { index: 1, temperature: 1.5 };

/// A network of random parameters in a store, with its operator's loss at fixed states.
struct Setting {
    config: ModelConfig,
    store: ParamStore,
    network: OperatorNetwork,
    states: [Tensor; 2],
    error: ReconstructionError,
}

impl Setting {
    fn new(config: ModelConfig, dtype: DType) -> Result<Self> {
        let store = ParamStore::new(Seed::new(0), dtype, &Device::Cpu);
        let network = OperatorNetwork::new(&config.network, store.builder(), store.builder())?;
        for (name, var) in store.trainable() {
            let mut noise = Seed::new(7).child(&name).host_noise();
            let normal = noise.normal(var.shape(), DType::F32, &Device::Cpu)?.to_dtype(dtype)?;
            let gain = name.contains("norm") && name.ends_with("weight");
            let inputs = if gain { 9.0 } else { (var.elem_count() / var.dims()[0]) as f64 };
            var.set(&normal.affine(1.0 / inputs.sqrt(), if gain { 1.0 } else { 0.0 })?)?;
        }
        let shape = (5, config.network.dim());
        let state = |label: &str| -> Result<Tensor> {
            let mut noise = Seed::new(3).child(label).host_noise();
            Ok(noise
                .uniform(&shape.into(), DType::F32, &Device::Cpu)?
                .round()?
                .affine(0.8, 0.1)?
                .to_dtype(dtype)?)
        };
        let mut states = [state("before")?, state("after")?];
        if matches!(config.operator, walkback::OperatorConfig::Bernoulli) {
            states[0] = states[0].round()?;
        } else {
            // Nowhere at the kink of an absolute error.
            states[0] = (&states[0] + 0.03)?;
        }
        Ok(Self { config, store, network, states, error: ReconstructionError::Squared })
    }

    fn loss(&self) -> Result<Tensor> {
        let ModelConfig { operator, chain, .. } = &self.config;
        let operator = Operator::new(&self.network, *operator, chain, Statistics::Batch).learning();
        let [before, after] = &self.states;
        operator.conditional(after, AT)?.step_loss(before, self.error)
    }

    fn value(&self) -> Result<f64> {
        Ok(values(&self.loss()?)?[0])
    }
}

/// Moves one number of a variable.
fn moved(var: &Var, at: usize, by: f64) -> Result<()> {
    let mut flat = values(var.as_tensor())?;
    flat[at] += by;
    let moved = Tensor::from_vec(flat, var.shape(), &Device::Cpu)?.to_dtype(var.dtype())?;
    Ok(var.set(&moved)?)
}

/// Is the tensor one that the loss at [`AT`] depends on?
fn concerned(config: &ModelConfig, name: &str) -> bool {
    let learns = config.operator.learns_variance();
    let other = |step: usize| name.contains(&format!(".norms.{step}."));
    (learns || !name.starts_with("variance")) && !other(0) && !other(2)
}

fn configs() -> Vec<ModelConfig> {
    let mut all = Vec::new();
    for network in networks(3) {
        all.extend([gaussian, reconstruction, bernoulli].map(|make| make(network.clone())));
        let temp_input = NetworkConfig { temp_input: true, ..network.clone() };
        all.push(gaussian(temp_input));
        all.extend(norm_variants(&network).into_iter().map(gaussian));
    }
    all
}

#[test]
fn gradients_of_every_tensor_are_central_differences() -> Result<()> {
    // Truncation is of order h^2, rounding of order 1e-16 / h.
    let (h, tolerance) = (1e-6, 1e-6);
    for config in configs() {
        for error in [ReconstructionError::Squared, ReconstructionError::Absolute] {
            let density = config.operator.has_density();
            if density && error == ReconstructionError::Absolute {
                continue;
            }
            let setting = Setting { error, ..Setting::new(config.clone(), DType::F64)? };
            let (_, grads) = value_and_gradients(|| setting.loss())?;
            for (name, var) in setting.store.trainable() {
                let grad = grads.get(var.as_tensor()).map(values).transpose()?;
                let Some(grad) = grad else {
                    assert!(!concerned(&config, &name), "{name} has no gradient");
                    continue;
                };
                let scale = grad.iter().fold(1e-3_f64, |m, g| m.max(g.abs()));
                let stride = (grad.len() / 3).max(1);
                for at in (0..grad.len()).step_by(stride) {
                    let difference = {
                        moved(&var, at, h)?;
                        let up = setting.value()?;
                        moved(&var, at, -2.0 * h)?;
                        let down = setting.value()?;
                        moved(&var, at, h)?;
                        (up - down) / (2.0 * h)
                    };
                    let what = format!("{name}[{at}] of {:?}", config.operator);
                    assert_close(grad[at], difference, tolerance * scale.max(1.0), &what);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn single_precision_has_the_gradients_of_double_precision() -> Result<()> {
    for config in configs() {
        let wide = Setting::new(config.clone(), DType::F64)?;
        let narrow = Setting::new(config.clone(), DType::F32)?;
        let (value, wide_grads) = value_and_gradients(|| wide.loss())?;
        let (got, narrow_grads) = value_and_gradients(|| narrow.loss())?;
        let value = values(&value)?[0];
        assert_close(values(&got)?[0], value, 1e-4 * value.abs().max(1.0), "loss");
        for (name, var) in wide.store.trainable() {
            let want = wide_grads.get(var.as_tensor()).map(values).transpose()?;
            let other = narrow.store.get(&name).unwrap();
            let got = narrow_grads.get(other.as_tensor()).map(values).transpose()?;
            assert_eq!(got.is_some(), want.is_some(), "{name}");
            let (Some(got), Some(want)) = (got, want) else { continue };
            let scale = want.iter().fold(0.0_f64, |m, g| m.max(g.abs()));
            for (got, want) in got.iter().zip(want) {
                assert_close(*got, want, 1e-2 * scale.max(1e-3), &name);
            }
        }
    }
    Ok(())
}

#[test]
fn every_tensor_of_the_step_gets_a_gradient_and_those_of_other_steps_none() -> Result<()> {
    for config in configs() {
        let setting = Setting::new(config.clone(), DType::F32)?;
        let (_, grads) = value_and_gradients(|| setting.loss())?;
        for (name, var) in setting.store.trainable() {
            let grad = grads.get(var.as_tensor()).map(values).transpose()?;
            let reached = grad.as_ref().is_some_and(|grad| grad.iter().any(|g| *g != 0.0));
            assert_eq!(reached, concerned(&config, &name), "{name} of {:?}", config.operator);
            // Not even zeros for the others.
            assert_eq!(grad.is_some(), reached, "{name}");
        }
    }
    Ok(())
}

#[test]
fn the_variance_branch_of_a_model_without_densities_is_not_trainable() -> Result<()> {
    for network in networks(3) {
        for (config, learns) in [
            (gaussian(network.clone()), true),
            (reconstruction(network.clone()), false),
            (bernoulli(network.clone()), false),
        ] {
            let model = common::model(config)?;
            let of = |names: Vec<(String, Var)>| {
                names.iter().filter(|(name, _)| name.starts_with("operator.variance")).count()
            };
            assert_eq!(of(model.trainable()) > 0, learns);
            assert!(of(model.store().trainable()) > 0);
            // Even a loss that reads it gives it none.
            let s = rows(&model, 4, 1)?;
            let (_, grads) = value_and_gradients(|| {
                let outputs = walkback::Outputs::Both;
                let raw = model.network().raw(&s, AT, Statistics::Batch, outputs)?;
                let variance = raw.variance.unwrap_or(raw.mean.clone());
                Ok(((raw.mean.sqr()? + variance)?).sum_all()?)
            })?;
            for (name, var) in model.store().trainable() {
                if name.starts_with("operator.variance") && !name.contains(".norms.") {
                    assert_eq!(grads.get(var.as_tensor()).is_some(), learns, "{name}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn nothing_flows_through_the_draw() -> Result<()> {
    let train = TrainConfig::images();
    for network in networks(3) {
        let model = common::model(gaussian(network))?;
        let operator = model.live_operator();
        let x = rows(&model, 6, 1)?;
        // A draw with a graph, and a stored copy of it.
        let drawn = chains_core::dist::Law::differentiable_sample(
            &operator.conditional(&x, AT)?,
            &mut Seed::new(2).host_noise(),
        )?;
        assert!(drawn.track_op());
        let learner = walkback::Learner {
            drawing: &model.operator(Statistics::Batch),
            learning: &operator.learning(),
            store: model.store(),
            heating: model.heating(0),
        };
        let copy = drawn.detach().copy()?;
        let (loss, grads) = learner.loss(&train, [&x, &drawn], AT, 0)?;
        let (want, copied) = learner.loss(&train, [&x, &copy], AT, 0)?;
        assert_eq!(loss.to_bits(), want.to_bits());
        for (name, var) in model.trainable() {
            let [a, b] = [&grads, &copied].map(|grads| grads.get(var.as_tensor()).map(values));
            assert_eq!(a.transpose()?, b.transpose()?, "{name}");
        }
        // The other target is the state itself.
        let own = TrainConfig { objective: Objective::SelfReconstruct, ..train.clone() };
        let (own, _) = learner.loss(&own, [&x, &drawn], AT, 0)?;
        let (same, _) = learner.loss(&train, [&x, &x], AT, 0)?;
        assert_eq!(own.to_bits(), same.to_bits());
        assert_ne!(own.to_bits(), loss.to_bits());
    }
    Ok(())
}
