//! The networks of the supplement: sizes, names, shapes, inputs.

mod common;

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};
use chains_core::{Error, ParamStore, Result, Seed, chain::Step, nn::Gains};
use common::{assert_close, values};
use walkback::{
    Architecture, DenseInit, DenseNorm, NetworkConfig, OperatorNetwork, Outputs, Statistics,
    WalkbackModel,
};

/// Remembers what a network asks for, and gives zeros that occupy one element.
#[derive(Clone, Default)]
struct Counter {
    asked: Arc<Mutex<Vec<(String, usize)>>>,
}

impl SimpleBackend for Counter {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        if let Ok(mut asked) = self.asked.lock() {
            asked.push((name.to_owned(), shape.elem_count()));
        }
        Tensor::zeros(1, dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("{name}: asked for without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// Names and sizes of the tensors of a network.
fn tensors(config: &NetworkConfig) -> Result<Vec<(String, usize)>> {
    let counter = Counter::default();
    let vb = VarBuilder::from_backend(Box::new(counter.clone()), DType::F32, Device::Cpu);
    OperatorNetwork::new(config, vb.clone(), vb)?;
    let asked = counter.asked.lock().map(|asked| asked.clone()).unwrap_or_default();
    Ok(asked)
}

fn total(tensors: &[(String, usize)], keep: impl Fn(&str) -> bool) -> usize {
    tensors.iter().filter(|(name, _)| keep(name)).map(|(_, count)| count).sum()
}

fn is_statistic(name: &str) -> bool {
    name.contains(".running_")
}

fn is_gain(name: &str) -> bool {
    name.contains(".norm")
}

fn mixture(hidden: usize) -> NetworkConfig {
    NetworkConfig {
        architecture: Architecture::Mlp { hidden: vec![hidden; 2] },
        ..NetworkConfig::mixture()
    }
}

#[test]
fn weights_add_up_to_the_totals_of_the_architectures() -> Result<()> {
    for (config, want) in [
        (NetworkConfig::mnist(), 6_396_594),
        (NetworkConfig::cifar10(), 32_446_534),
        (NetworkConfig::svhn(), 14_620_742),
        (NetworkConfig::celeba(), 39_786_566),
        (NetworkConfig::mnist_mlp(10), 4_263_968),
        (mixture(256), 67_076),
        (NetworkConfig::curve(), 16_809_988),
    ] {
        let tensors = tensors(&config)?;
        let got = total(&tensors, |name| !is_gain(name) && !is_statistic(name));
        assert_eq!(got, want, "{config:?}");
    }
    Ok(())
}

#[test]
fn gains_of_every_step_complete_the_number_of_stored_parameters() -> Result<()> {
    let cifar = NetworkConfig { steps: 1, ..NetworkConfig::cifar10() };
    for (config, want) in [(NetworkConfig::mnist(), 6_736_594), (cifar, 32_472_774)] {
        assert_eq!(total(&tensors(&config)?, |name| !is_statistic(name)), want);
    }
    // Two hidden layers, a gain and a shift a unit and step.
    let gains = |config: &NetworkConfig| -> Result<usize> { Ok(total(&tensors(config)?, is_gain)) };
    assert_eq!(gains(&NetworkConfig::mnist_mlp(10))?, 4 * 1200 * 10);
    assert_eq!(gains(&mixture(256))?, 4 * 256 * 30);
    let shared = NetworkConfig { dense_gains: Gains::Shared, ..mixture(256) };
    assert_eq!(gains(&shared)?, 4 * 256);
    assert_eq!(gains(&NetworkConfig { dense_gains: Gains::None, ..shared })?, 0);
    assert_eq!(gains(&NetworkConfig::curve())?, 0);
    Ok(())
}

#[test]
fn moments_are_stored_by_direction_and_step() -> Result<()> {
    let of =
        |config: &NetworkConfig| -> Result<usize> { Ok(total(&tensors(config)?, is_statistic)) };
    // Mean and variance of each direction.
    assert_eq!(of(&mixture(256))?, 4 * 2 * 256 * 30);
    assert_eq!(of(&NetworkConfig::curve())?, 0);
    // Layer norm stores none: the convolutions of the encoder and of both branches alone.
    assert_eq!(of(&NetworkConfig::mnist())?, 4 * (16 + 32 + 16 + 16) * 30);
    Ok(())
}

#[test]
fn tensors_have_the_documented_names() -> Result<()> {
    let config = NetworkConfig { steps: 2, ..NetworkConfig::conv([1, 4, 4], vec![2], vec![5], 2) };
    let mut names: Vec<_> = tensors(&config)?.into_iter().map(|(name, _)| name).collect();
    names.sort();
    let mut want: Vec<String> =
        ["mean.0.weight", "mean.0.bias", "variance.0.weight", "variance.0.bias"]
            .map(str::to_owned)
            .to_vec();
    let moments = |layer: &str| -> Vec<String> {
        let all = ["heat", "cool"].into_iter().flat_map(|set| {
            (0..2).flat_map(move |step| {
                ["running_mean", "running_var"].map(|leaf| format!("{set}.{step}.{leaf}"))
            })
        });
        all.map(|name| format!("{layer}.{name}")).collect()
    };
    want.extend(["weight", "norm.weight", "norm.bias"].map(|leaf| format!("encoder.0.{leaf}")));
    want.extend(moments("encoder.0"));
    for layer in ["hidden.0", "hidden.1"] {
        want.push(format!("{layer}.weight"));
        for step in 0..2 {
            want.extend(["weight", "bias"].map(|leaf| format!("{layer}.norms.{step}.{leaf}")));
        }
        want.extend(moments(layer));
    }
    want.sort();
    assert_eq!(names, want);
    let mut heads: Vec<_> = tensors(&common::networks(2)[0])?.into_iter().map(|(n, _)| n).collect();
    heads.sort();
    let want = ["hidden.0", "hidden.1", "mean_head", "variance_head"];
    let want: Vec<_> =
        want.iter().flat_map(|l| ["bias", "weight"].map(|leaf| format!("{l}.{leaf}"))).collect();
    assert_eq!(heads, want);
    Ok(())
}

fn network(config: &NetworkConfig) -> Result<(ParamStore, OperatorNetwork)> {
    let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
    let network = OperatorNetwork::new(config, store.builder(), store.builder())?;
    Ok((store, network))
}

#[test]
fn outputs_have_the_shape_of_the_state_for_every_kind_of_network() -> Result<()> {
    let narrow =
        |event, channels: &[usize]| NetworkConfig::conv(event, channels.to_vec(), vec![8], 3);
    let wide = NetworkConfig { dense_norm: DenseNorm::None, ..narrow([3, 16, 8], &[4]) };
    let more = [
        narrow([1, 28, 28], &[2, 4]),
        narrow([3, 32, 32], &[2, 3, 4]),
        narrow([3, 64, 64], &[2, 3, 4]),
        wide,
        NetworkConfig::mlp([1, 1, 2], vec![], 2),
    ];
    for config in common::networks(3).into_iter().chain(more) {
        for config in common::norm_variants(&config) {
            for temp_input in [false, true] {
                let config = NetworkConfig { temp_input, ..config.clone() };
                let (_, network) = network(&config)?;
                let s = Tensor::ones((3, config.dim()), DType::F32, &Device::Cpu)?;
                for statistics in [Statistics::Batch, Statistics::Heating, Statistics::Cooling] {
                    // Indices beyond the last use the last.
                    for index in [0, 2, 100] {
                        let raw = network.raw(&s, Step::at(index), statistics, Outputs::Both)?;
                        assert_eq!(raw.mean.dims(), s.dims(), "{config:?}");
                        assert_eq!(raw.variance.unwrap().dims(), s.dims(), "{config:?}");
                    }
                }
                let raw = network.raw(&s, Step::at(0), Statistics::Batch, Outputs::Mean)?;
                assert!(raw.variance.is_none());
            }
        }
    }
    Ok(())
}

#[test]
fn a_state_of_another_shape_is_refused_with_the_right_one() -> Result<()> {
    let (_, network) = network(&common::networks(2)[0])?;
    for shape in [&[4, 5][..], &[6], &[2, 3, 2]] {
        let s = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
        let error = network.raw(&s, Step::at(0), Statistics::Batch, Outputs::Both);
        let Err(Error::Shape { expected, got, .. }) = error else { panic!("{shape:?}") };
        assert_eq!((expected.as_str(), got.as_slice()), ("(b, 6)", shape));
    }
    Ok(())
}

#[test]
fn the_temperature_is_an_input_if_asked_for() -> Result<()> {
    for plain in common::networks(2) {
        for temp_input in [false, true] {
            let config = NetworkConfig { temp_input, dense_gains: Gains::Shared, ..plain.clone() };
            let model = common::model(common::gaussian(config))?;
            let s = common::rows(&model, 6, 1)?;
            let at = |temperature| -> Result<Vec<f64>> {
                let step = Step { index: 1, temperature };
                let source = Statistics::Cooling;
                values(&model.frozen().raw(&s, step, source, Outputs::Mean)?.mean)
            };
            assert_eq!(at(1.0)? == at(2.0)?, !temp_input);
            // Below the ladder the input stays that of temperature 1.
            assert_eq!(at(1.0)?, at(0.0)?);
        }
    }
    Ok(())
}

#[test]
fn weights_begin_as_published() -> Result<()> {
    let variance = |model: &WalkbackModel, name: &str| -> Result<(f64, f64)> {
        let found = values(model.store().get(name).unwrap().as_tensor())?;
        let n = found.len() as f64;
        Ok((found.iter().map(|w| w * w).sum::<f64>() / n, n))
    };
    let begin = |network| WalkbackModel::new(common::gaussian(network), Seed::new(1), &Device::Cpu);
    let conv = NetworkConfig::conv([3, 16, 16], vec![16, 32], vec![200, 200], 2);
    let plain = NetworkConfig { dense_init: DenseInit::Normal { stdev: 0.01 }, ..conv.clone() };
    let model = begin(conv)?;
    for (name, stdev) in [
        ("operator.encoder.0.weight", 0.02),
        ("operator.encoder.1.weight", 0.02),
        ("operator.mean.0.weight", 0.02),
        ("operator.variance.1.weight", 0.02),
        ("operator.hidden.0.weight", 0.001),
        ("operator.hidden.2.weight", 0.001),
    ] {
        let (got, n) = variance(&model, name)?;
        let want = stdev * stdev;
        assert_close(got, want, 5.0 * want * (2.0 / n).sqrt(), name);
    }
    // The square one is orthogonal.
    let square = model.store().get("operator.hidden.1.weight").unwrap();
    let gram = values(&square.matmul(&square.t()?)?)?;
    for (at, got) in gram.iter().enumerate() {
        assert_close(*got, if at % 201 == 0 { 1.0 } else { 0.0 }, 2e-6, "orthogonal");
    }
    let (got, n) = variance(&begin(plain)?, "operator.hidden.1.weight")?;
    assert_close(got, 1e-4, 5e-4 * (2.0 / n).sqrt(), "normal");
    let mlp = begin(NetworkConfig::mlp([1, 28, 28], vec![100], 2))?;
    let (got, n) = variance(&mlp, "operator.variance_head.weight")?;
    assert_close(got, 1e-4, 5e-4 * (2.0 / n).sqrt(), "head");
    // Gains of maps begin near one, those of dense layers at one.
    let gain = values(model.store().get("operator.encoder.1.norm.weight").unwrap().as_tensor())?;
    assert!(gain.iter().all(|g| (g - 1.0).abs() < 0.006) && gain.iter().any(|g| *g < 1.0));
    let gain = values(model.store().get("operator.hidden.1.norms.1.weight").unwrap().as_tensor())?;
    assert!(gain.iter().all(|g| (g - 1.0).abs() < f64::EPSILON));
    Ok(())
}
