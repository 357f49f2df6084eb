//! Acceptance and selection.

use candle_core::{DType, Device, Tensor};

use super::assert_mean;
use crate::{
    Result, Seed,
    mcmc::{accept, metropolis::finite_rows, select},
    testing::{values, vector},
};

#[test]
fn proposals_are_accepted_with_the_probability_of_their_ratio() -> Result<()> {
    let mut noise = Seed::new(1).child("accept").host_noise();
    for (log_ratio, want) in
        [(-1.0, (-1.0_f64).exp()), (-0.1, (-0.1_f64).exp()), (-4.0, 0.018_315_638_888_734_18)]
    {
        let ratios = Tensor::full(log_ratio, 40_000, &Device::Cpu)?;
        assert_mean("acceptance", &values(&accept(&ratios, &mut noise)?), want);
    }
    let sure = vector(&[0.0, 1e-9, 700.0, f64::INFINITY]);
    let never = vector(&[f64::NEG_INFINITY, f64::NAN, -1e300, -800.0]);
    for _ in 0..200 {
        assert_eq!(values(&accept(&sure, &mut noise)?), [1.0; 4]);
        assert_eq!(values(&accept(&never, &mut noise)?), [0.0; 4]);
    }
    Ok(())
}

#[test]
fn rows_are_taken_whole_and_bit_for_bit() -> Result<()> {
    let current = Tensor::new(&[[[1.0_f32, -0.0]], [[2.0, 3.0]]], &Device::Cpu)?;
    let proposal = Tensor::new(&[[[f32::NAN, 5.0]], [[6.0, 7.0]]], &Device::Cpu)?;
    let chosen = select(&Tensor::new(&[0_u8, 1], &Device::Cpu)?, &proposal, &current)?;
    let bits: Vec<u32> =
        chosen.flatten_all()?.to_vec1::<f32>()?.iter().map(|x| x.to_bits()).collect();
    assert_eq!(bits, [1.0_f32, -0.0, 6.0, 7.0].map(f32::to_bits));
    Ok(())
}

#[test]
fn finite_rows_are_told_from_others() -> Result<()> {
    let a = Tensor::new(&[[1.0, 2.0], [f64::NAN, 0.0], [0.0, 0.0], [1e308, -1e308]], &Device::Cpu)?;
    let b = vector(&[0.0, 0.0, f64::NEG_INFINITY, 1.0]);
    let found = finite_rows(&[&a, &b])?;
    assert_eq!(found.dtype(), DType::U8);
    assert_eq!(values(&found), [1.0, 0.0, 0.0, 1.0]);
    Ok(())
}

#[test]
fn shapes_that_do_not_fit_are_named() -> Result<()> {
    let mut noise = Seed::new(1).host_noise();
    let x = Tensor::zeros((3, 2), DType::F64, &Device::Cpu)?;
    let text = |result: Result<Tensor>| result.unwrap_err().to_string();
    assert!(text(accept(&x, &mut noise)).contains("log acceptance ratio"));
    let mask = |b: usize| Tensor::zeros(b, DType::U8, &Device::Cpu);
    assert!(text(select(&mask(2)?, &x, &x)).contains("accepted chains"));
    assert!(text(select(&mask(3)?, &x.narrow(1, 0, 1)?, &x)).contains("proposal"));
    Ok(())
}
