//! Tensors one after the other.

use candle_core::{Tensor, Var};

use super::{note_variable, note_view, recording};

/// Tensors of one shape one after the other along a new first axis. On a tape their gradients are views.
pub(crate) fn stack(parts: &[&Tensor]) -> candle_core::Result<Tensor> {
    if let [part] = parts {
        let mut dims = part.dims().to_vec();
        dims.insert(0, 1);
        let y = part.reshape(dims)?;
        note_view(&y, part);
        return Ok(y);
    }
    let recorded = recording(parts);
    #[cfg(feature = "cuda")]
    let on_device = stacked_on_device(parts, recorded)?;
    #[cfg(not(feature = "cuda"))]
    let on_device: Option<Tensor> = None;
    let value = match on_device {
        Some(value) if recorded => value,
        Some(value) => return Ok(value),
        None if !recorded => return Tensor::stack(parts, 0),
        None => {
            let constants: Vec<Tensor> = parts.iter().map(|part| part.detach()).collect();
            Var::from_tensor(&Tensor::stack(&constants, 0)?)?.into_inner()
        }
    };
    let operands = parts.iter().map(|part| (*part).clone()).collect();
    Ok(note_variable(value, operands, |parts, _, grad| {
        let of = |(i, part): (usize, &Tensor)| {
            part.track_op().then(|| grad.narrow(0, i, 1)?.squeeze(0)).transpose()
        };
        parts.iter().enumerate().map(of).collect()
    }))
}

/// [`stack`] in one launch, if the parts are on CUDA and have no graph of candle's to keep.
#[cfg(feature = "cuda")]
fn stacked_on_device(parts: &[&Tensor], recorded: bool) -> candle_core::Result<Option<Tensor>> {
    use candle_core::{Storage, op::BackpropOp};

    use crate::cuda::{TENSORS, applies, stacked_values};

    let alike = parts.iter().all(|part| part.dims() == parts[0].dims());
    let constant = recorded || !parts.iter().any(|part| part.track_op());
    if parts.is_empty() || parts.len() > TENSORS || !alike || !constant || !applies(parts) {
        return Ok(None);
    }
    let shape = [&[parts.len()], parts[0].dims()].concat();
    let values = Storage::Cuda(stacked_values(parts)?);
    Ok(Some(Tensor::from_storage(values, shape, BackpropOp::none(), recorded)))
}
