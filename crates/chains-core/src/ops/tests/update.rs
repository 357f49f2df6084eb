//! The optimiser's arithmetic.

use candle_core::{DType, Device, Tensor, Var};

use crate::{
    Error, Result,
    ops::{AdamStep, AdamaxStep, adam_step, adam_steps, adamax_step, adamax_steps},
    testing::{assert_close, normal, on_devices, values},
};

on_devices!(
    adam_in_f32_equals_f64,
    a_strided_gradient_is_read_in_its_own_order,
    entries_that_are_not_a_number_count_as_zero_if_asked_to,
    adamax_in_f32_equals_f64,
    many_parameters_move_as_one_by_one,
);

fn constants(step: i32) -> AdamStep {
    let (beta1, beta2) = (0.9, 0.99);
    let step_size = 0.01 / (1.0 - 0.9_f64.powi(step));
    let correction = 1.0 - 0.99_f64.powi(step);
    AdamStep { beta1, beta2, step_size, correction, eps: 1e-8, nan_as_zero: false }
}

/// Parameter and moments after five steps along fixed gradients.
fn five_steps(n: usize, dtype: DType, device: &Device) -> Result<[Vec<f64>; 3]> {
    let convert = |t: Tensor| -> Result<Tensor> { Ok(t.to_dtype(dtype)?.to_device(device)?) };
    let parameter = Var::from_tensor(&convert(normal("parameter", n))?)?;
    let (m, v) = (Var::zeros(n, dtype, device)?, Var::zeros(n, dtype, device)?);
    for step in 1..=5 {
        let grad = convert(normal(&format!("gradient {step}"), n))?;
        adam_step(&parameter, &grad, &m, &v, constants(step))?;
    }
    Ok([&parameter, &m, &v].map(|var| values(var.as_tensor())))
}

fn adam_in_f32_equals_f64(device: &Device) -> Result<()> {
    for n in [1, 1000, 40_000] {
        let want = five_steps(n, DType::F64, &Device::Cpu)?;
        let got = five_steps(n, DType::F32, device)?;
        for (what, (got, want)) in ["parameter", "m", "v"].iter().zip(got.iter().zip(&want)) {
            assert_close(what, got, want, 2e-6);
        }
    }
    Ok(())
}

/// More parameters than one launch takes, of many lengths.
fn many_parameters_move_as_one_by_one(device: &Device) -> Result<()> {
    let adamax =
        AdamaxStep { beta1: 0.9, beta2: 0.99, step_size: 0.01, eps: 1e-3, weight_decay: 3e-4 };
    let all = |what: &str| -> Result<Vec<(Tensor, Var, [Var; 2])>> {
        let one = |i: usize| {
            let n = 1 + 37 * i % 1000;
            let own = |name: &str| -> Result<Tensor> {
                let values = normal(&format!("{what} {name} {i}"), n);
                Ok(values.to_dtype(DType::F32)?.to_device(device)?)
            };
            let moment = |name: &str| -> Result<Var> { Ok(Var::from_tensor(&own(name)?.sqr()?)?) };
            let parameter = Var::from_tensor(&own("parameter")?)?;
            Ok((own("gradient")?, parameter, [moment("first")?, moment("second")?]))
        };
        (0..101).map(one).collect()
    };
    for adam in [true, false] {
        let (together, apart) = (all("step")?, all("step")?);
        if adam {
            adam_steps(&together, constants(1))?;
        } else {
            adamax_steps(&together, adamax)?;
        }
        for ((grad, parameter, [first, second]), (_, got, moments)) in apart.iter().zip(&together) {
            if adam {
                adam_step(parameter, grad, first, second, constants(1))?;
            } else {
                adamax_step(parameter, grad, first, second, adamax)?;
            }
            for (want, got) in [(parameter, got), (first, &moments[0]), (second, &moments[1])] {
                assert_eq!(values(want.as_tensor()), values(got.as_tensor()));
            }
        }
    }
    Ok(())
}

fn adamax_in_f32_equals_f64(device: &Device) -> Result<()> {
    let run = |n: usize, dtype: DType, device: &Device| -> Result<[Vec<f64>; 3]> {
        let convert = |t: Tensor| -> Result<Tensor> { Ok(t.to_dtype(dtype)?.to_device(device)?) };
        let parameter = Var::from_tensor(&convert(normal("parameter", n))?)?;
        let (m, u) = (Var::zeros(n, dtype, device)?, Var::zeros(n, dtype, device)?);
        for step in 1..=5 {
            let grad = convert(normal(&format!("gradient {step}"), n))?;
            let step_size = 0.01 / (1.0 - 0.9_f64.powi(step));
            let (beta1, beta2, eps, weight_decay) = (0.9, 0.999, 1e-3, 3e-4);
            let step = AdamaxStep { beta1, beta2, step_size, eps, weight_decay };
            adamax_step(&parameter, &grad, &m, &u, step)?;
        }
        Ok([&parameter, &m, &u].map(|var| values(var.as_tensor())))
    };
    for n in [1, 1000, 40_000] {
        let want = run(n, DType::F64, &Device::Cpu)?;
        let got = run(n, DType::F32, device)?;
        for (what, (got, want)) in ["parameter", "m", "u"].iter().zip(got.iter().zip(&want)) {
            assert_close(what, got, want, 2e-6);
        }
    }
    let zeros = |n: usize| Var::zeros(n, DType::F32, device);
    let (p, m, grad) = (zeros(4)?, zeros(4)?, zeros(3)?);
    let step = AdamaxStep { beta1: 0.9, beta2: 0.9, step_size: 0.1, eps: 0.1, weight_decay: 0.0 };
    assert!(adamax_step(&p, grad.as_tensor(), &m, &m, step).is_err());
    Ok(())
}

fn entries_that_are_not_a_number_count_as_zero_if_asked_to(device: &Device) -> Result<()> {
    let run = |dtype, grad: [f64; 3], nan_as_zero| -> Result<Vec<f64>> {
        let convert = |v: &[f64]| -> Result<Tensor> {
            Ok(Tensor::new(v, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
        };
        let parameter = Var::from_tensor(&convert(&[1.0, 2.0, 3.0])?)?;
        let m = Var::from_tensor(&convert(&[0.5, 0.5, 0.5])?)?;
        let v = Var::from_tensor(&convert(&[0.1, 0.1, 0.1])?)?;
        let step = AdamStep { nan_as_zero, ..constants(2) };
        adam_step(&parameter, &convert(&grad)?, &m, &v, step)?;
        Ok([&parameter, &m, &v].iter().flat_map(|var| values(var.as_tensor())).collect())
    };
    let wide = if device.is_cpu() { vec![DType::F32, DType::F64] } else { vec![DType::F32] };
    for dtype in wide {
        let want = run(dtype, [0.25, 0.0, f64::INFINITY], false)?;
        let got = run(dtype, [0.25, f64::NAN, f64::INFINITY], true)?;
        // Infinities are no business of this option.
        assert!(got[2].is_nan() && want[2].is_nan());
        let finite = |v: &[f64]| v.iter().copied().filter(|v| v.is_finite()).collect::<Vec<_>>();
        assert_eq!(finite(&got), finite(&want));
        assert!(run(dtype, [0.25, f64::NAN, 0.0], false)?[1].is_nan());
    }
    Ok(())
}

#[test]
fn adam_in_f64_follows_algorithm_1() -> Result<()> {
    let got = five_steps(3, DType::F64, &Device::Cpu)?;
    let mut p = values(&normal("parameter", 3));
    let (mut m, mut v) = ([0.0_f64; 3], [0.0_f64; 3]);
    for step in 1..=5 {
        let g = values(&normal(&format!("gradient {step}"), 3));
        for i in 0..3 {
            m[i] = 0.9 * m[i] + 0.1 * g[i];
            v[i] = 0.99 * v[i] + 0.01 * g[i] * g[i];
            let corrected = (v[i] / (1.0 - 0.99_f64.powi(step))).sqrt();
            p[i] -= 0.01 * (m[i] / (1.0 - 0.9_f64.powi(step))) / (corrected + 1e-8);
        }
    }
    assert_close("parameter", &got[0], &p, 1e-13);
    assert_close("m", &got[1], &m, 1e-13);
    assert_close("v", &got[2], &v, 1e-13);
    Ok(())
}

fn a_strided_gradient_is_read_in_its_own_order(device: &Device) -> Result<()> {
    let grad = normal("gradient", (3, 4)).to_dtype(DType::F32)?.to_device(device)?;
    let run = |grad: &Tensor| -> Result<Vec<f64>> {
        let [p, m, v] = [(); 3].map(|()| Var::zeros((4, 3), DType::F32, device));
        let (p, m, v) = (p?, m?, v?);
        adam_step(&p, grad, &m, &v, constants(1))?;
        Ok(values(m.as_tensor()))
    };
    assert_eq!(run(&grad.t()?)?, run(&grad.t()?.contiguous()?)?);
    Ok(())
}

#[test]
fn shapes_that_differ_are_an_error_and_move_nothing() -> Result<()> {
    let zeros = |n: usize| Var::zeros(n, DType::F32, &Device::Cpu);
    let (p, m, v, grad) = (zeros(4)?, zeros(4)?, zeros(4)?, zeros(3)?);
    let ones = p.as_tensor().ones_like()?;
    let error = adam_step(&p, grad.as_tensor(), &m, &v, constants(1)).unwrap_err();
    assert!(matches!(error, Error::Shape { what: "gradient", .. }), "{error}");
    assert!(adam_step(&p, &ones, &grad, &v, constants(1)).is_err());
    assert!(adam_step(&p, &ones, &m, &grad, constants(1)).is_err());
    assert_eq!(p.to_vec1::<f32>()?, [0.0; 4]);
    assert_eq!(m.to_vec1::<f32>()?, [0.0; 4]);
    Ok(())
}
