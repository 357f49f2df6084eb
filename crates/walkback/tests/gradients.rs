//! Gradients of the loss of a transition (W9) and of the bound of a walk: differences, who gets one,
//! what is constant.

mod common;

use candle_core::{DType, Device, Shape, Tensor, Var};
use chains_core::{
    HostNoise, Noise, ParamStore, Result, Seed,
    autograd::value_and_gradients,
    chain::{Step, TransitionOperator},
};
use common::{
    assert_close, bernoulli, gaussian, gaussian_start, ladder, networks, norm_variants,
    reconstruction, rows, values, walk_of,
};
use walkback::{
    Heating, ModelConfig, NetworkConfig, Objective, Operator, OperatorNetwork, ReconstructionError,
    Start, Statistics, StepLoss, TrainConfig, TrainState, WalkbackModel, update,
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

/// Asserts that the gradients of a loss in the tensors of `store` are its central differences, and
/// that those which are `concerned` have one.
fn assert_differences(
    store: &ParamStore,
    loss: impl Fn() -> Result<Tensor>,
    concerned: impl Fn(&str) -> bool,
    [h, tolerance]: [f64; 2],
    what: &str,
) -> Result<()> {
    let (_, grads) = value_and_gradients(&loss)?;
    let value = || -> Result<f64> { Ok(values(&loss()?)?[0]) };
    for (name, var) in store.trainable() {
        let grad = grads.get(var.as_tensor()).map(values).transpose()?;
        let Some(grad) = grad else {
            assert!(!concerned(&name), "{name} has no gradient");
            continue;
        };
        let scale = grad.iter().fold(1e-3_f64, |m, g| m.max(g.abs()));
        let stride = (grad.len() / 3).max(1);
        for at in (0..grad.len()).step_by(stride) {
            let difference = {
                moved(&var, at, h)?;
                let up = value()?;
                moved(&var, at, -2.0 * h)?;
                let down = value()?;
                moved(&var, at, h)?;
                (up - down) / (2.0 * h)
            };
            let what = format!("{name}[{at}] of {what}");
            assert_close(grad[at], difference, tolerance * scale.max(1.0), &what);
        }
    }
    Ok(())
}

#[test]
fn gradients_of_every_tensor_are_central_differences() -> Result<()> {
    for config in configs() {
        for error in [ReconstructionError::Squared, ReconstructionError::Absolute] {
            let density = config.operator.has_density();
            if density && error == ReconstructionError::Absolute {
                continue;
            }
            let setting = Setting { error, ..Setting::new(config.clone(), DType::F64)? };
            // Truncation is of order h^2, rounding of order 1e-16 / h.
            let loss = || setting.loss();
            let own = |name: &str| concerned(&config, name);
            let what = format!("{:?}", config.operator);
            assert_differences(&setting.store, loss, own, [1e-6, 1e-6], &what)?;
        }
    }
    Ok(())
}

/// Draws the numbers of single precision in any type.
struct Narrow(HostNoise);

impl Noise for Narrow {
    fn normal(&mut self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        Ok(self.0.normal(shape, DType::F32, device)?.to_dtype(dtype)?)
    }

    fn uniform(&mut self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        Ok(self.0.uniform(shape, DType::F32, device)?.to_dtype(dtype)?)
    }
}

/// The draws of every walk whose bound is differentiated.
fn draws() -> HostNoise {
    Seed::new(9).child("walk").host_noise()
}

/// Minus the mean log weight of one walk from each row, a scalar.
fn bound_loss(
    config: &ModelConfig,
    network: &OperatorNetwork,
    (start, heating): (&Start, Heating),
    x: &Tensor,
) -> Result<Tensor> {
    let operator = Operator::new(network, config.operator, &config.chain, Statistics::Batch);
    let weight = walk_of(&operator, start, heating).log_weight(x, &mut Narrow(draws()))?;
    Ok(weight.mean(0)?.neg()?)
}

#[test]
fn gradients_of_the_bound_are_central_differences_through_all_states() -> Result<()> {
    for config in networks(3).map(gaussian) {
        let setting = Setting::new(config, DType::F64)?;
        let Setting { config, store, network, states, .. } = &setting;
        let start = gaussian_start(0.3, 0.8, config.network.dim(), DType::F64)?;
        // The transition in front has the index of the next one: their gradients add up.
        let heating = Heating { extra: 1, ..ladder(1.5, 3) };
        let loss = || bound_loss(config, network, (&start, heating), &states[0]);
        // Some thousand nats are rounded by 1e-12, so differences by 1e-5. At a larger h two losses
        // have a kink of one of the many activations between them too often.
        let what = format!("{:?}", config.network);
        assert_differences(store, loss, |_| true, [1e-7, 2e-5], &what)?;
    }
    Ok(())
}

/// The network of a model in double precision, in a store of its own.
fn widened(model: &WalkbackModel) -> Result<(ParamStore, OperatorNetwork)> {
    let store = ParamStore::new(Seed::new(0), DType::F64, &Device::Cpu);
    let vb = store.builder().pp("operator");
    let network = OperatorNetwork::new(&model.config().network, vb.clone(), vb)?;
    for (name, var) in store.all() {
        let narrow = model.store().get(&name).expect("a variable of the model");
        var.set(&narrow.as_detached_tensor().to_dtype(DType::F64)?)?;
    }
    Ok((store, network))
}

#[test]
fn an_update_along_the_bound_takes_its_gradient() -> Result<()> {
    let train = TrainConfig { objective: Objective::FullBound, ..TrainConfig::images() };
    for config in networks(3).map(gaussian) {
        let model = common::model(config)?;
        let (store, network) = widened(&model)?;
        let x = rows(&model, 16, 1)?;
        let wide = x.to_dtype(DType::F64)?;
        // A fitted start is a standard normal one before the first walk.
        let start = gaussian_start(0.0, 1.0, model.config().network.dim(), DType::F64)?;
        let parts = (&start, model.heating(0));
        let (value, grads) =
            value_and_gradients(|| bound_loss(model.config(), &network, parts, &wide))?;
        let mut state = TrainState::new(train.adam);
        let walked = update(&model, &mut state, &train, 0.0, &x, &mut draws())?;
        let value = values(&value)?[0];
        assert_close(walked.losses[0], value, 1e-4 * value.abs().max(1.0), "loss");
        // The first moment after one step is the gradient times 1 - beta1.
        let moments = state.adam.tensors();
        for (name, var) in store.trainable() {
            let key = format!("adam.m.{name}");
            let (_, moment) = moments.iter().find(|(found, _)| *found == key).unwrap();
            let want = values(grads.get(var.as_tensor()).unwrap())?;
            let scale = want.iter().fold(1e-3_f64, |m, g| m.max(g.abs()));
            for (got, want) in values(moment)?.iter().zip(&want) {
                assert_close(got / (1.0 - train.adam.beta1), *want, 1e-2 * scale, &name);
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
