//! The networks of the paper: sizes, names, shapes, heads.

mod common;

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};
use chains_core::{Error, ParamStore, Result, Seed, nn::Statistics};
use common::{assert_close, values};
use infusion::{Architecture, NetworkConfig, OperatorNetwork, heads};

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
    OperatorNetwork::new(config, vb)?;
    let asked = counter.asked.lock().map(|asked| asked.clone()).unwrap_or_default();
    Ok(asked)
}

fn total(tensors: &[(String, usize)], keep: impl Fn(&str) -> bool) -> usize {
    tensors.iter().filter(|(name, _)| keep(name)).map(|(_, count)| count).sum()
}

fn trained_norm(name: &str) -> bool {
    name.contains(".norms.") && !name.contains(".running_")
}

#[test]
fn parameter_totals_are_those_of_the_four_networks() -> Result<()> {
    let cases = [
        (NetworkConfig::mnist(), 4_263_968, 72_000),
        (NetworkConfig::tfd(), 9_739_008, 72_000),
        // Per step 2 (8192 + 256 + 128), and 64 more channels for CelebA.
        (NetworkConfig::cifar10(), 29_281_030, 20 * 2 * 8_576),
        (NetworkConfig::celeba(), 104_973_702, 15 * 2 * 8_640),
    ];
    for (config, affine, norms) in cases {
        let tensors = tensors(&config)?;
        assert_eq!(total(&tensors, |name| !name.contains(".norms.")), affine, "{config:?}");
        assert_eq!(total(&tensors, trained_norm), norms, "{config:?}");
        assert_eq!(total(&tensors, |name| name.contains(".running_")), norms, "{config:?}");
    }
    Ok(())
}

#[test]
fn a_store_counts_what_the_optimiser_moves() -> Result<()> {
    let config = NetworkConfig::mnist();
    let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
    OperatorNetwork::new(&config, store.builder().pp("operator"))?;
    assert_eq!(store.count(), 4_263_968 + 72_000);
    Ok(())
}

#[test]
fn tensors_have_the_documented_names() -> Result<()> {
    let names = |config: &NetworkConfig| -> Result<Vec<String>> {
        let mut names: Vec<_> = tensors(config)?.into_iter().map(|(name, _)| name).collect();
        names.sort();
        Ok(names)
    };
    let mut want = Vec::new();
    for layer in 0..2 {
        want.push(format!("hidden.{layer}.weight"));
        for step in 0..3 {
            for leaf in ["weight", "bias", "running_mean", "running_var"] {
                want.push(format!("hidden.{layer}.norms.{step}.{leaf}"));
            }
        }
    }
    for head in ["mean_head", "variance_head"] {
        want.extend([format!("{head}.weight"), format!("{head}.bias")]);
    }
    want.sort();
    assert_eq!(names(&common::mlp(3))?, want);
    assert_eq!(names(&common::deconv(3))?, want);
    Ok(())
}

#[test]
fn small_networks_of_the_image_kind_keep_the_event() -> Result<()> {
    let cases = [([3, 32, 32], vec![8, 4, 4]), ([3, 64, 64], vec![8, 4, 4, 2])];
    for (event, widths) in cases {
        let config = NetworkConfig::with(event, Architecture::Deconv { widths: widths.clone() }, 2);
        let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
        let network = OperatorNetwork::new(&config, store.builder())?;
        let z = Tensor::zeros((2, 3, config.dim()), DType::F32, &Device::Cpu)?;
        let pass = network.pass(&z, &[0, 1], Statistics::Batch, &[])?;
        // Maps of 4 x 4, 8 x 8, ..; then both heads.
        assert_eq!(pass.values[0].dims(), [2, 3, widths[0] * 16]);
        for (index, channels) in widths.iter().enumerate().skip(1) {
            let side = 4 << index;
            assert_eq!(pass.values[index].dims(), [6, *channels, side, side]);
        }
        assert_eq!(pass.values.len(), widths.len() + 2);
        assert_eq!(pass.moments[0].mean.dims(), [2, widths[0] * 16]);
        assert_eq!(pass.moments[1].variance.dims(), [2, widths[1]]);
        let conditional = network.conditional(&pass, 1e-4)?;
        assert_eq!(conditional.mean().dims(), [6, config.dim()]);
        assert_eq!(conditional.variance().dims(), [6, config.dim()]);
    }
    Ok(())
}

#[test]
fn a_state_of_another_shape_is_refused_with_the_right_one() -> Result<()> {
    let store = ParamStore::new(Seed::new(0), DType::F32, &Device::Cpu);
    let network = OperatorNetwork::new(&common::mlp(2), store.builder())?;
    for shape in [vec![1, 4, 11], vec![2, 4, 12], vec![4, 12]] {
        let z = Tensor::zeros(shape.clone(), DType::F32, &Device::Cpu)?;
        let error = network.pass(&z, &[0], Statistics::Batch, &[]);
        let Err(Error::Shape { expected, got, .. }) = error else { panic!("{shape:?}") };
        assert_eq!((expected.as_str(), got), ("(1, b, 12)", shape));
    }
    Ok(())
}

#[test]
fn steps_in_one_pass_are_normalised_each_by_itself() -> Result<()> {
    for config in [common::mlp(3), common::deconv(3)] {
        let model = common::model(config, chains_core::schedule::InfusionRate::constant(0.1))?;
        let (a, b) = (common::rows(&model, 5, 0)?, (common::rows(&model, 5, 1)? * 3.0)?);
        let network = model.frozen();
        let both = network.pass(&Tensor::stack(&[&a, &b], 0)?, &[2, 0], Statistics::Batch, &[])?;
        let both = network.conditional(&both, 1e-4)?;
        for (index, (z, step)) in [(a, 2), (b, 0)].into_iter().enumerate() {
            let one = network.pass(&z.unsqueeze(0)?, &[step], Statistics::Batch, &[])?;
            let one = network.conditional(&one, 1e-4)?;
            let part = values(&both.mean().narrow(0, 5 * index, 5)?)?;
            for (got, want) in part.iter().zip(values(one.mean())?) {
                assert_close(*got, want, 1e-5, "mean");
            }
        }
    }
    Ok(())
}

#[test]
fn heads_stay_in_their_ranges() -> Result<()> {
    let raw = Tensor::new(&[[0.0_f32, -1e3, 1e3, f32::NEG_INFINITY, f32::INFINITY]], &Device::Cpu)?;
    let conditional = heads(&raw, &raw, 0.1, 1e-4)?;
    let want = [(0.5, 0.0501), (0.0, 1e-4), (1.0, 0.1001), (0.0, 1e-4), (1.0, 0.1001)];
    let found = values(conditional.mean())?.into_iter().zip(values(conditional.variance())?);
    for ((mean, variance), want) in found.zip(want) {
        // One unit in the last place of an f32 near 0.1.
        assert_close(mean, want.0, 1e-7, "mean");
        assert_close(variance, want.1, 1e-8, "variance");
    }
    // The published code samples with a lower floor.
    let low = heads(&raw, &raw, 0.1, 1e-5)?;
    assert_close(values(low.variance())?[1], 1e-5, 1e-12, "floor");
    Ok(())
}
