//! Distance to the k-th nearest other row of the same set.

use std::ops::Range;

use ndarray::ArrayView2;
use rayon::prelude::*;

use super::squared_distance;
use crate::{
    distances::{Distances, Scratch, blocks},
    error::{Error, Result},
    real::Real,
};

/// Squared distance of every row to its `k`-th nearest other row, `k >= 1`.
///
/// Found as [`nearest`](super::nearest()) finds: candidates by a blocked product, the answer by
/// direct differences, so that a copy of a row lies at exactly zero.
///
/// # Errors
/// [`Error::Argument`] for `k = 0`, [`Error::TooFew`] for fewer than `k + 1` rows, and what
/// [`Distances::new`] finds.
pub(crate) fn kth_nearest_other<T: Real>(
    what: &'static str,
    rows: ArrayView2<'_, T>,
    k: usize,
) -> Result<Vec<f64>> {
    if k == 0 {
        return Err(Error::Argument { name: "k", reason: "must be one or more".into() });
    }
    if rows.nrows() <= k {
        return Err(Error::TooFew { what, needed: k.saturating_add(1), got: rows.nrows() });
    }
    Ok(kth_of(&Distances::new((what, rows), (what, rows))?, rows, k))
}

fn kth_of<T: Real>(distances: &Distances, rows: ArrayView2<'_, T>, k: usize) -> Vec<f64> {
    let starts: Vec<usize> = (0..distances.rows).step_by(distances.row_block).collect();
    let found: Vec<Vec<f64>> = starts
        .into_par_iter()
        .map_init(Scratch::default, |scratch, start| {
            let block = start..(start + distances.row_block).min(distances.rows);
            let candidates = search(distances, block.clone(), k, scratch);
            let exact = block.zip(candidates).map(|(row, candidates)| {
                let near =
                    candidates.iter().map(|&at| squared_distance(rows.row(row), rows.row(at)));
                let mut smallest = Smallest::new(k);
                near.for_each(|value| smallest.push(value));
                smallest.limit()
            });
            exact.collect()
        })
        .collect();
    found.into_iter().flatten().collect()
}

/// For every row of the block, the other rows that may be among its `k` nearest.
fn search(
    distances: &Distances,
    block: Range<usize>,
    k: usize,
    scratch: &mut Scratch,
) -> Vec<Vec<usize>> {
    // Both the k-th and a rival may be off by the tolerance.
    let margins: Vec<f64> = block.clone().map(|row| 2.0 * distances.tolerance(row)).collect();
    let mut smallest: Vec<Smallest> = block.clone().map(|_| Smallest::new(k)).collect();
    let mut candidates: Vec<Vec<(usize, f64)>> = vec![Vec::new(); block.len()];
    for columns in blocks(distances.columns, distances.column_block) {
        let tile = distances.tile(block.clone(), columns.clone(), scratch);
        for (at, line) in tile.chunks(columns.len()).enumerate() {
            let others = || {
                let numbered = columns.clone().zip(line.iter().copied());
                numbered.filter(|(column, _)| *column != block.start + at)
            };
            others().for_each(|(_, value)| smallest[at].push(value));
            let limit = smallest[at].limit() + margins[at];
            candidates[at].extend(others().filter(|(_, value)| *value <= limit));
        }
    }
    let keep = |(at, list): (usize, Vec<(usize, f64)>)| {
        let limit = smallest[at].limit() + margins[at];
        list.into_iter().filter(|(_, value)| *value <= limit).map(|(column, _)| column).collect()
    };
    candidates.into_iter().enumerate().map(keep).collect()
}

/// The `k` smallest of the numbers pushed, ascending.
struct Smallest {
    values: Vec<f64>,
    k: usize,
}

impl Smallest {
    fn new(k: usize) -> Self {
        Self { values: Vec::with_capacity(k + 1), k }
    }

    fn push(&mut self, value: f64) {
        if self.values.len() == self.k && value >= self.values[self.k - 1] {
            return;
        }
        self.values.insert(self.values.partition_point(|other| *other <= value), value);
        self.values.truncate(self.k);
    }

    /// The k-th smallest; infinity for fewer than `k` numbers.
    fn limit(&self) -> f64 {
        self.values.get(self.k - 1).copied().unwrap_or(f64::INFINITY)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;
    use crate::golden::array as golden;

    /// Every distance, sorted: the definition.
    fn direct<T: Real>(rows: ArrayView2<'_, T>, k: usize) -> Vec<f64> {
        let one = |row: usize| {
            let others = (0..rows.nrows()).filter(|&at| at != row);
            let mut all: Vec<f64> =
                others.map(|at| squared_distance(rows.row(row), rows.row(at))).collect();
            all.sort_by(f64::total_cmp);
            all[k - 1]
        };
        (0..rows.nrows()).map(one).collect()
    }

    #[test]
    fn every_radius_is_that_of_a_full_search() -> Result<()> {
        let rows = golden(3, 1100, 5);
        for k in [1, 2, 7] {
            assert_eq!(kth_nearest_other("rows", rows.view(), k)?, direct(rows.view(), k));
        }
        let narrow = rows.mapv(|x| x as f32);
        assert_eq!(kth_nearest_other("rows", narrow.view(), 4)?, direct(narrow.view(), 4));
        Ok(())
    }

    #[test]
    fn block_sizes_do_not_change_a_bit() -> Result<()> {
        let rows = golden(3, 300, 5);
        let mut distances = Distances::new(("rows", rows.view()), ("rows", rows.view()))?;
        let whole = kth_of(&distances, rows.view(), 3);
        for (row_block, column_block) in [(1, 7), (7, 1), (256, 64)] {
            (distances.row_block, distances.column_block) = (row_block, column_block);
            assert_eq!(kth_of(&distances, rows.view(), 3), whole);
        }
        Ok(())
    }

    #[test]
    fn a_copy_is_another_row_at_distance_zero() -> Result<()> {
        let rows = array![[0.1_f32, 0.3], [0.1, 0.3], [0.1, 1.3], [0.1, 0.3]];
        let zeros = |k| kth_nearest_other("rows", rows.view(), k);
        assert_eq!(zeros(1)?[..2], [0.0, 0.0]);
        assert_eq!(zeros(2)?[3].to_bits(), 0);
        assert!(zeros(3)?[0] > 0.99 && zeros(1)?[2] > 0.99);
        Ok(())
    }

    #[test]
    fn unusable_input_is_named() {
        let text = |rows: Array2<f64>, k| {
            kth_nearest_other("rows", rows.view(), k).unwrap_err().to_string()
        };
        assert!(text(Array2::zeros((5, 2)), 0).contains("`k`"));
        assert!(text(Array2::zeros((5, 2)), 5).contains("rows: 5 rows, at least 6"));
        assert!(text(Array2::zeros((0, 2)), 1).contains("at least 2"));
        assert!(text(Array2::zeros((5, 2)), usize::MAX).contains("rows: 5 rows"));
        assert!(text(array![[0.0], [f64::NAN]], 1).contains("row 1, column 0"));
    }
}
