//! Parts of maps, maps side by side, interpolation.

use candle_core::{CudaStorage, Shape, Tensor};

use crate::{
    autograd::{DeviceOp, Gradients, apply_on_device},
    cuda::{Grid, Sizes, device, fresh, launch, storage, tensor},
    error::Result,
    ops::Span,
};

/// A map's sides and the spans of a part, as `maps.cu` has them.
fn numbers(sides: [usize; 3], spans: [Span; 3]) -> candle_core::Result<Sizes> {
    let of = |f: fn(&Span) -> usize| spans.each_ref().map(f);
    let all = [sides, of(|s| s.start), of(|s| s.len), of(|s| s.step)];
    let mut numbers = [0; 12];
    for (to, from) in numbers.iter_mut().zip(all.into_iter().flatten()) {
        *to = u32::try_from(from)
            .map_err(|_| candle_core::Error::Msg(format!("part: a size of {from}")))?;
    }
    Ok(Sizes(numbers))
}

/// The values at the spans of a map: one launch; the operand is not empty.
pub(in crate::ops) fn part(x: &Tensor, spans: [Span; 3]) -> Result<Tensor> {
    Ok(apply_on_device(Part(spans), &[x])?)
}

struct Part([Span; 3]);

impl Part {
    fn len(&self) -> [usize; 3] {
        self.0.map(|span| span.len)
    }
}

impl DeviceOp for Part {
    fn name(&self) -> &'static str {
        "part"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let (x, [c, h, w]) = (&operands[0], self.len());
        let (device, (b, channels, rows, columns)) = (device(x)?, x.dims4()?);
        let shape = Shape::from((b, c, h, w));
        let n = shape.elem_count();
        let out = fresh(device, n)?;
        let spans = numbers([channels, rows, columns], self.0)?;
        launch(
            device,
            "part",
            Grid::Elements(n),
            &[(&out).into(), x.into(), spans.into(), n.into()],
        )?;
        Ok((storage(out, device), shape))
    }

    fn backward(&self, operands: &[Tensor], _: &Tensor, grad: &Tensor) -> Gradients {
        let (x, n) = (&operands[0], operands[0].elem_count());
        if grad.elem_count() == 0 {
            return Ok(vec![Some(x.zeros_like()?.detach())]);
        }
        let (device, (_, c, h, w)) = (device(x)?, x.dims4()?);
        let out = fresh(device, n)?;
        let args = [(&out).into(), grad.into(), numbers([c, h, w], self.0)?.into(), n.into()];
        launch(device, "part_grad", Grid::Elements(n), &args)?;
        Ok(vec![Some(tensor(out, device, x.shape()))])
    }
}

/// Maps joined by channel: a launch for each; none is empty.
pub(in crate::ops) fn join(parts: &[&Tensor]) -> Result<Tensor> {
    Ok(apply_on_device(Join, parts)?)
}

struct Join;

/// The channels of each part in the whole, and the sides of the whole.
fn places(parts: &[Tensor]) -> candle_core::Result<(Vec<[Span; 3]>, [usize; 3])> {
    let (mut channels, mut spans) = (0, Vec::new());
    let (_, _, h, w) = parts[0].dims4()?;
    for part in parts {
        let len = part.dim(1)?;
        spans.push([Span::new(channels, len), Span::new(0, h), Span::new(0, w)]);
        channels += len;
    }
    Ok((spans, [channels, h, w]))
}

impl DeviceOp for Join {
    fn name(&self) -> &'static str {
        "join_channels"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let (device, b) = (device(&operands[0])?, operands[0].dim(0)?);
        let (spans, sides) = places(operands)?;
        let shape = Shape::from((b, sides[0], sides[1], sides[2]));
        let out = fresh(device, shape.elem_count())?;
        for (x, spans) in operands.iter().zip(spans) {
            let n = x.elem_count();
            let args = [(&out).into(), x.into(), numbers(sides, spans)?.into(), n.into()];
            launch(device, "part_placed", Grid::Elements(n), &args)?;
        }
        Ok((storage(out, device), shape))
    }

    fn backward(&self, operands: &[Tensor], _: &Tensor, grad: &Tensor) -> Gradients {
        let (spans, _) = places(operands)?;
        let parts = operands.iter().zip(spans).map(|(x, spans)| {
            let wanted = x.track_op().then(|| {
                let (values, shape) = Part(spans).forward(std::slice::from_ref(grad))?;
                Ok(super::of_storage(values, shape))
            });
            wanted.transpose()
        });
        parts.collect()
    }
}

/// See [`crate::ops::bilinear2`]; the operand is not empty.
pub(in crate::ops) fn bilinear2(x: &Tensor) -> Result<Tensor> {
    Ok(apply_on_device(Doubled, &[x])?)
}

struct Doubled;

impl DeviceOp for Doubled {
    fn name(&self) -> &'static str {
        "bilinear2"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let (device, (b, c, h, w)) = (device(&operands[0])?, operands[0].dims4()?);
        let n = 4 * operands[0].elem_count();
        let out = fresh(device, n)?;
        let args = [(&out).into(), (&operands[0]).into(), h.into(), w.into(), n.into()];
        launch(device, "bilinear2", Grid::Elements(n), &args)?;
        Ok((storage(out, device), (b, c, 2 * h, 2 * w).into()))
    }

    fn backward(&self, operands: &[Tensor], _: &Tensor, grad: &Tensor) -> Gradients {
        let (x, n) = (&operands[0], operands[0].elem_count());
        let (device, (_, _, h, w)) = (device(x)?, x.dims4()?);
        let out = fresh(device, n)?;
        let args = [(&out).into(), grad.into(), h.into(), w.into(), n.into()];
        launch(device, "bilinear2_grad", Grid::Elements(n), &args)?;
        Ok(vec![Some(tensor(out, device, x.shape()))])
    }
}
