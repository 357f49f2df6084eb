//! Estimates in blocks, generation, schedules that hold, masks of halves.

use candle_core::{Device, Tensor};

use super::{LinearGaussian, OPERATOR, filled};
use crate::{
    Error, Result, Seed,
    chain::{
        Generation, Half, LogWeights, PathBlocks, PathWeights, Schedule, Stationary, Step,
        StepSchedule, chain, generate, half_mask,
    },
    testing::values,
};

fn examples() -> Result<Tensor> {
    Ok(Tensor::new(&[[1.0_f64], [2.0], [3.0], [4.0], [5.0]], &Device::Cpu)?)
}

#[test]
fn every_example_gets_all_its_chains_whatever_the_blocks() -> Result<()> {
    for rows in [1, 2, 3, 7, 15, 100] {
        let (mut calls, mut largest, mut shares) = (0, 0, Vec::new());
        let found = PathBlocks { chains: 3, rows }.estimate(
            &examples()?,
            2,
            &mut |x| {
                calls += 1;
                let x = values(x);
                largest = largest.max(x.len());
                let weights = vec![x.clone(), x.iter().map(|x| -x).collect()];
                Ok(PathWeights { weights, residual: x.iter().map(|x| 10.0 * x).collect() })
            },
            &mut |share| {
                shares.push(share);
                Ok(())
            },
        )?;
        assert!(calls == shares.len() && largest <= rows, "{rows} rows: {calls}, {largest}");
        assert!(shares.is_sorted() && (shares[calls - 1] - 1.0).abs() < 1e-12, "{shares:?}");
        for (variant, sign) in [(0, 1.0), (1, -1.0)] {
            let bounds: Vec<_> =
                found.weights[variant].iter().map(LogWeights::lower_bound).collect();
            assert_eq!(bounds, [1.0, 2.0, 3.0, 4.0, 5.0].map(|x| sign * x));
            assert!(found.weights[variant].iter().all(|w| w.chains() == 3));
        }
        assert!((found.residual - 30.0).abs() < 1e-12);
    }
    Ok(())
}

#[test]
fn nothing_to_do_and_weights_that_are_not_a_number_are_errors() -> Result<()> {
    let run = |blocks: PathBlocks, x: &Tensor, weight: f64| {
        let mut weights = |x: &Tensor| {
            Ok(PathWeights { weights: vec![vec![weight; x.dim(0)?]], residual: vec![] })
        };
        blocks.estimate(x, 1, &mut weights, &mut |_| Ok(()))
    };
    let x = examples()?;
    for blocks in [PathBlocks { chains: 0, rows: 1 }, PathBlocks { chains: 1, rows: 0 }] {
        assert!(matches!(run(blocks, &x, 0.0), Err(Error::Config { .. })));
    }
    let blocks = PathBlocks { chains: 1, rows: 2 };
    assert!(matches!(run(blocks, &x.narrow(0, 0, 0)?, 0.0), Err(Error::Config { .. })));
    assert!(matches!(run(blocks, &x, f64::NAN), Err(Error::NonFinite { .. })));
    assert!(run(blocks, &x, f64::NEG_INFINITY).is_ok());
    Ok(())
}

#[test]
fn generation_shows_the_draws_of_the_chain_and_their_means() -> Result<()> {
    let (kernel, schedule) = (Generation(OPERATOR), StepSchedule { len: 4 });
    let start = filled(1.5, (3, 2))?;
    let mut want = Vec::new();
    let mut previous = values(&start);
    for draw in chain(&kernel, start.clone(), &schedule, &mut Seed::new(2).host_noise())? {
        let position = values(&draw?.state.position);
        let mean: Vec<f64> = previous.iter().map(|x| f64::from((0.8 * *x) as f32)).collect();
        previous.clone_from(&position);
        want.push((position, mean));
    }
    let mut seen = Vec::new();
    let mut noise = Seed::new(2).host_noise();
    let last = generate(&kernel, start.clone(), &schedule, &mut noise, |index, step| {
        assert_eq!(index, seen.len());
        seen.push((values(&step.position), values(&step.mean)));
        Ok(())
    })?;
    for ((position, mean), (want, want_mean)) in seen.iter().zip(&want) {
        assert_eq!(position, want);
        assert!(mean.iter().zip(want_mean).all(|(a, b)| (a - b).abs() < 1e-6));
    }
    assert_eq!((values(&last.position), values(&last.mean)), seen[3]);
    let none = generate(&kernel, start, &StepSchedule { len: 0 }, &mut noise, |_, _| Ok(()));
    assert!(matches!(none, Err(Error::Config { field: "steps", .. })));
    Ok(())
}

#[test]
fn a_stationary_schedule_repeats_its_step() -> Result<()> {
    let step = Step { index: 3, temperature: 2.0 };
    let (kernel, start) =
        (Generation(LinearGaussian { broken_at: Some(0), ..OPERATOR }), filled(0.0, (2, 1))?);
    let mut noise = Seed::new(0).host_noise();
    let schedule = Stationary { step, len: Some(5) };
    assert_eq!([0, 4, 100].map(|index| schedule.at(index)), [step; 3]);
    assert_eq!(chain(&kernel, start.clone(), &schedule, &mut noise)?.count(), 5);
    let endless = Stationary { step, len: None };
    assert!(!endless.is_empty());
    assert_eq!(chain(&kernel, start, &endless, &mut noise)?.take(7).count(), 7);
    Ok(())
}

#[test]
fn halves_are_the_same_for_every_channel() {
    let top = half_mask(Half::Top, [3, 4, 4]);
    let plane = [[1; 8], [0; 8]].concat();
    assert_eq!(top, plane.repeat(3));
    let left = half_mask(Half::Left, [2, 2, 5]);
    assert_eq!(left, [1, 1, 0, 0, 0].repeat(4));
    for (a, b) in [(Half::Top, Half::Bottom), (Half::Left, Half::Right)] {
        for event in [[3, 4, 4], [1, 5, 3], [2, 1, 1]] {
            let (a, b) = (half_mask(a, event), half_mask(b, event));
            assert!(a.iter().zip(&b).all(|(a, b)| a + b == 1), "{event:?}");
            assert_eq!(a.len(), event.iter().product::<usize>());
        }
    }
    assert!(half_mask(Half::Top, [0, 0, 0]).is_empty());
}
