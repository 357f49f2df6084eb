//! The networks: sizes, names, gradients, densities, and the outputs of PyTorch.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "helpers of tests, exact values")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor, Var};
use chains_core::{
    Noise, ParamStore, Result, Seed,
    autograd::value_and_gradients,
    density::{LogDensity, Sample, value_and_grad},
    nn::BatchNormMoments,
};
use common::{Average, Matrix, SEEDS, assert_close, normal, values};
use vera::{
    EnergyConfig, EnergyNet, EnergyNetwork, GeneratorConfig, GeneratorNet, GeneratorNetwork,
    ModelConfig, Nice, VeraModel,
    config::{GeneratorActivation, Output},
};

fn empty(dtype: DType) -> ParamStore {
    ParamStore::new(Seed::new(2), dtype, &Device::Cpu)
}

fn energy(config: &EnergyConfig, dtype: DType) -> Result<(ParamStore, EnergyNet)> {
    let store = empty(dtype);
    let net = EnergyNet::new(config, store.builder())?;
    Ok((store, net))
}

fn generator(config: &GeneratorConfig, dtype: DType) -> Result<(ParamStore, GeneratorNet)> {
    let store = empty(dtype);
    let net = GeneratorNet::new(config, store.builder())?;
    Ok((store, net))
}

fn wide(depth: usize, widening: usize, outputs: usize) -> EnergyConfig {
    EnergyConfig::WideResNet { depth, widening, channels: 3, outputs, dropout: 0.0 }
}

fn residual(latent: usize, width: usize) -> GeneratorConfig {
    GeneratorConfig::ResNet { latent, channels: 3, width, output: Output::Tanh }
}

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

fn nice(dim: usize, hidden: usize, dtype: DType) -> Result<(ParamStore, Nice)> {
    let store = empty(dtype);
    let net = Nice::new(dim, hidden, 2, store.builder())?;
    // Away from the initial values, at which the map is close to the identity.
    for (name, var) in store.all() {
        let moved = normal(&name, var.shape()).to_dtype(dtype)?;
        var.set(&(var.as_detached_tensor() + (moved * 0.3)?)?)?;
    }
    Ok((store, net))
}

#[test]
fn the_flow_comes_back_from_its_image() -> Result<()> {
    let (_, net) = nice(10, 16, DType::F32)?;
    let x = normal("x", (20, 10)).to_dtype(DType::F32)?;
    let y = net.forward(&x)?;
    assert!((&y - &x)?.abs()?.max_all()?.to_scalar::<f32>()? > 0.1);
    let back = (net.inverse(&y)? - &x)?.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(back < 1e-4, "{back}");
    Ok(())
}

#[test]
fn the_flow_without_couplings_is_standard_normal() -> Result<()> {
    let store = empty(DType::F64);
    let net = Nice::new(6, 5, 4, store.builder())?;
    for (_, var) in store.all() {
        var.set(&var.zeros_like()?)?;
    }
    let x = normal("x", (5, 6));
    let constant = -3.0 * (2.0 * std::f64::consts::PI).ln();
    let want = ((x.sqr()?.sum(1)? * -0.5)? + constant)?;
    assert_close("log p", &values(&net.log_prob(&x)?), &values(&want), 1e-12);
    // Even coordinates stand first.
    let y = values(&net.forward(&Tensor::new(&[[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]], &Device::Cpu)?)?);
    assert_close("order", &y, &[0.0, 2.0, 4.0, 1.0, 3.0, 5.0], 0.0);
    Ok(())
}

#[test]
fn the_flows_couplings_change_odd_even_odd_even_coordinates() -> Result<()> {
    for (k, moves) in [(1, 1), (2, 0), (3, 1), (4, 0)] {
        let store = empty(DType::F64);
        let net = Nice::new(4, 5, 1, store.builder())?;
        for (name, var) in store.all() {
            if !name.starts_with(&format!("nice{k}.")) {
                var.set(&var.zeros_like()?)?;
            }
        }
        let x = normal("x", (3, 4));
        let y = net.inverse(&net.forward(&x)?.affine(1.0, 0.0)?)?;
        assert_close("back", &values(&y), &values(&x), 1e-12);
        let moved = values(&net.forward(&x)?);
        let x = values(&x);
        for row in 0..3 {
            for j in 0..4 {
                let same = (moved[4 * row + j] - x[4 * row + 2 * (j % 2) + j / 2]).abs() < 1e-15;
                assert_eq!(same, j / 2 != moves, "coupling {k}, output {j}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_flows_log_determinant_is_that_of_its_jacobian() -> Result<()> {
    let (store, net) = nice(8, 7, DType::F64)?;
    let (x, h) = (normal("x", (1, 8)), 1e-5);
    let base = values(&x);
    let column = |j: usize| -> Result<Vec<f64>> {
        let at = |by: f64| -> Result<Vec<f64>> {
            let mut x = base.clone();
            x[j] += by;
            Ok(values(&net.forward(&Tensor::from_vec(x, (1, 8), &Device::Cpu)?)?))
        };
        Ok(at(h)?.iter().zip(at(-h)?).map(|(up, down)| (up - down) / (2.0 * h)).collect())
    };
    let columns = (0..8).map(column).collect::<Result<Vec<_>>>()?;
    let jacobian = Matrix::of(8, 8, |i, j| columns[j][i]);
    let want: f64 = values(&store.get("scale.scales").unwrap()).iter().sum();
    assert!(want.abs() > 0.05, "a scale that can be seen: {want}");
    let found = jacobian.inverse().1;
    assert!((found - want).abs() < 1e-8, "{found} for {want}");
    assert!((values(&net.log_determinant()?)[0] - want).abs() < 1e-12);
    Ok(())
}

/// The sum of `exp f` over a grid of the square of this half side, times the area of a cell.
fn mass(net: &impl EnergyNetwork, half: f64, cells: usize) -> Result<f64> {
    let step = 2.0 * half / cells as f64;
    let axis: Vec<f64> = (0..cells).map(|i| (i as f64 + 0.5) * step - half).collect();
    let point = |at: usize| [axis[at / cells], axis[at % cells]];
    let points: Vec<f64> = (0..cells * cells).flat_map(point).collect();
    let points = Tensor::from_vec(points, (cells * cells, 2), &Device::Cpu)?;
    Ok(values(&net.log_density(&points, &[])?.exp()?.sum_all()?)[0] * step * step)
}

#[test]
fn normalised_densities_integrate_to_one() -> Result<()> {
    let found = mass(&nice(2, 8, DType::F64)?.1, 14.0, 400)?;
    assert!((found - 1.0).abs() < 1e-3, "flow: {found}");
    let config = EnergyConfig::Mixture { dim: 2, components: 5 };
    let (store, net) = energy(&config, DType::F64)?;
    for name in ["logstd", "logits"] {
        let var = store.get(name).unwrap();
        var.set(&(normal(name, var.shape()) * 0.4)?)?;
    }
    let found = mass(&net, 14.0, 400)?;
    assert!((found - 1.0).abs() < 1e-3, "mixture: {found}");
    assert!(config.is_normalised());
    Ok(())
}

#[test]
fn the_mixture_is_the_sum_of_its_gaussians() -> Result<()> {
    let (store, net) = energy(&EnergyConfig::Mixture { dim: 2, components: 3 }, DType::F64)?;
    for (name, var) in store.all() {
        var.set(&(normal(&name, var.shape()) * 0.7)?)?;
    }
    let get = |name: &str| values(&store.get(name).unwrap());
    let (mu, logstd, logits) = (get("mu"), get("logstd"), get("logits"));
    let x = normal("x", (4, 2));
    let all: f64 = logits.iter().map(|logit| logit.exp()).sum();
    let density = |x: &[f64]| -> f64 {
        let one = |j: usize| {
            let axis = |d: usize| {
                let (m, s) = (mu[2 * j + d], logstd[2 * j + d].exp());
                (-0.5 * ((x[d] - m) / s).powi(2)).exp() / (s * std::f64::consts::TAU.sqrt())
            };
            logits[j].exp() / all * axis(0) * axis(1)
        };
        (0..3).map(one).sum::<f64>().ln()
    };
    let want: Vec<f64> = values(&x).chunks(2).map(density).collect();
    assert_close("log p", &values(&net.log_density(&x, &[])?), &want, 1e-12);
    Ok(())
}

#[test]
fn the_flows_own_samples_have_the_entropy_of_the_base() -> Result<()> {
    let (store, net) = nice(6, 7, DType::F64)?;
    let scale: f64 = values(&store.get("scale.scales").unwrap()).iter().sum();
    let want = -3.0 * (2.0 * std::f64::consts::PI * std::f64::consts::E).ln() + scale;
    for seed in SEEDS {
        let x = net.sample(20_000, &mut Seed::new(seed).host_noise())?;
        assert_eq!(x.dims(), [20_000, 6]);
        Average::of(values(&net.log_prob(&x)?)).assert("mean log p", want, 0.0);
    }
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

/// Values of PyTorch, made by `fixtures/networks_reference.py`.
const REFERENCE: &str = include_str!("fixtures/networks.json");

fn reference(network: &str, value: &str) -> serde_json::Value {
    let all: serde_json::Value = serde_json::from_str(REFERENCE).unwrap();
    all[network][value].clone()
}

fn list(value: &serde_json::Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The formula of the script.
fn fill(store: &ParamStore) -> Result<()> {
    for (t, (name, var)) in store.trainable().into_iter().enumerate() {
        let count = var.elem_count();
        let sine = (0..count).map(|i| (0.7 * i as f64 + 0.9 * t as f64).sin());
        let norm = name.contains("bn") || name.contains("norms");
        let of = |sine: f64| match var.rank() {
            2.. => sine / (count as f64 / var.dims()[0] as f64).sqrt(),
            _ if norm && name.ends_with("weight") => 1.0 + 0.1 * sine,
            _ => 0.1 * sine,
        };
        let value = Tensor::from_vec(sine.map(of).collect(), var.shape(), &Device::Cpu)?;
        var.set(&value.to_dtype(var.dtype())?)?;
    }
    Ok(())
}

fn image(b: usize) -> Result<Tensor> {
    let at = |i: usize| {
        let [row, channel, y, x] = [i / 3072, i / 1024 % 3, i / 32 % 32, i % 32];
        (0.01 * (row + 3 * channel + 5 * y + 7 * x) as f64).sin()
    };
    Ok(Tensor::from_vec((0..b * 3072).map(at).collect(), (b, 3, 32, 32), &Device::Cpu)?)
}

fn every(values: Vec<f64>, n: usize) -> Vec<f64> {
    values.into_iter().step_by(n).collect()
}

/// Logits, score and penalty of a network in both precisions.
fn assert_energy(name: &str, config: &EnergyConfig, x: &Tensor) -> Result<()> {
    for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 1e-4)] {
        let (store, net) = energy(config, dtype)?;
        fill(&store)?;
        let frozen = EnergyNet::new(config, store.frozen())?;
        let x = x.to_dtype(dtype)?;
        let logits = values(&frozen.logits(&x, &[])?);
        assert_close(name, &logits, &list(&reference(name, "logits")), tolerance);
        let score = value_and_grad(&x, |x| frozen.log_density(x, &[]))?.1;
        let step = if x.elem_count() > 1000 { 61 } else { 61.min(x.elem_count()) };
        let found = every(values(&score), step);
        assert_close(name, &found, &list(&reference(name, "score")), tolerance * 10.0);
        let config = vera::TrainConfig {
            gradient_penalty: 1.0,
            ..vera::TrainConfig::density(1.0, [1e-3; 3])
        };
        let mut terms = vera::Terms::default();
        let mut noise = Seed::new(0).host_noise();
        let batch = (&x, &x, vera::Labels::None);
        let networks = [&net, &frozen];
        let grads = vera::energy_gradients(networks, &config, batch, &mut terms, &mut noise)?;
        let penalty = reference(name, "penalty").as_f64().unwrap();
        assert_close(name, &[terms.penalty], &[penalty], tolerance * 10.0);
        let norms: BTreeMap<String, f64> =
            serde_json::from_value(reference(name, "penalty_gradient_norms")).unwrap();
        let names: BTreeSet<_> = store.trainable().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, norms.keys().cloned().collect::<BTreeSet<_>>(), "{name}");
        let scale = norms.values().copied().fold(0.0, f64::max);
        for (parameter, want) in norms {
            let grad = grads.get(&store.get(&parameter).unwrap()).map(values).unwrap_or_default();
            let norm = grad.iter().map(|slope| slope * slope).sum::<f64>().sqrt();
            let near = (norm - want).abs() <= tolerance * 10.0 * scale;
            assert!(near, "{name}, {parameter}: {norm} for {want}");
        }
    }
    Ok(())
}

#[test]
fn the_wide_network_is_that_of_pytorch() -> Result<()> {
    assert_energy("wide_resnet", &wide(10, 1, 10), &image(2)?)?;
    assert_energy("wide_resnet_16_2", &wide(16, 2, 1), &image(1)?)
}

#[test]
fn other_energies_are_those_of_pytorch() -> Result<()> {
    let net = EnergyConfig::ResNet { channels: 3, width: 6, outputs: 4 };
    assert_energy("resnet_energy", &net, &image(2)?)?;
    let net = EnergyConfig::Dcgan { side: 32, channels: 3, width: 4, outputs: 3 };
    assert_energy("dcgan_energy", &net, &image(2)?)?;
    let net = EnergyConfig::Mlp { dim: 5, hidden: vec![8, 7], outputs: 3, weight_norm: true };
    let table: Vec<f64> = (0..20).map(|i| (0.3 * f64::from(i)).sin()).collect();
    assert_energy("weight_normed", &net, &Tensor::from_vec(table, (4, 5), &Device::Cpu)?)
}

/// Means, gradients, running moments and evaluation of a generator in both precisions.
fn assert_generator(name: &str, config: &GeneratorConfig, b: usize) -> Result<()> {
    for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 2e-4)] {
        let (store, net) = generator(config, dtype)?;
        fill(&store)?;
        let z = (0..b * config.latent()).map(|i| (1.3 * i as f64).sin()).collect();
        let z = Tensor::from_vec(z, (b, config.latent()), &Device::Cpu)?.to_dtype(dtype)?;
        let mut moments = BatchNormMoments::batch();
        let mut mean = None;
        let (_, grads) = value_and_gradients(|| {
            let x = net.mean(&z, &mut moments)?;
            mean = Some(x.detach());
            let sine = (0..x.elem_count()).map(|i| (i as f64).sin()).collect();
            let weights = Tensor::from_vec(sine, x.shape(), &Device::Cpu)?.to_dtype(dtype)?;
            Ok(x.mul(&weights)?.sum_all()?)
        })?;
        let mean = mean.unwrap();
        let step = if mean.elem_count() > 1000 { 53 } else { 1 };
        let found = every(values(&mean), step);
        assert_close(name, &found, &list(&reference(name, "mean")), tolerance);
        let norms: BTreeMap<String, f64> =
            serde_json::from_value(reference(name, "gradient_norms")).unwrap();
        let scale = norms.values().copied().fold(0.0, f64::max);
        assert_eq!(norms.len(), store.trainable().len(), "{name}");
        for (parameter, want) in norms {
            let grad = values(grads.get(&store.get(&parameter).unwrap()).unwrap());
            let norm = grad.iter().map(|slope| slope * slope).sum::<f64>().sqrt();
            let near = (norm - want).abs() <= tolerance * 10.0 * scale;
            assert!(near, "{name}, {parameter}: {norm} for {want}");
        }
        for (norm, found) in net.norms().iter().zip(moments.found()) {
            chains_core::nn::BatchNorm::follow(&store, norm, found)?;
        }
        let running: BTreeMap<String, Vec<f64>> =
            serde_json::from_value(reference(name, "running")).unwrap();
        assert_eq!(running.len(), 2 * net.norms().len());
        for (statistic, want) in running {
            let found = values(&store.get(&statistic).unwrap());
            assert_close(&format!("{name}, {statistic}"), &found, &want, tolerance * 10.0);
        }
        let evaluated = values(&net.mean(&z, &mut BatchNormMoments::Running)?);
        let want = list(&reference(name, "evaluated"));
        assert_close(name, &every(evaluated, step), &want, tolerance);
    }
    Ok(())
}

#[test]
fn generators_are_those_of_pytorch() -> Result<()> {
    assert_generator("resnet_generator", &residual(128, 8), 3)?;
    let net = GeneratorConfig::Dcgan { latent: 10, side: 32, channels: 3, width: 4 };
    assert_generator("dcgan_generator", &net, 3)?;
    assert_generator("mlp_generator", &GeneratorConfig::softplus(6, 9, 5), 4)
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
