//! The affine map.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use super::cuda;
use super::{
    GRAIN, fused, host,
    kernel::{MatRef, fresh, product, product_behind},
    on_cuda, slice, with_values,
};
use crate::{
    autograd::{apply2, apply3},
    error::{Error, Result},
};

/// `x weight^T + bias`.
///
/// # Shapes
/// `x`: `(.., in)`; `weight`: `(out, in)`, as in PyTorch; `bias`: `(out,)`; the result `(.., out)`.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    linear_rows(x, weight, (bias, rows(x)), None)
}

/// [`linear`] that adds the bias to the first `biased` rows only: values and, behind them, tangents
/// of one batch. The result of as many of the first rows as `known` has is taken from there.
///
/// # Errors
/// As [`linear`].
pub(crate) fn linear_rows(
    x: &Tensor,
    weight: &Tensor,
    (bias, biased): (Option<&Tensor>, usize),
    known: Option<&Tensor>,
) -> Result<Tensor> {
    check(x, weight, bias)?;
    let out = weight.dims()[0];
    if let Some(known) = known {
        let fits = known.dims().last() == Some(&out) && rows(known) <= biased.min(rows(x));
        if !fits {
            return Err(misfit(format!("at most ({biased}, {out})"), std::slice::from_ref(known)));
        }
    }
    let operands = [x, weight, bias.unwrap_or(weight)];
    on_cuda!(operands[1..], cuda::reaches(x) && x.device().same_device(weight.device()) =>
        cuda::linear(x, weight, (bias, biased)));
    if !fused(&operands) {
        let flat = x.reshape((rows(x), weight.dims()[1]))?;
        let y = flat.matmul(&weight.t()?)?;
        let y = match bias {
            Some(bias) => first_rows(&y, biased, |y| Ok(y.broadcast_add(bias)?))?,
            None => y,
        };
        return Ok(y.reshape(result(x, weight))?);
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let known = known.filter(|known| fused(&[known])).map(Tensor::contiguous).transpose()?;
    let op = Affine { known: known.into_iter().collect(), biased };
    Ok(match bias {
        Some(bias) => apply3(op, [&x, &weight, &bias.contiguous()?])?,
        None => apply2(op, [&x, &weight])?,
    })
}

/// `f` of the first rows, the others as they are.
pub(super) fn first_rows(
    x: &Tensor,
    n: usize,
    f: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let rows = x.dim(0)?;
    if n >= rows {
        return f(x);
    }
    Ok(Tensor::cat(&[f(&x.narrow(0, 0, n)?)?, x.narrow(0, n, rows - n)?], 0)?)
}

/// [`linear`] whose value is known already: records the graph and computes nothing.
///
/// For objectives whose forward pass was made without a graph: the backward pass then needs no
/// second product. Where no fused kernel applies the value is computed again.
///
/// # Shapes
/// As [`linear`]; `value` is its result for these operands in any number of consecutive parts, each
/// `(.., out)`.
///
/// # Errors
/// [`Error::Shape`] if the operands do not fit.
pub fn linear_known(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    value: &[Tensor],
) -> Result<Tensor> {
    check(x, weight, bias)?;
    let (b, out) = (rows(x), weight.dims()[0]);
    let part_rows = |part: &Tensor| (part.dims().last() == Some(&out)).then(|| rows(part));
    if value.iter().map(part_rows).sum::<Option<usize>>() != Some(b) {
        return Err(misfit(format!("({b}, {out}) in parts of rows"), value));
    }
    let operands = [x, weight, bias.unwrap_or(weight)];
    on_cuda!(operands, cuda::stackable(value) => cuda::linear_known(x, weight, bias, value));
    if !fused(&operands) || !value.iter().all(|part| fused(&[part])) {
        return linear(x, weight, bias);
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let known = value.iter().map(Tensor::contiguous).collect::<candle_core::Result<_>>()?;
    let op = Affine { known, biased: b };
    Ok(match bias {
        Some(bias) => apply3(op, [&x, &weight, &bias.contiguous()?])?,
        None => apply2(op, [&x, &weight])?,
    })
}

fn misfit(expected: String, parts: &[Tensor]) -> Error {
    let got = parts.iter().flat_map(|part| part.dims().to_vec()).collect();
    Error::Shape { what: "known value of a linear map", expected, got }
}

fn check(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
    if x.rank() == 0 || weight.rank() != 2 || x.dims().last() != weight.dims().last() {
        return Err(Error::Shape {
            what: "linear",
            expected: format!("(.., in) for a weight (out, in) = {:?}", weight.dims()),
            got: x.dims().to_vec(),
        });
    }
    match bias {
        Some(bias) if bias.dims() != [weight.dims()[0]] => Err(Error::Shape {
            what: "bias of a linear map",
            expected: format!("({},)", weight.dims()[0]),
            got: bias.dims().to_vec(),
        }),
        _ => Ok(()),
    }
}

/// The product of all axes but the last.
fn rows(x: &Tensor) -> usize {
    x.dims().split_last().map_or(1, |(_, leading)| leading.iter().product())
}

/// The shape of the result.
fn result(x: &Tensor, weight: &Tensor) -> Vec<usize> {
    let mut dims = x.dims().to_vec();
    dims.pop();
    dims.push(weight.dims()[0]);
    dims
}

struct Affine {
    /// The value of the first rows, if it was computed before, in parts.
    known: Vec<Tensor>,
    /// Rows that the bias is added to, from the first on.
    biased: usize,
}

impl Affine {
    fn value(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        [b, inner, out]: [usize; 3],
    ) -> candle_core::Result<Vec<f32>> {
        let known: usize = self.known.iter().map(rows).sum();
        if known == b && b > 0 {
            return joined(&self.known);
        }
        let bias = bias.map(|bias| (bias, self.biased - known));
        let (x, axes) = (&x[known * inner..], [b - known, inner, out]);
        match self.known.as_slice() {
            [] => Ok(Self::forward(&[], x, weight, bias, axes)),
            [known] => {
                with_values([known], |[known]| Ok(Self::forward(known, x, weight, bias, axes)))
            }
            parts => Ok(Self::forward(&joined(parts)?, x, weight, bias, axes)),
        }
    }

    /// Rows behind known ones. `axes`: batch, input and output.
    fn forward(
        known: &[f32],
        x: &[f32],
        weight: &[f32],
        bias: Option<(&[f32], usize)>,
        [b, inner, out]: [usize; 3],
    ) -> Vec<f32> {
        let weight = MatRef::new(weight, out, inner).t();
        let mut y = product_behind(known, MatRef::new(x, b, inner), weight);
        if let Some((bias, biased)) = bias {
            let out = out.max(1);
            y[known.len()..][..biased.min(b) * out]
                .par_chunks_mut((GRAIN / out).max(1) * out)
                .for_each(|rows| {
                    for row in rows.chunks_exact_mut(out) {
                        row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
                    }
                });
        }
        y
    }

    fn backward(
        x: &Tensor,
        weight: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (b, (out, inner)) = (rows(x), weight.dims2()?);
        with_values([x, weight, grad], |[xs, ws, gs]| {
            let gs = MatRef::new(gs, b, out);
            let gx = if x.track_op() {
                let gx = product(gs, MatRef::new(ws, out, inner));
                Some(Tensor::from_vec(gx, x.shape(), x.device())?)
            } else {
                None
            };
            let gw = if weight.track_op() {
                let gw = product(gs.t(), MatRef::new(xs, b, inner));
                Some(Tensor::from_vec(gw, (out, inner), x.device())?)
            } else {
                None
            };
            Ok((gx, gw))
        })
    }
}

/// The shape of the result; rows, input and output.
fn shapes(x: &Layout, weight: &Layout) -> (Shape, [usize; 3]) {
    let (out, inner) = (weight.dims()[0], weight.dims()[1]);
    let mut dims = x.dims().to_vec();
    dims.pop();
    let rows = dims.iter().product();
    dims.push(out);
    (dims.into(), [rows, inner, out])
}

/// Consecutive parts in one vector; copied in parallel where they are equally long.
fn joined(parts: &[Tensor]) -> candle_core::Result<Vec<f32>> {
    let n = parts.iter().map(Tensor::elem_count).sum();
    let len = parts.first().map_or(0, Tensor::elem_count);
    let guards: Vec<_> = parts.iter().map(Tensor::storage_and_layout).collect();
    let values = guards.iter().map(|(storage, layout)| host(storage, layout));
    let values = values.collect::<candle_core::Result<Vec<_>>>()?;
    if len == 0 || values.iter().any(|part| part.len() != len) {
        return Ok(values.concat());
    }
    Ok(fresh(n, [len; 2], |start, out| out.copy_from_slice(values[start / len])))
}

/// The sum over rows of every one of `columns`.
fn column_sums(values: &[f32], columns: usize) -> Vec<f32> {
    let width = columns.max(1);
    // A few blocks of rows, added in their order.
    let block = (values.len() / width).div_ceil(8).max((GRAIN / width).max(1)) * width;
    let add = |mut sum: Vec<f32>, row: &[f32]| {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        sum
    };
    let part = |rows: &[f32]| rows.chunks_exact(width).fold(vec![0.0; columns], add);
    let parts: Vec<_> = values.par_chunks(block).map(part).collect();
    parts.iter().fold(vec![0.0; columns], |sum, part| add(sum, part))
}

impl CustomOp2 for Affine {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (shape, axes) = shapes(lx, lw);
        let y = self.value(slice(x, lx)?, slice(weight, lw)?, None, axes)?;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        Self::backward(x, weight, grad)
    }
}

impl CustomOp3 for Affine {
    fn name(&self) -> &'static str {
        "linear"
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
        let (shape, axes) = shapes(lx, lw);
        let bias = Some(slice(bias, lb)?);
        let y = self.value(slice(x, lx)?, slice(weight, lw)?, bias, axes)?;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (gx, gw) = Self::backward(x, weight, grad)?;
        let gb = if bias.track_op() {
            let out = bias.dim(0)?;
            Some(with_values([grad], |[gs]| {
                let biased = &gs[..gs.len().min(self.biased * out)];
                Tensor::from_vec(column_sums(biased, out), out, bias.device())
            })?)
        } else {
            None
        };
        Ok((gx, gw, gb))
    }
}
