//! Squared distances between two sets of rows, tile by tile.
//!
//! For small problems sums of squared differences. For large ones `|a - b|^2 = |a|^2 + |b|^2 -
//! 2 <a, b>`, never below zero, after both sets are shifted by the mean of the second, which the
//! distance does not see and which keeps the cancellation small: norms and the final sum are f64, the
//! inner products f64 for f64 input and f32 for f32.

mod pair;

use std::ops::Range;

use ndarray::ArrayView2;

use self::pair::{Pair, Rows, within};
use crate::{
    error::{Error, Result},
    real::{Real, check_rows},
};

/// Below this many multiplications (`n * m * d`) the differences themselves are squared, in f64.
const SMALL: f64 = 2e9;
/// Magnitudes beyond this are multiplied in f64, since their squares leave the range of f32.
const LARGE: f64 = 1e15;

enum Method {
    Differences(Pair<f64>),
    Single(Pair<f32>),
    Double(Pair<f64>),
}

/// All squared distances between `rows` and `columns`, computed on demand.
pub(crate) struct Distances {
    sets: Method,
    width: usize,
    /// Number of rows of the first set.
    pub(crate) rows: usize,
    /// Number of rows of the second set.
    pub(crate) columns: usize,
    /// Rows in a tile; results are reduced in this order whatever the number of threads.
    pub(crate) row_block: usize,
    /// Columns in a tile.
    pub(crate) column_block: usize,
}

/// Working memory of one thread.
#[derive(Default)]
pub(crate) struct Scratch {
    single: Vec<f32>,
    double: Vec<f64>,
}

impl Distances {
    /// Checks both sets and prepares them.
    pub(crate) fn new<T: Real>(
        (row_name, rows): (&'static str, ArrayView2<'_, T>),
        (column_name, columns): (&'static str, ArrayView2<'_, T>),
    ) -> Result<Self> {
        let largest = check_rows(row_name, rows, 1)?.max(check_rows(column_name, columns, 1)?);
        let width = columns.ncols();
        if rows.ncols() != width {
            return Err(Error::Mismatch {
                what: row_name,
                unit: "columns",
                expected: width,
                got: rows.ncols(),
            });
        }
        if largest > f64::MAX.sqrt() / (2.0 * width as f64) {
            return Err(Error::Argument {
                name: row_name,
                reason: format!("magnitudes up to {largest:e} overflow when squared; rescale"),
            });
        }
        let mut shift = vec![0.0_f64; width];
        for row in columns.outer_iter() {
            for (sum, &value) in shift.iter_mut().zip(row) {
                *sum += value.into();
            }
        }
        let count = columns.nrows() as f64;
        shift.iter_mut().for_each(|sum| *sum /= count);
        let work = rows.nrows() as f64 * columns.nrows() as f64 * width as f64;
        let sets = if work < SMALL {
            let (rows, columns) = (Rows::direct(rows, &shift), Rows::direct(columns, &shift));
            Method::Differences(Pair { rows, columns })
        } else if T::ROUNDOFF < f32::ROUNDOFF || largest > LARGE {
            Method::Double(Pair::shifted(rows, columns, &shift))
        } else {
            Method::Single(Pair::shifted(rows, columns, &shift))
        };
        Ok(Self {
            sets,
            width,
            rows: rows.nrows(),
            columns: columns.nrows(),
            row_block: 320,
            column_block: 288,
        })
    }

    /// The tile `(rows, columns)` in row-major order, never negative.
    pub(crate) fn tile<'a>(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        scratch: &'a mut Scratch,
    ) -> &'a [f64] {
        let Scratch { single, double } = scratch;
        double.resize(rows.len() * columns.len(), 0.0);
        let (row_norms, column_norms) = match &self.sets {
            Method::Differences(pair) => {
                pair.differences(&rows, &columns, self.width, double);
                return double;
            }
            Method::Single(pair) => {
                pair.products(&rows, &columns, self.width, single);
                double.iter_mut().zip(&*single).for_each(|(wide, &narrow)| *wide = narrow.into());
                (&pair.rows.norms[rows], &pair.columns.norms[columns])
            }
            Method::Double(pair) => {
                pair.products(&rows, &columns, self.width, double);
                (&pair.rows.norms[rows], &pair.columns.norms[columns])
            }
        };
        for (line, &norm) in double.chunks_mut(column_norms.len()).zip(row_norms) {
            for (value, &other) in line.iter_mut().zip(column_norms) {
                *value = (norm + other - 2.0 * *value).max(0.0);
            }
        }
        double
    }

    /// Calls `visit(row, column, d^2)` for the pairs of a tile that may be no farther apart than a
    /// limit, a squared distance of the row or one of the column; the others are surely beyond both.
    ///
    /// `limits` are those of the rows and of the columns of the tile, either of them for none. Their
    /// pairs come row by row, with distances good to [`Distances::tolerance`].
    pub(crate) fn near(
        &self,
        (rows, columns): (Range<usize>, Range<usize>),
        limits: [Option<&[f64]>; 2],
        scratch: &mut Scratch,
        visit: impl FnMut(usize, usize, f64),
    ) {
        let slack = |row| 4.0 * self.tolerance(row);
        let tile = (rows, columns);
        match &self.sets {
            Method::Differences(pair) => {
                pair.differences(&tile.0, &tile.1, self.width, &mut scratch.double);
                within(tile, limits, &scratch.double, slack, visit);
            }
            Method::Single(pair) => {
                pair.products(&tile.0, &tile.1, self.width, &mut scratch.single);
                pair.near(tile, limits, &scratch.single, slack, visit);
            }
            Method::Double(pair) => {
                pair.products(&tile.0, &tile.1, self.width, &mut scratch.double);
                pair.near(tile, limits, &scratch.double, slack, visit);
            }
        }
    }

    /// How far a tile's entry in that row can be from the true squared distance.
    ///
    /// Rounding of an inner product of `d` terms is at most `d u |a| |b|` with the unit roundoff
    /// `u`; the eight covers the shift and the norms, for `2 |a| |b| <= (|a| + |b|)^2 / 2`.
    pub(crate) fn tolerance(&self, row: usize) -> f64 {
        let (roundoff, norm, largest) = match &self.sets {
            Method::Single(pair) => {
                (f32::ROUNDOFF, pair.rows.norms[row], pair.columns.largest_norm)
            }
            Method::Differences(pair) | Method::Double(pair) => {
                (f64::ROUNDOFF, pair.rows.norms[row], pair.columns.largest_norm)
            }
        };
        (self.width as f64 + 8.0) * roundoff * (norm.sqrt() + largest.sqrt()).powi(2)
    }
}

/// `0..total` cut into consecutive ranges of `block`, the last one shorter.
pub(crate) fn blocks(total: usize, block: usize) -> impl Iterator<Item = Range<usize>> {
    (0..total).step_by(block).map(move |start| start..(start + block).min(total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::array;

    #[test]
    fn small_problems_take_the_differences_themselves() -> Result<()> {
        // So far out that products of the shifted rows would keep no digit of a distance.
        for (scale, shift) in [(1.0, 0.0), (1e-9, 1e6)] {
            let rows = array(3, 40, 19).mapv(|x| scale * x + shift);
            let distances = Distances::new(("a", rows.view()), ("b", rows.view()))?;
            assert!(matches!(distances.sets, Method::Differences(..)));
            let mut scratch = Scratch::default();
            let tile = distances.tile(3..40, 0..40, &mut scratch);
            for (at, &value) in tile.iter().enumerate() {
                let (a, b) = (rows.row(3 + at / 40), rows.row(at % 40));
                let direct: f64 = (&a - &b).iter().map(|d| d * d).sum();
                assert!((value - direct).abs() <= 1e-14 * direct, "{value} {direct}");
                assert!((value - direct).abs() <= distances.tolerance(3 + at / 40));
            }
        }
        Ok(())
    }

    #[test]
    fn both_precisions_stay_inside_their_tolerance() -> Result<()> {
        // 1,601 x 1,600 x 784 is just above the limit below which differences are taken.
        let wide = array(4, 1601, 784).mapv(|x| x + 3.0);
        let narrow = wide.mapv(|x| x as f32);
        let (a, b) = (narrow.view(), narrow.slice(ndarray::s![..1600, ..]));
        let single = Distances::new(("a", a), ("b", b))?;
        assert!(matches!(single.sets, Method::Single(..)));
        let exact = narrow.mapv(f64::from);
        let double = Distances::new(("a", exact.view()), ("b", exact.view()))?;
        assert!(matches!(double.sets, Method::Double(..)));
        let (mut one, mut two) = (Scratch::default(), Scratch::default());
        let left = single.tile(1500..1601, 0..1600, &mut one);
        let right = double.tile(1500..1601, 0..1600, &mut two);
        for (at, (x, y)) in left.iter().zip(right).enumerate() {
            let row = 1500 + at / 1600;
            assert!((x - y).abs() <= single.tolerance(row) + double.tolerance(row));
            let direct: f64 = (&exact.row(row) - &exact.row(at % 1600)).iter().map(|d| d * d).sum();
            assert!((y - direct).abs() <= double.tolerance(row), "{y} {direct}");
        }
        Ok(())
    }

    #[test]
    fn blocks_cover_everything_once() {
        assert_eq!(blocks(7, 3).collect::<Vec<_>>(), [0..3, 3..6, 6..7]);
        assert_eq!(blocks(0, 3).count(), 0);
    }
}
