//! Updates: what moves, what resumes, where short trainings end.

use std::path::Path;

use chains_core::{HostNoise, NoiseState, ParamStore};

use super::*;
use crate::Schedule;

fn banana() -> LogDensityFn<impl Fn(&Tensor) -> chains_core::Result<Tensor>> {
    LogDensityFn(|x: &Tensor| {
        let (x1, x2) = (x.narrow(1, 0, 1)?, x.narrow(1, 1, 1)?);
        let bend = (x2.sqr()? * 0.25)?;
        Ok(((&bend + (x1 - &bend)?.sqr()?)?.squeeze(1)? * -0.5)?)
    })
}

fn values(store: &ParamStore) -> Vec<(String, Vec<f32>)> {
    let host = |x: &Tensor| x.copy().unwrap().flatten_all().unwrap().to_vec1().unwrap();
    store.tensors().iter().map(|(name, x)| (name.clone(), host(x))).collect()
}

fn tiny() -> (Ugan, UganTraining) {
    let flow = MafConfig::new(2, 2, &[8, 8]);
    let config =
        UganConfig { generator: vec![8; 2], critic: vec![8; 2], flow, ..UganConfig::small(2) };
    let training = UganTraining { batch_size: 16, warm_up: 2, ..UganTraining::toy(6) };
    (Ugan::new(&config, Seed::new(3), &Device::Cpu).unwrap(), training)
}

#[test]
fn a_warm_up_leaves_the_generator_and_then_everything_moves() {
    let (model, training) = tiny();
    let mut state = TrainState::new(&model, &training).unwrap();
    let mut noise = Seed::new(0).host_noise();
    let begun = values(model.generator_store());
    for _ in 0..2 {
        let terms = update(&model, &mut state, &training, (&banana(), None), &mut noise).unwrap();
        assert!(terms.gradient_norm <= 0.0);
    }
    assert_eq!(values(model.generator_store()), begun);
    let stores = [model.generator_store(), model.critic_store(), model.flow_store()];
    let before = stores.map(values);
    update(&model, &mut state, &training, (&banana(), None), &mut noise).unwrap();
    for (store, before) in stores.into_iter().zip(before) {
        for ((name, old), (_, new)) in before.iter().zip(values(store)) {
            assert_ne!(old, &new, "{name} did not move");
        }
    }
}

#[test]
fn a_resumed_training_has_the_same_bits() {
    let training = |iterations: usize, resume: bool| {
        let (model, training) = tiny();
        let training = training.annealed(Schedule::linear(4.0));
        let mut state = TrainState::new(&model, &training).unwrap();
        let mut noise = Seed::new(0).host_noise();
        for _ in 0..iterations {
            update(&model, &mut state, &training, (&banana(), None), &mut noise).unwrap();
        }
        if !resume {
            return model.tensors();
        }
        let (tensors, steps) = state.tensors();
        let saved = tensors.into_iter().map(|(n, t)| (n, t.copy().unwrap())).collect();
        let weights = model.tensors().into_iter().map(|(n, t)| (n, t.copy().unwrap())).collect();
        let at: NoiseState = noise.state();
        let (again, _) = tiny();
        again.assign(Path::new("memory"), &weights).unwrap();
        let mut state =
            TrainState::restore((&again, &training), (&saved, steps), state.iteration).unwrap();
        let mut noise = HostNoise::restore(&at);
        while !state.finished(&training) {
            update(&again, &mut state, &training, (&banana(), None), &mut noise).unwrap();
        }
        again.tensors()
    };
    let host = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (whole, halves) = (training(8, false), training(4, true));
    for ((name, a), (_, b)) in whole.iter().zip(&halves) {
        assert_eq!(host(a), host(b), "{name}");
    }
}

#[test]
fn an_update_has_the_same_bits_for_any_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            // Wide enough for several tasks.
            let flow = MafConfig::new(5, 2, &[256, 256]);
            let config = UganConfig { flow, ..UganConfig::small(5) };
            let model = Ugan::new(&config, Seed::new(3), &Device::Cpu).unwrap();
            let training = UganTraining { warm_up: 0, ..UganTraining::toy(10) };
            let mut state = TrainState::new(&model, &training).unwrap();
            let mut noise = Seed::new(0).host_noise();
            let target = LogDensityFn(|x: &Tensor| Ok((x.sqr()?.sum(1)? * -0.5)?));
            for _ in 0..2 {
                update(&model, &mut state, &training, (&target, None), &mut noise).unwrap();
            }
            [model.generator_store(), model.critic_store(), model.flow_store()].map(values)
        })
    };
    assert!(run(1) == run(3));
}

#[test]
fn a_saved_model_is_the_same_when_loaded_and_a_foreign_tensor_is_named() {
    let (model, _) = tiny();
    let dir = tempfile::tempdir().unwrap();
    model.save(dir.path()).unwrap();
    let again = Ugan::load(dir.path(), &Device::Cpu).unwrap();
    assert_eq!(again.config(), model.config());
    let x = Tensor::new(&[[0.3_f32, -1.0]], &Device::Cpu).unwrap();
    let at = |model: &Ugan| {
        let proposal = Proposal::around(model.flow(), None, &x).unwrap();
        let (value, grad) = model.log_density_and_grad(&proposal, &x, None).unwrap();
        (value.to_vec1::<f32>().unwrap(), grad.to_vec2::<f32>().unwrap())
    };
    assert_eq!(at(&again), at(&model));
    let mut tensors: std::collections::BTreeMap<_, _> = model.tensors().into_iter().collect();
    tensors.insert("stranger".into(), x.clone());
    let error = again.assign(Path::new("file"), &tensors).unwrap_err().to_string();
    assert!(error.contains("stranger"), "{error}");
}

#[test]
fn an_average_is_used_for_a_while_only() {
    let (model, training) = tiny();
    let mut state = TrainState::new(&model, &training).unwrap();
    let mut noise = Seed::new(0).host_noise();
    while !state.finished(&training) {
        update(&model, &mut state, &training, (&banana(), None), &mut noise).unwrap();
    }
    let own = values(model.generator_store());
    let inside = state.averaged(&model, || Ok(values(model.generator_store()))).unwrap();
    assert_ne!(inside, own);
    assert_eq!(values(model.generator_store()), own);
}

#[test]
fn a_loss_that_is_no_number_stops_before_anything_moves() {
    let (model, training) = tiny();
    let training = UganTraining { warm_up: 0, ..training };
    let mut state = TrainState::new(&model, &training).unwrap();
    let mut noise = Seed::new(0).host_noise();
    let broken = LogDensityFn(|x: &Tensor| Ok((x.sum(1)? * f64::NAN)?));
    let begun = values(model.generator_store());
    let error = update(&model, &mut state, &training, (&broken, None), &mut noise).unwrap_err();
    assert!(error.is_recoverable(), "{error}");
    assert_eq!(values(model.generator_store()), begun);
}

/// Means of the columns of `(n, d)`.
fn moments(x: &Tensor) -> (Vec<f64>, Vec<f64>) {
    let x = x.to_dtype(DType::F64).unwrap();
    let mean = x.mean(0).unwrap();
    let variance = x.broadcast_sub(&mean).unwrap().sqr().unwrap().mean(0).unwrap();
    (mean.to_vec1().unwrap(), variance.to_vec1().unwrap())
}

#[test]
fn the_banana_is_learned_and_its_constant_found() {
    let seed = Seed::new(0);
    let model = Ugan::new(&UganConfig::small(2), seed, &Device::Cpu).unwrap();
    let training = UganTraining::toy(1800).annealed(Schedule::linear(1.0));
    let mut state = TrainState::new(&model, &training).unwrap();
    let mut noise = seed.child("train").host_noise();
    while !state.finished(&training) {
        update(&model, &mut state, &training, (&banana(), None), &mut noise).unwrap();
    }
    let mut noise = seed.child("test").host_noise();
    let x = state.averaged(&model, || model.generator().sample(None, 4000, &mut noise)).unwrap();
    let (mean, variance) = moments(&x);
    for (got, want) in mean.iter().zip([1.0, 0.0]) {
        assert!((got - want).abs() < 0.2, "mean {mean:?}");
    }
    for (got, want) in variance.iter().zip([3.0, 4.0]) {
        assert!((got / want - 1.0).abs() < 0.25, "variance {variance:?}");
    }
    let found = log_partition(model.flow(), &banana(), 4000, &mut noise).unwrap();
    assert!((found.log_z - 2.531_024).abs() < 0.05, "{found:?}");
    assert!(found.effective_share > 0.3, "{found:?}");
}

/// Two wings of a ring of radius 2.
fn kidney() -> LogDensityFn<impl Fn(&Tensor) -> chains_core::Result<Tensor>> {
    LogDensityFn(|x: &Tensor| {
        let ring = ((x.sqr()?.sum(1)?.sqrt()? - 2.0)? / 0.4)?.sqr()?;
        let side = x.narrow(1, 0, 1)?.squeeze(1)?;
        let wing =
            |at: f64| -> candle_core::Result<Tensor> { ((&side - at)? / 0.6)?.sqr()? * -0.5 };
        let wings = chains_core::ops::log_add_exp(&wing(2.0)?, &wing(-2.0)?)?;
        Ok((wings - (ring * 0.5)?)?)
    })
}

#[test]
fn both_wings_of_the_kidney_are_learned_from_the_heat() {
    let seed = Seed::new(0);
    let model = Ugan::new(&UganConfig::small(2), seed, &Device::Cpu).unwrap();
    let training = UganTraining::toy(3000).annealed(Schedule::linear(4.0));
    let mut state = TrainState::new(&model, &training).unwrap();
    let mut noise = seed.child("train").host_noise();
    while !state.finished(&training) {
        update(&model, &mut state, &training, (&kidney(), None), &mut noise).unwrap();
    }
    let mut noise = seed.child("test").host_noise();
    let x = state.averaged(&model, || model.generator().sample(None, 2000, &mut noise)).unwrap();
    let first = chains_core::host::values(&x.narrow(1, 0, 1).unwrap()).unwrap();
    let share = first.iter().filter(|x| **x > 0.0).count() as f64 / 2000.0;
    assert!((0.42..=0.58).contains(&share), "{share}");
    let found = log_partition(model.flow(), &kidney(), 4000, &mut noise).unwrap();
    assert!((found.log_z - 1.877_502).abs() < 0.05, "{found:?}");
    assert!(found.effective_share > 0.3, "{found:?}");
}

/// `N(x; s, 0.25)` for a context `s`, with a factor.
struct Shifted;

impl Target for Shifted {
    fn log_density(&self, x: &Tensor, context: Option<&Tensor>) -> chains_core::Result<Tensor> {
        let centre = context.expect("a context");
        Ok(((x - centre)?.sqr()?.sum(1)? * -2.0)?)
    }
}

#[test]
fn a_conditional_generator_follows_its_context() {
    let seed = Seed::new(0);
    let narrow = vec![32; 2];
    let flow = MafConfig { context: 1, ..MafConfig::new(1, 2, &[32, 32]) };
    let config =
        UganConfig { generator: narrow.clone(), critic: narrow, flow, ..UganConfig::small(1) };
    let model = Ugan::new(&config, seed, &Device::Cpu).unwrap();
    let training = UganTraining { warm_up: 50, ..UganTraining::toy(1200) };
    let mut state = TrainState::new(&model, &training).unwrap();
    let mut noise = seed.child("train").host_noise();
    while !state.finished(&training) {
        let s = noise.uniform(&(128, 1).into(), DType::F32, &Device::Cpu).unwrap();
        let s = s.affine(4.0, -2.0).unwrap();
        update(&model, &mut state, &training, (&Shifted, Some(&s)), &mut noise).unwrap();
    }
    for centre in [-1.0, 1.0] {
        let s = Tensor::full(centre as f32, (2000, 1), &Device::Cpu).unwrap();
        let x = model.generator().sample(Some(&s), 2000, &mut noise).unwrap();
        let (mean, variance) = moments(&x);
        assert!((mean[0] - centre).abs() < 0.15, "{centre}: mean {mean:?}");
        assert!((variance[0] / 0.25 - 1.0).abs() < 0.35, "{centre}: variance {variance:?}");
    }
}
