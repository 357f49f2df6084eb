//! A convolution behind a doubling of the resolution, without the doubled map.

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::{conv2d, fused, slice, upsample2, with_values};
use crate::{
    autograd::apply1,
    error::{Error, Result},
};

/// [`conv2d`] with kernel 3, stride 1 and padding 1 of [`upsample2`] of `x`.
///
/// A pixel of the result sees two rows and two columns of `x`, which of them depends on its parity: so
/// four kernels of 2x2, sums of the given weights, give the four pixels of every square, with 4/9 of
/// the multiplications.
///
/// # Shapes
/// `x`: `(b, in, h, w)`; `weight`: `(out, in, 3, 3)`; `bias`: `(out,)`; the result `(b, out, 2 h, 2 w)`.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit.
pub fn upsample2_conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if weight.rank() != 4 || weight.dims()[2..] != [3, 3] {
        let (expected, got) = ("a weight (out, in, 3, 3)".into(), weight.dims().to_vec());
        return Err(Error::Shape { what: "upsample2_conv2d", expected, got });
    }
    if !fused(&[x, weight]) {
        return conv2d(&upsample2(x)?, weight, bias, 1, 1);
    }
    let kernels = phase_kernels(weight)?;
    let bias = bias.map(|bias| Tensor::cat(&[bias; 4], 0)).transpose()?;
    let maps = conv2d(x, &kernels, bias.as_ref(), 1, 1)?;
    Ok(apply1(Interleave, &maps.contiguous()?)?)
}

/// The kernels `(4 out, in, 2, 2)` of the pixels at even and odd rows and columns, in this order.
fn phase_kernels(weight: &Tensor) -> Result<Tensor> {
    // Along an axis: the first pixel of a pair sees (w0, w1 + w2), the second (w0 + w1, w2).
    let pair = |w: &Tensor, axis: usize| -> Result<[Tensor; 2]> {
        let [a, b, c] = [0, 1, 2].map(|at| w.narrow(axis, at, 1));
        let (a, b, c) = (a?, b?, c?);
        Ok([Tensor::cat(&[&a, &(&b + &c)?], axis)?, Tensor::cat(&[&(&a + &b)?, &c], axis)?])
    };
    let mut kernels = Vec::with_capacity(4);
    for rows in pair(weight, 2)? {
        kernels.extend(pair(&rows, 3)?);
    }
    Ok(Tensor::cat(&kernels, 0)?)
}

/// From the maps of the four phases, `(b, 4 c, h + 1, w + 1)`, to `(b, c, 2 h, 2 w)`: the pixel at row
/// `2 i + r` and column `2 j + s` is that of phase `(r, s)` at `(i + r, j + s)`.
struct Interleave;

/// Channels and sides of the result from the shape of the phases.
fn sides(dims: &[usize]) -> candle_core::Result<[usize; 3]> {
    match *dims {
        [_, c, h, w] if c % 4 == 0 && h > 1 && w > 1 => Ok([c / 4, h - 1, w - 1]),
        _ => candle_core::bail!("interleave: no four phases in {dims:?}"),
    }
}

impl CustomOp1 for Interleave {
    fn name(&self) -> &'static str {
        "interleave"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let ([c, h, w], b) = (sides(lx.dims())?, lx.dims()[0]);
        let (x, phase) = (slice(x, lx)?, (h + 1) * (w + 1));
        let mut out = vec![0_f32; b * c * 4 * h * w];
        out.par_chunks_mut(4 * h * w).enumerate().for_each(|(plane, out)| {
            let (image, channel) = (plane / c, plane % c);
            for (row, out) in out.chunks_exact_mut(2 * w).enumerate() {
                let (i, r) = (row / 2, row % 2);
                let of = |s: usize| {
                    let start = (image * 4 * c + (2 * r + s) * c + channel) * phase;
                    &x[start + (i + r) * (w + 1) + s..][..w]
                };
                let pairs = of(0).iter().zip(of(1));
                for (out, (even, odd)) in out.chunks_exact_mut(2).zip(pairs) {
                    out[0] = *even;
                    out[1] = *odd;
                }
            }
        });
        Ok((CpuStorage::F32(out), Shape::from((b, c, 2 * h, 2 * w))))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let [c, h, w] = sides(x.dims())?;
        let phase = (h + 1) * (w + 1);
        let values = with_values([grad], |[gs]| {
            let mut out = vec![0_f32; x.elem_count()];
            out.par_chunks_mut(phase).enumerate().for_each(|(plane, out)| {
                let (image, within) = (plane / (4 * c), plane % (4 * c));
                let (parity, channel) = (within / c, within % c);
                let (r, s) = (parity / 2, parity % 2);
                let grad = &gs[(image * c + channel) * 4 * h * w..][..4 * h * w];
                for i in 0..h {
                    let row = &grad[(2 * i + r) * 2 * w..][..2 * w];
                    let out = &mut out[(i + r) * (w + 1) + s..][..w];
                    for (out, pair) in out.iter_mut().zip(row.chunks_exact(2)) {
                        *out = pair[s];
                    }
                }
            });
            Ok(out)
        })?;
        Ok(Some(Tensor::from_vec(values, x.shape(), x.device())?))
    }
}
