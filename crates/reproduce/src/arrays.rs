//! Tensors as the scores take them, and simple numbers of them.

use candle_core::{DType, Device, Tensor};
use ndarray::Array2;

use crate::error::{Error, Result};

/// Equal pixels deviate by less than this: f32 rounding of their mean.
pub(crate) const ROUNDING: f64 = 1e-6;

/// Rows of a tensor `(n, D)` for the scores.
pub(crate) fn rows(x: &Tensor) -> Result<Array2<f32>> {
    let shape = x.dims2()?;
    let values = x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    Array2::from_shape_vec(shape, values).map_err(|error| Error::Usage(error.to_string()))
}

/// What a score refuses is bad input.
pub(crate) fn score<T>(found: eval_metrics::Result<T>) -> Result<T> {
    found.map_err(|error| Error::Usage(format!("score: {error}")))
}

/// Is every element a number?
pub(crate) fn finite(x: &Tensor) -> Result<bool> {
    Ok(x.flatten_all()?.to_vec1::<f32>()?.iter().all(|value| value.is_finite()))
}

/// Smallest and largest element; both NaN if one element is.
pub(crate) fn extremes(x: &Tensor) -> Result<(f32, f32)> {
    let values = x.flatten_all()?.to_vec1::<f32>()?;
    let extremes = values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| {
        // Unlike `f32::min`, keeps a NaN.
        let low = if value < low || value.is_nan() { value } else { low };
        let high = if value > high || value.is_nan() { value } else { high };
        (low, high)
    });
    Ok(extremes)
}

/// Mean of squared differences over all elements.
pub(crate) fn mean_square(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(f64::from((a - b)?.sqr()?.mean_all()?.to_scalar::<f32>()?))
}

/// Root of the variance of a pixel over rows, averaged over pixels.
pub(crate) fn spread(x: &Tensor) -> Result<f64> {
    let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
    Ok(f64::from(centred.sqr()?.mean_all()?.to_scalar::<f32>()?).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_do_not_hide_what_is_no_number() {
        let of = |values: [f32; 3]| extremes(&Tensor::new(&values, &Device::Cpu).unwrap()).unwrap();
        assert_eq!(of([0.5, -1.0, 2.0]), (-1.0, 2.0));
        for bad in [[f32::NAN, 0.1, 0.2], [0.1, f32::NAN, 0.2], [0.1, 0.2, f32::NAN]] {
            let (low, high) = of(bad);
            assert!(low.is_nan() && high.is_nan());
            assert!(!finite(&Tensor::new(&bad, &Device::Cpu).unwrap()).unwrap());
        }
    }
}
