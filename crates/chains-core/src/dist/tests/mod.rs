//! Distributions against closed forms, quadrature and sampling.

mod mixture;
mod simple;

use candle_core::{DType, Device, Tensor};

use crate::{Result, Seed, density::Sample, testing::values};

/// Asserts that many samples of a distribution with one row, `(1, d)`, have these means and
/// variances within five standard errors, on three seeds.
fn assert_moments(law: &dyn Sample, mean: &[f64], variance: &[f64], kurtosis: f64) -> Result<()> {
    let n = 100_000;
    for seed in 0..3 {
        let mut noise = Seed::new(seed).child("moments").host_noise();
        let x = law.sample(n, &mut noise)?;
        assert_eq!(x.dims(), [n, mean.len()]);
        let x = x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let centred = x.broadcast_sub(&Tensor::new(mean, &Device::Cpu)?)?;
        let (first, second) = (values(&centred.mean(0)?), values(&centred.sqr()?.mean(0)?));
        let root = (n as f64).sqrt();
        for i in 0..mean.len() {
            let (m, v) = (first[i], second[i]);
            assert!(m.abs() < 5.0 * variance[i].sqrt() / root, "seed {seed}, mean {i}: off by {m}");
            let se = variance[i] * (kurtosis - 1.0).sqrt() / root;
            assert!((v - variance[i]).abs() < 5.0 * se, "seed {seed}, variance {i}: {v}");
        }
    }
    Ok(())
}

/// Asserts that conditionals vary fastest in samples of a law whose two rows are near 0 and 1.
fn assert_conditionals_vary_fastest(law: &dyn Sample) -> Result<()> {
    let x = law.sample(3, &mut Seed::new(0).host_noise())?;
    assert_eq!(x.dims(), [6, 1]);
    let rows: Vec<f64> = values(&x).iter().map(|x| x.round().abs()).collect();
    assert_eq!(rows, [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
    assert!(!x.track_op(), "samples are detached");
    Ok(())
}
