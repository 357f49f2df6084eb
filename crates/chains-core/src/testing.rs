//! Helpers of unit tests: fixed inputs, every device, references in f64, finite differences.

use candle_core::{DType, Device, Shape, Tensor, Var, backprop::GradStore};

use crate::{autograd::value_and_weighted_gradients, error::Result, noise::Noise, seed::Seed};

/// A function of tensors that is tested.
pub(crate) type Function<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// Expands bodies `fn(&Device) -> Result<()>` to one test for every device of the build.
macro_rules! on_devices {
    ($($body:ident),+ $(,)?) => {
        mod cpu {
            $(#[test]
            fn $body() -> $crate::Result<()> {
                super::$body(&candle_core::Device::Cpu)
            })+
        }
        #[cfg(feature = "cuda")]
        mod cuda {
            $(#[test]
            fn $body() -> $crate::Result<()> {
                super::$body(&$crate::device::parse("cuda:0")?)
            })+
        }
        #[cfg(feature = "metal")]
        mod metal {
            $(#[test]
            fn $body() -> $crate::Result<()> {
                super::$body(&candle_core::Device::new_metal(0)?)
            })+
        }
    };
}
pub(crate) use on_devices;

/// Standard normal f64 numbers on the host that f32 holds exactly; the same for the same label.
pub(crate) fn normal(label: &str, shape: impl Into<Shape>) -> Tensor {
    let mut noise = Seed::new(0).child(label).host_noise();
    let values = noise.normal(&shape.into(), DType::F32, &Device::Cpu).unwrap();
    values.to_dtype(DType::F64).unwrap()
}

/// As [`normal`], uniform in `[low, high)`, rounded to f32.
pub(crate) fn uniform(label: &str, shape: impl Into<Shape>, low: f64, high: f64) -> Tensor {
    let mut noise = Seed::new(0).child(label).host_noise();
    let values = noise.uniform(&shape.into(), DType::F32, &Device::Cpu).unwrap();
    values.affine(high - low, low).unwrap().to_dtype(DType::F64).unwrap()
}

/// An f64 vector on the host.
pub(crate) fn vector(values: &[f64]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

/// All values as f64.
pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    let host = tensor.to_device(&Device::Cpu).unwrap().flatten_all().unwrap();
    host.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The value of a function, and the gradient of a weighted sum of it in every input.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) value: Vec<f64>,
    pub(crate) grads: Vec<Option<Vec<f64>>>,
}

/// Evaluates `f` at inputs converted to `dtype` on `device`, with candle's graph and on a tape,
/// which must agree. The weights of the sum are random, so that a wrong axis or a wrong order shows.
pub(crate) fn evaluate(
    f: Function<'_>,
    inputs: &[Tensor],
    dtype: DType,
    device: &Device,
) -> Result<Outcome> {
    let vars = inputs
        .iter()
        .map(|input| Ok(Var::from_tensor(&input.to_dtype(dtype)?.to_device(device)?)?))
        .collect::<Result<Vec<_>>>()?;
    let tensors: Vec<_> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let y = f(&tensors)?;
    let weights = normal("weights", y.shape()).to_dtype(dtype)?.to_device(device)?;
    let outcome = |y: &Tensor, grads: &GradStore| Outcome {
        value: values(y),
        grads: tensors.iter().map(|tensor| grads.get(tensor).map(values)).collect(),
    };
    let graph = outcome(&y, &y.mul(&weights)?.sum_all()?.backward()?);
    let (y, grads) = value_and_weighted_gradients(|| f(&tensors), &weights)?;
    let tape = outcome(&y, &grads);
    assert_eq!(graph.value, tape.value, "value on a tape");
    for (i, pair) in graph.grads.iter().zip(&tape.grads).enumerate() {
        match pair {
            (Some(graph), Some(tape)) => {
                assert_close(&format!("gradient {i} on a tape"), tape, graph, 1e-6);
            }
            (graph, tape) => assert_eq!(graph, tape, "gradient {i} on a tape"),
        }
    }
    Ok(tape)
}

/// Asserts that two lists agree to `tolerance`, relative to the largest expected value.
pub(crate) fn assert_close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: number of values");
    let scale = want.iter().fold(1e-3_f64, |scale, value| scale.max(value.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let same = !got.is_nan() && got.to_bits() == want.to_bits();
        let near = same || (got - want).abs() <= tolerance * scale;
        assert!(near, "{what}, element {i}: {got}, expected {want} (scale {scale})");
    }
}

/// Asserts that `f` in f32 on `device` equals `f` in f64 on the host, which takes the composed
/// path: value, gradients, and which inputs have a gradient at all.
pub(crate) fn assert_agrees(
    what: &str,
    f: Function<'_>,
    inputs: &[Tensor],
    device: &Device,
    tolerance: f64,
) -> Result<()> {
    let want = evaluate(f, inputs, DType::F64, &Device::Cpu)?;
    let got = evaluate(f, inputs, DType::F32, device)?;
    assert_close(&format!("{what}, value"), &got.value, &want.value, tolerance);
    for (i, (got, want)) in got.grads.iter().zip(&want.grads).enumerate() {
        let what = format!("{what}, gradient {i}");
        match (got, want) {
            (Some(got), Some(want)) => assert_close(&what, got, want, tolerance),
            (None, None) => {}
            _ => panic!("{what}: {} here, {} in f64", got.is_some(), want.is_some()),
        }
    }
    Ok(())
}

/// Asserts that the gradients of `f` in f64 are its central differences.
pub(crate) fn assert_differences(what: &str, f: Function<'_>, inputs: &[Tensor]) -> Result<()> {
    const H: f64 = 1e-5;
    let outcome = evaluate(f, inputs, DType::F64, &Device::Cpu)?;
    let loss = |inputs: &[Tensor]| -> Result<f64> {
        let y = f(inputs)?;
        Ok(y.mul(&normal("weights", y.shape()))?.sum_all()?.to_scalar()?)
    };
    for (i, grads) in outcome.grads.iter().enumerate() {
        let Some(grads) = grads else { panic!("{what}: input {i} has no gradient") };
        let flat = values(&inputs[i]);
        let stride = (flat.len() / 40).max(1);
        let (mut got, mut want) = (Vec::new(), Vec::new());
        for at in (0..flat.len()).step_by(stride) {
            let moved = |by: f64| -> Result<f64> {
                let mut flat = flat.clone();
                flat[at] += by;
                let mut inputs = inputs.to_vec();
                inputs[i] = Tensor::from_vec(flat, inputs[i].shape(), &Device::Cpu)?;
                loss(&inputs)
            };
            got.push(grads[at]);
            want.push((moved(H)? - moved(-H)?) / (2.0 * H));
        }
        assert_close(&format!("{what}, gradient {i}"), &got, &want, 1e-7);
    }
    Ok(())
}

/// Asserts that value and gradients of `f` in f32 have the same bits for one thread and for three.
pub(crate) fn assert_thread_count_free(
    what: &str,
    f: impl Fn(&[Tensor]) -> Result<Tensor> + Sync,
    inputs: &[Tensor],
) -> Result<()> {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| evaluate(&f, inputs, DType::F32, &Device::Cpu))
    };
    assert!(run(1)? == run(3)?, "{what}: the bits depend on the number of threads");
    Ok(())
}

/// Asserts that `f` gives the input numbered `frozen` no gradient if it tracks none, and still
/// gives one to all others (f32 on the host, the fused path).
pub(crate) fn assert_untracked(
    what: &str,
    f: Function<'_>,
    inputs: &[Tensor],
    frozen: usize,
) -> Result<()> {
    let mut operands = Vec::new();
    for (i, input) in inputs.iter().enumerate() {
        let input = input.to_dtype(DType::F32)?;
        let var = Var::from_tensor(&input)?;
        operands.push(if i == frozen { input } else { var.as_tensor().clone() });
    }
    let grads = f(&operands)?.sum_all()?.backward()?;
    for (i, operand) in operands.iter().enumerate() {
        assert_eq!(grads.get(operand).is_some(), i != frozen, "{what}: gradient of operand {i}");
    }
    Ok(())
}
