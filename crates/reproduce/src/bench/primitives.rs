//! W14: single operations at the shapes that occur, each its own row.

use std::{hint::black_box, path::Path};

use candle_core::{Tensor, Var};
use chains_core::{
    Seed,
    ops::{self, AdamStep, NormOptions},
};

use super::{Unit, Workload, values};
use crate::error::Result;

pub(super) fn workloads() -> Vec<Workload> {
    let product = |id, title, [m, n, k]: [usize; 3], build| {
        let gflop = Some(2e-9 * (m * n * k) as f64);
        Workload { id, title, gflop, repeats: 60, build }
    };
    let other = |id, title, build| Workload { id, title, gflop: None, repeats: 60, build };
    vec![
        product(
            "W14a",
            "product 256 x 1200 x 784",
            [256, 1200, 784],
            self::product::<256, 1200, 784>,
        ),
        product(
            "W14b",
            "product 256 x 1200 x 1200",
            [256, 1200, 1200],
            self::product::<256, 1200, 1200>,
        ),
        product(
            "W14c",
            "product 1200 x 784 x 256",
            [1200, 784, 256],
            self::product::<1200, 784, 256>,
        ),
        product(
            "W14d",
            "product 4096 x 1024 x 1024",
            [4096, 1024, 1024],
            self::product::<4096, 1024, 1024>,
        ),
        other("W14i", "batch norm fwd+bwd (32, 64, 32, 32)", batch_norm),
        other("W14k", "Adam, 5,000,000 parameters", adam),
        other("W14l", "1,000,000 normal numbers", normals),
        other("W14m", "sigmoid of 1,000,000", sigmoid),
        other("W14p", "exp of 1,000,000", exp),
    ]
}

/// The product of `(M, K)` and `(K, N)`.
fn product<const M: usize, const N: usize, const K: usize>(_: &Path) -> Result<Unit> {
    let (a, b) = (values("a", &[M, K])?, values("b", &[N, K])?);
    Ok(Box::new(move || {
        black_box(ops::linear(&a, &b, None)?);
        Ok(())
    }))
}

/// Output and the gradients of input, gain and shift.
fn batch_norm(_: &Path) -> Result<Unit> {
    let x = Var::from_tensor(&values("x", &[1, 32, 64, 32, 32])?)?;
    let gain = Var::from_tensor(&Tensor::ones((1, 64), x.dtype(), x.device())?)?;
    let shift = Var::from_tensor(&Tensor::zeros((1, 64), x.dtype(), x.device())?)?;
    let options = NormOptions { batch: true, relu: false };
    Ok(Box::new(move || {
        let moments = ops::batch_moments(&x)?;
        let y = ops::normalise(&x, &moments, [&gain, &shift], 1e-5, options)?;
        black_box(y.backward()?);
        Ok(())
    }))
}

fn adam(_: &Path) -> Result<Unit> {
    let zeros = || -> Result<Var> {
        let (dtype, device) = (candle_core::DType::F32, candle_core::Device::Cpu);
        Ok(Var::from_tensor(&Tensor::zeros(5_000_000, dtype, &device)?)?)
    };
    let (parameter, grad) = (zeros()?, values("gradient", &[5_000_000])?);
    let (m, v) = (zeros()?, zeros()?);
    let step = AdamStep { beta1: 0.9, beta2: 0.999, step_size: 1e-4, correction: 1.0, eps: 1e-8 };
    Ok(Box::new(move || Ok(ops::adam_step(&parameter, &grad, &m, &v, step)?)))
}

fn normals(_: &Path) -> Result<Unit> {
    let mut noise = Seed::new(0).child("bench").host_noise();
    let mut out = vec![0.0_f32; 1_000_000];
    Ok(Box::new(move || {
        noise.fill_normal(black_box(&mut out));
        Ok(())
    }))
}

fn sigmoid(_: &Path) -> Result<Unit> {
    elementwise(|x| Ok(ops::sigmoid(x)?))
}

fn exp(_: &Path) -> Result<Unit> {
    elementwise(|x| Ok(x.exp()?))
}

fn elementwise(f: fn(&Tensor) -> Result<Tensor>) -> Result<Unit> {
    let x = values("x", &[1_000_000])?;
    Ok(Box::new(move || {
        black_box(f(&x)?);
        Ok(())
    }))
}
