//! Layers with parameters, and the changes of resolution.

use candle_core::{D, Tensor};

use super::{Dual, Signal};
use crate::{
    error::Result,
    ops::{self, BatchMoments, NormActivation, NormOptions},
};

impl Dual {
    /// [`ops::normalise`]; with the batch's moments the direction moves them too.
    ///
    /// # Shapes
    /// `(g, b, c, ..space)`; `gain`, `shift`: `(g, c)`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the operands do not fit.
    pub fn normalise(
        &self,
        moments: &BatchMoments,
        [gain, shift]: [&Tensor; 2],
        eps: f64,
        options: NormOptions,
    ) -> Result<Self> {
        let plain = NormOptions { activation: NormActivation::None, ..options };
        let value = ops::normalise(&self.value, moments, [gain, shift], eps, plain)?;
        let dims = self.value.dims();
        let (g, b, c) = (dims[0], dims[1], dims[2]);
        let flat = |t: &Tensor| t.reshape((g, b, c, ()));
        let wide = |t: &Tensor| t.reshape((g, 1, c, 1));
        let (x, direction) = (flat(&self.value)?, flat(&self.tangent)?);
        let derivative = if options.batch {
            standardised(&x, &direction, &[1, 3], eps)?
        } else {
            let deviation = (wide(&moments.variance.detach())? + eps)?.sqrt()?;
            direction.broadcast_div(&deviation)?
        };
        let tangent = derivative.broadcast_mul(&wide(gain)?)?.reshape(dims)?;
        let this = Self::new(value, tangent)?;
        match options.activation {
            NormActivation::None => Ok(this),
            NormActivation::Relu => this.relu(),
            NormActivation::LeakyRelu(slope) => this.leaky_relu(slope.into()),
            NormActivation::Swish => this.silu(),
        }
    }

    /// [`ops::layer_norm`].
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if the operands do not fit.
    pub fn layer_norm(
        &self,
        gain: Option<&Tensor>,
        shift: Option<&Tensor>,
        eps: f64,
    ) -> Result<Self> {
        let value = ops::layer_norm(&self.value, gain, shift, eps)?;
        let last = self.value.rank() - 1;
        let mut tangent = standardised(&self.value, &self.tangent, &[last], eps)?;
        if let Some(gain) = gain {
            tangent = tangent.broadcast_mul(gain)?;
        }
        Self::new(value, tangent)
    }

    /// [`ops::max_pool2`] of values without NaN; the tangent is that of the first of equal maxima.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for another rank or if the result would be empty.
    pub fn max_pool2(&self) -> Result<Self> {
        let value = ops::max_pool2(&self.value)?;
        let (b, c, h, w) = value.dims4()?;
        // The four pixels of a square side by side, row by row.
        let squares = |t: &Tensor| -> Result<Tensor> {
            let even = t.narrow(2, 0, 2 * h)?.narrow(3, 0, 2 * w)?;
            let split = even.reshape((b, c, h, 2, w, 2))?.transpose(3, 4)?;
            Ok(split.contiguous()?.reshape((b, c, h, w, 4))?)
        };
        let first = squares(&self.value.detach())?.argmax_keepdim(D::Minus1)?;
        let tangent = squares(&self.tangent)?.gather(&first, D::Minus1)?.squeeze(D::Minus1)?;
        Self::new(value, tangent)
    }
}

/// The derivative of `(x - mean) / sqrt(variance + eps)` along `direction`, the moments being those
/// over `axes`: `(d - mean(d) - n mean(n d)) / sqrt(variance + eps)` with `n` the standardised `x`.
fn standardised(x: &Tensor, direction: &Tensor, axes: &[usize], eps: f64) -> Result<Tensor> {
    let mean = |t: &Tensor| t.mean_keepdim(axes);
    let centred = x.broadcast_sub(&mean(x)?)?;
    let deviation = (mean(&centred.sqr()?)? + eps)?.sqrt()?;
    let n = centred.broadcast_div(&deviation)?;
    let along = mean(&n.mul(direction)?)?;
    let inner = direction.broadcast_sub(&mean(direction)?)?.sub(&n.broadcast_mul(&along)?)?;
    Ok(inner.broadcast_div(&deviation)?)
}
