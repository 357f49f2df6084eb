//! Baselines with a generator: MEG and cooperative networks.

use candle_core::{DType, Device, Tensor};
use chains_core::{
    HostNoise, ParamStore, Result, Seed, autograd::value_and_gradients, optim::AdamConfig,
};
use vera::{
    GeneratorConfig, Labels, ModelConfig, VeraModel,
    baselines::{
        CoopConfig, CoopState, EnergyLoss, MegConfig, MegState, StatisticsNet, coop_update,
        information_loss, meg_update, permutation,
    },
};

use crate::common::{changed, fill, gaussian, mlp, model, normal, snapshot, value, values};

/// With batch norms.
fn toy() -> VeraModel {
    let config = ModelConfig::of(mlp(2, &[8, 8], 1), GeneratorConfig::toy(6));
    VeraModel::of_type(config, Seed::new(3), DType::F64, &Device::Cpu).unwrap()
}

fn is_energy(name: &str) -> bool {
    name.starts_with("logp_net.")
}

/// Both players moved, running moments too, and nothing else.
fn assert_both_moved(model: &VeraModel, changed: &[String]) {
    let known = |name: &String| is_energy(name) || name.starts_with("g.");
    assert!(changed.iter().all(known), "{changed:?}");
    for (name, _) in model.store().all().iter().filter(|(name, _)| known(name)) {
        assert!(name.ends_with("bias") || changed.contains(name), "{name} has not moved");
    }
}

#[test]
fn a_network_that_knows_nothing_loses_ln_2() -> Result<()> {
    let store = ParamStore::new(Seed::new(0), DType::F64, &Device::Cpu);
    let network = StatisticsNet::new([3, 2], &[7, 7, 7], store.builder())?;
    let (x, z) = (normal("x", &[10, 3]), normal("z", &[10, 2]));
    let order = permutation(10, &mut Seed::new(1).host_noise(), &Device::Cpu)?;
    let mut sorted: Vec<u32> = order.to_vec1()?;
    assert_ne!(sorted, (0..10).collect::<Vec<_>>());
    sorted.sort_unstable();
    assert_eq!(sorted, (0..10).collect::<Vec<_>>());
    // Not yet: its initial values know as little, but are not zero.
    let begun = value(&information_loss(&network, &x, &z, &order)?);
    assert!((begun - 2_f64.ln()).abs() > 1e-6);
    for leaf in ["weight", "bias"] {
        fill(&store, &format!("layers.3.{leaf}"), 0.0);
    }
    let zero = value(&information_loss(&network, &x, &z, &order)?);
    assert!((zero - 2_f64.ln()).abs() < 1e-15, "{zero}");
    // T = c: true pairs lose ln(1 + e^-c), strangers ln(1 + e^c).
    fill(&store, "layers.3.bias", 1.5);
    let constant = value(&information_loss(&network, &x, &z, &order)?);
    let want = 0.5 * ((1.0 + (-1.5_f64).exp()).ln() + (1.0 + 1.5_f64.exp()).ln());
    assert!((constant - want).abs() < 1e-14, "{constant}");
    Ok(())
}

#[test]
fn true_pairs_are_told_from_strangers_in_the_order_given() -> Result<()> {
    // T = leaky(2 (x + z) + 0.5) with z = -x: 0.5 for true pairs. A sum of functions of x and z would
    // not do, whose mean is the same over strangers.
    let store = ParamStore::new(Seed::new(0), DType::F64, &Device::Cpu);
    let network = StatisticsNet::new([1, 1], &[1], store.builder())?;
    for (leaf, to) in [("0.weight", 2.0), ("0.bias", 0.5), ("1.weight", 1.0), ("1.bias", 0.0)] {
        fill(&store, &format!("layers.{leaf}"), to);
    }
    let x = Tensor::new(&[[1.0_f64], [2.0], [4.0]], &Device::Cpu)?;
    let order = Tensor::new(&[1_u32, 2, 0], &Device::Cpu)?;
    let got = value(&information_loss(&network, &x, &x.neg()?, &order)?);
    let softplus = |t: f64| t.exp().ln_1p();
    let strangers = softplus(-0.2 * 1.5) + softplus(-0.2 * 3.5) + softplus(6.5);
    assert!((got - (3.0 * softplus(-0.5) + strangers) / 6.0).abs() < 1e-12, "{got}");
    Ok(())
}

#[test]
fn every_number_of_the_statistics_network_has_its_gradient() -> Result<()> {
    const H: f64 = 1e-5;
    let store = ParamStore::new(Seed::new(0), DType::F64, &Device::Cpu);
    let network = StatisticsNet::new([2, 2], &[4, 4, 4], store.builder())?;
    let (x, z) = (normal("x", &[6, 2]), normal("z", &[6, 2]));
    let order = permutation(6, &mut Seed::new(1).host_noise(), &Device::Cpu)?;
    let loss = || information_loss(&network, &x, &z, &order);
    let (_, grads) = value_and_gradients(loss)?;
    for (name, var) in store.trainable() {
        let (base, got) = (values(&var), values(grads.get(var.as_tensor()).unwrap()));
        for at in 0..base.len() {
            let moved = |by: f64| -> Result<f64> {
                let mut moved = base.clone();
                moved[at] += by;
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu)?)?;
                Ok(value(&loss()?))
            };
            let want = (moved(H)? - moved(-H)?) / (2.0 * H);
            assert!((got[at] - want).abs() < 1e-8, "{name}[{at}]: {}, {want}", got[at]);
        }
        var.set(&Tensor::from_vec(base, var.shape(), &Device::Cpu)?)?;
    }
    Ok(())
}

#[test]
fn an_update_of_meg_moves_three_networks_and_goes_on_where_it_was_saved() -> Result<()> {
    let model = toy();
    let config = MegConfig { hidden: vec![6; 3], ..MegConfig::density(1.0, [1e-3; 2]) };
    let mut state = MegState::new(&config, &model, 2, Seed::new(1))?;
    let x = normal("x", &[16, 2]);
    let mut noise = Seed::new(2).host_noise();
    let before = (snapshot(model.store()), snapshot(state.store()));
    let batch = (&x, Labels::None);
    let terms = meg_update(&model, &mut state, &config, batch, &mut noise)?;
    assert_both_moved(&model, &changed(model.store(), &before.0));
    assert_eq!(changed(state.store(), &before.1).len(), before.1.len());
    assert!(terms.energy.penalty > 0.0 && terms.information_loss > 0.0, "{terms:?}");
    let (tensors, steps) = state.tensors();
    let tensors = tensors.into_iter().map(|(n, t)| (n, t.copy().unwrap())).collect();
    let fresh = MegState::new(&config, &model, 2, Seed::new(99))?;
    let mut again = fresh.restore(&config, (&tensors, steps), state.iteration, &model)?;
    let (kept, at) = (snapshot(model.store()), noise.state());
    let want = meg_update(&model, &mut state, &config, batch, &mut noise)?;
    for (name, var) in model.store().all() {
        var.set(&Tensor::from_vec(kept[&name].clone(), var.shape(), var.device())?)?;
    }
    let mut noise = HostNoise::restore(&at);
    assert_eq!(meg_update(&model, &mut again, &config, batch, &mut noise)?, want);
    assert_eq!(snapshot(again.store()), snapshot(state.store()));
    let none = (&Default::default(), [0; 3]);
    assert!(again.restore(&config, none, 0, &model).is_err());
    Ok(())
}

#[test]
fn the_generator_of_meg_has_its_own_turns() -> Result<()> {
    let model = toy();
    let config =
        MegConfig { hidden: vec![6], generator_every: 2, ..MegConfig::density(1.0, [1e-3; 2]) };
    let mut state = MegState::new(&config, &model, 2, Seed::new(1))?;
    let x = normal("x", &[16, 2]);
    let mut noise = Seed::new(2).host_noise();
    meg_update(&model, &mut state, &config, (&x, Labels::None), &mut noise)?;
    let before = (snapshot(model.store()), snapshot(state.store()));
    meg_update(&model, &mut state, &config, (&x, Labels::None), &mut noise)?;
    let moved = changed(model.store(), &before.0);
    assert!(moved.iter().all(|name| is_energy(name) || name.contains("running_")), "{moved:?}");
    assert!(
        moved.iter().any(|name| is_energy(name)) && changed(state.store(), &before.1).is_empty()
    );
    Ok(())
}

#[test]
fn mutual_information_widens_the_generator_of_a_flat_energy() -> Result<()> {
    // f is flat and stays so, and samples begin close together: information alone pulls.
    let model = model(gaussian(2), DType::F64);
    fill(model.store(), "logp_net.log_precision", -30.0);
    let weight = model.store().get("g.weight").unwrap();
    weight.set(&(weight.as_detached_tensor() * 0.1)?)?;
    let size = |weight: &Tensor| value(&weight.sqr().unwrap().sum_all().unwrap());
    let begun = size(&weight);
    let config = MegConfig {
        hidden: vec![32, 32],
        loss: EnergyLoss::density(0.0),
        ..MegConfig::density(1.0, [0.0, 0.01])
    };
    let mut state = MegState::new(&config, &model, 2, Seed::new(1))?;
    let x = normal("x", &[64, 2]);
    let mut noise = Seed::new(2).host_noise();
    let mut tail = 0.0;
    for i in 0..300 {
        let batch = (&x, Labels::None);
        let terms = meg_update(&model, &mut state, &config, batch, &mut noise)?;
        tail += if i < 250 { 0.0 } else { terms.information_loss / 50.0 };
    }
    assert!(tail < 0.6, "{tail} is that of knowing nothing, 0.69");
    assert!(size(&weight) > 4.0 * begun, "{} from {begun}", size(&weight));
    Ok(())
}

#[test]
fn an_update_of_cooperative_networks_moves_both_players() -> Result<()> {
    let model = toy();
    let config = CoopConfig { latent_steps: 2, ..CoopConfig::nice() };
    let mut state = CoopState::new(&config);
    let x = normal("x", &[16, 2]);
    let mut noise = Seed::new(2).host_noise();
    let before = snapshot(model.store());
    let batch = (&x, Labels::None);
    coop_update(&model, &mut state, &config, batch, &mut noise)?;
    assert_both_moved(&model, &changed(model.store(), &before));
    let (tensors, steps) = state.tensors();
    let saved = (&tensors.into_iter().collect(), steps);
    let mut again = CoopState::restore(&config, saved, state.iteration, model.store())?;
    let (kept, at) = (snapshot(model.store()), noise.state());
    coop_update(&model, &mut state, &config, batch, &mut noise)?;
    let want = snapshot(model.store());
    for (name, var) in model.store().all() {
        var.set(&Tensor::from_vec(kept[&name].clone(), var.shape(), var.device())?)?;
    }
    coop_update(&model, &mut again, &config, batch, &mut HostNoise::restore(&at))?;
    assert_eq!(snapshot(model.store()), want);
    Ok(())
}

#[test]
fn nothing_moves_by_a_loss_that_is_no_number() -> Result<()> {
    let (model, x) = (toy(), (normal("x", &[16, 2]) * f64::NAN)?);
    let mut noise = Seed::new(2).host_noise();
    let before = snapshot(model.store());
    let config = CoopConfig::nice();
    let mut coop = CoopState::new(&config);
    let got = coop_update(&model, &mut coop, &config, (&x, Labels::None), &mut noise);
    assert!(got.unwrap_err().is_recoverable());
    let config = MegConfig { hidden: vec![4], ..MegConfig::density(1.0, [1e-3; 2]) };
    let mut meg = MegState::new(&config, &model, 2, Seed::new(1))?;
    let got = meg_update(&model, &mut meg, &config, (&x, Labels::None), &mut noise);
    assert!(got.unwrap_err().is_recoverable());
    assert_eq!((snapshot(model.store()), coop.iteration, meg.iteration), (before, 0, 0));
    Ok(())
}

#[test]
fn chains_of_a_flat_energy_leave_the_generator_by_their_noise() -> Result<()> {
    // l steps of N(0, delta^2) in D numbers: |x - g(z)|^2 / (2 0.3^2) has the mean
    // D l delta^2 / (2 0.3^2).
    let model = model(gaussian(3), DType::F64);
    fill(model.store(), "logp_net.log_precision", -30.0);
    let config = CoopConfig::nice();
    let mut state = CoopState::new(&config);
    let x = normal("x", &[4000, 3]);
    let mut noise = Seed::new(2).host_noise();
    let terms = coop_update(&model, &mut state, &config, (&x, Labels::None), &mut noise)?;
    let want = 3.0 * 10.0 * 0.01 / (2.0 * 0.09);
    let error = want * (2.0 / (3.0 * 4000.0_f64)).sqrt();
    let got = terms.reconstruction;
    assert!((got - want).abs() < 5.0 * error, "{got}, exactly {want}, error {error}");
    Ok(())
}

#[test]
fn without_chains_the_generator_is_where_it_should_be() -> Result<()> {
    let model = toy();
    let config = CoopConfig { steps: 0, ..CoopConfig::nice() };
    let mut state = CoopState::new(&config);
    let before = snapshot(model.store());
    let x = normal("x", &[16, 2]);
    let mut noise = Seed::new(2).host_noise();
    let terms = coop_update(&model, &mut state, &config, (&x, Labels::None), &mut noise)?;
    assert!(terms.reconstruction.abs() < 1e-20, "{}", terms.reconstruction);
    let moved = changed(model.store(), &before);
    assert!(moved.iter().all(|name| is_energy(name) || name.contains("running_")), "{moved:?}");
    Ok(())
}

#[test]
fn latent_steps_sample_the_posterior_of_the_latent() -> Result<()> {
    // g(z) = w z, one of its two latents idle. With S = 1 / (1 + w^2 / 0.3^2) the chain from z_0 has
    // the mean z_0 (1 - S) and, by the size d of its steps, the variance S / (1 - d^2 / (4 S)):
    // E(z_0 - z)^2 = S^2 + that.
    let model = model(gaussian(1), DType::F64);
    let (w, d) = (0.3_f64, 0.3_f64);
    let weight = Tensor::new(&[[w, 0.0]], &Device::Cpu)?;
    model.store().get("g.weight").unwrap().set(&weight)?;
    let config =
        CoopConfig { steps: 0, latent_steps: 150, latent_noise_scale: d, ..CoopConfig::nice() };
    let mut state = CoopState::new(&config);
    let n = 20_000;
    let x = normal("x", &[n, 1]);
    let mut noise = Seed::new(2).host_noise();
    let terms = coop_update(&model, &mut state, &config, (&x, Labels::None), &mut noise)?;
    let s = 1.0 / (1.0 + w * w / 0.09);
    let want = w * w * (s * s + s / (1.0 - d * d / (4.0 * s))) / (2.0 * 0.09);
    let error = want * (2.0 / n as f64).sqrt();
    let got = terms.reconstruction;
    assert!((got - want).abs() < 5.0 * error, "{got}, exactly {want}, error {error}");
    Ok(())
}

#[test]
fn presets_are_those_of_the_papers() {
    let coop = CoopConfig::nice();
    assert_eq!((coop.steps, coop.noise_scale, coop.latent_steps), (10, 0.1, 0));
    assert_eq!((coop.deviation, coop.latent_noise_scale, coop.batch_size), (0.3, 0.1, 128));
    assert_eq!((coop.energy_rate.value, coop.generator_rate.value), (3e-6, 3e-4));
    let meg = MegConfig::nice();
    assert_eq!((meg.hidden.clone(), meg.information_weight), (vec![500, 500, 500], 1.0));
    assert_eq!((meg.loss.gradient_penalty, meg.loss.penalty_half), (0.1, true));
    assert_eq!((meg.adam.beta1, meg.adam.beta2, meg.generator_every), (0.0, 0.9, 1));
    let table = MegConfig::tabular(1e-4, 10.0, vec![7]);
    assert_eq!((table.information_weight, table.batch_size), (1e-4, 64));
    assert!(coop.validate().is_ok() && meg.validate().is_ok() && table.validate().is_ok());
    let adam = AdamConfig { beta2: 1.0, ..AdamConfig::standard() };
    assert!(CoopConfig { adam, ..coop.clone() }.validate().is_err());
    assert!(MegConfig { adam, ..meg.clone() }.validate().is_err());
    assert!(CoopConfig { deviation: 0.0, ..coop.clone() }.validate().is_err());
    assert!(CoopConfig { batch_size: 1, ..coop }.validate().is_err());
    assert!(MegConfig { hidden: vec![0], ..meg.clone() }.validate().is_err());
    assert!(MegConfig { generator_every: 0, ..meg.clone() }.validate().is_err());
    assert!(MegConfig { information_weight: -1.0, ..meg }.validate().is_err());
}
