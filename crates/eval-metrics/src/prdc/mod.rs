//! Precision, recall, density and coverage of generated rows by balls around nearest neighbours.
//!
//! The ball of a row reaches to its `k`-th nearest other row of the same set. Precision is the share
//! of generated rows inside a real ball, recall the share of real rows inside a generated ball
//! (Kynkäänniemi and others, 2019); density counts how many real balls a generated row is in, and
//! coverage how many real balls hold a generated row (Naeem and others, 2020).
//!
//! Compare only at equal row counts and equal `k`. In many dimensions the values of two equal
//! distributions are far from one: precision is near one half for 10,000 normal rows of 1,000.

#[cfg(test)]
mod tests;

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
