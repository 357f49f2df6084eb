//! Mixtures of Gaussians in the plane.

use std::f64::consts::PI;

use candle_core::Tensor;
use chains_core::{
    Noise, Result,
    density::{LogDensity, Sample},
};

use super::{constants, coordinates, log_sum_exp, normals, points, uniforms};
use crate::error::Error;

/// One Gaussian of a mixture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Component {
    /// Weight before normalisation.
    pub weight: f64,
    /// Mean.
    pub mean: [f64; 2],
    /// Covariance, symmetric and positive definite.
    pub covariance: [[f64; 2]; 2],
}

/// A mixture of Gaussians, `log_prob` normalised, `(b, 2)` to `(b,)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussians {
    components: Vec<Component>,
    /// Lower Cholesky factors of the covariances: `[l00, l10, l11]`.
    factors: Vec<[f64; 3]>,
}

impl Gaussians {
    /// Any mixture; weights are normalised.
    ///
    /// # Errors
    /// If there is no component, a weight is not positive, or a covariance is not symmetric and
    /// positive definite.
    pub fn new(mut components: Vec<Component>) -> crate::Result<Self> {
        let sum: f64 = components.iter().map(|c| c.weight).sum();
        if !(sum.is_finite() && components.iter().all(|c| c.weight > 0.0)) || sum <= 0.0 {
            let reason = "there must be one at least, all weights positive";
            return Err(Error::argument("mixture components", reason));
        }
        let mut factors = Vec::with_capacity(components.len());
        for component in &mut components {
            component.weight /= sum;
            let [[a, b], [c, d]] = component.covariance;
            let l00 = a.sqrt();
            let l10 = b / l00;
            let l11 = (d - l10 * l10).sqrt();
            let symmetric = (b - c).abs() <= 1e-12 * (b.abs() + c.abs());
            if !(symmetric && l00 > 0.0 && l11 > 0.0 && (l00 * l11).is_finite()) {
                let reason =
                    format!("{:?} is not symmetric positive definite", component.covariance);
                return Err(Error::argument("mixture covariance", reason));
            }
            factors.push([l00, l10, l11]);
        }
        Ok(Self { components, factors })
    }

    /// Equal weights, equal round Gaussians of standard deviation `sigma`.
    ///
    /// # Errors
    /// If there is no mean or `sigma` is not positive.
    pub fn round(means: &[[f64; 2]], sigma: f64) -> crate::Result<Self> {
        if means.is_empty() || !(sigma.is_finite() && sigma > 0.0) {
            let reason = format!("{} means, sigma {sigma}; both must be positive", means.len());
            return Err(Error::argument("mixture", reason));
        }
        Ok(Self::even(means, sigma))
    }

    /// Centres on a `k` by `k` grid about the origin, the second coordinate varying fastest.
    ///
    /// # Errors
    /// If `k` is zero or `sigma` is not positive.
    pub fn grid(k: usize, spacing: f64, sigma: f64) -> crate::Result<Self> {
        Self::round(&grid(k, spacing), sigma)
    }

    /// Centres evenly on a circle, the first on the positive first axis.
    ///
    /// # Errors
    /// If `k` is zero or `sigma` is not positive.
    pub fn circle(k: usize, radius: f64, sigma: f64) -> crate::Result<Self> {
        Self::round(&circle(k, radius), sigma)
    }

    /// Nine centres `{-1, 0, 1}^2`, sigma 0.05: the mixture of Variational Walkback (supplement,
    /// section 9; constants from its code).
    pub fn nine() -> Self {
        Self::even(&grid(3, 1.0), 0.05)
    }

    /// 25 centres `{-2, .., 2}^2` as in the VAEBM paper. Spacing and sigma are not printed there; sigma
    /// 0.0839 follows from the printed mean log-likelihood of the truth, -1.10.
    pub fn twenty_five() -> Self {
        Self::even(&grid(5, 1.0), 0.0839)
    }

    /// Eight centres on a circle, radius 4, sigma 0.5, all divided by 1.414: VERA's `8gaussians`.
    pub fn eight() -> Self {
        Self::even(&circle(8, 4.0 / 1.414), 0.5 / 1.414)
    }

    /// As [`Gaussians::round`] with arguments known to be right.
    fn even(means: &[[f64; 2]], sigma: f64) -> Self {
        let weight = 1.0 / means.len() as f64;
        let covariance = [[sigma * sigma, 0.0], [0.0, sigma * sigma]];
        let component = |&mean: &[f64; 2]| Component { weight, mean, covariance };
        Self {
            components: means.iter().map(component).collect(),
            factors: vec![[sigma, 0.0, sigma]; means.len()],
        }
    }

    /// The Gaussians, weights adding up to one.
    pub fn components(&self) -> &[Component] {
        &self.components
    }
}

fn grid(k: usize, spacing: f64) -> Vec<[f64; 2]> {
    let at = |i: usize| spacing * (i as f64 - 0.5 * (k as f64 - 1.0));
    (0..k * k).map(|i| [at(i / k), at(i % k)]).collect()
}

fn circle(k: usize, radius: f64) -> Vec<[f64; 2]> {
    let angle = |i: usize| 2.0 * PI * i as f64 / k as f64;
    (0..k).map(|i| [radius * angle(i).cos(), radius * angle(i).sin()]).collect()
}

impl LogDensity for Gaussians {
    fn log_prob(&self, x: &Tensor) -> Result<Tensor> {
        let (x0, x1) = coordinates(x)?;
        let row = |f: &dyn Fn(&Component, &[f64; 3]) -> f64| {
            constants(self.components.iter().zip(&self.factors).map(|(c, l)| f(c, l)), x)
        };
        // Whitened coordinates u = L^-1 (x - mean), each (b, k).
        let u0 =
            x0.broadcast_sub(&row(&|c, _| c.mean[0])?)?.broadcast_mul(&row(&|_, l| 1.0 / l[0])?)?;
        let u1 = x1
            .broadcast_sub(&row(&|c, _| c.mean[1])?)?
            .broadcast_sub(&u0.broadcast_mul(&row(&|_, l| l[1])?)?)?
            .broadcast_mul(&row(&|_, l| 1.0 / l[2])?)?;
        let log_weight = row(&|c, l| (c.weight / (2.0 * PI * l[0] * l[2])).ln())?;
        let square = (u0.sqr()? + u1.sqr()?)?;
        log_sum_exp(&(square * -0.5)?.broadcast_add(&log_weight)?)
    }
}

impl Sample for Gaussians {
    fn sample(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let mut ends: Vec<f64> = self
            .components
            .iter()
            .scan(0.0, |sum, component| {
                *sum += component.weight;
                Some(*sum)
            })
            .collect();
        // Rounding must not leave a gap below one.
        ends.pop();
        let (choice, normals) = (uniforms(n, noise)?, normals(n, noise)?);
        points(choice.iter().zip(&normals).map(|(u, z)| {
            let index = ends.partition_point(|end| end <= u);
            let (mean, l) = (self.components[index].mean, self.factors[index]);
            [mean[0] + l[0] * z[0], mean[1] + l[1] * z[0] + l[2] * z[1]]
        }))
    }
}
