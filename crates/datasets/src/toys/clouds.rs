//! Point clouds without a closed density.

use std::f64::consts::PI;

use candle_core::Tensor;
use chains_core::{Noise, Result, density::Sample};

use super::{normals, points, uniforms};

/// Clouds of independent points; constants are those of the paper named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// `(2 u + 1) / 3 (sin 2 pi u, cos 2 pi u)` with `u` uniform, noise 0.01: the swiss roll or
    /// spiral of Variational Walkback.
    Spiral,
    /// `(sin 2 pi u, cos 2 pi u)`, no noise: the circle of Variational Walkback.
    Circle,
    /// `t (cos t, sin t)` with `t = 1.5 pi (1 + 2 u)`, noise 1, all divided by 5: VERA's `swissroll`.
    SwissRoll,
    /// Two arms `+-(-t cos t + u' / 2, t sin t + u'' / 2)` with `t = 3 pi sqrt(u)`, divided by 3,
    /// noise 0.1: VERA's `2spirals`.
    TwoSpirals,
    /// Half circles `(cos t, sin t)` and `(1 - cos t, 0.5 - sin t)`, noise 0.1, then doubled and moved
    /// by `(-1, -0.2)`: VERA's `moons`. Points are independent, where VERA spaces `t` evenly.
    Moons,
    /// Five arms: `(1 + 0.3 z, 0.1 z')` turned clockwise by the arm's angle plus `exp(1 + 0.3 z) / 4`, times 2:
    /// VERA's `pinwheel`.
    Pinwheel,
    /// Uniform on the dark squares of side 2 in `[-4, 4]^2`: VERA's `checkerboard`.
    Checkerboard,
}

impl Sample for Cloud {
    fn sample(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let u: Vec<[f64; 3]> =
            uniforms(3 * n, noise)?.chunks_exact(3).map(|u| [u[0], u[1], u[2]]).collect();
        let z = normals(n, noise)?;
        points(u.into_iter().zip(z).map(|(u, z)| self.point(u, z)))
    }
}

impl Cloud {
    /// One point from three uniform and two normal numbers.
    fn point(self, u: [f64; 3], z: [f64; 2]) -> [f64; 2] {
        let blur = |x: [f64; 2], sigma: f64| [x[0] + sigma * z[0], x[1] + sigma * z[1]];
        match self {
            Self::Spiral => {
                let (sin, cos) = (2.0 * PI * u[0]).sin_cos();
                let radius = (2.0 * u[0] + 1.0) / 3.0;
                blur([radius * sin, radius * cos], 0.01)
            }
            Self::Circle => {
                let (sin, cos) = (2.0 * PI * u[0]).sin_cos();
                [sin, cos]
            }
            Self::SwissRoll => {
                let t = 1.5 * PI * (1.0 + 2.0 * u[0]);
                blur([t * t.cos(), t * t.sin()], 1.0).map(|v| v / 5.0)
            }
            Self::TwoSpirals => two_spirals(u, z),
            Self::Moons => {
                let outer = u[1] < 0.5;
                let (sin, cos) = (PI * u[0]).sin_cos();
                let moon = if outer { [cos, sin] } else { [1.0 - cos, 0.5 - sin] };
                let [x0, x1] = blur(moon, 0.1);
                [2.0 * x0 - 1.0, 2.0 * x1 - 0.2]
            }
            Self::Pinwheel => {
                let (x0, x1) = (1.0 + 0.3 * z[0], 0.1 * z[1]);
                let arm = (5.0 * u[0]).floor();
                let (sin, cos) = (2.0 * PI * arm / 5.0 + 0.25 * x0.exp()).sin_cos();
                [2.0 * (x0 * cos + x1 * sin), 2.0 * (x1 * cos - x0 * sin)]
            }
            Self::Checkerboard => {
                let x0 = 4.0 * u[0] - 2.0;
                let lower = if u[2] < 0.5 { 2.0 } else { 0.0 };
                let x1 = u[1] - lower + x0.floor().rem_euclid(2.0);
                [2.0 * x0, 2.0 * x1]
            }
        }
    }
}

fn two_spirals(u: [f64; 3], z: [f64; 2]) -> [f64; 2] {
    // One uniform number chooses the arm by its first bit and the place on it by the others.
    let arm = if u[0] < 0.5 { 1.0 } else { -1.0 };
    let t = 3.0 * PI * (2.0 * u[0]).fract().sqrt();
    let x = [0.5 * u[1] - t * t.cos(), 0.5 * u[2] + t * t.sin()];
    [arm * x[0] / 3.0 + 0.1 * z[0], arm * x[1] / 3.0 + 0.1 * z[1]]
}

#[cfg(test)]
mod tests {
    use chains_core::Seed;

    use super::*;

    /// Sample means of the coordinates and of their squares, each with its standard error.
    fn moments(cloud: Cloud, seed: u64) -> [(f64, f64); 4] {
        let n = 20_000;
        let x = cloud.sample(n, &mut Seed::new(seed).host_noise()).unwrap();
        let x = x.to_vec2::<f32>().unwrap();
        std::array::from_fn(|k| {
            let value = |row: &Vec<f32>| f64::from(row[k % 2]).powi(1 + k as i32 / 2);
            let mean = x.iter().map(value).sum::<f64>() / n as f64;
            let spread = x.iter().map(|row| (value(row) - mean).powi(2)).sum::<f64>();
            (mean, spread.sqrt() / n as f64)
        })
    }

    #[track_caller]
    fn check(cloud: Cloud, truth: [f64; 4]) {
        for seed in 0..3 {
            for ((mean, error), truth) in moments(cloud, seed).into_iter().zip(truth) {
                assert!((mean - truth).abs() < 5.0 * error, "{cloud:?} {mean} {truth} {error}");
            }
        }
    }

    #[test]
    fn moons_and_checkerboard_have_the_moments_of_their_formulas() {
        // E sin t = 2 / pi, E sin^2 t = 1/2 on a half circle.
        check(Cloud::Moons, [0.0, 0.3, 3.04, 2.38 - 4.0 / PI]);
        check(Cloud::Checkerboard, [0.0, 0.0, 16.0 / 3.0, 16.0 / 3.0]);
        check(Cloud::Circle, [0.0, 0.0, 0.5, 0.5]);
    }

    #[test]
    fn second_moments_of_the_curves_are_those_of_their_formulas() {
        let turns = 9.0 * PI * PI;
        for (cloud, truth) in [
            (Cloud::Spiral, 13.0 / 27.0 + 2e-4),
            (Cloud::SwissRoll, (2.25 * PI * PI * 13.0 / 3.0 + 2.0) / 25.0),
            (
                Cloud::TwoSpirals,
                (turns / 2.0 + 1.0 / 6.0 + (turns - 4.0 + 6.0 * PI) / turns) / 9.0 + 0.02,
            ),
            (Cloud::Pinwheel, 4.0 * (1.0 + 0.09 + 0.01)),
        ] {
            for seed in 0..3 {
                let [_, _, a, b] = moments(cloud, seed);
                let error = a.1 + b.1;
                assert!((a.0 + b.0 - truth).abs() < 5.0 * error, "{cloud:?} {a:?} {b:?} {truth}");
            }
        }
    }

    #[test]
    fn single_points_follow_the_formulas() {
        let close = |got: [f64; 2], expected: [f64; 2]| {
            let distance = (got[0] - expected[0]).hypot(got[1] - expected[1]);
            assert!(distance < 1e-6, "{got:?} {expected:?}");
        };
        // A quarter of the way: angle pi / 2, radius 1/2.
        close(Cloud::Spiral.point([0.25, 0.0, 0.0], [1.0, -1.0]), [0.51, -0.01]);
        close(Cloud::Circle.point([0.25, 0.0, 0.0], [1.0, 1.0]), [1.0, 0.0]);
        // t = 3 pi: (-3 pi, 0) / 5.
        close(Cloud::SwissRoll.point([0.5, 0.0, 0.0], [0.0, 1.0]), [-1.884_955_6, 0.2]);
        close(Cloud::Moons.point([0.5, 0.0, 0.0], [0.0, 1.0]), [-1.0, 2.0]);
        close(Cloud::Moons.point([0.5, 0.9, 0.0], [0.0, 0.0]), [1.0, -1.2]);
        // First arm: turned clockwise by e / 4.
        close(Cloud::Pinwheel.point([0.0; 3], [0.0; 2]), [1.555_685_5, -1.256_917_9]);
        // Third arm of VERA's formula in numpy, radial noise 1, tangential noise 2.
        close(Cloud::Pinwheel.point([0.5, 0.0, 0.0], [1.0, 2.0]), [-2.606_171_8, 0.357_586_9]);
        // t = 3 pi / 2: t cos t = 0, t sin t = -t.
        close(Cloud::TwoSpirals.point([0.125, 0.0, 0.0], [0.0; 2]), [0.0, -PI / 2.0]);
        close(Cloud::TwoSpirals.point([0.625, 0.0, 0.0], [0.0; 2]), [0.0, PI / 2.0]);
        // Column -2 is even, its lower square begins at -2 before doubling.
        close(Cloud::Checkerboard.point([0.1, 0.5, 0.1], [0.0; 2]), [-3.2, -3.0]);
        close(Cloud::Checkerboard.point([0.3, 0.5, 0.9], [0.0; 2]), [-1.6, 3.0]);
    }
}
