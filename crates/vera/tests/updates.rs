//! One iteration of the game: what moves, in which order, and that it can be repeated and resumed.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "helpers of tests, exact values")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Error, HostNoise, Noise, Result, Seed, nn::BatchNormMoments, schedule::MultiStep,
};
use common::{assert_close, snapshot, values};
use vera::{
    EnergyConfig, EnergyNetwork, Entropy, GeneratorConfig, HmcConfig, Labels, ModelConfig, Terms,
    TrainConfig, TrainState, VeraModel, config::HmcGradient, importance_score, posterior_step,
    update,
};

const CLASSES: usize = 3;

fn model(seed: u64) -> Result<VeraModel> {
    let hidden = vec![16, 16];
    let energy = EnergyConfig::Mlp { dim: 2, hidden, outputs: CLASSES, weight_norm: true };
    let config =
        ModelConfig { initial_sigma: 0.1, ..ModelConfig::of(energy, GeneratorConfig::toy(16)) };
    VeraModel::new(config, Seed::new(seed), &Device::Cpu)
}

fn config() -> TrainConfig {
    TrainConfig {
        class_weight: 1.0,
        class_entropy_weight: 0.5,
        ..TrainConfig::density(0.5, [1e-3, 1e-3, 1e-2])
    }
}

/// A batch and the classes of its examples.
fn batch(noise: &mut HostNoise) -> Result<(Tensor, Tensor)> {
    let x = noise.normal(&(32, 2).into(), DType::F32, &Device::Cpu)?;
    let y = x.narrow(1, 0, 1)?.squeeze(1)?.ge(0.0)?.to_dtype(DType::U32)?;
    Ok((x, y))
}

/// The names of tensors that differ.
fn changed(before: &BTreeMap<String, Vec<f64>>, model: &VeraModel) -> BTreeSet<String> {
    let after = snapshot(model.store());
    assert_eq!(before.len(), after.len());
    let moved = after.iter().filter(|(name, now)| before[*name] != **now);
    moved.map(|(name, _)| name.clone()).collect()
}

/// All names of a model that `keep` holds for.
fn names(model: &VeraModel, keep: impl Fn(&str) -> bool) -> BTreeSet<String> {
    model.store().all().into_iter().map(|(name, _)| name).filter(|name| keep(name)).collect()
}

fn statistic(name: &str) -> bool {
    name.contains(".running_")
}

/// One iteration with this number.
fn once(
    model: &VeraModel,
    config: &TrainConfig,
    iteration: usize,
    noise: &mut HostNoise,
) -> Result<Terms> {
    let mut state = TrainState { iteration, ..TrainState::new(config) };
    let (x, y) = batch(&mut Seed::new(9).host_noise())?;
    update(model, &mut state, config, (&x, Labels::Same(&y)), noise)
}

#[test]
fn the_energys_update_moves_the_energy_alone() -> Result<()> {
    let model = model(0)?;
    let before = snapshot(model.store());
    let config = TrainConfig { generator_every: 2, ..config() };
    let terms = once(&model, &config, 1, &mut Seed::new(0).host_noise())?;
    // The sampling pass leaves its trace in the running moments.
    let want = names(&model, |name| name.starts_with("logp_net.") || statistic(name));
    assert_eq!(changed(&before, &model), want);
    assert!(terms.penalty > 0.0 && terms.classification > 0.0);
    let after = [terms.generator, terms.score_norm, terms.effective_samples];
    assert!(after.iter().all(|x| *x == 0.0), "{terms:?}");
    Ok(())
}

#[test]
fn the_generators_update_moves_generator_noise_and_posterior_alone() -> Result<()> {
    let config = TrainConfig { energy_every: 2, ..config() };
    let stays = |name: &str| name.starts_with("logp_net.") || name == "stepsize";
    let first = model(0)?;
    let before = snapshot(first.store());
    let terms = once(&first, &config, 1, &mut Seed::new(0).host_noise())?;
    assert_eq!(changed(&before, &first), names(&first, |name| !stays(name)));
    assert_eq!([terms.energy_loss, terms.data, terms.penalty], [0.0; 3]);
    // The posterior's own optimiser alone moves it.
    let still = TrainConfig { posterior_rate: 0.0, ..config };
    let second = model(0)?;
    once(&second, &still, 1, &mut Seed::new(0).host_noise())?;
    let stays = |name: &str| stays(name) || name == "post_logsigma";
    assert_eq!(changed(&before, &second), names(&second, |name| !stays(name)));
    // What the generator learns does not depend on it.
    let [first, second] = [&first, &second].map(|model| snapshot(model.store()));
    assert_eq!(first["g.last.weight"], second["g.last.weight"]);
    Ok(())
}

#[test]
fn the_posteriors_update_moves_the_posterior_alone() -> Result<()> {
    let model = model(0)?;
    let (config, mut noise) = (config(), Seed::new(0).host_noise());
    let mut state = TrainState::new(&config);
    let before = snapshot(model.store());
    let drawn = model.generator().draw(16, BatchNormMoments::batch(), &mut noise)?;
    let moments = BatchNormMoments::batch();
    posterior_step(&model, &mut state, &config, &drawn, moments, &mut noise)?;
    assert_eq!(changed(&before, &model), BTreeSet::from(["post_logsigma".to_owned()]));
    assert_eq!([state.posterior.steps(), state.energy.steps()], [1, 0]);
    Ok(())
}

#[test]
fn without_entropy_the_posterior_stays() -> Result<()> {
    let model = model(0)?;
    let before = snapshot(model.store());
    let config = TrainConfig { entropy_weight: 0.0, ..config() };
    let terms = once(&model, &config, 0, &mut Seed::new(0).host_noise())?;
    let want = names(&model, |name| name != "post_logsigma" && name != "stepsize");
    assert_eq!(changed(&before, &model), want);
    assert_eq!([terms.score_norm, terms.effective_samples], [0.0; 2]);
    Ok(())
}

#[test]
fn the_hamiltonian_estimator_moves_its_step_and_no_posterior() -> Result<()> {
    for gradient in [HmcGradient::Exact, HmcGradient::Reference] {
        let model = model(0)?;
        let before = snapshot(model.store());
        let entropy = Entropy::Hmc(HmcConfig { gradient, ..HmcConfig::published() });
        let config = TrainConfig { entropy, ..config() };
        let terms = once(&model, &config, 0, &mut Seed::new(0).host_noise())?;
        assert_eq!(changed(&before, &model), names(&model, |name| name != "post_logsigma"));
        assert!(terms.score_norm > 0.0);
        assert!(
            (terms.effective_samples - 2.0).abs() < 1e-6,
            "two kept transitions weigh the same"
        );
    }
    Ok(())
}

#[test]
fn an_iteration_weighs_with_the_old_posterior_and_climbs_the_new_energy() -> Result<()> {
    for posterior_first in [false, true] {
        let config = TrainConfig { posterior_first, posterior_rate: 0.5, ..config() };
        let (model, twin) = (model(0)?, model(0)?);
        let start = Seed::new(4).host_noise();
        let terms = once(&model, &config, 0, &mut start.clone())?;
        // The same by hand, the energy's step taken over from the model.
        let mut noise = start;
        let drawn = twin.generator().draw(32, BatchNormMoments::batch(), &mut noise)?;
        let old = values(&twin.energy().log_density(&drawn.x, &[])?.mean_all()?)[0];
        let new = values(&model.energy().log_density(&drawn.x, &[])?.mean_all()?)[0];
        assert_close("f of samples", &[terms.samples, terms.generator], &[old, new], 1e-6);
        assert!((old - new).abs() > 1e-4, "the energy's step shows: {old}, {new}");
        let mut state = TrainState::new(&config);
        let moments = BatchNormMoments::batch;
        if posterior_first {
            posterior_step(&twin, &mut state, &config, &drawn, moments(), &mut noise)?;
        }
        let (eta, generator) = (twin.log_eta(), twin.generator());
        let found = importance_score(generator, &drawn, eta, 20, &mut moments(), &mut noise)?;
        if !posterior_first {
            posterior_step(&twin, &mut state, &config, &drawn, moments(), &mut noise)?;
        }
        let norms = found.minus_score.sqr()?.sum(1)?.sqrt()?.mean_all()?;
        let want = [values(&norms)[0], found.effective_samples()?];
        assert_close("score", &[terms.score_norm, terms.effective_samples], &want, 1e-6);
        let eta = |model: &VeraModel| values(model.log_eta());
        assert_close("ln eta", &eta(&model), &eta(&twin), 1e-6);
    }
    Ok(())
}

#[test]
fn every_so_manieth_iteration_is_the_energys_or_the_generators() -> Result<()> {
    let config = TrainConfig { energy_every: 2, generator_every: 3, ..config() };
    let model = model(0)?;
    let mut state = TrainState::new(&config);
    let mut noise = Seed::new(0).host_noise();
    for iteration in 0..7 {
        let (x, y) = batch(&mut noise)?;
        let before = snapshot(model.store());
        update(&model, &mut state, &config, (&x, Labels::Same(&y)), &mut noise)?;
        let changed = changed(&before, &model);
        assert_eq!(changed.contains("logp_net.layers.2.weight"), iteration % 2 == 0);
        assert_eq!(changed.contains("g.last.weight"), iteration % 3 == 0);
        assert_eq!(changed.contains("post_logsigma"), iteration % 3 == 0);
        assert_eq!(state.iteration, iteration + 1);
    }
    assert_eq!([state.energy.steps(), state.generator.steps(), state.posterior.steps()], [4, 3, 3]);
    Ok(())
}

#[test]
fn rates_warm_up_and_fall_at_milestones() -> Result<()> {
    let rate = MultiStep { value: 1.0, warmup: 4, milestones: vec![6, 8], factor: 0.3 };
    let rates: Vec<f64> = (0..10).map(|i| rate.at(i)).collect();
    let want = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.3, 0.3, 0.09, 0.09];
    assert_close("rates", &rates, &want, 1e-12);
    // The first step of Adam is the rate in size.
    let config = TrainConfig {
        energy_rate: MultiStep { value: 8e-3, warmup: 4, milestones: vec![6], factor: 0.3 },
        entropy_weight: 0.0,
        generator_rate: MultiStep { value: 5e-3, warmup: 0, milestones: vec![6], factor: 0.1 },
        ..config()
    };
    for (iteration, energy, generator) in [(0, 2e-3, 5e-3), (1, 4e-3, 5e-3), (6, 2.4e-3, 5e-4)] {
        let model = model(0)?;
        let before = snapshot(model.store());
        once(&model, &config, iteration, &mut Seed::new(0).host_noise())?;
        let after = snapshot(model.store());
        for (name, rate) in [("logp_net.layers.2.weight", energy), ("g.last.bias", generator)] {
            let pairs = before[name].iter().zip(&after[name]);
            let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!((largest / rate - 1.0).abs() < 1e-3, "{iteration}, {name}: {largest}");
        }
    }
    Ok(())
}

#[test]
fn sigma_stays_in_its_range_and_eta_goes_where_it_will() -> Result<()> {
    let begin = model(0)?;
    let rate = MultiStep::constant(20.0);
    let config = TrainConfig { generator_rate: rate, posterior_rate: 20.0, ..config() };
    let terms = once(&begin, &config, 0, &mut Seed::new(0).host_noise())?;
    let sigma = values(&begin.store().get("logsigma").unwrap())[0].exp();
    let at_an_end = [0.01, 0.3].iter().any(|end| (sigma / end - 1.0).abs() < 1e-5);
    assert!(at_an_end, "{sigma}");
    assert!((terms.sigma - sigma).abs() < 1e-7);
    let free = values(begin.log_eta()).into_iter().any(|eta| (eta - 0.1_f64.ln()).abs() > 10.0);
    assert!(free, "{:?}", values(begin.log_eta()));
    Ok(())
}

#[test]
fn a_loss_that_is_no_number_or_too_large_moves_nothing() -> Result<()> {
    for bad in [f32::NAN, f32::INFINITY, 1e12] {
        let (model, config) = (model(0)?, config());
        let mut state = TrainState::new(&config);
        let before = snapshot(model.store());
        let x = Tensor::full(bad, (8, 2), &Device::Cpu)?;
        let y = Tensor::zeros(8, DType::U32, &Device::Cpu)?;
        let mut noise = Seed::new(0).host_noise();
        let found = update(&model, &mut state, &config, (&x, Labels::Same(&y)), &mut noise);
        let is_refused = matches!(found, Err(Error::NonFinite { what: "energy loss", step: 0 }));
        assert!(is_refused, "{bad}: {found:?}");
        assert!(changed(&before, &model).is_empty(), "{bad}");
        let steps = [state.energy.steps(), state.generator.steps(), state.posterior.steps()];
        assert_eq!((steps, state.iteration), ([0; 3], 0));
    }
    Ok(())
}

/// Iterations with labels of every kind in turn.
fn run(
    model: &VeraModel,
    state: &mut TrainState,
    noise: &mut HostNoise,
    steps: usize,
) -> Result<Vec<Terms>> {
    let one = |_| {
        let (x, y) = batch(noise)?;
        let (other, classes) = (x.narrow(0, 0, 12)?, y.narrow(0, 0, 12)?);
        let labels = match state.iteration % 3 {
            0 => Labels::Same(&y),
            1 => Labels::Other(&other, &classes),
            _ => Labels::None,
        };
        update(model, state, &config(), (&x, labels), noise)
    };
    (0..steps).map(one).collect()
}

#[test]
fn the_same_seed_gives_the_same_bits_for_any_number_of_threads() -> Result<()> {
    let with = |threads: usize| -> Result<_> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let model = model(5)?;
            let mut state = TrainState::new(&config());
            let terms = run(&model, &mut state, &mut Seed::new(5).host_noise(), 6)?;
            Ok((snapshot(model.store()), terms))
        })
    };
    let one = with(1)?;
    assert!(one == with(3)?, "the bits depend on the number of threads");
    assert!(one == with(1)?, "the bits depend on the run");
    Ok(())
}

#[test]
fn training_goes_on_with_the_same_bits_after_a_resume() -> Result<()> {
    let (whole, config) = (model(6)?, config());
    let mut state = TrainState::new(&config);
    let mut noise = Seed::new(6).host_noise();
    run(&whole, &mut state, &mut noise, 4)?;
    let copy = model(7)?;
    for (name, tensor) in whole.store().tensors() {
        copy.store().get(&name).unwrap().set(&tensor.copy()?)?;
    }
    let (tensors, steps) = state.tensors();
    let copied = tensors.into_iter().map(|(name, tensor)| Ok((name, tensor.copy()?)));
    let tensors: BTreeMap<_, _> = copied.collect::<Result<_>>()?;
    for part in ["energy.adam.m.logp_net", "generator.adam.v.g.", "posterior.adam.v.post_logsigma"]
    {
        assert!(tensors.keys().any(|name| name.starts_with(part)), "{part}");
    }
    let mut resumed = TrainState::restore(&config, (&tensors, steps), 4, copy.store())?;
    let mut other = HostNoise::restore(&noise.state());
    let first = run(&whole, &mut state, &mut noise, 5)?;
    assert!(first == run(&copy, &mut resumed, &mut other, 5)?, "terms differ");
    assert!(snapshot(whole.store()) == snapshot(copy.store()), "parameters differ");
    Ok(())
}

#[test]
fn a_model_comes_back_from_its_directory() -> Result<()> {
    let (model, dir) = (model(1)?, tempfile::tempdir().unwrap());
    let mut state = TrainState::new(&config());
    run(&model, &mut state, &mut Seed::new(1).host_noise(), 2)?;
    model.save(dir.path())?;
    let back = VeraModel::load(dir.path(), &Device::Cpu)?;
    assert_eq!(back.config(), model.config());
    assert!(snapshot(model.store()) == snapshot(back.store()));
    Ok(())
}

#[test]
fn fixed_moments_are_those_of_the_sampled_batch() -> Result<()> {
    // Proposals as wide as the posterior are other than the batch: their own moments differ.
    let terms = |fixed_moments| -> Result<Terms> {
        let config = TrainConfig { fixed_moments, ..config() };
        once(&model(0)?, &config, 0, &mut Seed::new(0).host_noise())
    };
    let [own, fixed] = [terms(false)?, terms(true)?];
    assert_eq!(own.energy_loss, fixed.energy_loss);
    assert!((own.score_norm / fixed.score_norm - 1.0).abs() > 1e-4, "{own:?}, {fixed:?}");
    Ok(())
}
