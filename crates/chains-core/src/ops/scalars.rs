//! Many small terms of a loss.

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
use super::{fused, on_cuda, slice};
use crate::{
    autograd::{FusedOp, Gradients, apply_all, apply1},
    error::{Error, Result},
    host,
};

/// The sum of scalars, at least one.
///
/// # Errors
/// [`Error::Shape`] if there is none, or one is no scalar.
pub fn total(terms: &[Tensor]) -> Result<Tensor> {
    let odd = terms.iter().find(|term| term.rank() > 0);
    if terms.is_empty() || odd.is_some() {
        let got = odd.map_or(Vec::new(), |term| term.dims().to_vec());
        return Err(Error::Shape { what: "total", expected: "scalars, at least one".into(), got });
    }
    let all: Vec<&Tensor> = terms.iter().collect();
    on_cuda!(all => cuda::total(&all));
    if fused(&all) {
        return Ok(apply_all(Total, &all)?);
    }
    Ok(Tensor::stack(terms, 0)?.sum_all()?)
}

struct Total;

impl FusedOp for Total {
    fn name(&self) -> &'static str {
        "total"
    }

    fn forward(&self, operands: &[&[f32]]) -> candle_core::Result<(Vec<f32>, Shape)> {
        let sum: f64 = operands.iter().map(|term| f64::from(term[0])).sum();
        Ok((vec![sum as f32], ().into()))
    }

    fn backward(&self, operands: &[Tensor], grad: &Tensor) -> Gradients {
        Ok(operands.iter().map(|term| term.track_op().then(|| grad.clone())).collect())
    }
}

/// `max |x|`, a scalar, 0 of an empty tensor; equal sizes share the gradient.
///
/// # Errors
/// Of the tensor library.
pub fn max_abs(x: &Tensor) -> Result<Tensor> {
    on_cuda!([x] => cuda::largest_size(x));
    if fused(&[x]) {
        return Ok(apply1(MaxAbs, &x.contiguous()?)?);
    }
    let shares = shares(host::values(x)?.into_iter());
    let shares = Tensor::from_vec(shares, x.shape(), &Device::Cpu)?.to_dtype(x.dtype())?;
    Ok(x.mul(&shares.to_device(x.device())?)?.sum_all()?)
}

/// The derivative of the largest size by every value.
fn shares(values: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let most = values.clone().fold(0.0_f64, |most, value| larger(most, value.abs()));
    let ties = values.clone().filter(|value| value.abs() >= most).count();
    let share = |value: f64| if value.abs() >= most { value.signum() / ties as f64 } else { 0.0 };
    values.map(share).collect()
}

/// The larger of two numbers, not a number if one of them is none.
fn larger<T: PartialOrd>(most: T, value: T) -> T {
    if most < value || value.partial_cmp(&value).is_none() { value } else { most }
}

struct MaxAbs;

impl CustomOp1 for MaxAbs {
    fn name(&self) -> &'static str {
        "max_abs"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let most = slice(x, lx)?.iter().fold(0.0_f32, |most, x| larger(most, x.abs()));
        Ok((CpuStorage::F32(vec![most]), ().into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let grad: f32 = grad.to_scalar()?;
        let values = super::with_values([x], |[xs]| {
            let shares = shares(xs.iter().map(|x| f64::from(*x)));
            Ok(shares.into_iter().map(|share| grad * share as f32).collect::<Vec<f32>>())
        })?;
        Tensor::from_vec(values, x.shape(), x.device()).map(Some)
    }
}
