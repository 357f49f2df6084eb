//! The median of all pairwise distances, exact, without holding them.
//!
//! Bits of non-negative numbers are ordered as the numbers are: sixteen bits of the answer at a
//! time are found by counting, every time over all distances anew.

use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::{
    distances::Scratch,
    error::Result,
    pairs::Pooled,
    real::{Real, check_rows},
};

/// The median distance between two different rows of a set; of an even number of pairs the mean of
/// the two in the middle.
///
/// Taken once on real rows, it is a bandwidth that serves all models alike. All distances are
/// computed five times.
///
/// # Shapes
/// `rows`: `(n, d)`, `n >= 2`; the result is in the unit of the columns.
///
/// # Errors
/// [`Error::TooFew`](crate::Error::TooFew), [`Error::NonFinite`](crate::Error::NonFinite) for
/// unusable rows; [`Error::Argument`](crate::Error::Argument) for magnitudes that overflow.
///
/// # Example
/// ```
/// use ndarray::array;
/// let median = eval_metrics::median_distance(array![[0.0], [1.0], [3.0]].view())?;
/// assert!((median - 2.0).abs() < 1e-12);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn median_distance<T: Real>(rows: ArrayView2<'_, T>) -> Result<f64> {
    check_rows("rows", rows, 2)?;
    let rows = rows.mapv(|value| -> f64 { value.into() });
    Ok(pooled_median(&Pooled::of(rows.view(), rows.nrows())?))
}

/// The median distance between two different rows of either set.
pub(super) fn pooled_median(pooled: &Pooled) -> f64 {
    let n = pooled.distances.rows as u64;
    let pairs = n * (n - 1) / 2;
    let lower = select(pooled, (pairs - 1) / 2);
    let upper = if pairs.is_multiple_of(2) { next(pooled, lower, pairs / 2) } else { lower };
    0.5 * (lower.sqrt() + upper.sqrt())
}

/// The squared distance of that rank, from zero.
fn select(pooled: &Pooled, mut rank: u64) -> f64 {
    let mut found = 0_u64;
    for shift in [48, 32, 16, 0] {
        let known = |bits: u64| bits.checked_shr(shift + 16).unwrap_or(0) == found;
        let counts = count(pooled, |bits| known(bits).then_some((bits >> shift) as u16));
        let mut digit = 0;
        while digit < counts.len() - 1 && counts[digit] <= rank {
            rank -= counts[digit];
            digit += 1;
        }
        found = found << 16 | digit as u64;
    }
    f64::from_bits(found)
}

/// How many squared distances have each digit.
fn count(pooled: &Pooled, digit: impl Fn(u64) -> Option<u16> + Sync) -> Vec<u64> {
    let none = || (vec![0_u64; 1 << 16], Scratch::default());
    // Integers: the order of the sums does not matter.
    pooled
        .row_blocks()
        .into_par_iter()
        .fold(none, |(mut counts, mut scratch), rows| {
            pooled.for_each_tile(&rows, &mut scratch, |tile| {
                for value in tile.lines().flatten() {
                    if let Some(digit) = digit(value.to_bits()) {
                        counts[usize::from(digit)] += 1;
                    }
                }
            });
            (counts, scratch)
        })
        .map(|(counts, _)| counts)
        .reduce(
            || vec![0; 1 << 16],
            |mut counts, more| {
                counts.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
                counts
            },
        )
}

/// The squared distance of that rank, given that `value` has the rank before it.
fn next(pooled: &Pooled, value: f64, rank: u64) -> f64 {
    let (up_to, above) = pooled
        .row_blocks()
        .into_par_iter()
        .map_init(Scratch::default, |scratch, rows| {
            let (mut up_to, mut above) = (0_u64, f64::INFINITY);
            pooled.for_each_tile(&rows, scratch, |tile| {
                for &other in tile.lines().flatten() {
                    if other <= value {
                        up_to += 1;
                    } else {
                        above = above.min(other);
                    }
                }
            });
            (up_to, above)
        })
        .reduce(|| (0, f64::INFINITY), |a, b| (a.0 + b.0, a.1.min(b.1)));
    if up_to > rank { value } else { above }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array, concatenate, s};

    use super::*;
    use crate::golden::{array as golden, assert_close, fake, real};

    /// By sorting.
    fn direct(rows: &Array2<f64>) -> f64 {
        let mut distances = Vec::new();
        for i in 0..rows.nrows() {
            for j in 0..i {
                let squared = (&rows.row(i) - &rows.row(j)).mapv(|x| x * x).sum();
                distances.push(squared.sqrt());
            }
        }
        distances.sort_by(f64::total_cmp);
        let count = distances.len();
        0.5 * (distances[(count - 1) / 2] + distances[count / 2])
    }

    #[test]
    fn the_golden_value_is_met() -> Result<()> {
        let pooled = concatenate![ndarray::Axis(0), real(), fake()];
        assert_close(median_distance(pooled.view())?, 1.0851949507441485, 1e-12);
        Ok(())
    }

    #[test]
    fn any_number_of_rows_has_the_median_of_the_definition() -> Result<()> {
        let rows = golden(3, 40, 3);
        for n in 2..40 {
            let some = rows.slice(s![..n, ..]);
            assert_close(median_distance(some)?, direct(&some.to_owned()), 1e-12);
        }
        Ok(())
    }

    #[test]
    fn equal_distances_and_wide_ranges_are_ordered_well() -> Result<()> {
        // Six pairs each: 1, 1, 2, 3, 3, 4 and 1, 1, 2, 2, 3, 4.
        assert_close(median_distance(array![[0.0], [1.0], [3.0], [4.0]].view())?, 2.5, 1e-12);
        assert_close(median_distance(array![[0.0], [1.0], [2.0], [4.0]].view())?, 2.0, 1e-12);
        assert_close(median_distance(Array2::<f32>::ones((7, 2)).view())?, 0.0, 0.0);
        assert_close(median_distance(array![[0.0], [1e-100], [1e100]].view())? / 1e100, 1.0, 1e-12);
        Ok(())
    }

    #[test]
    fn blocks_and_threads_do_not_matter() -> Result<()> {
        let rows = golden(4, 600, 5);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| median_distance(rows.view()))
        };
        let whole = run(1)?;
        assert_eq!(whole.to_bits(), run(3)?.to_bits());
        let mut pooled = Pooled::of(rows.view(), 600)?;
        for (row_block, column_block) in [(7, 64), (64, 7)] {
            (pooled.distances.row_block, pooled.distances.column_block) = (row_block, column_block);
            assert_close(pooled_median(&pooled), whole, 1e-12);
        }
        Ok(())
    }

    #[test]
    fn unusable_rows_are_named() {
        let text = |rows: Array2<f64>| median_distance(rows.view()).unwrap_err().to_string();
        assert!(text(array![[1.0]]).contains("at least 2"));
        assert!(text(array![[1.0], [f64::NAN]]).contains("row 1, column 0"));
        assert!(text(array![[1.0], [1e300]]).contains("rescale"));
    }
}
