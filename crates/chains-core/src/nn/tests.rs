//! Layers: tensors they create, where gradients go, frozen statistics.

use candle_core::{DType, Device, Tensor, backprop::GradStore};

use super::{
    Conv2d, Conv2dConfig, ConvTranspose2d, Linear, LinearInit, MomentAverage, Statistics, StepNorm,
    StepNormConfig,
};
use crate::{
    Error, ParamStore, Result, Seed, ops,
    testing::{assert_close, normal, on_devices, values},
};

on_devices!(
    every_trainable_tensor_receives_a_gradient,
    frozen_statistics_of_one_batch_reproduce_batch_statistics,
    merged_moments_are_exact_for_batches_of_any_size,
    a_convolution_hands_its_settings_on,
);

fn store(device: &Device) -> ParamStore {
    ParamStore::new(Seed::new(3), DType::F32, device)
}

fn input(label: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
    Ok(normal(label, shape).to_dtype(DType::F32)?.to_device(device)?)
}

fn step_norm(store: &ParamStore, steps: usize, channels: usize, relu: bool) -> Result<StepNorm> {
    let config = StepNormConfig { steps, channels, eps: 1e-4.into(), relu };
    StepNorm::new(config, store.builder().pp("layer"))
}

/// A loss that no symmetry makes flat.
fn backward(y: &Tensor) -> Result<GradStore> {
    let weights = input("weights", y.dims(), y.device())?;
    Ok(y.mul(&weights)?.sum_all()?.backward()?)
}

/// Names whose gradient is there and not zero throughout.
fn moved(store: &ParamStore, grads: &GradStore) -> Vec<String> {
    let reached = |var: &candle_core::Var| {
        let grad = grads.get(var.as_tensor()).map(values);
        grad.is_some_and(|grad| grad.iter().any(|g| g.abs() > 0.0))
    };
    store.trainable().into_iter().filter(|(_, var)| reached(var)).map(|(name, _)| name).collect()
}

fn names(store: &ParamStore) -> Vec<(String, Vec<usize>)> {
    store.all().into_iter().map(|(name, var)| (name, var.dims().to_vec())).collect()
}

fn every_trainable_tensor_receives_a_gradient(device: &Device) -> Result<()> {
    let check = |what: &str, store: &ParamStore, y: &Tensor| -> Result<()> {
        let all: Vec<_> = store.trainable().into_iter().map(|(name, _)| name).collect();
        assert_eq!(moved(store, &backward(y)?), all, "{what}");
        Ok(())
    };
    let s = store(device);
    let dense = Linear::new(4, 3, true, LinearInit::GlorotUniform, s.builder())?;
    let x = input("x", &[5, 4], device)?;
    check("linear", &s, &dense.forward(&x)?)?;
    let known = dense.forward(&x)?.detach();
    check("linear with a known value", &s, &dense.forward_known(&x, &[known])?)?;
    let s = store(device);
    let conv = ConvTranspose2d::doubling(3, 2, true, 0.1, s.builder())?;
    check("transposed convolution", &s, &conv.forward(&input("x", &[2, 3, 4, 5], device)?)?)?;
    let s = store(device);
    let conv = Conv2d::new(Conv2dConfig::same3(3, 2), true, 0.1, s.builder())?;
    check("convolution", &s, &conv.forward(&input("x", &[2, 3, 4, 5], device)?)?)?;
    for statistics in [Statistics::Batch, Statistics::Running] {
        let s = store(device);
        let norm = step_norm(&s, 2, 3, true)?;
        let x = input("x", &[2, 8, 3], device)?;
        check("per-step norm", &s, &norm.forward(&x, &[0, 1], statistics)?.0)?;
    }
    Ok(())
}

fn a_convolution_hands_its_settings_on(device: &Device) -> Result<()> {
    let x = input("x", &[2, 3, 7, 6], device)?;
    for (kernel, stride, padding, sides) in
        [(3, 1, 1, [7, 6]), (4, 2, 1, [3, 3]), (1, 3, 0, [3, 2])]
    {
        for bias in [true, false] {
            let s = store(device);
            let config = Conv2dConfig { input: 3, output: 5, kernel, stride, padding };
            let conv = Conv2d::new(config, bias, 0.3, s.builder())?;
            for (name, var) in s.all() {
                var.set(&input(&name, var.dims(), device)?)?;
            }
            let get = |name: &str| s.get(name).map(|var| var.as_detached_tensor());
            let (weight, given) = (get("weight").unwrap(), get("bias"));
            assert_eq!(given.is_some(), bias);
            let got = conv.forward(&x)?;
            assert_eq!(got.dims(), [2, 5, sides[0], sides[1]]);
            let want = ops::conv2d(&x, &weight, given.as_ref(), stride, padding)?;
            assert_eq!(values(&got), values(&want));
        }
    }
    assert_eq!(
        Conv2dConfig::same3(3, 5),
        Conv2dConfig { input: 3, output: 5, kernel: 3, stride: 1, padding: 1 }
    );
    let s = store(device);
    let narrow = Conv2d::new(Conv2dConfig::same3(2, 1), true, 0.1, s.builder())?.forward(&x);
    assert!(matches!(narrow, Err(Error::Shape { .. })));
    Ok(())
}

#[test]
fn weights_begun_by_he_keep_the_second_moment_behind_a_relu() -> Result<()> {
    let config = Conv2dConfig { padding: 0, ..Conv2dConfig::same3(40, 60) };
    assert!((config.he_stdev() - (2.0_f64 / 360.0).sqrt()).abs() < 1e-15);
    let s = store(&Device::Cpu);
    let conv = Conv2d::new(config, true, config.he_stdev(), s.builder())?;
    // A ReLU leaves half of the second moment of a symmetric input.
    let x = ops::relu(&input("x", &[20, 40, 12, 12], &Device::Cpu)?)?;
    let y = values(&conv.forward(&x)?);
    let moment = y.iter().map(|v| v * v).sum::<f64>() / y.len() as f64;
    // Given the input an output channel is a normal number: 60 of them, whose squares deviate by
    // root 2 of their mean, decide; its places share their weights.
    assert!((moment - 1.0).abs() < 5.0 * (2.0_f64 / 60.0).sqrt(), "{moment}");
    Ok(())
}

#[test]
fn only_the_parameters_of_the_step_receive_its_gradient() -> Result<()> {
    for statistics in [Statistics::Batch, Statistics::Running] {
        for (step, owner) in [(0, 0), (1, 1), (2, 2), (3, 2), (1000, 2)] {
            let s = store(&Device::Cpu);
            let norm = step_norm(&s, 3, 4, false)?;
            let x = input("x", &[1, 6, 4], &Device::Cpu)?;
            let (y, _) = norm.forward(&x, &[step], statistics)?;
            let grads = backward(&y)?;
            let want = ["bias", "weight"].map(|name| format!("layer.norms.{owner}.{name}"));
            assert_eq!(moved(&s, &grads), want, "step {step}");
            // Not even zeros for the others.
            let touched =
                s.trainable().iter().filter(|v| grads.get(v.1.as_tensor()).is_some()).count();
            assert_eq!(touched, 2);
        }
    }
    Ok(())
}

#[test]
fn a_step_used_twice_gathers_both_gradients() -> Result<()> {
    let grads_of = |steps: &[usize], x: &Tensor| -> Result<Vec<f64>> {
        let s = store(&Device::Cpu);
        let norm = step_norm(&s, 2, 3, false)?;
        let (y, _) = norm.forward(x, steps, Statistics::Batch)?;
        let weights = input("weights", &[2, 5, 3], &Device::Cpu)?.narrow(0, 0, steps.len())?;
        let grads = y.mul(&weights)?.sum_all()?.backward()?;
        Ok(values(grads.get(s.get("layer.norms.1.weight").unwrap().as_tensor()).unwrap()))
    };
    let x = input("x", &[1, 5, 3], &Device::Cpu)?;
    let both = Tensor::cat(&[&x, &x], 0)?;
    let (once, twice) = (grads_of(&[1], &x)?, grads_of(&[1, 1], &both)?);
    let alone = grads_of(&[0, 1], &both)?;
    let want: Vec<f64> = once.iter().zip(&alone).map(|(a, b)| a + b).collect();
    assert_close("gradient", &twice, &want, 1e-6);
    Ok(())
}

#[test]
fn an_index_beyond_the_last_step_equals_the_last() -> Result<()> {
    let s = store(&Device::Cpu);
    let norm = step_norm(&s, 3, 4, true)?;
    // Every tensor of every step is different, statistics included.
    for (name, var) in s.all() {
        let value = input(&name, var.dims(), &Device::Cpu)?.abs()?;
        var.set(&value)?;
    }
    let x = input("x", &[1, 6, 4], &Device::Cpu)?;
    for statistics in [Statistics::Batch, Statistics::Running] {
        let at =
            |step| -> Result<Vec<f64>> { Ok(values(&norm.forward(&x, &[step], statistics)?.0)) };
        assert_eq!(at(2)?, at(3)?);
        assert_eq!(at(2)?, at(usize::MAX)?);
        assert_ne!(at(1)?, at(2)?);
        // Groups are independent of their company.
        let pair = Tensor::cat(&[&x, &x], 0)?;
        let together = values(&norm.forward(&pair, &[0, 2], statistics)?.0);
        assert_eq!(together, [at(0)?, at(2)?].concat());
    }
    Ok(())
}

fn frozen_statistics_of_one_batch_reproduce_batch_statistics(device: &Device) -> Result<()> {
    for shape in [&[2, 40, 3][..], &[2, 10, 3, 4, 2]] {
        let s = store(device);
        let norm = step_norm(&s, 2, 3, true)?;
        for (name, var) in s.trainable() {
            var.set(&input(&name, var.dims(), device)?)?;
        }
        let x = input("x", shape, device)?.affine(3.0, 1.5)?;
        let (want, moments) = norm.forward(&x, &[0, 1], Statistics::Batch)?;
        assert!(!moments.mean.track_op() && !moments.variance.track_op());
        let mut average = MomentAverage::default();
        for step in 0..2 {
            let one = ops::batch_moments(&x.narrow(0, step, 1)?)?;
            average.push(step, &one, shape[1])?;
        }
        average.store(|step, name| s.get(&format!("layer.norms.{step}.{name}")))?;
        let (got, used) = norm.forward(&x, &[0, 1], Statistics::Running)?;
        assert_close("output", &values(&got), &values(&want), 2e-6);
        assert_close("mean", &values(&used.mean), &values(&moments.mean), 1e-6);
        // An example keeps its value whatever else is in the batch.
        let (alone, _) = norm.forward(&x.narrow(1, 1, 1)?, &[0, 1], Statistics::Running)?;
        assert_close("alone", &values(&alone), &values(&got.narrow(1, 1, 1)?), 1e-7);
    }
    Ok(())
}

fn merged_moments_are_exact_for_batches_of_any_size(device: &Device) -> Result<()> {
    // A drift from batch to batch: a mean of variances would be far off.
    let drift = Tensor::arange(0_f64, 50.0, &Device::Cpu)?.reshape((50, 1))?;
    let x = normal("x", (50, 4)).broadcast_add(&drift)?.unsqueeze(0)?;
    let whole = ops::batch_moments(&x)?;
    let x = x.to_dtype(DType::F32)?.to_device(device)?;
    for sizes in [&[50][..], &[1, 2, 47], &[25, 25], &[13, 0, 30, 7]] {
        let mut average = MomentAverage::default();
        let mut from = 0;
        for &size in sizes {
            if size > 0 {
                average.push(2, &ops::batch_moments(&x.narrow(1, from, size)?)?, size)?;
            } else {
                let nan = ops::batch_moments(&x.affine(f64::NAN, 0.0)?)?;
                average.push(2, &nan, 0)?;
            }
            from += size;
        }
        let (mean, variance) = average.moments(2).unwrap();
        assert_close("mean", &mean, &values(&whole.mean), 1e-6);
        assert_close("variance", &variance, &values(&whole.variance), 1e-6);
        assert!(average.moments(1).is_none() && average.moments(3).is_none());
    }
    Ok(())
}

#[test]
fn moments_that_do_not_fit_are_an_error() -> Result<()> {
    let moments = |c: usize| ops::batch_moments(&input("x", &[1, 4, c], &Device::Cpu)?);
    let mut average = MomentAverage::default();
    average.push(0, &moments(3)?, 4)?;
    let error = average.push(0, &moments(2)?, 4).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
    let message = average.store(|_, _| None).unwrap_err().to_string();
    assert!(message.contains("norms.0.running_mean"), "{message}");
    let norm = step_norm(&store(&Device::Cpu), 2, 3, false)?;
    let x = input("x", &[1, 4, 3], &Device::Cpu)?;
    assert!(norm.forward(&x, &[0, 1], Statistics::Batch).is_err());
    let narrow = x.narrow(2, 0, 2)?;
    assert!(norm.forward(&narrow, &[0], Statistics::Running).is_err());
    assert!(step_norm(&store(&Device::Cpu), 0, 3, false).is_err());
    Ok(())
}

#[test]
fn tensors_have_the_names_and_shapes_of_pytorch() -> Result<()> {
    let s = store(&Device::Cpu);
    Linear::new(4, 3, true, LinearInit::Normal(0.1), s.builder().pp("a"))?;
    Linear::new(4, 3, false, LinearInit::Normal(0.1), s.builder().pp("b"))?;
    ConvTranspose2d::doubling(6, 2, true, 0.1, s.builder().pp("c"))?;
    ConvTranspose2d::doubling(6, 2, false, 0.1, s.builder().pp("d"))?;
    Conv2d::new(Conv2dConfig::same3(6, 2), true, 0.1, s.builder().pp("e"))?;
    Conv2d::new(Conv2dConfig::same3(6, 2), false, 0.1, s.builder().pp("f"))?;
    Conv2d::halving(2, 6, true, 0.1, s.builder().pp("g"))?;
    step_norm(&s, 2, 5, true)?;
    let mut want: Vec<(String, Vec<usize>)> = [
        ("a.weight", vec![3, 4]),
        ("a.bias", vec![3]),
        ("b.weight", vec![3, 4]),
        ("c.weight", vec![6, 2, 5, 5]),
        ("c.bias", vec![2]),
        ("d.weight", vec![6, 2, 5, 5]),
        ("e.weight", vec![2, 6, 3, 3]),
        ("e.bias", vec![2]),
        ("f.weight", vec![2, 6, 3, 3]),
        ("g.weight", vec![6, 2, 5, 5]),
        ("g.bias", vec![6]),
    ]
    .map(|(name, shape)| (name.to_owned(), shape))
    .to_vec();
    for step in 0..2 {
        for name in ["weight", "bias", "running_mean", "running_var"] {
            want.push((format!("layer.norms.{step}.{name}"), vec![5]));
        }
    }
    want.sort();
    assert_eq!(names(&s), want);
    assert_eq!(s.trainable().len(), 15);
    Ok(())
}

#[test]
fn tensors_begin_as_documented() -> Result<()> {
    let s = store(&Device::Cpu);
    Linear::new(300, 100, true, LinearInit::GlorotUniform, s.builder().pp("glorot"))?;
    Linear::new(300, 100, true, LinearInit::Normal(0.2), s.builder().pp("normal"))?;
    ConvTranspose2d::doubling(40, 30, true, 0.05, s.builder().pp("transposed"))?;
    Conv2d::new(Conv2dConfig::same3(40, 30), true, 0.07, s.builder().pp("conv"))?;
    step_norm(&s, 1, 5, true)?;
    let get = |name: &str| values(s.get(name).unwrap().as_tensor());
    let limit = (6.0_f64 / 400.0).sqrt();
    let glorot = get("glorot.weight");
    let largest = glorot.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
    // Of 30,000 uniform numbers the largest is within a thousandth of the limit.
    assert!(largest <= limit && largest > 0.999 * limit, "{largest} {limit}");
    for (name, variance, fourth) in [
        ("glorot.weight", limit * limit / 3.0, 1.8),
        ("normal.weight", 0.04, 3.0),
        ("transposed.weight", 0.0025, 3.0),
        ("conv.weight", 0.0049, 3.0),
    ] {
        let w = get(name);
        let n = w.len() as f64;
        let got = w.iter().map(|x| x * x).sum::<f64>() / n;
        // The variance of a squared number is (kurtosis - 1) variance^2.
        let se = variance * ((fourth - 1.0) / n).sqrt();
        assert!((got - variance).abs() < 5.0 * se, "{name}: {got}, expected {variance} +- {se}");
        let mean = w.iter().sum::<f64>() / n;
        assert!(mean.abs() < 5.0 * (variance / n).sqrt(), "{name}: mean {mean}");
    }
    assert_eq!(get("glorot.bias"), [0.0; 100]);
    assert_eq!(get("conv.bias"), [0.0; 30]);
    assert_eq!(get("transposed.bias"), [0.0; 30]);
    let norm = ["weight", "bias", "running_mean", "running_var"];
    for (name, value) in norm.into_iter().zip([1.0, 0.0, 0.0, 1.0]) {
        assert_eq!(get(&format!("layer.norms.0.{name}")), [value; 5], "{name}");
    }
    Ok(())
}

#[test]
fn a_halving_convolution_and_a_doubling_one_undo_each_others_sides() -> Result<()> {
    let s = store(&Device::Cpu);
    let down = Conv2d::halving(2, 3, true, 0.1, s.builder().pp("down"))?;
    let up = ConvTranspose2d::doubling(3, 2, true, 0.1, s.builder().pp("up"))?;
    for side in [64, 32, 28, 14, 8] {
        let y = down.forward(&input("x", &[2, 2, side, side], &Device::Cpu)?)?;
        assert_eq!(y.dims(), [2, 3, side / 2, side / 2]);
        assert_eq!(up.forward(&y)?.dims(), [2, 2, side, side]);
    }
    let y = down.forward(&input("x", &[1, 2, 7, 7], &Device::Cpu)?)?;
    assert_eq!(y.dims(), [1, 3, 4, 4]);
    Ok(())
}

#[test]
fn public_types_cross_threads() {
    fn both<T: Send + Sync>() {}
    both::<Linear>();
    both::<Conv2d>();
    both::<ConvTranspose2d>();
    both::<super::Norm>();
    both::<StepNorm>();
    both::<MomentAverage>();
    both::<ParamStore>();
    both::<crate::optim::Adam>();
    both::<crate::HostNoise>();
    both::<crate::train::StateDir>();
    both::<Error>();
}
