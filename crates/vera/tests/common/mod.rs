//! What the oracles share: linear generators of which everything is known, statistics, small matrices.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::collections::BTreeMap;

use candle_core::{DType, Device, Shape, Tensor};
use chains_core::{Noise, ParamStore, Result, Seed, nn::BatchNormMoments};
use vera::{Drawn, Generator, LinearGenerator};

/// Every Monte-Carlo estimate is held against its truth for these.
pub(crate) const SEEDS: [u64; 3] = [0, 1, 2];

/// All values as f64.
pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.detach().flatten_all().unwrap();
    flat.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// Standard normal f64 numbers; the same for the same label.
pub(crate) fn normal(label: &str, shape: impl Into<Shape>) -> Tensor {
    let mut noise = Seed::new(0).child(label).host_noise();
    noise.normal(&shape.into(), DType::F64, &Device::Cpu).unwrap()
}

/// Names and values of a store.
pub(crate) fn snapshot(store: &ParamStore) -> BTreeMap<String, Vec<f64>> {
    store.tensors().into_iter().map(|(name, tensor)| (name, values(&tensor))).collect()
}

/// `g(z) = W z + mu` with its noise.
pub(crate) struct Known {
    pub(crate) store: ParamStore,
    pub(crate) live: Generator<LinearGenerator>,
    pub(crate) frozen: Generator<LinearGenerator>,
    /// `(D, d)`.
    pub(crate) w: Matrix,
    pub(crate) mu: Vec<f64>,
    pub(crate) sigma: f64,
}

impl Known {
    /// Of a matrix `(D, d)`, a mean and a deviation.
    pub(crate) fn new(w: Matrix, mu: Vec<f64>, sigma: f64, dtype: DType) -> Result<Self> {
        let store = ParamStore::new(Seed::new(0), dtype, &Device::Cpu);
        let (dim, latent) = (w.rows(), w.columns());
        let of = |vb: candle_nn::VarBuilder<'static>| -> Result<Generator<LinearGenerator>> {
            let init = candle_nn::Init::Const(sigma.ln());
            let log_sigma = vb.get_with_hints(1, "logsigma", init)?;
            Ok(Generator { network: LinearGenerator::new(latent, dim, vb.pp("g"))?, log_sigma })
        };
        let (live, frozen) = (of(store.builder())?, of(store.frozen())?);
        store.get("g.weight").unwrap().set(&w.tensor()?.to_dtype(dtype)?)?;
        let bias = Tensor::new(mu.as_slice(), &Device::Cpu)?.to_dtype(dtype)?;
        store.get("g.bias").unwrap().set(&bias)?;
        Ok(Self { store, live, frozen, w, mu, sigma })
    }

    /// `d = D`, `W = w I`, zero mean: whitened, only `(d, k)` matters.
    pub(crate) fn isotropic(d: usize, w: f64, sigma: f64, dtype: DType) -> Result<Self> {
        let scaled = Matrix::of(d, d, |i, j| if i == j { w } else { 0.0 });
        Self::new(scaled, vec![0.0; d], sigma, dtype)
    }

    /// `C = W W^T + sigma^2 I`.
    pub(crate) fn covariance(&self) -> Matrix {
        let outer = self.w.times(&self.w.transposed());
        let noise = self.sigma * self.sigma;
        Matrix::of(outer.rows(), outer.rows(), |i, j| {
            outer.at(i, j) + if i == j { noise } else { 0.0 }
        })
    }

    /// `0.5 ln det(2 pi e C)`.
    pub(crate) fn entropy(&self) -> f64 {
        let c = self.covariance();
        let constant = (2.0 * std::f64::consts::PI * std::f64::consts::E).ln();
        0.5 * (c.rows() as f64 * constant + c.inverse().1)
    }

    /// `eta_i* = (1 + |w_i|^2 / sigma^2)^(-1/2)`.
    pub(crate) fn best_eta(&self) -> Vec<f64> {
        let column = |i: usize| (0..self.w.rows()).map(move |j| self.w.at(j, i).powi(2));
        let precision = |i| 1.0 + column(i).sum::<f64>() / self.sigma.powi(2);
        (0..self.w.columns()).map(|i| precision(i).powf(-0.5)).collect()
    }

    /// `ln` of [`Known::best_eta`].
    pub(crate) fn log_eta(&self) -> Result<Tensor> {
        let eta: Vec<f64> = self.best_eta().iter().map(|eta| eta.ln()).collect();
        Ok(Tensor::from_vec(eta, self.w.columns(), &Device::Cpu)?
            .to_dtype(self.live.log_sigma.dtype())?)
    }

    /// `C^-1 (x - mu)`, minus the score.
    pub(crate) fn minus_score(&self, x: &Tensor) -> Result<Tensor> {
        let inverse = self.covariance().inverse().0.tensor()?.to_dtype(x.dtype())?;
        let mu = Tensor::new(self.mu.as_slice(), &Device::Cpu)?.to_dtype(x.dtype())?;
        Ok(x.broadcast_sub(&mu)?.matmul(&inverse)?)
    }

    /// Samples without a graph.
    pub(crate) fn draw(&self, n: usize, noise: &mut dyn Noise) -> Result<Drawn> {
        self.frozen.draw(n, BatchNormMoments::batch(), noise)
    }
}

/// A small dense matrix.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    pub(crate) fn of(rows: usize, columns: usize, f: impl Fn(usize, usize) -> f64) -> Self {
        let values = (0..rows * columns).map(|at| f(at / columns, at % columns)).collect();
        Self { columns, values }
    }

    pub(crate) fn rows(&self) -> usize {
        self.values.len() / self.columns
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn at(&self, i: usize, j: usize) -> f64 {
        self.values[i * self.columns + j]
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    pub(crate) fn transposed(&self) -> Self {
        Self::of(self.columns, self.rows(), |i, j| self.at(j, i))
    }

    pub(crate) fn times(&self, other: &Self) -> Self {
        Self::of(self.rows(), other.columns, |i, j| {
            (0..self.columns).map(|l| self.at(i, l) * other.at(l, j)).sum()
        })
    }

    /// The inverse and `ln |det|`, by elimination with pivots.
    pub(crate) fn inverse(&self) -> (Self, f64) {
        let n = self.rows();
        let mut a = Self::of(n, 2 * n, |i, j| match j < n {
            true => self.at(i, j),
            false => f64::from(u8::from(j - n == i)),
        });
        let mut log_det = 0.0;
        for step in 0..n {
            let largest =
                |i: &usize, j: &usize| a.at(*i, step).abs().total_cmp(&a.at(*j, step).abs());
            let pivot = (step..n).max_by(largest).unwrap();
            let row = |a: &Self, i: usize| (0..2 * n).map(|j| a.at(i, j)).collect::<Vec<_>>();
            let (top, other) = (row(&a, pivot), row(&a, step));
            log_det += top[step].abs().ln();
            for j in 0..2 * n {
                a.values[pivot * 2 * n + j] = other[j];
                a.values[step * 2 * n + j] = top[j] / top[step];
            }
            for i in (0..n).filter(|i| *i != step) {
                let factor = a.at(i, step);
                for j in 0..2 * n {
                    a.values[i * 2 * n + j] -= factor * a.values[step * 2 * n + j];
                }
            }
        }
        (Self::of(n, n, |i, j| a.at(i, n + j)), log_det)
    }

    pub(crate) fn tensor(&self) -> Result<Tensor> {
        Ok(Tensor::new(self.values.as_slice(), &Device::Cpu)?
            .reshape((self.rows(), self.columns))?)
    }
}

/// Mean and standard error of independent values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Average {
    n: f64,
    sum: f64,
    square: f64,
}

impl Average {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut all = Self::default();
        values.into_iter().for_each(|value| all.push(value));
        all
    }

    pub(crate) fn push(&mut self, value: f64) {
        self.n += 1.0;
        self.sum += value;
        self.square += value * value;
    }

    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.n
    }

    pub(crate) fn error(&self) -> f64 {
        ((self.square / self.n - self.mean().powi(2)).max(0.0) / (self.n - 1.0)).sqrt()
    }

    /// Asserts that the mean is the truth within five standard errors and what the truth was rounded
    /// by.
    pub(crate) fn assert(&self, what: &str, truth: f64, rounded: f64) {
        let (mean, error) = (self.mean(), self.error());
        let near = (mean - truth).abs() <= 5.0 * error + rounded;
        assert!(near, "{what}: {mean} +- {error}, expected {truth}");
    }
}

/// Asserts that two lists agree to `tolerance`, relative to the largest expected value.
pub(crate) fn assert_close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: number of values");
    let scale = want.iter().fold(1e-12_f64, |scale, value| scale.max(value.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let near = (got - want).abs() <= tolerance * scale;
        assert!(near, "{what}, element {i}: {got}, expected {want} (scale {scale})");
    }
}
