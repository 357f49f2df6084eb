//! Langevin steps without an accept step, against the closed forms of linear chains.

use std::cell::Cell;

use candle_core::{DType, Device, Tensor};

use super::{Correlated, Counted, Gamma, Gaussian, Quartic, assert_moments, normals};
use crate::{
    Noise, Result, Seed,
    chain::{Clamped, Kernel, Step, StepSchedule, chain, check_kernel},
    density::Energy,
    mcmc::Langevin,
    testing::{assert_close, on_devices, values, vector},
};

/// The standard normal law, its gradient written out.
struct Unit;

impl Energy for Unit {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok((x.sqr()?.sum(1)? * 0.5)?)
    }

    fn energy_and_grad(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((self.energy(x)?, x.clone()))
    }
}

/// Where 20,000 independent chains in one dimension are after some steps from zero.
fn run(
    kernel: &Langevin<Unit>,
    steps: usize,
    temperature: f64,
    (seed, device): (u64, &Device),
) -> Result<Tensor> {
    let mut noise = Seed::new(seed).child("langevin").host_noise();
    let mut state = kernel.init(Tensor::zeros((20_000, 1), DType::F64, device)?)?;
    for index in 0..steps {
        state = kernel.step(&state, Step { index, temperature }, &mut noise)?.0;
    }
    Ok(state.position)
}

#[test]
fn a_step_is_its_formula_with_two_coefficients() -> Result<()> {
    let start = normals("start", (5, 1));
    let kernel = Langevin::new(Quartic, 0.3, 0.7)?;
    let at = Step { index: 0, temperature: 2.25 };
    let (next, info) = kernel.step(&kernel.init(start.clone())?, at, &mut noise())?;
    let kicks = values(&noise().normal(start.shape(), DType::F64, &Device::Cpu)?);
    let x = values(&start);
    let want: Vec<f64> =
        x.iter().zip(&kicks).map(|(x, n)| x - 0.3 * x.powi(3) + 0.7 * 1.5 * n).collect();
    assert_close("position", &values(&next.position), &want, 1e-15);
    // Energy and gradient are those of the point that was left.
    let energy: Vec<f64> = x.iter().map(|x| x.powi(4) / 4.0).collect();
    let grad: Vec<f64> = x.iter().map(|x| x.powi(3)).collect();
    assert_close("energy", &values(&info.energy), &energy, 1e-15);
    assert_close("gradient", &values(&info.grad), &grad, 1e-15);
    assert_eq!(info.non_finite_count()?, 0);
    Ok(())
}

fn noise() -> crate::HostNoise {
    Seed::new(8).child("one").host_noise()
}

on_devices!(
    a_matched_pair_settles_at_its_biased_variance,
    without_an_accept_step_the_proposal_of_mala_inflates_the_variance,
    a_mismatched_pair_settles_where_its_coefficients_say,
);

fn a_matched_pair_settles_at_its_biased_variance(device: &Device) -> Result<()> {
    // 1 / (1 - b^2 / 4), times the temperature.
    for seed in 0..3 {
        for (scale, steps, temperature) in [(1.0, 30, 1.0), (0.6, 100, 1.0), (1.0, 30, 4.0)] {
            let kernel = Langevin::matched(Unit, scale)?;
            let variance = temperature / (1.0 - scale * scale / 4.0);
            let last = run(&kernel, steps, temperature, (seed, device))?;
            assert_moments("matched", &last, &[(0.0, variance)])?;
        }
    }
    Ok(())
}

fn without_an_accept_step_the_proposal_of_mala_inflates_the_variance(
    device: &Device,
) -> Result<()> {
    // 1 / (1 - tau / 2): two at tau = 1.
    for seed in 0..3 {
        for (tau, want) in [(0.2, 1.0 / 0.9), (1.0, 2.0), (1.5, 4.0)] {
            let kernel = Langevin::new(Unit, tau, (2.0_f64 * tau).sqrt())?;
            let last = run(&kernel, 60, 1.0, (seed, device))?;
            assert_moments("inflated", &last, &[(0.0, want)])?;
        }
    }
    Ok(())
}

fn a_mismatched_pair_settles_where_its_coefficients_say(device: &Device) -> Result<()> {
    // x' = (1 - a) x + b n: b^2 / (2 a - a^2); with a = 1 nothing of the past is left.
    for (a, b) in [(1.0, 0.01), (0.5, 0.1)] {
        let last = run(&Langevin::new(Unit, a, b)?, 40, 1.0, (0, device))?;
        assert_moments("mismatched", &last, &[(0.0, b * b / (2.0 * a - a * a))])?;
    }
    Ok(())
}

#[test]
fn a_chain_costs_one_gradient_a_step() -> Result<()> {
    let energy = Counted(Correlated, Cell::new(0));
    let kernel = Langevin::new(&energy, 0.1, 0.1)?;
    let start = normals("start", (3, 2));
    let mut noise = noise();
    let steps = chain(&kernel, start, &StepSchedule { len: 7 }, &mut noise)?.count();
    assert_eq!((steps, energy.1.get()), (7, 7));
    Ok(())
}

#[test]
fn no_noise_or_temperature_zero_is_gradient_descent() -> Result<()> {
    let start = normals("start", (4, 2));
    let want: Vec<f64> = values(&start).iter().map(|x| x * 0.75).collect();
    for (scale, temperature) in [(0.0, 1.0), (0.5, 0.0)] {
        let kernel = Langevin::new(Gaussian([1.0, 1.0]), 0.25, scale)?;
        let state = kernel.init(start.clone())?;
        let (next, _) = kernel.step(&state, Step { index: 0, temperature }, &mut noise())?;
        assert_close("descent", &values(&next.position), &want, 1e-15);
    }
    Ok(())
}

#[test]
fn chains_that_are_not_finite_are_told_and_go_on() -> Result<()> {
    // Below zero the energy is NaN; the others are not disturbed.
    let start = vector(&[2.0, -1.0, f64::INFINITY, 3.0]).reshape((4, 1))?;
    for clamped in [false, true] {
        let kernel = Langevin::new(Gamma, 0.01, 0.0)?;
        let kernel = if clamped { kernel.clamped(-5.0, 5.0)? } else { kernel };
        let mut state = kernel.init(start.clone())?;
        for index in 0..3 {
            let (next, info) = kernel.step(&state, Step::at(index), &mut noise())?;
            assert_eq!(values(&info.non_finite), [0.0, 1.0, 1.0, 0.0]);
            assert_eq!(info.non_finite_count()?, 2);
            state = next;
        }
        let last = values(&state.position);
        assert!(last[0].is_finite() && last[3].is_finite());
    }
    // NaN does not hide behind the clamp, a step too large is told when it is made.
    let kernel = Langevin::new(Unit, 1e300, 0.0)?.clamped(0.0, 1.0)?;
    let state = kernel.init(vector(&[f64::NAN, -1e10, 0.5]).reshape((3, 1))?)?;
    let (next, info) = kernel.step(&state, Step::at(0), &mut noise())?;
    assert_eq!(values(&info.non_finite), [1.0, 1.0, 0.0]);
    let last = values(&next.position);
    assert!(last[0].is_nan() && last[1].is_infinite());
    assert_eq!(last[2].to_bits(), 0);
    Ok(())
}

#[test]
fn positions_stay_in_the_range_that_is_asked_for() -> Result<()> {
    let kernel = Langevin::new(Gaussian([1.0]), 0.5, 2.0)?;
    let held = kernel.clone().clamped(-1.0, 0.5)?;
    let start = normals("start", (2000, 1));
    let free = kernel.step(&kernel.init(start.clone())?, Step::at(0), &mut noise())?.0;
    let kept = held.step(&held.init(start)?, Step::at(0), &mut noise())?.0;
    let want: Vec<f64> = values(&free.position).iter().map(|x| x.clamp(-1.0, 0.5)).collect();
    assert_eq!(values(&kept.position), want);
    assert!(want.iter().filter(|x| **x >= 0.5).count() > 500);
    Ok(())
}

#[test]
fn the_contract_of_a_kernel_is_kept() -> Result<()> {
    let kernel = Langevin::matched(Gaussian([1.0, 9.0]), 0.5)?;
    for dtype in [DType::F32, DType::F64] {
        let start = normals("start", (6, 2)).to_dtype(dtype)?;
        check_kernel(&kernel, &start, Seed::new(4))?;
        check_kernel(&kernel.clone().clamped(-0.5, 0.5)?, &start, Seed::new(4))?;
        let mask = Tensor::from_vec([[1_u8, 0]; 6].concat(), (6, 2), &Device::Cpu)?;
        let clamped = Clamped { kernel: kernel.clone(), mask, known: start.clone() };
        check_kernel(&clamped, &start, Seed::new(4))?;
    }
    Ok(())
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let kernel = Langevin::matched(Gaussian([1.0; 300]), 0.5)?;
    let step = || -> Result<Vec<f64>> {
        let state = kernel.init(normals("start", (100, 300)).to_dtype(DType::F32)?)?;
        Ok(values(&kernel.step(&state, Step::at(0), &mut noise())?.0.position))
    };
    let run = |threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(step)
    };
    assert_eq!(run(1)?, run(3)?);
    Ok(())
}

#[test]
fn unusable_settings_are_named() -> Result<()> {
    let text = |result: Result<Langevin<Unit>>| result.map(|_| ()).unwrap_err().to_string();
    for bad in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        assert!(text(Langevin::new(Unit, bad, 0.1)).contains("`step_size`"));
        assert!(text(Langevin::matched(Unit, bad)).contains("`noise_scale`"));
    }
    for bad in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(text(Langevin::new(Unit, 0.1, bad)).contains("`noise_scale`"));
        let kernel = Langevin::new(Unit, 0.1, 0.1)?;
        let state = kernel.init(normals("start", (2, 1)))?;
        let at = Step { index: 0, temperature: bad };
        let error = kernel.step(&state, at, &mut noise()).unwrap_err().to_string();
        assert!(error.contains("`temperature`"), "{error}");
    }
    for (low, high) in [(1.0, 1.0), (1.0, 0.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
        assert!(text(Langevin::new(Unit, 0.1, 0.1)?.clamped(low, high)).contains("`range`"));
    }
    // Smaller than its square can hold.
    assert!(text(Langevin::matched(Unit, 1e-200)).contains("`noise_scale`"));
    Ok(())
}
