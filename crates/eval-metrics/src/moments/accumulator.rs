//! Sums of centred products over rows that come in batches.
//!
//! Rows wait in a buffer until a block is full; a block is centred on its own mean, and two centred
//! sums are joined by the formula of Chan, Golub and LeVeque (1979). The blocks follow from the
//! order of the rows alone: how many rows come at a time does not change a bit.

use faer::{
    Accum, MatMut, MatRef, Par,
    linalg::matmul::{matmul, triangular, triangular::BlockStructure},
};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use super::Moments;
use crate::{
    error::{Error, Result},
    real::{Real, check_rows},
};

/// Rows that are centred and multiplied together.
const BLOCK: usize = 256;
/// Rows of the covariance that one task computes.
const PANEL: usize = 128;
/// Squares of larger numbers, summed, may leave the range of f64.
const LARGEST: f64 = 1e150;

/// Collects [`Moments`] from rows that come in batches of any size.
///
/// Memory is one `(d, d)` matrix and a block of 256 rows, in f64. The products run in parallel.
///
/// # Example
/// ```
/// use eval_metrics::MomentAccumulator;
/// use ndarray::array;
///
/// let mut sums = MomentAccumulator::new(2);
/// sums.push(array![[1.0_f32, 0.0], [3.0, 0.0]].view())?;
/// sums.push(array![[2.0_f32, 3.0]].view())?;
/// let moments = sums.finish()?;
/// assert_eq!(moments.mean().to_vec(), [2.0, 1.0]);
/// assert_eq!(moments.covariance(), array![[1.0, 0.0], [0.0, 3.0]]);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MomentAccumulator {
    width: usize,
    block: usize,
    /// Rows in the sums below.
    n: usize,
    mean: Vec<f64>,
    /// Sum of `(x - mean)(x - mean)^T`, row-major; only the lower triangle is ever written.
    scatter: Vec<f64>,
    /// Rows that are not in the sums yet, fewer than a block.
    pending: Vec<f64>,
}

impl MomentAccumulator {
    /// No rows yet, of `width` columns.
    pub fn new(width: usize) -> Self {
        Self::with_block(width, BLOCK)
    }

    fn with_block(width: usize, block: usize) -> Self {
        let (mean, scatter) = (vec![0.0; width], vec![0.0; width * width]);
        Self { width, block, n: 0, mean, scatter, pending: Vec::new() }
    }

    /// Rows so far.
    pub fn n(&self) -> usize {
        self.n + self.pending.len() / self.width.max(1)
    }

    /// Adds rows; after an error none of them is added.
    ///
    /// # Shapes
    /// `rows`: `(k, d)`, any `k`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another width; [`Error::NonFinite`]; [`Error::Argument`] for rows
    /// without columns and for magnitudes above `1e150`, which overflow when squared.
    pub fn push<T: Real>(&mut self, rows: ArrayView2<'_, T>) -> Result<()> {
        self.check_width(rows.ncols())?;
        let largest = check_rows("rows", rows, 0)?;
        if largest > LARGEST {
            return Err(Error::Argument {
                name: "rows",
                reason: format!("magnitudes up to {largest:e} overflow when squared; rescale"),
            });
        }
        for row in rows.outer_iter() {
            self.pending.extend(row.iter().map(|&value| -> f64 { value.into() }));
            if self.pending.len() == self.block * self.width {
                self.flush();
            }
        }
        Ok(())
    }

    /// Adds all rows of another accumulator.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for another width.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        self.check_width(other.width)?;
        for (sum, more) in self.scatter.iter_mut().zip(&other.scatter) {
            *sum += more;
        }
        self.join(other.n, &other.mean, Vec::new());
        for row in other.pending.chunks(self.width.max(1)) {
            self.pending.extend(row);
            if self.pending.len() == self.block * self.width {
                self.flush();
            }
        }
        Ok(())
    }

    /// The moments of the rows so far.
    ///
    /// # Errors
    /// [`Error::TooFew`] for fewer than two rows.
    pub fn finish(mut self) -> Result<Moments> {
        let n = self.n();
        if n < 2 {
            return Err(Error::TooFew { what: "moments", needed: 2, got: n });
        }
        self.flush();
        let width = self.width;
        let covariance = Array2::from_shape_fn((width, width), |(row, column)| {
            self.scatter[row.max(column) * width + row.min(column)] / (n as f64 - 1.0)
        });
        Ok(Moments { mean: self.mean.into(), covariance, n })
    }

    fn check_width(&self, got: usize) -> Result<()> {
        if got == self.width {
            return Ok(());
        }
        Err(Error::Mismatch { what: "rows", unit: "columns", expected: self.width, got })
    }

    /// Moves the waiting rows into the sums.
    fn flush(&mut self) {
        let mut rows = std::mem::take(&mut self.pending);
        let n = rows.len() / self.width;
        if n == 0 {
            return;
        }
        let mean = centre(&mut rows, self.width);
        self.join(n, &mean, rows);
    }

    /// Adds `n` rows of that mean, given as differences from it, to the sums.
    ///
    /// The correction `n_1 n_2 / n (m_1 - m_2)(m_1 - m_2)^T` is the product of one more row.
    fn join(&mut self, n: usize, mean: &[f64], mut centred: Vec<f64>) {
        if n == 0 {
            return;
        }
        let total = (self.n + n) as f64;
        let share = n as f64 / total;
        let weight = (self.n as f64 * share).sqrt();
        for (old, new) in self.mean.iter_mut().zip(mean) {
            let shift = new - *old;
            centred.push(weight * shift);
            *old += share * shift;
        }
        self.n += n;
        add_products(&mut self.scatter, &centred, self.width);
    }
}

/// The mean of the rows and the differences from it, row-major.
pub(crate) fn centred<T: Real>(rows: ArrayView2<'_, T>) -> (Vec<f64>, Vec<f64>) {
    let mut values: Vec<f64> = rows.iter().map(|&value| value.into()).collect();
    let mean = centre(&mut values, rows.ncols());
    (mean, values)
}

/// Subtracts the mean of the rows from each and returns it.
fn centre(rows: &mut [f64], width: usize) -> Vec<f64> {
    let n = (rows.len() / width) as f64;
    let mut mean = vec![0.0; width];
    for row in rows.chunks(width) {
        mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    mean.iter_mut().for_each(|sum| *sum /= n);
    for row in rows.chunks_mut(width) {
        row.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= mean);
    }
    mean
}

/// Adds `X^T X` to the lower triangle of `out`, `X` being the rows of `width` numbers.
///
/// Tasks own panels of `out`, so that their number and order do not change a bit.
fn add_products(out: &mut [f64], rows: &[f64], width: usize) {
    let all = MatRef::from_row_major_slice(rows, rows.len() / width, width);
    out.par_chunks_mut(PANEL * width).enumerate().for_each(|(panel, out)| {
        let (start, count) = (panel * PANEL, out.len() / width);
        let out = MatMut::from_row_major_slice_mut(out, count, width);
        let (left, right) = out.split_at_col_mut(start);
        let own = all.subcols(start, count);
        matmul(left, Accum::Add, own.transpose(), all.subcols(0, start), 1.0, Par::Seq);
        triangular::matmul(
            right.subcols_mut(0, count),
            BlockStructure::TriangularLower,
            Accum::Add,
            own.transpose(),
            BlockStructure::Rectangular,
            own,
            BlockStructure::Rectangular,
            1.0,
            Par::Seq,
        );
    });
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Axis, array, s};

    use super::*;
    use crate::golden::{array as golden, assert_close, fake, real};

    /// Two passes, entry by entry.
    fn direct(rows: &Array2<f64>) -> (Array1<f64>, Array2<f64>) {
        let mean = rows.mean_axis(Axis(0)).unwrap();
        let centred = rows - &mean;
        let covariance = Array2::from_shape_fn((rows.ncols(), rows.ncols()), |(i, j)| {
            let pairs = centred.column(i).to_vec().into_iter().zip(centred.column(j).to_vec());
            pairs.map(|(a, b)| a * b).sum::<f64>() / (rows.nrows() as f64 - 1.0)
        });
        (mean, covariance)
    }

    #[track_caller]
    fn assert_same(a: &Moments, b: &Moments, tolerance: f64) {
        assert_eq!(a.n(), b.n());
        for (a, b) in a.mean().iter().zip(b.mean()) {
            assert_close(*a, *b, tolerance);
        }
        for (a, b) in a.covariance().iter().zip(b.covariance()) {
            assert_close(*a, *b, tolerance);
        }
    }

    fn in_batches(rows: &Array2<f64>, batch: usize, block: usize) -> Result<Moments> {
        let mut sums = MomentAccumulator::with_block(rows.ncols(), block);
        for batch in rows.axis_chunks_iter(Axis(0), batch) {
            sums.push(batch)?;
        }
        sums.finish()
    }

    #[test]
    fn golden_traces_and_plain_sums_are_met() -> Result<()> {
        let (x, y) = (Moments::of(real().view())?, Moments::of(fake().view())?);
        assert_close(x.covariance().diag().sum(), 0.6780532265539174, 1e-12);
        assert_close(y.covariance().diag().sum(), 0.4314565216154437, 1e-12);
        // Wider than two panels, more rows than two blocks.
        let wide = golden(3, 700, 300);
        let (mean, covariance) = direct(&wide);
        assert_same(&Moments::of(wide.view())?, &Moments::new(mean, covariance, 700)?, 1e-13);
        Ok(())
    }

    #[test]
    fn the_size_of_a_batch_does_not_change_a_bit() -> Result<()> {
        let rows = golden(4, 600, 5);
        let whole = Moments::of(rows.view())?;
        for batch in [1, 7, 256, 300, 600] {
            assert_eq!(in_batches(&rows, batch, BLOCK)?, whole);
        }
        for block in [1, 7, 100, 1000] {
            assert_same(&in_batches(&rows, 50, block)?, &whole, 1e-12);
        }
        Ok(())
    }

    #[test]
    fn merged_accumulators_are_those_of_all_rows() -> Result<()> {
        let rows = golden(5, 900, 4);
        let whole = Moments::of(rows.view())?;
        for cut in [0, 1, 256, 300, 899, 900] {
            let mut parts = [MomentAccumulator::new(4), MomentAccumulator::new(4)];
            parts[0].push(rows.slice(s![..cut, ..]))?;
            parts[1].push(rows.slice(s![cut.., ..]))?;
            let [mut merged, other] = parts;
            merged.merge(&other)?;
            assert_eq!(merged.n(), 900);
            assert_same(&merged.finish()?, &whole, 1e-12);
        }
        Ok(())
    }

    #[test]
    fn a_large_mean_costs_no_digits_of_the_covariance() -> Result<()> {
        // Shifts by a power of two that keep every row exact.
        let rows = golden(6, 500, 3).mapv(|x| (x * 1024.0).round() / 1024.0);
        let near = Moments::of(rows.view())?;
        let far = Moments::of((&rows + 2f64.powi(30)).view())?;
        assert_close(far.mean()[1] - 2f64.powi(30), near.mean()[1], 1e-6);
        for (a, b) in near.covariance().iter().zip(far.covariance()) {
            assert_close(*a, *b, 1e-9);
        }
        Ok(())
    }

    #[test]
    fn order_precision_and_constant_columns_do_not_matter() -> Result<()> {
        let mut rows = golden(7, 400, 6);
        rows.column_mut(2).fill(0.1);
        let whole = Moments::of(rows.view())?;
        assert_same(&Moments::of(rows.slice(s![..;-1, ..]))?, &whole, 1e-12);
        assert!(whole.covariance().row(2).iter().all(|value| value.abs() < 1e-15));
        let single = Moments::of(rows.mapv(|x| x as f32).view())?;
        assert_same(&single, &whole, 1e-5);
        assert_same(&Moments::of(rows.mapv(|x| f64::from(x as f32)).view())?, &single, 0.0);
        Ok(())
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
        let rows = golden(8, 600, 400);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Moments::of(rows.view()))
        };
        assert_eq!(run(1)?, run(3)?);
        Ok(())
    }

    #[test]
    fn unusable_rows_are_named_and_change_nothing() -> Result<()> {
        let mut sums = MomentAccumulator::new(2);
        sums.push(array![[1.0, 2.0], [3.0, 5.0]].view())?;
        let mut text = |rows: Array2<f64>| sums.push(rows.view()).unwrap_err().to_string();
        assert!(text(array![[0.0, 1.0], [f64::NAN, 1.0]]).contains("row 1, column 0"));
        assert!(text(array![[0.0, f64::INFINITY]]).contains("row 0, column 1"));
        assert!(text(array![[0.0]]).contains("expected 2 columns, got 1"));
        assert!(text(array![[1e200, 0.0]]).contains("rescale"));
        assert!(sums.merge(&MomentAccumulator::new(3)).is_err());
        sums.push(Array2::<f32>::zeros((0, 2)).view())?;
        assert_eq!(sums.finish()?.covariance(), array![[2.0, 3.0], [3.0, 4.5]]);
        let text = |rows: Array2<f32>| Moments::of(rows.view()).unwrap_err().to_string();
        assert!(text(Array2::zeros((0, 2))).contains("0 rows"));
        assert!(text(Array2::zeros((1, 2))).contains("1 rows"));
        assert!(text(Array2::zeros((3, 0))).contains("no columns"));
        assert!(MomentAccumulator::new(0).finish().is_err());
        Ok(())
    }
}
