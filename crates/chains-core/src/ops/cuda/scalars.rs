//! What ends in one number: sums, largest sizes, spectral norms.

use candle_core::{CudaStorage, Shape, Tensor};

use super::made;
use crate::{
    autograd::{DeviceOp, Gradients, apply_on_device},
    cuda::{Arg, Grid, TENSORS, Tensors, device, fresh, launch, storage, tensor},
    error::Result,
};

/// The sum of scalars.
pub(in crate::ops) fn total(terms: &[&Tensor]) -> Result<Tensor> {
    Ok(apply_on_device(Total, terms)?)
}

struct Total;

impl DeviceOp for Total {
    fn name(&self) -> &'static str {
        "total"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let device = device(&operands[0])?;
        let out = fresh(device, 1)?;
        for (index, terms) in operands.chunks(TENSORS).enumerate() {
            let table = Arg::Tensors(Box::new(Tensors::operands(terms)?));
            let args = [(&out).into(), table, (index == 0).into(), terms.len().into()];
            launch(device, "sum_scalars", Grid::Elements(1), &args)?;
        }
        Ok((storage(out, device), ().into()))
    }

    fn backward(&self, operands: &[Tensor], _: &Tensor, grad: &Tensor) -> Gradients {
        Ok(operands.iter().map(|term| term.track_op().then(|| grad.clone())).collect())
    }
}

/// `max |x|`.
pub(in crate::ops) fn largest_size(x: &Tensor) -> Result<Tensor> {
    Ok(apply_on_device(LargestSize, &[x])?)
}

struct LargestSize;

impl DeviceOp for LargestSize {
    fn name(&self) -> &'static str {
        "max_abs"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let x = &operands[0];
        let device = device(x)?;
        let out = fresh(device, 1)?;
        let args = [(&out).into(), x.into(), x.elem_count().into()];
        launch(device, "largest_size", Grid::Rows(1), &args)?;
        Ok((storage(out, device), ().into()))
    }

    fn backward(&self, operands: &[Tensor], y: &Tensor, grad: &Tensor) -> Gradients {
        let x = &operands[0];
        let (device, n) = (device(x)?, x.elem_count());
        let out = fresh(device, n)?;
        let args = [(&out).into(), x.into(), y.into(), grad.into(), n.into()];
        launch(device, "largest_size_grad", Grid::Rows(1), &args)?;
        Ok(vec![Some(tensor(out, device, x.shape()))])
    }
}

/// Left and right vectors of matrices after some rounds of power iteration from the left ones.
///
/// # Errors
/// If a launch fails.
pub(crate) fn spectral_rounds(
    kernels: &[Tensor],
    lefts: &[Tensor],
    rounds: usize,
) -> Result<Vec<[Tensor; 2]>> {
    let device = device(&kernels[0])?;
    let sides = |kernel: &Tensor, left: &Tensor| {
        let rows = left.elem_count();
        [rows, kernel.elem_count() / rows]
    };
    let all: Vec<[usize; 2]> = kernels.iter().zip(lefts).map(|(k, u)| sides(k, u)).collect();
    // One piece of memory for all.
    let mut sum = [0, 0];
    all.iter().for_each(|side| sum = [sum[0] + side[0], sum[1] + side[1]]);
    let [us, vs] = sum.map(|n| fresh(device, n).map(|values| tensor(values, device, n)));
    let (us, vs, mut at) = (us?, vs?, [0, 0]);
    let mut pairs = Vec::with_capacity(all.len());
    for [rows, columns] in &all {
        pairs.push([us.narrow(0, at[0], *rows)?, vs.narrow(0, at[1], *columns)?]);
        at = [at[0] + rows, at[1] + columns];
    }
    let work: Vec<([&Tensor; 4], [usize; 2])> = (0..all.len())
        .map(|i| ([&pairs[i][0], &kernels[i], &pairs[i][1], &lefts[i]], all[i]))
        .collect();
    for chunk in work.chunks(TENSORS) {
        let table = Arg::Tensors(Box::new(Tensors::matrices(chunk)?));
        let args = [table, rounds.into()];
        launch(device, "spectral_rounds", Grid::Rows(chunk.len()), &args)?;
    }
    Ok(pairs)
}

/// `u^T kernel v`.
///
/// # Errors
/// If a launch fails.
pub(crate) fn bilinear_form(kernel: &Tensor, [u, v]: &[Tensor; 2]) -> Result<Tensor> {
    Ok(apply_on_device(Form { u: u.clone(), v: v.clone() }, &[kernel])?)
}

struct Form {
    u: Tensor,
    v: Tensor,
}

impl DeviceOp for Form {
    fn name(&self) -> &'static str {
        "spectral_norm"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let (kernel, device) = (&operands[0], device(&operands[0])?);
        let out = fresh(device, 1)?;
        let args = [
            (&out).into(),
            kernel.into(),
            (&self.u).into(),
            (&self.v).into(),
            self.v.elem_count().into(),
            kernel.elem_count().into(),
        ];
        launch(device, "bilinear_form", Grid::Rows(1), &args)?;
        Ok((storage(out, device), ().into()))
    }

    fn backward(&self, operands: &[Tensor], _: &Tensor, grad: &Tensor) -> Gradients {
        let (kernel, device) = (&operands[0], device(&operands[0])?);
        let n = kernel.elem_count();
        let out = fresh(device, n)?;
        let args = [
            (&out).into(),
            (&self.u).into(),
            (&self.v).into(),
            grad.into(),
            self.v.elem_count().into(),
            n.into(),
        ];
        launch(device, "bilinear_form_grad", Grid::Elements(n), &args)?;
        Ok(vec![made(Some(out), kernel, device)])
    }
}
