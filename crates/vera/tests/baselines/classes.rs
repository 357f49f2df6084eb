//! Classifiers: VAT and supervision; and maximum likelihood.

use candle_core::{DType, Device, Tensor};
use chains_core::{Noise, ParamStore, Result, Seed, tangent::Signal};
use vera::{
    EnergyConfig, EnergyNetwork, Labels, VeraModel,
    baselines::{
        EnergyPlayer, EnergyState, Optimisation, VatConfig, adversarial_direction, divergence,
        likelihood_update, supervised_update, vat_gradients, vat_update,
    },
    class_entropy, cross_entropy, log_softmax,
};

use crate::common::{
    assert_differences, assert_only_the_energy_moved, fill, gaussian, matrix, mlp, model, normal,
    snapshot, value, values, variable,
};

fn config(radius: f64) -> VatConfig {
    VatConfig::tabular(radius, 1e-3, 2.0, vec![])
}

/// Logits 0 and `w . x + c`.
fn logistic(w: [f64; 2], c: f64) -> VeraModel {
    let model = model(mlp(2, &[], 2), DType::F64);
    let set = |name: &str, to: Tensor| model.store().get(name).unwrap().set(&to).unwrap();
    set("logp_net.layers.0.weight", matrix(&[[0.0, 0.0], w]));
    set("logp_net.layers.0.bias", Tensor::new(&[0.0, c], &Device::Cpu).unwrap());
    model
}

#[test]
fn smoothness_of_a_logistic_classifier_has_its_closed_form() -> Result<()> {
    // LDS = p (1 - p) (eps |w|)^2 / 2 as eps -> 0, along +-w / |w|.
    let (w, c) = ([0.6, -0.8], 0.4);
    let model = logistic(w.map(|w| 2.0 * w), c);
    let x = matrix(&[[0.3, 0.2]]);
    let at = 2.0 * (0.6 * 0.3 - 0.8 * 0.2) + c;
    let p = 1.0 / (1.0 + f64::exp(-at));
    let config = VatConfig { class_entropy_weight: 0.0, ..config(1e-3) };
    let mut noise = Seed::new(1).host_noise();
    let (direction, log_p) = adversarial_direction(model.energy(), &config, &x, &[], &mut noise)?;
    let direction = values(&direction);
    let sign = (direction[0] / w[0]).signum();
    for (got, want) in direction.iter().zip(w) {
        assert!((got - sign * want).abs() < 1e-6, "{direction:?}");
    }
    assert!((values(&log_p)[1] - p.ln()).abs() < 1e-12);
    let player = (&*model).into();
    let batch = (&x, Labels::None);
    let (terms, _) = vat_gradients(player, &config, batch, &mut Seed::new(1).host_noise())?;
    let want = 0.5 * p * (1.0 - p) * (2.0e-3_f64).powi(2);
    assert!((terms.smoothness / want - 1.0).abs() < 2e-3, "{}, {want}", terms.smoothness);
    assert!((terms.loss - terms.smoothness).abs() < 1e-18);
    Ok(())
}

#[test]
fn a_direction_is_the_gradient_where_a_random_one_leads() -> Result<()> {
    const H: f64 = 1e-4;
    let model = model(mlp(5, &[16, 16], 4), DType::F64);
    let x = normal("x", &[8, 5]);
    let vat = VatConfig { probe: 0.1, ..config(0.1) };
    let seed = Seed::new(2);
    let (direction, log_p) =
        adversarial_direction(model.energy(), &vat, &x, &[], &mut seed.host_noise())?;
    let begun = seed.host_noise().uniform(x.shape(), DType::F64, &Device::Cpu)?;
    let begun = (begun - 0.5)?;
    let begun = begun.broadcast_div(&begun.sqr()?.sum_keepdim(1)?.sqrt()?)?;
    // The mean over the batch, of one example: the others give nothing to its gradient.
    let share = |d: &Tensor| -> Result<Vec<f64>> {
        let logits = model.energy().logits(&(&x + (d * 0.1)?)?, &[])?;
        let ratio = (&log_p - log_softmax(&logits)?)?;
        Ok(values(&(log_p.exp()?.mul(&ratio)?.sum(1)? / 8.0)?))
    };
    let mut grads = vec![[0.0; 5]; 8];
    for axis in 0..5 {
        let mut step = [0.0; 5];
        step[axis] = H;
        let step = matrix(&[step]);
        let up = share(&begun.broadcast_add(&step)?)?;
        let down = share(&begun.broadcast_sub(&step)?)?;
        for ((grad, up), down) in grads.iter_mut().zip(up).zip(down) {
            grad[axis] = (up - down) / (2.0 * H);
        }
    }
    for (got, grad) in direction.to_vec2::<f64>()?.iter().zip(&grads) {
        let length = grad.iter().map(|g| g * g).sum::<f64>().sqrt();
        for (got, grad) in got.iter().zip(grad) {
            // Short gradients give short directions.
            let want = grad / (length + 1e-8);
            assert!((got - want).abs() < 1e-4, "{got}, differences say {want} of {length}");
        }
    }
    Ok(())
}

#[test]
fn an_adversarial_step_leads_further_than_random_ones() -> Result<()> {
    let model = model(mlp(5, &[16, 16], 4), DType::F64);
    let x = normal("x", &[32, 5]);
    let mut noise = Seed::new(2).host_noise();
    let vat = VatConfig { probe: 0.1, ..config(0.1) };
    let (direction, log_p) = adversarial_direction(model.energy(), &vat, &x, &[], &mut noise)?;
    let far = |d: &Tensor| -> Result<f64> {
        let logits = model.energy().logits(&(&x + (d * 0.1)?)?, &[])?;
        Ok(value(&divergence(&log_p, &logits)?))
    };
    let mut random = 0.0;
    for i in 0..20 {
        let d = normal(&format!("d{i}"), &[32, 5]);
        random += far(&d.broadcast_div(&d.sqr()?.sum_keepdim(1)?.sqrt()?)?)? / 20.0;
    }
    let found = far(&direction)?;
    assert!(found > 1.5 * random, "{found}, random ones {random}");
    assert!(far(&direction.zeros_like()?)?.abs() < 1e-15);
    Ok(())
}

#[test]
fn gradients_of_vat_hold_predictions_and_direction_constant() -> Result<()> {
    let model = model(mlp(3, &[6, 5], 3), DType::F64);
    let (x, labelled) = (normal("x", &[5, 3]), normal("l", &[3, 3]));
    let classes = Tensor::new(&[2_u32, 0, 1], &Device::Cpu)?;
    let vat = config(0.7);
    let noise = || Seed::new(3).host_noise();
    let (direction, log_p) = adversarial_direction(model.energy(), &vat, &x, &[], &mut noise())?;
    let batch = (&x, Labels::Other(&labelled, &classes));
    let (terms, grads) = vat_gradients((&*model).into(), &vat, batch, &mut noise())?;
    let away = (&x + (direction * 0.7)?)?;
    let loss = || -> Result<f64> {
        let net = model.energy();
        let smooth = value(&divergence(&log_p, &net.logits(&away, &[])?)?);
        let entropy = value(&class_entropy(&net.logits(&x, &[])?)?);
        let cross = value(&cross_entropy(&net.logits(&labelled, &[])?, &classes)?);
        Ok(smooth + entropy + 2.0 * cross)
    };
    assert!((terms.loss - loss()?).abs() < 1e-12);
    assert_differences(model.store(), &grads, loss)
}

#[test]
fn an_update_of_vat_moves_the_classifier_alone() -> Result<()> {
    let model = model(mlp(3, &[6, 5], 3), DType::F32);
    let x = normal("x", &[6, 3]).to_dtype(DType::F32)?;
    let classes = Tensor::new(&[2_u32, 0, 1, 1, 0, 2], &Device::Cpu)?;
    let vat = config(0.5);
    let mut state = EnergyState::new(&vat.optimisation);
    let mut noise = Seed::new(4).host_noise();
    let before = snapshot(model.store());
    let batch = (&x, Labels::Same(&classes));
    let terms = vat_update((&*model).into(), &mut state, &vat, batch, &mut noise)?;
    assert_only_the_energy_moved(model.store(), &before);
    // The entropy of predictions counts although everything is labelled.
    let want = terms.smoothness + terms.class_entropy + 2.0 * terms.classification;
    assert!((terms.loss - want).abs() < 1e-5 && terms.class_entropy > 0.0);
    let before = snapshot(model.store());
    let bad = (&x * f64::NAN)?;
    let batch = (&bad, Labels::None);
    assert!(vat_update((&*model).into(), &mut state, &vat, batch, &mut noise).is_err());
    assert_eq!((snapshot(model.store()), state.iteration), (before, 1));
    Ok(())
}

/// Logits are the numbers of an example behind dropout of a half.
struct Dropped;

impl EnergyNetwork for Dropped {
    fn logits<S: Signal>(&self, x: &S, masks: &[Tensor]) -> Result<S> {
        x.masked(&masks[0])
    }

    fn masks(&self, n: usize, noise: &mut dyn Noise) -> Result<Vec<Tensor>> {
        let u = noise.uniform(&(n, 3).into(), DType::F64, &Device::Cpu)?;
        Ok(vec![(u.ge(0.5)?.to_dtype(DType::F64)? * 2.0)?])
    }
}

#[test]
fn all_passes_of_vat_over_the_batch_drop_the_same_units() -> Result<()> {
    let store = ParamStore::new(Seed::new(0), DType::F64, &Device::Cpu);
    let player = EnergyPlayer { store: &store, live: &Dropped, frozen: &Dropped };
    let (x, labelled) = (normal("x", &[20, 3]), normal("l", &[4, 3]));
    let classes = Tensor::new(&[2_u32, 0, 1, 1], &Device::Cpu)?;
    let batch = (&x, Labels::Other(&labelled, &classes));
    let (terms, _) = vat_gradients(player, &config(1e-6), batch, &mut Seed::new(1).host_noise())?;
    assert!(terms.smoothness.abs() < 1e-10, "{}", terms.smoothness);
    let (terms, _) = vat_gradients(player, &config(1.0), batch, &mut Seed::new(1).host_noise())?;
    assert!(terms.smoothness > 0.1, "{}", terms.smoothness);
    Ok(())
}

#[test]
fn presets_of_vat_are_those_of_the_paper() {
    let vat = config(3.0);
    assert_eq!((vat.radius, vat.probe, vat.power_iterations), (3.0, 10.0, 1));
    assert_eq!((vat.smoothness_weight, vat.class_entropy_weight), (1.0, 1.0));
    assert_eq!((vat.optimisation.batch_size, vat.optimisation.rate.factor), (64, 0.3));
    assert!(vat.validate().is_ok());
    assert!(VatConfig { radius: 0.0, ..vat.clone() }.validate().is_err());
    assert!(VatConfig { power_iterations: 0, ..vat.clone() }.validate().is_err());
    assert!(VatConfig { smoothness_weight: -1.0, ..vat }.validate().is_err());
    assert!(Optimisation::constant(1e-3, 0).validate().is_err());
    let mut optimisation = Optimisation::constant(1e-3, 1);
    assert!(optimisation.validate().is_ok());
    optimisation.adam.eps = 0.0;
    assert!(optimisation.validate().is_err());
}

#[test]
fn supervision_learns_the_labels_it_has() -> Result<()> {
    let model = logistic([0.0, 0.0], 0.0);
    let x = matrix(&[[1.0, 0.2], [0.8, -0.3], [-1.1, 0.1], [-0.9, 0.4]]);
    let classes = Tensor::new(&[1_u32, 1, 0, 0], &Device::Cpu)?;
    let optimisation = Optimisation::constant(0.05, 4);
    let mut state = EnergyState::new(&optimisation);
    let mut noise = Seed::new(5).host_noise();
    let before = snapshot(model.store());
    let batch = (&x, &classes);
    let player = (&*model).into();
    let first = supervised_update(player, &mut state, &optimisation, batch, &mut noise)?;
    assert!((first - 2_f64.ln()).abs() < 1e-15);
    assert_only_the_energy_moved(model.store(), &before);
    // Against the gradient: class 1 lies at positive first coordinates.
    assert!(values(&model.store().get("logp_net.layers.0.weight").unwrap())[2] > 0.0);
    let mut last = first;
    for _ in 0..100 {
        last = supervised_update(player, &mut state, &optimisation, batch, &mut noise)?;
    }
    assert!(last < 0.05, "{last}");
    Ok(())
}

#[test]
fn likelihood_is_of_normalised_networks_and_finds_the_moments_of_data() -> Result<()> {
    let optimisation = Optimisation::constant(0.01, 4);
    let mut state = EnergyState::new(&optimisation);
    let mut noise = Seed::new(6).host_noise();
    let x = matrix(&[[1.0], [2.0], [4.0], [5.0]]);
    let free = model(gaussian(1), DType::F64);
    let before = snapshot(free.store());
    let got = likelihood_update((&*free).into(), &mut state, &optimisation, &x, &mut noise);
    assert!(got.unwrap_err().to_string().contains("normalised"));
    assert_eq!(snapshot(free.store()), before);
    let model = model(EnergyConfig::Mixture { dim: 1, components: 1 }, DType::F64);
    fill(model.store(), "logp_net.mu", 2.5);
    let player = (&*model).into();
    let first = likelihood_update(player, &mut state, &optimisation, &x, &mut noise)?;
    let square = (2.25 + 0.25 + 2.25 + 6.25) / 4.0;
    let want = -0.5 * (std::f64::consts::TAU.ln() + square);
    assert!((first - want).abs() < 1e-12, "{first}, {want}");
    for _ in 0..400 {
        likelihood_update(player, &mut state, &optimisation, &x, &mut noise)?;
    }
    // Mean 3, variance 2.5; Adam's last steps are as long as its rate.
    let found = ["mu", "logstd"].map(|name| variable(model.store(), &format!("logp_net.{name}")));
    assert!((found[0] - 3.0).abs() < 0.03, "{found:?}");
    assert!((found[1] - 0.5 * 2.5_f64.ln()).abs() < 0.03, "{found:?}");
    Ok(())
}

#[test]
fn likelihood_moves_the_flow_alone() -> Result<()> {
    let model = model(EnergyConfig::Nice { dim: 4, hidden: 5, layers: 2 }, DType::F32);
    let x = normal("x", &[16, 4]).to_dtype(DType::F32)?;
    let optimisation = Optimisation::constant(1e-3, 16);
    let mut state = EnergyState::new(&optimisation);
    let before = snapshot(model.store());
    let mut noise = Seed::new(7).host_noise();
    likelihood_update((&*model).into(), &mut state, &optimisation, &x, &mut noise)?;
    assert_only_the_energy_moved(model.store(), &before);
    let bad = (x * f64::INFINITY)?;
    let before = snapshot(model.store());
    let got = likelihood_update((&*model).into(), &mut state, &optimisation, &bad, &mut noise);
    assert!(got.is_err());
    assert_eq!(snapshot(model.store()), before);
    Ok(())
}
