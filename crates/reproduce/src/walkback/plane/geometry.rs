//! Where points of the plane lie: near a curve, near a mode, how far spread.

use std::f64::consts::PI;

use ndarray::{Array2, ArrayView2, Axis};

use crate::{arrays::score, error::Result};

/// Points of the grid that stands for a curve.
const GRID: usize = 2000;
/// Standard deviation of the spiral's noise.
const SPIRAL_NOISE: f64 = 0.01;

/// The curves of Figures 6 and 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::walkback) enum Curve {
    /// `(2 u + 1) / 3 (sin 2 pi u, cos 2 pi u)`.
    Spiral,
    /// The unit circle.
    Circle,
}

impl Curve {
    /// The name of the toy.
    pub(in crate::walkback) fn name(self) -> &'static str {
        match self {
            Self::Spiral => "spiral",
            Self::Circle => "circle",
        }
    }

    /// Distance of every row to the curve: to the nearest of 2000 points of the spiral,
    /// `| |s| - 1 |` for the circle.
    ///
    /// # Errors
    /// For rows that are not finite.
    pub(in crate::walkback) fn distances(self, rows: ArrayView2<'_, f32>) -> Result<Vec<f64>> {
        match self {
            Self::Circle => Ok(rows
                .rows()
                .into_iter()
                .map(|s| (f64::from(s[0]).hypot(f64::from(s[1])) - 1.0).abs())
                .collect()),
            Self::Spiral => {
                let grid = spiral();
                let grid = Array2::from_shape_fn((GRID, 2), |(row, axis)| grid[row][axis] as f32);
                let found = score(eval_metrics::nearest(rows, grid.view()))?;
                Ok(found.squared_distances.into_iter().map(f64::sqrt).collect())
            }
        }
    }

    /// The true log density of every row in nats, where there is one: the mean over the curve of
    /// `N(x; c(u), 0.01^2 I)`, by the sum over its grid.
    pub(in crate::walkback) fn log_density(self, rows: ArrayView2<'_, f32>) -> Option<Vec<f64>> {
        let Self::Spiral = self else { return None };
        let (grid, variance) = (spiral(), SPIRAL_NOISE * SPIRAL_NOISE);
        let constant = -(2.0 * PI * variance).ln();
        let of = |s: [f64; 2]| {
            let terms: Vec<f64> = grid
                .iter()
                .map(|c| -((s[0] - c[0]).powi(2) + (s[1] - c[1]).powi(2)) / (2.0 * variance))
                .collect();
            eval_metrics::log_mean_exp(&terms) + constant
        };
        Some(rows.rows().into_iter().map(|s| of([f64::from(s[0]), f64::from(s[1])])).collect())
    }
}

/// The spiral without noise at evenly spaced `u`, in the middle of each of the grid's cells.
fn spiral() -> Vec<[f64; 2]> {
    let at = |index: usize| {
        let u = (index as f64 + 0.5) / GRID as f64;
        let (sin, cos) = (2.0 * PI * u).sin_cos();
        let radius = (2.0 * u + 1.0) / 3.0;
        [radius * sin, radius * cos]
    };
    (0..GRID).map(at).collect()
}

/// The middle of the values, the mean of the two in the middle for an even number; NaN for none.
pub(in crate::walkback) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// Means, and the covariance as `[xx, xy, yy]` (divided by n).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::walkback) struct Spread {
    pub(in crate::walkback) mean: [f64; 2],
    pub(in crate::walkback) covariance: [f64; 3],
}

impl Spread {
    /// Of rows `(n, 2)`.
    pub(in crate::walkback) fn of(rows: ArrayView2<'_, f32>) -> Self {
        let rows = rows.mapv(f64::from);
        let mean = rows.mean_axis(Axis(0)).map_or([f64::NAN; 2], |m| [m[0], m[1]]);
        let moment = |a: usize, b: usize| {
            let products = rows.rows().into_iter().map(|s| (s[a] - mean[a]) * (s[b] - mean[b]));
            products.sum::<f64>() / rows.nrows() as f64
        };
        Self { mean, covariance: [moment(0, 0), moment(0, 1), moment(1, 1)] }
    }

    /// The smaller and the larger variance along the principal axes.
    pub(in crate::walkback) fn principal(&self) -> [f64; 2] {
        let [a, b, c] = self.covariance;
        let (middle, half) = (f64::midpoint(a, c), (0.5 * (a - c)).hypot(b));
        [middle - half, middle + half]
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[track_caller]
    fn close(got: f64, expected: f64, tolerance: f64) {
        assert!((got - expected).abs() < tolerance, "{got} instead of {expected}");
    }

    #[test]
    fn distances_to_the_circle_are_those_of_the_radius() {
        let found =
            Curve::Circle.distances(array![[0.0, 0.0], [3.0, 4.0], [0.0, -0.75]].view()).unwrap();
        for (got, expected) in found.into_iter().zip([1.0, 4.0, 0.25]) {
            close(got, expected, 1e-12);
        }
    }

    #[test]
    fn distances_to_the_spiral_are_those_of_its_points_and_ends() {
        // u = 1/4 is (1/2, 0), u = 1/2 is (0, -2/3); beyond the ends the nearest point is the end:
        // (0, 1/3) seen from the origin side, (0, 1) from above.
        let rows = array![[0.5, 0.0], [0.0, -0.666_666_7], [0.0, 1.3]];
        let found = Curve::Spiral.distances(rows.view()).unwrap();
        for (got, expected) in found.into_iter().zip([0.0, 0.0, 0.3]) {
            close(got, expected, 2e-3);
        }
        // The curve's direction at u = 1/4 is (radius', -2 pi radius) = (2/3, -pi); a step of 0.1
        // along its normal (pi, 2/3) / |..| stays as far from the curve, up to its curvature.
        let norm = PI.hypot(2.0 / 3.0);
        let off = array![[(0.5 + 0.05 * PI / norm) as f32, (0.05 * 2.0 / 3.0 / norm) as f32]];
        close(Curve::Spiral.distances(off.view()).unwrap()[0], 0.05, 1e-3);
    }

    #[test]
    fn the_density_of_the_spiral_integrates_to_one_and_is_a_gaussian_across_it() {
        // Midpoints of cells of side 0.02 on [-1.2, 1.2]^2: twice the noise, which still sums a
        // Gaussian within one per cent.
        let side = 120;
        let at = |k: usize| (-1.2 + 0.02 * (k as f64 + 0.5)) as f32;
        let cells = Array2::from_shape_fn((side * side, 2), |(row, axis)| {
            at(if axis == 0 { row / side } else { row % side })
        });
        let total: f64 = Curve::Spiral
            .log_density(cells.view())
            .unwrap()
            .into_iter()
            .map(|log| log.exp() * 0.02 * 0.02)
            .sum();
        close(total, 1.0, 0.02);
        // At u = 1/4 the density across the curve is N(0; 0, 0.01^2) / |c'(u)|, up to curvature.
        let expected = (1.0 / (0.01 * (2.0 * PI).sqrt() * PI.hypot(2.0 / 3.0))).ln();
        let got = Curve::Spiral.log_density(array![[0.5, 0.0]].view()).unwrap()[0];
        close(got, expected, 2e-3);
        assert_eq!(Curve::Circle.log_density(array![[0.5, 0.0]].view()), None);
    }

    #[test]
    fn the_median_is_the_middle() {
        close(median(&[3.0, 1.0, 2.0]), 2.0, 1e-15);
        close(median(&[4.0, 1.0, 2.0, 3.0]), 2.5, 1e-15);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_spread_is_that_of_hand_made_points() {
        let found = Spread::of(array![[0.0, 0.0], [2.0, 0.0], [2.0, 4.0], [0.0, 4.0]].view());
        let numbers = found.mean.into_iter().chain(found.covariance);
        for (got, expected) in numbers.zip([1.0, 2.0, 1.0, 0.0, 4.0]) {
            close(got, expected, 1e-12);
        }
        let [smaller, larger] = found.principal();
        close(smaller, 1.0, 1e-12);
        close(larger, 4.0, 1e-12);
        // On the line y = x.
        let line = Spread::of(array![[-1.0, -1.0], [1.0, 1.0]].view());
        line.covariance.into_iter().for_each(|value| close(value, 1.0, 1e-12));
        let [smaller, larger] = line.principal();
        close(smaller, 0.0, 1e-12);
        close(larger, 2.0, 1e-12);
    }
}
