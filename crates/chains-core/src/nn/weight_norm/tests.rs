use candle_core::{DType, Device};

use super::*;
use crate::{
    ParamStore, Seed,
    testing::{assert_close, normal, values},
};

fn store(dtype: DType) -> ParamStore {
    ParamStore::new(Seed::new(0), dtype, &Device::Cpu)
}

fn set(store: &ParamStore, name: &str, value: &Tensor) -> Result<()> {
    let var = store.get(name).unwrap();
    Ok(var.set(&value.to_dtype(var.dtype())?.reshape(var.shape())?)?)
}

fn config(input: usize, output: usize, kernel: usize) -> WeightNormConfig {
    let conv = Conv2dConfig { input, output, kernel, stride: 1, padding: kernel / 2 };
    WeightNormConfig::biased(conv)
}

#[test]
fn the_kernel_has_the_length_that_is_stored() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let store = store(dtype);
        let layer = WeightNormConv2d::new(config(2, 1, 1), store.builder())?;
        set(&store, "weight", &Tensor::new(&[3.0, 4.0], &Device::Cpu)?)?;
        set(&store, "log_weight_norm", &Tensor::new(&[2_f64.ln()], &Device::Cpu)?)?;
        let length = 5.0 + 1e-5;
        let want = [6.0 / length, 8.0 / length];
        assert_close("kernel", &values(&layer.kernel()?), &want, 1e-7);
        assert!((want[0] - 1.199_997_6).abs() < 1e-7 && (want[1] - 1.599_996_8).abs() < 1e-7);
    }
    Ok(())
}

#[test]
fn lengths_begin_at_those_of_the_weights_whoever_asks_first() -> Result<()> {
    let (live, frozen) = (store(DType::F64), store(DType::F64));
    let a = WeightNormConv2d::new(config(3, 4, 3), live.builder())?;
    let b = WeightNormConv2d::new(config(3, 4, 3), frozen.frozen())?;
    assert_eq!(values(&a.kernel()?), values(&b.kernel()?));
    let weight = live.get("weight").unwrap().as_detached_tensor();
    let square = weight.sqr()?.sum((1, 2, 3))?;
    let want = (square.sqrt()? + 0.01)?.log()?;
    let g = live.get("log_weight_norm").unwrap();
    assert_close("g", &values(g.as_tensor()), &values(&want), 1e-12);
    // A second layer of the same name takes what is there.
    set(&live, "log_weight_norm", &Tensor::zeros(4, DType::F64, &Device::Cpu)?)?;
    WeightNormConv2d::new(config(3, 4, 3), live.builder())?;
    assert_close("kept", &values(g.as_tensor()), &[0.0; 4], 1e-12);
    let limit = 1.0 / 27_f64.sqrt();
    assert!(values(&weight).iter().all(|w| w.abs() <= limit));
    Ok(())
}

#[test]
fn a_mask_and_a_gain_count_before_the_norm() -> Result<()> {
    let store = store(DType::F64);
    let mask = Tensor::new(&[1.0, 0.0], &Device::Cpu)?.reshape((1, 2, 1, 1))?;
    let config = WeightNormConfig { mask: Some(mask), gain: 0.1, ..config(2, 1, 1) };
    let layer = WeightNormConv2d::new(config.clone(), store.builder())?;
    let first = values(store.get("weight").unwrap().as_tensor())[0];
    let want = (first.abs() + 0.01) * 0.1 * first / (first.abs() + 1e-5);
    assert_close("kernel", &values(&layer.kernel()?), &[want, 0.0], 1e-12);
    let bad =
        WeightNormConfig { mask: Some(Tensor::zeros(2, DType::F64, &Device::Cpu)?), ..config };
    assert!(WeightNormConv2d::new(bad, store.builder().pp("bad")).is_err());
    Ok(())
}

#[test]
fn a_depthwise_layer_is_a_dense_one_with_a_diagonal_kernel() -> Result<()> {
    let store = store(DType::F64);
    let settings = WeightNormConfig { depthwise: true, ..config(3, 3, 5) };
    let layer = WeightNormConv2d::new(settings, store.builder())?;
    let x = normal("x", (2, 3, 6, 5));
    let kernel = layer.kernel()?;
    let bias = store.get("bias").unwrap().as_detached_tensor();
    for c in 0..3 {
        let one = x.narrow(1, c, 1)?.contiguous()?.conv2d(&kernel.narrow(0, c, 1)?, 2, 1, 1, 1)?;
        let want = (one + values(&bias)[c])?;
        let got = layer.forward(&x)?.narrow(1, c, 1)?;
        assert_close("channel", &values(&got), &values(&want), 1e-12);
    }
    let settings = WeightNormConfig { depthwise: true, ..config(3, 4, 5) };
    assert!(WeightNormConv2d::new(settings, store.builder().pp("bad")).is_err());
    Ok(())
}

#[test]
fn every_tensor_has_the_gradient_of_differences() -> Result<()> {
    let store = store(DType::F64);
    let layer = WeightNormConv2d::new(config(2, 3, 3), store.builder())?;
    let x = normal("x", (2, 2, 4, 4));
    let weights = normal("weights", (2, 3, 4, 4));
    let loss = || -> Result<Tensor> { Ok(layer.forward(&x)?.mul(&weights)?.sum_all()?) };
    let grads = loss()?.backward()?;
    for (name, var) in store.trainable() {
        let got = values(grads.get(var.as_tensor()).unwrap());
        let flat = values(var.as_tensor());
        for at in 0..flat.len() {
            let moved = |by: f64| -> Result<f64> {
                let mut flat = flat.clone();
                flat[at] += by;
                set(&store, &name, &Tensor::new(flat, &Device::Cpu)?)?;
                Ok(loss()?.to_scalar()?)
            };
            let want = (moved(1e-5)? - moved(-1e-5)?) / 2e-5;
            set(&store, &name, &Tensor::new(flat.as_slice(), &Device::Cpu)?)?;
            assert!((got[at] - want).abs() < 1e-6, "{name}[{at}]: {} {want}", got[at]);
        }
    }
    Ok(())
}

#[test]
fn a_kernel_of_zeros_has_a_finite_gradient() -> Result<()> {
    let store = store(DType::F32);
    let layer = WeightNormConv2d::new(config(2, 1, 1), store.builder())?;
    set(&store, "weight", &Tensor::new(&[0.0, 0.0], &Device::Cpu)?)?;
    let grads = layer.kernel()?.sum_all()?.backward()?;
    let grad = values(grads.get(store.get("weight").unwrap().as_tensor()).unwrap());
    assert!(grad.iter().all(|g| g.is_finite()), "{grad:?}");
    Ok(())
}

#[test]
fn data_set_lengths_and_bias_when_asked_and_never_else() -> Result<()> {
    let store = store(DType::F32);
    let first = WeightNormConv2d::new(config(3, 5, 3), store.builder().pp("a"))?;
    let skip = WeightNormConfig { bias: false, ..config(5, 4, 1) };
    let second = WeightNormConv2d::new(skip, store.builder().pp("b"))?;
    let x = normal("x", (20, 3, 6, 6)).affine(2.0, 1.5)?.to_dtype(DType::F32)?;
    let y = first.initialise(&x)?;
    let moments = |y: &Tensor, c: usize| {
        let channel = values(&y.narrow(1, c, 1).unwrap());
        let n = channel.len() as f64;
        let mean = channel.iter().sum::<f64>() / n;
        let square: f64 = channel.iter().map(|v| (v - mean).powi(2)).sum();
        (mean, (square / (n - 1.0)).sqrt())
    };
    for c in 0..5 {
        let (mean, deviation) = moments(&y, c);
        assert!(mean.abs() < 1e-4 && (deviation - 0.2).abs() < 1e-3, "{mean} {deviation}");
    }
    let z = second.initialise(&y)?;
    for c in 0..4 {
        assert!((moments(&z, c).1 - 0.2).abs() < 1e-3);
    }
    let before: Vec<_> = store.tensors().iter().map(|(_, t)| values(t)).collect();
    let again = second.forward(&first.forward(&(x * 3.0)?)?)?;
    assert!((moments(&again, 0).1 - 0.2).abs() > 0.1);
    let after: Vec<_> = store.tensors().iter().map(|(_, t)| values(t)).collect();
    assert_eq!(before, after);
    for layer in
        [first.normalised()?, WeightNormConv2d::new(config(3, 5, 3), store.frozen().pp("a"))?]
    {
        assert!(layer.initialise(&y).is_err());
    }
    Ok(())
}

#[test]
fn a_normalised_layer_gives_the_same_and_keeps_its_gradient() -> Result<()> {
    let store = store(DType::F32);
    let layer = WeightNormConv2d::new(config(3, 5, 3), store.builder())?;
    let x = normal("x", (2, 3, 4, 4)).to_dtype(DType::F32)?;
    let fixed = layer.normalised()?;
    assert_eq!(values(&layer.forward(&x)?), values(&fixed.forward(&x)?));
    let grads = fixed.forward(&x)?.sqr()?.sum_all()?.backward()?;
    for (name, var) in store.trainable() {
        assert!(grads.get(var.as_tensor()).is_some(), "{name}");
    }
    let frozen = WeightNormConv2d::new(config(3, 5, 3), store.frozen())?.normalised()?;
    assert!(!frozen.kernel()?.track_op());
    Ok(())
}
