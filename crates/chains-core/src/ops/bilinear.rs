//! Interpolation to twice the resolution.

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
use super::{build_rows, fused, linear, on_cuda, slice, with_values};
use crate::{autograd::apply1, error::Result};

/// Bilinear interpolation to twice the sides, the corners staying corners: along an axis of `n` pixels
/// the new pixel `i` is at `i (n - 1) / (2 n - 1)`.
///
/// # Shapes
/// `(b, c, h, w)` -> `(b, c, 2 h, 2 w)`.
///
/// # Errors
/// [`crate::Error::Tensor`] for another rank.
pub fn bilinear2(x: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    on_cuda!([x], cuda::counts(4 * x.elem_count()) => cuda::bilinear2(x));
    if fused(&[x]) {
        return Ok(apply1(Doubled, &x.contiguous()?)?);
    }
    let along = |x: &Tensor, n: usize| -> Result<Tensor> {
        let mut weights = vec![0.0; 2 * n * n];
        for (row, [at, next, share]) in weights.chunks_exact_mut(n.max(1)).zip(places(n)) {
            row[at as usize] += 1.0 - share;
            row[next as usize] += share;
        }
        let weights = Tensor::from_vec(weights, (2 * n, n), &Device::Cpu)?;
        linear(x, &weights.to_dtype(x.dtype())?.to_device(x.device())?, None)
    };
    let wide = along(&x.contiguous()?, w)?;
    let tall = along(&wide.transpose(2, 3)?.contiguous()?, h)?;
    Ok(tall.transpose(2, 3)?.contiguous()?)
}

/// For each new pixel of an axis of `n` the old ones on both sides and the share of the second.
fn places(n: usize) -> impl Iterator<Item = [f64; 3]> {
    (0..2 * n).map(move |i| {
        // In whole numbers, so that a pixel at a place of an old one is that one.
        let (at, rest) = (i * (n - 1) / (2 * n - 1), i * (n - 1) % (2 * n - 1));
        let share = rest as f64 / (2 * n - 1) as f64;
        [at as f64, (at + 1).min(n - 1) as f64, share]
    })
}

/// As [`places`], for the loops.
struct Axis(Vec<(usize, usize, f32)>);

impl Axis {
    fn new(n: usize) -> Self {
        Self(
            places(n).map(|[at, next, share]| (at as usize, next as usize, share as f32)).collect(),
        )
    }
}

/// One plane to twice its sides; `row` has room for one of its rows.
#[inline(always)]
fn doubled([tall, wide]: [&Axis; 2], w: usize, plane: &[f32], row: &mut [f32], out: &mut [f32]) {
    for ((at, next, share), out) in tall.0.iter().zip(out.chunks_exact_mut(2 * w)) {
        let (upper, lower) = (&plane[at * w..][..w], &plane[next * w..][..w]);
        for (y, (a, b)) in row.iter_mut().zip(upper.iter().zip(lower)) {
            *y = a + share * (b - a);
        }
        for (y, (at, next, share)) in out.iter_mut().zip(&wide.0) {
            let (a, b) = (row[*at], row[*next]);
            *y = a + share * (b - a);
        }
    }
}

/// The transpose of [`doubled`], added to `out`.
#[inline(always)]
fn gathered([tall, wide]: [&Axis; 2], w: usize, grads: &[f32], row: &mut [f32], out: &mut [f32]) {
    for ((at, next, share), grads) in tall.0.iter().zip(grads.chunks_exact(2 * w)) {
        row.fill(0.0);
        for (g, (at, next, share)) in grads.iter().zip(&wide.0) {
            row[*at] += (1.0 - share) * g;
            row[*next] += share * g;
        }
        for (to, part) in [(at, 1.0 - share), (next, *share)] {
            let out = &mut out[to * w..][..w];
            out.iter_mut().zip(row.iter()).for_each(|(y, g)| *y += part * g);
        }
    }
}

struct Doubled;

impl CustomOp1 for Doubled {
    fn name(&self) -> &'static str {
        "bilinear2"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (b, c, h, w) = lx.shape().dims4()?;
        let (xs, len) = (slice(x, lx)?, h * w);
        let [tall, wide] = [h, w].map(Axis::new);
        let values = build_rows(
            4 * xs.len(),
            4 * len,
            #[inline(always)]
            |start, out| {
                let mut row = vec![0.0; w];
                let planes = out.chunks_exact_mut(4 * len).zip(xs[start / 4..].chunks_exact(len));
                for (out, plane) in planes {
                    doubled([&tall, &wide], w, plane, &mut row, out);
                }
            },
        );
        Ok((CpuStorage::F32(values), (b, c, 2 * h, 2 * w).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (_, _, h, w) = x.dims4()?;
        let len = h * w;
        let [tall, wide] = [h, w].map(Axis::new);
        let values = with_values([grad], |[grads]| {
            Ok(build_rows(
                x.elem_count(),
                len,
                #[inline(always)]
                |start, out| {
                    let mut row = vec![0.0; w];
                    let grads = grads[4 * start..].chunks_exact(4 * len);
                    for (out, grads) in out.chunks_exact_mut(len).zip(grads) {
                        gathered([&tall, &wide], w, grads, &mut row, out);
                    }
                },
            ))
        })?;
        Tensor::from_vec(values, x.shape(), x.device()).map(Some)
    }
}
