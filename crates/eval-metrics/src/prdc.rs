//! Precision, recall, density and coverage of generated rows by balls around nearest neighbours.
//!
//! The ball of a row reaches to its `k`-th nearest other row of the same set. Precision is the share
//! of generated rows inside a real ball, recall the share of real rows inside a generated ball
//! (Kynkäänniemi and others, 2019); density counts how many real balls a generated row is in, and
//! coverage how many real balls hold a generated row (Naeem and others, 2020).
//!
//! Compare only at equal row counts and equal `k`. In many dimensions the values of two equal
//! distributions are far from one: precision is near one half for 10,000 normal rows of 1,000.

use std::sync::atomic::{AtomicBool, Ordering};

use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::Serialize;

use crate::{
    distances::{Distances, Scratch, blocks},
    error::Result,
    nearest::{kth_nearest_other, squared_distance},
    real::Real,
};

/// Does a ball hold the rows at exactly its radius? Published codes differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Boundary {
    /// No (`<`), as in the code of density and coverage; the ball of a row with `k` copies is empty.
    #[default]
    Open,
    /// Yes (`<=`), as in the code of improved precision and recall.
    Closed,
}

impl Boundary {
    fn holds(self, distance: f64, radius: f64) -> bool {
        match self {
            Self::Open => distance < radius,
            Self::Closed => distance <= radius,
        }
    }
}

/// The four scores with their settings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prdc {
    /// Share of generated rows inside the ball of at least one real row.
    pub precision: f64,
    /// Share of real rows inside the ball of at least one generated row.
    pub recall: f64,
    /// Real balls around a generated row, on average, divided by `k`; may exceed one.
    pub density: f64,
    /// Share of real rows whose ball holds at least one generated row.
    pub coverage: f64,
    /// A ball reaches to this nearest neighbour.
    pub k: usize,
    /// Whether balls hold their boundary.
    pub boundary: Boundary,
    /// Real rows.
    pub n_real: usize,
    /// Generated rows.
    pub n_fake: usize,
}

/// Precision, recall, density and coverage of `fake` against `real`.
///
/// `k = 5` with open balls is the usual choice for density and coverage, `k = 3` with closed ones
/// for improved precision and recall. Swapping the sets swaps precision and recall, but not density
/// and coverage. A blocked matrix product decides all pairs that rounding leaves in no doubt, and
/// direct differences in f64 the others, so ties are ties.
///
/// # Shapes
/// `real`: `(n, d)`; `fake`: `(m, d)`; both with at least `k + 1` rows.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for `k = 0`;
/// [`Error::TooFew`](crate::Error::TooFew), [`Error::Mismatch`](crate::Error::Mismatch),
/// [`Error::NonFinite`](crate::Error::NonFinite) for unusable rows.
///
/// # Example
/// ```
/// use eval_metrics::{Boundary, prdc};
/// use ndarray::array;
///
/// let real = array![[0.0], [1.0], [2.0], [3.0]];
/// let fake = array![[0.4], [0.6], [0.9], [9.0]];
/// let score = prdc(real.view(), fake.view(), 1, Boundary::Open)?;
/// assert_eq!((score.precision, score.recall, score.coverage), (0.75, 0.75, 0.5));
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn prdc<T: Real>(
    real: ArrayView2<'_, T>,
    fake: ArrayView2<'_, T>,
    k: usize,
    boundary: Boundary,
) -> Result<Prdc> {
    // The cross distances come first, since their checks cost little.
    let distances = Distances::new(("fake", fake), ("real", real))?;
    let real_radii = kth_nearest_other("real", real, k)?;
    let fake_radii = kth_nearest_other("fake", fake, k)?;
    let balls = Balls { real, fake, real_radii, fake_radii, boundary };
    let counts = balls.count(&distances);
    let (n_real, n_fake) = (real.nrows(), fake.nrows());
    Ok(Prdc {
        precision: counts.fakes_inside as f64 / n_fake as f64,
        recall: counts.reals_inside as f64 / n_real as f64,
        density: counts.pairs as f64 / (k as f64 * n_fake as f64),
        coverage: counts.reals_covered as f64 / n_real as f64,
        k,
        boundary,
        n_real,
        n_fake,
    })
}

/// Mean coverage of two samples of one continuous distribution, whatever that is.
///
/// `1 - prod_{i < k} (n - 1 - i) / (n + m - 1 - i)` for `n` real and `m` generated rows: the chance
/// that the `k` nearest of all other rows are not all real. It tends to `1 - 2^-k` for large equal
/// sets and is what a perfect model reaches. The mean density of such samples is one.
///
/// Zero without real or without generated rows.
pub fn expected_coverage(n_real: usize, n_fake: usize, k: usize) -> f64 {
    if n_fake == 0 {
        return 0.0;
    }
    let (n, m) = (n_real as f64, n_fake as f64);
    let all_real = |i: usize| (n - 1.0 - i as f64).max(0.0) / (n + m - 1.0 - i as f64);
    1.0 - (0..k.min(n_real)).map(all_real).product::<f64>()
}

/// Both sets with the squared radii of their balls.
struct Balls<'a, T> {
    real: ArrayView2<'a, T>,
    fake: ArrayView2<'a, T>,
    real_radii: Vec<f64>,
    fake_radii: Vec<f64>,
    boundary: Boundary,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    /// Pairs whose generated row is inside the real ball.
    pairs: u64,
    fakes_inside: usize,
    reals_inside: usize,
    reals_covered: usize,
}

impl<T: Real> Balls<'_, T> {
    /// One pass over all pairs; counts and flags do not depend on the order.
    fn count(&self, distances: &Distances) -> Counts {
        let flags = |n: usize| (0..n).map(|_| AtomicBool::new(false)).collect::<Vec<_>>();
        let (inside, covered) = (flags(self.real.nrows()), flags(self.real.nrows()));
        let starts: Vec<usize> = (0..distances.rows).step_by(distances.row_block).collect();
        let found = starts.into_par_iter().map_init(Scratch::default, |scratch, start| {
            self.count_block(distances, start, (&inside, &covered), scratch)
        });
        let (pairs, fakes_inside) =
            found.reduce(|| (0, 0), |left, right| (left.0 + right.0, left.1 + right.1));
        let raised = |flags: Vec<AtomicBool>| {
            flags.into_iter().filter(|flag| flag.load(Ordering::Relaxed)).count()
        };
        Counts { pairs, fakes_inside, reals_inside: raised(inside), reals_covered: raised(covered) }
    }

    /// Pairs and generated rows inside real balls, for the block of generated rows at `start`.
    fn count_block(
        &self,
        distances: &Distances,
        start: usize,
        (inside, covered): (&[AtomicBool], &[AtomicBool]),
        scratch: &mut Scratch,
    ) -> (u64, usize) {
        let rows = start..(start + distances.row_block).min(distances.rows);
        let mut counts = vec![0_u64; rows.len()];
        let fake_radii = Some(&self.fake_radii[rows.clone()]);
        // Twice, since the direct differences round as well.
        let margins: Vec<f64> = rows.clone().map(|row| 2.0 * distances.tolerance(row)).collect();
        for columns in blocks(distances.columns, distances.column_block) {
            let limits = [fake_radii, Some(&self.real_radii[columns.clone()])];
            let tile = (rows.clone(), columns);
            distances.near(tile, limits, scratch, |fake, real, squared| {
                let margin = margins[fake - start];
                if self.within(self.real_radii[real], (fake, real), squared, margin) {
                    counts[fake - start] += 1;
                    covered[real].store(true, Ordering::Relaxed);
                }
                if self.within(self.fake_radii[fake], (fake, real), squared, margin) {
                    inside[real].store(true, Ordering::Relaxed);
                }
            });
        }
        (counts.iter().sum(), counts.iter().filter(|count| **count > 0).count())
    }

    /// Whether a pair is no farther apart than `radius`, from its distance up to `margin`.
    fn within(&self, radius: f64, pair: (usize, usize), value: f64, margin: f64) -> bool {
        if (value - radius).abs() > margin {
            return value < radius;
        }
        let exact = squared_distance(self.fake.row(pair.0), self.real.row(pair.1));
        self.boundary.holds(exact, radius)
    }
}

#[cfg(test)]
mod tests {
    use chains_core::Seed;
    use ndarray::{Array2, array, s};

    use super::*;
    use crate::golden::{array as golden, assert_close, assert_mean, fake, normals, real};

    fn four(score: &Prdc) -> [f64; 4] {
        [score.precision, score.recall, score.density, score.coverage]
    }

    fn close(score: &Prdc, expected: [f64; 4], tolerance: f64) {
        four(score).iter().zip(expected).for_each(|(a, b)| assert_close(*a, b, tolerance));
    }

    /// Standard normal rows of three columns.
    fn cloud(seed: u32, rows: usize) -> Array2<f64> {
        normals(seed, 3 * rows).into_shape_with_order((rows, 3)).unwrap()
    }

    #[test]
    fn golden_values_are_met() -> Result<()> {
        let score = prdc(real().view(), fake().view(), 5, Boundary::Open)?;
        close(&score, [0.98, 0.46, 0.991, 0.70], 1e-12);
        assert_eq!((score.n_real, score.n_fake, score.k), (200, 200, 5));
        let score = prdc(real().view(), fake().view(), 3, Boundary::default())?;
        close(&score, [0.885, 0.375, 0.926_666_666_7, 0.555], 1e-10);
        Ok(())
    }

    #[test]
    fn a_set_against_itself_scores_one() -> Result<()> {
        for k in [1, 3, 5] {
            let score = prdc(real().view(), real().view(), k, Boundary::Open)?;
            close(&score, [1.0; 4], 0.0);
            let score = prdc(real().view(), real().view(), k, Boundary::Closed)?;
            close(&score, [1.0, 1.0, (k as f64 + 1.0) / k as f64, 1.0], 0.0);
        }
        Ok(())
    }

    #[test]
    fn distant_sets_score_zero() -> Result<()> {
        let far = fake() + 1e3;
        close(&prdc(real().view(), far.view(), 5, Boundary::Closed)?, [0.0; 4], 0.0);
        Ok(())
    }

    #[test]
    fn a_line_is_counted_by_hand() -> Result<()> {
        // Real radii 1, 1, 2; generated radii 2, 2, 5.
        let (real, fake) = (array![[0.0], [1.0], [3.0]], array![[2.0], [4.0], [9.0]]);
        let open = prdc(real.view(), fake.view(), 1, Boundary::Open)?;
        close(&open, [2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 1.0 / 3.0], 1e-15);
        let closed = prdc(real.view(), fake.view(), 1, Boundary::Closed)?;
        close(&closed, [2.0 / 3.0, 1.0, 1.0, 2.0 / 3.0], 1e-15);
        Ok(())
    }

    #[test]
    fn open_balls_of_copies_are_empty() -> Result<()> {
        let copies = Array2::from_elem((6, 2), 0.1);
        let run = |boundary| prdc(copies.view(), copies.view(), 2, boundary);
        close(&run(Boundary::Open)?, [0.0; 4], 0.0);
        close(&run(Boundary::Closed)?, [1.0, 1.0, 3.0, 1.0], 0.0);
        Ok(())
    }

    #[test]
    fn swapping_the_sets_swaps_precision_and_recall() -> Result<()> {
        let score = prdc(real().view(), fake().view(), 5, Boundary::Open)?;
        let swapped = prdc(fake().view(), real().view(), 5, Boundary::Open)?;
        assert_eq!((score.precision, score.recall), (swapped.recall, swapped.precision));
        assert!((score.density - swapped.density).abs() > 0.1);
        Ok(())
    }

    #[test]
    fn expected_coverage_has_the_tabulated_values() {
        for (n, expected) in [(200, 0.969916), (1000, 0.968984), (10_000, 0.968773)] {
            assert_close(expected_coverage(n, n, 5), expected, 5e-7);
        }
        // One real and one generated row among the others of a real one: nearest by chance.
        assert_close(expected_coverage(2, 1, 1), 0.5, 1e-15);
        assert_close(expected_coverage(3, 4, 8), 1.0, 0.0);
        for (n, m) in [(0, 0), (1, 0), (0, 1), (5, 0)] {
            assert_close(expected_coverage(n, m, 3), 0.0, 0.0);
        }
    }

    #[test]
    fn equal_distributions_reach_the_expected_coverage_and_density() -> Result<()> {
        let repeats = 40;
        let mut scores = Vec::new();
        for seed in 0..repeats {
            let all = cloud(100 + seed, 500);
            let (real, fake) = (all.slice(s![..200, ..]), all.slice(s![200.., ..]));
            scores.push(prdc(real, fake, 5, Boundary::Open)?);
        }
        let check = |value: fn(&Prdc) -> f64, expected: f64| {
            assert_mean(&scores.iter().map(value).collect::<Vec<_>>(), expected);
        };
        check(|score| score.coverage, expected_coverage(200, 300, 5));
        check(|score| score.density, 1.0);
        Ok(())
    }

    #[test]
    fn ten_thousand_normal_rows_of_a_thousand_columns_score_as_published() -> Result<()> {
        // The example of the package of Naeem and others: identical distributions, far from one.
        let rows = |label: &str| {
            let mut values = vec![0_f32; 10_000_000];
            Seed::new(1).child(label).host_noise().fill_normal(&mut values);
            Array2::from_shape_vec((10_000, 1000), values).unwrap()
        };
        let score = prdc(rows("real").view(), rows("fake").view(), 5, Boundary::Open)?;
        // Density, a mean of one, varies by 0.08 between draws (measured with PyTorch): in so many
        // dimensions few real rows are near to all others.
        let published = [(0.4772, 0.02), (0.4705, 0.02), (1.0555, 0.24), (0.9735, 0.02)];
        for (value, (published, tolerance)) in four(&score).into_iter().zip(published) {
            assert!((value - published).abs() < tolerance, "{score:?}");
        }
        Ok(())
    }

    #[test]
    fn order_precision_and_blocks_do_not_matter() -> Result<()> {
        let (real, fake) = (real(), fake());
        let score = prdc(real.view(), fake.view(), 5, Boundary::Open)?;
        let reversed =
            prdc(real.slice(s![..;-1, ..]), fake.slice(s![..;-1, ..]), 5, Boundary::Open);
        assert_eq!(reversed?, score);
        let single =
            prdc(real.mapv(|x| x as f32).view(), fake.mapv(|x| x as f32).view(), 5, Boundary::Open);
        close(&single?, four(&score), 1e-5);
        let balls = Balls {
            real: real.view(),
            fake: fake.view(),
            real_radii: kth_nearest_other("real", real.view(), 5)?,
            fake_radii: kth_nearest_other("fake", fake.view(), 5)?,
            boundary: Boundary::Open,
        };
        let mut distances = Distances::new(("fake", fake.view()), ("real", real.view()))?;
        let whole = balls.count(&distances);
        for (row_block, column_block) in [(1, 7), (7, 1), (256, 64)] {
            (distances.row_block, distances.column_block) = (row_block, column_block);
            assert_eq!(balls.count(&distances), whole);
        }
        Ok(())
    }

    #[test]
    fn the_number_of_threads_does_not_change_the_answer() -> Result<()> {
        let (real, fake) = (golden(5, 700, 6), golden(6, 900, 6));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| prdc(real.view(), fake.view(), 3, Boundary::Closed))
        };
        assert_eq!(run(1)?, run(3)?);
        Ok(())
    }

    #[test]
    fn unusable_input_is_named() {
        let good = || Array2::<f64>::zeros((6, 2));
        let text = |real: Array2<f64>, fake: Array2<f64>, k| {
            prdc(real.view(), fake.view(), k, Boundary::Open).unwrap_err().to_string()
        };
        assert!(text(good(), good(), 0).contains("`k`"));
        assert!(text(Array2::zeros((5, 2)), good(), 5).contains("real: 5 rows, at least 6"));
        assert!(text(good(), Array2::zeros((1, 2)), 5).contains("fake: 1 rows, at least 6"));
        assert!(text(good(), Array2::zeros((0, 2)), 5).contains("fake: 0 rows"));
        assert!(text(good(), Array2::zeros((6, 3)), 5).contains("expected 2 columns, got 3"));
        assert!(text(good(), good() + f64::INFINITY, 5).contains("fake: row 0, column 0"));
        assert!(text(good() + f64::NAN, good(), 5).contains("real: row 0, column 0"));
    }
}
