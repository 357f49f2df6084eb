//! The energies between the start and the posterior.

use std::cell::RefCell;

use candle_core::{Device, Tensor};
use chains_core::{Result, density::Energy};

use super::{X, linear, row, rows};
use crate::{
    ais::path::{Path, Tempered},
    golden::{array as golden, assert_close},
};

fn path(proposal: bool) -> Result<Path<'static>> {
    let data = row(&X).repeat((4, 1))?;
    let q = || {
        let mean = Tensor::new(&[[0.4_f64, -0.2]], &Device::Cpu)?.repeat((4, 1))?;
        let variance = Tensor::new(&[[0.3_f64, 0.1]], &Device::Cpu)?.repeat((4, 1))?;
        Ok::<_, chains_core::Error>((mean, variance))
    };
    Ok(Path {
        model: linear(),
        variances: linear().variances(&data)?,
        data,
        proposal: proposal.then(q).transpose()?,
    })
}

fn normal(x: f64, mean: f64, variance: f64) -> f64 {
    -0.5 * ((x - mean).powi(2) / variance + (std::f64::consts::TAU * variance).ln())
}

#[test]
fn energies_are_those_of_the_geometric_path() -> Result<()> {
    let z = golden(40, 4, 2) * 2.0 - 1.0;
    for (proposal, beta) in [(false, 0.0), (false, 0.3), (true, 0.3), (true, 1.0)] {
        let path = path(proposal)?;
        let tempered = Tempered { path: &path, beta, last: RefCell::new(None) };
        let energy = tempered.energy(&rows(&z))?.to_vec1::<f64>()?;
        let want = |z: [f64; 2]| {
            let joint: f64 = (0..3)
                .map(|i| {
                    let mean = super::B[i] + super::W[i][0] * z[0] + super::W[i][1] * z[1];
                    normal(X[i], mean, super::VARIANCE)
                })
                .sum::<f64>()
                + normal(z[0], 0.0, 1.0)
                + normal(z[1], 0.0, 1.0);
            let start = if proposal {
                normal(z[0], 0.4, 0.3) + normal(z[1], -0.2, 0.1)
            } else {
                normal(z[0], 0.0, 1.0) + normal(z[1], 0.0, 1.0)
            };
            -(1.0 - beta) * start - beta * joint
        };
        // Constants of the start are left out of the energy: differences count.
        let of = |row: usize| want([z[(row, 0)], z[(row, 1)]]);
        for row in 1..4 {
            assert_close(energy[row] - energy[0], of(row) - of(0), 1e-13);
        }
    }
    Ok(())
}

#[test]
fn gradients_are_those_of_differences() -> Result<()> {
    const H: f64 = 1e-5;
    let z = golden(41, 4, 2) * 2.0 - 1.0;
    for (proposal, beta) in [(false, 0.3), (true, 0.3), (true, 0.0)] {
        let path = path(proposal)?;
        let tempered = Tempered { path: &path, beta, last: RefCell::new(None) };
        let grad = tempered.energy_and_grad(&rows(&z))?.1.t()?.to_vec2::<f64>()?;
        for (column, grad) in grad.iter().enumerate() {
            let moved = |by: f64| {
                let mut z = z.clone();
                z.column_mut(column).mapv_inplace(|x| x + by);
                tempered.energy(&rows(&z))?.to_vec1::<f64>().map_err(chains_core::Error::from)
            };
            for (row, (high, low)) in moved(H)?.iter().zip(moved(-H)?).enumerate() {
                assert_close(grad[row], (high - low) / (2.0 * H), 1e-8);
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_kept_of_a_position_gives_the_energy_at_any_temperature() -> Result<()> {
    let path = path(true)?;
    let (z, step) =
        (rows(&(golden(42, 4, 2) - 0.5)), Tensor::ones(4, candle_core::DType::F64, &Device::Cpu)?);
    let parts = path.parts(&z)?;
    for beta in [0.0, 0.2, 1.0] {
        let state = parts.state(z.clone(), beta, step.clone())?;
        let tempered = Tempered { path: &path, beta, last: RefCell::new(None) };
        let (energy, grad) = tempered.energy_and_grad(&z)?;
        assert_eq!(state.energy.to_vec1::<f64>()?, energy.to_vec1::<f64>()?);
        assert_eq!(state.grad.to_vec2::<f64>()?, grad.to_vec2::<f64>()?);
    }
    Ok(())
}
