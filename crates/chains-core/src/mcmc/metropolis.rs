//! Metropolis' rule: accept a proposal or stay.

use candle_core::{DType, Tensor};

use crate::{
    error::{Error, Result},
    noise::Noise,
};

/// One where a proposal is accepted: with probability `min(1, exp(log_ratio))`, for each chain alone.
///
/// For a symmetric proposal `log_ratio` is the log density there minus that here. A ratio that is not
/// a number is never accepted.
///
/// # Shapes
/// `log_ratio`: `(b,)`, nats; the result `(b,)`, u8.
///
/// # Errors
/// [`Error::Shape`] unless `log_ratio` has one axis.
pub fn accept(log_ratio: &Tensor, noise: &mut dyn Noise) -> Result<Tensor> {
    if log_ratio.rank() != 1 {
        return Err(Error::Shape {
            what: "log acceptance ratio",
            expected: "(b,)".into(),
            got: log_ratio.dims().to_vec(),
        });
    }
    let u = noise.uniform(log_ratio.shape(), log_ratio.dtype(), log_ratio.device())?;
    // Uniform numbers are multiples of a step and may be 0, which a ratio of any size would exceed: half
    // a step more, and they are in (0, 1]. A ratio of one or more is always accepted; no comparison holds
    // for NaN.
    let half_a_step = if u.dtype() == DType::F64 { 2_f64.powi(-54) } else { 2_f64.powi(-25) };
    Ok((u + half_a_step)?.le(&log_ratio.exp()?)?)
}

/// The rows of `proposal` where `accepted` is not zero, those of `current` elsewhere, bit for bit.
///
/// # Shapes
/// `accepted`: `(b,)`, u8; the others and the result `(b, ..event)`.
///
/// # Errors
/// [`Error::Shape`] if the shapes do not fit.
pub fn select(accepted: &Tensor, proposal: &Tensor, current: &Tensor) -> Result<Tensor> {
    let b = accepted.elem_count();
    if accepted.rank() != 1 || current.dims().first() != Some(&b) {
        return Err(Error::Shape {
            what: "accepted chains",
            expected: format!("one for each row of {:?}", current.dims()),
            got: accepted.dims().to_vec(),
        });
    }
    if proposal.dims() != current.dims() {
        return Err(Error::Shape {
            what: "proposal",
            expected: format!("{:?}", current.dims()),
            got: proposal.dims().to_vec(),
        });
    }
    let mask = column(accepted, current)?.broadcast_as(current.shape())?.contiguous()?;
    Ok(mask.where_cond(&proposal.contiguous()?, &current.contiguous()?)?)
}

/// A `(b,)` tensor with axes of length one behind, to be broadcast over the events of `like`.
pub(super) fn column(values: &Tensor, like: &Tensor) -> Result<Tensor> {
    let mut shape = vec![1; like.rank()];
    shape[0] = values.elem_count();
    Ok(values.reshape(shape)?)
}

/// One where every element of every tensor's row is finite, `(b,)`, u8.
pub(super) fn finite_rows(tensors: &[&Tensor]) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for tensor in tensors {
        // Zero for a finite number, NaN for any other.
        let rows = sum_events(&(*tensor * 0.0)?)?;
        sum = Some(match sum {
            Some(sum) => (sum + rows)?,
            None => rows,
        });
    }
    match sum {
        Some(sum) => Ok(sum.eq(0.0)?.to_dtype(DType::U8)?),
        None => Err(Error::Shape { what: "rows", expected: "(b, ..)".into(), got: Vec::new() }),
    }
}

/// One where a mask is zero, zero elsewhere, u8.
pub(super) fn opposite(mask: &Tensor) -> Result<Tensor> {
    Ok(mask.eq(&mask.zeros_like()?)?)
}

/// How many rows a u8 mask marks.
pub(super) fn count(mask: &Tensor) -> Result<usize> {
    // u8 would overflow.
    Ok(mask.to_dtype(DType::U32)?.sum_all()?.to_scalar::<u32>()? as usize)
}

/// `(b, ..event)` -> `(b,)`: the sum over each event.
pub(super) fn sum_events(values: &Tensor) -> Result<Tensor> {
    Ok(if values.rank() == 1 { values.clone() } else { values.flatten_from(1)?.sum(1)? })
}
