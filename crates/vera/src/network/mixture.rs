//! A mixture of diagonal Gaussians with its exact log density.

use std::f64::consts::PI;

use candle_core::{D, Tensor};
use candle_nn::{Init, VarBuilder};
use chains_core::{Result, tangent::Signal};

use super::EnergyNetwork;

/// `log p(x) = ln sum_j softmax(logits)_j N(x; mu_j, diag exp(logstd_j)^2)`, normalised (the energy of
/// Table 10, with 100 components).
#[derive(Clone, Debug)]
pub struct MixtureEnergy {
    mean: Tensor,
    log_deviation: Tensor,
    logits: Tensor,
}

impl MixtureEnergy {
    /// Asks `vb` for `mu`, `(components, dim)`, begun as standard normals, `logstd` of the same shape
    /// and `logits`, `(components,)`, begun at zero.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(dim: usize, components: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let (normal, zero) = (Init::Randn { mean: 0.0, stdev: 1.0 }, Init::Const(0.0));
        let shape = (components, dim);
        Ok(Self {
            mean: vb.get_with_hints(shape, "mu", normal)?,
            log_deviation: vb.get_with_hints(shape, "logstd", zero)?,
            logits: vb.get_with_hints(components, "logits", zero)?,
        })
    }
}

impl EnergyNetwork for MixtureEnergy {
    fn logits<S: Signal>(&self, x: &S, _masks: &[Tensor]) -> Result<S> {
        let dim = self.mean.dim(1)?;
        // ln w_j - sum_d ln s_jd - (D / 2) ln 2 pi.
        let weights = self.logits.broadcast_sub(&self.logits.log_sum_exp(D::Minus1)?)?;
        let constant = (weights - self.log_deviation.sum(1)?)?;
        let constant = constant.affine(1.0, -0.5 * dim as f64 * (2.0 * PI).ln())?;
        let root = self.log_deviation.neg()?.exp()?;
        x.gaussian_mixture([&self.mean, &root, &constant])?.reshape_event(&[1])
    }

    fn is_normalised(&self) -> bool {
        true
    }
}
