//! Kernel distance with a cubic kernel, KID on the 2015 features.
//!
//! The unbiased squared maximum mean discrepancy with `k(x, y) = (<x, y> / d + 1)^3` (Binkowski et
//! al. 2018). Its expectation does not depend on the number of rows, and is zero for equal
//! distributions; an estimate may be negative.

use ndarray::{ArrayView2, Axis};
use rayon::prelude::*;
use serde::Serialize;

use crate::{
    distances::blocks,
    error::{Error, Result},
    product::inner_products,
    real::{Real, check_pair},
    sampling::subset,
};

/// Rows and columns of a tile of the kernel matrix; tiles are summed in order.
const BLOCK: usize = 256;
/// Cubes of squares of larger numbers, summed, may leave the range of f64.
const LARGEST: f64 = 1e45;

/// Which rows are compared with which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum KidBlocks {
    /// Random subsets of equal size from both sets.
    Subsets {
        /// Number of pairs of subsets.
        count: usize,
        /// Rows of a subset, drawn without replacement; different subsets may share rows.
        size: usize,
        /// Seed of the subsets.
        seed: u64,
    },
    /// All rows of both sets at once: the least noise, no spread.
    Whole,
}

impl Default for KidBlocks {
    /// 100 subsets of 1,000 rows, as published numbers have them; seed 0.
    fn default() -> Self {
        Self::Subsets { count: 100, size: 1000, seed: 0 }
    }
}

/// A kernel distance with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Kid {
    /// Mean over the subsets; papers often print a thousand times it.
    pub value: f64,
    /// Population standard deviation over the subsets, which papers print beside it; none for
    /// [`KidBlocks::Whole`]. Subsets overlap: it is no standard error.
    pub std_dev: Option<f64>,
    /// Real rows that were given.
    pub n_real: usize,
    /// Generated rows that were given.
    pub n_fake: usize,
    /// Columns.
    pub width: usize,
    /// Which rows were compared.
    pub blocks: KidBlocks,
}

/// The kernel distance between two sets of rows.
///
/// Time is that of `3 count size^2 d` multiplications in f64; memory that of one subset of each
/// set in f64 per thread.
///
/// # Shapes
/// `real`: `(n, d)`; `fake`: `(m, d)`; at least two rows each and at least `size`.
///
/// # Errors
/// [`Error::TooFew`], [`Error::Mismatch`], [`Error::NonFinite`] for unusable rows;
/// [`Error::Argument`] for no subsets, subsets below two rows, or magnitudes above `1e45`.
///
/// # Example
/// ```
/// use eval_metrics::{KidBlocks, kid};
/// use ndarray::array;
///
/// let (real, fake) = (array![[0.0], [1.0], [2.0]], array![[1.0], [2.0], [3.0]]);
/// let blocks = KidBlocks::Subsets { count: 10, size: 2, seed: 0 };
/// let distance = kid(real.view(), fake.view(), blocks)?;
/// assert!(distance.value.is_finite());
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn kid<T: Real>(
    real: ArrayView2<'_, T>,
    fake: ArrayView2<'_, T>,
    blocks: KidBlocks,
) -> Result<Kid> {
    let needed = match blocks {
        KidBlocks::Subsets { count: 0, .. } => {
            let reason = "no subsets to average over".into();
            return Err(Error::Argument { name: "count", reason });
        }
        KidBlocks::Subsets { size, .. } if size < 2 => {
            let reason = format!("a subset needs two rows, got {size}");
            return Err(Error::Argument { name: "size", reason });
        }
        KidBlocks::Subsets { size, .. } => size,
        KidBlocks::Whole => 2,
    };
    check_pair(real, fake, needed, LARGEST)?;
    let width = real.ncols();
    let (value, std_dev) = match blocks {
        KidBlocks::Whole => (unbiased(&values(real), &values(fake), width, BLOCK), None),
        KidBlocks::Subsets { count, size, seed } => {
            let draw = |rows: ArrayView2<'_, T>, index| {
                values(rows.select(Axis(0), &subset(rows.nrows(), size, seed, index)).view())
            };
            let one = |at| unbiased(&draw(real, 2 * at), &draw(fake, 2 * at + 1), width, BLOCK);
            let each: Vec<f64> = (0..count as u64).into_par_iter().map(one).collect();
            let mean = each.iter().sum::<f64>() / count as f64;
            let squares: f64 = each.iter().map(|value| (value - mean).powi(2)).sum();
            (mean, Some((squares / count as f64).sqrt()))
        }
    };
    Ok(Kid { value, std_dev, n_real: real.nrows(), n_fake: fake.nrows(), width, blocks })
}

fn values<T: Real>(rows: ArrayView2<'_, T>) -> Vec<f64> {
    rows.iter().map(|&value| value.into()).collect()
}

/// The unbiased estimate of the squared discrepancy between rows of `width` numbers.
fn unbiased(real: &[f64], fake: &[f64], width: usize, block: usize) -> f64 {
    let (n, m) = ((real.len() / width) as f64, (fake.len() / width) as f64);
    let within_real = sum_within(real, width, block) / (n * (n - 1.0));
    let within_fake = sum_within(fake, width, block) / (m * (m - 1.0));
    within_real + within_fake - 2.0 * sum_across(real, fake, width, block) / (n * m)
}

/// The sum of the kernel over all ordered pairs of different rows.
fn sum_within(rows: &[f64], width: usize, block: usize) -> f64 {
    let n = rows.len() / width;
    let tiles = blocks(n, block).flat_map(|left| {
        blocks(n, block)
            .take_while(move |right| right.start <= left.start)
            .map(move |right| (left.clone(), right))
    });
    let tiles: Vec<_> = tiles.collect();
    let part = |range: &std::ops::Range<usize>| &rows[range.start * width..range.end * width];
    let sums: Vec<f64> = tiles
        .into_par_iter()
        .map(|(left, right)| {
            let tile = kernel(part(&left), part(&right), width);
            if left != right {
                return 2.0 * sum_of_lines(&tile, right.len());
            }
            let below = |(at, line): (usize, &[f64])| line[..at].iter().sum::<f64>();
            2.0 * tile.chunks(right.len()).enumerate().map(below).sum::<f64>()
        })
        .collect();
    sums.iter().sum()
}

/// The sum of the kernel over all pairs of a row of `a` and a row of `b`.
fn sum_across(a: &[f64], b: &[f64], width: usize, block: usize) -> f64 {
    let size = block * width;
    let tiles: Vec<_> = a.chunks(size).flat_map(|a| b.chunks(size).map(move |b| (a, b))).collect();
    let sums: Vec<f64> = tiles
        .into_par_iter()
        .map(|(a, b)| sum_of_lines(&kernel(a, b, width), b.len() / width))
        .collect();
    sums.iter().sum()
}

/// The kernel of all pairs of rows, row-major.
fn kernel(a: &[f64], b: &[f64], width: usize) -> Vec<f64> {
    let mut tile = vec![0.0; (a.len() / width) * (b.len() / width)];
    inner_products(a, b, width, &mut tile);
    let scale = 1.0 / width as f64;
    tile.iter_mut().for_each(|value| *value = (*value * scale + 1.0).powi(3));
    tile
}

fn sum_of_lines(tile: &[f64], columns: usize) -> f64 {
    tile.chunks(columns).map(|line| line.iter().sum::<f64>()).sum()
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array, s};

    use super::*;
    use crate::golden::{array as golden, assert_close, assert_mean, fake, normals, real};

    fn whole(a: &Array2<f64>, b: &Array2<f64>) -> Result<f64> {
        Ok(kid(a.view(), b.view(), KidBlocks::Whole)?.value)
    }

    #[test]
    fn the_golden_value_is_met() -> Result<()> {
        let result = kid(real().view(), fake().view(), KidBlocks::Whole)?;
        assert_close(result.value, 0.33831893641310273, 1e-12);
        assert_eq!((result.n_real, result.n_fake, result.width), (200, 200, 8));
        assert_eq!(result.std_dev, None);
        // A subset of all rows is the whole.
        let blocks = KidBlocks::Subsets { count: 3, size: 200, seed: 9 };
        let result = kid(real().view(), fake().view(), blocks)?;
        assert_close(result.value, 0.33831893641310273, 1e-12);
        assert!(result.std_dev.is_some_and(|std_dev| std_dev < 1e-12));
        assert_eq!(result.blocks, blocks);
        Ok(())
    }

    #[test]
    fn one_column_is_a_sum_over_moments() -> Result<()> {
        // (x y + 1)^3 = sum_j C(3, j) x^j y^j, so that all pairs together are squared power sums.
        let (x, y) = (normals(3, 700), normals(4, 600) + 0.5);
        let power = |rows: &Array2<f64>, j: i32| rows.iter().map(|x| x.powi(j)).sum::<f64>();
        let within = |rows: &Array2<f64>| {
            let pairs: f64 = (0..4).map(|j| CHOOSE[j] * power(rows, j as i32).powi(2)).sum();
            let equal: f64 = rows.iter().map(|x| (x * x + 1.0).powi(3)).sum();
            let n = rows.nrows() as f64;
            (pairs - equal) / (n * (n - 1.0))
        };
        let across = (0..4).map(|j| CHOOSE[j] * power(&x, j as i32) * power(&y, j as i32));
        let expected = within(&x) + within(&y) - 2.0 * across.sum::<f64>() / (700.0 * 600.0);
        assert_close(whole(&x, &y)?, expected, 1e-11);
        Ok(())
    }
    const CHOOSE: [f64; 4] = [1.0, 3.0, 3.0, 1.0];

    #[test]
    fn shifted_normal_numbers_have_a_closed_form() -> Result<()> {
        for (shift, expected) in [(0.0_f64, 0.0), (0.5, 3.578125)] {
            let formula =
                3.0 * shift.powi(2) + 3.0 * shift.powi(4) + (shift.powi(3) + 3.0 * shift).powi(2);
            assert_close(formula, expected, 1e-15);
            let values: Vec<f64> = (0..50)
                .map(|at| whole(&normals(2 * at, 500), &(normals(2 * at + 1, 500) + shift)))
                .collect::<Result<_>>()?;
            assert_mean(&values, expected);
        }
        Ok(())
    }

    #[test]
    fn subsets_scatter_around_the_whole_and_follow_from_the_seed() -> Result<()> {
        let run = |seed| {
            kid(real().view(), fake().view(), KidBlocks::Subsets { count: 200, size: 50, seed })
        };
        let result = run(1)?;
        assert_eq!(result, run(1)?);
        assert_ne!(result, Kid { blocks: result.blocks, ..run(2)? });
        // Subsets of one data set: the mean over many goes to the whole.
        let spread = result.std_dev.unwrap_or(f64::NAN);
        let error = (result.value - 0.33831893641310273).abs();
        assert!(error < 5.0 * spread / 200_f64.sqrt(), "{error} {spread}");
        Ok(())
    }

    #[test]
    fn order_sets_precision_and_block_size_do_not_matter() -> Result<()> {
        let (x, y) = (golden(1, 300, 8), golden(2, 270, 8) * 0.8);
        let plain = whole(&x, &y)?;
        assert_close(whole(&x.slice(s![..;-1, ..]).to_owned(), &y)?, plain, 1e-12);
        assert_close(whole(&y, &x)?, plain, 1e-12);
        let single = [&x, &y].map(|rows| rows.mapv(|x| x as f32));
        let result = kid(single[0].view(), single[1].view(), KidBlocks::Whole)?;
        assert_close(result.value, plain, 1e-5);
        for block in [1, 7, 256] {
            let blocked = unbiased(&values(x.view()), &values(y.view()), 8, block);
            assert_close(blocked, plain, 1e-12);
        }
        Ok(())
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
        let (x, y) = (golden(7, 700, 20), golden(8, 600, 20));
        for blocks in [KidBlocks::Whole, KidBlocks::Subsets { count: 7, size: 300, seed: 4 }] {
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| kid(x.view(), y.view(), blocks))
            };
            assert_eq!(run(1)?, run(3)?);
        }
        Ok(())
    }

    #[test]
    fn equal_rows_everywhere_are_at_distance_zero() -> Result<()> {
        let constant = Array2::from_elem((9, 4), 3.0);
        assert_close(whole(&constant, &constant)?, 0.0, 1e-12);
        // Fewer rows than columns.
        assert!(whole(&golden(1, 3, 40), &golden(2, 2, 40))?.is_finite());
        Ok(())
    }

    #[test]
    fn unusable_input_is_named() {
        let good = golden(1, 9, 3);
        let text = |a: &Array2<f64>, b: &Array2<f64>, blocks| {
            kid(a.view(), b.view(), blocks).unwrap_err().to_string()
        };
        let blocks = |count, size| KidBlocks::Subsets { count, size, seed: 0 };
        assert!(text(&good, &good, KidBlocks::default()).contains("at least 1000 are needed"));
        assert!(text(&good, &good, blocks(0, 5)).contains("`count`"));
        assert!(text(&good, &good, blocks(5, 1)).contains("`size`"));
        assert!(text(&good, &golden(1, 4, 3), blocks(5, 5)).contains("fake: 4 rows"));
        assert!(text(&Array2::zeros((0, 3)), &good, KidBlocks::Whole).contains("real: 0 rows"));
        assert!(text(&good, &array![[1.0, 2.0, 3.0]], KidBlocks::Whole).contains("fake: 1 rows"));
        assert!(text(&good, &golden(1, 9, 2), KidBlocks::Whole).contains("expected 3 columns"));
        assert!(text(&good, &(&good * 1e50), KidBlocks::Whole).contains("rescale"));
        for value in [f64::NAN, f64::INFINITY] {
            let mut bad = good.clone();
            bad[(1, 2)] = value;
            assert!(text(&bad, &good, KidBlocks::Whole).contains("real: row 1, column 2"));
        }
    }
}
