//! Sums and views, whose gradients are handed on without a copy.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Shape, Tensor};

use super::{build, fused, slice, with_values};
use crate::{
    autograd::{self, apply2, apply3, note_view},
    error::{Error, Result},
};

/// `a + b`, of one shape.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dims() != b.dims() {
        let (expected, got) = (format!("{:?}", a.dims()), b.dims().to_vec());
        return Err(Error::Shape { what: "second term of a sum", expected, got });
    }
    if !fused(&[a, b]) {
        return Ok(a.add(b)?);
    }
    Ok(apply2(Add, [&a.contiguous()?, &b.contiguous()?])?)
}

/// `a + b c`, of one shape.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ.
pub fn add_product(a: &Tensor, b: &Tensor, c: &Tensor) -> Result<Tensor> {
    for (what, other) in [("first factor of a sum", b), ("second factor of a sum", c)] {
        if a.dims() != other.dims() {
            let (expected, got) = (format!("{:?}", a.dims()), other.dims().to_vec());
            return Err(Error::Shape { what, expected, got });
        }
    }
    if !fused(&[a, b, c]) {
        return Ok(a.add(&b.mul(c)?)?);
    }
    Ok(apply3(AddProduct, [&a.contiguous()?, &b.contiguous()?, &c.contiguous()?])?)
}

/// `x` in another shape of as many elements.
///
/// # Errors
/// If the numbers of elements differ.
pub fn reshape(x: &Tensor, shape: impl Into<Shape>) -> Result<Tensor> {
    let y = x.reshape(shape.into())?;
    note_view(&y, x);
    Ok(y)
}

/// Tensors of one shape one after the other along a new first axis.
///
/// # Shapes
/// n times `(..)`, n at least 1 -> `(n, ..)`.
///
/// # Errors
/// If the shapes differ or there is no tensor.
pub fn stack(parts: &[&Tensor]) -> Result<Tensor> {
    Ok(autograd::stack(parts)?)
}

/// The sum of two tensors of one shape, without a graph.
pub(crate) fn sum_of_two(a: &Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
    if !fused(&[a, b]) {
        return a.detach().add(&b.detach());
    }
    Tensor::from_vec(with_values([a, b], |[a, b]| Ok(sums(a, b)))?, a.shape(), a.device())
}

fn sums(a: &[f32], b: &[f32]) -> Vec<f32> {
    build(
        a.len(),
        #[inline(always)]
        |start, out| {
            for (sum, (a, b)) in out.iter_mut().zip(a[start..].iter().zip(&b[start..])) {
                *sum = a + b;
            }
        },
    )
}

struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let values = sums(slice(a, la)?, slice(b, lb)?);
        Ok((CpuStorage::F32(values), la.shape().clone()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let of = |x: &Tensor| x.track_op().then(|| grad.clone());
        Ok((of(a), of(b)))
    }
}

struct AddProduct;

impl CustomOp3 for AddProduct {
    fn name(&self) -> &'static str {
        "add_product"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
        c: &CpuStorage,
        lc: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let operands = [slice(a, la)?, slice(b, lb)?, slice(c, lc)?];
        let values = build(
            operands[0].len(),
            #[inline(always)]
            |start, out| {
                let [a, b, c] = operands.map(|values| &values[start..start + out.len()]);
                for (i, out) in out.iter_mut().enumerate() {
                    *out = a[i] + b[i] * c[i];
                }
            },
        );
        Ok((CpuStorage::F32(values), la.shape().clone()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let by = |other: &Tensor, of: &Tensor| -> candle_core::Result<Option<Tensor>> {
            if !of.track_op() {
                return Ok(None);
            }
            let values = with_values([other, grad], |[others, grads]| {
                Ok(build(
                    grads.len(),
                    #[inline(always)]
                    |start, out| {
                        let operands = others[start..].iter().zip(&grads[start..]);
                        for (y, (other, g)) in out.iter_mut().zip(operands) {
                            *y = other * g;
                        }
                    },
                ))
            })?;
            Tensor::from_vec(values, of.shape(), of.device()).map(Some)
        };
        Ok((a.track_op().then(|| grad.clone()), by(c, b)?, by(b, c)?))
    }
}
