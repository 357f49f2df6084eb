//! Kernel Stein discrepancy: do points follow a density of which only the score is known?
//!
//! The score is the gradient of the log density, so no normaliser is needed (Liu, Lee and Jordan,
//! 2016; Chwialkowski, Strathmann and Gretton, 2016). It hardly sees how mass is divided among modes
//! far apart: print it beside a two-sample test against exact samples or the balance of the modes.

use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::Serialize;

use crate::{
    error::{Error, Result},
    real::{Real, check_rows},
};

/// Rows that are worked on together, so that the others are read once for all of them.
const BLOCK: usize = 32;

/// The kernel `k(r)` of a squared distance `r`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum SteinKernel {
    /// `exp(-r / (2 h^2))`; loses its power in many dimensions.
    Rbf {
        /// `h`, in the unit of the points.
        bandwidth: f64,
    },
    /// Inverse multiquadric, `(c^2 + r)^(-1/2)`; the usual choice, with an offset of one (Gorham and
    /// Mackey, 2017).
    Imq {
        /// `c`, in the unit of the points.
        offset: f64,
    },
}

impl SteinKernel {
    fn check(self) -> Result<()> {
        let (name, value) = match self {
            Self::Rbf { bandwidth } => ("bandwidth", bandwidth),
            Self::Imq { offset } => ("offset", offset),
        };
        // Its square divides.
        if value > 0.0 && (value * value).is_normal() {
            return Ok(());
        }
        Err(Error::Argument {
            name,
            reason: format!("{value} is not positive with a normal square"),
        })
    }

    /// The kernel, and its first and second derivative in `r`.
    fn derivatives(self, r: f64) -> [f64; 3] {
        match self {
            Self::Rbf { bandwidth } => {
                let slope = -0.5 / (bandwidth * bandwidth);
                let value = (slope * r).exp();
                [value, slope * value, slope * slope * value]
            }
            Self::Imq { offset } => {
                let base = 1.0 / (offset * offset + r);
                let value = base.sqrt();
                [value, -0.5 * base * value, 0.75 * base * base * value]
            }
        }
    }
}

/// Squared kernel Stein discrepancy with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ksd {
    /// U-statistic, over pairs of different points: zero in expectation for exact samples, and
    /// negative in about half of such samples.
    pub unbiased: f64,
    /// V-statistic, over all pairs: never negative but for rounding, positive for exact samples.
    pub biased: f64,
    /// The kernel.
    pub kernel: SteinKernel,
    /// Points.
    pub n: usize,
}

/// Squared kernel Stein discrepancy of points from the density whose scores they come with.
///
/// The mean over pairs of `s(x).s(y) k + s(x).grad_y k + s(y).grad_x k + tr grad_x grad_y k`, in
/// f64 from the differences themselves. Costs `n^2 d`.
///
/// # Shapes
/// `points`: `(n, d)`, `n >= 2`; `scores`: `(n, d)`, the gradient of the log density at every point.
///
/// # Errors
/// [`Error::TooFew`], [`Error::Mismatch`], [`Error::NonFinite`] for unusable rows;
/// [`Error::Argument`] for a kernel without a positive width, or numbers that overflow.
///
/// # Example
/// ```
/// use eval_metrics::{SteinKernel, ksd};
/// use ndarray::array;
///
/// // The score of a standard normal is the negative point.
/// let points = array![[-1.2], [-0.4], [0.3], [1.3]];
/// let found = ksd(points.view(), (-&points).view(), SteinKernel::Imq { offset: 1.0 })?;
/// let moved = &points + 3.0;
/// let far = ksd(moved.view(), (-&moved).view(), SteinKernel::Imq { offset: 1.0 })?;
/// assert!(found.biased < 0.2 && far.biased > 1.0);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn ksd<T: Real>(
    points: ArrayView2<'_, T>,
    scores: ArrayView2<'_, T>,
    kernel: SteinKernel,
) -> Result<Ksd> {
    kernel.check()?;
    check_rows("points", points, 2)?;
    check_rows("scores", scores, 2)?;
    for (unit, expected, got) in
        [("rows", points.nrows(), scores.nrows()), ("columns", points.ncols(), scores.ncols())]
    {
        if expected != got {
            return Err(Error::Mismatch { what: "scores", unit, expected, got });
        }
    }
    let pairs = Pairs::new(points, scores, kernel);
    let sums = pairs.sums(BLOCK);
    let across = 2.0 * sums.iter().sum::<f64>();
    let own: f64 = (0..pairs.n).map(|row| pairs.term(row, row)).sum();
    let n = pairs.n as f64;
    let found = Ksd {
        unbiased: across / (n * (n - 1.0)),
        biased: (across + own) / (n * n),
        kernel,
        n: pairs.n,
    };
    if found.unbiased.is_finite() && found.biased.is_finite() {
        return Ok(found);
    }
    let reason = "points or scores overflow when multiplied; rescale".into();
    Err(Error::Argument { name: "scores", reason })
}

/// Points and scores in row-major order.
struct Pairs {
    points: Vec<f64>,
    scores: Vec<f64>,
    n: usize,
    width: usize,
    kernel: SteinKernel,
}

impl Pairs {
    fn new<T: Real>(
        points: ArrayView2<'_, T>,
        scores: ArrayView2<'_, T>,
        kernel: SteinKernel,
    ) -> Self {
        let flat = |rows: ArrayView2<'_, T>| rows.iter().map(|&value| value.into()).collect();
        let (n, width) = points.dim();
        Self { points: flat(points), scores: flat(scores), n, width, kernel }
    }

    /// For every row, the sum over all later rows: the order of adding does not depend on `block`.
    fn sums(&self, block: usize) -> Vec<f64> {
        let mut sums = vec![0.0; self.n];
        sums.par_chunks_mut(block).enumerate().for_each(|(at, sums)| {
            let start = at * block;
            for other in start + 1..self.n {
                for (row, sum) in (start..other).zip(&mut *sums) {
                    *sum += self.term(row, other);
                }
            }
        });
        sums
    }

    /// One pair, by the derivatives of the kernel in the squared distance `r` of `x` and `y`:
    /// `k s(x).s(y) - 2 k' (s(x) - s(y)).(x - y) - 2 d k' - 4 r k''`.
    fn term(&self, row: usize, other: usize) -> f64 {
        let (from, to) = (row * self.width, other * self.width);
        let (x, y) = (&self.points[from..][..self.width], &self.points[to..][..self.width]);
        let (s, t) = (&self.scores[from..][..self.width], &self.scores[to..][..self.width]);
        let (mut r, mut product, mut drift) = (0.0, 0.0, 0.0);
        for ((x, y), (s, t)) in x.iter().zip(y).zip(s.iter().zip(t)) {
            let step = x - y;
            r += step * step;
            product += s * t;
            drift += (s - t) * step;
        }
        let [value, first, second] = self.kernel.derivatives(r);
        value * product - 2.0 * first * (drift + self.width as f64) - 4.0 * second * r
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, s};

    use super::*;
    use crate::golden::{array as golden, assert_close, assert_mean, normals, real};

    const RBF: SteinKernel = SteinKernel::Rbf { bandwidth: 1.0 };
    const IMQ: SteinKernel = SteinKernel::Imq { offset: 1.0 };

    fn points() -> Array2<f64> {
        real().slice(s![.., ..2]).mapv(|x| 2.0 * x - 0.6)
    }

    /// Against the standard normal.
    fn normal(points: &Array2<f64>, kernel: SteinKernel) -> Result<Ksd> {
        ksd(points.view(), (-points).view(), kernel)
    }

    #[test]
    fn golden_values_are_met() -> Result<()> {
        for (kernel, unbiased, biased) in [
            (RBF, 0.46574190180918323, 0.478729303882367),
            (IMQ, 0.4266176395540361, 0.43980066293849557),
        ] {
            let found = normal(&points(), kernel)?;
            assert_close(found.unbiased, unbiased, 1e-12);
            assert_close(found.biased, biased, 1e-12);
            assert_eq!((found.n, found.kernel), (200, kernel));
        }
        Ok(())
    }

    #[test]
    fn derivatives_are_those_of_the_kernel() {
        for kernel in [SteinKernel::Rbf { bandwidth: 0.7 }, SteinKernel::Imq { offset: 1.3 }] {
            let (r, step) = (0.9, 1e-4);
            let [low, mid, high] = [r - step, r, r + step].map(|r| kernel.derivatives(r));
            assert_close((high[0] - low[0]) / (2.0 * step), mid[1], 1e-7);
            assert_close((high[1] - low[1]) / (2.0 * step), mid[2], 1e-7);
        }
        assert_close(
            SteinKernel::Rbf { bandwidth: 0.5 }.derivatives(0.5)[0],
            (-1_f64).exp(),
            1e-15,
        );
        assert_close(SteinKernel::Imq { offset: 2.0 }.derivatives(5.0)[0], 1.0 / 3.0, 1e-15);
    }

    #[test]
    fn two_points_are_counted_by_hand() -> Result<()> {
        // On a line, p = N(0, 1), x = 0, y = 1: r = 1, s = 0 and -1, tr = 1 - 1 = 0 under RBF, where
        // s(y) times the gradient in x is -1 * (1 * k).
        let line = ndarray::array![[0.0], [1.0]];
        let k = (-0.5_f64).exp();
        let found = normal(&line, RBF)?;
        assert_close(found.unbiased, -k, 1e-15);
        assert_close(found.biased, (-2.0 * k + 1.0 + 2.0) / 4.0, 1e-15);
        Ok(())
    }

    #[test]
    fn a_shifted_normal_has_its_closed_form() -> Result<()> {
        let (width, bandwidth) = (3, 1.5_f64);
        for (shift, first) in [(0.0, 300), (0.5, 400)] {
            let values: Vec<f64> = (0..40)
                .map(|seed| {
                    let cloud = normals(first + seed, 200 * width) + shift;
                    let cloud = cloud.into_shape_with_order((200, width)).unwrap();
                    normal(&cloud, SteinKernel::Rbf { bandwidth }).map(|found| found.unbiased)
                })
                .collect::<Result<_>>()?;
            let damping = (1.0 + 2.0 / (bandwidth * bandwidth)).powf(-0.5 * width as f64);
            let expected = width as f64 * shift * shift * damping;
            assert_mean(&values, expected);
        }
        Ok(())
    }

    #[test]
    fn exact_samples_score_zero_under_the_inverse_multiquadric() -> Result<()> {
        let values: Vec<f64> = (0..40)
            .map(|seed| normal(&normals(500 + seed, 300), IMQ).map(|found| found.unbiased))
            .collect::<Result<_>>()?;
        assert_mean(&values, 0.0);
        Ok(())
    }

    #[test]
    fn order_blocks_and_precision_do_not_matter() -> Result<()> {
        let points = points();
        let found = normal(&points, IMQ)?;
        let turned = normal(&points.slice(s![..;-1, ..]).to_owned(), IMQ)?;
        assert_close(turned.unbiased, found.unbiased, 1e-13);
        let pairs = Pairs::new(points.view(), (-&points).view(), IMQ);
        for block in [1, 7, 256] {
            assert!(pairs.sums(block) == pairs.sums(BLOCK));
        }
        let narrow = points.mapv(|x| x as f32);
        assert_close(ksd(narrow.view(), (-&narrow).view(), IMQ)?.biased, found.biased, 1e-6);
        Ok(())
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() -> Result<()> {
        let points = golden(9, 500, 5);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| normal(&points, RBF))
        };
        assert_eq!(run(1)?, run(3)?);
        Ok(())
    }

    #[test]
    fn unusable_input_is_named() {
        let good = points();
        let text = |points: &Array2<f64>, scores: &Array2<f64>, kernel| {
            ksd(points.view(), scores.view(), kernel).unwrap_err().to_string()
        };
        assert!(text(&good, &Array2::zeros((200, 3)), IMQ).contains("expected 2 columns, got 3"));
        assert!(text(&good, &Array2::zeros((199, 2)), IMQ).contains("expected 200 rows, got 199"));
        assert!(
            text(&Array2::zeros((1, 2)), &Array2::zeros((1, 2)), IMQ).contains("points: 1 rows")
        );
        assert!(text(&Array2::zeros((0, 2)), &good, IMQ).contains("points: 0 rows"));
        assert!(text(&good, &(&good * f64::NAN), IMQ).contains("scores: row 0, column 0"));
        assert!(text(&(&good * f64::INFINITY), &good, IMQ).contains("points: row 0, column 0"));
        assert!(text(&good, &(&good * 1e200), IMQ).contains("overflow"));
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-200] {
            assert!(text(&good, &good, SteinKernel::Imq { offset: value }).contains("`offset`"));
            assert!(
                text(&good, &good, SteinKernel::Rbf { bandwidth: value }).contains("`bandwidth`")
            );
        }
    }
}
