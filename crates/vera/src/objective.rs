//! Losses as pure functions of outputs.

use candle_core::{D, DType, Tensor};
use chains_core::{Error, Result};

/// `ln softmax` over the last axis.
///
/// # Errors
/// Of the tensor library.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shift = logits.detach().max_keepdim(D::Minus1)?;
    let centred = logits.broadcast_sub(&shift)?;
    Ok(centred.broadcast_sub(&centred.exp()?.sum_keepdim(D::Minus1)?.log()?)?)
}

/// Mean cross-entropy of labels, nats: `(b, K)` and `(b,)` of u32 -> a scalar.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit; [`Error::Config`] for labels of another type.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    if logits.rank() != 2 || labels.dims() != [logits.dims()[0]] {
        let expected = format!("labels (b,) for logits {:?}", logits.dims());
        return Err(Error::Shape { what: "labels", expected, got: labels.dims().to_vec() });
    }
    if labels.dtype() != DType::U32 {
        let reason = format!("must be u32, not {:?}", labels.dtype());
        return Err(Error::Config { field: "labels", reason });
    }
    let found = log_softmax(logits)?.gather(&labels.unsqueeze(1)?, 1)?;
    Ok(found.mean_all()?.neg()?)
}

/// Mean entropy of the predictions, nats: `(b, K)` -> a scalar.
///
/// # Errors
/// Of the tensor library.
pub fn class_entropy(logits: &Tensor) -> Result<Tensor> {
    let log = log_softmax(logits)?;
    Ok(log.exp()?.mul(&log)?.sum(D::Minus1)?.mean_all()?.neg()?)
}
