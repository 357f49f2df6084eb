//! Updates of models: what they move, when they refuse, what they remember.

mod common;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Error, ParamStore, Result, Seed,
    chain::{Step, TransitionOperator},
    dist::DiagGaussian,
    optim::{Adam, AdamConfig},
    train::{Parts, StateDir},
};
use common::{
    assert_close, assert_same_bits, bernoulli, gaussian, model_bits, networks, reconstruction,
    rows, values,
};
use walkback::{
    Learner, ModelConfig, Moments, NetworkConfig, Objective, ReconstructionError, Statistics,
    TrainConfig, TrainState, Updates, WalkbackModel, score, update,
};

const K: usize = 3;

fn all() -> Vec<ModelConfig> {
    let kinds = |network: NetworkConfig| {
        [gaussian(network.clone()), reconstruction(network.clone()), bernoulli(network)]
    };
    networks(K).into_iter().flat_map(kinds).collect()
}

/// Rows that the operator can have made: bits for one on bits.
fn examples(model: &WalkbackModel, n: usize, seed: u64) -> Result<Tensor> {
    let x = rows(model, n, seed)?;
    let bits = matches!(model.config().operator, walkback::OperatorConfig::Bernoulli);
    // Bits of a row agree more often than not.
    let level = x.mean_keepdim(1)?;
    Ok(if bits { (x * 0.2)?.broadcast_add(&(level * 0.8)?)?.round()? } else { x })
}

fn state() -> TrainState {
    TrainState::new(AdamConfig::standard())
}

/// The objectives that a model can follow.
fn trainings(config: &ModelConfig) -> Vec<TrainConfig> {
    let images = TrainConfig::images;
    let mut all = vec![
        images(),
        TrainConfig { updates: Updates::Accumulated, ..images() },
        TrainConfig { objective: Objective::SelfReconstruct, ..images() },
    ];
    if config.operator.learns_variance() {
        all.push(TrainConfig { objective: Objective::FullBound, ..images() });
    } else {
        all.push(TrainConfig { error: ReconstructionError::Absolute, ..images() });
    }
    all
}

#[test]
fn every_trainable_tensor_receives_a_gradient_and_nothing_else_moves() -> Result<()> {
    for config in all() {
        for train in trainings(&config) {
            let model = common::model(config.clone())?;
            let before = model_bits(&model)?;
            let x = examples(&model, 16, 1)?;
            let (mut state, mut noise) = (state(), Seed::new(0).host_noise());
            let walked = update(&model, &mut state, &train, 1e-3, &x, &mut noise)?;
            assert!(walked.score.is_finite() && walked.losses.iter().all(|l| l.is_finite()));
            let moments = state.adam.tensors();
            let trainable = model.trainable();
            for (name, _) in &trainable {
                let key = format!("adam.m.{name}");
                let moment = moments.iter().find(|(found, _)| *found == key);
                let Some((_, moment)) = moment else { panic!("{train:?}: no {name}") };
                let moved = values(moment)?.iter().any(|m| *m != 0.0);
                assert!(moved, "{train:?}: {name} has a gradient of zero");
            }
            assert_eq!(moments.len(), 2 * trainable.len());
            let fitted = matches!(config.chain.start, walkback::StartConfig::Fitted { .. });
            for ((name, before), (_, after)) in before.iter().zip(model_bits(&model)?) {
                let learns = trainable.iter().any(|(found, _)| found == name);
                let start = fitted && name.starts_with("start.");
                assert_eq!(*before != after, learns || start, "{train:?}: {name}");
            }
        }
    }
    Ok(())
}

#[test]
fn an_update_has_as_many_optimiser_steps_as_asked_for() -> Result<()> {
    for (updates, want) in
        [(Updates::Online, K), (Updates::Accumulated, 1), (Updates::Every { steps: 2 }, 2)]
    {
        let model = common::model(gaussian(networks(K)[1].clone()))?;
        let train = TrainConfig { updates, ..TrainConfig::images() };
        let (mut state, mut noise) = (state(), Seed::new(0).host_noise());
        let x = rows(&model, 8, 1)?;
        let walked = update(&model, &mut state, &train, 1e-3, &x, &mut noise)?;
        assert_eq!((state.adam.steps(), walked.losses.len()), (want as u64, K));
        assert_eq!(walked.end.dims(), x.dims());
        assert!(!walked.end.track_op());
    }
    Ok(())
}

#[test]
fn a_batch_that_is_not_a_number_is_refused_and_changes_nothing() -> Result<()> {
    for config in all() {
        for train in trainings(&config) {
            let model = common::model(config.clone())?;
            let mut bad = values(&examples(&model, 8, 1)?)?;
            bad[17] = f64::NAN;
            let bad: Vec<f32> = bad.iter().map(|v| *v as f32).collect();
            let bad = Tensor::from_vec(bad, (8, model.config().network.dim()), &Device::Cpu)?;
            let before = model_bits(&model)?;
            let (mut state, mut noise) = (state(), Seed::new(0).host_noise());
            let error = update(&model, &mut state, &train, 1e-3, &bad, &mut noise);
            let error = error.err().unwrap_or_else(|| panic!("{train:?} took NaN"));
            assert!(matches!(error, Error::NonFinite { step: 0, .. }), "{error}");
            assert!(error.is_recoverable());
            assert_same_bits(&model_bits(&model)?, &before);
            assert!(state.adam.steps() == 0 && state.ends == Moments::default());
        }
    }
    Ok(())
}

/// Mean `a s + 0 sqrt(c)` with c at zero: the value is a number, the gradient of c is none.
struct Kinked {
    store: ParamStore,
}

impl Kinked {
    fn new() -> Result<Self> {
        let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
        for (name, value) in [("a", 0.5), ("c", 0.0)] {
            store.builder().get_with_hints((1, 1), name, candle_nn::Init::Const(value))?;
        }
        Ok(Self { store })
    }

    fn get(&self, name: &str) -> Result<f64> {
        Ok(values(self.store.get(name).expect("a variable").as_tensor())?[0])
    }
}

impl TransitionOperator for Kinked {
    type Dist = DiagGaussian;

    fn conditional(&self, s: &Tensor, _: Step) -> Result<DiagGaussian> {
        let [a, c] = ["a", "c"].map(|name| self.store.builder().get((1, 1), name));
        let (a, c) = (a?, c?);
        let nothing = c.sqrt()?.mul(&c.zeros_like()?)?;
        let mean = s.broadcast_mul(&a)?.broadcast_add(&nothing)?;
        DiagGaussian::new(mean, s.ones_like()?)
    }
}

#[test]
fn gradients_that_are_not_a_number_count_as_zero() -> Result<()> {
    let operator = Kinked::new()?;
    let x = Tensor::new(&[[1.0_f32], [2.0]], &Device::Cpu)?;
    let mut adam = Adam::new(AdamConfig::standard());
    let learner = Learner {
        drawing: &operator,
        learning: &operator,
        store: &operator.store,
        heating: common::ladder(2.0, 2),
    };
    let train = TrainConfig::images();
    let (_, grads) = learner.loss(&train, [&x, &x], Step::at(0), 0)?;
    let c = operator.store.get("c").unwrap();
    assert!(values(grads.get(c.as_tensor()).unwrap())?[0].is_nan());
    learner.walk(&mut adam, &train, 1e-2, &x, &mut Seed::new(1).host_noise())?;
    assert!(operator.get("c")?.abs() <= 0.0, "c moved");
    let a = operator.get("a")?;
    assert!(a.is_finite() && (a - 0.5).abs() > 1e-3, "{a}");
    Ok(())
}

#[test]
fn the_number_of_threads_does_not_change_an_update() -> Result<()> {
    // Wide enough for every kernel to split its work.
    let mut wide = networks(K).to_vec();
    wide.push(NetworkConfig::normalised_mlp([1, 20, 20], vec![300, 300], K));
    for network in wide {
        for config in [gaussian(network.clone()), reconstruction(network.clone())] {
            let run = |threads: usize| -> Result<_> {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let pool = pool.map_err(candle_core::Error::wrap)?;
                pool.install(|| {
                    let model = common::model(config.clone())?;
                    let x = rows(&model, 96, 1)?;
                    let (mut state, mut noise) = (state(), Seed::new(0).host_noise());
                    let train = TrainConfig::images();
                    let walked = update(&model, &mut state, &train, 1e-3, &x, &mut noise)?;
                    let score = walked.score.to_bits();
                    Ok((score, model_bits(&model)?))
                })
            };
            let ((score, one), (again, three)) = (run(1)?, run(3)?);
            assert_eq!(score, again);
            assert_same_bits(&one, &three);
        }
    }
    Ok(())
}

#[test]
fn training_lowers_the_losses() -> Result<()> {
    for config in all() {
        for train in trainings(&config) {
            let model = common::model(config.clone())?;
            let x = examples(&model, 64, 1)?;
            let (mut state, mut noise) = (state(), Seed::new(0).host_noise());
            let mut losses = Vec::new();
            for _ in 0..80 {
                let walked = update(&model, &mut state, &train, 1e-2, &x, &mut noise)?;
                losses.push(walked.losses.iter().sum::<f64>());
            }
            let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
            let (first, last) = (mean(&losses[..10]), mean(&losses[70..]));
            assert!(last < first - 0.01 * first.abs(), "{config:?} {train:?}: {first} {last}");
        }
    }
    Ok(())
}

#[test]
fn walks_begin_with_steps_at_temperature_one_as_often_as_asked_for() -> Result<()> {
    let model = common::model(gaussian(networks(K)[0].clone()))?;
    let x = rows(&model, 4, 1)?;
    let train = TrainConfig { extra_steps: 3, ..TrainConfig::images() };
    let (mut state, mut noise) = (state(), Seed::new(0).host_noise());
    let mut seen = [0_usize; 4];
    for _ in 0..400 {
        let walked = update(&model, &mut state, &train, 0.0, &x, &mut noise)?;
        seen[walked.losses.len() - K] += 1;
    }
    // Binomial with mean 100 and standard deviation 8.7.
    assert!(seen.iter().all(|n| (57..=143).contains(n)), "{seen:?}");
    // Without the option nothing is drawn for it.
    let mut with = Seed::new(1).host_noise();
    let mut count = |extra_steps| -> Result<u64> {
        let train = TrainConfig { extra_steps, ..TrainConfig::images() };
        let before = with.state().draws;
        let walked = update(&model, &mut state, &train, 0.0, &x, &mut with)?;
        Ok(with.state().draws - before - walked.losses.len() as u64)
    };
    assert_eq!((count(0)?, count(2)?), (0, 1));
    Ok(())
}

#[test]
fn a_fitted_start_follows_the_ends_of_the_walks_of_an_epoch() -> Result<()> {
    let model = common::model(gaussian(networks(K)[1].clone()))?;
    let (mut state, mut noise) = (state(), Seed::new(0).host_noise());
    let train = TrainConfig::images();
    let mut moments = Moments::default();
    let check = |moments: &Moments| -> Result<()> {
        let walkback::Start::Gaussian(start) = model.start()? else { panic!("no Gaussian") };
        let law = start.batch(1)?;
        for (got, want) in values(law.mean())?.iter().zip(moments.mean()) {
            assert_close(*got, want, 1e-6, "mean");
        }
        for (got, want) in values(law.variance())?.iter().zip(moments.variance()) {
            assert_close(*got, want.max(1e-6), 1e-6, "variance");
        }
        Ok(())
    };
    for epoch in 0..2 {
        state.begin_epoch();
        moments = if epoch == 0 { moments } else { Moments::default() };
        for batch in 0..3 {
            let x = rows(&model, 20, batch)?;
            let walked = update(&model, &mut state, &train, 1e-3, &x, &mut noise)?;
            moments.push(&walked.end)?;
            assert_eq!(state.ends, moments);
            check(&moments)?;
        }
    }
    Ok(())
}

#[test]
fn the_score_at_rest_is_that_of_a_walk_that_does_not_learn() -> Result<()> {
    for config in all() {
        let model = common::model(config.clone())?;
        let train = TrainConfig::images();
        let x = examples(&model, 16, 1)?;
        let noise = || Seed::new(4).host_noise();
        let both = [Statistics::Batch; 2];
        let got = score(&model, &train, both, &x, &mut noise())?;
        let walked = update(&model, &mut state(), &train, 0.0, &x, &mut noise())?;
        assert_close(got, walked.score, 1e-4 * got.abs().max(1.0), "score");
        let losses: f64 = walked.losses.iter().sum();
        // With a density the start takes part.
        let start = walked.score + losses;
        assert_eq!(start.abs() > 1e-9, config.operator.has_density());
    }
    Ok(())
}

#[test]
fn the_bound_itself_needs_a_density() -> Result<()> {
    let train = TrainConfig { objective: Objective::FullBound, ..TrainConfig::images() };
    for make in [reconstruction, bernoulli] {
        let model = common::model(make(networks(K)[0].clone()))?;
        let x = examples(&model, 4, 1)?;
        let mut noise = Seed::new(1).host_noise();
        let error = update(&model, &mut state(), &train, 1e-3, &x, &mut noise);
        assert!(matches!(error, Err(Error::Config { field: "operator", .. })));
    }
    Ok(())
}

#[test]
fn single_transitions_do_not_follow_the_bound() -> Result<()> {
    let operator = Kinked::new()?;
    let x = Tensor::new(&[[1.0_f32], [2.0]], &Device::Cpu)?;
    let learner = Learner {
        drawing: &operator,
        learning: &operator,
        store: &operator.store,
        heating: common::ladder(2.0, 2),
    };
    let train = TrainConfig { objective: Objective::FullBound, ..TrainConfig::images() };
    let mut adam = Adam::new(AdamConfig::standard());
    let walked = learner.walk(&mut adam, &train, 1e-2, &x, &mut Seed::new(1).host_noise());
    assert!(matches!(walked, Err(Error::Config { field: "objective", .. })));
    let loss = learner.loss(&train, [&x, &x], Step::at(0), 0);
    assert!(matches!(loss, Err(Error::Config { field: "objective", .. })));
    assert_eq!(adam.steps(), 0);
    Ok(())
}

#[test]
fn a_saved_state_goes_on_with_the_same_bits() -> Result<()> {
    let dir = tempfile::tempdir().map_err(|source| Error::io("temporary folder", source))?;
    let config = gaussian(networks(K)[2].clone());
    let (model, train) = (common::model(config.clone())?, TrainConfig::images());
    let (mut state, mut noise) = (state(), Seed::new(0).host_noise());
    let x = rows(&model, 12, 1)?;
    update(&model, &mut state, &train, 1e-3, &x, &mut noise)?;
    let states = StateDir::new(dir.path());
    let (store, adam) = (model.store(), &state.adam);
    let parts = Parts { store, adam, average: None, carried: &[] };
    states.save(1, parts, (state.ends.clone(), noise.state()))?;
    let other = common::model(config)?;
    let at = states.latest()?.unwrap();
    let loaded = StateDir::load::<(Moments, _)>(&at, other.store(), train.adam, None)?;
    let (ends, position) = loaded.progress.extra;
    let mut restored = TrainState { adam: loaded.adam, ends };
    let mut rest = chains_core::HostNoise::restore(&position);
    update(&other, &mut restored, &train, 1e-3, &x, &mut rest)?;
    update(&model, &mut state, &train, 1e-3, &x, &mut noise)?;
    assert_same_bits(&model_bits(&other)?, &model_bits(&model)?);
    Ok(())
}
