//! A Gaussian without its normaliser, of which everything is known.

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};
use chains_core::{Result, tangent::Signal};

use super::EnergyNetwork;

/// `f(x) = -0.5 sum_i exp(log_precision_i) (x_i - mean_i)^2`.
///
/// Its log partition is `(D / 2) ln 2 pi - 0.5 sum log_precision`; the equilibrium of the whole game
/// with a linear generator has a closed form.
#[derive(Clone, Debug)]
pub struct GaussianEnergy {
    mean: Tensor,
    log_precision: Tensor,
}

impl GaussianEnergy {
    /// Asks `vb` for `mean` and `log_precision`, `(dim,)`, begun at zero.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(dim: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let get = |name| vb.get_with_hints(dim, name, Init::Const(0.0));
        Ok(Self { mean: get("mean")?, log_precision: get("log_precision")? })
    }
}

impl EnergyNetwork for GaussianEnergy {
    fn logits<S: Signal>(&self, x: &S, _masks: &[Tensor]) -> Result<S> {
        let square = x.shifted(&self.mean.neg()?)?.square()?;
        let weighed = square.scaled(&self.log_precision.exp()?)?.sum_last()?.affine(-0.5, 0.0)?;
        weighed.reshape_event(&[1])
    }
}
