//! The model in both spaces, and laws of chains on it.

use candle_core::{Device, Tensor};

use super::quadratic::{M3, V3, determinant, multiply, solve, transform};
use crate::error::Result;

/// `x = W z + b + s e` with a quadratic energy of `x`, of three numbers in all.
pub(super) struct Model {
    /// `s`.
    pub(super) scale: f64,
}

const W: [f64; 2] = [1.0, 0.5];
const B: [f64; 2] = [0.2, -0.1];
const A: [[f64; 2]; 2] = [[2.0, 0.3], [0.3, 0.5]];
const M: [f64; 2] = [0.5, -1.0];

/// A space with a quadratic potential.
pub(super) struct Space {
    /// Of the Gaussian that the potential is of.
    pub(super) precision: M3,
    /// Its mean.
    pub(super) mean: V3,
    /// The law of the model without its energy, where chains begin.
    pub(super) start: Law,
    /// `start` is `shift + root noise`.
    root: M3,
}

/// A Gaussian.
#[derive(Clone, Debug)]
pub(super) struct Law {
    pub(super) mean: V3,
    pub(super) covariance: M3,
}

impl Model {
    /// Coordinates `(x_1, x_2, z)`: precision `[[A + I / s^2, -W / s^2], [-W' / s^2, 1 + W' W / s^2]]`.
    pub(super) fn points_and_latents(&self) -> Space {
        let q = 1.0 / (self.scale * self.scale);
        let mut precision = [[0.0; 3]; 3];
        for i in 0..2 {
            for j in 0..2 {
                precision[i][j] = A[i][j] + if i == j { q } else { 0.0 };
            }
            precision[i][2] = -W[i] * q;
            precision[2][i] = -W[i] * q;
        }
        let square = W[0] * W[0] + W[1] * W[1];
        precision[2][2] = 1.0 + square * q;
        // The linear term: A m + b / s^2, and -W' b / s^2.
        let pulled = |i: usize| A[i][0] * M[0] + A[i][1] * M[1] + B[i] * q;
        let linear = [pulled(0), pulled(1), -(W[0] * B[0] + W[1] * B[1]) * q];
        let root = [[self.scale, 0.0, W[0]], [0.0, self.scale, W[1]], [0.0, 0.0, 1.0]];
        Space::new(precision, linear, [B[0], B[1], 0.0], root)
    }

    /// Coordinates `(e_z, e_x1, e_x2)`: precision `I + J' A J` with `J = [W, s I]`.
    pub(super) fn noise(&self) -> Space {
        let s = self.scale;
        let jacobian = [[W[0], s, 0.0], [W[1], 0.0, s]];
        let (mut precision, mut linear) = ([[0.0; 3]; 3], [0.0; 3]);
        for i in 0..3 {
            for j in 0..3 {
                let form: f64 = (0..2)
                    .flat_map(|k| (0..2).map(move |l| (k, l)))
                    .map(|(k, l)| jacobian[k][i] * A[k][l] * jacobian[l][j])
                    .sum();
                precision[i][j] = form + if i == j { 1.0 } else { 0.0 };
            }
            // -J' A (b - m).
            linear[i] = -(0..2)
                .flat_map(|k| (0..2).map(move |l| (k, l)))
                .map(|(k, l)| jacobian[k][i] * A[k][l] * (B[l] - M[l]))
                .sum::<f64>();
        }
        let identity = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        Space::new(precision, linear, [0.0; 3], identity)
    }
}

impl Space {
    fn new(precision: M3, linear: V3, shift: V3, root: M3) -> Self {
        let mean = solve(&precision, &linear);
        let covariance = multiply(&root, &transpose(&root));
        Self { precision, mean, start: Law { mean: shift, covariance }, root }
    }

    /// Where chains begin, from standard normal noise `(n, 3)`.
    pub(super) fn draw(&self, noise: &Tensor) -> Result<Tensor> {
        let root = Tensor::new(&transpose(&self.root), &Device::Cpu)?;
        let shift = Tensor::new(&self.start.mean, &Device::Cpu)?;
        Ok(noise.matmul(&root)?.broadcast_add(&shift)?)
    }
}

impl Law {
    /// After a step of size `eta`.
    pub(super) fn after_step(&self, space: &Space, eta: f64) -> Self {
        let mut factor = space.precision.map(|row| row.map(|v| -0.5 * eta * v));
        (0..3).for_each(|i| factor[i][i] += 1.0);
        let centred = std::array::from_fn(|i| self.mean[i] - space.mean[i]);
        let moved = transform(&factor, &centred);
        let mut covariance = multiply(&multiply(&factor, &self.covariance), &factor);
        (0..3).for_each(|i| covariance[i][i] += eta);
        Self { mean: std::array::from_fn(|i| moved[i] + space.mean[i]), covariance }
    }

    /// `KL(self || model)`.
    pub(super) fn divergence(&self, space: &Space) -> f64 {
        let ratio = multiply(&space.precision, &self.covariance);
        let trace: f64 = (0..3).map(|i| ratio[i][i]).sum();
        let centred: V3 = std::array::from_fn(|i| self.mean[i] - space.mean[i]);
        let pulled = transform(&space.precision, &centred);
        let square: f64 = centred.iter().zip(&pulled).map(|(a, b)| a * b).sum();
        let log_det = determinant(&space.precision).ln() + determinant(&self.covariance).ln();
        0.5 * (trace + square - 3.0 - log_det)
    }

    /// `sqrt(E |v|^2 / 3)`.
    pub(super) fn root_mean_square(&self) -> f64 {
        let sum: f64 = (0..3).map(|i| self.covariance[i][i] + self.mean[i] * self.mean[i]).sum();
        (sum / 3.0).sqrt()
    }

    /// The largest distance of a sample mean or covariance from its value here, in standard errors.
    pub(super) fn largest_error(&self, rows: &[V3]) -> f64 {
        let n = rows.len() as f64;
        let mean: V3 = std::array::from_fn(|i| rows.iter().map(|row| row[i]).sum::<f64>() / n);
        let mut worst = 0.0_f64;
        for i in 0..3 {
            let error = (self.covariance[i][i] / n).sqrt();
            worst = worst.max((mean[i] - self.mean[i]).abs() / error);
            for j in 0..=i {
                let products = rows.iter().map(|row| (row[i] - mean[i]) * (row[j] - mean[j]));
                let found = products.sum::<f64>() / (n - 1.0);
                let c = self.covariance[i][j];
                let square = self.covariance[i][i] * self.covariance[j][j] + c * c;
                worst = worst.max((found - c).abs() / (square / n).sqrt());
            }
        }
        // What is not a number passes no comparison.
        if rows.iter().flatten().all(|v| v.is_finite()) { worst } else { f64::INFINITY }
    }
}

/// Of sample rows.
pub(super) fn root_mean_square(rows: &[V3]) -> f64 {
    let sum: f64 = rows.iter().flatten().map(|v| v * v).sum();
    (sum / (3.0 * rows.len().max(1) as f64)).sqrt()
}

fn transpose(matrix: &M3) -> M3 {
    std::array::from_fn(|i| std::array::from_fn(|j| matrix[j][i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, want: f64) {
        assert!((found - want).abs() < 6e-7, "{found} and not {want}");
    }

    #[test]
    fn ten_steps_on_noise_have_the_golden_moments() {
        let space = Model { scale: 0.3 }.noise();
        let mut law = space.start.clone();
        (0..10).for_each(|_| law = law.after_step(&space, 0.05));
        let want = [0.025035, 0.019814, -0.024607];
        law.mean.iter().zip(want).for_each(|(found, want)| close(*found, want));
        for (i, j, want) in [
            (0, 0, 0.440017),
            (0, 1, -0.150119),
            (0, 2, -0.038769),
            (1, 1, 0.961854),
            (1, 2, -0.003720),
            (2, 2, 0.989209),
        ] {
            close(law.covariance[i][j], want);
        }
        let want = [0.036629, 0.066413, -0.110849];
        space.mean.iter().zip(want).for_each(|(found, want)| close(*found, want));
    }

    #[test]
    fn both_spaces_hold_the_same_model() {
        let model = Model { scale: 0.02 };
        let (points, noise) = (model.points_and_latents(), model.noise());
        // `(x, z)` is affine in the noise, whose order is (z, x).
        let jacobian = [[1.0, 0.02, 0.0], [0.5, 0.0, 0.02], [1.0, 0.0, 0.0]];
        let moved = transform(&jacobian, &noise.mean);
        for (i, shift) in [0.2, -0.1, 0.0].into_iter().enumerate() {
            assert!((moved[i] + shift - points.mean[i]).abs() < 1e-9);
        }
        let pulled = multiply(&multiply(&transpose(&jacobian), &points.precision), &jacobian);
        for (got, want) in pulled.iter().flatten().zip(noise.precision.iter().flatten()) {
            assert!((got - want).abs() < 1e-9, "{got} {want}");
        }
        // So that the divergence is the same before the first step.
        let [a, b] = [&points, &noise].map(|space| space.start.divergence(space));
        assert!(a > 0.1 && (a - b).abs() < 1e-6, "{a} {b}");
    }
}
