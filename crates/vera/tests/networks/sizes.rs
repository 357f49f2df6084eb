//! Sizes, names, shapes and gradients.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Var};
use chains_core::{Noise, Result, Seed, autograd::value_and_gradients, nn::BatchNormMoments};
use vera::{
    EnergyConfig, EnergyNetwork, GeneratorConfig, GeneratorNetwork, ModelConfig, VeraModel,
    config::{GeneratorActivation, Output},
};

use crate::{
    common::{Average, assert_close, normal, values},
    energy, generator, residual, wide,
};

#[test]
fn networks_have_the_published_numbers_of_parameters() -> Result<()> {
    let tables = |dim, classes| ModelConfig::tabular(dim, classes, 10).energy;
    for (config, count) in [
        (ModelConfig::nice_mnist().energy, 15_154_352),
        (tables(784, 10), 1_789_260),
        (tables(15, 2), 1_018_252),
        (ModelConfig::stacked_mnist().energy, 2_764_736),
        (ModelConfig::jem(10).energy, 36_471_338),
        (ModelConfig::jem(100).energy, 36_529_028),
        (wide(28, 2, 10), 1_466_026),
        (ModelConfig::toy().energy, 300 + 10_100 + 101),
        (ModelConfig::mixture().energy, 500),
    ] {
        assert_eq!(energy(&config, DType::F32)?.0.count(), count, "{config:?}");
    }
    for (config, count) in [
        (ModelConfig::nice_mnist().generator, 945_784),
        (ModelConfig::stacked_mnist().generator, 3_576_707),
        (ModelConfig::jem(10).generator, 4_079_363),
        (residual(128, 128), 1_154_947),
        (ModelConfig::toy().generator, 200 + 10_000 + 400 + 202),
    ] {
        assert_eq!(generator(&config, DType::F32)?.0.count(), count, "{config:?}");
    }
    Ok(())
}

/// Names and shapes that the published model has, typed from its list.
fn published_names(k: usize) -> BTreeMap<String, Vec<usize>> {
    let mut all = BTreeMap::new();
    let mut layer = |name: String, weight: Vec<usize>| {
        all.insert(format!("{name}.bias"), vec![weight[0]]);
        all.insert(format!("{name}.weight"), weight);
    };
    layer("logp_net.conv1".into(), vec![16, 3, 3, 3]);
    for (stage, input, width) in [(1, 16, 160), (2, 160, 320), (3, 320, 640)] {
        for block in 0..4 {
            let name = format!("logp_net.layer{stage}.{block}");
            let first = if block == 0 { input } else { width };
            layer(format!("{name}.conv1"), vec![width, first, 3, 3]);
            layer(format!("{name}.conv2"), vec![width, width, 3, 3]);
            if block == 0 {
                layer(format!("{name}.shortcut.0"), vec![width, input, 1, 1]);
            }
        }
    }
    layer("logp_net.linear".into(), vec![k, 640]);
    layer("g.input_linear".into(), vec![4096, 128]);
    for block in 1..=3 {
        for conv in ["conv1", "conv2"] {
            layer(format!("g.block{block}.{conv}"), vec![256, 256, 3, 3]);
        }
    }
    layer("g.output_conv".into(), vec![3, 256, 3, 3]);
    let norms = (1..=3).flat_map(|b| [format!("g.block{b}.bn1"), format!("g.block{b}.bn2")]);
    for norm in norms.chain(["g.output_bn".to_owned()]) {
        for leaf in ["weight", "bias", "running_mean", "running_var"] {
            all.insert(format!("{norm}.{leaf}"), vec![256]);
        }
    }
    all.insert("logsigma".into(), vec![1]);
    all.insert("stepsize".into(), vec![]);
    all.insert("post_logsigma".into(), vec![128]);
    all
}

#[test]
fn the_joint_model_has_the_tensors_of_the_published_one() -> Result<()> {
    let model = VeraModel::new(ModelConfig::jem(10), Seed::new(0), &Device::Cpu)?;
    let all = model.store().all();
    let found: BTreeMap<_, _> =
        all.into_iter().map(|(name, var)| (name, var.dims().to_vec())).collect();
    assert_eq!(found, published_names(10));
    let of = |prefix: &str| found.keys().filter(|name| name.starts_with(prefix)).count();
    // With three of no network and seven counters of batches, which nothing uses, 54 published ones.
    assert_eq!([of("logp_net."), of("g.")], [58, 44]);
    Ok(())
}

#[test]
fn the_flow_has_the_published_names() -> Result<()> {
    let config = EnergyConfig::Nice { dim: 6, hidden: 5, layers: 4 };
    let mut want = BTreeMap::from([("scale.scales".to_owned(), vec![1, 6])]);
    for coupling in 1..=4 {
        for dense in 1..=5 {
            let (input, output) = (if dense == 1 { 3 } else { 5 }, if dense == 5 { 3 } else { 5 });
            let name = format!("nice{coupling}.dense{dense}");
            want.insert(format!("{name}.weight"), vec![output, input]);
            want.insert(format!("{name}.bias"), vec![output]);
        }
    }
    let all = energy(&config, DType::F32)?.0.all();
    let found = all.into_iter().map(|(name, var)| (name, var.dims().to_vec()));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), want);
    Ok(())
}

/// One of every kind, small.
fn energies() -> Vec<EnergyConfig> {
    vec![
        EnergyConfig::Gaussian { dim: 4 },
        EnergyConfig::Mixture { dim: 4, components: 3 },
        EnergyConfig::Nice { dim: 4, hidden: 6, layers: 2 },
        EnergyConfig::Mlp { dim: 4, hidden: vec![7, 6], outputs: 1, weight_norm: false },
        EnergyConfig::Mlp { dim: 4, hidden: vec![7, 6], outputs: 3, weight_norm: true },
        EnergyConfig::Dcgan { side: 16, channels: 2, width: 4, outputs: 3 },
        EnergyConfig::Dcgan { side: 64, channels: 3, width: 2, outputs: 1 },
        EnergyConfig::WideResNet { depth: 10, widening: 1, channels: 3, outputs: 5, dropout: 0.3 },
        EnergyConfig::ResNet { channels: 3, width: 4, outputs: 2 },
    ]
}

fn generators() -> Vec<GeneratorConfig> {
    let (activation, output) = (GeneratorActivation::Softplus, Output::Sigmoid);
    vec![
        GeneratorConfig::Linear { latent: 3, dim: 4 },
        GeneratorConfig::toy(6),
        GeneratorConfig::Mlp { latent: 3, width: 5, layers: 3, dim: 4, activation, output },
        GeneratorConfig::Dcgan { latent: 3, side: 16, channels: 2, width: 4 },
        GeneratorConfig::Dcgan { latent: 3, side: 64, channels: 1, width: 2 },
        residual(5, 4),
    ]
}

#[test]
fn logits_have_a_column_for_every_class_and_every_parameter_learns() -> Result<()> {
    for config in energies() {
        let (store, net) = energy(&config, DType::F32)?;
        let shape = [&[3], config.event().as_slice()].concat();
        let x = normal("x", shape).to_dtype(DType::F32)?;
        let mut noise = Seed::new(0).host_noise();
        let masks = net.masks(3, &mut noise)?;
        assert_eq!(net.logits(&x, &masks)?.dims(), [3, config.outputs()], "{config:?}");
        assert_eq!(net.log_density(&x, &masks)?.dims(), [3]);
        let (_, grads) = value_and_gradients(|| {
            let logits = net.logits(&x, &masks)?;
            let weights = normal("weights", logits.shape()).to_dtype(DType::F32)?;
            Ok(logits.mul(&weights)?.sum_all()?)
        })?;
        for (name, var) in store.trainable() {
            let grad = grads.get(&var).map(values).unwrap_or_default();
            let learns = grad.iter().any(|slope| *slope != 0.0);
            assert!(learns && grad.iter().all(|slope| slope.is_finite()), "{config:?}: {name}");
        }
    }
    Ok(())
}

#[test]
fn means_have_the_shape_of_examples_and_every_parameter_learns() -> Result<()> {
    for config in generators() {
        let (store, net) = generator(&config, DType::F32)?;
        assert_eq!(net.latent(), config.latent());
        let z = normal("z", (5, config.latent())).to_dtype(DType::F32)?;
        let mut moments = BatchNormMoments::batch();
        let (_, grads) = value_and_gradients(|| {
            let mean = net.mean(&z, &mut moments)?;
            assert_eq!(mean.dims()[1..], config.event(), "{config:?}");
            let weights = normal("weights", mean.shape()).to_dtype(DType::F32)?;
            Ok(mean.mul(&weights)?.sum_all()?)
        })?;
        assert_eq!(moments.found().len(), net.norms().len(), "{config:?}");
        for (name, var) in store.trainable() {
            let grad = grads.get(&var).map(values).unwrap_or_default();
            assert!(grad.iter().any(|slope| *slope != 0.0), "{config:?}: {name}");
        }
        let names: BTreeSet<_> = store.all().into_iter().map(|(name, _)| name).collect();
        for norm in net.norms() {
            assert!(names.contains(&format!("{norm}.running_var")), "{config:?}: {norm}");
        }
    }
    Ok(())
}

#[test]
fn evaluation_uses_running_moments_and_no_dropout() -> Result<()> {
    for config in generators() {
        let (store, net) = generator(&config, DType::F64)?;
        if net.norms().is_empty() {
            continue;
        }
        let z = normal("z", (6, config.latent()));
        let run = |mut moments| net.mean(&z, &mut moments);
        let mut found = BatchNormMoments::batch();
        let batch = values(&net.mean(&z, &mut found)?);
        // Running moments that are those of the batch give what the batch gives.
        for (norm, (moments, _)) in net.norms().iter().zip(found.found()) {
            for (leaf, value) in
                [("running_mean", &moments.mean), ("running_var", &moments.variance)]
            {
                let var = store.get(&format!("{norm}.{leaf}")).unwrap();
                var.set(&value.reshape(var.shape())?)?;
            }
        }
        let running = values(&run(BatchNormMoments::Running)?);
        assert_close(&format!("{config:?}"), &running, &batch, 1e-9);
        // One example does not see the others.
        let one = net.mean(&z.narrow(0, 2, 1)?, &mut BatchNormMoments::Running)?;
        let width = one.elem_count();
        assert_close("alone", &values(&one), &running[2 * width..3 * width], 1e-9);
        let one = net.mean(&z.narrow(0, 2, 1)?, &mut found.fixed())?;
        assert_close("fixed", &values(&one), &batch[2 * width..3 * width], 1e-9);
    }
    let dropping =
        EnergyConfig::WideResNet { depth: 10, widening: 1, channels: 3, outputs: 5, dropout: 0.4 };
    let (_, net) = energy(&dropping, DType::F32)?;
    let masks = net.masks(8, &mut Seed::new(0).host_noise())?;
    let shapes: Vec<_> = masks.iter().map(|mask| mask.dims()[1..].to_vec()).collect();
    // Between the convolutions, in front of the stride.
    assert_eq!(shapes, [vec![16, 32, 32], vec![32, 32, 32], vec![64, 16, 16]]);
    for mask in masks {
        let kept = values(&mask);
        assert!(kept.iter().all(|x| *x == 0.0 || (x * 0.6 - 1.0).abs() < 1e-6));
        Average::of(kept).assert("a mask's mean", 1.0, 0.0);
    }
    let x = normal("x", (2, 3, 32, 32)).to_dtype(DType::F32)?;
    let masks = net.masks(2, &mut Seed::new(0).host_noise())?;
    let [dropped, whole] = [values(&net.logits(&x, &masks)?), values(&net.logits(&x, &[])?)];
    assert!(dropped.iter().zip(&whole).any(|(a, b)| (a - b).abs() > 1e-3));
    let (_, plain) = energy(&wide(10, 1, 5), DType::F32)?;
    assert_eq!(values(&plain.logits(&x, &[])?), whole);
    Ok(())
}

#[test]
fn gains_of_normalised_weights_begin_at_the_lengths_of_rows() -> Result<()> {
    let energy = EnergyConfig::Mlp { dim: 6, hidden: vec![5, 4], outputs: 3, weight_norm: true };
    let config = ModelConfig::of(energy, GeneratorConfig::softplus(2, 8, 6));
    let model = VeraModel::of_type(config, Seed::new(0), DType::F64, &Device::Cpu)?;
    let get = |name: &str| model.store().get(name).unwrap().as_detached_tensor();
    let x = normal("x", (4, 6));
    let mut h = x.clone();
    for i in 0..2 {
        let layer = format!("logp_net.layers.{i}");
        // So the network is the one without normalisation.
        let weight = get(&format!("{layer}.weight_v"));
        let out = h.matmul(&weight.t()?)?.broadcast_add(&get(&format!("{layer}.bias")))?;
        h = out.maximum(&(&out * 0.2)?)?;
    }
    let bias = get("logp_net.layers.2.bias");
    let want = h.matmul(&get("logp_net.layers.2.weight").t()?)?.broadcast_add(&bias)?;
    assert_close("logits", &values(&model.energy().logits(&x, &[])?), &values(&want), 1e-12);
    Ok(())
}

#[test]
fn inputs_of_another_shape_are_refused() -> Result<()> {
    for config in energies() {
        let (_, net) = energy(&config, DType::F32)?;
        let mut shape = [&[2], config.event().as_slice()].concat();
        shape[1] += 1;
        let x = normal("x", shape).to_dtype(DType::F32)?;
        assert!(net.logits(&x, &[]).is_err(), "{config:?}");
    }
    for config in generators() {
        let (_, net) = generator(&config, DType::F32)?;
        let z = normal("z", (2, config.latent() + 1)).to_dtype(DType::F32)?;
        assert!(net.mean(&z, &mut BatchNormMoments::batch()).is_err(), "{config:?}");
    }
    Ok(())
}

#[test]
fn samples_carry_their_noise_behind_the_output() -> Result<()> {
    // A generator with a tanh may leave [-1, 1]; x = g(z) + sigma e, gradient e sigma in ln sigma.
    let config = ModelConfig::of(
        EnergyConfig::Gaussian { dim: 3 },
        GeneratorConfig::Mlp {
            latent: 2,
            width: 8,
            layers: 2,
            dim: 3,
            activation: GeneratorActivation::Relu,
            output: Output::Tanh,
        },
    );
    let config = ModelConfig { sigma_range: [0.01, 3.0], initial_sigma: 1.5, ..config };
    let model = VeraModel::of_type(config, Seed::new(0), DType::F64, &Device::Cpu)?;
    let mut noise = Seed::new(1).host_noise();
    let mut again = noise.clone();
    let mut drawn = None;
    let (_, grads) = value_and_gradients(|| {
        let found = model.live_generator().draw(50, BatchNormMoments::batch(), &mut noise)?;
        drawn = Some((found.latent.detach(), found.x.detach()));
        Ok(found.x.sum_all()?)
    })?;
    let (latent, x) = drawn.unwrap();
    let z = again.normal(&(50, 2).into(), DType::F64, &Device::Cpu)?;
    let e = again.normal(&(50, 3).into(), DType::F64, &Device::Cpu)?;
    assert_eq!(values(&latent), values(&z));
    let mean = model.generator().network.mean(&z, &mut BatchNormMoments::batch())?;
    let want = (mean + (&e * 1.5)?)?;
    assert_close("x", &values(&x), &values(&want), 1e-12);
    assert!(values(&x).iter().any(|x| x.abs() > 1.0));
    let log_sigma: Var = model.store().get("logsigma").unwrap();
    let slope = values(grads.get(&log_sigma).unwrap());
    assert_close("ln sigma", &slope, &[1.5 * values(&e.sum_all()?)[0]], 1e-9);
    Ok(())
}
