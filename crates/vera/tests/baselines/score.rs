//! Sliced and denoising score matching.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Init, VarBuilder};
use chains_core::{
    ParamStore, Result, Seed,
    density::value_and_grad,
    optim::AdamConfig,
    schedule::MultiStep,
    tangent::{Jet, Signal},
};
use vera::{
    EnergyConfig, EnergyNetwork,
    baselines::{
        Directions, EnergyPlayer, EnergyState, Optimisation, ScoreMatching, ScoreMatchingConfig,
        denoising_gradients, score_matching_update, sliced_gradients,
    },
};

use crate::common::{
    assert_differences, assert_only_the_energy_moved, assert_same_gradients, centred, fill,
    gaussian, in_f32, matrix, mlp, model, normal, snapshot, variable,
};

const PRECISION: &str = "logp_net.log_precision";

fn networks() -> [EnergyConfig; 3] {
    let nice = EnergyConfig::Nice { dim: 4, hidden: 5, layers: 2 };
    [nice, mlp(4, &[6, 5], 3), EnergyConfig::Mixture { dim: 4, components: 3 }]
}

#[test]
fn gradients_of_sliced_score_matching_are_differences_of_it() -> Result<()> {
    let (x, v) = (normal("x", &[5, 4]), normal("v", &[5, 4]));
    for config in networks() {
        for variance_reduced in [false, true] {
            let model = model(config.clone(), DType::F64);
            let player = EnergyPlayer::from(&*model);
            let loss = || sliced_gradients(player, &x, &v, variance_reduced, &[]);
            let (_, grads) = loss()?;
            assert_differences(model.store(), &grads, || Ok(loss()?.0))?;
        }
    }
    Ok(())
}

#[test]
fn gradients_of_denoising_score_matching_are_differences_of_it() -> Result<()> {
    let (x, n) = (normal("x", &[5, 4]), normal("n", &[5, 4]));
    for config in networks() {
        let model = model(config, DType::F64);
        let player = EnergyPlayer::from(&*model);
        let loss = || denoising_gradients(player, &x, &n, 0.8, &[]);
        let (_, grads) = loss()?;
        assert_differences(model.store(), &grads, || Ok(loss()?.0))?;
    }
    Ok(())
}

/// `f(x) = -sum softplus(w m x)` with dropout `m`.
struct Dropped(Tensor);

impl EnergyNetwork for Dropped {
    fn logits<S: Signal>(&self, x: &S, masks: &[Tensor]) -> Result<S> {
        let h = match masks.first() {
            Some(mask) => x.masked(mask)?,
            None => x.clone(),
        };
        h.scaled(&self.0)?.softplus()?.sum_last()?.affine(-1.0, 0.0)?.reshape_event(&[1])
    }
}

#[test]
fn both_passes_of_an_objective_drop_the_same_units() -> Result<()> {
    let store = ParamStore::new(Seed::new(1), DType::F64, &Device::Cpu);
    let init = Init::Uniform { lo: 0.5, up: 2.0 };
    let net = |vb: VarBuilder<'_>| Dropped(vb.get_with_hints(4, "logp_net.w", init).unwrap());
    let (live, frozen) = (net(store.builder()), net(store.frozen()));
    let player = EnergyPlayer { store: &store, live: &live, frozen: &frozen };
    let (x, v) = (normal("x", &[6, 4]), normal("v", &[6, 4]));
    let mask = [normal("m", &[6, 4]).ge(0.0)?.to_dtype(DType::F64)?];
    for variance_reduced in [false, true] {
        let loss = || sliced_gradients(player, &x, &v, variance_reduced, &mask);
        assert_differences(&store, &loss()?.1, || Ok(loss()?.0))?;
    }
    let loss = || denoising_gradients(player, &x, &v, 0.7, &mask);
    assert_differences(&store, &loss()?.1, || Ok(loss()?.0))
}

#[test]
fn single_precision_gives_the_same_gradients() -> Result<()> {
    let (x, v) = (normal("x", &[6, 4]), normal("v", &[6, 4]));
    let [x32, v32] = [&x, &v].map(|t| t.to_dtype(DType::F32).unwrap());
    for config in networks() {
        let double = model(config, DType::F64);
        let single = in_f32(&double);
        let [f32s, f64s] = [EnergyPlayer::from(&*single), EnergyPlayer::from(&*double)];
        for variance_reduced in [false, true] {
            let (_, got) = sliced_gradients(f32s, &x32, &v32, variance_reduced, &[])?;
            let (_, want) = sliced_gradients(f64s, &x, &v, variance_reduced, &[])?;
            assert_same_gradients((&single, &got), (&double, &want));
        }
        let (_, got) = denoising_gradients(f32s, &x32, &v32, 0.5, &[])?;
        let (_, want) = denoising_gradients(f64s, &x, &v, 0.5, &[])?;
        assert_same_gradients((&single, &got), (&double, &want));
    }
    Ok(())
}

#[test]
fn sliced_score_matching_is_least_at_the_datas_precision() -> Result<()> {
    // f = -p x^2 / 2, signs: -p + p^2 x^2 / 2 in both forms.
    let model = model(gaussian(1), DType::F64);
    let player = EnergyPlayer::from(&*model);
    let x = centred(50, 0.49);
    let v = Directions::Rademacher.draw(&x, &mut Seed::new(1).host_noise())?;
    for variance_reduced in [false, true] {
        for (p, slope) in [(1.0 / 0.49, 0.0), (1.0, -1.0 + 0.49), (3.0, -3.0 + 9.0 * 0.49)] {
            fill(model.store(), PRECISION, f64::ln(p));
            let (loss, grads) = sliced_gradients(player, &x, &v, variance_reduced, &[])?;
            assert!((loss - (-p + 0.5 * p * p * 0.49)).abs() < 1e-12);
            let var = model.store().get(PRECISION).unwrap();
            let got = crate::common::value(grads.get(var.as_tensor()).unwrap());
            assert!((got - slope).abs() < 1e-12, "{p}: {got}");
        }
    }
    Ok(())
}

#[test]
fn denoising_score_matching_is_least_at_the_precision_of_noisy_data() -> Result<()> {
    // Data of two points and noise of two signs: all their moments up to the second are exact.
    let (s2, d) = (0.49_f64, 0.6);
    let (a, p) = (s2.sqrt(), 1.0 / (s2 + d * d));
    let x = matrix(&[[a], [a], [-a], [-a]]);
    let n = matrix(&[[1.0], [-1.0], [1.0], [-1.0]]);
    let model = model(gaussian(1), DType::F64);
    for (precision, sign) in [(p, 0.0), (0.9 * p, -1.0), (1.1 * p, 1.0)] {
        fill(model.store(), PRECISION, precision.ln());
        let (loss, grads) = denoising_gradients(EnergyPlayer::from(&*model), &x, &n, d, &[])?;
        // |-d^2 p (x + d n) + d n|^2 / 2.
        let want =
            d.powi(4) * precision * precision * (s2 + d * d) - 2.0 * d.powi(4) * precision + d * d;
        assert!((loss - 0.5 * want).abs() < 1e-12);
        let var = model.store().get(PRECISION).unwrap();
        let got = crate::common::value(grads.get(var.as_tensor()).unwrap());
        // In ln p.
        let want = d.powi(4) * precision * (precision * (s2 + d * d) - 1.0);
        assert!((got - want).abs() < 1e-12 && want * sign >= 0.0);
    }
    Ok(())
}

#[test]
fn the_mean_curvature_along_random_directions_is_the_trace() -> Result<()> {
    const N: usize = 40_000;
    let config = EnergyConfig::Mixture { dim: 3, components: 4 };
    let model = model(config, DType::F64);
    let point = matrix(&[[0.3, -0.8, 0.5]]);
    let bend = |v: [f64; 3]| -> Result<f64> {
        let jet = model.energy().log_density(&Jet::along(point.clone(), matrix(&[v]))?, &[])?;
        Ok(jet.second().to_vec1::<f64>()?[0])
    };
    let unit = |i: usize| [0, 1, 2].map(|j| f64::from(u8::from(i == j)));
    let entry = |i: usize, j: usize| -> Result<f64> {
        let sum = [0, 1, 2].map(|k| unit(i)[k] + unit(j)[k]);
        Ok(0.5 * (bend(sum)? - bend(unit(i))? - bend(unit(j))?))
    };
    let (mut trace, mut on, mut off) = (0.0, 0.0, 0.0);
    for i in 0..3 {
        for j in 0..3 {
            let entry = entry(i, j)?;
            if i == j {
                (trace, on) = (trace + entry, on + entry * entry);
            } else {
                off += entry * entry;
            }
        }
    }
    let x = point.broadcast_as((N, 3))?.contiguous()?;
    let score = value_and_grad(&point, |x| model.energy().log_density(x, &[]))?.1;
    let half = 0.5 * score.sqr()?.sum_all()?.to_scalar::<f64>()?;
    let laws = [(Directions::Rademacher, 2.0 * off), (Directions::Gaussian, 2.0 * (on + off))];
    for (law, variance) in laws {
        let v = law.draw(&x, &mut Seed::new(2).host_noise())?;
        let (loss, _) = sliced_gradients(EnergyPlayer::from(&*model), &x, &v, true, &[])?;
        let error = (variance / N as f64).sqrt();
        let excess = loss - half - trace;
        assert!(excess.abs() < 5.0 * error && error > 1e-4, "{law:?}: {excess} of {error}");
    }
    Ok(())
}

#[test]
fn updates_find_the_optima_of_gaussian_data() -> Result<()> {
    let x = centred(256, 0.49);
    let optimisation = Optimisation {
        rate: MultiStep::constant(0.02),
        adam: AdamConfig::standard(),
        batch_size: 256,
    };
    let sliced = |variance_reduced| ScoreMatching::Sliced {
        variance_reduced,
        directions: Directions::Gaussian,
    };
    let denoising = ScoreMatching::Denoising { deviation: 0.5 };
    let cases = [(sliced(false), 0.49), (sliced(true), 0.49), (denoising, 0.49 + 0.25)];
    for (objective, variance) in cases {
        let variance: f64 = variance;
        let config = ScoreMatchingConfig { objective, optimisation: optimisation.clone() };
        config.validate()?;
        let model = model(gaussian(1), DType::F64);
        let mut state = EnergyState::new(&config.optimisation);
        let mut noise = Seed::new(4).host_noise();
        let mut tail = 0.0;
        for i in 0..500 {
            score_matching_update((&*model).into(), &mut state, &config, &x, &mut noise)?;
            tail += if i < 250 { 0.0 } else { variable(model.store(), PRECISION) / 250.0 };
        }
        // One batch tells ln p to sqrt(6 / 256) = 0.15, the tail to about 0.01.
        let excess = tail + variance.ln();
        assert!(excess.abs() < 0.05, "{objective:?}: {tail} is off by {excess}");
    }
    Ok(())
}

#[test]
fn score_matching_moves_the_energy_alone_and_goes_on_where_it_was_saved() -> Result<()> {
    let x = normal("x", &[16, 4]);
    let config = ScoreMatchingConfig::sliced(true);
    let model = model(EnergyConfig::Nice { dim: 4, hidden: 5, layers: 2 }, DType::F64);
    let mut noise = Seed::new(5).host_noise();
    let mut state = EnergyState::new(&config.optimisation);
    let before = snapshot(model.store());
    score_matching_update((&*model).into(), &mut state, &config, &x, &mut noise)?;
    assert_only_the_energy_moved(model.store(), &before);
    let (tensors, steps) = state.tensors();
    let saved = (&tensors.into_iter().collect(), steps);
    let mut again =
        EnergyState::restore(&config.optimisation, saved, state.iteration, model.store())?;
    let (kept, at) = (snapshot(model.store()), noise.state());
    score_matching_update((&*model).into(), &mut state, &config, &x, &mut noise)?;
    let want = snapshot(model.store());
    for (name, var) in model.store().all() {
        var.set(&Tensor::from_vec(kept[&name].clone(), var.shape(), var.device())?)?;
    }
    let mut noise = chains_core::HostNoise::restore(&at);
    score_matching_update((&*model).into(), &mut again, &config, &x, &mut noise)?;
    assert_eq!(snapshot(model.store()), want);
    Ok(())
}

#[test]
fn a_loss_that_is_no_number_moves_nothing() -> Result<()> {
    let x = matrix(&[[f64::NAN], [1.0]]);
    let model = model(gaussian(1), DType::F64);
    for config in [ScoreMatchingConfig::sliced(false), ScoreMatchingConfig::denoising(0.1)] {
        let mut state = EnergyState::new(&config.optimisation);
        let before = snapshot(model.store());
        let mut noise = Seed::new(5).host_noise();
        let got = score_matching_update((&*model).into(), &mut state, &config, &x, &mut noise);
        assert!(got.unwrap_err().is_recoverable());
        assert_eq!((snapshot(model.store()), state.iteration), (before, 0));
    }
    assert!(ScoreMatchingConfig::denoising(0.0).validate().is_err());
    Ok(())
}
