//! Activations of values with, behind them, the tangents of the first of their rows.

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
use super::{
    build, fused,
    math::{exp, ln_1p, logistic},
    on_cuda, slice, with_values,
};
use crate::{autograd::apply1, error::Result};

/// A function that values and tangents pass.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StackedActivation {
    /// [`leaky_relu`](super::leaky_relu) with this slope.
    LeakyRelu(f32),
    /// [`softplus`](super::softplus).
    Softplus,
}

impl StackedActivation {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        match self {
            Self::LeakyRelu(slope) => {
                if x > 0.0 {
                    x
                } else {
                    slope * x
                }
            }
            Self::Softplus => x.max(0.0) + ln_1p(exp(-x.abs())),
        }
    }

    /// First and second derivative.
    #[inline(always)]
    fn derivatives(self, x: f32) -> (f32, f32) {
        match self {
            Self::LeakyRelu(slope) => (if x > 0.0 { 1.0 } else { slope }, 0.0),
            Self::Softplus => {
                let s = logistic(x);
                (s, s * (1.0 - s))
            }
        }
    }
}

/// `phi(x)` of the first `values` rows, and `phi'(x) t` of the rows `t` behind them, whose points
/// `x` are the first rows in the same order. `None` where no fused kernel applies.
pub(crate) fn stacked_activation(
    x: &Tensor,
    values: usize,
    function: StackedActivation,
) -> Result<Option<Tensor>> {
    let row = x.elem_count() / x.dim(0)?.max(1);
    on_cuda!([x] => cuda::stacked(x, values * row, function).map(Some));
    if !fused(&[x]) {
        return Ok(None);
    }
    let op = Stacked { function, boundary: values * row };
    Ok(Some(apply1(op, &x.contiguous()?)?))
}

struct Stacked {
    function: StackedActivation,
    /// Elements before the first tangent.
    boundary: usize,
}

impl Stacked {
    /// Fills blocks of a new vector, each wholly on one side of the boundary; `f` gets the first
    /// element and which side.
    #[inline(always)]
    fn filled(&self, n: usize, f: impl Fn(usize, bool, &mut [f32]) + Sync) -> Vec<f32> {
        build(
            n,
            #[inline(always)]
            |start, out| {
                let here = self.boundary.saturating_sub(start).min(out.len());
                let (values, tangents) = out.split_at_mut(here);
                if !values.is_empty() {
                    f(start, true, values);
                }
                if !tangents.is_empty() {
                    f(start + here, false, tangents);
                }
            },
        )
    }
}

impl CustomOp1 for Stacked {
    fn name(&self) -> &'static str {
        "stacked activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, f) = (slice(x, lx)?, self.function);
        let y = self.filled(
            x.len(),
            #[inline(always)]
            |start, value, out| {
                if value {
                    out.iter_mut().zip(&x[start..]).for_each(|(y, x)| *y = f.value(*x));
                    return;
                }
                let points = &x[start - self.boundary..];
                for (y, (t, x)) in out.iter_mut().zip(x[start..].iter().zip(points)) {
                    *y = f.derivatives(*x).0 * t;
                }
            },
        );
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (f, boundary) = (self.function, self.boundary);
        let values = with_values([x, grad], |[xs, gs]| {
            // Points with tangents are the first.
            let dual = xs.len().saturating_sub(boundary);
            Ok(self.filled(
                xs.len(),
                #[inline(always)]
                |start, value, out| {
                    if !value {
                        let points = &xs[start - boundary..];
                        for (gx, (x, g)) in out.iter_mut().zip(points.iter().zip(&gs[start..])) {
                            *gx = f.derivatives(*x).0 * g;
                        }
                        return;
                    }
                    let (both, alone) = out.split_at_mut(dual.saturating_sub(start).min(out.len()));
                    let behind = boundary + start;
                    let points = xs[start..].iter().zip(&gs[start..]);
                    if !both.is_empty() {
                        let tangents = xs[behind..].iter().zip(&gs[behind..]);
                        for (gx, ((x, g), (t, gt))) in both.iter_mut().zip(points.zip(tangents)) {
                            let (first, second) = f.derivatives(*x);
                            *gx = first * g + second * t * gt;
                        }
                    }
                    let rest = start + both.len();
                    let points = xs[rest..].iter().zip(&gs[rest..]);
                    for (gx, (x, g)) in alone.iter_mut().zip(points) {
                        *gx = f.derivatives(*x).0 * g;
                    }
                },
            ))
        })?;
        Ok(Some(Tensor::from_vec(values, x.shape(), x.device())?))
    }
}
