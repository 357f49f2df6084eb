//! Numbers of a tensor on the host, in f64 and without a graph, from any device: the conversion comes
//! after the copy, since Metal has no f64.

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};

/// A copy in f64 on the host, outside of any graph.
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

/// The value of a scalar that must be a number: `what` and `step` are for the error.
///
/// # Errors
/// [`Error::NonFinite`] if it is none.
pub fn finite(x: &Tensor, what: &'static str, step: usize) -> Result<f64> {
    let value = scalar(x)?;
    if value.is_finite() { Ok(value) } else { Err(Error::NonFinite { what, step }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_order_and_leave_the_graph() -> Result<()> {
        let x = candle_core::Var::new(&[[1_f32, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu)?;
        // Neither contiguous nor a leaf.
        let y = x.t()?.contiguous()?.t()?.affine(2.0, 0.0)?;
        assert_eq!(values(&y)?, [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        assert_eq!(rows(&y)?, [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]]);
        assert_eq!(scalar(&y.sum_all()?)?, 42.0);
        assert!(!tensor(&y)?.track_op());
        assert_eq!(finite(&y.max_all()?, "largest", 3)?, 12.0);
        let lost = finite(&y.sum_all()?.log()?.neg()?.log()?, "logarithm", 3);
        assert!(matches!(lost, Err(Error::NonFinite { what: "logarithm", step: 3 })));
        assert!(scalar(&y).is_err() && rows(&y.sum_all()?).is_err());
        Ok(())
    }
}
