//! Sums of a kernel over the pairs of two pooled sets of rows, for many divisions into two.
//!
//! The matrix of the kernel is never held: a row of tiles below its diagonal is computed, used for
//! all divisions, and dropped.

use std::ops::Range;

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use crate::{
    distances::{Distances, Scratch, blocks},
    error::Result,
    real::{Real, check_pair},
};

/// Two sets of rows as one, the real rows first.
pub(crate) struct Pooled {
    pub(crate) distances: Distances,
    pub(crate) n_real: usize,
}

/// Squared distances between a block of rows and columns that are not above the diagonal.
pub(crate) struct Tile<'a> {
    columns: Range<usize>,
    values: &'a [f64],
    on_diagonal: bool,
}

impl Tile<'_> {
    /// For every row, its distances to rows that stand before it.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &[f64]> {
        self.values
            .chunks(self.columns.len())
            .enumerate()
            .map(|(at, line)| if self.on_diagonal { &line[..at] } else { line })
    }
}

/// Sums of a kernel over ordered pairs of different rows, for one division into two sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PairSums {
    /// Both rows in the first set.
    first: f64,
    /// Both rows in the second set.
    second: f64,
    /// One row in each, one order.
    across: f64,
    /// Rows of each set.
    sizes: (f64, f64),
}

impl PairSums {
    /// `mean k(x, x') + mean k(y, y') - 2 mean k(x, y)` over different rows.
    pub(crate) fn unbiased(&self) -> f64 {
        let (n, m) = self.sizes;
        let within = self.first / (n * (n - 1.0)) + self.second / (m * (m - 1.0));
        within - 2.0 * self.across / (n * m)
    }

    /// The same over all pairs, for a kernel with `k(x, x) = 1`.
    pub(crate) fn biased(&self) -> f64 {
        let (n, m) = self.sizes;
        let within = (self.first + n) / (n * n) + (self.second + m) / (m * m);
        within - 2.0 * self.across / (n * m)
    }
}

impl Pooled {
    /// Checks both sets, two rows or more each, and pools them in f64.
    pub(crate) fn new<T: Real>(real: ArrayView2<'_, T>, fake: ArrayView2<'_, T>) -> Result<Self> {
        check_pair(real, fake, 2, 1e150)?;
        let n = real.nrows();
        let rows = Array2::from_shape_fn((n + fake.nrows(), real.ncols()), |(row, column)| {
            let value = if row < n { real[(row, column)] } else { fake[(row - n, column)] };
            value.into()
        });
        Self::of(rows.view(), n)
    }

    /// Rows that are one list already.
    pub(crate) fn of(rows: ArrayView2<'_, f64>, n_real: usize) -> Result<Self> {
        Ok(Self { distances: Distances::new(("rows", rows), ("rows", rows))?, n_real })
    }

    /// The blocks of rows, each the work of one task.
    pub(crate) fn row_blocks(&self) -> Vec<Range<usize>> {
        blocks(self.distances.rows, self.distances.row_block).collect()
    }

    /// All tiles of a block of rows, from the left to the diagonal.
    pub(crate) fn for_each_tile(
        &self,
        rows: &Range<usize>,
        scratch: &mut Scratch,
        mut visit: impl FnMut(&Tile<'_>),
    ) {
        let left = blocks(rows.start, self.distances.column_block);
        for columns in left.chain(std::iter::once(rows.clone())) {
            let values = self.distances.tile(rows.clone(), columns.clone(), scratch);
            let on_diagonal = columns == *rows;
            visit(&Tile { columns, values, on_diagonal });
        }
    }

    /// The sums of the division that the data came in.
    pub(crate) fn sums(&self, kernel: impl Fn(f64) -> f64 + Sync) -> PairSums {
        let first: Vec<usize> = (0..self.n_real).collect();
        self.divided_sums(&[first], kernel)[0]
    }

    /// The sums of every division, given as the rows of its first set; `kernel` is a function of
    /// the squared distance.
    ///
    /// With `a` one on the first set and zero elsewhere, and `K` without its diagonal, `a^T K a` is
    /// the sum within the first set and `a^T K 1` that and the sum across.
    pub(crate) fn divided_sums(
        &self,
        divisions: &[Vec<usize>],
        kernel: impl Fn(f64) -> f64 + Sync,
    ) -> Vec<PairSums> {
        let (n, count) = (self.distances.rows, divisions.len());
        let mut members = vec![0_u8; n * count];
        for (at, division) in divisions.iter().enumerate() {
            division.iter().for_each(|row| members[row * count + at] = 1);
        }
        let parts: Vec<Part> = self
            .row_blocks()
            .into_par_iter()
            .map_init(Scratch::default, |scratch, rows| {
                Part::of(self, &rows, (&members, count), &kernel, scratch)
            })
            .collect();
        let (mut forms, mut row_sums) = (vec![0.0; count], vec![0.0; n]);
        for part in &parts {
            forms.iter_mut().zip(&part.forms).for_each(|(sum, more)| *sum += 2.0 * more);
            row_sums.iter_mut().zip(&part.row_sums).for_each(|(sum, more)| *sum += more);
        }
        let total: f64 = row_sums.iter().sum();
        let one = |(division, &first): (&Vec<usize>, &f64)| {
            let across = division.iter().map(|&row| row_sums[row]).sum::<f64>() - first;
            let sizes = (division.len() as f64, (n - division.len()) as f64);
            PairSums { first, second: total - first - 2.0 * across, across, sizes }
        };
        divisions.iter().zip(&forms).map(one).collect()
    }
}

/// What one block of rows adds.
struct Part {
    /// For every division, the sum over pairs within its first set.
    forms: Vec<f64>,
    /// Sums of the kernel over the other row of a pair, for the rows up to the end of the block.
    row_sums: Vec<f64>,
}

impl Part {
    fn of(
        pooled: &Pooled,
        rows: &Range<usize>,
        (members, count): (&[u8], usize),
        kernel: impl Fn(f64) -> f64,
        scratch: &mut Scratch,
    ) -> Self {
        let indicators = |range: &Range<usize>| -> Vec<f64> {
            members[range.start * count..range.end * count].iter().map(|&one| one.into()).collect()
        };
        let mut row_sums = vec![0.0; rows.end];
        // Of every row, the sum of the kernel over the first set of every division.
        let mut reached = vec![0.0; rows.len() * count];
        pooled.for_each_tile(rows, scratch, |tile| {
            let (start, width) = (tile.columns.start, tile.columns.len());
            let mut values = vec![0.0; rows.len() * width];
            let lines = values.chunks_mut(width).zip(tile.lines());
            for (row, (values, line)) in rows.clone().zip(lines) {
                let mut sum = 0.0;
                for (at, (value, &distance)) in values.iter_mut().zip(line).enumerate() {
                    *value = kernel(distance);
                    sum += *value;
                    row_sums[start + at] += *value;
                }
                row_sums[row] += sum;
            }
            let members = indicators(&tile.columns);
            let left = MatRef::from_row_major_slice(&values, rows.len(), width);
            let right = MatRef::from_row_major_slice(&members, width, count);
            let out = MatMut::from_row_major_slice_mut(&mut reached, rows.len(), count);
            matmul(out, Accum::Add, left, right, 1.0, Par::Seq);
        });
        let mut forms = vec![0.0; count];
        let own = indicators(rows);
        for (reached, own) in reached.chunks(count).zip(own.chunks(count)) {
            for ((form, reached), own) in forms.iter_mut().zip(reached).zip(own) {
                *form += reached * own;
            }
        }
        Self { forms, row_sums }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{array, assert_close};

    fn kernel(squared: f64) -> f64 {
        (-squared).exp()
    }

    /// The definition, pair by pair.
    fn direct(rows: &Array2<f64>, first: &[usize]) -> [f64; 3] {
        let mut sums = [0.0; 3];
        for i in 0..rows.nrows() {
            for j in (0..rows.nrows()).filter(|&j| j != i) {
                let squared = (&rows.row(i) - &rows.row(j)).mapv(|x| x * x).sum();
                match (first.contains(&i), first.contains(&j)) {
                    (true, true) => sums[0] += kernel(squared),
                    (false, false) => sums[1] += kernel(squared),
                    (true, false) => sums[2] += kernel(squared),
                    (false, true) => {}
                }
            }
        }
        sums
    }

    #[test]
    fn every_division_has_the_sums_of_the_definition() -> Result<()> {
        let rows = array(1, 30, 3);
        let divisions = [vec![0, 1, 2, 3, 4], vec![29, 7, 3], (0..28).collect()];
        let mut pooled = Pooled::of(rows.view(), 5)?;
        for (row_block, column_block) in [(256, 1024), (1, 1), (7, 4), (4, 7)] {
            (pooled.distances.row_block, pooled.distances.column_block) = (row_block, column_block);
            let sums = pooled.divided_sums(&divisions, kernel);
            for (sums, division) in sums.iter().zip(&divisions) {
                let [first, second, across] = direct(&rows, division);
                assert_close(sums.first, first, 1e-12);
                assert_close(sums.second, second, 1e-12);
                assert_close(sums.across, across, 1e-12);
            }
            assert_close(pooled.sums(kernel).across, direct(&rows, &divisions[0])[2], 1e-12);
        }
        Ok(())
    }
}
