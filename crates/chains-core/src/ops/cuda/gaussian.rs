//! Gaussians: densities, draws, divergences.

use candle_core::{CudaStorage, Shape, Tensor};

use super::{made, wanted};
use crate::{
    autograd::{DeviceOp, Gradients, apply_on_device},
    cuda::{Arg, Grid, device, fresh, launch, storage, tensor},
    error::Result,
};

/// Elements of a row of `(b, ..event)`.
fn row(x: &Tensor) -> usize {
    x.elem_count() / x.dims()[0]
}

/// Elementwise, or with `sum` over all axes but the first.
pub(in crate::ops) fn gaussian_density(operands: [&Tensor; 3], sum: bool) -> Result<Tensor> {
    Ok(apply_on_device(Density { sum }, &operands)?)
}

struct Density {
    sum: bool,
}

impl DeviceOp for Density {
    fn name(&self) -> &'static str {
        "gaussian_log_density"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let [x, mean, variance] = [&operands[0], &operands[1], &operands[2]];
        let device = device(x)?;
        let (name, grid, last, shape) = if self.sum {
            let b = x.dims()[0];
            ("gaussian_rows", Grid::Rows(b), row(x), b.into())
        } else {
            let n = x.elem_count();
            ("gaussian_density", Grid::Elements(n), n, x.shape().clone())
        };
        let out = fresh(device, shape.elem_count())?;
        let args = [(&out).into(), x.into(), mean.into(), variance.into(), last.into()];
        launch(device, name, grid, &args)?;
        Ok((storage(out, device), shape))
    }

    fn backward(&self, operands: &[Tensor], _: &Tensor, grad: &Tensor) -> Gradients {
        let [x, mean, variance] = [&operands[0], &operands[1], &operands[2]];
        let (device, n) = (device(x)?, x.elem_count());
        let (gx, gm) = (wanted(x, device)?, wanted(mean, device)?);
        let gv = wanted(variance, device)?;
        let args = [
            gx.as_ref().into(),
            gm.as_ref().into(),
            gv.as_ref().into(),
            x.into(),
            mean.into(),
            variance.into(),
            grad.into(),
            (n / grad.elem_count()).into(),
            n.into(),
        ];
        launch(device, "gaussian_grad", Grid::Elements(n), &args)?;
        Ok(vec![made(gx, x, device), made(gm, mean, device), made(gv, variance, device)])
    }
}

/// Results of `n` elements from operands without a graph.
fn from_constants(
    name: &'static str,
    operands: &[&Tensor],
    numbers: &[f32],
    (grid, last): (Grid, usize),
    shape: Shape,
) -> Result<Tensor> {
    let operands = operands.iter().map(|x| x.contiguous());
    let operands = operands.collect::<candle_core::Result<Vec<_>>>()?;
    let device = device(&operands[0])?;
    let out = fresh(device, shape.elem_count())?;
    let mut args: Vec<Arg<'_>> = vec![(&out).into()];
    args.extend(operands.iter().map(Arg::from));
    args.extend(numbers.iter().map(|number| Arg::from(*number)));
    args.push(last.into());
    launch(device, name, grid, &args)?;
    Ok(tensor(out, device, shape))
}

pub(in crate::ops) fn gaussian_draw(operands: [&Tensor; 3]) -> Result<Tensor> {
    let n = operands[0].elem_count();
    let shape = operands[0].shape().clone();
    from_constants("gaussian_draw", &operands, &[], (Grid::Elements(n), n), shape)
}

/// Operands: mean and variance of base and spike, uniform and normal numbers.
pub(in crate::ops) fn mixture_draw(rate: f64, operands: [&Tensor; 6]) -> Result<Tensor> {
    let n = operands[0].elem_count();
    let shape = operands[0].shape().clone();
    from_constants("mixture_draw", &operands, &[rate as f32], (Grid::Elements(n), n), shape)
}

/// Operands: the point, mean and variance of base and spike.
pub(in crate::ops) fn mixture_log_ratio(rate: f64, operands: [&Tensor; 5]) -> Result<Tensor> {
    let (b, d) = (operands[0].dims()[0], row(operands[0]));
    let numbers = [(-rate).ln_1p() as f32, rate.ln() as f32];
    from_constants("mixture_log_ratio", &operands, &numbers, (Grid::Rows(b), d), b.into())
}

/// The log density of squashed heads: see [`crate::ops::sigmoid_gaussian_log_prob`].
pub(in crate::ops) fn heads(
    x: &Tensor,
    a: &Tensor,
    b: &Tensor,
    [scale, floor]: [f64; 2],
) -> Result<Tensor> {
    let op = Heads { x: x.contiguous()?.detach(), scale: scale as f32, floor: floor as f32 };
    Ok(apply_on_device(op, &[a, b])?)
}

struct Heads {
    x: Tensor,
    scale: f32,
    floor: f32,
}

impl DeviceOp for Heads {
    fn name(&self) -> &'static str {
        "sigmoid_gaussian_log_prob"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let [a, b] = [&operands[0], &operands[1]];
        let device = device(a)?;
        let (d, leading) = match a.dims() {
            [leading @ .., d] => (*d, Shape::from(leading)),
            [] => candle_core::bail!("heads without an axis"),
        };
        let rows = leading.elem_count();
        let out = fresh(device, rows)?;
        let args = [
            (&out).into(),
            (&self.x).into(),
            a.into(),
            b.into(),
            self.scale.into(),
            self.floor.into(),
            d.into(),
            self.x.elem_count().into(),
        ];
        launch(device, "heads", Grid::Rows(rows), &args)?;
        Ok((storage(out, device), leading))
    }

    fn backward(&self, operands: &[Tensor], _: &Tensor, grad: &Tensor) -> Gradients {
        let [a, b] = [&operands[0], &operands[1]];
        let (device, n) = (device(a)?, a.elem_count());
        let (ga, gb) = (wanted(a, device)?, wanted(b, device)?);
        let args = [
            ga.as_ref().into(),
            gb.as_ref().into(),
            (&self.x).into(),
            a.into(),
            b.into(),
            grad.into(),
            self.scale.into(),
            self.floor.into(),
            (n / grad.elem_count()).into(),
            self.x.elem_count().into(),
            n.into(),
        ];
        launch(device, "heads_grad", Grid::Elements(n), &args)?;
        Ok(vec![made(ga, a, device), made(gb, b, device)])
    }
}

/// Mean and deviation of q, then of p.
pub(in crate::ops) fn divergence(operands: [&Tensor; 4]) -> Result<Tensor> {
    Ok(apply_on_device(Divergence, &operands)?)
}

struct Divergence;

impl DeviceOp for Divergence {
    fn name(&self) -> &'static str {
        "gaussian_divergence"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let (device, b) = (device(&operands[0])?, operands[0].dims()[0]);
        let out = fresh(device, b)?;
        let mut args: Vec<Arg<'_>> = vec![(&out).into()];
        args.extend(operands.iter().map(Arg::from));
        args.push(row(&operands[0]).into());
        launch(device, "divergence", Grid::Rows(b), &args)?;
        Ok((storage(out, device), b.into()))
    }

    fn backward(&self, operands: &[Tensor], _: &Tensor, grad: &Tensor) -> Gradients {
        let (device, n) = (device(&operands[0])?, operands[0].elem_count());
        let grads = operands.iter().map(|of| wanted(of, device));
        let grads = grads.collect::<candle_core::Result<Vec<_>>>()?;
        let mut args: Vec<Arg<'_>> = grads.iter().map(|out| out.as_ref().into()).collect();
        args.extend(operands.iter().map(Arg::from));
        args.extend([grad.into(), (n / grad.elem_count()).into(), n.into()]);
        launch(device, "divergence_grad", Grid::Elements(n), &args)?;
        let pairs = grads.into_iter().zip(operands);
        Ok(pairs.map(|(out, of)| made(out, of, device)).collect())
    }
}
