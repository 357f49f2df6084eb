//! Numbers of a tensor on the host, in f64 and without a graph, and back: conversions are made on the host,
//! since Metal has no f64.

use candle_core::{DType, Device, Shape, Tensor};

use crate::error::{Error, Result};

/// The same numbers in f64 on the host, outside of any graph; an f64 tensor of the host shares its storage.
///
/// # Errors
/// Of the tensor library.
pub fn tensor(x: &Tensor) -> Result<Tensor> {
    Ok(x.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?)
}

/// All values in row-major order, whatever the shape.
///
/// # Errors
/// Of the tensor library.
pub fn values(x: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor(x)?.flatten_all()?.to_vec1()?)
}

/// A vector `(n,)`.
///
/// # Errors
/// If it is none.
pub fn vector(x: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor(x)?.to_vec1()?)
}

/// A matrix `(n, d)` by rows.
///
/// # Errors
/// If it is none.
pub fn rows(x: &Tensor) -> Result<Vec<Vec<f64>>> {
    Ok(tensor(x)?.to_vec2()?)
}

/// The value of a scalar.
///
/// # Errors
/// If it is none.
pub fn scalar(x: &Tensor) -> Result<f64> {
    Ok(tensor(x)?.to_scalar()?)
}

/// The values of scalars of one type on one device, which is waited for once.
///
/// # Errors
/// If one is none.
pub fn scalars(all: &[&Tensor]) -> Result<Vec<f64>> {
    debug_assert!(
        all.windows(2)
            .all(|two| two[0].dtype() == two[1].dtype()
                && two[0].device().same_device(two[1].device())),
        "scalars of several types or devices"
    );
    match all.first() {
        Some(first) if !first.device().is_cpu() => together(all),
        _ => all.iter().map(|x| scalar(x)).collect(),
    }
}

fn together(all: &[&Tensor]) -> Result<Vec<f64>> {
    let detached: Vec<Tensor> = all.iter().map(|x| x.detach()).collect();
    vector(&Tensor::stack(&detached, 0)?)
}

/// As [`scalars`], of those that there are; 0 where there is none.
///
/// # Errors
/// As there.
pub fn scalars_or_zero<const N: usize>(all: [Option<&Tensor>; N]) -> Result<[f64; N]> {
    let mut found = scalars(&all.into_iter().flatten().collect::<Vec<_>>())?.into_iter();
    Ok(all.map(|wanted| wanted.and_then(|_| found.next()).unwrap_or(0.0)))
}

/// The value of a scalar that must be a number: `what` and `step` are for the error.
///
/// # Errors
/// [`Error::NonFinite`] if it is none.
pub fn finite(x: &Tensor, what: &'static str, step: usize) -> Result<f64> {
    let value = scalar(x)?;
    if value.is_finite() { Ok(value) } else { Err(Error::NonFinite { what, step }) }
}

/// A scalar that need not have reached the host: on CUDA it is copied behind the work that makes it, while the
/// host goes on.
#[must_use = "a loss that nobody looks at may be no number"]
pub struct Later(Number);

enum Number {
    Known(f64),
    Waits(Box<dyn FnOnce() -> Result<f64>>),
}

impl std::fmt::Debug for Later {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Number::Known(value) => f.debug_tuple("Later").field(value).finish(),
            Number::Waits(_) => f.write_str("Later(..)"),
        }
    }
}

impl Later {
    /// A number of the host.
    pub fn known(value: f64) -> Self {
        Self(Number::Known(value))
    }

    /// What `wait` gives when it is asked for.
    pub fn when_asked(wait: impl FnOnce() -> Result<f64> + 'static) -> Self {
        Self(Number::Waits(Box::new(wait)))
    }

    /// Asks for the value of a scalar, `()`; on CUDA without waiting for it, and in f32.
    ///
    /// # Errors
    /// If it is no scalar.
    pub fn new(x: &Tensor) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() && x.rank() == 0 {
            let copied = crate::cuda::Copied::new(x)?;
            return Ok(Self::when_asked(|| Ok(copied.wait()?)));
        }
        scalar(x).map(Self::known)
    }

    /// Whether the host has it, so that [`Later::wait`] does not wait.
    pub fn is_known(&self) -> bool {
        matches!(self.0, Number::Known(_))
    }

    /// The value.
    ///
    /// # Errors
    /// Of the device.
    pub fn wait(self) -> Result<f64> {
        match self.0 {
            Number::Known(value) => Ok(value),
            Number::Waits(wait) => wait(),
        }
    }
}

/// A tensor of these numbers, in row-major order, with the type and on the device of `like`.
///
/// # Errors
/// If there are more or fewer numbers than places.
pub fn tensor_like(values: Vec<f64>, shape: impl Into<Shape>, like: &Tensor) -> Result<Tensor> {
    let x = Tensor::from_vec(values, shape.into(), &Device::Cpu)?;
    Ok(x.to_dtype(like.dtype())?.to_device(like.device())?)
}

/// A tensor of one number, of any type on any device.
///
/// # Errors
/// Of the tensor library.
pub fn full(
    value: f64,
    shape: &Shape,
    dtype: DType,
    device: &Device,
) -> candle_core::Result<Tensor> {
    Tensor::full(value, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::on_devices;

    on_devices!(numbers_that_come_later_are_those_of_their_time);

    #[allow(clippy::float_cmp, reason = "small integers")]
    fn numbers_that_come_later_are_those_of_their_time(device: &Device) -> Result<()> {
        let mut sum = Tensor::zeros((), DType::F32, device)?;
        let mut waiting = Vec::new();
        for i in 0..20 {
            sum = (sum + f64::from(i))?;
            waiting.push(Later::new(&sum)?);
            assert_eq!(waiting[i as usize].is_known(), !device.is_cuda());
        }
        // In another order than asked for, some never.
        for (i, later) in waiting.into_iter().enumerate().rev().filter(|(i, _)| i % 3 > 0) {
            assert_eq!(later.wait()?, (i * (i + 1) / 2) as f64);
        }
        assert_eq!(Later::new(&sum)?.wait()?, 190.0);
        assert_eq!(Later::known(0.5).wait()?, 0.5);
        assert!(Later::new(&sum.reshape(1)?).is_err());
        Ok(())
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "small integers")]
    fn numbers_keep_their_order_and_leave_the_graph() -> Result<()> {
        let x = candle_core::Var::new(&[[1_f32, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu)?;
        // Neither contiguous nor a leaf.
        let y = x.affine(2.0, 0.0)?.t()?.contiguous()?.t()?;
        assert!(!y.is_contiguous());
        assert_eq!(values(&y)?, [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        assert_eq!(rows(&y)?, [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]]);
        assert_eq!(scalar(&y.sum_all()?)?, 42.0);
        assert_eq!(scalars(&[&y.sum_all()?, &y.max_all()?])?, [42.0, 12.0]);
        assert_eq!(together(&[&y.sum_all()?, &y.max_all()?])?, [42.0, 12.0]);
        assert_eq!(scalars_or_zero([None, Some(&y.max_all()?), None])?, [0.0, 12.0, 0.0]);
        assert!(scalars(&[])?.is_empty() && scalars(&[&y]).is_err());
        assert!(!tensor(&y)?.track_op());
        assert_eq!(finite(&y.max_all()?, "largest", 3)?, 12.0);
        let lost = finite(&y.sum_all()?.log()?.neg()?.log()?, "logarithm", 3);
        assert!(matches!(lost, Err(Error::NonFinite { what: "logarithm", step: 3 })));
        let half = Tensor::zeros(1, DType::BF16, &Device::Cpu)?;
        let back = tensor_like(values(&y)?, (3, 2), &half)?;
        assert_eq!((back.dims(), back.dtype()), (&[3, 2][..], DType::BF16));
        assert_eq!(values(&back)?, values(&y)?);
        assert!(tensor_like(vec![0.0; 5], (3, 2), &half).is_err());
        assert_eq!(vector(&y.narrow(0, 1, 1)?.squeeze(0)?)?, [8.0, 10.0, 12.0]);
        assert_eq!(values(&full(0.5, &(2, 1).into(), DType::F16, &Device::Cpu)?)?, [0.5, 0.5]);
        assert!(vector(&y).is_err());
        assert!(scalar(&y).is_err() && rows(&y.sum_all()?).is_err());
        Ok(())
    }
}
