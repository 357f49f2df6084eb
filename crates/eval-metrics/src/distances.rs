//! Squared distances between two sets of rows, tile by tile.
//!
//! `|a - b|^2 = |a|^2 + |b|^2 - 2 <a, b>` after both sets are shifted by the mean of the second,
//! which the distance does not see and which keeps the cancellation small. Norms and the final sum
//! are f64; the inner products are f64 for small problems and for f64 input, f32 otherwise.

use std::ops::Range;

use ndarray::ArrayView2;

use crate::{
    error::{Error, Result},
    product::inner_products,
    real::{Real, check_rows},
};

/// Below this many multiplications (`n * m * d`), f32 input is multiplied in f64 all the same.
const SMALL: f64 = 2e9;
/// Magnitudes beyond this are multiplied in f64, since their squares leave the range of f32.
const LARGE: f64 = 1e15;

/// One set of rows, shifted, with its squared norms.
struct Rows<U> {
    values: Vec<U>,
    norms: Vec<f64>,
    largest_norm: f64,
}

impl<U: Real> Rows<U> {
    fn shifted<T: Real>(rows: ArrayView2<'_, T>, shift: &[f64]) -> Self {
        let mut values = Vec::with_capacity(rows.len());
        let mut norms = Vec::with_capacity(rows.nrows());
        for row in rows.outer_iter() {
            let mut norm = 0.0;
            for (&value, &shift) in row.iter().zip(shift) {
                let value = U::from_f64(value.into() - shift);
                norm += value.into() * value.into();
                values.push(value);
            }
            norms.push(norm);
        }
        let largest_norm = norms.iter().fold(0.0_f64, |largest, &norm| largest.max(norm));
        Self { values, norms, largest_norm }
    }
}

/// Both sets in one precision.
struct Pair<U> {
    rows: Rows<U>,
    columns: Rows<U>,
}

enum Precision {
    Single(Pair<f32>),
    Double(Pair<f64>),
}

/// All squared distances between `rows` and `columns`, computed on demand.
pub(crate) struct Distances {
    sets: Precision,
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
        let sets = if T::ROUNDOFF < f32::ROUNDOFF || work < SMALL || largest > LARGE {
            Precision::Double(Pair::shifted(rows, columns, &shift))
        } else {
            Precision::Single(Pair::shifted(rows, columns, &shift))
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
            Precision::Single(pair) => {
                pair.products(&rows, &columns, self.width, single);
                double.iter_mut().zip(&*single).for_each(|(wide, &narrow)| *wide = narrow.into());
                (&pair.rows.norms[rows], &pair.columns.norms[columns])
            }
            Precision::Double(pair) => {
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
            Precision::Single(pair) => {
                pair.products(&tile.0, &tile.1, self.width, &mut scratch.single);
                pair.near(tile, limits, &scratch.single, slack, visit);
            }
            Precision::Double(pair) => {
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
            Precision::Single(pair) => {
                (f32::ROUNDOFF, pair.rows.norms[row], pair.columns.largest_norm)
            }
            Precision::Double(pair) => {
                (f64::ROUNDOFF, pair.rows.norms[row], pair.columns.largest_norm)
            }
        };
        (self.width as f64 + 8.0) * roundoff * (norm.sqrt() + largest.sqrt()).powi(2)
    }
}

impl<U: Real> Pair<U> {
    fn shifted<T: Real>(
        rows: ArrayView2<'_, T>,
        columns: ArrayView2<'_, T>,
        shift: &[f64],
    ) -> Self {
        Self { rows: Rows::shifted(rows, shift), columns: Rows::shifted(columns, shift) }
    }

    /// The inner products of a tile, row-major, into `out`.
    fn products(
        &self,
        rows: &Range<usize>,
        columns: &Range<usize>,
        width: usize,
        out: &mut Vec<U>,
    ) {
        out.resize(rows.len() * columns.len(), U::default());
        let part = |set: &Range<usize>| set.start * width..set.end * width;
        let (a, b) = (&self.rows.values[part(rows)], &self.columns.values[part(columns)]);
        inner_products(a, b, width, out);
    }

    /// [`Distances::near`], given the inner products and what rounding may take from a distance.
    ///
    /// `|a|^2 + |b|^2 - 2 <a, b> <= l` is `<a, b> - (|b|^2 - l) / 2 >= |a|^2 / 2`: one subtraction and
    /// one comparison a pair, in the precision of the products.
    fn near(
        &self,
        (rows, columns): (Range<usize>, Range<usize>),
        [row_limits, column_limits]: [Option<&[f64]>; 2],
        products: &[U],
        slack: impl Fn(usize) -> f64,
        mut visit: impl FnMut(usize, usize, f64),
    ) {
        let norms = &self.columns.norms[columns.clone()];
        let half = |limit: f64, at: usize| U::from_f64((norms[at] - limit) / 2.0);
        let by_row: Vec<U> = (0..norms.len()).map(|at| half(0.0, at)).collect();
        let by_column: Option<Vec<U>> =
            column_limits.map(|l| l.iter().enumerate().map(|(at, l)| half(*l, at)).collect());
        let lines = products.chunks_exact(norms.len().max(1));
        for (at, (row, line)) in rows.zip(lines).enumerate() {
            let (norm, slack) = (self.rows.norms[row], slack(row));
            let found = |column: usize| {
                let value = norm + norms[column] - 2.0 * line[column].into();
                visit(row, columns.start + column, value.max(0.0));
            };
            let least = |limit: f64| U::from_f64((norm - limit - slack) / 2.0);
            let limit = row_limits.map(|limits| least(limits[at]));
            match (limit, &by_column) {
                (Some(limit), Some(by_column)) => {
                    scan(line, [&by_row, by_column], [limit, least(0.0)], found);
                }
                (Some(limit), None) => scan(line, [&by_row], [limit], found),
                (None, Some(by_column)) => scan(line, [by_column], [least(0.0)], found),
                (None, None) => {}
            }
        }
    }
}

/// Calls `found` with the places where `line - subtrahend >= least` for one of the pairs.
fn scan<const N: usize, U: Real>(
    line: &[U],
    subtrahends: [&[U]; N],
    least: [U; N],
    mut found: impl FnMut(usize),
) {
    const RUN: usize = 64;
    let subtrahends = subtrahends.map(|values| &values[..line.len()]);
    chains_core::ops::vectorised(
        #[inline(always)]
        || {
            for start in (0..line.len()).step_by(RUN) {
                let end = line.len().min(start + RUN);
                let mut any = false;
                for (values, least) in subtrahends.iter().zip(least) {
                    for (&product, &value) in line[start..end].iter().zip(&values[start..end]) {
                        any |= product - value >= least;
                    }
                }
                if any {
                    for at in start..end {
                        let near = |(values, least): (&&[U], &U)| line[at] - values[at] >= *least;
                        if subtrahends.iter().zip(&least).any(near) {
                            found(at);
                        }
                    }
                }
            }
        },
    );
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
    fn both_precisions_stay_inside_their_tolerance() -> Result<()> {
        // 1,601 x 1,600 x 784 is just above the limit below which f32 is multiplied in f64.
        let wide = array(4, 1601, 784).mapv(|x| x + 3.0);
        let narrow = wide.mapv(|x| x as f32);
        let (a, b) = (narrow.view(), narrow.slice(ndarray::s![..1600, ..]));
        let single = Distances::new(("a", a), ("b", b))?;
        assert!(matches!(single.sets, Precision::Single(..)));
        let exact = narrow.mapv(f64::from);
        let double = Distances::new(("a", exact.view()), ("b", exact.view()))?;
        assert!(matches!(double.sets, Precision::Double(..)));
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
