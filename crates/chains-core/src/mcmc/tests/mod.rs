//! Targets whose moments are known.

mod adapt;
mod hmc;
mod langevin;
mod mala;
mod metropolis;
mod posterior;
mod replay;

use std::cell::Cell;

use candle_core::{DType, Device, Shape, Tensor};

use crate::{Noise, Result, Seed, density::Energy, testing::values};

/// `N(0, diag(variances))`.
#[derive(Clone, Copy)]
struct Gaussian<const D: usize>([f64; D]);

impl<const D: usize> Energy for Gaussian<D> {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let weights = Tensor::new(&self.0.map(|v| 0.5 / v), x.device())?.to_dtype(x.dtype())?;
        Ok(x.sqr()?.broadcast_mul(&weights)?.sum(1)?)
    }
}

/// `N(0, covariance)` in two dimensions, its gradient written out.
#[derive(Clone, Copy)]
struct Correlated;

impl Correlated {
    const COVARIANCE: [[f64; 2]; 2] = [[1.0, 0.9], [0.9, 1.5]];

    /// Exact samples from the lower triangular root of the covariance.
    fn samples(n: usize, seed: Seed) -> Result<Tensor> {
        let [[a, b], [_, c]] = Self::COVARIANCE;
        let root = [[a.sqrt(), 0.0], [b / a.sqrt(), (c - b * b / a).sqrt()]];
        let free = seed.host_noise().normal(&(n, 2).into(), DType::F64, &Device::Cpu)?;
        Ok(free.matmul(&Tensor::new(&root, &Device::Cpu)?.t()?)?)
    }
}

impl Energy for Correlated {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.energy_and_grad(x)?.0)
    }

    fn energy_and_grad(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let [[a, b], [_, c]] = Self::COVARIANCE;
        let scale = 1.0 / (a * c - b * b);
        let precision = [[c * scale, -b * scale], [-b * scale, a * scale]];
        let grad = x.matmul(&Tensor::new(&precision, x.device())?.to_dtype(x.dtype())?)?;
        Ok(((x.mul(&grad)?.sum(1)? * 0.5)?, grad))
    }
}

/// An energy that counts its gradients.
struct Counted<E>(E, Cell<usize>);

impl<E: Energy> Energy for Counted<E> {
    fn energy(&self, _: &Tensor) -> Result<Tensor> {
        panic!("the energy alone is not needed")
    }

    fn energy_and_grad(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        self.1.set(self.1.get() + 1);
        self.0.energy_and_grad(x)
    }
}

/// `x^4 / 4` in one dimension: `E x^2 = 2 Gamma(3/4) / Gamma(1/4)`, `E x^4 = 1`.
struct Quartic;

impl Energy for Quartic {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok((x.sqr()?.sqr()?.sum(1)? * 0.25)?)
    }
}

/// The gamma density `x exp(-x)`, no number below zero: mean 2, variance 2.
struct Gamma;

impl Energy for Gamma {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok((x - x.log()?)?.sum(1)?)
    }
}

/// Standard normal numbers in f64.
fn normals(label: &str, shape: impl Into<Shape>) -> Tensor {
    let mut noise = Seed::new(0).child(label).host_noise();
    noise.normal(&shape.into(), DType::F64, &Device::Cpu).unwrap()
}

/// Asserts that a mean over independent values is what it should be within five standard errors.
#[track_caller]
fn assert_mean(what: &str, values: &[f64], want: f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let error = (variance / n).sqrt();
    assert!((mean - want).abs() < 5.0 * error, "{what}: {mean}, expected {want}, error {error}");
}

/// Asserts mean and variance of every column of independent rows.
#[track_caller]
fn assert_moments(what: &str, rows: &Tensor, want: &[(f64, f64)]) -> Result<()> {
    for (column, &(mean, variance)) in want.iter().enumerate() {
        let x = values(&rows.narrow(1, column, 1)?);
        assert_mean(&format!("{what}, mean {column}"), &x, mean);
        let squares: Vec<f64> = x.iter().map(|x| (x - mean).powi(2)).collect();
        assert_mean(&format!("{what}, variance {column}"), &squares, variance);
    }
    Ok(())
}

/// Asserts mean and covariance of independent rows, every number of them.
#[track_caller]
fn assert_covariance<const D: usize>(
    what: &str,
    rows: &Tensor,
    mean: [f64; D],
    covariance: [[f64; D]; D],
) -> Result<()> {
    assert_eq!(rows.dims()[1..], [D], "{what}: columns");
    let mut columns: Vec<Vec<f64>> = Vec::new();
    for (i, row) in covariance.iter().enumerate() {
        columns.push(values(&rows.narrow(1, i, 1)?));
        assert_mean(&format!("{what}, mean {i}"), &columns[i], mean[i]);
        for (j, y) in columns.iter().enumerate() {
            let pairs = columns[i].iter().zip(y);
            let products: Vec<f64> = pairs.map(|(x, y)| (x - mean[i]) * (y - mean[j])).collect();
            assert_mean(&format!("{what}, covariance {i} {j}"), &products, row[j]);
        }
    }
    Ok(())
}
