//! What configurations of several methods check alike.

use crate::error::{Error, Result};

/// Numbers in an example, at most.
pub const LARGEST_EVENT: usize = 1 << 24;
/// Numbers in all tensors of a network, at most.
pub const LARGEST_NETWORK: u128 = 1 << 28;
/// Units or channels of a layer, at most.
pub const LARGEST_WIDTH: usize = 1 << 24;
/// Steps of a chain with parameters of their own, at most.
pub const LARGEST_CHAIN: usize = 1 << 16;

/// The numbers in an event of `channels * height * width`.
///
/// A foreign file may say anything; what is multiplied and allocated later stays in bounds.
///
/// # Errors
/// [`Error::Config`] unless there are 1 to [`LARGEST_EVENT`].
pub fn event_dim(event: [usize; 3]) -> Result<usize> {
    let dim = event.iter().try_fold(1_usize, |dim, side| dim.checked_mul(*side));
    match dim.filter(|dim| (1..=LARGEST_EVENT).contains(dim)) {
        Some(dim) => Ok(dim),
        None => {
            let reason = format!("{event:?} has not 1 to {LARGEST_EVENT} numbers");
            Err(Error::Config { field: "event", reason })
        }
    }
}

/// Is the value of a field a positive finite number?
///
/// # Errors
/// [`Error::Config`] naming the field if not.
pub fn positive(field: &'static str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::Config { field, reason: format!("{value} must be positive") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_and_foreign_ones_refused() {
        assert_eq!(event_dim([3, 32, 32]).unwrap(), 3072);
        assert_eq!(event_dim([1 << 12, 1 << 12, 1]).unwrap(), LARGEST_EVENT);
        for event in [[0, 28, 28], [1 << 12, 1 << 12, 2], [usize::MAX, 2, 1], [usize::MAX; 3]] {
            let message = event_dim(event).unwrap_err().to_string();
            assert!(message.contains("`event`"), "{message}");
        }
    }

    #[test]
    fn only_positive_finite_numbers_pass() {
        assert!(positive("x", 1e-300).is_ok() && positive("x", f64::MAX).is_ok());
        for bad in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY] {
            let message = positive("x", bad).unwrap_err().to_string();
            assert!(message.contains("`x`"), "{message}");
        }
    }
}
