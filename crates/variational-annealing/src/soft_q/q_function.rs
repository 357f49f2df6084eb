//! The Q function.

use candle_core::Tensor;
use candle_nn::VarBuilder;
use chains_core::Result;

use super::{ACTIONS, OBSERVED};
use crate::mlp::Mlp;

/// Every row `n` times in a row: `(b, d)` -> `(b n, d)`.
pub(super) fn repeated(x: &Tensor, n: usize) -> Result<Tensor> {
    let (b, d) = x.dims2()?;
    Ok(x.detach().unsqueeze(1)?.broadcast_as((b, n, d))?.reshape((b * n, d))?)
}

/// `Q(s, a)`: dense layers on state and action side by side, ReLUs, one number.
///
/// Two hidden layers of 128 in the paper; initial weights are Glorot uniform, which is ours.
#[derive(Clone, Debug)]
pub struct QNetwork {
    layers: Mlp,
}

impl QNetwork {
    /// Asks `vb` for `layers.<i>.weight` and `.bias`.
    ///
    /// # Errors
    /// If the builder holds tensors of other shapes.
    pub fn new(hidden: &[usize], vb: VarBuilder<'_>) -> Result<Self> {
        let widths = [&[OBSERVED + ACTIONS], hidden, &[1]].concat();
        Ok(Self { layers: Mlp::new(&widths, 0.0, &vb)? })
    }

    /// The value of each pair, `(n, 13)` and `(n, 2)` -> `(n,)`.
    ///
    /// # Errors
    /// For other shapes.
    pub fn forward(&self, states: &Tensor, actions: &Tensor) -> Result<Tensor> {
        Ok(self.layers.of_pair(states, actions)?.squeeze(1)?)
    }

    /// The values of `J` actions in each state, `(b, 13)` and `(b J, 2)`, those of a state one after
    /// the other -> `(b, J)`.
    ///
    /// # Errors
    /// For other shapes.
    pub fn of_particles(&self, states: &Tensor, actions: &Tensor) -> Result<Tensor> {
        let b = states.dim(0)?;
        let particles = actions.dim(0)? / b.max(1);
        let values = self.forward(&repeated(states, particles)?, actions)?;
        Ok(values.reshape((b, particles))?)
    }
}
