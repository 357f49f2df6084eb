//! Convolutions: patches as the columns of one product; channel by channel by kernels of their own.

use candle_core::{CudaStorage, Shape, Tensor};

use super::{made, of_storage, wanted};
use crate::{
    autograd::{DeviceOp, Gradients, apply_on_device},
    cuda::{Grid, Matrix, Sizes, device, fresh, launch, product, storage, tensor},
    error::Result,
    ops::conv::{geometry::Geometry, op::Kind},
};

fn sizes(g: &Geometry) -> candle_core::Result<Sizes> {
    let [[c, h, w], [o, oh, ow]] = [g.image, g.map];
    let ([kh, kw], [above, left]) = (g.kernel, g.padding);
    let all = [g.batch, c, h, w, o, oh, ow, kh, kw, g.stride, above, left];
    let mut sizes = [0; 12];
    for (to, from) in sizes.iter_mut().zip(all) {
        *to = u32::try_from(from)
            .map_err(|_| candle_core::Error::Msg(format!("convolution: a size of {from}")))?;
    }
    Ok(Sizes(sizes))
}

/// Rows and columns of the patches, if kernels can number them.
fn columns(g: &Geometry) -> candle_core::Result<(usize, usize)> {
    let (rows, columns) = (g.depth(), g.batch * g.positions());
    if u32::try_from(rows * columns).is_err() {
        candle_core::bail!(
            "convolution: {rows} x {columns} values of patches; give fewer images at a time"
        );
    }
    Ok((rows, columns))
}

/// Patches of images `(b, c, h, w)`: `(c kh kw, b oh ow)`.
fn patches(g: &Geometry, x: &Tensor) -> candle_core::Result<Tensor> {
    let (device, shape) = (device(x)?, columns(g)?);
    let out = fresh(device, shape.0 * shape.1)?;
    let args = [(&out).into(), x.into(), sizes(g)?.into()];
    launch(device, "im2col", Grid::Quads(shape.0, shape.1), &args)?;
    Ok(tensor(out, device, shape))
}

/// The images whose pixels are the sums of what patches have of them.
fn images(
    g: &Geometry,
    columns: &Tensor,
    bias: Option<&Tensor>,
) -> candle_core::Result<CudaStorage> {
    let (device, n) = (device(columns)?, g.batch * g.image_len());
    let out = fresh(device, n)?;
    let args = [(&out).into(), columns.into(), bias.into(), sizes(g)?.into(), n.into()];
    launch(device, "col2im", Grid::Elements(n), &args)?;
    Ok(storage(out, device))
}

/// `(a, b, s)` -> `(b, a, s)`, with a bias for each of the a on the first `biased` of the b.
fn swapped(
    x: &Tensor,
    [a, b, s]: [usize; 3],
    (bias, biased): (Option<&Tensor>, usize),
    rectify: bool,
) -> candle_core::Result<CudaStorage> {
    let (device, n) = (device(x)?, a * b * s);
    let out = fresh(device, n)?;
    let args = [
        (&out).into(),
        x.into(),
        bias.into(),
        a.into(),
        b.into(),
        s.into(),
        biased.into(),
        rectify.into(),
        n.into(),
    ];
    launch(device, "swapped", Grid::Elements(n), &args)?;
    Ok(storage(out, device))
}

/// Maps `(b, o, oh, ow)` as `(o, b oh ow)`.
fn by_channel(g: &Geometry, maps: &Tensor) -> candle_core::Result<Tensor> {
    let (o, positions) = (g.map[0], g.positions());
    let shape = (o, g.batch * positions);
    if g.batch == 1 {
        return maps.detach().reshape(shape);
    }
    let values = swapped(maps, [g.batch, o, positions], (None, 0), false)?;
    Ok(of_storage(values, shape))
}

/// The maps of images.
fn maps_of(
    g: &Geometry,
    x: &Tensor,
    weight: &Tensor,
    bias: (Option<&Tensor>, usize),
    rectify: bool,
) -> candle_core::Result<CudaStorage> {
    let (o, device, columns) = (g.map[0], device(x)?, patches(g, x)?);
    let all = g.batch * g.positions();
    let (weight, columns) =
        (Matrix::new(weight, o, g.depth()), Matrix::new(&columns, g.depth(), all));
    let y = tensor(product(device, weight, columns)?, device, (o, all));
    swapped(&y, [o, g.batch, g.positions()], bias, rectify)
}

/// The images that a convolution would have made maps of: its transpose.
fn images_of(
    g: &Geometry,
    maps: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> candle_core::Result<CudaStorage> {
    let (o, device, maps) = (g.map[0], device(maps)?, by_channel(g, maps)?);
    let (_, all) = columns(g)?;
    let (weight, maps) = (Matrix::new(weight, o, g.depth()), Matrix::new(&maps, o, all));
    let columns = product(device, weight.t(), maps)?;
    images(g, &tensor(columns, device, (g.depth(), all)), bias)
}

/// The gradient of the weight, from images and the gradient of maps.
fn weight_of(g: &Geometry, x: &Tensor, maps: &Tensor) -> candle_core::Result<CudaStorage> {
    let (device, maps, columns) = (device(x)?, by_channel(g, maps)?, patches(g, x)?);
    let all = g.batch * g.positions();
    let (maps, columns) =
        (Matrix::new(&maps, g.map[0], all), Matrix::new(&columns, g.depth(), all));
    Ok(storage(product(device, maps, columns.t())?, device))
}

/// The sum of every channel of the first `n` images.
fn channel_sums(x: &Tensor, n: usize, of: &Tensor) -> candle_core::Result<Tensor> {
    let (_, c, h, w) = x.dims4()?;
    let device = device(x)?;
    let out = fresh(device, c)?;
    let args = [(&out).into(), x.into(), n.into(), c.into(), (h * w).into()];
    launch(device, "channel_sums", Grid::Channels(1, c), &args)?;
    Ok(tensor(out, device, of.shape()))
}

struct Convolution {
    kind: Kind,
    geometry: Geometry,
    /// Images whose maps the bias is added to, from the first on.
    biased: usize,
}

/// A convolution with a bias on the first `biased` images, on all where only [`Kind::Dense`] has others.
pub(in crate::ops) fn convolution(
    kind: Kind,
    geometry: Geometry,
    x: &Tensor,
    weight: &Tensor,
    (bias, biased): (Option<&Tensor>, usize),
) -> Result<Tensor> {
    let op = Convolution { kind, geometry, biased };
    Ok(match bias {
        Some(bias) => apply_on_device(op, &[x, weight, bias])?,
        None => apply_on_device(op, &[x, weight])?,
    })
}

impl DeviceOp for Convolution {
    fn name(&self) -> &'static str {
        self.kind.title()
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let ([x, weight], bias) = ([&operands[0], &operands[1]], operands.get(2));
        let g = &self.geometry;
        let map = Shape::from(&g.map_shape()[..]);
        Ok(match self.kind {
            Kind::Dense => (maps_of(g, x, weight, (bias, self.biased), false)?, map),
            Kind::Rectified => (maps_of(g, x, weight, (bias, self.biased), true)?, map),
            Kind::Transposed => (images_of(g, x, weight, bias)?, Shape::from(&g.image_shape()[..])),
            Kind::Depthwise => {
                let (device, n) = (device(x)?, map.elem_count());
                let out = fresh(device, n)?;
                let args = [
                    (&out).into(),
                    x.into(),
                    weight.into(),
                    bias.into(),
                    sizes(g)?.into(),
                    n.into(),
                ];
                launch(device, "depthwise", Grid::Elements(n), &args)?;
                (storage(out, device), map)
            }
        })
    }

    fn backward(&self, operands: &[Tensor], y: &Tensor, grad: &Tensor) -> Gradients {
        let [x, weight] = [operands[0].detach(), operands[1].detach()];
        let [of_x, of_weight] = [&operands[0], &operands[1]];
        let g = &self.geometry;
        let passed = match self.kind {
            Kind::Rectified => y.le(0.0)?.where_cond(&grad.zeros_like()?, grad)?,
            _ => grad.clone(),
        };
        let grad = &passed;
        let mut grads = if let Kind::Depthwise = self.kind {
            self.depthwise_gradients(operands, grad)?
        } else {
            let gx = match self.kind {
                _ if !of_x.track_op() => None,
                Kind::Transposed => Some(maps_of(g, grad, &weight, (None, 0), false)?),
                _ => Some(images_of(g, grad, &weight, None)?),
            };
            let gw = match self.kind {
                _ if !of_weight.track_op() => None,
                Kind::Transposed => Some(weight_of(g, grad, &x)?),
                _ => Some(weight_of(g, &x, grad)?),
            };
            let tensor = |values: Option<CudaStorage>, of: &Tensor| {
                values.map(|values| of_storage(values, of.shape()))
            };
            vec![tensor(gx, of_x), tensor(gw, of_weight)]
        };
        if let Some(bias) = operands.get(2) {
            let sums = || channel_sums(grad, self.biased, bias);
            grads.push(bias.track_op().then(sums).transpose()?);
        }
        Ok(grads)
    }
}

impl Convolution {
    fn depthwise_gradients(
        &self,
        operands: &[Tensor],
        grad: &Tensor,
    ) -> candle_core::Result<Vec<Option<Tensor>>> {
        let [x, weight] = [&operands[0], &operands[1]];
        let (g, device) = (&self.geometry, device(grad)?);
        let [gx, gw] = [wanted(x, device)?, wanted(weight, device)?];
        if let Some(out) = &gx {
            let n = x.elem_count();
            let args = [out.into(), grad.into(), weight.into(), sizes(g)?.into(), n.into()];
            launch(device, "depthwise_image_grad", Grid::Elements(n), &args)?;
        }
        if let Some(out) = &gw {
            let args = [out.into(), x.into(), grad.into(), sizes(g)?.into()];
            let taps = g.image[0] * g.taps();
            launch(device, "depthwise_weight_grad", Grid::Rows(taps), &args)?;
        }
        Ok(vec![made(gx, x, device), made(gw, weight, device)])
    }
}

/// Every pixel four times.
pub(in crate::ops) fn double(x: &Tensor) -> Result<Tensor> {
    Ok(apply_on_device(Squares { double: true }, &[x])?)
}

/// Means of squares of four pixels.
pub(in crate::ops) fn average_squares(x: &Tensor) -> Result<Tensor> {
    Ok(apply_on_device(Squares { double: false }, &[x])?)
}

/// From pixels to squares of four, or back.
struct Squares {
    double: bool,
}

impl Squares {
    /// Planes of `from` pixels by `factor` into planes of `to`.
    fn run(
        out_to_squares: bool,
        x: &Tensor,
        factor: f32,
        [small, large]: [[usize; 2]; 2],
    ) -> candle_core::Result<CudaStorage> {
        let device = device(x)?;
        let [from, to] = if out_to_squares { [small, large] } else { [large, small] };
        let n = x.elem_count() / (from[0] * from[1]) * to[0] * to[1];
        let out = fresh(device, n)?;
        let args = [
            (&out).into(),
            x.into(),
            factor.into(),
            small[0].into(),
            small[1].into(),
            large[0].into(),
            large[1].into(),
            n.into(),
        ];
        let name = if out_to_squares { "to_squares" } else { "from_squares" };
        launch(device, name, Grid::Elements(n), &args)?;
        Ok(storage(out, device))
    }
}

impl DeviceOp for Squares {
    fn name(&self) -> &'static str {
        "squares"
    }

    fn forward(&self, operands: &[Tensor]) -> candle_core::Result<(CudaStorage, Shape)> {
        let (b, c, h, w) = operands[0].dims4()?;
        if self.double {
            let values = Self::run(true, &operands[0], 1.0, [[h, w], [2 * h, 2 * w]])?;
            return Ok((values, (b, c, 2 * h, 2 * w).into()));
        }
        let values = Self::run(false, &operands[0], 0.25, [[h / 2, w / 2], [h, w]])?;
        Ok((values, (b, c, h / 2, w / 2).into()))
    }

    fn backward(&self, operands: &[Tensor], _: &Tensor, grad: &Tensor) -> Gradients {
        let (_, _, h, w) = operands[0].dims4()?;
        let values = if self.double {
            Self::run(false, grad, 1.0, [[h, w], [2 * h, 2 * w]])?
        } else {
            Self::run(true, grad, 0.25, [[h / 2, w / 2], [h, w]])?
        };
        Ok(vec![Some(of_storage(values, operands[0].shape()))])
    }
}
