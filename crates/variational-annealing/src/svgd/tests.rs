//! Particles on Gaussians, of which everything is known.

use candle_core::{DType, Device};
use chains_core::{Noise, Seed};

use super::*;

/// `N(mean, diag(variance))` in the plane.
struct Gaussian([f64; 2], [f64; 2]);

impl Energy for Gaussian {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let row = |v: [f64; 2]| Tensor::new(&[v], &Device::Cpu);
        let square = x.broadcast_sub(&row(self.0)?)?.sqr()?;
        Ok((square.broadcast_div(&row(self.1)?)?.sum(1)? * 0.5)?)
    }
}

fn begin(n: usize) -> Tensor {
    let mut noise = Seed::new(0).child("particles").host_noise();
    noise.normal(&(n, 2).into(), DType::F64, &Device::Cpu).unwrap()
}

#[test]
fn one_particle_climbs_to_the_mode() {
    let mut svgd = Svgd::new(SvgdConfig::published(), &begin(1)).unwrap();
    let target = Gaussian([1.0, -2.0], [2.0, 0.5]);
    for _ in 0..2000 {
        svgd.step(&target).unwrap();
    }
    let x = svgd.particles().to_vec2::<f64>().unwrap();
    assert!((x[0][0] - 1.0).abs() < 0.05 && (x[0][1] + 2.0).abs() < 0.05, "{x:?}");
    let phi = stein_direction(&begin(1), &target).unwrap();
    let score = target.energy_and_grad(&begin(1)).unwrap().1.neg().unwrap();
    let difference = (phi - score).unwrap().abs().unwrap().sum_all().unwrap();
    assert!(difference.to_scalar::<f64>().unwrap() < 1e-12);
}

/// `N(2, 0.25)` on the line.
struct Normal;

impl Energy for Normal {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        Ok(((x - 2.0)?.sqr()?.sum(1)? * 2.0)?)
    }
}

#[test]
fn a_hundred_particles_have_the_moments_of_a_gaussian() {
    let start = begin(50).reshape((100, 1)).unwrap();
    let mut svgd = Svgd::new(SvgdConfig::published(), &start).unwrap();
    for _ in 0..2000 {
        svgd.step(&Normal).unwrap();
    }
    let x = svgd.particles().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let mean = x.iter().sum::<f64>() / 100.0;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 100.0;
    assert!((mean / 2.0 - 1.0).abs() < 0.05, "mean {mean}");
    assert!((variance / 0.25 - 1.0).abs() < 0.05, "variance {variance}");
}

#[test]
fn the_direction_is_the_sum_of_its_definition() {
    let (x, target) = (begin(5), Gaussian([0.0, 0.5], [1.0, 2.0]));
    let points = x.to_vec2::<f64>().unwrap();
    let score = target.energy_and_grad(&x).unwrap().1.neg().unwrap().to_vec2::<f64>().unwrap();
    let distance = |i: usize, j: usize| -> f64 {
        points[i].iter().zip(&points[j]).map(|(a, b)| (a - b).powi(2)).sum()
    };
    let mut all: Vec<f64> = (0..25).map(|k| distance(k / 5, k % 5)).collect();
    all.sort_by(f64::total_cmp);
    let h2 = 0.5 * all[12] / 6_f64.ln();
    let got = stein_direction(&x, &target).unwrap().to_vec2::<f64>().unwrap();
    for i in 0..5 {
        for c in 0..2 {
            let term = |j: usize| {
                let k = (-0.5 * distance(j, i) / h2).exp();
                // The gradient of the kernel in its first argument, x_j.
                k * score[j][c] - k * (points[j][c] - points[i][c]) / h2
            };
            let want = (0..5).map(term).sum::<f64>() / 5.0;
            assert!((got[i][c] - want).abs() < 1e-12, "{i} {c}");
        }
    }
}
