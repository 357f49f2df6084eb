//! Boxes.

use candle_core::{DType, Tensor};

use super::{repeat, same_shape, sum_event};
use crate::{
    density::{LogDensity, Sample},
    error::{Error, Result},
    noise::Noise,
};

/// The uniform law on the box `[low, high)`, one for every row.
#[derive(Clone, Debug)]
pub struct Uniform {
    low: Tensor,
    width: Tensor,
}

impl Uniform {
    /// Corners, both `(b, ..event)`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes differ; [`Error::Config`] if a side is not positive.
    pub fn new(low: Tensor, high: &Tensor) -> Result<Self> {
        same_shape("upper corner", &low, high)?;
        let width = (high - &low)?;
        // Counted, since a minimum would step over NaN.
        let positive = width.gt(0.0)?.to_dtype(DType::U32)?.sum_all()?.to_scalar::<u32>()?;
        if positive as usize != width.elem_count() {
            return Err(Error::Config { field: "high", reason: "must be above `low`".into() });
        }
        Ok(Self { low, width })
    }
}

impl LogDensity for Uniform {
    /// Minus the log volume inside the box, `-inf` outside.
    fn log_prob(&self, x: &Tensor) -> Result<Tensor> {
        same_shape("uniform value", &self.low, x)?;
        let at = (x - &self.low)?;
        let inside = at.ge(0.0)?.mul(&at.lt(&self.width)?)?;
        let outside = self.low.zeros_like()?.affine(1.0, f64::NEG_INFINITY)?;
        sum_event(&inside.where_cond(&self.width.log()?.neg()?, &outside)?)
    }
}

impl Sample for Uniform {
    fn sample(&self, n: usize, noise: &mut dyn Noise) -> Result<Tensor> {
        let (low, width) = (repeat(&self.low, n)?.detach(), repeat(&self.width, n)?.detach());
        let u = noise.uniform(low.shape(), low.dtype(), low.device())?;
        let x = (&low + u.mul(&width)?)?;
        // The sum may round up to the corner that does not belong to the box.
        Ok((&x - &low)?.lt(&width)?.where_cond(&x, &low)?)
    }
}
