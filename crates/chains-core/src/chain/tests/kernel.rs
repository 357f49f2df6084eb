//! Kernels, the iterator, clamping.

use std::cell::Cell;

use candle_core::{DType, Device, Tensor, Var};

use super::{Heating, LinearGaussian, OPERATOR, filled};
use crate::{
    Error, Noise, Result, Seed,
    chain::{Clamped, Generation, Kernel, Schedule, Step, StepSchedule, chain, check_kernel, keep},
    density::LogDensity,
    testing::values,
};

const CHAINS: usize = 40_000;

/// Mean and variance over chains.
fn moments(x: &Tensor) -> (f64, f64) {
    let x = values(x);
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    (mean, x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64)
}

/// Asserts the law of Gaussian chains after the schedule, on three seeds.
fn assert_law(start: f64, schedule: &dyn Schedule, steps: usize, want: (f64, f64)) -> Result<()> {
    for seed in 0..3 {
        let mut noise = Seed::new(seed).child("chain").host_noise();
        let kernel = Generation(OPERATOR);
        let chains = chain(&kernel, filled(start, (CHAINS, 1))?, schedule, &mut noise)?;
        let last = chains.take(steps).last().unwrap()?;
        let (mean, variance) = moments(&last.state.position);
        let root = (CHAINS as f64).sqrt();
        let mean_se = want.1.sqrt() / root;
        assert!((mean - want.0).abs() < 5.0 * mean_se, "seed {seed}: mean {mean}, {want:?}");
        let se = want.1 * 2_f64.sqrt() / root;
        assert!((variance - want.1).abs() < 5.0 * se, "seed {seed}: variance {variance}, {want:?}");
    }
    Ok(())
}

#[test]
fn the_stationary_variance_is_the_closed_form() -> Result<()> {
    // s^2 / (1 - a^2); after 60 steps 0.8^120 of the start is left.
    assert_law(0.0, &StepSchedule { len: 60 }, 60, (0.0, 0.25 / (1.0 - 0.64)))
}

#[test]
fn a_few_steps_have_the_mean_and_variance_of_the_closed_form() -> Result<()> {
    for k in [1, 2, 5] {
        let power = 0.8_f64.powi(k as i32);
        let variance = 0.25 * (1.0 - power * power) / (1.0 - 0.64);
        assert_law(3.0, &StepSchedule { len: k }, k, (power * 3.0, variance))?;
    }
    Ok(())
}

#[test]
fn the_schedule_sets_the_temperature_of_every_step() -> Result<()> {
    // Variances 1, 2 and 3 times s^2, shrunk by a^2 at every step that follows.
    let variance = 0.25 * (3.0 + 0.64 * (2.0 + 0.64));
    assert_law(1.0, &Heating, 3, (0.512, variance))
}

#[test]
fn generation_and_its_clamped_form_keep_the_contract() -> Result<()> {
    let start = filled(0.3, (6, 4))?;
    check_kernel(&Generation(OPERATOR), &start, Seed::new(4))?;
    let mask = Tensor::from_vec([[1_u8, 0, 0, 1]; 6].concat(), (6, 4), &Device::Cpu)?;
    let known = filled(7.0, (6, 4))?;
    let kernel = Clamped { kernel: Generation(OPERATOR), mask, known };
    check_kernel(&kernel, &start, Seed::new(4))
}

/// A kernel that breaks one promise.
struct Bad {
    promise: &'static str,
    calls: Cell<u32>,
    weight: Var,
}

impl Kernel for Bad {
    type State = Tensor;
    type Info = ();

    fn init(&self, position: Tensor) -> Result<Tensor> {
        Ok(position)
    }

    fn step(&self, x: &Tensor, _: Step, noise: &mut dyn Noise) -> Result<(Tensor, ())> {
        self.calls.set(self.calls.get() + 1);
        let e = noise.normal(x.shape(), DType::F32, x.device())?;
        let y = match self.promise {
            "shape" => Tensor::cat(&[x, x], 0)?,
            "type" => x.to_dtype(DType::F64)?,
            "detached" => x.broadcast_mul(self.weight.as_tensor())?,
            "finite" => (x / 0.0)?,
            "bits" => (x + f64::from(self.calls.get()))?,
            _ => (x + e)?,
        };
        Ok((y, ()))
    }

    fn position<'a>(&self, state: &'a Tensor) -> &'a Tensor {
        state
    }
}

#[test]
fn the_contract_names_the_promise_that_is_broken() -> Result<()> {
    let start = filled(1.0, (2, 2))?;
    for (promise, words) in [
        ("shape", "the shape is kept"),
        ("type", "the type is kept"),
        ("detached", "detached"),
        ("finite", "finite"),
        ("bits", "the same noise gives the same bits"),
    ] {
        let kernel =
            Bad { promise, calls: Cell::new(0), weight: Var::from_tensor(&filled(1.0, (1, 1))?)? };
        let message = check_kernel(&kernel, &start, Seed::new(0)).unwrap_err().to_string();
        assert!(message.contains(words), "{promise}: {message}");
    }
    let good = Bad { promise: "", calls: Cell::new(0), weight: Var::from_tensor(&start)? };
    check_kernel(&good, &start, Seed::new(0))
}

/// Indices of the draws of ten steps.
fn indices(pick: impl Fn(&mut dyn Iterator<Item = usize>) -> Vec<usize>) -> Result<Vec<usize>> {
    let (kernel, schedule) = (Generation(OPERATOR), StepSchedule { len: 10 });
    let mut noise = Seed::new(0).host_noise();
    let chains = chain(&kernel, filled(0.0, (2, 1))?, &schedule, &mut noise)?;
    Ok(pick(&mut chains.map(|draw| draw.unwrap().index)))
}

#[test]
fn thinning_burn_in_and_early_stop_are_iterator_adaptors() -> Result<()> {
    assert_eq!(indices(|i| i.collect())?, (0..10).collect::<Vec<_>>());
    assert_eq!(indices(|i| i.step_by(3).collect())?, [0, 3, 6, 9]);
    assert_eq!(indices(|i| i.skip(8).collect())?, [8, 9]);
    assert_eq!(indices(|i| i.take_while(|i| *i < 2).collect())?, [0, 1]);
    Ok(())
}

#[test]
fn adaptors_do_not_change_the_chain() -> Result<()> {
    let (kernel, schedule) = (Generation(OPERATOR), StepSchedule { len: 6 });
    let run = |skip: usize| -> Result<Vec<f64>> {
        let mut noise = Seed::new(1).host_noise();
        let mut chains = chain(&kernel, filled(0.0, (2, 1))?, &schedule, &mut noise)?.skip(skip);
        Ok(values(&chains.next().unwrap()?.state.position))
    };
    assert_ne!(run(0)?, run(5)?);
    assert_eq!(run(5)?, run(5)?);
    assert!(StepSchedule { len: 0 }.is_empty() && !schedule.is_empty() && !Heating.is_empty());
    let empty = StepSchedule { len: 0 };
    let mut noise = Seed::new(1).host_noise();
    assert!(chain(&kernel, filled(0.0, (2, 1))?, &empty, &mut noise)?.next().is_none());
    Ok(())
}

#[test]
fn an_error_is_yielded_once_and_ends_the_chain() -> Result<()> {
    let kernel = Generation(LinearGaussian { broken_at: Some(2), ..OPERATOR });
    for schedule in [&StepSchedule { len: 10 } as &dyn Schedule, &Heating] {
        let mut noise = Seed::new(0).host_noise();
        let mut chains = chain(&kernel, filled(0.0, (2, 1))?, schedule, &mut noise)?;
        assert!(chains.next().unwrap().is_ok() && chains.next().unwrap().is_ok());
        let error = chains.next().unwrap().unwrap_err();
        assert!(matches!(error, Error::NonFinite { step: 2, .. }), "{error}");
        assert!(error.is_recoverable());
        assert!(chains.next().is_none() && chains.next().is_none());
    }
    Ok(())
}

#[test]
fn a_step_tells_the_law_it_drew_from() -> Result<()> {
    let (kernel, start) = (Generation(OPERATOR), filled(2.0, (3, 2))?);
    let mut noise = Seed::new(0).host_noise();
    let state = kernel.init(start)?;
    let (next, info) = kernel.step(&state, Step { index: 0, temperature: 4.0 }, &mut noise)?;
    let law = info.conditional;
    assert!(values(law.mean()).iter().all(|m| (m - 1.6).abs() < 1e-6));
    assert!(values(law.variance()).iter().all(|v| (v - 1.0).abs() < 1e-6));
    assert!(values(&law.log_prob(&next.position)?).iter().all(|l| l.is_finite()));
    Ok(())
}

fn bits(x: &Tensor) -> Vec<u32> {
    x.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|x| x.to_bits()).collect()
}

#[test]
fn clamped_dimensions_keep_their_bits_at_every_step() -> Result<()> {
    let row = [0.1_f32, -0.0, f32::MIN_POSITIVE / 2.0, 1e30];
    let known = Tensor::from_vec([row; 5].concat(), (5, 4), &Device::Cpu)?;
    for held in [[1_u8, 1, 1, 1], [1, 0, 1, 0], [0, 1, 0, 255], [0; 4]] {
        let mask = Tensor::from_vec([held; 5].concat(), (5, 4), &Device::Cpu)?;
        let kernel = Clamped { kernel: Generation(OPERATOR), mask, known: known.clone() };
        let (start, schedule) = (filled(2.0, (5, 4))?, StepSchedule { len: 5 });
        let mut positions = vec![kernel.init(start.clone())?.position];
        let mut noise = Seed::new(0).host_noise();
        for draw in chain(&kernel, start, &schedule, &mut noise)? {
            positions.push(draw?.state.position);
        }
        assert_eq!(positions.len(), 6);
        for (step, position) in positions.iter().enumerate() {
            for (i, (got, want)) in bits(position).iter().zip(bits(&known)).enumerate() {
                // Free dimensions hold something else: they move.
                assert_eq!(*got == want, held[i % 4] > 0, "step {step}, element {i}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_mask_of_another_shape_is_an_error() -> Result<()> {
    let (x, small) = (filled(0.0, (2, 3))?, filled(0.0, (2, 2))?);
    let mask = |t: &Tensor| t.to_dtype(DType::U8);
    let message = keep(&mask(&small)?, &x, &x).unwrap_err().to_string();
    assert!(message.contains("mask"), "{message}");
    let message = keep(&mask(&x)?, &small, &x).unwrap_err().to_string();
    assert!(message.contains("known values"), "{message}");
    Ok(())
}
