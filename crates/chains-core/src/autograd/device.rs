//! Operations that kernels of a device compute.

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage,
    Tensor, op::BackpropOp,
};

use super::{Gradients, note_variable, recording};

/// An operation of any number of operands.
pub(crate) trait DeviceOp: Send + Sync + 'static {
    /// For messages.
    fn name(&self) -> &'static str;

    /// The value from contiguous operands without a graph.
    fn forward(&self, operands: &[Tensor]) -> Result<(CudaStorage, Shape)>;

    /// The gradients of the operands that track one, from operands, value and its contiguous
    /// gradient. Tracked operands have a graph, which must not be used.
    fn backward(&self, operands: &[Tensor], value: &Tensor, grad: &Tensor) -> Gradients;
}

/// Applies an operation, which is noted if there is a tape.
pub(crate) fn apply_on_device(op: impl DeviceOp, operands: &[&Tensor]) -> Result<Tensor> {
    let operands: Vec<Tensor> = operands.iter().map(|x| x.contiguous()).collect::<Result<_>>()?;
    let tracked = operands.iter().any(Tensor::track_op);
    let constants: Vec<Tensor> = operands.iter().map(Tensor::detach).collect();
    if tracked && !recording(&operands.iter().collect::<Vec<_>>()) {
        let op = OnDevice { op, constants };
        return match operands.as_slice() {
            [a] => a.apply_op1(op),
            [a, b] => a.apply_op2(b, op),
            [a, b, c] => a.apply_op3(b, c, op),
            more => {
                let flat = more.iter().map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?;
                Tensor::cat(&flat, 0)?.apply_op1(op)
            }
        };
    }
    let (storage, shape) = op.forward(&constants)?;
    let value = |variable| {
        Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), variable)
    };
    if !tracked {
        return Ok(value(false));
    }
    Ok(note_variable(value(true), operands, move |args, y, grad| {
        op.backward(args, &y.detach(), &grad.detach().contiguous()?)
    }))
}

/// As candle knows it.
struct OnDevice<O> {
    op: O,
    /// The operands, which candle gives as storages.
    constants: Vec<Tensor>,
}

impl<O: DeviceOp> OnDevice<O> {
    fn gradients(&self, operands: &[&Tensor], y: &Tensor, grad: &Tensor) -> Gradients {
        let operands: Vec<Tensor> = operands.iter().map(|x| (*x).clone()).collect();
        self.op.backward(&operands, &y.detach(), &grad.detach().contiguous()?)
    }
}

fn no_host<T>(name: &str) -> Result<T> {
    candle_core::bail!("{name}: the kernel is one of a device")
}

impl<O: DeviceOp> CustomOp1 for OnDevice<O> {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        no_host(self.op.name())
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.op.forward(&self.constants)
    }

    fn bwd(&self, a: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if let [_] = self.constants.as_slice() {
            return Ok(self.gradients(&[a], y, grad)?.remove(0));
        }
        // All operands in one.
        let mut parts = Vec::with_capacity(self.constants.len());
        let mut at = 0;
        for of in &self.constants {
            parts.push(a.narrow(0, at, of.elem_count())?.reshape(of.shape())?);
            at += of.elem_count();
        }
        let grads = self.gradients(&parts.iter().collect::<Vec<_>>(), y, grad)?;
        let flat = grads.into_iter().zip(&self.constants).map(|(grad, of)| match grad {
            Some(grad) => grad.flatten_all(),
            None => of.zeros_like()?.flatten_all(),
        });
        Tensor::cat(&flat.collect::<Result<Vec<_>>>()?, 0).map(Some)
    }
}

impl<O: DeviceOp> CustomOp2 for OnDevice<O> {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        no_host(self.op.name())
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.op.forward(&self.constants)
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut grads = self.gradients(&[a, b], y, grad)?.into_iter();
        Ok((grads.next().flatten(), grads.next().flatten()))
    }
}

impl<O: DeviceOp> CustomOp3 for OnDevice<O> {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        no_host(self.op.name())
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.op.forward(&self.constants)
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut grads = self.gradients(&[a, b, c], y, grad)?.into_iter();
        Ok((grads.next().flatten(), grads.next().flatten(), grads.next().flatten()))
    }
}
