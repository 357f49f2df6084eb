//! Three by three matrices, and the energy of a Gaussian.

use candle_core::{Device, Tensor};
use chains_core::density::Energy;

use super::gaussian::Space;
use crate::error::Result;

pub(super) type V3 = [f64; 3];
pub(super) type M3 = [[f64; 3]; 3];

pub(super) fn multiply(a: &M3, b: &M3) -> M3 {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
}

pub(super) fn transform(a: &M3, v: &V3) -> V3 {
    std::array::from_fn(|i| (0..3).map(|k| a[i][k] * v[k]).sum())
}

pub(super) fn determinant(a: &M3) -> f64 {
    let minor = |j: usize, k: usize| a[1][j] * a[2][k] - a[1][k] * a[2][j];
    a[0][0] * minor(1, 2) - a[0][1] * minor(0, 2) + a[0][2] * minor(0, 1)
}

/// `a^-1 v` by Cramer's rule.
pub(super) fn solve(a: &M3, v: &V3) -> V3 {
    let whole = determinant(a);
    std::array::from_fn(|column| {
        let mut replaced = *a;
        (0..3).for_each(|row| replaced[row][column] = v[row]);
        determinant(&replaced) / whole
    })
}

/// The smallest and the largest eigenvalue of a symmetric matrix, by Jacobi rotations.
pub(super) fn extreme_eigenvalues(matrix: &M3) -> [f64; 2] {
    let mut a = *matrix;
    for _ in 0..50 {
        for (p, q) in [(0, 1), (0, 2), (1, 2)] {
            if a[p][q].abs() < f64::MIN_POSITIVE {
                continue;
            }
            let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
            let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
            let c = 1.0 / (t * t + 1.0).sqrt();
            let s = t * c;
            let mut rotation = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
            (rotation[p][p], rotation[q][q]) = (c, c);
            (rotation[p][q], rotation[q][p]) = (s, -s);
            let turned: M3 = std::array::from_fn(|i| std::array::from_fn(|j| rotation[j][i]));
            a = multiply(&multiply(&turned, &a), &rotation);
        }
    }
    let diagonal = [a[0][0], a[1][1], a[2][2]];
    [
        diagonal.into_iter().fold(f64::INFINITY, f64::min),
        diagonal.into_iter().fold(f64::NEG_INFINITY, f64::max),
    ]
}

/// `(v - mean)' P (v - mean) / 2`.
pub(super) struct Quadratic {
    precision: Tensor,
    mean: Tensor,
}

impl Quadratic {
    pub(super) fn new(space: &Space) -> Result<Self> {
        let precision = Tensor::new(&space.precision, &Device::Cpu)?;
        Ok(Self { precision, mean: Tensor::new(&space.mean, &Device::Cpu)? })
    }
}

impl Energy for Quadratic {
    fn energy(&self, x: &Tensor) -> chains_core::Result<Tensor> {
        let centred = x.broadcast_sub(&self.mean)?;
        Ok((centred.matmul(&self.precision)?.mul(&centred)?.sum(1)? * 0.5)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvalues_and_solutions_are_those_of_a_matrix_made_of_them() {
        // Eigenvectors (1, 1, 0), (1, -1, 1), (1, -1, -2) with 1, 5, 40.
        let vectors = [[1.0, 1.0, 0.0], [1.0, -1.0, 1.0], [1.0, -1.0, -2.0]];
        let mut matrix = [[0.0; 3]; 3];
        for (vector, value) in vectors.iter().zip([1.0, 5.0, 40.0]) {
            let square: f64 = vector.iter().map(|v| v * v).sum();
            for i in 0..3 {
                for j in 0..3 {
                    matrix[i][j] += value * vector[i] * vector[j] / square;
                }
            }
        }
        let [low, high] = extreme_eigenvalues(&matrix);
        assert!((low - 1.0).abs() < 1e-12 && (high - 40.0).abs() < 1e-12, "{low} {high}");
        assert!((determinant(&matrix) - 200.0).abs() < 1e-10);
        let found = solve(&matrix, &transform(&matrix, &[0.3, -1.0, 2.0]));
        for (a, b) in found.iter().zip([0.3, -1.0, 2.0]) {
            assert!((a - b).abs() < 1e-13, "{found:?}");
        }
    }
}
