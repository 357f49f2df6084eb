//! Fused operations of more operands than candle knows.

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};

use super::{Gradients, note, recording};
use crate::ops;

/// A fused operation of any number of operands.
pub(crate) trait FusedOp: Send + Sync + 'static {
    /// For messages.
    fn name(&self) -> &'static str;

    /// The value from contiguous f32 operands.
    fn forward(&self, operands: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)>;

    /// The gradients of the operands that track one, from the gradient of the value.
    fn backward(&self, operands: &[Tensor], grad: &Tensor) -> Gradients;
}

/// As [`apply1`], of any number of f32 operands on the host.
pub(crate) fn apply_all(op: impl FusedOp, operands: &[&Tensor]) -> candle_core::Result<Tensor> {
    let operands: Vec<Tensor> =
        operands.iter().map(|x| x.contiguous()).collect::<candle_core::Result<_>>()?;
    let tracked = operands.iter().any(Tensor::track_op);
    if tracked && !recording(&operands.iter().collect::<Vec<_>>()) {
        // candle knows operations of three operands at most.
        let flat: Vec<Tensor> =
            operands.iter().map(Tensor::flatten_all).collect::<candle_core::Result<_>>()?;
        let shapes = operands.iter().map(|x| x.shape().clone()).collect();
        return Tensor::cat(&flat, 0)?.apply_op1(Joined { op, shapes });
    }
    let (values, shape) = {
        let guards: Vec<_> = operands.iter().map(Tensor::storage_and_layout).collect();
        let values = guards.iter().map(|(storage, layout)| ops::host(storage, layout));
        op.forward(&values.collect::<candle_core::Result<Vec<_>>>()?)?
    };
    if !tracked {
        return Tensor::from_vec(values, shape, &Device::Cpu);
    }
    note((CpuStorage::F32(values), shape), operands, move |args, _, grad| op.backward(args, grad))
}

/// A fused operation whose operands are one after the other in one tensor.
struct Joined<O> {
    op: O,
    shapes: Vec<Shape>,
}

impl<O: FusedOp> CustomOp1 for Joined<O> {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn cpu_fwd(
        &self,
        all: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let mut rest = ops::slice(all, layout)?;
        let mut operands = Vec::with_capacity(self.shapes.len());
        for shape in &self.shapes {
            let (operand, more) = rest.split_at(shape.elem_count());
            operands.push(operand);
            rest = more;
        }
        let (values, shape) = self.op.forward(&operands)?;
        Ok((CpuStorage::F32(values), shape))
    }

    fn bwd(&self, all: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let mut operands = Vec::with_capacity(self.shapes.len());
        let mut at = 0;
        for shape in &self.shapes {
            // A view of `all`, and so tracked as it is.
            operands.push(all.narrow(0, at, shape.elem_count())?.reshape(shape)?);
            at += shape.elem_count();
        }
        let mut parts = Vec::with_capacity(operands.len());
        for (operand, grad) in operands.iter().zip(self.op.backward(&operands, grad)?) {
            let grad = match grad {
                Some(grad) => grad,
                None => operand.zeros_like()?,
            };
            parts.push(grad.detach().flatten_all()?);
        }
        Tensor::cat(&parts, 0).map(Some)
    }
}
