//! Samples of a two-component mixture.

use candle_core::Tensor;

use super::{build, fused, with_values};
use crate::error::Result;

/// Where `u < rate` the sample `mean + sqrt(variance) e` of the spike, elsewhere that of the base;
/// detached.
///
/// # Shapes
/// `base` and `spike`: mean and variance; `u`: uniform, `e`: standard normal; all the same shape.
///
/// # Errors
/// If the shapes differ.
pub fn mixture_draw(
    rate: f64,
    base: [&Tensor; 2],
    spike: [&Tensor; 2],
    u: &Tensor,
    e: &Tensor,
) -> Result<Tensor> {
    let operands = [base[0], base[1], spike[0], spike[1], u, e];
    let same = operands.iter().all(|t| t.dims() == e.dims());
    if !same || !fused(&operands) {
        let one = |[mean, variance]: [&Tensor; 2]| -> Result<Tensor> {
            Ok((mean + variance.sqrt()?.mul(e)?)?)
        };
        return Ok(u.lt(rate)?.where_cond(&one(spike)?, &one(base)?)?.detach());
    }
    let rate = rate as f32;
    let values = with_values(operands, |[bm, bv, sm, sv, us, es]| {
        Ok(build(
            es.len(),
            #[inline(always)]
            |start, out| {
                // Slices of one length, so that no index needs a check.
                let [bm, bv, sm, sv, us, es] =
                    [bm, bv, sm, sv, us, es].map(|values| &values[start..start + out.len()]);
                for (i, out) in out.iter_mut().enumerate() {
                    let infused = us[i] < rate;
                    let mean = if infused { sm[i] } else { bm[i] };
                    let variance = if infused { sv[i] } else { bv[i] };
                    *out = mean + variance.sqrt() * es[i];
                }
            },
        ))
    })?;
    Ok(Tensor::from_vec(values, e.shape(), e.device())?)
}
