//! Persistent contrastive divergence.

use candle_core::{DType, Tensor};
use chains_core::{HostNoise, Result, Seed, mcmc::ReplayBuffer, optim::AdamConfig};
use vera::{
    EnergyConfig, EnergyNetwork, Labels, VeraModel,
    baselines::{EnergyLoss, Optimisation, PcdConfig, PcdState, pcd_update},
};

use crate::common::{
    assert_only_the_energy_moved, centred, fill, gaussian, matrix, mlp, model, normal, snapshot,
    values, variable,
};

const PRECISION: &str = "logp_net.log_precision";

fn begin(
    model: &VeraModel,
    config: &PcdConfig,
    event: &[usize],
    seed: u64,
) -> (PcdState, HostNoise) {
    let mut noise = Seed::new(seed).host_noise();
    let state = PcdState::new(config, event, model.store(), &mut noise).unwrap();
    (state, noise)
}

fn small(noise_scale: f64, steps: usize) -> PcdConfig {
    let optimisation = Optimisation::constant(1e-3, 16);
    PcdConfig { buffer: 200, ..PcdConfig::matched(noise_scale, steps, optimisation) }
}

#[test]
fn a_gaussian_is_fitted_up_to_the_bias_of_its_chains() -> Result<()> {
    // Chains on a Gaussian of variance v settle at v / (1 - b^2 / (4 v)). They match data of
    // variance 1 for v = (1 + sqrt(1 - b^2)) / 2: 0.8 for b = 0.8, precision 1.25.
    let config = PcdConfig {
        optimisation: Optimisation {
            adam: AdamConfig::standard(),
            ..Optimisation::constant(0.02, 256)
        },
        buffer: 1000,
        ..PcdConfig::matched(0.8, 10, Optimisation::constant(0.0, 256))
    };
    let model = model(gaussian(1), DType::F64);
    let (mut state, mut noise) = begin(&model, &config, &[1], 1);
    let x = centred(256, 1.0);
    let (mut tail, mut samples) = (0.0, 0.0);
    for i in 0..450 {
        let batch = (&x, Labels::None);
        let terms = pcd_update((&*model).into(), &mut state, &config, batch, &mut noise)?;
        if i >= 150 {
            tail += variable(model.store(), PRECISION) / 300.0;
            samples += (terms.energy.samples - terms.energy.data) / 300.0;
        }
    }
    // A batch tells the variance to sqrt(2 / 256) = 0.09, the tail to about 0.01.
    assert!((tail - 1.25_f64.ln()).abs() < 0.05, "{tail}");
    assert!(samples.abs() < 0.02, "{samples}");
    Ok(())
}

#[test]
fn chains_restart_at_the_rate_and_in_the_range_of_the_configuration() -> Result<()> {
    let model = model(gaussian(3), DType::F64);
    let config = PcdConfig { restart_probability: 0.05, ..small(0.1, 0) };
    let (mut state, mut noise) = begin(&model, &config, &[3], 2);
    let x = normal("x", &[100, 3]);
    let mut share = 0.0;
    for _ in 0..200 {
        let batch = (&x, Labels::None);
        share += pcd_update((&*model).into(), &mut state, &config, batch, &mut noise)?.restarted;
    }
    let error = (0.05 * 0.95 / (100.0 * 200.0_f64)).sqrt();
    assert!((share / 200.0 - 0.05).abs() < 5.0 * error, "{share}");
    // Restarts alone, in a range of one's own: without steps they are where chains end.
    let config = PcdConfig { restart_probability: 1.0, start: [5.0, 6.0], ..config };
    let before = values(&state.buffer.tensor()?);
    assert!(before.iter().all(|x| (-1.0..1.0).contains(x)));
    for _ in 0..100 {
        pcd_update((&*model).into(), &mut state, &config, (&x, Labels::None), &mut noise)?;
    }
    // 10,000 draws of 200 rows leave none out.
    let after = values(&state.buffer.tensor()?);
    assert!(after.iter().all(|x| (5.0..6.0).contains(x)));
    let mean = after.iter().sum::<f64>() / after.len() as f64;
    assert!((mean - 5.5).abs() < 5.0 * (1.0 / 12.0 / after.len() as f64).sqrt(), "{mean}");
    Ok(())
}

#[test]
fn samples_of_the_loss_are_the_ends_of_the_chains() -> Result<()> {
    // f = -p |x|^2 / 2 without noise: ten steps shrink a position by (1 - a p)^10.
    let model = model(gaussian(2), DType::F64);
    fill(model.store(), PRECISION, 0.5_f64.ln());
    let config =
        PcdConfig { step_size: 0.2, noise_scale: 0.0, restart_probability: 0.0, ..small(0.1, 10) };
    let (mut state, mut noise) = begin(&model, &config, &[2], 3);
    state.buffer = ReplayBuffer::from_tensor(&matrix(&[[2.0, 1.0]]))?;
    let x = matrix(&[[1.0, 1.0], [0.0, 2.0]]);
    let batch = (&x, Labels::None);
    let terms = pcd_update((&*model).into(), &mut state, &config, batch, &mut noise)?;
    let shrunk = 0.9_f64.powi(10);
    assert!((terms.energy.samples + 0.25 * 5.0 * shrunk * shrunk).abs() < 1e-12);
    assert!((terms.energy.data + 0.25 * 3.0).abs() < 1e-12);
    assert!((terms.energy.loss - terms.energy.samples + terms.energy.data).abs() < 1e-12);
    for (got, want) in values(&state.buffer.tensor()?).iter().zip([2.0 * shrunk, shrunk]) {
        assert!((got - want).abs() < 1e-12);
    }
    Ok(())
}

#[test]
fn noise_on_data_has_its_deviation() -> Result<()> {
    let model = model(gaussian(1), DType::F64);
    let config = PcdConfig { data_noise: 0.03, ..small(0.1, 0) };
    let (mut state, mut noise) = begin(&model, &config, &[1], 4);
    let x = Tensor::zeros((20_000, 1), DType::F64, model.store().device())?;
    let batch = (&x, Labels::None);
    let terms = pcd_update((&*model).into(), &mut state, &config, batch, &mut noise)?;
    let (want, error) = (-0.5 * 0.03 * 0.03, 0.5 * 0.03 * 0.03 * (2.0 / 20_000.0_f64).sqrt());
    assert!((terms.energy.data - want).abs() < 5.0 * error, "{}", terms.energy.data);
    Ok(())
}

#[test]
fn a_joint_energy_model_has_all_its_terms_and_moves_the_energy_alone() -> Result<()> {
    let model = model(mlp(2, &[8, 8], 3), DType::F64);
    let config = PcdConfig {
        loss: EnergyLoss { gradient_penalty: 0.1, ..EnergyLoss::classes(2.0, 0.5) },
        ..small(0.01, 3)
    };
    let (mut state, mut noise) = begin(&model, &config, &[2], 5);
    let (x, labelled) = (normal("x", &[16, 2]), normal("l", &[4, 2]));
    let classes = Tensor::new(&[0_u32, 1, 2, 0], x.device())?;
    let before = snapshot(model.store());
    let batch = (&x, Labels::Other(&labelled, &classes));
    let terms = pcd_update((&*model).into(), &mut state, &config, batch, &mut noise)?.energy;
    assert_only_the_energy_moved(model.store(), &before);
    let parts = [terms.penalty, terms.classification, terms.class_entropy];
    assert!(parts.iter().all(|part| *part > 0.0), "{terms:?}");
    let want = terms.samples - terms.data
        + 0.1 * terms.penalty
        + 2.0 * terms.classification
        + 0.5 * terms.class_entropy;
    assert!((terms.loss - want).abs() < 1e-12, "{terms:?}");
    Ok(())
}

#[test]
fn a_loss_that_is_no_number_moves_neither_parameters_nor_chains() -> Result<()> {
    let model = model(gaussian(1), DType::F64);
    let config = small(0.1, 2);
    let (mut state, mut noise) = begin(&model, &config, &[1], 6);
    let kept = (snapshot(model.store()), values(&state.buffer.tensor()?));
    let x = matrix(&[[f64::NAN], [0.0]]);
    let batch = (&x, Labels::None);
    let got = pcd_update((&*model).into(), &mut state, &config, batch, &mut noise);
    assert!(got.unwrap_err().is_recoverable());
    assert_eq!((snapshot(model.store()), values(&state.buffer.tensor()?)), kept);
    assert_eq!(state.energy.iteration, 0);
    Ok(())
}

#[test]
fn a_state_that_was_saved_goes_on_with_the_same_bits() -> Result<()> {
    let model = model(EnergyConfig::Nice { dim: 4, hidden: 4, layers: 1 }, DType::F32);
    let config = small(0.1, 2);
    let (mut state, mut noise) = begin(&model, &config, &[4], 7);
    let x = normal("x", &[16, 4]).to_dtype(DType::F32)?;
    let batch = (&x, Labels::None);
    pcd_update((&*model).into(), &mut state, &config, batch, &mut noise)?;
    let (tensors, steps) = state.tensors()?;
    let saved = (&tensors.into_iter().collect(), steps);
    let mut again = PcdState::restore(&config, saved, state.energy.iteration, model.store())?;
    let (parameters, at) = (model.store().tensors(), noise.state());
    let parameters: Vec<_> = parameters.iter().map(|(n, t)| (n, t.copy().unwrap())).collect();
    let want = pcd_update((&*model).into(), &mut state, &config, batch, &mut noise)?;
    for (name, value) in parameters {
        model.store().get(name).unwrap().set(&value)?;
    }
    let mut noise = HostNoise::restore(&at);
    assert_eq!(pcd_update((&*model).into(), &mut again, &config, batch, &mut noise)?, want);
    assert_eq!(values(&again.buffer.tensor()?), values(&state.buffer.tensor()?));
    assert!(PcdState::restore(&config, (&Default::default(), 0), 0, model.store()).is_err());
    Ok(())
}

#[test]
fn chains_see_the_network_in_evaluation() -> Result<()> {
    // Its masks leave everything out: chains have a gradient in evaluation only.
    struct Masked;
    impl EnergyNetwork for Masked {
        fn logits<S: chains_core::tangent::Signal>(&self, x: &S, masks: &[Tensor]) -> Result<S> {
            let x = match masks.first() {
                Some(mask) => x.masked(mask)?,
                None => x.clone(),
            };
            x.square()?.sum_last()?.affine(-0.5, 0.0)?.reshape_event(&[1])
        }

        fn masks(&self, n: usize, _: &mut dyn chains_core::Noise) -> Result<Vec<Tensor>> {
            Ok(vec![Tensor::zeros((n, 1), DType::F64, &candle_core::Device::Cpu)?])
        }
    }
    let model = model(gaussian(1), DType::F64);
    let config = PcdConfig { step_size: 0.5, noise_scale: 0.0, ..small(0.1, 1) };
    let config = PcdConfig { restart_probability: 0.0, ..config };
    let (mut state, mut noise) = begin(&model, &config, &[1], 8);
    state.buffer = ReplayBuffer::from_tensor(&matrix(&[[1.0]]))?;
    let x = matrix(&[[1.0], [1.0]]);
    let player =
        vera::baselines::EnergyPlayer { store: model.store(), live: &Masked, frozen: &Masked };
    // The loss has no variable, so that there is nothing to step.
    let terms = pcd_update(player, &mut state, &config, (&x, Labels::None), &mut noise)?;
    assert_eq!((terms.energy.data.abs(), terms.energy.samples.abs()), (0.0, 0.0));
    assert_eq!(values(&state.buffer.tensor()?), [0.5]);
    Ok(())
}

#[test]
fn presets_are_those_of_the_papers() {
    let nice = PcdConfig::nice();
    assert_eq!((nice.noise_scale, nice.steps, nice.buffer), (0.1, 40, 10_000));
    assert_eq!((nice.optimisation.rate.value, nice.loss.gradient_penalty), (3e-6, 0.0));
    assert!((nice.step_size - 0.005).abs() < 1e-15);
    let jem = PcdConfig::jem(781);
    assert_eq!((jem.step_size, jem.noise_scale, jem.steps), (1.0, 0.01, 20));
    assert_eq!((jem.data_noise, jem.restart_probability), (0.03, 0.05));
    let rate = &jem.optimisation.rate;
    assert_eq!((rate.value, rate.warmup, rate.factor), (1e-4, 1000, 0.3));
    assert_eq!(rate.milestones, [124_960, 140_580]);
    assert_eq!((jem.optimisation.adam.beta1, jem.optimisation.batch_size), (0.9, 64));
    let table = PcdConfig::tabular(40, 10.0, 1e-4, vec![5]);
    assert_eq!((table.step_size, table.noise_scale, table.steps), (1.0, 0.01, 40));
    assert_eq!((table.loss.class_weight, table.loss.class_entropy_weight), (10.0, 1.0));
    for config in [&nice, &jem, &table, &PcdConfig::toy(0.1)] {
        config.validate().unwrap();
    }
    for bad in [
        PcdConfig { step_size: 0.0, ..nice.clone() },
        PcdConfig { noise_scale: -1.0, ..nice.clone() },
        PcdConfig { start: [1.0, 1.0], ..nice.clone() },
        PcdConfig { buffer: 0, ..nice.clone() },
        PcdConfig { restart_probability: 1.5, ..nice.clone() },
        PcdConfig { data_noise: f64::NAN, ..nice.clone() },
        PcdConfig { loss: EnergyLoss::density(-1.0), ..nice },
    ] {
        assert!(bad.validate().is_err(), "{bad:?}");
    }
}
