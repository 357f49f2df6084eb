//! Activations.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use crate::{
    Result,
    ops::{elu, leaky_relu, silu, soft_clamp, soft_clamped_exp, softplus, tanh},
    testing::{
        assert_agrees, assert_differences, assert_thread_count_free, evaluate, normal, on_devices,
        values, vector,
    },
};

on_devices!(
    every_activation_equals_the_composed_path,
    extremes_stay_finite_and_nan_stays_nan,
    an_operand_used_twice_gathers_both_gradients,
);

/// Name, function, value and derivative.
type Row = (&'static str, fn(&Tensor) -> Result<Tensor>, fn(f64) -> f64, fn(f64) -> f64);

fn gate(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

const ROWS: [Row; 7] = [
    (
        "leaky relu",
        |x| leaky_relu(x, 0.2),
        |x| if x > 0.0 { x } else { 0.2 * x },
        |x| if x > 0.0 { 1.0 } else { 0.2 },
    ),
    ("softplus", softplus, |x| x.exp().ln_1p(), gate),
    ("silu", silu, |x| x * gate(x), |x| gate(x) + x * gate(x) * (1.0 - gate(x))),
    (
        "elu",
        |x| elu(x, 1.5),
        |x| if x > 0.0 { x } else { 1.5 * x.exp_m1() },
        |x| if x > 0.0 { 1.0 } else { 1.5 * x.exp() },
    ),
    ("tanh", tanh, f64::tanh, |x| x.cosh().powi(-2)),
    (
        "soft clamp",
        |x| soft_clamp(x, 5.0),
        |x| 5.0 * (x / 5.0).tanh(),
        |x| (x / 5.0).cosh().powi(-2),
    ),
    (
        "soft clamped exp",
        |x| soft_clamped_exp(x, 3.0, 0.1),
        |x| (3.0 * (x / 3.0).tanh()).exp() + 0.1,
        |x| (3.0 * (x / 3.0).tanh()).exp() * (x / 3.0).cosh().powi(-2),
    ),
];

fn every_activation_equals_the_composed_path(device: &Device) -> Result<()> {
    for (name, f, ..) in ROWS {
        for shape in [vec![33], vec![2, 3, 4], vec![40_000], vec![0, 3]] {
            if shape[0] == 0 {
                let empty = Tensor::zeros(shape, DType::F32, device)?;
                assert_eq!(f(&empty)?.dims(), [0, 3]);
                continue;
            }
            let x = [(normal("x", shape) * 3.0)?];
            assert_agrees(name, &|i| f(&i[0]), &x, device, 2e-6)?;
        }
        let strided = |i: &[Tensor]| f(&i[0].t()?.narrow(1, 1, 2)?);
        assert_agrees(name, &strided, &[normal("x", (4, 5))], device, 2e-6)?;
    }
    Ok(())
}

fn extremes_stay_finite_and_nan_stays_nan(device: &Device) -> Result<()> {
    let x = [vector(&[-1e30, -200.0, -0.0, 0.0, 200.0, 1e30])];
    for (name, f, ..) in ROWS {
        let outcome = evaluate(&|i| f(&i[0]), &x, DType::F32, device)?;
        let all = outcome.value.iter().chain(outcome.grads[0].iter().flatten());
        assert!(all.clone().all(|v| v.is_finite()), "{name}: {outcome:?}");
        let nan = Tensor::new(&[f32::NAN], device)?;
        assert!(values(&f(&nan)?)[0].is_nan(), "{name}");
    }
    Ok(())
}

fn an_operand_used_twice_gathers_both_gradients(device: &Device) -> Result<()> {
    for (name, f, ..) in ROWS {
        let twice = |i: &[Tensor]| Ok((f(&i[0])? * f(&(&i[0] * 0.5)?)?)?);
        assert_agrees(name, &twice, &[normal("x", (3, 7))], device, 3e-6)?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn value_and_gradient_are_those_of_the_definition(
        x in proptest::collection::vec(-20.0..20.0_f32, 1..50),
    ) {
        let x: Vec<f64> = x.into_iter().map(f64::from).collect();
        let g = values(&normal("weights", x.len()));
        for (name, f, value, derivative) in ROWS {
            for (dtype, tolerance) in [(DType::F32, 2e-6), (DType::F64, 1e-12)] {
                let inputs = [vector(&x)];
                let got = evaluate(&|i| f(&i[0]), &inputs, dtype, &Device::Cpu).unwrap();
                for (i, x) in x.iter().enumerate() {
                    let near = |got: f64, want: f64| (got - want).abs() <= tolerance * (1.0 + want.abs());
                    prop_assert!(near(got.value[i], value(*x)), "{name} at {x}: {}", got.value[i]);
                    let (grad, want) = (got.grads[0].as_ref().unwrap()[i], g[i] * derivative(*x));
                    prop_assert!(near(grad, want), "gradient of {name} at {x}: {grad}, {want}");
                }
            }
        }
    }
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    for (name, f, ..) in ROWS {
        assert_differences(name, &|i| f(&i[0]), &[normal("x", (3, 8))])?;
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    for (name, f, ..) in ROWS {
        assert_thread_count_free(name, |i| f(&i[0]), &[normal("x", 40_000)])?;
    }
    Ok(())
}
