//! Nearest neighbours in squared Euclidean distance, exact whatever the precision of the search.

mod candidates;
mod kth;
mod mean;
mod memorisation;
mod two_sample;

use ndarray::{ArrayView1, ArrayView2};
use rayon::prelude::*;
use serde::Serialize;

use crate::{
    distances::{Distances, Scratch, blocks},
    error::Result,
    real::Real,
};

use candidates::Candidates;
pub(crate) use kth::kth_nearest_other;
pub use mean::{NearestDistances, nearest_distances};
pub use memorisation::{Memorisation, memorisation};
pub use two_sample::{NearestAccuracy, nearest_accuracy};

/// The nearest reference of every query, in the order of the queries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Neighbours {
    /// Row of the nearest reference; of equally near ones the first.
    pub indices: Vec<usize>,
    /// Its squared distance, summed over columns in f64 from the differences themselves: exactly
    /// zero for a copy.
    pub squared_distances: Vec<f64>,
}

/// The nearest row of `references` for every row of `queries`.
///
/// A blocked matrix product finds the candidates that rounding cannot rule out, and these are
/// compared by direct differences: the answer is that of a full search in f64.
///
/// # Shapes
/// `queries`: `(n, d)`; `references`: `(m, d)`; the result has `n` entries.
///
/// # Errors
/// [`Error::TooFew`](crate::Error::TooFew), [`Error::Mismatch`](crate::Error::Mismatch),
/// [`Error::NonFinite`](crate::Error::NonFinite) for unusable rows.
///
/// # Example
/// ```
/// use ndarray::array;
/// let train = array![[0.0_f32, 0.0], [3.0, 4.0]];
/// let found = eval_metrics::nearest(array![[3.0_f32, 3.0]].view(), train.view())?;
/// assert_eq!((found.indices[0], found.squared_distances[0]), (1, 1.0));
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn nearest<T: Real>(
    queries: ArrayView2<'_, T>,
    references: ArrayView2<'_, T>,
) -> Result<Neighbours> {
    nearest_named(("queries", queries), ("references", references))
}

/// [`nearest`] with the names that errors are to give the two sets.
pub(crate) fn nearest_named<T: Real>(
    queries: (&'static str, ArrayView2<'_, T>),
    references: (&'static str, ArrayView2<'_, T>),
) -> Result<Neighbours> {
    Ok(nearest_of(&Distances::new(queries, references)?, queries.1, references.1))
}

fn nearest_of<T: Real>(
    distances: &Distances,
    queries: ArrayView2<'_, T>,
    references: ArrayView2<'_, T>,
) -> Neighbours {
    let starts: Vec<usize> = (0..distances.rows).step_by(distances.row_block).collect();
    let found: Vec<Vec<(usize, f64)>> = starts
        .into_par_iter()
        .map_init(Scratch::default, |scratch, start| {
            let candidates = search(distances, start, scratch);
            let exact = candidates
                .iter()
                .enumerate()
                .map(|(at, candidates)| best_of(candidates, queries.row(start + at), references));
            exact.collect()
        })
        .collect();
    let (indices, squared_distances) = found.into_iter().flatten().unzip();
    Neighbours { indices, squared_distances }
}

/// For every query of the block at `start`, the references that may be nearest, in order.
fn search(distances: &Distances, start: usize, scratch: &mut Scratch) -> Vec<Vec<usize>> {
    let rows = start..(start + distances.row_block).min(distances.rows);
    let mut found: Vec<Candidates> =
        rows.clone().map(|row| Candidates::new(1, distances.tolerance(row))).collect();
    for columns in blocks(distances.columns, distances.column_block) {
        let limits: Vec<f64> = found.iter().map(Candidates::limit).collect();
        let tile = (rows.clone(), columns);
        distances.near(tile, [Some(&limits), None], scratch, |row, column, squared| {
            found[row - start].push(column, squared);
        });
    }
    found.into_iter().map(Candidates::indices).collect()
}

fn best_of<T: Real>(
    candidates: &[usize],
    query: ArrayView1<'_, T>,
    references: ArrayView2<'_, T>,
) -> (usize, f64) {
    let exact = candidates.iter().map(|&at| (at, squared_distance(query, references.row(at))));
    exact.fold(
        (usize::MAX, f64::INFINITY),
        |best, other| {
            if other.1 < best.1 { other } else { best }
        },
    )
}

/// Summed from the differences themselves: the same for `(a, b)` and `(b, a)`, zero for a copy.
pub(crate) fn squared_distance<T: Real>(a: ArrayView1<'_, T>, b: ArrayView1<'_, T>) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (a.into() - b.into()).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use ndarray::{array, s};

    use super::*;
    use crate::golden::{array as golden, assert_close, fake, real};

    #[test]
    fn golden_values_are_met() -> Result<()> {
        let mean = |found: &Neighbours| {
            found.squared_distances.iter().map(|d| d.sqrt()).sum::<f64>() / 200.0
        };
        let to_real = nearest(fake().view(), real().view())?;
        assert_eq!(to_real.indices[..5], [48, 109, 60, 30, 57]);
        assert_close(mean(&to_real), 0.490261848070827, 1e-12);
        assert_close(mean(&nearest(real().view(), fake().view())?), 0.5889164145852935, 1e-12);
        Ok(())
    }

    #[test]
    fn a_copy_is_found_at_distance_zero_and_ties_go_to_the_first() -> Result<()> {
        let references = array![[5.0_f32, 5.0], [0.1, 0.7], [0.1, 0.7], [1.0, 0.0]];
        let found = nearest(array![[0.1_f32, 0.7], [5.0, 4.0]].view(), references.view())?;
        assert_eq!(found, Neighbours { indices: vec![1, 0], squared_distances: vec![0.0, 1.0] });
        Ok(())
    }

    #[test]
    fn single_precision_search_finds_what_a_full_search_finds() -> Result<()> {
        // Above the size where f32 is used, far from the origin, every row nearly doubled.
        let mut rows = golden(9, 3300, 784).mapv(|x| (x + 1.0) as f32);
        for at in 0..800 {
            let mut near = rows.row(2 * at).to_owned();
            near[at % 784] += 1e-6;
            rows.row_mut(2 * at + 1).assign(&near);
        }
        let (references, queries) = (rows.slice(s![..1650, ..]), rows.slice(s![1650.., ..]));
        let found = nearest(queries, references)?;
        for at in (0..1650).step_by(97) {
            let all = references.outer_iter().map(|row| squared_distance(queries.row(at), row));
            let best =
                all.enumerate().fold((0, f64::INFINITY), |a, b| if b.1 < a.1 { b } else { a });
            assert_eq!((found.indices[at], found.squared_distances[at]), best);
        }
        Ok(())
    }

    #[test]
    fn the_size_of_blocks_does_not_change_the_answer() -> Result<()> {
        let (queries, references) = (fake(), real());
        let mut distances =
            Distances::new(("queries", queries.view()), ("references", references.view()))?;
        let whole = nearest_of(&distances, queries.view(), references.view());
        for (row_block, column_block) in [(1, 7), (7, 1), (256, 64)] {
            (distances.row_block, distances.column_block) = (row_block, column_block);
            assert_eq!(nearest_of(&distances, queries.view(), references.view()), whole);
        }
        Ok(())
    }

    #[test]
    fn the_number_of_threads_does_not_change_the_answer() -> Result<()> {
        let (queries, references) = (golden(5, 700, 16), golden(6, 2500, 16));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| nearest(queries.view(), references.view()))
        };
        assert_eq!(run(1)?, run(3)?);
        Ok(())
    }
}
