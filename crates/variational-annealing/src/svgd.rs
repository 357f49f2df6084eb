//! Stein variational gradient descent (Liu and Wang, NeurIPS 2016), a baseline.

use candle_core::Tensor;
use chains_core::{Error, Result, density::Energy, host};
use serde::{Deserialize, Serialize};

/// Step size and decay of [`Svgd`], those of the authors' public code.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SvgdConfig {
    /// The step size, 0.05.
    pub step_size: f64,
    /// Decay of the average of squares, 0.9.
    pub decay: f64,
    /// Added to the root of that average, 1e-6.
    pub eps: f64,
}

impl SvgdConfig {
    /// 0.05, 0.9, 1e-6.
    pub const fn published() -> Self {
        Self { step_size: 0.05, decay: 0.9, eps: 1e-6 }
    }
}

/// Particles that follow the steepest descent of the divergence from `exp(-energy)` in the unit ball of
/// a kernel's function space:
///
/// `phi_i = (1/n) sum_j [k(x_j, x_i) grad log u(x_j) + grad_(x_j) k(x_j, x_i)]`, with `k = exp(-|x - y|^2 /
/// (2 h^2))` and `h^2 = median of the squared distances / (2 log(n + 1))`, the zeros of the diagonal
/// among them as in the authors' code. Steps are those of AdaGrad with a decaying average: `g = phi^2` at
/// first and `g <- 0.9 g + 0.1 phi^2` later, `x <- x + step phi / (eps + sqrt g)`.
#[derive(Clone, Debug)]
pub struct Svgd {
    config: SvgdConfig,
    particles: Tensor,
    squares: Option<Tensor>,
}

impl Svgd {
    /// Particles `(n, d)` before their first step.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are particles.
    pub fn new(config: SvgdConfig, particles: &Tensor) -> Result<Self> {
        if particles.rank() != 2 || particles.elem_count() == 0 {
            let (expected, got) = ("(n, d)".into(), particles.dims().to_vec());
            return Err(Error::Shape { what: "particles", expected, got });
        }
        Ok(Self { config, particles: particles.detach(), squares: None })
    }

    /// Where the particles are, `(n, d)`.
    pub fn particles(&self) -> &Tensor {
        &self.particles
    }

    /// One step.
    ///
    /// # Errors
    /// Of the energy.
    pub fn step(&mut self, energy: &impl Energy) -> Result<()> {
        let SvgdConfig { step_size, decay, eps } = self.config;
        let phi = stein_direction(&self.particles, energy)?;
        let square = phi.sqr()?;
        let squares = match &self.squares {
            None => square,
            Some(before) => ((before * decay)? + (square * (1.0 - decay))?)?,
        };
        let step = phi.div(&(squares.sqrt()? + eps)?)?;
        self.particles = (&self.particles + (step * step_size)?)?.detach();
        self.squares = Some(squares.detach());
        Ok(())
    }
}

/// `phi` of every particle, `(n, d)`; see [`Svgd`].
///
/// One particle climbs the log density: its kernel is 1 and has no gradient.
///
/// # Errors
/// Of the energy.
pub fn stein_direction(particles: &Tensor, energy: &impl Energy) -> Result<Tensor> {
    let x = particles.detach();
    let n = x.dim(0)?;
    let score = energy.energy_and_grad(&x)?.1.neg()?;
    let square = x.sqr()?.sum_keepdim(1)?;
    let cross = x.matmul(&x.t()?)?;
    let distances = square.broadcast_add(&square.t()?)?.sub(&(cross * 2.0)?)?;
    // Rounding leaves small numbers of either sign on the diagonal.
    let distances = distances.maximum(0.0)?;
    let h2 = bandwidth(&distances, n)?;
    let kernel = (distances * (-0.5 / h2))?.exp()?;
    let drive = kernel.matmul(&score)?;
    let spread = (x.broadcast_mul(&kernel.sum_keepdim(1)?)? - kernel.matmul(&x)?)?;
    Ok(((drive + (spread / h2)?)? / n as f64)?)
}

/// `h^2`; 1 for a single particle, whose distances have no scale.
fn bandwidth(distances: &Tensor, n: usize) -> Result<f64> {
    if n == 1 {
        return Ok(1.0);
    }
    let mut values = host::values(distances)?;
    let half = values.len() / 2;
    let (below, upper, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    let upper = *upper;
    let median = if (n * n).is_multiple_of(2) {
        f64::midpoint(upper, below.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    } else {
        upper
    };
    Ok((0.5 * median / ((n + 1) as f64).ln()).max(1e-12))
}

#[cfg(test)]
mod tests;
