//! The estimator of the entropy's gradient on linear generators, of which everything is known.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "helpers of tests, exact values")]

mod common;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Noise, ParamStore, Result, Seed, autograd::value_and_gradients, nn::BatchNormMoments,
};
use common::{Average, Known, Matrix, SEEDS, assert_close, values};
use vera::{
    Begin, Drawn, GaussianEnergy, LinearGenerator, Players, ScoreEstimate, TrainConfig, TrainState,
    entropy_surrogate, importance_score, posterior_bound, posterior_step,
};

/// A generator of three dimensions with two latents whose columns are not orthogonal.
fn oblique(dtype: DType) -> Result<Known> {
    let w = [[0.9, -0.3], [0.2, 0.6], [-0.5, 0.4]];
    Known::new(Matrix::of(3, 2, |i, j| w[i][j]), vec![0.3, -0.7, 0.1], 0.5, dtype)
}

/// As [`oblique`] with orthogonal columns of lengths 0.5, 1 and 0.2.
fn orthogonal(dtype: DType) -> Result<Known> {
    let directions =
        [[0.5, 0.5, 0.5, 0.5, 0.0], [0.5, -0.5, 0.5, -0.5, 0.0], [0.5, 0.5, -0.5, -0.5, 0.0]];
    let lengths = [0.5, 1.0, 0.2];
    let w = Matrix::of(5, 3, |i, j| directions[j][i] * lengths[j]);
    Known::new(w, vec![0.1, 0.2, -0.3, 0.0, 1.0], 0.3, dtype)
}

fn score(
    known: &Known,
    drawn: &Drawn,
    log_eta: &Tensor,
    k: usize,
    noise: &mut dyn Noise,
) -> Result<ScoreEstimate> {
    importance_score(&known.frozen, drawn, log_eta, k, &mut BatchNormMoments::batch(), noise)
}

#[test]
fn the_entropy_of_a_linear_generator_has_the_known_gradients() -> Result<()> {
    let known = oblique(DType::F64)?;
    let inverse = known.covariance().inverse().0;
    let want = inverse.times(&known.w);
    let h = 1e-5;
    let entropy = |w: Matrix, sigma: f64| -> Result<f64> {
        Ok(Known::new(w, known.mu.clone(), sigma, DType::F64)?.entropy())
    };
    for at in 0..6 {
        let moved = |by: f64| {
            let w =
                Matrix::of(3, 2, |i, j| known.w.at(i, j) + if 2 * i + j == at { by } else { 0.0 });
            entropy(w, known.sigma)
        };
        let slope = (moved(h)? - moved(-h)?) / (2.0 * h);
        assert!((slope - want.values()[at]).abs() < 1e-8, "W[{at}]: {slope}");
    }
    let moved = |by: f64| entropy(known.w.clone(), known.sigma * by.exp());
    let slope = (moved(h)? - moved(-h)?) / (2.0 * h);
    let trace: f64 = (0..3).map(|i| inverse.at(i, i)).sum();
    assert!((slope - 0.25 * trace).abs() < 1e-8, "ln sigma: {slope}");
    Ok(())
}

#[test]
fn the_surrogate_of_the_exact_score_has_the_gradient_of_the_entropy() -> Result<()> {
    let known = oblique(DType::F64)?;
    let inverse = known.covariance().inverse().0;
    let weight = inverse.times(&known.w);
    let trace: f64 = (0..3).map(|i| inverse.at(i, i)).sum();
    for seed in SEEDS {
        let mut noise = Seed::new(seed).host_noise();
        let mut found = vec![Average::default(); 10];
        for _ in 0..400 {
            let (_, grads) = value_and_gradients(|| {
                let drawn = known.live.draw(50, BatchNormMoments::batch(), &mut noise)?;
                entropy_surrogate(&known.minus_score(&drawn.x)?, &drawn.x)
            })?;
            let of = |name: &str| values(grads.get(&known.store.get(name).unwrap()).unwrap());
            let all = [of("g.weight"), of("logsigma"), of("g.bias")].concat();
            found.iter_mut().zip(all).for_each(|(average, value)| average.push(value));
        }
        let truth = [weight.values(), &[0.25 * trace], &[0.0; 3]].concat();
        for (i, (average, truth)) in found.iter().zip(truth).enumerate() {
            average.assert(&format!("seed {seed}, parameter {i}"), truth, 0.0);
        }
    }
    Ok(())
}

#[test]
fn the_surrogate_refuses_a_score_of_another_shape_and_keeps_it_constant() -> Result<()> {
    let known = oblique(DType::F64)?;
    let x = common::normal("x", (4, 3));
    assert!(entropy_surrogate(&x.narrow(0, 0, 3)?, &x).is_err());
    // A score that depends on the generator adds no gradient of its own.
    let mut noise = Seed::new(0).host_noise();
    let (value, grads) = value_and_gradients(|| {
        let drawn = known.live.draw(8, BatchNormMoments::batch(), &mut noise)?;
        entropy_surrogate(&(&drawn.x * 2.0)?, &drawn.x)
    })?;
    let x = known.draw(8, &mut Seed::new(0).host_noise())?.x;
    assert_close("value", &values(&value), &[2.0 * values(&x.sqr()?.sum_all()?)[0] / 8.0], 1e-12);
    let bias = values(grads.get(&known.store.get("g.bias").unwrap()).unwrap());
    assert_close("constant score", &bias, &values(&(x.mean(0)? * 2.0)?), 1e-12);
    Ok(())
}

#[test]
fn the_bound_of_the_posterior_is_half_a_nat_a_latent_below_the_likelihood() -> Result<()> {
    let known = orthogonal(DType::F64)?;
    for seed in SEEDS {
        let mut noise = Seed::new(seed).host_noise();
        let drawn = known.draw(20_000, &mut noise)?;
        let (eta, mut moments) = (known.log_eta()?, BatchNormMoments::batch());
        let bound = posterior_bound(&known.frozen, &drawn, &eta, &mut moments, &mut noise)?;
        assert_eq!(bound.dims(), [20_000]);
        Average::of(values(&bound)).assert("bound", -known.entropy() - 1.5, 0.0);
    }
    Ok(())
}

#[test]
fn the_gradient_of_the_bound_is_that_of_any_linear_generator() -> Result<()> {
    let known = oblique(DType::F64)?;
    let log_eta = [0.4_f64.ln(), 0.7_f64.ln()];
    for seed in SEEDS {
        let mut noise = Seed::new(seed).host_noise();
        let mut found = [Average::default(), Average::default()];
        for _ in 0..400 {
            let drawn = known.draw(50, &mut noise)?;
            let eta = candle_core::Var::new(&log_eta, &Device::Cpu)?;
            let (_, grads) = value_and_gradients(|| {
                let mut moments = BatchNormMoments::batch();
                let bound = posterior_bound(&known.live, &drawn, &eta, &mut moments, &mut noise)?;
                Ok(bound.mean_all()?)
            })?;
            let grad = values(grads.get(&eta).unwrap());
            found.iter_mut().zip(grad).for_each(|(average, value)| average.push(value));
        }
        for (i, best) in known.best_eta().into_iter().enumerate() {
            let truth = 1.0 - (2.0 * log_eta[i]).exp() / (best * best);
            found[i].assert(&format!("seed {seed}, ln eta {i}"), truth, 0.0);
        }
    }
    Ok(())
}

#[test]
fn the_posterior_learns_the_width_that_is_best() -> Result<()> {
    let known = orthogonal(DType::F32)?;
    let (low, high) = (known.sigma * 0.9, known.sigma * 1.1);
    let begin = Begin { sigma: known.sigma, sigma_range: [low, high], eta: 0.1 };
    let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
    let players = Players::new(
        store,
        begin,
        |vb| GaussianEnergy::new(5, vb),
        |vb| LinearGenerator::new(3, 5, vb),
    )?;
    for name in ["g.weight", "g.bias"] {
        let value = known.store.get(name).unwrap().as_detached_tensor();
        players.store().get(name).unwrap().set(&value)?;
    }
    let config = TrainConfig::density(1.0, [1e-3, 1e-3, 0.01]);
    let mut state = TrainState::new(&config);
    let mut noise = Seed::new(0).host_noise();
    let mut tail = [0.0; 3];
    for step in 0..2000 {
        let drawn = players.generator().draw(1000, BatchNormMoments::batch(), &mut noise)?;
        let moments = BatchNormMoments::batch();
        posterior_step(&players, &mut state, &config, &drawn, moments, &mut noise)?;
        if step >= 1800 {
            let now = values(players.log_eta());
            tail.iter_mut().zip(now).for_each(|(sum, eta)| *sum += eta / 200.0);
        }
    }
    for (i, (found, best)) in tail.iter().zip(known.best_eta()).enumerate() {
        let ratio = found.exp() / best;
        assert!((ratio - 1.0).abs() < 0.02, "eta {i}: {} of {best}", found.exp());
    }
    Ok(())
}

/// `r(d, k)`, effective samples, and the gradient in `ln sigma`.
///
/// With `W = I` and `sigma = 1` the exact gradient in `W` is `I / 2`, so that `r` is twice the mean of
/// `c . z_0` over `d`; the exact score, whose `r` is 1, serves as control variate.
fn decorrelation(d: usize, k: usize, seed: u64) -> Result<[Average; 3]> {
    let known = Known::isotropic(d, 1.0, 1.0, DType::F32)?;
    let log_eta = known.log_eta()?;
    let mut noise = Seed::new(seed).child("r").host_noise();
    let examples = (6_000_000 / (k * d)).clamp(4_000, 200_000);
    let rows = (1_000_000 / (k * d)).min(examples);
    let mut found = [0; 3].map(|_| Average::default());
    for _ in 0..examples / rows {
        let drawn = known.draw(rows, &mut noise)?;
        let estimate = score(&known, &drawn, &log_eta, k, &mut noise)?;
        let excess = (&estimate.minus_score - known.minus_score(&drawn.x)?)?;
        let along = (excess.mul(&drawn.latent)?.sum(1)? * (2.0 / d as f64))?;
        values(&along).into_iter().for_each(|value| found[0].push(1.0 + value));
        let size = estimate.weights.sqr()?.sum(0)?.recip()?;
        values(&size).into_iter().for_each(|value| found[1].push(value));
        let output_noise = (&drawn.x - &drawn.latent)?;
        let sigma = estimate.minus_score.mul(&output_noise)?.sum(1)?;
        values(&sigma).into_iter().for_each(|value| found[2].push(value));
    }
    Ok(found)
}

/// The table of the specification: `r` for k = 5, 20, 100, 500.
const ROWS: [(usize, [f64; 4]); 3] = [
    (1, [0.56, 0.785, 0.908, 0.965]),
    (4, [0.44, 0.660, 0.81, 0.90]),
    (16, [0.27, 0.43, 0.56, 0.67]),
];

#[test]
fn the_estimate_shrinks_as_its_latents_and_proposals_say() -> Result<()> {
    for (d, row) in ROWS {
        for (k, want) in [5, 20, 100, 500].into_iter().zip(row) {
            let [r, _, sigma] = decorrelation(d, k, 0)?;
            let (found, error) = (r.mean(), r.error());
            assert!((found - want).abs() < 0.02, "d {d}, k {k}: {found} +- {error} for {want}");
            assert!(error < 0.006, "d {d}, k {k}: the error {error} is too large to tell");
            // D - r sum (1 - eta^2), a half for every latent.
            let truth = d as f64 * (1.0 - 0.5 * found);
            sigma.assert(&format!("ln sigma, d {d}, k {k}"), truth, 2.5 * d as f64 * error);
        }
    }
    Ok(())
}

#[test]
fn the_number_of_effective_samples_is_that_of_the_table() -> Result<()> {
    let rows = [(1, 20, 13.2, 0.05), (4, 20, 5.8, 0.05), (16, 20, 2.33, 0.005)];
    let wide = [(1, 100, 61.0, 0.5), (4, 100, 19.1, 0.05), (16, 100, 3.7, 0.05)];
    for (d, k, want, rounded) in rows.into_iter().chain(wide) {
        let size = &decorrelation(d, k, 1)?[1];
        size.assert(&format!("d {d}, k {k}"), want, rounded);
        assert!(size.error() < 0.015 * want, "d {d}, k {k}: {}", size.error());
    }
    Ok(())
}

#[test]
fn at_a_fixed_offset_the_error_falls_with_the_root_of_the_proposals() -> Result<()> {
    let known = Known::isotropic(2, 1.0, 1.0, DType::F32)?;
    let rows = 500;
    // x = 0: the posterior is N(0, I / 2) and the score 0; one standard deviation from its mean.
    let latent = Tensor::new(&[[0.5_f32.sqrt(), 0.0]], &Device::Cpu)?;
    let latent = latent.broadcast_as((rows, 2))?.contiguous()?;
    let x = latent.zeros_like()?;
    let drawn = Drawn { latent, x, moments: BatchNormMoments::batch() };
    let mut errors = Vec::new();
    for k in [100, 1_000, 10_000] {
        let mut noise = Seed::new(k as u64).host_noise();
        let found = score(&known, &drawn, &known.log_eta()?, k, &mut noise)?;
        errors.push((values(&found.minus_score.sqr()?.mean_all()?)[0]).sqrt());
    }
    let slope = (errors[2] / errors[0]).ln() / 100_f64.ln();
    assert!((slope + 0.5).abs() < 0.05, "{errors:?}: slope {slope}");
    Ok(())
}

#[test]
fn proposals_of_the_exact_posterior_have_equal_weights_and_no_bias() -> Result<()> {
    let known = orthogonal(DType::F64)?;
    let (k, rows) = (5, 4_000);
    for seed in SEEDS {
        let mut noise = Seed::new(seed).host_noise();
        let x = known.draw(1, &mut noise)?.x;
        // The posterior's mean in the place of the latent: Sigma W^T (x - mu) / sigma^2.
        let mean = known.minus_score(&x)?.matmul(&known.w.tensor()?)?;
        let repeat = |t: &Tensor| t.broadcast_as((rows, t.dims()[1]))?.contiguous();
        let (latent, samples) = (repeat(&mean)?, repeat(&x)?);
        let drawn = Drawn { latent, x: samples, moments: BatchNormMoments::batch() };
        let found = score(&known, &drawn, &known.log_eta()?, k, &mut noise)?;
        assert_close("weights", &values(&found.weights), &vec![0.2; k * rows], 1e-9);
        assert!((found.effective_samples()? - 5.0).abs() < 1e-8);
        let truth = values(&known.minus_score(&x)?);
        for (i, truth) in truth.into_iter().enumerate() {
            let column = values(&found.minus_score.narrow(1, i, 1)?);
            Average::of(column).assert(&format!("coordinate {i}"), truth, 1e-12);
        }
    }
    Ok(())
}

#[test]
fn a_single_proposal_has_all_the_weight() -> Result<()> {
    let known = oblique(DType::F64)?;
    let mut noise = Seed::new(3).host_noise();
    let drawn = known.draw(6, &mut noise)?;
    let log_eta = Tensor::new(&[-0.5, 0.2], &Device::Cpu)?;
    let u = noise.clone().normal(&(1, 6, 2).into(), DType::F64, &Device::Cpu)?.squeeze(0)?;
    let found = score(&known, &drawn, &log_eta, 1, &mut noise)?;
    let z = (&drawn.latent + u.broadcast_mul(&log_eta.exp()?)?)?;
    let mu = Tensor::new(known.mu.as_slice(), &Device::Cpu)?;
    let mean = z.matmul(&known.w.transposed().tensor()?)?.broadcast_add(&mu)?;
    let want = ((&drawn.x - mean)? * 4.0)?;
    assert_close("c", &values(&found.minus_score), &values(&want), 1e-12);
    assert_close("weights", &values(&found.weights), &[1.0; 6], 0.0);
    Ok(())
}

#[test]
fn many_proposals_find_the_score_of_every_sample() -> Result<()> {
    let known = oblique(DType::F64)?;
    let mut noise = Seed::new(4).host_noise();
    let drawn = known.draw(3, &mut noise)?;
    let log_eta = Tensor::new(&[-0.3, -0.3], &Device::Cpu)?;
    let found = score(&known, &drawn, &log_eta, 200_000, &mut noise)?;
    let want = known.minus_score(&drawn.x)?;
    assert_close("score", &values(&found.minus_score), &values(&want), 0.03);
    Ok(())
}

#[test]
fn known_weights_have_known_numbers_of_effective_samples() -> Result<()> {
    let of = |weights: &[f64]| -> Result<f64> {
        let weights = Tensor::new(weights, &Device::Cpu)?.unsqueeze(1)?;
        let minus_score = weights.zeros_like()?;
        ScoreEstimate { minus_score, weights }.effective_samples()
    };
    for (weights, want) in [
        (vec![0.05; 20], 20.0),
        (vec![1.0, 0.0, 0.0], 1.0),
        (vec![0.5, 0.5, 0.0, 0.0], 2.0),
        (vec![0.5, 0.25, 0.25], 8.0 / 3.0),
    ] {
        assert!((of(&weights)? - want).abs() < 1e-12, "{weights:?}");
    }
    Ok(())
}

#[test]
fn effective_samples_depend_on_the_norm_of_a_shift() -> Result<()> {
    // A generator that is blind to its latent: the posterior is the prior, the proposals are shifted.
    let of = |d: usize, norm: f64, rows: usize| -> Result<Average> {
        let known = Known::isotropic(d, 0.0, 1.0, DType::F32)?;
        let each = norm / (d as f64).sqrt();
        let latent = Tensor::full(each as f32, (rows, d), &Device::Cpu)?;
        let x = latent.zeros_like()?;
        let drawn = Drawn { latent, x, moments: BatchNormMoments::batch() };
        let log_eta = Tensor::zeros(d, DType::F32, &Device::Cpu)?;
        let mut noise = Seed::new(d as u64).host_noise();
        let found = score(&known, &drawn, &log_eta, 20, &mut noise)?;
        Ok(Average::of(values(&found.weights.sqr()?.sum(0)?.recip()?)))
    };
    let curve = [
        (0.0, 20.0, 1e-4),
        (0.25, 18.9, 0.05),
        (0.5, 16.0, 0.05),
        (1.0, 9.99, 0.005),
        (1.5, 6.4, 0.05),
        (2.0, 4.5, 0.05),
        (3.0, 2.88, 0.005),
        (4.0, 2.22, 0.005),
        (5.0, 1.89, 0.005),
        (8.0, 1.48, 0.005),
    ];
    for (norm, want, rounded) in curve {
        of(1, norm, 40_000)?.assert(&format!("norm {norm}"), want, rounded);
        of(3, norm, 20_000)?.assert(&format!("norm {norm} in three dimensions"), want, rounded);
    }
    for (each, want) in [(1.0, 1.31), (2.0, 1.14), (5.0, 1.05)] {
        let found = of(128, each * 128_f64.sqrt(), 4_000)?;
        found.assert(&format!("shift {each} of 128 dimensions"), want, 0.005);
    }
    Ok(())
}
