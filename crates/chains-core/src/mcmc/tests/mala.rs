//! The Metropolis-adjusted Langevin algorithm: one step by its densities, then the chains.

use std::cell::Cell;

use candle_core::{DType, Device, Tensor};

use super::{
    Correlated, Counted, Gamma, Gaussian, Quartic, assert_covariance, assert_mean, assert_moments,
    normals,
};
use crate::{
    Noise, Result, Seed,
    chain::{Clamped, Kernel, Step, StepSchedule, chain, check_kernel},
    density::Energy,
    mcmc::{Langevin, Mala, MalaState},
    testing::{assert_close, on_devices, values, vector},
};

const CHAINS: usize = 4000;

/// `ln N(x; mean, variance)` of one number.
fn log_normal(x: f64, mean: f64, variance: f64) -> f64 {
    -0.5 * ((x - mean).powi(2) / variance + (2.0 * std::f64::consts::PI * variance).ln())
}

#[test]
fn the_ratio_is_that_of_the_densities_both_ways() -> Result<()> {
    // Three numbers an event, another step size for every chain, a temperature.
    struct Quartics;
    impl Energy for Quartics {
        fn energy(&self, x: &Tensor) -> Result<Tensor> {
            Ok((x.sqr()?.sqr()?.flatten_from(1)?.sum(1)? * 0.25)?)
        }
    }
    let (start, steps, temperature) = (normals("start", (40, 3, 1)), vector(&[0.1; 40]), 1.7);
    let steps = (steps + (normals("steps", 40).sqr()? * 0.2)?)?;
    let kernel = Mala::new(Quartics, 1.0)?;
    let state = MalaState { step_size: steps.clone(), ..kernel.init(start.clone())? };
    let mut noise = Seed::new(2).host_noise();
    let (next, info) = kernel.step(&state, Step { index: 0, temperature }, &mut noise)?;
    let mut noise = Seed::new(2).host_noise();
    let kicks = values(&noise.normal(start.shape(), DType::F64, &Device::Cpu)?);
    let u = values(&noise.uniform(&40.into(), DType::F64, &Device::Cpu)?);
    let (x, steps) = (values(&start), values(&steps));
    let (got, accepted) = (values(&info.log_ratio), values(&info.accepted));
    for chain in 0..40 {
        let (mut ratio, mut moved, tau) = (0.0, Vec::new(), steps[chain]);
        for at in 3 * chain..3 * chain + 3 {
            let x = x[at];
            let forward = x - tau * x.powi(3);
            let y = forward + (2.0 * tau * temperature).sqrt() * kicks[at];
            let backward = y - tau * y.powi(3);
            let variance = 2.0 * tau * temperature;
            ratio += (x.powi(4) - y.powi(4)) / 4.0 / temperature;
            ratio += log_normal(x, backward, variance) - log_normal(y, forward, variance);
            moved.push(y);
        }
        assert!((got[chain] - ratio).abs() < 1e-11 * (1.0 + ratio.abs()), "{ratio}");
        let (here, go) = (&x[3 * chain..3 * chain + 3], u[chain] < ratio.exp());
        assert_eq!(accepted[chain] > 0.5, go);
        let want = if go { moved.as_slice() } else { here };
        let row = values(&next.position.narrow(0, chain, 1)?);
        assert_close("position", &row, want, 1e-14);
    }
    assert!(accepted.contains(&0.0) && accepted.contains(&1.0));
    Ok(())
}

on_devices!(exact_samples_stay_exact_for_any_step_size);

fn exact_samples_stay_exact_for_any_step_size(device: &Device) -> Result<()> {
    for tau in [0.05, 0.5, 2.0] {
        let kernel = Mala::new(Correlated, tau)?;
        for seed in (0..3).map(|seed| Seed::new(seed).child("mala")) {
            let start = Correlated::samples(CHAINS, seed.child("exact"))?.to_device(device)?;
            let (mut noise, schedule) = (seed.host_noise(), StepSchedule { len: 200 });
            let (mut moves, mut last) = (0.0, kernel.init(start.clone())?);
            for draw in chain(&kernel, start, &schedule, &mut noise)? {
                let draw = draw?;
                moves += draw.info.acceptance()?;
                last = draw.state;
            }
            // Every chain has moved, on average, or there is nothing to see.
            assert!(moves > 3.0, "{tau}: {moves} moves");
            let what = format!("step size {tau}");
            assert_covariance(&what, &last.position, [0.0; 2], Correlated::COVARIANCE)?;
            assert_mean(&format!("{what}, energy"), &values(&last.energy), 1.0);
        }
    }
    Ok(())
}

/// `z ~ N(0, I)`, two numbers, and `e ~ N(B z, SPREAD^2 I)`, three, in one event `(z, e)`.
struct Blocks;

impl Blocks {
    const SPREAD: f64 = 0.5;

    /// Five standard normal numbers to an event: `[[I, 0], [B, SPREAD I]]`.
    const ROOT: [[f64; 5]; 5] = [
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0, 0.0],
        [0.8, -0.3, Self::SPREAD, 0.0, 0.0],
        [0.2, 0.6, 0.0, Self::SPREAD, 0.0],
        [-0.5, 0.4, 0.0, 0.0, Self::SPREAD],
    ];

    fn samples(n: usize, seed: Seed) -> Result<Tensor> {
        let free = seed.host_noise().normal(&(n, 5).into(), DType::F64, &Device::Cpu)?;
        Ok(free.matmul(&Tensor::new(&Self::ROOT, &Device::Cpu)?.t()?)?)
    }

    /// `ROOT ROOT'`.
    fn covariance() -> [[f64; 5]; 5] {
        let dot = |a: [f64; 5], b: [f64; 5]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        Self::ROOT.map(|a| Self::ROOT.map(|b| dot(a, b)))
    }
}

impl Energy for Blocks {
    /// `|z|^2 / 2 + |e - B z|^2 / (2 SPREAD^2)`.
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let (z, e) = (x.narrow(1, 0, 2)?.contiguous()?, x.narrow(1, 2, 3)?);
        let b = Tensor::new(&Self::ROOT, x.device())?.narrow(0, 2, 3)?.narrow(1, 0, 2)?;
        let rest = (e - z.matmul(&b.t()?.contiguous()?)?)?;
        let misfit = (rest.sqr()?.sum(1)? * (0.5 / (Self::SPREAD * Self::SPREAD)))?;
        Ok((misfit + (z.sqr()?.sum(1)? * 0.5)?)?)
    }
}

#[test]
fn the_joint_law_of_two_blocks_is_kept_where_half_of_the_proposals_are_rejected() -> Result<()> {
    let (kernel, covariance) = (Mala::new(Blocks, 0.2)?, Blocks::covariance());
    for seed in (0..3).map(|seed| Seed::new(seed).child("blocks")) {
        let start = Blocks::samples(CHAINS, seed.child("exact"))?;
        assert_covariance("start", &start, [0.0; 5], covariance)?;
        let (mut noise, schedule) = (seed.host_noise(), StepSchedule { len: 40 });
        let (mut accepted, mut last) = (0.0, kernel.init(start.clone())?);
        for draw in chain(&kernel, start, &schedule, &mut noise)? {
            let draw = draw?;
            accepted += draw.info.acceptance()? / 40.0;
            last = draw.state;
        }
        // Without rejection the variances would be too large by far.
        assert!(accepted > 0.2 && accepted < 0.95, "{accepted}");
        assert_covariance("blocks", &last.position, [0.0; 5], covariance)?;
        assert_mean("energy", &values(&last.energy), 2.5);
    }
    Ok(())
}

#[test]
fn the_start_is_forgotten_on_a_target_that_is_not_gaussian() -> Result<()> {
    // A reverse density with the gradient at the wrong place has other moments here.
    for seed in 0..3 {
        let kernel = Mala::new(Quartic, 0.3)?;
        let start = Tensor::full(1.5, (CHAINS, 1), &Device::Cpu)?;
        let mut noise = Seed::new(seed).child("mala").host_noise();
        let draws = chain(&kernel, start, &StepSchedule { len: 60 }, &mut noise)?;
        let last = draws.last().unwrap()?.state.position;
        assert_moments("quartic", &last, &[(0.0, 0.675_978_240_067_285)])?;
        assert_mean("fourth moment", &values(&last.sqr()?.sqr()?), 1.0);
    }
    Ok(())
}

#[test]
fn acceptance_goes_to_one_with_the_step_size() -> Result<()> {
    let mut rates = Vec::new();
    for tau in [0.8, 0.3, 0.1, 1e-3] {
        let kernel = Mala::new(Gaussian([1.0; 20]), tau)?;
        let state = kernel.init(normals("exact", (CHAINS, 20)))?;
        let (_, info) = kernel.step(&state, Step::at(0), &mut Seed::new(5).host_noise())?;
        rates.push(info.acceptance()?);
        if tau < 0.5 {
            // In equilibrium A has mean one, whatever the step size.
            let ratios: Vec<f64> = values(&info.log_ratio).iter().map(|r| r.exp()).collect();
            assert_mean("A", &ratios, 1.0);
        }
    }
    assert!(rates.windows(2).all(|pair| pair[1] > pair[0]), "{rates:?}");
    assert!(rates[0] < 0.5 && rates[3] > 0.9995, "{rates:?}");
    Ok(())
}

#[test]
fn a_small_step_loses_no_digits_in_f32() -> Result<()> {
    // The proposal moves numbers near one by 1e-4, so that in f32 the way back, as a difference of
    // positions, has three digits; the two log densities of 3000 numbers are near 1500 nats each.
    let start = normals("start", (50, 3000));
    let mut ratios = Vec::new();
    for dtype in [DType::F32, DType::F64] {
        let kernel = Mala::new(Gaussian([1.0; 3000]), 1e-8)?;
        let state = kernel.init(start.to_dtype(dtype)?)?;
        let mut noise = Seed::new(1).host_noise();
        let single = noise.normal(start.shape(), DType::F32, &Device::Cpu)?;
        let (_, info) = kernel.step(&state, Step::at(0), &mut Fixed(single))?;
        ratios.push(values(&info.log_ratio));
    }
    for (single, double) in ratios[0].iter().zip(&ratios[1]) {
        // Two energies near 1500 nats are known to 1e-4 each.
        assert!((single - double).abs() < 1e-3, "{single} {double}");
    }
    Ok(())
}

/// The same kicks for every type, and uniform numbers of one half.
struct Fixed(Tensor);

impl Noise for Fixed {
    fn normal(&mut self, _: &candle_core::Shape, dtype: DType, _: &Device) -> Result<Tensor> {
        Ok(self.0.to_dtype(dtype)?)
    }

    fn uniform(
        &mut self,
        shape: &candle_core::Shape,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        Ok((Tensor::ones(shape, dtype, device)? * 0.5)?)
    }
}

#[test]
fn an_accepted_proposal_is_the_langevin_step() -> Result<()> {
    let (start, tau) = (normals("start", (200, 2)), 0.3_f64);
    let (mala, langevin) =
        (Mala::new(Correlated, tau)?, Langevin::new(Correlated, tau, (2.0 * tau).sqrt())?);
    let at = Step { index: 0, temperature: 2.0 };
    let state = mala.init(start.clone())?;
    let (next, info) = mala.step(&state, at, &mut Seed::new(3).host_noise())?;
    let free = langevin.init(start.clone())?;
    let (free, _) = langevin.step(&free, at, &mut Seed::new(3).host_noise())?;
    let want = crate::mcmc::select(&info.accepted, &free.position, &start)?;
    assert_close("position", &values(&next.position), &values(&want), 1e-14);
    Ok(())
}

#[test]
fn a_temperature_multiplies_the_covariance() -> Result<()> {
    let kernel = Mala::new(Correlated, 0.4)?;
    let start = (Correlated::samples(CHAINS, Seed::new(1))? * 2.0)?;
    let mut state = kernel.init(start)?;
    let mut noise = Seed::new(0).child("warm").host_noise();
    for index in 0..60 {
        state = kernel.step(&state, Step { index, temperature: 4.0 }, &mut noise)?.0;
    }
    let warm = Correlated::COVARIANCE.map(|row| row.map(|v| 4.0 * v));
    assert_covariance("warm", &state.position, [0.0; 2], warm)?;
    // Energy and gradient that are carried along are those of temperature one.
    let there = kernel.init(state.position.clone())?;
    assert_close("energy", &values(&state.energy), &values(&there.energy), 1e-14);
    assert_close("gradient", &values(&state.grad), &values(&there.grad), 1e-14);
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = kernel.step(&state, Step { index: 0, temperature }, &mut noise).unwrap_err();
        assert!(error.to_string().contains("temperature"), "{error}");
    }
    Ok(())
}

#[test]
fn a_chain_costs_one_gradient_a_step_and_one_at_its_start() -> Result<()> {
    let energy = Counted(Correlated, Cell::new(0));
    let kernel = Mala::new(&energy, 0.1)?;
    let mut noise = Seed::new(0).host_noise();
    let start = normals("start", (3, 2));
    let steps = chain(&kernel, start, &StepSchedule { len: 7 }, &mut noise)?.count();
    assert_eq!((steps, energy.1.get()), (7, 8));
    Ok(())
}

#[test]
fn proposals_that_are_not_finite_are_rejected_and_counted() -> Result<()> {
    let kernel = Mala::new(Gamma, 0.6)?;
    let mut noise = Seed::new(6).child("mala").host_noise();
    // Exact: minus the logarithm of a product of two uniform numbers.
    let u = noise.uniform(&(2, CHAINS, 1).into(), DType::F64, &Device::Cpu)?.affine(-1.0, 1.0)?;
    let start = u.log()?.sum(0)?.neg()?;
    let (mut count, mut last) = (0, None);
    for draw in chain(&kernel, start, &StepSchedule { len: 60 }, &mut noise)? {
        let draw = draw?;
        count += draw.info.non_finite_count()?;
        let (accepted, lost) = (values(&draw.info.accepted), values(&draw.info.non_finite));
        assert!(accepted.iter().zip(&lost).all(|(accepted, lost)| accepted * lost < 0.5));
        let ratios = values(&draw.info.log_ratio);
        assert!(ratios.iter().zip(&lost).all(|(r, lost)| *lost < 0.5 || *r < f64::MIN));
        let MalaState { position, energy, grad, .. } = &draw.state;
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
fn the_contract_of_a_kernel_is_kept() -> Result<()> {
    let kernel = Mala::new(Gaussian([1.0, 9.0]), 0.5)?;
    for dtype in [DType::F32, DType::F64] {
        let start = normals("start", (6, 2)).to_dtype(dtype)?;
        check_kernel(&kernel, &start, Seed::new(4))?;
        let mask = Tensor::from_vec([[1_u8, 0]; 6].concat(), (6, 2), &Device::Cpu)?;
        let clamped = Clamped { kernel: kernel.clone(), mask, known: start.clone() };
        check_kernel(&clamped, &start, Seed::new(4))?;
    }
    // A move keeps the step sizes and knows the energy at the new place.
    let zeros = Tensor::zeros((2, 2), DType::F64, &Device::Cpu)?;
    let state = MalaState { step_size: vector(&[0.1, 0.2]), ..kernel.init(zeros.clone())? };
    let moved = kernel.moved(state, zeros.ones_like()?)?;
    assert_eq!(values(&moved.step_size), [0.1, 0.2]);
    assert_close("energy", &values(&moved.energy), &[5.0 / 9.0; 2], 1e-15);
    Ok(())
}

#[test]
fn unusable_settings_are_named() -> Result<()> {
    for size in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        let text = Mala::new(Quartic, size).map(|_| ()).unwrap_err().to_string();
        assert!(text.contains("`step_size`"), "{text}");
    }
    let kernel = Mala::new(Quartic, 0.1)?;
    let state = MalaState { step_size: vector(&[0.1; 2]), ..kernel.init(normals("x", (3, 1)))? };
    let error = kernel.step(&state, Step::at(0), &mut Seed::new(0).host_noise()).unwrap_err();
    assert!(error.to_string().contains("step sizes"), "{error}");
    Ok(())
}
