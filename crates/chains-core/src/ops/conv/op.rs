//! The convolutions as candle operations with a backward pass.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor};

use super::{dense, depthwise, forward::forward, geometry::Geometry};
use crate::{
    autograd::{apply2, apply3},
    error::Result,
    ops::{build, slice, with_values},
};

#[derive(Clone, Copy)]
pub(in crate::ops) enum Kind {
    /// From images to maps.
    Dense,
    /// From images to maps without their negative part.
    Rectified,
    /// From maps to images.
    Transposed,
    /// From images to maps, channel by channel.
    Depthwise,
}

impl Kind {
    pub(in crate::ops) fn title(self) -> &'static str {
        match self {
            Self::Dense => "conv2d",
            Self::Rectified => "conv2d_relu",
            Self::Transposed => "conv_transpose2d",
            Self::Depthwise => "depthwise_conv2d",
        }
    }
}

pub(super) struct Convolution {
    pub(super) kind: Kind,
    pub(super) geometry: Geometry,
    /// Images whose maps the bias is added to, from the first on; others only of [`Kind::Dense`].
    pub(super) biased: usize,
    /// The maps of the first images, if they were computed before; others only of [`Kind::Dense`].
    pub(super) known: Option<Tensor>,
}

impl Convolution {
    /// With a bias on all images.
    pub(super) fn of(kind: Kind, geometry: Geometry) -> Self {
        Self { kind, geometry, biased: geometry.batch, known: None }
    }

    pub(super) fn apply(
        self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (x, weight) = (x.contiguous()?, weight.contiguous()?);
        Ok(match bias {
            Some(bias) => apply3(self, [&x, &weight, &bias.contiguous()?])?,
            None => apply2(self, [&x, &weight])?,
        })
    }

    fn forward(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let g = &self.geometry;
        let (y, shape) = match self.kind {
            Kind::Dense | Kind::Rectified => {
                let rectify = matches!(self.kind, Kind::Rectified);
                let first = self.known.as_ref().map_or(0, |known| known.dims()[0]);
                let bias = bias.map(|bias| (bias, self.biased - first));
                let others = Geometry { batch: g.batch - first, ..*g };
                let y = forward(&others, &x[first * g.image_len()..], weight, bias, rectify);
                let y = match &self.known {
                    Some(known) => with_values([known], |[known]| Ok([known, &y].concat()))?,
                    None => y,
                };
                (y, g.map_shape())
            }
            Kind::Transposed => (dense::image_gradient(g, x, weight, bias), g.image_shape()),
            Kind::Depthwise => (depthwise::forward(g, x, weight, bias), g.map_shape()),
        };
        Ok((CpuStorage::F32(y), Shape::from(&shape[..])))
    }

    /// The gradient of the sum before it was rectified to `y`.
    fn through(&self, y: &Tensor, grad: &Tensor) -> candle_core::Result<Tensor> {
        let Kind::Rectified = self.kind else { return Ok(grad.clone()) };
        let kept = with_values([y, grad], |[ys, gs]| {
            Ok(build(
                gs.len(),
                #[inline(always)]
                |start, out| {
                    let pairs = ys[start..].iter().zip(&gs[start..]);
                    for (out, (y, g)) in out.iter_mut().zip(pairs) {
                        *out = if *y <= 0.0 { 0.0 } else { *g };
                    }
                },
            ))
        })?;
        Tensor::from_vec(kept, y.shape(), y.device())
    }

    fn backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let g = &self.geometry;
        with_values([x, weight, grad], |[xs, ws, gs]| {
            let gx = x.track_op().then(|| match self.kind {
                Kind::Dense | Kind::Rectified => dense::image_gradient(g, gs, ws, None),
                Kind::Transposed => forward(g, gs, ws, None, false),
                Kind::Depthwise => depthwise::image_gradient(g, gs, ws),
            });
            let gw = weight.track_op().then(|| match self.kind {
                Kind::Dense | Kind::Rectified => dense::weight_gradient(g, xs, gs),
                Kind::Transposed => dense::weight_gradient(g, gs, xs),
                Kind::Depthwise => depthwise::weight_gradient(g, xs, gs),
            });
            let tensor = |values: Option<Vec<f32>>, of: &Tensor| {
                values.map(|v| Tensor::from_vec(v, of.shape(), of.device())).transpose()
            };
            Ok((tensor(gx, x)?, tensor(gw, weight)?))
        })
    }
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        self.kind.title()
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.forward(slice(x, lx)?, slice(weight, lw)?, None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        self.backward(x, weight, &self.through(y, grad)?)
    }
}

impl CustomOp3 for Convolution {
    fn name(&self) -> &'static str {
        self.kind.title()
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.forward(slice(x, lx)?, slice(weight, lw)?, Some(slice(bias, lb)?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = &self.through(y, grad)?;
        let (gx, gw) = self.backward(x, weight, grad)?;
        let gb = if bias.track_op() {
            let (_, c, h, w) = grad.dims4()?;
            let sums = with_values([grad], |[gs]| {
                let biased = &gs[..gs.len().min(self.biased * c * h * w)];
                Ok(dense::channel_sums(biased, [c, h * w]))
            })?;
            Some(Tensor::from_vec(sums, c, bias.device())?)
        } else {
            None
        };
        Ok((gx, gw, gb))
    }
}
