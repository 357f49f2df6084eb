//! The gates of squeeze and excitation.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Shape, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
use super::{build_rows, fused, gaussian::row_sums, on_cuda, slice, with_values};
use crate::{
    autograd::{apply1, apply3},
    error::{Error, Result},
};

/// The mean of every channel of every example.
///
/// # Shapes
/// `(b, c, ..space)` -> `(b, c)`.
///
/// # Errors
/// [`Error::Shape`] for fewer axes than two or an empty space.
pub fn channel_means(x: &Tensor) -> Result<Tensor> {
    let (b, c, s) = axes(x)?;
    if s == 0 {
        let (expected, got) = ("maps that are not empty".into(), x.dims().to_vec());
        return Err(Error::Shape { what: "channel_means", expected, got });
    }
    on_cuda!([x] => cuda::channel_means(x));
    if fused(&[x]) {
        return Ok(apply1(Means, &x.contiguous()?)?);
    }
    Ok(x.reshape((b, c, s))?.mean(2)?)
}

/// `x + scale gate branch`, the gate being one number for every channel of every example.
///
/// # Shapes
/// `x`, `branch` and the result: `(b, c, ..space)`; `gate`: `(b, c)`.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit.
pub fn add_gated(x: &Tensor, branch: &Tensor, gate: &Tensor, scale: f64) -> Result<Tensor> {
    let (b, c, s) = axes(x)?;
    let what = if branch.dims() == x.dims() { "gate" } else { "gated branch" };
    if branch.dims() != x.dims() || gate.dims() != [b, c] {
        let expected = format!("those of {:?}", x.dims());
        let got = [branch.dims(), gate.dims()].concat();
        return Err(Error::Shape { what, expected, got });
    }
    on_cuda!([x, branch, gate] => cuda::add_gated(x, branch, gate, scale));
    if fused(&[x, branch, gate]) && s > 0 {
        let operands = [&x.contiguous()?, &branch.contiguous()?, &gate.contiguous()?];
        return Ok(apply3(Gated { scale: scale as f32 }, operands)?);
    }
    let wide = (gate * scale)?.reshape((b, c, 1))?;
    let gated = branch.reshape((b, c, s))?.broadcast_mul(&wide)?;
    Ok((x + gated.reshape(x.shape())?)?)
}

/// `(b, c, s)` with `s` the product of the space axes.
fn axes(x: &Tensor) -> Result<(usize, usize, usize)> {
    match x.dims() {
        [b, c, space @ ..] => Ok((*b, *c, space.iter().product())),
        got => {
            let (expected, got) = ("(b, c, ..space)".into(), got.to_vec());
            Err(Error::Shape { what: "channels", expected, got })
        }
    }
}

/// The number of rows, and the length of each, from a map and a number for every channel.
fn sides(map: &[f32], rows: usize) -> [usize; 2] {
    [rows, map.len() / rows.max(1)]
}

/// Rows of `f(operand, factor of the row)`.
#[inline(always)]
fn rows_of<const N: usize>(
    [rows, len]: [usize; 2],
    operands: [&[f32]; N],
    factors: &[f32],
    f: impl Fn([f32; N], f32) -> f32 + Copy + Sync,
) -> Vec<f32> {
    build_rows(
        rows * len,
        len,
        #[inline(always)]
        |start, out| {
            for (i, (out, factor)) in
                out.chunks_exact_mut(len).zip(&factors[start / len..]).enumerate()
            {
                let operands = operands.map(|values| values.get(start + i * len..).unwrap_or(&[]));
                let operands = operands.map(|values| &values[..len]);
                for (j, out) in out.iter_mut().enumerate() {
                    *out = f(operands.map(|values| values[j]), *factor);
                }
            }
        },
    )
}

struct Means;

impl CustomOp1 for Means {
    fn name(&self) -> &'static str {
        "channel_means"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (b, c) = (lx.dims()[0], lx.dims()[1]);
        let xs = slice(x, lx)?;
        let [rows, len] = sides(xs, b * c);
        let inverse = 1.0 / len as f32;
        let mut means = row_sums(
            [rows, len],
            [xs],
            #[inline(always)]
            |[x]| x,
        );
        means.iter_mut().for_each(|mean| *mean *= inverse);
        Ok((CpuStorage::F32(means), (b, c).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let [rows, len] = [grad.elem_count(), x.elem_count() / grad.elem_count().max(1)];
        let inverse = 1.0 / len as f32;
        let values = with_values([grad], |[grads]| {
            Ok(rows_of(
                [rows, len],
                [],
                grads,
                #[inline(always)]
                |[], g| g * inverse,
            ))
        })?;
        Tensor::from_vec(values, x.shape(), x.device()).map(Some)
    }
}

struct Gated {
    scale: f32,
}

impl CustomOp3 for Gated {
    fn name(&self) -> &'static str {
        "add_gated"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        branch: &CpuStorage,
        lb: &Layout,
        gate: &CpuStorage,
        lg: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (xs, branch, gates) = (slice(x, lx)?, slice(branch, lb)?, slice(gate, lg)?);
        let scale = self.scale;
        let values = rows_of(
            sides(xs, gates.len()),
            [xs, branch],
            gates,
            #[inline(always)]
            |[x, y], gate| x + (scale * gate) * y,
        );
        Ok((CpuStorage::F32(values), lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        branch: &Tensor,
        gate: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let scale = self.scale;
        let (gb, gg) = with_values([branch, gate, grad], |[branches, gates, grads]| {
            let sides = sides(grads, gates.len());
            let of_branch = || {
                rows_of(
                    sides,
                    [grads],
                    gates,
                    #[inline(always)]
                    |[g], gate| (scale * gate) * g,
                )
            };
            let of_gate = || {
                let mut sums = row_sums(
                    sides,
                    [grads, branches],
                    #[inline(always)]
                    |[g, y]| g * y,
                );
                sums.iter_mut().for_each(|sum| *sum *= scale);
                sums
            };
            Ok((branch.track_op().then(of_branch), gate.track_op().then(of_gate)))
        })?;
        let make = |values: Option<Vec<f32>>, of: &Tensor| {
            values.map(|values| Tensor::from_vec(values, of.shape(), of.device())).transpose()
        };
        Ok((x.track_op().then(|| grad.clone()), make(gb, branch)?, make(gg, gate)?))
    }
}
