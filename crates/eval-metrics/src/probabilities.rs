//! Rows of class probabilities, from probabilities and from logits.

use ndarray::{Array2, ArrayView2};

use crate::{
    error::{Error, Result},
    real::Real,
};

/// The rows in f64, if every one is non-negative and sums to one within `1e-3`.
pub(crate) fn checked_probabilities<T: Real>(rows: ArrayView2<'_, T>) -> Result<Array2<f64>> {
    let rows = rows.mapv(Into::<f64>::into);
    for (row, line) in rows.outer_iter().enumerate() {
        if let Some(value) = line.iter().find(|value| **value < 0.0) {
            return Err(Error::Probability {
                row,
                reason: format!("has the negative entry {value}"),
            });
        }
        let sum = line.sum();
        if (sum - 1.0).abs() > 1e-3 {
            return Err(Error::Probability { row, reason: format!("sums to {sum}") });
        }
    }
    Ok(rows)
}

/// Log probabilities, which lose nothing to probabilities that round to zero.
pub(crate) fn log_softmax<T: Real>(logits: ArrayView2<'_, T>) -> Array2<f64> {
    let mut logs = logits.mapv(Into::<f64>::into);
    for mut row in logs.outer_iter_mut() {
        let largest = row.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        let sum: f64 = row.iter().map(|value| (value - largest).exp()).sum();
        row.mapv_inplace(|value| value - largest - sum.ln());
    }
    logs
}
