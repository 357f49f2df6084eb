//! Posteriors in closed form: means and all covariances.

use candle_core::{DType, Device, Tensor};

use super::assert_covariance;
use crate::{
    Result, Seed,
    chain::{StepSchedule, chain},
    density::Energy,
    mcmc::Hmc,
    testing::vector,
};

const CHAINS: usize = 4000;

/// `y = w_0 + w_1 t + w_2 t^2 + N(0, NOISE^2)` with `w ~ N(0, PRIOR^2 I)`, given five values of y.
struct Regression;

impl Regression {
    const TIMES: [f64; 5] = [-0.5, 0.0, 0.5, 1.0, 1.5];
    const Y: [f64; 5] = [0.9, -0.2, 0.4, 1.6, 3.1];
    const NOISE: f64 = 0.5;
    const PRIOR: f64 = 2.0;

    /// With rows `(1, t, t^2)` of X the precision is `X'X / NOISE^2 + I / PRIOR^2`, the mean
    /// `covariance X'y / NOISE^2`.
    fn posterior() -> ([f64; 3], [[f64; 3]; 3]) {
        let weight = 1.0 / (Self::NOISE * Self::NOISE);
        let x = Self::TIMES.map(|t| [1.0, t, t * t]);
        let precision = |i: usize, j: usize| -> f64 {
            let prior = if i == j { 1.0 / (Self::PRIOR * Self::PRIOR) } else { 0.0 };
            prior + weight * x.iter().map(|row| row[i] * row[j]).sum::<f64>()
        };
        // Indices that go round give a cofactor its sign.
        let cofactor = |i: usize, j: usize| -> f64 {
            let at = |k: usize, l: usize| precision((i + k) % 3, (j + l) % 3);
            at(1, 1) * at(2, 2) - at(1, 2) * at(2, 1)
        };
        let determinant: f64 = (0..3).map(|j| precision(0, j) * cofactor(0, j)).sum();
        let covariance = [0, 1, 2].map(|i| [0, 1, 2].map(|j| cofactor(i, j) / determinant));
        let pull = |j: usize| -> f64 {
            weight * x.iter().zip(Self::Y).map(|(row, y)| row[j] * y).sum::<f64>()
        };
        let pull = [pull(0), pull(1), pull(2)];
        let mean = covariance.map(|row| row[0] * pull[0] + row[1] * pull[1] + row[2] * pull[2]);
        (mean, covariance)
    }
}

impl Energy for Regression {
    fn energy(&self, w: &Tensor) -> Result<Tensor> {
        let times = Self::TIMES;
        let powers = Tensor::new(&[[1.0; 5], times, times.map(|t| t * t)], w.device())?;
        let residual = w.matmul(&powers)?.broadcast_sub(&vector(&Self::Y))?;
        let misfit = (residual.sqr()?.sum(1)? * (0.5 / (Self::NOISE * Self::NOISE)))?;
        Ok((misfit + (w.sqr()?.sum(1)? * (0.5 / (Self::PRIOR * Self::PRIOR)))?)?)
    }
}

#[test]
fn hamiltonian_chains_have_the_mean_and_every_covariance_of_a_regression() -> Result<()> {
    let (mean, covariance) = Regression::posterior();
    // Correlations of -0.84 and -0.43; the slope and the curvature trade against each other.
    let correlation = |i: usize, j: usize| -> f64 {
        covariance[i][j] / (covariance[i][i] * covariance[j][j]).sqrt()
    };
    assert!(correlation(1, 2) < -0.8 && correlation(0, 2) < -0.4, "{covariance:?}");
    for seed in 0..3 {
        // Frequencies 1.4, 3.0 and 7.0: the step is near the limit of stability of the last, so that
        // about two proposals in five are rejected, and no length is near half a period, which would
        // forget nothing.
        let kernel = Hmc::new(Regression, 5, 0.25)?;
        let start = Tensor::zeros((CHAINS, 3), DType::F64, &Device::Cpu)?;
        let mut noise = Seed::new(seed).child("regression").host_noise();
        let draws = chain(&kernel, start, &StepSchedule { len: 40 }, &mut noise)?;
        let last = draws.last().unwrap()?;
        assert_covariance("regression", &last.state.position, mean, covariance)?;
    }
    Ok(())
}
