//! Distance to the k-th nearest other row of the same set.

use std::{
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ndarray::ArrayView2;
use rayon::prelude::*;

use super::{candidates::Candidates, squared_distance};
use crate::{
    distances::{Distances, Scratch, blocks},
    error::{Error, Result},
    real::Real,
};

/// Squared distance of every row to its `k`-th nearest other row, `k >= 1`.
///
/// Found as [`nearest`](super::nearest()) finds: candidates by a blocked product, of which each pair
/// of rows takes part once, the answer by direct differences, so that a copy of a row lies at
/// exactly zero.
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
    let found: Vec<_> = (0..distances.rows)
        .map(|row| Mutex::new(Candidates::new(k, distances.tolerance(row))))
        .collect();
    // The last blocks have the most rows before them: they come first.
    let blocks: Vec<_> = blocks(distances.rows, distances.row_block).collect();
    blocks.into_par_iter().rev().with_max_len(1).for_each_init(
        Scratch::default,
        |scratch, block| {
            search(distances, block, &found, scratch);
        },
    );
    let exact = |(row, found): (usize, Mutex<Candidates>)| {
        let found = found.into_inner().unwrap_or_else(PoisonError::into_inner).indices();
        let near = found.iter().map(|&at| squared_distance(rows.row(row), rows.row(at)));
        let mut distances: Vec<f64> = near.collect();
        *distances.select_nth_unstable_by(k - 1, f64::total_cmp).1
    };
    found.into_par_iter().enumerate().map(exact).collect()
}

/// Every pair of a row of the block and one before it, as a candidate of both.
fn search(
    distances: &Distances,
    block: Range<usize>,
    found: &[Mutex<Candidates>],
    scratch: &mut Scratch,
) {
    // The block's rows are collected here and joined at the end, those before it at once.
    let mut own: Vec<Candidates> = block.clone().map(|row| lock(&found[row]).emptied()).collect();
    for columns in blocks(block.end, distances.column_block) {
        let row_limits: Vec<f64> = own.iter().map(Candidates::limit).collect();
        let column_limits: Vec<f64> = found[columns.clone()]
            .iter()
            .enumerate()
            .map(|(at, other)| {
                let column = columns.start + at;
                if block.contains(&column) {
                    own[column - block.start].limit()
                } else {
                    lock(other).limit()
                }
            })
            .collect();
        let limits = [Some(&row_limits[..]), Some(&column_limits[..])];
        distances.near((block.clone(), columns), limits, scratch, |row, column, value| {
            if column >= row {
                return;
            }
            own[row - block.start].push(column, value);
            if block.contains(&column) {
                own[column - block.start].push(row, value);
            } else if value <= column_limits[column % distances.column_block] {
                lock(&found[column]).push(row, value);
            }
        });
    }
    for (own, row) in own.into_iter().zip(block) {
        lock(&found[row]).merge(own);
    }
}

fn lock(candidates: &Mutex<Candidates>) -> MutexGuard<'_, Candidates> {
    candidates.lock().unwrap_or_else(PoisonError::into_inner)
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
