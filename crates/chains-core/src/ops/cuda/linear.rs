//! The affine map: products by cuBLAS, the rest by our kernels.

use std::sync::Mutex;

use candle_core::{CudaStorage, Shape, Tensor};

use super::{BLOCK, made};
use crate::{
    autograd::{DeviceOp, Gradients, apply_on_device},
    cuda::{
        Arg, Grid, MOST_BLOCKS, Matrix, TENSORS, applies, device, fresh, launch, product,
        stacked_values, storage, tensor,
    },
    error::Result,
};

/// `x weight^T`, with a bias on the first rows.
pub(in crate::ops) fn linear(
    x: &Tensor,
    weight: &Tensor,
    (bias, biased): (Option<&Tensor>, usize),
) -> Result<Tensor> {
    let op = Linear { biased, known: Mutex::default() };
    apply(op, x, weight, bias)
}

/// Can one launch join these known values?
pub(in crate::ops) fn stackable(value: &[Tensor]) -> bool {
    let alike = value.windows(2).all(|pair| pair[0].dims() == pair[1].dims());
    alike && (1..=TENSORS).contains(&value.len()) && applies(&value.iter().collect::<Vec<_>>())
}

/// [`linear`] whose value is known, in parts of one shape.
pub(in crate::ops) fn linear_known(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    value: &[Tensor],
) -> Result<Tensor> {
    let known = stacked_values(&value.iter().collect::<Vec<_>>())?;
    let op = Linear { biased: usize::MAX, known: Mutex::new(Some(known)) };
    apply(op, x, weight, bias)
}

fn apply(op: Linear, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    Ok(match bias {
        Some(bias) => apply_on_device(op, &[x, weight, bias])?,
        None => apply_on_device(op, &[x, weight])?,
    })
}

struct Linear {
    biased: usize,
    /// The value, if it was computed before.
    known: Mutex<Option<CudaStorage>>,
}

/// Blocks that sum over so many rows, and rows of each.
pub(super) fn row_blocks(rows: usize) -> (usize, usize) {
    let step = BLOCK.max(rows.div_ceil(MOST_BLOCKS));
    (rows.div_ceil(step), step)
}

/// The sums over all rows of `(rows, columns)`, `(columns,)`; of many rows in two stages.
pub(super) fn column_sums(x: &Tensor) -> candle_core::Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let device = device(x)?;
    let (blocks, step) = row_blocks(rows);
    let out = fresh(device, blocks * columns)?;
    let args: [Arg<'_>; 5] = [(&out).into(), x.into(), rows.into(), columns.into(), step.into()];
    launch(device, "column_sums", Grid::Lanes(columns, blocks), &args)?;
    if blocks == 1 {
        return Ok(tensor(out, device, columns));
    }
    column_sums(&tensor(out, device, (blocks, columns)))
}

impl DeviceOp for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let [x, weight] = [&operands[0], &operands[1]];
        let ((out, inner), mut dims) = (weight.dims2()?, x.dims().to_vec());
        let rows = dims[..dims.len() - 1].iter().product();
        dims.pop();
        dims.push(out);
        let known = self.known.lock().ok().and_then(|mut known| known.take());
        if let Some(known) = known {
            return Ok((known, dims.into()));
        }
        let device = device(x)?;
        let y = product(device, Matrix::new(x, rows, inner), Matrix::new(weight, out, inner).t())?;
        let biased = self.biased.min(rows) * out;
        if let Some(bias) = operands.get(2).filter(|_| biased > 0) {
            let args = [(&y).into(), bias.into(), out.into(), biased.into()];
            launch(device, "add_bias", Grid::Elements(biased), &args)?;
        }
        Ok((storage(y, device), dims.into()))
    }

    fn backward(&self, operands: &[Tensor], _: &Tensor, grad: &Tensor) -> Gradients {
        let [x, weight] = [&operands[0], &operands[1]];
        let (out, inner) = weight.dims2()?;
        let rows = x.elem_count() / inner.max(1);
        let (device, above) = (device(x)?, Matrix::new(grad, rows, out));
        let of = |wanted: &Tensor, a, b| -> candle_core::Result<Option<Tensor>> {
            let values = wanted.track_op().then(|| product(device, a, b)).transpose()?;
            Ok(made(values, wanted, device))
        };
        let gx = of(x, above, Matrix::new(weight, out, inner))?;
        let gw = of(weight, above.t(), Matrix::new(x, rows, inner))?;
        let mut grads = vec![gx, gw];
        if let Some(bias) = operands.get(2) {
            let biased = self.biased.min(rows);
            grads.push(match bias.track_op() {
                true if biased == 0 => Some(bias.zeros_like()?.detach()),
                true => Some(column_sums(&grad.reshape((rows, out))?.narrow(0, 0, biased)?)?),
                false => None,
            });
        }
        Ok(grads)
    }
}
