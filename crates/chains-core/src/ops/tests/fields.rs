//! Gates, parts and interpolation of maps, kernels of a length, and terms of a loss.

use candle_core::{DType, Device, Tensor, Var};

use crate::{
    Error, Result,
    autograd::value_and_gradients,
    ops::{
        Span, add_gated, bilinear2, channel_means, gaussian_divergence, max_abs, of_length, part,
        stack, total,
    },
    testing::{
        assert_agrees, assert_close, assert_differences, assert_thread_count_free,
        assert_untracked, evaluate, normal, on_devices, uniform, values, vector,
    },
};

on_devices!(
    every_function_equals_the_composed_path,
    parts_are_the_values_at_the_indices,
    maps_of_a_pixel_or_a_row_are_doubled,
    the_largest_size_has_the_gradient_and_equals_share_it,
    a_kernel_of_zeros_has_no_gradient_and_stays,
    tensors_one_after_the_other_have_their_own_gradients,
);

fn tensors_one_after_the_other_have_their_own_gradients(device: &Device) -> Result<()> {
    // One part, several, and more than a launch on a device takes; the first is used twice.
    for n in [1, 3, 60] {
        let parts: Vec<Tensor> = (0..n).map(|i| normal(&format!("part {i}"), (2, 3))).collect();
        let joined = |i: &[Tensor]| {
            let all: Vec<&Tensor> = i.iter().chain(&i[..1]).collect();
            let squares = stack(&all)?.sqr()?;
            Ok(squares.broadcast_add(&i[0].sum_all()?)?)
        };
        assert_agrees(&format!("{n} parts"), &joined, &parts, device, 2e-6)?;
    }
    assert!(stack(&[]).is_err());
    assert!(stack(&[&normal("a", 2), &normal("b", 3)]).is_err());
    Ok(())
}

/// A function of maps, vectors or scalars, and its operands.
type Row = (&'static str, fn(&[Tensor]) -> Result<Tensor>, fn(usize) -> Vec<Tensor>);

/// Sizes of operands: small, and more than one parallel block.
const SIZES: [usize; 2] = [1, 21];

const SPANS: [Span; 3] = [Span::new(1, 2), Span::halved(1, 8), Span { start: 0, len: 2, step: 3 }];

fn maps(n: usize) -> Vec<Tensor> {
    vec![normal("x", (2 * n, 3, 8, 5)), normal("branch", (2 * n, 3, 8, 5))]
}

const ROWS: [Row; 7] = [
    ("channel_means", |i| channel_means(&i[0]), |n| maps(n)[..1].to_vec()),
    (
        "add_gated",
        |i| add_gated(&i[0], &i[1], &i[2], 0.1),
        |n| [maps(n), vec![normal("gate", (2 * n, 3))]].concat(),
    ),
    ("part", |i| part(&i[0], SPANS), |n| maps(n)[..1].to_vec()),
    ("bilinear2", |i| bilinear2(&i[0]), |n| maps(n)[..1].to_vec()),
    (
        "gaussian_divergence",
        |i| gaussian_divergence([&i[0], &i[1]], [&i[2], &i[3]]),
        |n| {
            let scale = |label| uniform(label, (3, 4, 200 * n), 0.3, 3.0);
            let mean = |label| normal(label, (3, 4, 200 * n));
            vec![mean("m"), scale("s"), mean("other"), scale("wide")]
        },
    ),
    (
        "of_length",
        |i| of_length(&i[0], &i[1], 1e-5),
        |n| vec![normal("weight", (7 * n, 4, 3, 3)), normal("length", (7 * n, 1, 1, 1))],
    ),
    ("total", total, |_| ["a", "b", "c", "d"].map(|label| normal(label, ())).to_vec()),
];

fn every_function_equals_the_composed_path(device: &Device) -> Result<()> {
    for (name, f, operands) in ROWS {
        for n in SIZES {
            assert_agrees(&format!("{name}, {n}"), &f, &operands(n), device, 4e-6)?;
        }
        let twice = |i: &[Tensor]| {
            let halves: Vec<Tensor> =
                i.iter().map(|x| x * 0.5).collect::<candle_core::Result<_>>()?;
            Ok((f(i)? + f(&halves)?)?)
        };
        assert_agrees(&format!("{name}, twice"), &twice, &operands(1), device, 4e-6)?;
    }
    Ok(())
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    for (name, f, operands) in ROWS {
        assert_differences(name, &f, &operands(1))?;
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    for (name, f, operands) in ROWS {
        assert_thread_count_free(name, f, &operands(21))?;
    }
    Ok(())
}

#[test]
fn an_untracked_operand_gets_no_gradient() -> Result<()> {
    for (name, f, operands) in ROWS {
        let operands = operands(1);
        if name != "gaussian_divergence" && name != "total" {
            for frozen in 0..operands.len() {
                assert_untracked(name, &f, &operands, frozen)?;
            }
            continue;
        }
        // Without a tape candle gives these gradients to all.
        for frozen in 0..operands.len() {
            let mut tensors = Vec::new();
            for (i, x) in operands.iter().enumerate() {
                let x = x.to_dtype(DType::F32)?;
                tensors.push(if i == frozen { x } else { Var::from_tensor(&x)?.into_inner() });
            }
            let (_, grads) = value_and_gradients(|| Ok(f(&tensors)?.sum_all()?))?;
            for (i, x) in tensors.iter().enumerate() {
                assert_eq!(grads.get(x).is_some(), i != frozen, "{name}, operand {i}");
            }
        }
    }
    Ok(())
}

fn parts_are_the_values_at_the_indices(device: &Device) -> Result<()> {
    let x: Vec<f64> = (0..48).map(f64::from).collect();
    let x = [Tensor::from_vec(x, (1, 3, 4, 4), &Device::Cpu)?];
    let spans = [Span::new(1, 2), Span::halved(1, 4), Span::new(3, 1)];
    let got = evaluate(&|i| part(&i[0], spans), &x, DType::F32, device)?;
    assert_close("part", &got.value, &[23.0, 31.0, 39.0, 47.0], 1e-7);
    let refuse = |x: &Tensor, spans| {
        let error = part(x, spans).unwrap_err();
        assert!(matches!(error, Error::Shape { what: "part", .. }), "{error}");
    };
    refuse(&x[0], [Span::new(2, 2), Span::new(0, 4), Span::new(0, 4)]);
    refuse(&x[0], [Span::new(0, 3), Span { start: 1, len: 2, step: 3 }, Span::new(0, 4)]);
    refuse(&x[0], [Span::new(0, 3), Span { start: 1, len: 2, step: 0 }, Span::new(0, 4)]);
    refuse(&x[0].squeeze(0)?, spans);
    assert_eq!(Span::halved(0, 5).len, 3);
    assert_eq!(Span::halved(1, 5).len, 2);
    Ok(())
}

fn maps_of_a_pixel_or_a_row_are_doubled(device: &Device) -> Result<()> {
    for (h, w) in [(1, 1), (1, 2), (2, 1), (2, 2), (1, 7), (3, 1)] {
        let x = [normal("x", (2, 3, h, w))];
        let double = |i: &[Tensor]| bilinear2(&i[0]);
        assert_agrees(&format!("{h} x {w}"), &double, &x, device, 4e-6)?;
    }
    Ok(())
}

fn the_largest_size_has_the_gradient_and_equals_share_it(device: &Device) -> Result<()> {
    let wide: &[_] = if device.is_cpu() { &[DType::F32, DType::F64] } else { &[DType::F32] };
    for dtype in wide {
        let f = |i: &[Tensor]| Ok(max_abs(&(&i[0] * 1.0)?)?.affine(2.0, 0.0)?);
        let x = [vector(&[1.0, -3.0, 2.0])];
        let got = evaluate(&f, &x, *dtype, device)?;
        let factor = values(&normal("weights", ()))[0];
        assert_close("value", &got.value, &[6.0], 1e-7);
        let grads = got.grads[0].as_ref().unwrap();
        assert_close("gradient", grads, &[0.0, -2.0 * factor, 0.0], 1e-6);
        let got = evaluate(&f, &[vector(&[3.0, -3.0, 2.0])], *dtype, device)?;
        assert_close("shared", got.grads[0].as_ref().unwrap(), &[factor, -factor, 0.0], 1e-6);
    }
    for dtype in [DType::F32, DType::F64] {
        let x = Tensor::new(&[f32::NAN, 1.0, -2.0], &Device::Cpu)?.to_dtype(dtype)?;
        assert!(values(&max_abs(&x.to_device(device)?)?)[0].is_nan());
    }
    assert_agrees("random", &|i| max_abs(&i[0]), &[normal("x", (5, 7))], device, 1e-6)
}

fn a_kernel_of_zeros_has_no_gradient_and_stays(device: &Device) -> Result<()> {
    let zeros = Tensor::zeros((2, 3, 1, 1), DType::F64, &Device::Cpu)?;
    let operands = [zeros, normal("length", (2, 1, 1, 1))];
    let got = evaluate(&|i| of_length(&i[0], &i[1], 1e-5), &operands, DType::F32, device)?;
    assert!(got.value.iter().all(|y| y.abs() <= 0.0), "{got:?}");
    let finite = got.grads.iter().flatten().flatten().all(|g| g.is_finite());
    assert!(finite && got.grads[1].as_ref().unwrap().iter().all(|g| g.abs() <= 0.0), "{got:?}");
    Ok(())
}

#[test]
fn operands_that_do_not_fit_are_named() -> Result<()> {
    let (x, gate, flat) = (normal("x", (2, 3, 4)), normal("gate", (2, 3)), normal("flat", 3));
    let scalar = normal("scalar", ());
    for (result, words) in [
        (channel_means(&flat), "(b, c, ..space)"),
        (add_gated(&x, &gate, &gate, 1.0), "gated branch"),
        (add_gated(&x, &x, &x, 1.0), "gate"),
        (gaussian_divergence([&x, &x], [&x, &gate]), "deviation of p"),
        (gaussian_divergence([&scalar, &scalar], [&scalar, &scalar]), "mean of q"),
        (total(&[]), "at least one"),
        (total(&[scalar.clone(), flat.clone()]), "scalars"),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    assert!(bilinear2(&flat).is_err());
    Ok(())
}
