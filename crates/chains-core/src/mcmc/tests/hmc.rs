//! Hamiltonian Monte Carlo: the integrator, then the chains.

use candle_core::{DType, Device, Tensor};

use super::{Gamma, Gaussian, Quartic, assert_covariance, assert_mean, assert_moments, normals};
use crate::{
    Result, Seed,
    chain::{Clamped, Conditional, Kernel, Schedule, Step, StepSchedule, chain, check_kernel},
    density::Energy,
    mcmc::{Hmc, HmcState, Phase, leapfrog},
    testing::{assert_close, on_devices, values, vector},
};

const CHAINS: usize = 4000;

fn phase<E: Energy>(energy: &E, position: Tensor, momentum: Tensor) -> Result<Phase> {
    let (value, grad) = energy.energy_and_grad(&position)?;
    Ok(Phase { position, momentum, energy: value, grad })
}

fn total(phase: &Phase) -> Result<Vec<f64>> {
    Ok(values(&(&phase.energy + phase.kinetic()?)?))
}

fn sizes(b: usize, size: f64) -> Result<Tensor> {
    Ok(Tensor::full(size, b, &Device::Cpu)?)
}

#[test]
fn one_step_on_a_quadratic_is_its_closed_form() -> Result<()> {
    // x' = x + e p - e^2 x / 2, p' = p - e (x + x') / 2.
    let (x, p) = ([0.7, -1.3], [0.4, 2.0]);
    let column = |v: &[f64]| vector(v).reshape((2, 1));
    let start = phase(&Gaussian([1.0]), column(&x)?, column(&p)?)?;
    let steps = [0.3, 0.8];
    let end = leapfrog(&Gaussian([1.0]), &start, &vector(&steps), 1)?;
    for chain in 0..2 {
        let (x, p, e) = (x[chain], p[chain], steps[chain]);
        let next = x + e * p - 0.5 * e * e * x;
        let momentum = p - 0.5 * e * (x + next);
        let got = |t: &Tensor| values(t)[chain];
        assert!((got(&end.position) - next).abs() < 1e-15);
        assert!((got(&end.momentum) - momentum).abs() < 1e-15);
        assert!((got(&end.energy) - 0.5 * next * next).abs() < 1e-15);
        assert!((got(&end.grad) - next).abs() < 1e-15);
    }
    Ok(())
}

#[test]
fn the_error_of_the_total_energy_is_of_second_order() -> Result<()> {
    let start = phase(&Quartic, normals("x", (5, 1)), normals("p", (5, 1)))?;
    let error = |steps: usize| -> Result<Vec<f64>> {
        let end = leapfrog(&Quartic, &start, &sizes(5, 1.2 / steps as f64)?, steps)?;
        Ok(total(&end)?.iter().zip(total(&start)?).map(|(a, b)| a - b).collect())
    };
    for (coarse, fine) in [(100, 200), (200, 400)] {
        for (coarse, fine) in error(coarse)?.iter().zip(error(fine)?) {
            assert!((coarse / fine - 4.0).abs() < 0.01, "{coarse} {fine}");
        }
    }
    Ok(())
}

#[test]
fn the_way_back_with_the_momentum_turned_leads_to_the_start() -> Result<()> {
    let energy = Gaussian([1.0, 9.0]);
    for (steps, size) in [(1, 0.9), (10, 0.5), (200, 0.1)] {
        let start = phase(&energy, normals("x", (50, 2)), normals("p", (50, 2)))?;
        let sizes = sizes(50, size)?;
        let end = leapfrog(&energy, &start, &sizes, steps)?;
        let turned = Phase { momentum: end.momentum.neg()?, ..end };
        let back = leapfrog(&energy, &turned, &sizes, steps)?;
        assert_close("position", &values(&back.position), &values(&start.position), 1e-10);
        assert_close("momentum", &values(&back.momentum.neg()?), &values(&start.momentum), 1e-10);
    }
    Ok(())
}

#[test]
fn volume_is_preserved() -> Result<()> {
    const H: f64 = 1e-5;
    let run = |x: f64, p: f64| -> Result<[f64; 2]> {
        let column = |v: f64| vector(&[v]).reshape((1, 1));
        let start = phase(&Quartic, column(x)?, column(p)?)?;
        let end = leapfrog(&Quartic, &start, &sizes(1, 0.3)?, 7)?;
        Ok([values(&end.position)[0], values(&end.momentum)[0]])
    };
    let difference = |high: [f64; 2], low: [f64; 2]| [0, 1].map(|i| (high[i] - low[i]) / (2.0 * H));
    for (x, p) in [(0.8, -0.3), (-1.4, 1.1)] {
        let by_x = difference(run(x + H, p)?, run(x - H, p)?);
        let by_p = difference(run(x, p + H)?, run(x, p - H)?);
        let determinant = by_x[0] * by_p[1] - by_x[1] * by_p[0];
        assert!((determinant - 1.0).abs() < 1e-7, "{determinant}");
    }
    Ok(())
}

/// Where independent chains are after a number of steps.
fn run<E: Energy>(
    kernel: &Hmc<E>,
    start: Tensor,
    schedule: &dyn Schedule,
    seed: u64,
) -> Result<HmcState> {
    let mut noise = Seed::new(seed).child("hmc").host_noise();
    Ok(chain(kernel, start, schedule, &mut noise)?.last().unwrap()?.state)
}

on_devices!(chains_forget_their_start_and_have_the_moments_of_the_target);

fn chains_forget_their_start_and_have_the_moments_of_the_target(device: &Device) -> Result<()> {
    for seed in 0..3 {
        let kernel = Hmc::new(Gaussian([1.0, 9.0]), 7, 0.35)?;
        let start = Tensor::full(4.0, (CHAINS, 2), device)?;
        let last = run(&kernel, start, &StepSchedule { len: 60 }, seed)?;
        assert_moments("Gaussian", &last.position, &[(0.0, 1.0), (0.0, 9.0)])?;
        let kernel = Hmc::new(Quartic, 5, 0.45)?;
        let start = Tensor::full(1.5, (CHAINS, 1), device)?;
        let last = run(&kernel, start, &StepSchedule { len: 40 }, seed)?;
        assert_moments("quartic", &last.position, &[(0.0, 0.675_978_240_067_285)])?;
        assert_mean("fourth moment", &values(&last.position.sqr()?.sqr()?), 1.0);
    }
    Ok(())
}

#[test]
fn the_law_is_kept_where_half_of_the_proposals_are_rejected() -> Result<()> {
    // Steps near the limit of stability, 2: without rejection the variance would be far too large.
    let (kernel, start) = (Hmc::new(Gaussian([1.0]), 3, 1.9)?, normals("exact", (CHAINS, 1)));
    let mut noise = Seed::new(3).child("hmc").host_noise();
    let mut accepted = 0.0;
    for draw in chain(&kernel, start, &StepSchedule { len: 10 }, &mut noise)? {
        let draw = draw?;
        accepted += draw.info.acceptance()? / 10.0;
        assert_moments("kept", &draw.state.position, &[(0.0, 1.0)])?;
    }
    assert!(accepted > 0.3 && accepted < 0.8, "{accepted}");
    Ok(())
}

#[test]
fn the_posterior_of_a_linear_generator_is_recovered() -> Result<()> {
    // U(z) = |z|^2 / 2 + |x - W z - mu|^2 / (2 sigma^2): covariance (I + W'W / sigma^2)^-1, mean
    // covariance W'(x - mu) / sigma^2.
    const W: [[f64; 2]; 3] = [[0.8, -0.3], [0.2, 0.6], [-0.5, 0.4]];
    const CENTRED: [f64; 3] = [1.1, -0.4, 0.7];
    const SIGMA: f64 = 0.5;
    struct Posterior;
    impl Energy for Posterior {
        fn energy(&self, z: &Tensor) -> Result<Tensor> {
            let generator = Tensor::new(&W, z.device())?.t()?.contiguous()?;
            let residual = z.matmul(&generator)?.broadcast_sub(&vector(&CENTRED))?;
            let misfit = (residual.sqr()?.sum(1)? * (0.5 / (SIGMA * SIGMA)))?;
            Ok((misfit + (z.sqr()?.sum(1)? * 0.5)?)?)
        }
    }
    let dot = |i: usize, j: usize| W.iter().map(|row| row[i] * row[j]).sum::<f64>();
    let scale = 1.0 / (SIGMA * SIGMA);
    let [a, b, c] = [1.0 + scale * dot(0, 0), scale * dot(0, 1), 1.0 + scale * dot(1, 1)];
    let det = a * c - b * b;
    let covariance = [[c / det, -b / det], [-b / det, a / det]];
    let pull = [0, 1].map(|i| scale * (0..3).map(|k| W[k][i] * CENTRED[k]).sum::<f64>());
    let mean = covariance.map(|row| row[0] * pull[0] + row[1] * pull[1]);
    for seed in 0..3 {
        // Near a quarter period of both frequencies, 2.3 and 1.6; half a period would forget nothing.
        let kernel = Hmc::new(Posterior, 5, 0.15)?;
        let start = Tensor::zeros((CHAINS, 2), DType::F64, &Device::Cpu)?;
        let last = run(&kernel, start, &StepSchedule { len: 25 }, seed)?;
        assert_covariance("posterior", &last.position, mean, covariance)?;
    }
    Ok(())
}

#[test]
fn a_temperature_multiplies_the_variance() -> Result<()> {
    struct Warm;
    impl Schedule for Warm {
        fn at(&self, index: usize) -> Step {
            Step { index, temperature: 4.0 }
        }
        fn len(&self) -> Option<usize> {
            Some(40)
        }
    }
    let kernel = Hmc::new(Gaussian([1.0, 9.0]), 4, 1.2)?;
    let last = run(&kernel, Tensor::zeros((CHAINS, 2), DType::F64, &Device::Cpu)?, &Warm, 0)?;
    assert_moments("warm", &last.position, &[(0.0, 4.0), (0.0, 36.0)])?;
    // Energy and gradient that are carried along are those of temperature one.
    let (energy, grad) = Gaussian([1.0, 9.0]).energy_and_grad(&last.position)?;
    assert_close("energy", &values(&last.energy), &values(&energy), 1e-14);
    assert_close("gradient", &values(&last.grad), &values(&grad), 1e-14);
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let mut noise = Seed::new(0).host_noise();
        let error = kernel.step(&last, Step { index: 0, temperature }, &mut noise).unwrap_err();
        assert!(error.to_string().contains("temperature"), "{error}");
    }
    Ok(())
}

#[test]
fn acceptance_goes_to_one_with_the_step_size() -> Result<()> {
    let mut rates = Vec::new();
    for size in [1.7, 0.8, 0.2, 0.01] {
        let kernel = Hmc::new(Gaussian([1.0; 20]), 10, size)?;
        let state = kernel.init(normals("exact", (CHAINS, 20)))?;
        let mut noise = Seed::new(5).host_noise();
        let (_, info) = kernel.step(&state, Step::at(0), &mut noise)?;
        let accepted = values(&info.accepted);
        rates.push(accepted.iter().sum::<f64>() / CHAINS as f64);
        // In equilibrium exp(-dH) has mean one, whatever the step size.
        let ratios: Vec<f64> = values(&info.energy_error).iter().map(|e| (-e).exp()).collect();
        if size < 1.0 {
            assert_mean("exp(-dH)", &ratios, 1.0);
        }
    }
    assert!(rates.windows(2).all(|pair| pair[1] > pair[0]), "{rates:?}");
    assert!(rates[0] < 0.7 && rates[3] > 0.9995, "{rates:?}");
    Ok(())
}

#[test]
fn proposals_that_are_not_finite_are_rejected_and_counted() -> Result<()> {
    let kernel = Hmc::new(Gamma, 3, 0.7)?;
    let mut noise = Seed::new(6).child("hmc").host_noise();
    let start = Tensor::full(1.0, (CHAINS, 1), &Device::Cpu)?;
    let (mut count, mut last) = (0, None);
    for draw in chain(&kernel, start, &StepSchedule { len: 60 }, &mut noise)? {
        let draw = draw?;
        count += draw.info.non_finite_count()?;
        let (accepted, lost) = (values(&draw.info.accepted), values(&draw.info.non_finite));
        assert!(accepted.iter().zip(&lost).all(|(accepted, lost)| accepted * lost < 0.5));
        let HmcState { position, energy, grad, .. } = &draw.state;
        for held in [position, energy, grad] {
            assert!(values(held).iter().all(|x| x.is_finite()));
        }
        last = Some(draw.state.position);
    }
    assert!(count > 60, "{count}");
    // Rejection at the wall keeps the law.
    assert_moments("gamma", &last.unwrap(), &[(2.0, 2.0)])
}

#[test]
fn a_gradient_that_is_not_finite_is_rejected_too() -> Result<()> {
    // Energy zero everywhere, with a gradient that breaks beyond one.
    struct Broken;
    impl Energy for Broken {
        fn energy(&self, x: &Tensor) -> Result<Tensor> {
            Ok(x.sum(1)?.zeros_like()?)
        }
        fn energy_and_grad(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
            let broken = (x.zeros_like()? + f64::NAN)?;
            let grad = x.gt(1.0)?.where_cond(&broken, &x.zeros_like()?)?;
            Ok((self.energy(x)?, grad))
        }
    }
    let kernel = Hmc::new(Broken, 1, 0.5)?;
    let mut state = kernel.init(Tensor::zeros((500, 1), DType::F64, &Device::Cpu)?)?;
    let (mut noise, mut count) = (Seed::new(7).host_noise(), 0);
    for index in 0..20 {
        let (next, info) = kernel.step(&state, Step::at(index), &mut noise)?;
        count += info.non_finite_count()?;
        state = next;
        assert!(values(&state.position).iter().all(|x| *x <= 1.0));
    }
    assert!(count > 0);
    Ok(())
}

#[test]
fn every_chain_has_its_own_step_size_and_its_own_event() -> Result<()> {
    // Three chains in one batch and alone, of events with two axes.
    struct Sum;
    impl Energy for Sum {
        fn energy(&self, x: &Tensor) -> Result<Tensor> {
            Ok((x.sqr()?.sqr()?.flatten_from(1)?.sum(1)? * 0.1)?)
        }
    }
    let (x, p) = (normals("x", (3, 2, 4)), normals("p", (3, 2, 4)));
    let steps = [0.1, 0.4, 0.02];
    let start = phase(&Sum, x.clone(), p.clone())?;
    let end = leapfrog(&Sum, &start, &vector(&steps), 6)?;
    for (row, step) in steps.into_iter().enumerate() {
        let start = phase(&Sum, x.narrow(0, row, 1)?, p.narrow(0, row, 1)?)?;
        let alone = leapfrog(&Sum, &start, &vector(&[step]), 6)?;
        let got = end.position.narrow(0, row, 1)?;
        assert_close("alone", &values(&got), &values(&alone.position), 1e-15);
    }
    Ok(())
}

#[test]
fn the_contract_of_a_kernel_is_kept() -> Result<()> {
    let kernel = Hmc::new(Gaussian([1.0, 9.0]), 5, 0.5)?;
    for dtype in [DType::F32, DType::F64] {
        let start = normals("start", (6, 2)).to_dtype(dtype)?;
        check_kernel(&kernel, &start, Seed::new(4))?;
        let mask = Tensor::from_vec([[1_u8, 0]; 6].concat(), (6, 2), &Device::Cpu)?;
        let clamped = Clamped { kernel: kernel.clone(), mask, known: start.clone() };
        check_kernel(&clamped, &start, Seed::new(4))?;
    }
    // A move keeps the step sizes and knows the energy at the new place.
    let state = HmcState {
        step_size: vector(&[0.1, 0.2]),
        ..kernel.init(Tensor::zeros((2, 2), DType::F64, &Device::Cpu)?)?
    };
    let moved = kernel.moved(state, Tensor::ones((2, 2), DType::F64, &Device::Cpu)?)?;
    assert_eq!(values(&moved.step_size), [0.1, 0.2]);
    assert_close("energy", &values(&moved.energy), &[5.0 / 9.0; 2], 1e-15);
    Ok(())
}

#[test]
fn unusable_settings_are_named() -> Result<()> {
    let text = |steps, size| Hmc::new(Quartic, steps, size).map(|_| ()).unwrap_err().to_string();
    assert!(text(0, 0.1).contains("leapfrog_steps"));
    for size in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        assert!(text(3, size).contains("step_size"));
    }
    let start = phase(&Quartic, normals("x", (3, 1)), normals("p", (3, 1)))?;
    let error = leapfrog(&Quartic, &start, &sizes(2, 0.1)?, 1).unwrap_err().to_string();
    assert!(error.contains("step sizes"), "{error}");
    Ok(())
}

/// `N(0, [[1, .9], [.9, 1]])`.
#[derive(Clone)]
struct Correlated;

impl Energy for Correlated {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let (a, b) = (x.narrow(1, 0, 1)?, x.narrow(1, 1, 1)?);
        let form = ((a.sqr()? + b.sqr()?)? - ((a * b)? * 1.8)?)?;
        Ok((form / (2.0 * 0.19))?.squeeze(1)?)
    }
}

#[test]
fn clamped_chains_of_the_conditional_energy_sample_the_conditional() -> Result<()> {
    // Given x1 = 2: N(1.8, .19).
    let known = Tensor::full(2_f64, (CHAINS, 2), &Device::Cpu)?;
    let mask = Tensor::new(&[[1_u8, 0]], &Device::Cpu)?.repeat((CHAINS, 1))?;
    let energy = Conditional { energy: Correlated, mask: mask.clone(), known: known.clone() };
    let kernel = Clamped { kernel: Hmc::new(energy, 10, 0.1)?, mask, known: known.clone() };
    check_kernel(&kernel, &known, Seed::new(4))?;
    let mut noise = Seed::new(5).host_noise();
    let start = normals("start", (CHAINS, 2));
    let last = chain(&kernel, start, &StepSchedule { len: 40 }, &mut noise)?.last().unwrap()?;
    let free = values(&last.state.position.narrow(1, 1, 1)?);
    let mean = free.iter().sum::<f64>() / CHAINS as f64;
    let variance = free.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / CHAINS as f64;
    // Five standard errors of mean and variance.
    assert!((mean - 1.8).abs() < 5.0 * (0.19 / CHAINS as f64).sqrt(), "{mean}");
    assert!((variance / 0.19 - 1.0).abs() < 5.0 * (2.0 / CHAINS as f64).sqrt(), "{variance}");
    Ok(())
}
