use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, backprop::GradStore};
use chains_core::{HostNoise, Noise, Seed, autograd::value_and_gradients, nn::BatchNormMoments};

use super::{losses::Turn, *};
use crate::{
    anneal::Schedule,
    config::{ConvLayer, DenoiserConfig, DiscriminatorConfig, GanConfig, GeneratorConfig},
    model::{DENOISER, DISCRIMINATOR, GENERATOR},
    objective::{Objective, Weight, critic_loss, denoising_loss, generator_loss, score_loss},
    score::dae_score,
};

fn small(objective: Objective) -> GanConfig {
    let config = GanConfig {
        discriminator: DiscriminatorConfig {
            event: [1, 8, 8],
            layers: vec![ConvLayer::k3s1(4), ConvLayer::k4s2(6), ConvLayer::k4s2(5)],
            batch_norm: true,
        },
        generator: GeneratorConfig {
            latent: 3,
            first: [4, 2, 2],
            layers: vec![ConvLayer::k4s2(6), ConvLayer::k4s2(1)],
        },
        denoiser: DenoiserConfig { features: 20, hidden: vec![16], batch_norm: true },
    };
    if objective == Objective::WGanGp { config.without_critic_norm() } else { config }
}

fn model(objective: Objective) -> GanModel {
    GanModel::new(small(objective), Seed::new(1), &Device::Cpu).unwrap()
}

/// Annealed from the first iteration on.
fn train(objective: Objective, term: AnnealTerm) -> TrainConfig {
    let config = TrainConfig::cifar10(objective).annealed(term, Schedule::constant(5.0));
    TrainConfig { denoiser_warm_up: 0, learning_rate: 1e-3, iterations: 100, ..config }
}

fn images(rows: usize) -> Tensor {
    let mut noise = Seed::new(4).child("images").host_noise();
    let x = noise.uniform(&(rows, 1, 8, 8).into(), DType::F32, &Device::Cpu).unwrap();
    x.affine(2.0, -1.0).unwrap()
}

fn noise() -> HostNoise {
    Seed::new(6).child("noise").host_noise()
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn all(model: &GanModel, root: &str) -> Vec<(String, Vec<f32>)> {
    let tensors = model.store().tensors();
    let own = tensors.into_iter().filter(|(name, _)| name.starts_with(root));
    own.map(|(name, tensor)| (name, values(&tensor))).collect()
}

const ALL: [Objective; 4] = [Objective::Jsd, Objective::Rkl, Objective::RklDual, Objective::WGanGp];
const TERMS: [AnnealTerm; 5] = [
    AnnealTerm::Off,
    AnnealTerm::Score,
    AnnealTerm::Dfm,
    AnnealTerm::ReferenceCompat,
    AnnealTerm::Residual,
];

/// A bias in front of a batch norm moves nothing, nor does one that a difference of means has twice.
fn is_idle(model: &GanModel, objective: Objective, name: &str) -> bool {
    if objective == Objective::WGanGp && name == format!("{DISCRIMINATOR}.last.bias") {
        return true;
    }
    let Some(layer) = name.strip_suffix(".bias") else { return false };
    let index = |layers: &str| layer.strip_prefix(layers)?.strip_prefix('.')?.parse::<usize>().ok();
    let norm = if let Some(i) = index(&format!("{DISCRIMINATOR}.convolutions")) {
        i.checked_sub(1).map(|i| format!("{DISCRIMINATOR}.norms.{i}.bias"))
    } else if let Some(i) = index(&format!("{GENERATOR}.convolutions")) {
        Some(format!("{GENERATOR}.norms.{}.bias", i + 1))
    } else if layer == format!("{GENERATOR}.dense") {
        Some(format!("{GENERATOR}.norms.0.bias"))
    } else {
        index(&format!("{DENOISER}.layers")).map(|i| format!("{DENOISER}.norms.{i}.bias"))
    };
    norm.is_some_and(|norm| model.store().get(&norm).is_some())
}

fn gradients(grads: &GradStore, model: &GanModel, root: &str) -> Vec<(String, Vec<f32>)> {
    let mut found = Vec::new();
    for (name, var) in model.store().trainable() {
        if name.starts_with(root) {
            let grad = grads.get(&var).unwrap_or_else(|| panic!("{name} has no gradient"));
            found.push((name, values(grad)));
        }
    }
    found
}

#[test]
fn the_critic_has_a_rate_of_its_own() {
    let (model, x) = (model(Objective::Jsd), images(6));
    let config =
        TrainConfig { critic_rate: Some(4e-3), ..train(Objective::Jsd, AnnealTerm::Score) };
    let before = [DISCRIMINATOR, GENERATOR, DENOISER].map(|root| all(&model, root));
    update(&model, &mut TrainState::new(&config), &config, &x, &mut noise()).unwrap();
    for (before, (root, rate)) in
        before.iter().zip([(DISCRIMINATOR, 4e-3), (GENERATOR, 1e-3), (DENOISER, 1e-3)])
    {
        let after = all(&model, root);
        let pairs = before.iter().zip(&after).filter(|((name, _), _)| name.ends_with(".weight"));
        let moved = pairs.flat_map(|((_, a), (_, b))| a.iter().zip(b).map(|(a, b)| (a - b).abs()));
        let most = moved.fold(0.0, f32::max);
        // A first step of Adam is as long as its rate, whatever the gradient.
        assert!((f64::from(most) - rate).abs() < 0.01 * rate, "{root}: {most}");
    }
}

#[test]
fn every_tensor_of_a_player_has_a_gradient_of_its_own_loss_only() {
    for objective in ALL {
        let (model, x) = (model(objective), images(6));
        let config = train(objective, AnnealTerm::Score);
        let found = losses(&model, &config, 0, (&x, Turn::All), &mut noise()).unwrap();
        let three = [
            (DISCRIMINATOR, found.critic),
            (GENERATOR, found.generator),
            (DENOISER, found.denoiser),
        ];
        for (root, grads) in three {
            let grads = grads.unwrap();
            let own = gradients(&grads, &model, root);
            assert_eq!(
                grads.get_ids().count(),
                own.len(),
                "{objective:?} {root}: others' gradients"
            );
            for (name, grad) in own {
                assert!(grad.iter().all(|g| g.is_finite()), "{name}");
                if !is_idle(&model, objective, &name) {
                    assert!(grad.iter().any(|g| *g != 0.0), "{objective:?} {name} is idle");
                }
            }
        }
    }
}

fn assert_near(what: &str, got: &[(String, Vec<f32>)], want: &[(String, Vec<f32>)]) {
    assert_eq!(got.len(), want.len());
    for ((name, got), (_, want)) in got.iter().zip(want) {
        let scale = want.iter().fold(1e-4_f32, |scale, w| scale.max(w.abs()));
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() <= 2e-4 * scale, "{what} {name}: {got} {want}");
        }
    }
}

/// Each loss on its own, written out, by candle's graph through frozen copies.
#[test]
fn gradients_of_shared_passes_are_those_of_separate_ones() {
    let (model, x) = (model(Objective::Jsd), images(6));
    let config = train(Objective::Jsd, AnnealTerm::Score);
    let found = losses(&model, &config, 0, (&x, Turn::All), &mut noise()).unwrap();
    let (live, frozen) = (model.live(), model.frozen());
    let batch = BatchNormMoments::batch;
    let mut noise = noise();
    let eps = noise.normal(&(6, 20).into(), DType::F32, &Device::Cpu).unwrap();
    let z = model.latents(6, &mut noise).unwrap();

    let (_, want) = value_and_gradients(|| {
        let fake = live.generator.forward(&z, &mut batch())?;
        let said = frozen.discriminator.forward(&fake, &mut batch())?;
        let fixed = said.feature.detach();
        let denoised = frozen.denoiser.forward(&fixed, &mut BatchNormMoments::Running)?;
        let score = dae_score(&fixed, &denoised, 1.0)?;
        let weight = Weight { lambda: 5.0, norm: config.lambda_norm };
        let term = score_loss(&said.feature, &score, weight)?;
        Ok((generator_loss(Objective::Jsd, &said.logit)? + term)?)
    })
    .unwrap();
    let [got, want] = [&found.generator.unwrap(), &want].map(|g| gradients(g, &model, GENERATOR));
    assert_near("generator", &got, &want);

    let (_, want) = value_and_gradients(|| {
        let fake = frozen.generator.forward(&z, &mut batch())?.detach();
        let real = live.discriminator.forward(&x, &mut batch())?.logit;
        critic_loss(Objective::Jsd, &real, &live.discriminator.forward(&fake, &mut batch())?.logit)
    })
    .unwrap();
    let [got, want] = [&found.critic.unwrap(), &want].map(|g| gradients(g, &model, DISCRIMINATOR));
    // A bias in front of a batch norm has a gradient of rounding alone.
    let of = |list: Vec<(String, Vec<f32>)>| -> Vec<_> {
        let idle = |name: &str| name.ends_with("convolutions.1.bias") || name.ends_with("2.bias");
        list.into_iter().filter(|(name, _)| !idle(name) || name.contains("norms")).collect()
    };
    assert_near("critic", &of(got), &of(want));

    let (_, want) = value_and_gradients(|| {
        let clean = frozen.discriminator.forward(&x, &mut batch())?.feature.detach();
        denoising_loss(&live.denoiser.forward(&(&clean + &eps)?, &mut batch())?, &clean)
    })
    .unwrap();
    let of = |list: Vec<(String, Vec<f32>)>| -> Vec<_> {
        list.into_iter().filter(|(name, _)| !name.ends_with("layers.0.bias")).collect()
    };
    let [got, want] = [&found.denoiser.unwrap(), &want].map(|g| gradients(g, &model, DENOISER));
    assert_near("denoiser", &of(got), &of(want));
}

#[test]
fn the_annealing_term_reaches_the_generator_alone() {
    for term in TERMS {
        let (model, x) = (model(Objective::Jsd), images(6));
        let config = train(Objective::Jsd, term);
        let silent = TrainConfig { schedule: Schedule::none(), ..config.clone() };
        let run = |config: &TrainConfig| {
            losses(&model, config, 0, (&x, Turn::All), &mut noise()).unwrap()
        };
        let (with, without) = (run(&config), run(&silent));
        let of = |grads: &Option<GradStore>, root| gradients(grads.as_ref().unwrap(), &model, root);
        assert_eq!(of(&with.critic, DISCRIMINATOR), of(&without.critic, DISCRIMINATOR), "{term:?}");
        let before = of(&with.generator, GENERATOR);
        if term == AnnealTerm::Off {
            assert!(with.denoiser.is_none());
            assert_eq!(before, of(&without.generator, GENERATOR));
            continue;
        }
        assert_eq!(of(&with.denoiser, DENOISER), of(&without.denoiser, DENOISER), "{term:?}");
        assert_ne!(before, of(&without.generator, GENERATOR), "{term:?}");
        // Another denoiser is another gradient of the generator.
        let weight = model.store().get("denoiser.layers.1.weight").unwrap();
        weight.set(&(weight.as_detached_tensor() * 1.5).unwrap()).unwrap();
        let moved = run(&config);
        assert_ne!(before, of(&moved.generator, GENERATOR), "{term:?}");
        assert_eq!(of(&with.critic, DISCRIMINATOR), of(&moved.critic, DISCRIMINATOR));
    }
}

#[test]
fn generated_features_do_not_reach_the_moments_of_the_denoiser() {
    let run = |lambda: f64| {
        let (model, x) = (model(Objective::Jsd), images(6));
        let config = train(Objective::Jsd, AnnealTerm::Score);
        let config = TrainConfig { schedule: Schedule::constant(lambda), ..config };
        update(&model, &mut TrainState::new(&config), &config, &x, &mut noise()).unwrap();
        (all(&model, "denoiser.norms"), all(&model, GENERATOR))
    };
    let (with, without) = (run(5.0), run(0.0));
    assert_eq!(with.0, without.0);
    assert_ne!(with.1, without.1, "the term was not there");
}

#[test]
fn running_moments_move_once_for_every_pass() {
    let (model, x) = (model(Objective::Jsd), images(6));
    let config = train(Objective::Jsd, AnnealTerm::Score);
    let (mut real, mut fake, mut made) =
        (BatchNormMoments::batch(), BatchNormMoments::batch(), BatchNormMoments::batch());
    let mut draws = noise();
    draws.normal(&(6, 20).into(), DType::F32, &Device::Cpu).unwrap();
    let z = model.latents(6, &mut draws).unwrap();
    let images = model.frozen().generator.forward(&z, &mut made).unwrap();
    model.frozen().discriminator.forward(&x, &mut real).unwrap();
    model.frozen().discriminator.forward(&images, &mut fake).unwrap();
    update(&model, &mut TrainState::new(&config), &config, &x, &mut noise()).unwrap();
    let mean = |moments: &BatchNormMoments, i: usize| values(&moments.found()[i].0.mean);
    for i in 0..2 {
        let got = model.store().get(&format!("discriminator.norms.{i}.running_mean")).unwrap();
        for ((got, real), fake) in values(&got).iter().zip(mean(&real, i)).zip(mean(&fake, i)) {
            assert!((got - (0.9 * 0.1 * real + 0.1 * fake)).abs() < 1e-6);
        }
        let got = model.store().get(&format!("generator.norms.{i}.running_mean")).unwrap();
        for (got, made) in values(&got).iter().zip(mean(&made, i)) {
            assert!((got - 0.1 * made).abs() < 1e-6);
        }
    }
}

#[test]
fn a_denoiser_that_does_not_learn_keeps_its_weights_and_still_gives_a_score() {
    let config =
        TrainConfig { train_denoiser: false, ..train(Objective::WGanGp, AnnealTerm::Score) };
    let (model, x) = (model(Objective::WGanGp), images(6));
    let (layers, norms) = (all(&model, "denoiser.layers"), all(&model, "denoiser.norms"));
    let mut state = TrainState::new(&config);
    let terms = update(&model, &mut state, &config, &x, &mut noise()).unwrap();
    assert_eq!(layers, all(&model, "denoiser.layers"));
    assert_ne!(norms, all(&model, "denoiser.norms"), "moments follow the data");
    assert!(terms.annealing != 0.0 && state.denoiser.steps() == 0, "{terms:?}");
}

#[test]
fn all_objectives_and_terms_train_and_say_what_they_see() {
    for objective in ALL {
        for term in TERMS {
            let (model, x) = (model(objective), images(6));
            let config = train(objective, term);
            let (mut state, mut noise) = (TrainState::new(&config), noise());
            let before = all(&model, GENERATOR);
            for _ in 0..3 {
                let terms = update(&model, &mut state, &config, &x, &mut noise).unwrap();
                let penalised = objective == Objective::WGanGp;
                assert_eq!(terms.penalty > 0.0, penalised, "{objective:?} {terms:?}");
                assert_eq!(terms.denoiser > 0.0, term != AnnealTerm::Off);
                if penalised {
                    let want = terms.fake - terms.real + 10.0 * terms.penalty;
                    assert!((terms.critic - want).abs() < 1e-4 * (1.0 + want.abs()), "{terms:?}");
                }
            }
            assert_ne!(before, all(&model, GENERATOR));
            assert_eq!((state.iteration, state.generator.steps()), (3, 3));
        }
    }
}

#[test]
fn with_one_critic_step_generator_first_is_simultaneous_and_critic_first_is_not() {
    let run = |order: Order| {
        let (model, x) = (model(Objective::WGanGp), images(6));
        let config = TrainConfig { order, ..train(Objective::WGanGp, AnnealTerm::Score) };
        update(&model, &mut TrainState::new(&config), &config, &x, &mut noise()).unwrap();
        all(&model, "")
    };
    let [simultaneous, generator, critic] =
        [Order::Simultaneous, Order::GeneratorFirst, Order::CriticFirst].map(run);
    assert_eq!(simultaneous, generator);
    assert_ne!(simultaneous, critic);
}

#[test]
fn further_critic_steps_see_images_of_their_own() {
    for order in [Order::GeneratorFirst, Order::CriticFirst] {
        let (model, x) = (model(Objective::WGanGp), images(12));
        let config =
            TrainConfig { order, critic_steps: 2, ..train(Objective::WGanGp, AnnealTerm::Score) };
        let mut state = TrainState::new(&config);
        let terms = update(&model, &mut state, &config, &x, &mut noise()).unwrap();
        let steps = [state.critic.steps(), state.denoiser.steps(), state.generator.steps()];
        assert_eq!(steps, [2, 2, 1], "{order:?}");
        assert!(terms.generator != 0.0 && terms.critic != 0.0 && terms.annealing != 0.0);
        assert!((terms.lambda - 5.0).abs() < 1e-12, "{order:?}");
        let odd = update(&model, &mut state, &config, &images(7), &mut noise());
        assert!(odd.unwrap_err().to_string().contains("images"));
    }
}

#[test]
fn a_resumed_training_is_the_same_training() {
    for objective in [Objective::Jsd, Objective::WGanGp] {
        let config = train(objective, AnnealTerm::Score);
        let x = images(6);
        let go = |model: &GanModel, state: &mut TrainState, noise: &mut HostNoise| {
            for _ in 0..2 {
                update(model, state, &config, &x, noise).unwrap();
            }
        };
        let through = model(objective);
        let (mut state, mut draws) = (TrainState::new(&config), noise());
        go(&through, &mut state, &mut draws);
        let dir = tempfile::tempdir().unwrap();
        through.save(dir.path()).unwrap();
        let (moments, steps) = state.tensors();
        let copies = moments.into_iter().map(|(name, t)| (name, t.copy().unwrap()));
        let moments: BTreeMap<String, Tensor> = copies.collect();
        let drawn = draws.state();
        go(&through, &mut state, &mut draws);

        let again = GanModel::load(dir.path(), &Device::Cpu).unwrap();
        let mut state = TrainState::restore(&config, (&moments, steps), 2, again.store()).unwrap();
        go(&again, &mut state, &mut HostNoise::restore(&drawn));
        assert_eq!(all(&through, ""), all(&again, ""));
        assert_eq!(state.iteration, 4);
    }
}

#[test]
fn a_loss_that_is_no_number_is_an_error_and_nothing_moves() {
    let (model, x) = (model(Objective::Jsd), (images(6) * f64::NAN).unwrap());
    let config = train(Objective::Jsd, AnnealTerm::Score);
    let before = all(&model, "");
    let mut state = TrainState::new(&config);
    let error = update(&model, &mut state, &config, &x, &mut noise()).unwrap_err();
    assert!(error.is_recoverable(), "{error}");
    assert_eq!((before, state.iteration), (all(&model, ""), 0));
}

#[test]
fn pixels_are_cut_not_rounded() {
    let x = Tensor::new(&[-1.2_f32, -1.0, 0.0, 0.999, 1.0, 7.0], &Device::Cpu).unwrap();
    assert_eq!(crate::quantise(&x).unwrap().to_vec1::<u8>().unwrap(), [0, 0, 127, 254, 255, 255]);
}
