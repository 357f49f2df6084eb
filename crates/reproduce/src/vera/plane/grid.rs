//! Normalisers and densities of energies in the plane, on grids.

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use vera::{EnergyNetwork, VeraModel};

use crate::error::Result;

/// Points evaluated at a time.
const CHUNK: usize = 20_000;
/// How far from the edge of the box mass counts as being at the edge.
const EDGE: f64 = 0.5;

/// Cells of a square about the origin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Grid {
    /// Half the side.
    pub(super) half: f64,
    /// Cells along a side.
    pub(super) cells: usize,
}

/// What a grid tells of an energy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct GridLaw {
    /// `ln Z`, nats.
    pub(super) log_z: f64,
    /// Entropy of the normalised density, nats.
    pub(super) entropy: f64,
    /// Share of the mass within half a unit of the edge.
    pub(super) edge: f64,
}

impl Grid {
    /// Centre of a cell; the first index runs along x, the second from the top down.
    fn centre(&self, column: usize, row: usize) -> [f32; 2] {
        let at = |i: usize| -self.half + (i as f64 + 0.5) * 2.0 * self.half / self.cells as f64;
        [at(column) as f32, -at(row) as f32]
    }

    /// `f` at the centres, row by row from the top.
    ///
    /// # Errors
    /// Of the network.
    pub(super) fn values(&self, model: &VeraModel) -> Result<Vec<f64>> {
        let n = self.cells * self.cells;
        let points: Vec<f32> =
            (0..n).flat_map(|i| self.centre(i % self.cells, i / self.cells)).collect();
        let mut values = Vec::with_capacity(n);
        for chunk in points.chunks(2 * CHUNK) {
            let x = Tensor::from_slice(chunk, (chunk.len() / 2, 2), &Device::Cpu)?;
            let f = model.energy().log_density(&x.to_device(model.store().device())?, &[])?;
            values.extend(f.to_device(&Device::Cpu)?.to_vec1::<f32>()?.into_iter().map(f64::from));
        }
        Ok(values)
    }

    /// Normaliser, entropy and mass at the edge of `f` given at the centres.
    pub(super) fn law(&self, values: &[f64]) -> GridLaw {
        let side = 2.0 * self.half / self.cells as f64;
        let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let margin = (EDGE / side).round() as usize;
        let (mut sum, mut along, mut edge) = (0.0, 0.0, 0.0);
        for (i, f) in values.iter().enumerate() {
            let mass = (f - top).exp();
            sum += mass;
            along += mass * f;
            let [column, row] = [i % self.cells, i / self.cells];
            let near = |at: usize| at < margin || at + margin >= self.cells;
            if near(column) || near(row) {
                edge += mass;
            }
        }
        let log_z = top + sum.ln() + 2.0 * side.ln();
        GridLaw { log_z, entropy: log_z - along / sum, edge: edge / sum }
    }

    /// Share of the mass within `radius` of one of the points.
    pub(super) fn near(&self, values: &[f64], points: &[[f32; 2]], radius: f32) -> f64 {
        let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut sum, mut close) = (0.0, 0.0);
        for (i, f) in values.iter().enumerate() {
            let mass = (f - top).exp();
            sum += mass;
            // Cells without mass need no search.
            if mass < 1e-9 {
                continue;
            }
            let [x, y] = self.centre(i % self.cells, i / self.cells);
            let found = points.iter().any(|p| {
                let (dx, dy) = (p[0] - x, p[1] - y);
                dx * dx + dy * dy <= radius * radius
            });
            if found {
                close += mass;
            }
        }
        close / sum
    }

    /// A picture of the density, brightest where it is greatest.
    pub(super) fn picture(values: &[f64]) -> Vec<f32> {
        let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        values.iter().map(|f| (f - top).exp() as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gaussian_has_its_normaliser_entropy_and_mass() {
        let grid = Grid { half: 6.0, cells: 200 };
        let point = |i: usize| grid.centre(i % 200, i / 200);
        let values: Vec<f64> = (0..200 * 200)
            .map(|i| point(i).map(|v| -0.5 * f64::from(v).powi(2)).iter().sum::<f64>() + 1.5)
            .collect();
        let law = grid.law(&values);
        let two_pi = (2.0 * std::f64::consts::PI).ln();
        assert!((law.log_z - 1.5 - two_pi).abs() < 1e-6, "{law:?}");
        assert!((law.entropy - 1.0 - two_pi).abs() < 1e-6, "{law:?}");
        assert!(law.edge < 1e-6, "{law:?}");
        // P(|x| < 1) of two standard normals is 1 - exp(-1/2).
        let near = grid.near(&values, &[[0.0, 0.0]], 1.0);
        assert!((near - (1.0 - (-0.5_f64).exp())).abs() < 0.01, "{near}");
        // The first cell is at the top left.
        assert!(grid.centre(0, 0)[0] < 0.0 && grid.centre(0, 0)[1] > 0.0);
        let flat = grid.law(&vec![0.0; 200 * 200]);
        assert!((flat.edge - (1.0 - (11.0_f64 / 12.0).powi(2))).abs() < 0.01, "{flat:?}");
    }
}
