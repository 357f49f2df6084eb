//! Functions of one argument, gates, lengths.

use candle_core::{CudaStorage, Shape, Tensor};

use super::{made, of_storage, wanted};
use crate::{
    autograd::{DeviceOp, Gradients, apply_on_device},
    cuda::{Grid, device, fresh, launch, storage, tensor},
    error::Result,
    ops::StackedActivation,
};

/// The functions of `pointwise.cu`, in its order, with their constants.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) enum Activation {
    Relu,
    Exp,
    Sigmoid,
    ScaledSigmoid([f64; 2]),
    LeakyRelu(f64),
    Softplus,
    Silu,
    Elu(f64),
    Tanh,
    SoftClamp(f64),
    SoftClampedExp([f64; 2]),
    Square,
}

impl Activation {
    /// Two constants and the number of the function.
    fn constants(self) -> (f32, f32, usize) {
        let (p, q, kind) = match self {
            Self::Relu => (0.0, 0.0, 0),
            Self::Exp => (0.0, 0.0, 1),
            Self::Sigmoid => (0.0, 0.0, 2),
            Self::ScaledSigmoid([scale, shift]) => (scale, shift, 3),
            Self::LeakyRelu(slope) => (slope, 0.0, 4),
            Self::Softplus => (0.0, 0.0, 5),
            Self::Silu => (0.0, 0.0, 6),
            Self::Elu(scale) => (scale, 0.0, 7),
            Self::Tanh => (0.0, 0.0, 8),
            Self::SoftClamp(bound) => (bound, 0.0, 9),
            Self::SoftClampedExp([bound, floor]) => (bound, floor, 10),
            Self::Square => (0.0, 0.0, 11),
        };
        (p as f32, q as f32, kind)
    }
}

pub(in crate::ops) fn activation(x: &Tensor, function: Activation) -> Result<Tensor> {
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    Ok(apply_on_device(function, &[x])?)
}

impl DeviceOp for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let x = &operands[0];
        let (device, n, (p, q, kind)) = (device(x)?, x.elem_count(), self.constants());
        let out = fresh(device, n)?;
        let args = [(&out).into(), x.into(), p.into(), q.into(), kind.into(), n.into()];
        launch(device, "activation", Grid::Elements(n), &args)?;
        Ok((storage(out, device), x.shape().clone()))
    }

    fn backward(&self, operands: &[Tensor], y: &Tensor, grad: &Tensor) -> Gradients {
        let x = &operands[0];
        let (device, n, (p, q, kind)) = (device(x)?, x.elem_count(), self.constants());
        let out = fresh(device, n)?;
        let args = [
            (&out).into(),
            x.into(),
            y.into(),
            grad.into(),
            p.into(),
            q.into(),
            kind.into(),
            n.into(),
        ];
        launch(device, "activation_grad", Grid::Elements(n), &args)?;
        Ok(vec![Some(tensor(out, device, x.shape()))])
    }
}

/// Values and tangents: see [`crate::ops::stacked_activation`].
pub(in crate::ops) fn stacked(
    x: &Tensor,
    boundary: usize,
    function: StackedActivation,
) -> Result<Tensor> {
    let (slope, soft) = match function {
        StackedActivation::LeakyRelu(slope) => (slope, false),
        StackedActivation::Softplus => (0.0, true),
    };
    Ok(apply_on_device(Stacked { slope, soft, boundary }, &[x])?)
}

struct Stacked {
    slope: f32,
    soft: bool,
    boundary: usize,
}

impl DeviceOp for Stacked {
    fn name(&self) -> &'static str {
        "stacked activation"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let x = &operands[0];
        let (device, n) = (device(x)?, x.elem_count());
        let out = fresh(device, n)?;
        let args = [
            (&out).into(),
            x.into(),
            self.slope.into(),
            self.soft.into(),
            self.boundary.into(),
            n.into(),
        ];
        launch(device, "stacked", Grid::Elements(n), &args)?;
        Ok((storage(out, device), x.shape().clone()))
    }

    fn backward(&self, operands: &[Tensor], _: &Tensor, grad: &Tensor) -> Gradients {
        let x = &operands[0];
        let (device, n) = (device(x)?, x.elem_count());
        let out = fresh(device, n)?;
        let args = [
            (&out).into(),
            x.into(),
            grad.into(),
            self.slope.into(),
            self.soft.into(),
            self.boundary.into(),
            n.into(),
        ];
        launch(device, "stacked_grad", Grid::Elements(n), &args)?;
        Ok(vec![Some(tensor(out, device, x.shape()))])
    }
}

/// `(b, c, ..space)` -> `(b, c)`.
pub(in crate::ops) fn channel_means(x: &Tensor) -> Result<Tensor> {
    Ok(apply_on_device(Means, &[x])?)
}

struct Means;

impl DeviceOp for Means {
    fn name(&self) -> &'static str {
        "channel_means"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let x = &operands[0];
        let (device, [b, c]) = (device(x)?, [x.dims()[0], x.dims()[1]]);
        let out = fresh(device, b * c)?;
        let args = [(&out).into(), x.into(), (x.elem_count() / (b * c)).into()];
        launch(device, "row_means", Grid::Rows(b * c), &args)?;
        Ok((storage(out, device), (b, c).into()))
    }

    fn backward(&self, operands: &[Tensor], _: &Tensor, grad: &Tensor) -> Gradients {
        let x = &operands[0];
        let (device, n) = (device(x)?, x.elem_count());
        let (out, d) = (fresh(device, n)?, n / grad.elem_count());
        let args = [(&out).into(), grad.into(), (1.0 / d as f32).into(), d.into(), n.into()];
        launch(device, "spread_rows", Grid::Elements(n), &args)?;
        Ok(vec![Some(tensor(out, device, x.shape()))])
    }
}

/// `x + scale gate branch`.
pub(in crate::ops) fn add_gated(
    x: &Tensor,
    branch: &Tensor,
    gate: &Tensor,
    scale: f64,
) -> Result<Tensor> {
    Ok(apply_on_device(Gated { scale: scale as f32 }, &[x, branch, gate])?)
}

struct Gated {
    scale: f32,
}

impl Gated {
    fn sum(
        &self,
        x: Option<&Tensor>,
        branch: &Tensor,
        gate: &Tensor,
    ) -> candle_core::Result<CudaStorage> {
        let (device, n) = (device(branch)?, branch.elem_count());
        let out = fresh(device, n)?;
        let args = [
            (&out).into(),
            x.into(),
            branch.into(),
            gate.into(),
            self.scale.into(),
            (n / gate.elem_count()).into(),
            n.into(),
        ];
        launch(device, "add_gated", Grid::Elements(n), &args)?;
        Ok(storage(out, device))
    }
}

impl DeviceOp for Gated {
    fn name(&self) -> &'static str {
        "add_gated"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let [x, branch, gate] = [&operands[0], &operands[1], &operands[2]];
        Ok((self.sum(Some(x), branch, gate)?, x.shape().clone()))
    }

    fn backward(&self, operands: &[Tensor], _: &Tensor, grad: &Tensor) -> Gradients {
        let [x, branch, gate] = [&operands[0], &operands[1], &operands[2]];
        let device = device(x)?;
        let gb = if branch.track_op() {
            Some(of_storage(self.sum(None, grad, &gate.detach())?, branch.shape()))
        } else {
            None
        };
        let gg = wanted(gate, device)?;
        if let Some(out) = &gg {
            let (rows, d) = (gate.elem_count(), x.elem_count() / gate.elem_count());
            let args = [out.into(), grad.into(), branch.into(), self.scale.into(), d.into()];
            launch(device, "row_products", Grid::Rows(rows), &args)?;
        }
        Ok(vec![x.track_op().then(|| grad.clone()), gb, made(gg, gate, device)])
    }
}

/// Rows of given lengths.
pub(in crate::ops) fn of_length(weight: &Tensor, logs: &Tensor, eps: f64) -> Result<Tensor> {
    Ok(apply_on_device(OfLength { eps: eps as f32 }, &[weight, logs])?)
}

struct OfLength {
    eps: f32,
}

impl DeviceOp for OfLength {
    fn name(&self) -> &'static str {
        "kernel of a length"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let [weight, logs] = [&operands[0], &operands[1]];
        let (device, n, rows) = (device(weight)?, weight.elem_count(), logs.elem_count());
        let out = fresh(device, n)?;
        let args = [(&out).into(), weight.into(), logs.into(), self.eps.into(), (n / rows).into()];
        launch(device, "of_length", Grid::Rows(rows), &args)?;
        Ok((storage(out, device), weight.shape().clone()))
    }

    fn backward(&self, operands: &[Tensor], _: &Tensor, grad: &Tensor) -> Gradients {
        let [weight, logs] = [&operands[0], &operands[1]];
        let (device, rows) = (device(weight)?, logs.elem_count());
        let (gw, gl) = (wanted(weight, device)?, wanted(logs, device)?);
        let args = [
            gw.as_ref().into(),
            gl.as_ref().into(),
            weight.into(),
            logs.into(),
            grad.into(),
            self.eps.into(),
            (weight.elem_count() / rows).into(),
        ];
        launch(device, "of_length_grad", Grid::Rows(rows), &args)?;
        Ok(vec![made(gw, weight, device), made(gl, logs, device)])
    }
}
