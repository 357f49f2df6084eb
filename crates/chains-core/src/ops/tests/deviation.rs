//! Normalisation with the small number on the deviation.

use candle_core::{DType, Device, Tensor, Var};

use crate::{
    Result,
    autograd::value_and_weighted_gradients,
    ops::{BatchMoments, Eps, NormActivation, NormOptions, batch_moments, layer_norm, normalise},
    testing::{
        assert_agrees, assert_close, assert_differences, assert_thread_count_free, normal,
        on_devices, uniform, values,
    },
};

on_devices!(
    batch_norm_equals_the_composed_path,
    layer_norm_equals_the_composed_path,
    what_does_not_vary_has_the_gradient_of_a_constant_deviation,
);

const EPS: Eps = Eps::OnDeviation(0.3);

fn variants() -> [NormOptions; 4] {
    [(false, false), (false, true), (true, false), (true, true)]
        .map(|(batch, relu)| NormOptions { batch, activation: NormActivation::relu(relu) })
}

/// Input, gain, shift, running mean and running variance.
fn operands(shape: &[usize]) -> [Tensor; 5] {
    let gc = (shape[0], shape[2]);
    [
        normal("x", shape).affine(2.0, 0.5).unwrap(),
        normal("gain", gc),
        normal("shift", gc),
        normal("mean", gc),
        uniform("variance", gc, 0.3, 3.0),
    ]
}

fn batch(eps: Eps, options: NormOptions, i: &[Tensor]) -> Result<Tensor> {
    let moments = if options.batch {
        batch_moments(&i[0])?
    } else {
        BatchMoments { mean: i[3].clone(), variance: i[4].clone() }
    };
    normalise(&i[0], &moments, [&i[1], &i[2]], eps, options)
}

fn layer(i: &[Tensor]) -> Result<Tensor> {
    layer_norm(&i[0], i.get(1), i.get(2), EPS)
}

fn batch_norm_equals_the_composed_path(device: &Device) -> Result<()> {
    for shape in [&[2, 9, 5][..], &[1, 33, 256], &[3, 4, 2, 5], &[2, 3, 257, 2, 2]] {
        for options in variants() {
            let f = |i: &[Tensor]| batch(EPS, options, i);
            assert_agrees(&format!("{shape:?} {options:?}"), &f, &operands(shape), device, 1e-5)?;
        }
    }
    Ok(())
}

fn layer_norm_equals_the_composed_path(device: &Device) -> Result<()> {
    for shape in [&[4, 7][..], &[2, 3, 16], &[300, 129]] {
        let d = shape[shape.len() - 1];
        let inputs = [normal("x", shape), normal("gain", d), normal("shift", d)];
        assert_agrees(&format!("{shape:?}"), &layer, &inputs, device, 1e-5)?;
    }
    Ok(())
}

#[test]
fn values_are_those_of_the_definition() -> Result<()> {
    let row = [1.0, -2.0, 4.5, 0.25];
    let mean = row.iter().sum::<f64>() / 4.0;
    let root = (row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4.0).sqrt();
    let want: Vec<f64> = row.iter().map(|x| 2.0 * (x - mean) / (root + 0.3) - 1.0).collect();
    let x = Tensor::new(&row, &Device::Cpu)?;
    for dtype in [DType::F32, DType::F64] {
        let x = x.to_dtype(dtype)?;
        let constant = |n: &[usize], v: f64| Tensor::full(v, n, &Device::Cpu)?.to_dtype(dtype);
        let (gain, shift) = (constant(&[4], 2.0)?, constant(&[4], -1.0)?);
        let y = layer_norm(&x, Some(&gain), Some(&shift), EPS)?;
        assert_close("layer norm", &values(&y), &want, 1e-6);
        let x = x.reshape((1, 4, 1))?;
        let parameters = [&constant(&[1, 1], 2.0)?, &constant(&[1, 1], -1.0)?];
        let options = NormOptions { batch: true, activation: NormActivation::None };
        let y = normalise(&x, &batch_moments(&x)?, parameters, EPS, options)?;
        assert_close("batch norm", &values(&y), &want, 1e-6);
    }
    Ok(())
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    for shape in [&[2, 5, 3][..], &[1, 3, 2, 2, 2]] {
        for options in variants() {
            let constants = operands(shape);
            let f = |i: &[Tensor]| {
                let all = [&i[0], &i[1], &i[2], &constants[3], &constants[4]].map(Tensor::clone);
                batch(EPS, options, &all)
            };
            assert_differences(&format!("{shape:?} {options:?}"), &f, &constants[..3])?;
        }
    }
    let inputs = [normal("x", (3, 5)), normal("gain", 5), normal("shift", 5)];
    assert_differences("layer norm", &layer, &inputs)
}

fn what_does_not_vary_has_the_gradient_of_a_constant_deviation(device: &Device) -> Result<()> {
    // With the root's derivative taken as zero the deviation is the constant 0.3.
    for (dtype, device) in [(DType::F32, device), (DType::F64, &Device::Cpu)] {
        let x = Var::from_tensor(
            &Tensor::full(2.0, (1, 4, 1), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?,
        )?;
        let weights = normal("weights", (1, 4, 1)).to_dtype(dtype)?.to_device(device)?;
        let ones = Tensor::ones((1, 1), dtype, device)?;
        let options = NormOptions { batch: true, activation: NormActivation::None };
        let y = || normalise(&x, &batch_moments(&x)?, [&ones, &ones], EPS, options);
        let (_, grads) = value_and_weighted_gradients(y, &weights)?;
        let g = values(&weights);
        let mean = g.iter().sum::<f64>() / 4.0;
        let want: Vec<f64> = g.iter().map(|g| (g - mean) / 0.3).collect();
        assert_close("batch norm", &values(grads.get(x.as_tensor()).unwrap()), &want, 1e-5);
        let y = || layer_norm(&x.flatten_all()?, None, None, EPS);
        let (_, grads) = value_and_weighted_gradients(y, &weights.flatten_all()?)?;
        assert_close("layer norm", &values(grads.get(x.as_tensor()).unwrap()), &want, 1e-5);
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    for options in variants() {
        let f = |i: &[Tensor]| batch(EPS, options, i);
        assert_thread_count_free("batch norm", f, &operands(&[3, 40, 513]))?;
    }
    let inputs = [normal("x", (700, 129)), normal("gain", 129), normal("shift", 129)];
    assert_thread_count_free("layer norm", layer, &inputs)
}

#[test]
fn a_number_stands_in_the_variance() {
    assert_eq!(Eps::from(0.5), Eps::InVariance(0.5));
    let text = serde_json::to_string(&EPS).unwrap();
    assert_eq!(text, r#"{"kind":"on-deviation","value":0.3}"#);
    assert_eq!(serde_json::from_str::<Eps>(&text).unwrap(), EPS);
}
