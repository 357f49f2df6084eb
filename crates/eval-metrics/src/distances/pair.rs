//! Two sets of rows in one precision, and the pairs of them that are near.

use std::ops::Range;

use ndarray::ArrayView2;

use crate::{product::inner_products, real::Real};

/// One set of rows with its squared norms.
pub(super) struct Rows<U> {
    /// Shifted, but for direct differences.
    values: Vec<U>,
    /// Of the shifted rows.
    pub(super) norms: Vec<f64>,
    pub(super) largest_norm: f64,
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

impl Rows<f64> {
    /// The rows as they are, with the norms of the shifted ones.
    pub(super) fn direct<T: Real>(rows: ArrayView2<'_, T>, shift: &[f64]) -> Self {
        let values = rows.iter().map(|&value| value.into()).collect();
        Self { values, ..Self::shifted(rows, shift) }
    }
}

/// Both sets in one precision.
pub(super) struct Pair<U> {
    pub(super) rows: Rows<U>,
    pub(super) columns: Rows<U>,
}

impl<U: Real> Pair<U> {
    pub(super) fn shifted<T: Real>(
        rows: ArrayView2<'_, T>,
        columns: ArrayView2<'_, T>,
        shift: &[f64],
    ) -> Self {
        Self { rows: Rows::shifted(rows, shift), columns: Rows::shifted(columns, shift) }
    }

    /// The inner products of a tile, row-major, into `out`.
    pub(super) fn products(
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

    /// [`Distances::near`](super::Distances::near), given the inner products and what rounding may take from a distance.
    ///
    /// `|a|^2 + |b|^2 - 2 <a, b> <= l` is `<a, b> - (|b|^2 - l) / 2 >= |a|^2 / 2`: one subtraction and
    /// one comparison a pair, in the precision of the products.
    pub(super) fn near(
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

impl Pair<f64> {
    /// The squared distances of a tile, row-major, into `out`.
    pub(super) fn differences(
        &self,
        rows: &Range<usize>,
        columns: &Range<usize>,
        width: usize,
        out: &mut Vec<f64>,
    ) {
        out.clear();
        let part = |set: &Range<usize>| set.start * width..set.end * width;
        let (a, b) = (&self.rows.values[part(rows)], &self.columns.values[part(columns)]);
        for a in a.chunks_exact(width) {
            out.extend(b.chunks_exact(width).map(|b| difference(a, b)));
        }
    }
}

/// `|a - b|^2` in eight partial sums, which the compiler keeps in vectors.
fn difference(a: &[f64], b: &[f64]) -> f64 {
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0_f64; 8];
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += (a - b) * (a - b);
        }
    }
    let rest: f64 = rest_a.iter().zip(rest_b).map(|(a, b)| (a - b) * (a - b)).sum();
    sums.iter().sum::<f64>() + rest
}

/// [`Distances::near`](super::Distances::near), given the squared distances.
pub(super) fn within(
    (rows, columns): (Range<usize>, Range<usize>),
    [row_limits, column_limits]: [Option<&[f64]>; 2],
    distances: &[f64],
    slack: impl Fn(usize) -> f64,
    mut visit: impl FnMut(usize, usize, f64),
) {
    let limit = |limits: Option<&[f64]>, at: usize| limits.map_or(f64::NEG_INFINITY, |l| l[at]);
    for (at, (row, line)) in rows.zip(distances.chunks_exact(columns.len().max(1))).enumerate() {
        let (slack, by_row) = (slack(row), limit(row_limits, at));
        for (place, (column, &value)) in columns.clone().zip(line).enumerate() {
            if value <= by_row.max(limit(column_limits, place)) + slack {
                visit(row, column, value);
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
