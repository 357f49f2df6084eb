//! Where training leads on linear operators: detailed balance (W4), degeneration (W5), the bound's own
//! gradient.

mod common;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    HostNoise, Noise, Result, Seed,
    autograd::value_and_gradients,
    chain::{Generation, Stationary, Step, TransitionOperator, chain},
    optim::{Adam, AdamConfig},
    schedule::{Heating, LearningRate},
};
use common::{
    Free, Linear, SEEDS, assert_close, assert_within, gaussian_start, ladder, marginal, mean_se,
    values, walk_of,
};
use walkback::{Learner, Objective, TrainConfig, Updates, Weighting};

/// Variance of the data.
const DATA: f64 = 2.0;
/// The fixed point of exact alternation from a 0.3, w 0.5.
const BALANCED: Linear = Linear { a: 2.0 / 3.0, b: 0.0, w: 10.0 / 9.0 };

fn data(n: usize, dtype: DType, noise: &mut HostNoise) -> Result<Tensor> {
    Ok((noise.normal(&(n, 1).into(), dtype, &Device::Cpu)? * DATA.sqrt())?)
}

fn learner(operator: &Free, heating: Heating) -> Learner<'_, Free> {
    Learner { drawing: operator, learning: operator, store: &operator.store, heating }
}

fn train(operator: &Free, objective: Objective, updates: usize, rate: f64) -> Result<Vec<f64>> {
    let config = TrainConfig { objective, ..TrainConfig::images() };
    let schedule = LearningRate::Cosine { value: rate, last: 0.0, warmup: 1 };
    let mut adam = Adam::new(AdamConfig::standard());
    let mut noise = Seed::new(0).child("training").host_noise();
    let learner = learner(operator, ladder(2.0, 1));
    let dtype = operator.store.all()[0].1.dtype();
    (0..updates)
        .map(|update| {
            let x = data(500, dtype, &mut noise)?;
            let rate = schedule.at(update, updates);
            Ok(learner.walk(&mut adam, &config, rate, &x, &mut noise)?.score)
        })
        .collect()
}

#[test]
fn walkback_training_reaches_detailed_balance_with_the_data() -> Result<()> {
    for start in [Linear { a: 0.3, b: 0.5, w: 0.5 }, Linear { a: 0.9, b: -0.3, w: 1.0 }] {
        let operator = Free::new(start, DType::F32)?;
        train(&operator, Objective::Walkback, 3_000, 0.03)?;
        let Linear { a, b, w } = operator.values()?;
        let stationary = w / (1.0 - a * a);
        assert_close(stationary, DATA, 0.05 * DATA, &format!("a {a}, w {w}"));
        assert!(b.abs() < 0.1, "{b}");
    }
    Ok(())
}

#[test]
fn the_update_vanishes_at_detailed_balance_and_only_there() -> Result<()> {
    // Exact alternation: a' = a v / (a^2 v + w), w' = v w / (a^2 v + w).
    let (mut a, mut w) = (0.3, 0.5);
    for _ in 0..200 {
        let s = a * a * DATA + w;
        (a, w) = (a * DATA / s, DATA * w / s);
    }
    assert_close(a, BALANCED.a, 1e-9, "a");
    assert_close(w, BALANCED.w, 1e-9, "w");
    let gradients = |at: Linear, seed: Seed| -> Result<Vec<f64>> {
        let operator = Free::new(at, DType::F64)?;
        let mut noise = seed.host_noise();
        let x = data(200_000, DType::F64, &mut noise)?;
        let after = chains_core::density::Sample::sample(
            &operator.conditional(&x, Step::at(0))?,
            1,
            &mut noise,
        )?;
        let train = TrainConfig::images();
        let learner = learner(&operator, ladder(2.0, 1));
        let (_, grads) = learner.loss(&train, [&x, &after], Step::at(0), 0)?;
        let all = operator.store.trainable().into_iter();
        all.map(|(_, var)| Ok(values(grads.get(var.as_tensor()).unwrap())?[0])).collect()
    };
    // One element's gradient has a standard deviation of about one: 0.003 for the mean.
    for seed in SEEDS {
        let seed = Seed::new(seed).child("gradients");
        for gradient in gradients(BALANCED, seed)? {
            assert!(gradient.abs() < 0.015, "{gradient}");
        }
        let elsewhere = gradients(Linear { a: 0.3, b: 0.0, w: 0.5 }, seed)?;
        assert!(elsewhere.iter().any(|g| g.abs() > 0.1), "{elsewhere:?}");
    }
    Ok(())
}

#[test]
fn at_detailed_balance_the_bound_is_the_best_there_is() -> Result<()> {
    let best = -0.5 * (2.0 * std::f64::consts::PI * std::f64::consts::E * DATA).ln();
    let start = gaussian_start(0.0, DATA, 1, DType::F64)?;
    for operator in [BALANCED, Linear { a: 0.9, b: 0.0, w: 0.19 * DATA }] {
        let chain = walk_of(&operator, &start, Heating { extra: 3, ..ladder(2.0, 0) });
        for seed in SEEDS {
            let mut noise = Seed::new(seed).child("bound").host_noise();
            let x = data(20_000, DType::F64, &mut noise)?;
            let found = chain.log_weights(&x, &[Weighting::Plain], &mut noise)?;
            assert_within(mean_se(&found.weights[0]), best, "bound");
        }
    }
    Ok(())
}

/// `-0.5 ln(2 pi w)`.
fn peak(w: f64) -> f64 {
    -0.5 * (2.0 * std::f64::consts::PI * w).ln()
}

/// No walkback score is above the negative entropy of s given s_next.
fn ceiling(op: Linear) -> f64 {
    let variance = DATA * op.w / (op.a * op.a * DATA + op.w);
    -0.5 * (2.0 * std::f64::consts::PI * std::f64::consts::E * variance).ln()
}

/// Scores of one step on a large sample.
fn scores(op: Linear, objective: Objective) -> Result<f64> {
    let operator = Free::new(op, DType::F64)?;
    let config = TrainConfig { objective, ..TrainConfig::images() };
    let mut noise = Seed::new(0).child("scores").host_noise();
    let x = data(400_000, DType::F64, &mut noise)?;
    let walk = learner(&operator, ladder(2.0, 1));
    Ok(walk.walk(&mut Adam::new(AdamConfig::standard()), &config, 0.0, &x, &mut noise)?.score)
}

#[test]
fn reconstructing_a_state_from_itself_beats_the_ceiling_and_learns_nothing() -> Result<()> {
    const FLOOR: f64 = 1e-6;
    let degenerate = Linear { a: 1.0, b: 0.0, w: FLOOR };
    assert_close(peak(FLOOR), 5.988817, 5e-7, "reference");
    assert_close(ceiling(degenerate), 5.488817, 1e-6, "ceiling");
    assert_close(scores(degenerate, Objective::SelfReconstruct)?, peak(FLOOR), 1e-9, "self");
    // The mean of 400,000 squares of normal numbers, halved.
    let error = 5.0 * (0.5 / 400_000_f64).sqrt();
    let score = scores(degenerate, Objective::Walkback)?;
    assert_close(score, ceiling(degenerate), error, "walkback");
    for op in [BALANCED, Linear { a: 0.9, b: 0.0, w: 0.1 }, Linear { a: 0.5, b: 0.2, w: 3.0 }] {
        assert!(scores(op, Objective::Walkback)? <= ceiling(op) + 5.0 * error, "{op:?}");
    }
    let own = scores(Linear { a: 0.9, b: 0.0, w: 0.1 }, Objective::SelfReconstruct)?;
    assert_close(own, peak(0.1) - 0.01 * DATA / 0.2, 0.002, "formula of the self score");

    // Training finds it.
    let mut operator = Free::new(Linear { a: 0.3, b: 0.0, w: 0.5 }, DType::F64)?;
    operator.floor = FLOOR;
    let found = train(&operator, Objective::SelfReconstruct, 6_000, 0.05)?;
    let score = found[5_900..].iter().sum::<f64>() / 100.0;
    assert!(score > ceiling(degenerate) && score <= peak(FLOOR), "{score}");
    let at = operator.values()?;
    assert!((at.a - 1.0).abs() < 1e-3 && at.w < 2.0 * FLOOR, "{at:?}");

    // Cooled samples keep the law of p*, which is not the data's.
    let heating = Heating { extra: 0, ..ladder(1.0, 10) };
    let cooled = |op| marginal(op, [0.0, 9.0], heating)[1];
    assert_close(cooled(degenerate), 9.00001, 1e-9, "degenerate");
    assert_close(cooled(BALANCED), 2.002105, 5e-7, "balanced");
    for (op, want) in [(at, 9.0), (BALANCED, 2.002105)] {
        let mut noise = Seed::new(3).child("cooled").host_noise();
        let start = (noise.normal(&(40_000, 1).into(), DType::F64, &Device::Cpu)? * 3.0)?;
        let schedule = Stationary { step: Step::at(0), len: Some(10) };
        let kernel = Generation(op);
        let last = chain(&kernel, start, &schedule, &mut noise)?.last().unwrap()?;
        let square: Vec<f64> = values(&last.state.position)?.iter().map(|x| x * x).collect();
        let (mean, se) = mean_se(&square);
        assert!((mean - want).abs() < 5.0 * se + 0.01, "{mean} +- {se}, expected {want}");
    }
    Ok(())
}

/// Minus the mean log weight of walks with the noise held.
fn bound_loss(operator: &Free, x: &Tensor, noise: &HostNoise) -> Result<Tensor> {
    let start = gaussian_start(0.2, 3.0, 2, DType::F64)?;
    let chain = walk_of(operator, &start, ladder(1.5, 3));
    let mut noise = HostNoise::restore(&noise.state());
    Ok(chain.log_weight(x, &mut noise)?.mean(0)?.neg()?)
}

#[test]
fn the_gradient_of_the_bound_is_its_central_difference() -> Result<()> {
    let at = Linear { a: 0.6, b: 0.1, w: 0.4 };
    let operator = Free::new(at, DType::F64)?;
    let x = data(12, DType::F64, &mut Seed::new(1).host_noise())?.reshape((6, 2))?;
    for seed in SEEDS {
        let noise = Seed::new(seed).child("common").host_noise();
        let (_, grads) = value_and_gradients(|| bound_loss(&operator, &x, &noise))?;
        for (name, var) in operator.store.trainable() {
            let value = values(var.as_tensor())?[0];
            let moved = |by: f64| -> Result<f64> {
                var.set(&Tensor::new(&[[value + by]], &Device::Cpu)?)?;
                Ok(values(&bound_loss(&operator, &x, &noise)?)?[0])
            };
            let h = 1e-5;
            let want = (moved(h)? - moved(-h)?) / (2.0 * h);
            moved(0.0)?;
            let got = values(grads.get(var.as_tensor()).unwrap())?[0];
            assert_close(got, want, 1e-7 * want.abs().max(1.0), &name);
        }
    }
    Ok(())
}

#[test]
fn updates_of_groups_have_the_sum_of_the_gradients() -> Result<()> {
    // The first moment of Adam after one step is a tenth of the gradient.
    let moments = |updates: Updates| -> Result<(u64, Vec<f64>)> {
        let operator = Free::new(Linear { a: 0.3, b: 0.1, w: 0.5 }, DType::F64)?;
        let config = TrainConfig { updates, ..TrainConfig::images() };
        let mut adam = Adam::new(AdamConfig::standard());
        let x = data(50, DType::F64, &mut Seed::new(1).host_noise())?;
        let walk = learner(&operator, ladder(1.5, 4));
        // At rate zero all states and gradients are those of the first parameters.
        let mut noise = Seed::new(2).host_noise();
        walk.walk(&mut adam, &config, 0.0, &x, &mut noise)?;
        let first = adam.tensors().into_iter().filter(|(name, _)| name.starts_with("adam.m."));
        let first = first.map(|(_, m)| Ok(values(&m)?[0])).collect::<Result<_>>()?;
        Ok((adam.steps(), first))
    };
    // The gradients themselves, by one differentiation of the sum.
    let operator = Free::new(Linear { a: 0.3, b: 0.1, w: 0.5 }, DType::F64)?;
    let x = data(50, DType::F64, &mut Seed::new(1).host_noise())?;
    let start = gaussian_start(0.0, 1.0, 1, DType::F64)?;
    let chain = walk_of(&operator, &start, ladder(1.5, 4));
    let mut states = vec![x.clone()];
    states.extend(chain.states(&x, &mut Seed::new(2).host_noise())?);
    let loss = |index: usize| -> Result<Tensor> {
        let at = Step { index, temperature: 1.5_f64.powi(index as i32) };
        let law = operator.conditional(&states[index + 1], at)?;
        Ok(chains_core::density::LogDensity::log_prob(&law, &states[index])?.mean(0)?.neg()?)
    };
    let gradients = |steps: std::ops::Range<usize>| -> Result<Vec<f64>> {
        let (_, grads) = value_and_gradients(|| {
            let losses = steps.map(loss).collect::<Result<Vec<_>>>()?;
            Ok(Tensor::stack(&losses, 0)?.sum_all()?)
        })?;
        let all = operator.store.trainable().into_iter();
        all.map(|(_, var)| Ok(values(grads.get(var.as_tensor()).unwrap())?[0])).collect()
    };
    // Where each group begins, and the end.
    for (updates, ends) in [
        (Updates::Accumulated, vec![0, 4]),
        (Updates::Every { steps: 3 }, vec![0, 3, 4]),
        (Updates::Every { steps: 2 }, vec![0, 2, 4]),
        (Updates::Online, vec![0, 1, 2, 3, 4]),
    ] {
        let (steps, got) = moments(updates)?;
        assert_eq!(steps, ends.len() as u64 - 1, "{updates:?}");
        let mut want = vec![0.0; 3];
        for group in ends.windows(2) {
            for (want, g) in want.iter_mut().zip(gradients(group[0]..group[1])?) {
                *want = 0.9 * *want + 0.1 * g;
            }
        }
        for (got, want) in got.iter().zip(&want) {
            assert_close(*got, *want, 1e-12 * want.abs().max(1.0), &format!("{updates:?}"));
        }
    }
    Ok(())
}
