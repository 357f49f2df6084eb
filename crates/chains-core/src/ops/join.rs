//! Maps side by side.

use candle_core::{Shape, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
use super::{fused, kernel::fresh_rows, on_cuda};
use crate::{
    autograd::{FusedOp, Gradients, apply_all},
    error::{Error, Result},
};

/// Maps of equal size joined by channel, in their order.
///
/// # Shapes
/// `(b, c_i, h, w)`, at least one -> `(b, sum of c_i, h, w)`.
///
/// # Errors
/// [`Error::Shape`] for another rank, or if all but the channels differ.
pub fn join_channels(parts: &[Tensor]) -> Result<Tensor> {
    let refuse = |expected: String, got: &[usize]| {
        Err(Error::Shape { what: "join_channels", expected, got: got.to_vec() })
    };
    let Some(first) = parts.first() else {
        return refuse("at least one part".into(), &[]);
    };
    let Ok((b, _, h, w)) = first.dims4() else {
        return refuse("parts (b, c, h, w)".into(), first.dims());
    };
    let mut channels = 0;
    for part in parts {
        match *part.dims() {
            [n, c, height, width] if [n, height, width] == [b, h, w] => channels += c,
            _ => return refuse(format!("parts ({b}, c, {h}, {w})"), part.dims()),
        }
    }
    let all: Vec<&Tensor> = parts.iter().collect();
    on_cuda!(all, cuda::counts(b * channels * h * w) => cuda::join(&all));
    if channels * h * w == 0 || !fused(&all) {
        return Ok(Tensor::cat(parts, 1)?);
    }
    Ok(apply_all(Join { shape: (b, channels, h, w).into() }, &all)?)
}

struct Join {
    shape: Shape,
}

impl FusedOp for Join {
    fn name(&self) -> &'static str {
        "join_channels"
    }

    fn forward(&self, operands: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let (b, c, h, w) = self.shape.dims4()?;
        let joined = fresh_rows([b, 1, c * h * w], [1, 1], |image, _, rows| {
            for values in operands {
                let len = values.len() / b;
                rows.append([0, 0], &values[image * len..(image + 1) * len], |x| x);
            }
        });
        Ok((joined, self.shape.clone()))
    }

    fn backward(&self, operands: &[Tensor], grad: &Tensor) -> Gradients {
        let mut at = 0;
        let mut grads = Vec::with_capacity(operands.len());
        for operand in operands {
            let channels = operand.dims()[1];
            let gradient = || grad.narrow(1, at, channels)?.contiguous();
            grads.push(operand.track_op().then(gradient).transpose()?);
            at += channels;
        }
        Ok(grads)
    }
}
