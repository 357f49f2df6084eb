//! The number types that a score accepts, and the checks every input passes.

use ndarray::ArrayView2;

use crate::error::{Error, Result};

pub(crate) mod sealed {
    /// Nobody else implements [`super::Real`].
    pub trait Sealed: Sized {
        /// See [`crate::product::inner_products`].
        fn inner_products(a: &[Self], b: &[Self], width: usize, out: &mut [Self]);
    }
}

/// `f32` or `f64`.
pub trait Real:
    Copy
    + Default
    + PartialOrd
    + Send
    + Sync
    + Into<f64>
    + std::ops::Sub<Output = Self>
    + sealed::Sealed
    + 'static
{
    /// Unit roundoff: half the distance from one to the next larger number.
    const ROUNDOFF: f64;

    /// The nearest number of this type.
    fn from_f64(value: f64) -> Self;
}

impl Real for f32 {
    const ROUNDOFF: f64 = f32::EPSILON as f64 / 2.0;

    fn from_f64(value: f64) -> Self {
        value as Self
    }
}

impl Real for f64 {
    const ROUNDOFF: f64 = f64::EPSILON / 2.0;

    fn from_f64(value: f64) -> Self {
        value
    }
}

/// At least `needed` rows, at least one column, all finite; gives the largest magnitude.
pub(crate) fn check_rows<T: Real>(
    what: &'static str,
    rows: ArrayView2<'_, T>,
    needed: usize,
) -> Result<f64> {
    if rows.nrows() < needed {
        return Err(Error::TooFew { what, needed, got: rows.nrows() });
    }
    if rows.ncols() == 0 {
        return Err(Error::Argument { name: what, reason: "rows have no columns".into() });
    }
    let mut largest = 0.0_f64;
    for ((row, column), &value) in rows.indexed_iter() {
        let value: f64 = value.into();
        if !value.is_finite() {
            return Err(Error::NonFinite { what, row, column });
        }
        largest = largest.max(value.abs());
    }
    Ok(largest)
}

/// Both sets with at least `needed` rows of equal width, and no magnitude above `largest`.
pub(crate) fn check_pair<T: Real>(
    real: ArrayView2<'_, T>,
    fake: ArrayView2<'_, T>,
    needed: usize,
    largest: f64,
) -> Result<()> {
    for (name, rows) in [("real", real), ("fake", fake)] {
        let found = check_rows(name, rows, needed)?;
        if found > largest {
            let reason = format!("magnitudes up to {found:e} overflow in a product; rescale");
            return Err(Error::Argument { name, reason });
        }
    }
    if fake.ncols() != real.ncols() {
        let (expected, got) = (real.ncols(), fake.ncols());
        return Err(Error::Mismatch { what: "fake", unit: "columns", expected, got });
    }
    Ok(())
}
