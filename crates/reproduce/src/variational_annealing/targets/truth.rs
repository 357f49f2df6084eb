//! The targets and everything that is known of `u^beta`.

use std::f64::consts::PI;

use candle_core::{Device, Tensor};
use chains_core::{
    Noise,
    density::{Energy, Sample},
    host,
};
use datasets::toys::{Banana, Kidney};
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// A target of the plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Plane {
    Kidney,
    Banana,
}

/// What is known of a density in the plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Truth {
    /// `log Z` of `u^beta`, nats.
    pub(super) log_z: f64,
    pub(super) mean: [f64; 2],
    pub(super) variance: [f64; 2],
    /// Nats.
    pub(super) entropy: f64,
    /// `E |x|`.
    pub(super) norm: f64,
}

/// Cells along a side of a quadrature.
const CELLS: usize = 801;

impl Plane {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kidney => "kidney",
            Self::Banana => "banana",
        }
    }

    /// `-log u`.
    pub(super) fn energy(self) -> Box<dyn Energy + Send + Sync> {
        match self {
            Self::Kidney => Box::new(Kidney::default()),
            Self::Banana => Box::new(Banana::default()),
        }
    }

    /// Exact samples.
    pub(super) fn sample(self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        Ok(match self {
            Self::Kidney => Kidney::default().sample(n, noise)?,
            Self::Banana => Banana::default().sample(n, noise)?,
        })
    }

    /// `u^beta` by quadrature. For the banana the grid is that of the Gaussian which a map of unit
    /// determinant bends.
    ///
    /// # Errors
    /// Of the energy.
    pub(super) fn truth(self, beta: f64) -> Result<Truth> {
        let root = 1.0 / beta.sqrt();
        let half = match self {
            Self::Kidney => [2.0 + 4.0 * root; 2],
            Self::Banana => [8.0 * root, 16.0 * root],
        };
        let step = half.map(|half| 2.0 * half / (CELLS - 1) as f64);
        let at = |axis: usize, i: usize| -half[axis] + step[axis] * i as f64;
        let mut sums = [0.0; 7];
        for row in 0..CELLS {
            let b = at(1, row);
            let points = (0..CELLS).map(|column| match self {
                Self::Kidney => [at(0, column), b],
                Self::Banana => [at(0, column) + 0.25 * b * b, b],
            });
            let points: Vec<[f64; 2]> = points.collect();
            let flat: Vec<f64> = points.iter().flatten().copied().collect();
            let x = Tensor::from_vec(flat, (CELLS, 2), &Device::Cpu)?;
            let energies = host::vector(&self.energy().energy(&x)?)?;
            for ([x, y], energy) in points.into_iter().zip(energies) {
                let log = -beta * energy;
                let mass = log.exp();
                let terms = [1.0, x, y, x * x, y * y, log, x.hypot(y)];
                sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += mass * term);
            }
        }
        let [z, rest @ ..] = sums;
        let [x, y, xx, yy, log, norm] = rest.map(|sum| sum / z);
        let log_z = (z * step[0] * step[1]).ln();
        Ok(Truth {
            log_z,
            mean: [x, y],
            variance: [xx - x * x, yy - y * y],
            entropy: log_z - log,
            norm,
        })
    }

    /// `log Z` at `beta = 1`.
    pub(super) fn log_z(self) -> f64 {
        match self {
            // By quadrature.
            Self::Kidney => 1.877_502,
            Self::Banana => (4.0 * PI).ln(),
        }
    }

    /// The window of a picture, `[left, right, bottom, top]`, a square.
    pub(super) fn window(self) -> [f64; 4] {
        match self {
            Self::Kidney => [-4.5, 4.5, -4.5, 4.5],
            Self::Banana => [-4.0, 11.0, -7.5, 7.5],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quadratures_give_the_table_of_tempered_moments() {
        // log Z, mean of x1, variances, entropy, E|x|.
        for (plane, beta, want) in [
            (Plane::Banana, 0.5, [3.224_171, 2.0, 10.0, 8.0, 4.224_171, 3.5211]),
            (Plane::Banana, 1.0, [2.531_024, 1.0, 3.0, 4.0, 3.531_024, 2.2389]),
            (Plane::Banana, 2.0, [1.837_877, 0.5, 1.0, 2.0, 2.837_877, 1.4818]),
            (Plane::Kidney, 0.5, [2.417_390, 0.0, 3.185_493, 1.962_880, 3.184_607, 2.214_631]),
            (Plane::Kidney, 1.0, [1.877_502, 0.0, 3.303_502, 1.395_278, 2.660_013, 2.138_977]),
            (Plane::Kidney, 2.0, [1.338_001, 0.0, 3.455_187, 0.983_137, 2.111_777, 2.091_953]),
        ] {
            let Truth { log_z, mean, variance, entropy, norm } = plane.truth(beta).unwrap();
            let found = [log_z, mean[0], variance[0], variance[1], entropy, norm];
            for (found, want) in found.into_iter().zip(want) {
                assert!((found - want).abs() < 1e-4, "{plane:?} {beta}: {found}, {want}");
            }
            assert!(mean[1].abs() < 1e-9);
        }
        assert!((Plane::Banana.log_z() - 2.531_024).abs() < 1e-6);
    }
}
