//! The measure of reversibility on linear operators (W6).

mod common;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Error, Noise, Result, Seed,
    chain::{Generation, Stationary, Step, TransitionOperator, chain},
    dist::DiagGaussian,
};
use common::{Linear, SEEDS, assert_close, assert_within, values};
use walkback::{Reversibility, ReversibilityOptions, reversibility};

#[test]
fn a_reversible_chain_has_the_divergence_of_its_ends_alone() -> Result<()> {
    let op = Linear { a: 0.8, b: 0.0, w: 0.25 };
    let start = Seed::new(1).host_noise().normal(&(20, 1).into(), DType::F64, &Device::Cpu)?;
    for (burn_in, steps) in [(0, 1), (0, 100), (7, 1000)] {
        let noise = || Seed::new(2).host_noise();
        let options = ReversibilityOptions { burn_in, steps };
        let found = reversibility(&op, &start, options, &mut noise())?;
        // The same chain, for its states.
        let schedule = Stationary { step: Step::at(0), len: Some(burn_in + steps) };
        let mut positions = vec![values(&start)?];
        for draw in chain(&Generation(op), start.clone(), &schedule, &mut noise())? {
            positions.push(values(&draw?.state.position)?);
        }
        for (row, divergence) in found.divergences.iter().enumerate() {
            let [first, last] = [burn_in, burn_in + steps].map(|step| positions[step][row]);
            let want = (1.0 - 0.64) * (first * first - last * last) / (2.0 * 0.25);
            assert_close(divergence * steps as f64, want, 1e-9, &format!("{steps} steps"));
            assert!(divergence.abs() < 40.0 / steps as f64);
        }
    }
    Ok(())
}

/// `s' = r R(theta) s + N(0, w I)` in the plane.
struct Rotation {
    r: f64,
    theta: f64,
    w: f64,
}

impl TransitionOperator for Rotation {
    type Dist = DiagGaussian;

    fn conditional(&self, s: &Tensor, at: Step) -> Result<DiagGaussian> {
        let (sin, cos) = self.theta.sin_cos();
        let turn = Tensor::new(&[[cos, sin], [-sin, cos]], s.device())?;
        let mean = s.matmul(&(turn * self.r)?)?;
        let variance = mean.zeros_like()?.affine(1.0, at.temperature * self.w)?;
        DiagGaussian::new(mean, variance)
    }
}

#[test]
fn a_rotation_has_the_divergence_and_entropy_of_the_closed_form() -> Result<()> {
    let op = Rotation { r: 0.8, theta: 0.3, w: 0.25 };
    let divergence = 4.0 * 0.64 * 0.3_f64.sin().powi(2) / 0.36;
    let entropy = (2.0 * std::f64::consts::PI * std::f64::consts::E * 0.25).ln();
    assert_close(divergence, 0.621029, 5e-7, "reference");
    assert_close(entropy, 1.451583, 5e-7, "reference");
    let start = Tensor::zeros((400, 2), DType::F64, &Device::Cpu)?;
    let options = ReversibilityOptions::published();
    assert_eq!((options.burn_in, options.steps), (50, 1000));
    for seed in SEEDS {
        let mut noise = Seed::new(seed).child("rotation").host_noise();
        let found = reversibility(&op, &start, options, &mut noise)?;
        assert_within(found.divergence(), divergence, "divergence");
        assert_within(found.entropy(), entropy, "entropy");
        assert_close(found.ratio(), 0.427829, 0.01, "ratio");
    }
    Ok(())
}

#[test]
fn all_conventions_of_the_ratio_are_given() {
    let found =
        Reversibility { divergences: vec![3.0, 5.0], entropies: vec![-21.0, -19.0], dim: 10 };
    let (mean, error) = found.divergence();
    assert_close(mean, 4.0, 1e-12, "mean");
    assert_close(error, 1.0, 1e-12, "standard error");
    assert_close(found.ratio(), -0.2, 1e-12, "D / H");
    assert_close(found.absolute_ratio(), 0.2, 1e-12, "D / |H|");
    let want = 4.0 / (10.0 * 256_f64.ln() - 20.0);
    assert_close(found.discretised_ratio(), want, 1e-12, "D / H at 8 bits");
}

#[test]
fn a_chain_that_is_not_measured_or_diverges_is_an_error() -> Result<()> {
    let start = Tensor::ones((3, 1), DType::F64, &Device::Cpu)?;
    let run = |op: Linear, burn_in, steps| {
        let options = ReversibilityOptions { burn_in, steps };
        reversibility(&op, &start, options, &mut Seed::new(1).host_noise())
    };
    let calm = Linear { a: 0.5, b: 0.0, w: 1.0 };
    assert!(matches!(run(calm, 5, 0), Err(Error::Config { field: "steps", .. })));
    let wild = Linear { a: 1e200, ..calm };
    assert!(matches!(run(wild, 0, 5), Err(Error::NonFinite { .. })));
    assert!(run(calm, 0, 5).is_ok());
    Ok(())
}
