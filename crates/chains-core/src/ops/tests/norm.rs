//! Batch normalisation.

use candle_core::{DType, Device, Tensor};

use crate::{
    Error, Result,
    ops::{BatchMoments, NormActivation, NormOptions, batch_moments, batch_normalise, normalise},
    testing::{
        assert_agrees, assert_close, assert_differences, assert_thread_count_free,
        assert_untracked, normal, on_devices, uniform, values,
    },
};

on_devices!(
    equals_the_composed_path_for_any_shape_and_option,
    moments_are_those_of_the_definition,
    a_dead_unit_passes_no_gradient_and_nan_stays_nan,
    moments_and_values_in_one_are_those_of_two_steps,
);

const EPS: f64 = 1e-4;

/// Groups, batch, channels, space: no space, one and two axes, channels around the tile of 256, few
/// positions and many.
const SHAPES: [&[usize]; 11] = [
    &[1, 4, 1],
    &[2, 9, 5],
    &[1, 33, 256],
    &[2, 6, 513],
    &[3, 4, 2, 5],
    &[3, 4, 2, 3, 3],
    &[2, 3, 257, 2, 2],
    &[1, 5, 70, 4, 4],
    &[2, 3, 4, 17],
    &[1, 4, 3, 6, 6],
    &[1, 3, 2, 1, 33],
];

/// All variants.
fn variants() -> impl Iterator<Item = NormOptions> {
    let leaky = NormActivation::LeakyRelu(0.2);
    let activations = [NormActivation::None, NormActivation::Relu, leaky, NormActivation::Swish];
    let both = move |batch| activations.map(|activation| NormOptions { batch, activation });
    [false, true].into_iter().flat_map(both)
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

fn moments_and_values_in_one_are_those_of_two_steps(device: &Device) -> Result<()> {
    for shape in SHAPES {
        for NormOptions { activation, .. } in variants().filter(|options| options.batch) {
            let one = |i: &[Tensor]| Ok(batch_normalise(&i[0], [&i[1], &i[2]], EPS, activation)?.0);
            let what = format!("{shape:?} {activation:?}");
            assert_agrees(&what, &one, &operands(shape)[..3], device, 1e-5)?;
        }
        let x = operands(shape)[0].to_dtype(DType::F32)?.to_device(device)?;
        let gains = Tensor::ones((shape[0], shape[2]), DType::F32, device)?;
        let (_, got) = batch_normalise(&x, [&gains, &gains], EPS, NormActivation::None)?;
        let want = batch_moments(&x)?;
        assert_close("mean", &values(&got.mean), &values(&want.mean), 1e-6);
        assert_close("variance", &values(&got.variance), &values(&want.variance), 1e-6);
    }
    Ok(())
}

fn apply(options: NormOptions, i: &[Tensor]) -> Result<Tensor> {
    let moments = if options.batch {
        batch_moments(&i[0])?
    } else {
        BatchMoments { mean: i[3].clone(), variance: i[4].clone() }
    };
    normalise(&i[0], &moments, [&i[1], &i[2]], EPS, options)
}

fn equals_the_composed_path_for_any_shape_and_option(device: &Device) -> Result<()> {
    for shape in SHAPES {
        for options in variants() {
            let f = |i: &[Tensor]| apply(options, i);
            // Stored moments are constants: `assert_agrees` sees that they have no gradient.
            let what = format!("{shape:?} {options:?}");
            assert_agrees(&what, &f, &operands(shape), device, 1e-5)?;
        }
    }
    let options = NormOptions { batch: true, activation: NormActivation::Relu };
    let transposed = |i: &[Tensor]| {
        let x = i[0].transpose(1, 2)?;
        normalise(&x, &batch_moments(&x)?, [&i[1], &i[2]], EPS, options)
    };
    let inputs = [normal("x", (2, 5, 9)), normal("gain", (2, 5)), normal("shift", (2, 5))];
    assert_agrees("transposed", &transposed, &inputs, device, 1e-5)
}

fn moments_are_those_of_the_definition(device: &Device) -> Result<()> {
    for shape in SHAPES {
        let x = operands(shape)[0].clone();
        let (g, b, c) = (shape[0], shape[1], shape[2]);
        let s: usize = shape[3..].iter().product();
        let flat = values(&x);
        let (mut mean, mut variance) = (Vec::new(), Vec::new());
        for (group, channel) in (0..g).flat_map(|g| (0..c).map(move |c| (g, c))) {
            let of = |row: usize| (((group * b + row) * c) + channel) * s;
            let all: Vec<f64> =
                (0..b).flat_map(|row| flat[of(row)..of(row) + s].to_vec()).collect();
            let m = all.iter().sum::<f64>() / all.len() as f64;
            mean.push(m);
            variance.push(all.iter().map(|x| (x - m).powi(2)).sum::<f64>() / all.len() as f64);
        }
        for (dtype, device) in [(DType::F32, device), (DType::F64, &Device::Cpu)] {
            let moments = batch_moments(&x.to_dtype(dtype)?.to_device(device)?)?;
            assert_eq!(moments.mean.dims(), [g, c]);
            assert_eq!(moments.variance.dims(), [g, c]);
            assert_close(&format!("{shape:?} mean"), &values(&moments.mean), &mean, 1e-6);
            let got = values(&moments.variance);
            assert_close(&format!("{shape:?} variance"), &got, &variance, 1e-6);
        }
    }
    Ok(())
}

fn a_dead_unit_passes_no_gradient_and_nan_stays_nan(device: &Device) -> Result<()> {
    let options = NormOptions { batch: false, activation: NormActivation::Relu };
    // The first channel is exactly its mean and so exactly at the kink.
    let inputs = |dtype: DType, device: &Device| -> Result<[Tensor; 5]> {
        let row = |v: [f64; 2]| -> Result<Tensor> {
            let v = Tensor::new(&v, &Device::Cpu)?.reshape((1, 2))?;
            Ok(v.to_dtype(dtype)?.to_device(device)?)
        };
        let x = row([0.5, f64::NAN])?.unsqueeze(0)?;
        Ok([x, row([1.0, 1.0])?, row([0.0, 0.0])?, row([0.5, 0.0])?, row([1.0, 1.0])?])
    };
    for (dtype, device) in [(DType::F32, device), (DType::F64, &Device::Cpu)] {
        let i = inputs(dtype, device)?;
        let x = candle_core::Var::from_tensor(&i[0])?;
        let mut tracked = i.to_vec();
        tracked[0] = x.as_tensor().clone();
        let y = apply(options, &tracked)?;
        let got = values(&y);
        assert!(got[0].abs() <= 0.0 && got[1].is_nan(), "{dtype:?}: {got:?}");
        let grads = y.sum_all()?.backward()?;
        let grad = values(grads.get(x.as_tensor()).unwrap());
        assert!(grad[0].abs() <= 0.0, "{dtype:?}: {grad:?}");
        let plain = apply(NormOptions { batch: false, activation: NormActivation::None }, &i)?;
        assert!(values(&plain)[1].is_nan(), "{dtype:?}");
    }
    Ok(())
}

#[test]
fn batch_statistics_give_mean_shift_and_variance_gain_squared() -> Result<()> {
    let i = operands(&[2, 50, 3, 4]);
    let y = apply(NormOptions { batch: true, activation: NormActivation::None }, &i)?;
    let (before, after) = (batch_moments(&i[0])?, batch_moments(&y)?);
    assert_close("mean", &values(&after.mean), &values(&i[2]), 1e-12);
    let share = (&before.variance / (&before.variance + EPS)?)?;
    let want = values(&i[1].sqr()?.mul(&share)?);
    assert_close("variance", &values(&after.variance), &want, 1e-12);
    Ok(())
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    for shape in [&[2, 5, 3][..], &[1, 3, 2, 2, 2]] {
        for options in variants() {
            let constants = operands(shape);
            let f = |i: &[Tensor]| {
                let all = [&i[0], &i[1], &i[2], &constants[3], &constants[4]].map(Tensor::clone);
                apply(options, &all)
            };
            assert_differences(&format!("{shape:?} {options:?}"), &f, &constants[..3])?;
        }
    }
    Ok(())
}

#[test]
fn an_untracked_operand_gets_no_gradient() -> Result<()> {
    let constants = operands(&[2, 4, 3]);
    let single = constants.each_ref().map(|t| t.to_dtype(DType::F32).unwrap());
    for options in variants() {
        let f = |i: &[Tensor]| {
            let all = [&i[0], &i[1], &i[2], &single[3], &single[4]].map(Tensor::clone);
            apply(options, &all)
        };
        for frozen in 0..3 {
            assert_untracked(&format!("{options:?}"), &f, &constants[..3], frozen)?;
        }
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    for shape in [&[3, 40, 513][..], &[2, 8, 300, 3, 3]] {
        for options in variants() {
            assert_thread_count_free("batch norm", |i| apply(options, i), &operands(shape))?;
        }
    }
    Ok(())
}

#[test]
fn operands_that_do_not_fit_are_named() -> Result<()> {
    let [x, gain, shift, mean, variance] = operands(&[2, 4, 3]);
    let narrow = |t: &Tensor| t.narrow(1, 0, 2);
    let moments = BatchMoments { mean: mean.clone(), variance: variance.clone() };
    let short = BatchMoments { mean: narrow(&mean)?, variance };
    let options = NormOptions { batch: false, activation: NormActivation::None };
    for (result, word) in [
        (normalise(&x, &moments, [&narrow(&gain)?, &shift], EPS, options), "gain"),
        (normalise(&x, &moments, [&gain, &narrow(&shift)?], EPS, options), "shift"),
        (normalise(&x, &short, [&gain, &shift], EPS, options), "mean"),
        (normalise(&gain, &moments, [&gain, &shift], EPS, options), "(g, b, c, ..space)"),
    ] {
        let error = result.unwrap_err();
        assert!(
            matches!(error, Error::Shape { .. }) && error.to_string().contains(word),
            "{error}"
        );
    }
    assert!(batch_moments(&gain).is_err());
    Ok(())
}

#[test]
fn empty_axes_give_empty_results() -> Result<()> {
    for shape in [&[2, 0, 3][..], &[2, 4, 0], &[1, 2, 3, 0, 4]] {
        let x = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
        let moments = batch_moments(&x)?;
        let constants = Tensor::ones((shape[0], shape[2]), DType::F32, &Device::Cpu)?;
        let options = NormOptions { batch: true, activation: NormActivation::Relu };
        let y = normalise(&x, &moments, [&constants, &constants], 1e-4, options)?;
        assert_eq!(y.dims(), shape);
    }
    Ok(())
}
