//! Classifier two-sample test: can a classifier tell generated rows from real ones?

mod logistic;
#[cfg(test)]
mod network_tests;

use std::ops::Range;

use ndarray::{Array1, Array2, ArrayView2, Axis, concatenate};
use serde::{Deserialize, Serialize};

use crate::{
    accuracy::{Accuracy, accuracy},
    error::{Error, Result},
    mlp::{Mlp, MlpConfig},
    real::{Real, check_rows},
    sampling::Stream,
    scale::Scale,
};
use logistic::fit;

/// Normal quantile of a 95 per cent interval.
const QUANTILE: f64 = 1.959_963_984_540_054;

/// What tells real rows from generated ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum C2stClassifier {
    /// Logistic regression: sees no difference but one of the means along some direction.
    Logistic {
        /// Half of it times the squared coefficients is added to the summed log loss.
        penalty: f64,
    },
    /// A network with one hidden layer.
    Network(MlpConfig),
}

/// Accuracy on the held-out half, with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct C2st {
    /// Share of held-out rows told right: one half where the classifier finds no difference, one
    /// where it separates the sets.
    pub value: f64,
    /// Binomial standard error, for this split and this classifier.
    pub std_error: f64,
    /// Wilson's 95 per cent interval of the same.
    pub interval: (f64, f64),
    /// Held-out rows, half of them real.
    pub n: usize,
    /// Rows the classifier was trained on, half of them real.
    pub n_train: usize,
    /// The classifier.
    pub classifier: C2stClassifier,
    /// The seed of the split.
    pub seed: u64,
}

/// The test of Lopez-Paz and Oquab (2017) with a logistic regression under an L2 penalty of one.
///
/// Being linear it sees no difference but one of the means along some direction; give it features, or
/// take a network by [`c2st_with`].
///
/// # Shapes
/// As [`c2st_with`].
///
/// # Errors
/// As [`c2st_with`].
///
/// # Example
/// ```
/// use ndarray::Array2;
/// let real = Array2::from_shape_fn((40, 2), |(row, column)| (row * (column + 3) % 7) as f64);
/// let found = eval_metrics::c2st(real.view(), (&real + 20.0).view(), 1)?;
/// assert_eq!((found.value, found.n, found.n_train), (1.0, 40, 40));
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn c2st<T: Real>(real: ArrayView2<'_, T>, fake: ArrayView2<'_, T>, seed: u64) -> Result<C2st> {
    c2st_with(real, fake, C2stClassifier::Logistic { penalty: 1.0 }, seed)
}

/// The test of Lopez-Paz and Oquab (2017) with either classifier.
///
/// Each set is halved at random. The classifier is trained on one half, with every column brought to
/// mean zero and variance one there, and judged on the other.
///
/// # Shapes
/// `real` and `fake`: `(n, d)`, `n >= 2`, equally large, or one half is not the value of equal
/// distributions.
///
/// # Errors
/// [`Error::TooFew`], [`Error::Mismatch`], [`Error::NonFinite`] for unusable rows;
/// [`Error::Argument`] for magnitudes whose squares overflow or settings out of their range;
/// [`Error::Numerical`] for a network that diverges.
///
/// # Example
/// ```
/// use eval_metrics::{C2stClassifier, MlpConfig, c2st_with};
/// use ndarray::Array2;
/// // A cross inside of another: no plane lies between them.
/// let cross = Array2::from_shape_fn((80, 2), |(row, column)| {
///     if row % 2 == column { row as f64 / 40.0 - 1.0 } else { 0.0 }
/// });
/// let network = C2stClassifier::Network(MlpConfig::small());
/// let far = cross.mapv(|x| x + 2.0 * x.signum());
/// assert!(c2st_with(cross.view(), far.view(), network, 1)?.value > 0.9);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn c2st_with<T: Real>(
    real: ArrayView2<'_, T>,
    fake: ArrayView2<'_, T>,
    classifier: C2stClassifier,
    seed: u64,
) -> Result<C2st> {
    classifier.check()?;
    let largest = check_rows("real", real, 2)?.max(check_rows("fake", fake, 2)?);
    for (unit, expected, got) in
        [("rows", real.nrows(), fake.nrows()), ("columns", real.ncols(), fake.ncols())]
    {
        if expected != got {
            return Err(Error::Mismatch { what: "fake", unit, expected, got });
        }
    }
    if largest > f64::MAX.sqrt() / (4.0 * real.len() as f64) {
        let reason = format!("magnitudes up to {largest:e} overflow when squared; rescale");
        return Err(Error::Argument { name: "real", reason });
    }
    let n = real.nrows();
    let mut stream = Stream::new(seed, 0);
    let orders = [stream.shuffled(n), stream.shuffled(n)];
    let [train, test] = [0..n / 2, n / 2..n].map(|part| Half::gather([real, fake], &orders, part));
    let n_train = train.labels.len();
    let accuracy = classifier.judge(train, test, seed)?;
    Ok(C2st {
        value: accuracy.value,
        std_error: accuracy.std_error,
        interval: accuracy.wilson_interval(QUANTILE),
        n: accuracy.n,
        n_train,
        classifier,
        seed,
    })
}

impl C2st {
    /// Wilson's interval of the value for another normal quantile; see [`Accuracy::wilson_interval`].
    pub fn wilson_interval(&self, z: f64) -> (f64, f64) {
        Accuracy::of((self.value * self.n as f64).round() as usize, self.n).wilson_interval(z)
    }
}

impl C2stClassifier {
    fn check(&self) -> Result<()> {
        match self {
            Self::Logistic { penalty } if !(*penalty > 0.0 && penalty.is_finite()) => {
                let reason = format!("{penalty} is not a positive number");
                Err(Error::Argument { name: "penalty", reason })
            }
            Self::Logistic { .. } => Ok(()),
            Self::Network(config) => config.validate(),
        }
    }

    /// Trains on one half and counts right answers on the other.
    fn judge(&self, train: Half, test: Half, seed: u64) -> Result<Accuracy> {
        let scale = Scale::of(&train.rows);
        let (rows, held_out) = (scale.apply(train.rows), scale.apply(test.rows));
        match self {
            Self::Logistic { penalty } => {
                let weights = fit(with_constant(rows).view(), &train.labels, *penalty);
                let margins: Array1<f64> = with_constant(held_out).dot(&weights);
                let answers = margins.iter().map(|margin| *margin > 0.0);
                let right = answers.zip(&test.labels).filter(|(answer, label)| answer == *label);
                Ok(Accuracy::of(right.count(), test.labels.len()))
            }
            Self::Network(config) => {
                let classes =
                    |labels: &[bool]| labels.iter().map(|&l| l.into()).collect::<Vec<_>>();
                let network = Mlp::fit(rows.view(), &classes(&train.labels), 2, config, seed)?;
                let logits = network.logits(held_out.view())?;
                accuracy(logits.view(), &classes(&test.labels))
            }
        }
    }
}

/// The rows with a last column of ones.
fn with_constant(rows: Array2<f64>) -> Array2<f64> {
    let ones = Array2::ones((rows.nrows(), 1));
    concatenate![Axis(1), rows, ones]
}

/// Rows of both sets, real ones first and labelled true.
struct Half {
    rows: Array2<f64>,
    labels: Vec<bool>,
}

impl Half {
    /// The rows at `part` of each set's order.
    fn gather<T: Real>(
        sets: [ArrayView2<'_, T>; 2],
        orders: &[Vec<usize>; 2],
        part: Range<usize>,
    ) -> Self {
        let rows = Array2::from_shape_fn((2 * part.len(), sets[0].ncols()), |(at, column)| {
            let (set, within) = (at / part.len(), at % part.len());
            sets[set][(orders[set][part.start + within], column)].into()
        });
        let labels = (0..2 * part.len()).map(|at| at < part.len()).collect();
        Self { rows, labels }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::s;

    use super::*;
    use crate::golden::{array as golden, assert_close, assert_mean, fake, normals, real};

    #[test]
    fn separable_sets_are_told_apart() -> Result<()> {
        let found = c2st(real().view(), (fake() + 5.0).view(), 3)?;
        assert_eq!((found.value, found.std_error, found.n, found.n_train), (1.0, 0.0, 200, 200));
        assert!(found.interval.0 > 0.97 && found.interval.1 > 0.999);
        assert_eq!(found.classifier, C2stClassifier::Logistic { penalty: 1.0 });
        assert_eq!(found.seed, 3);
        assert_eq!(found.wilson_interval(QUANTILE), found.interval);
        assert!(found.wilson_interval(3.0).0 < found.interval.0);
        Ok(())
    }

    #[test]
    fn equal_distributions_are_not_told_apart() -> Result<()> {
        let values: Vec<f64> = (0..40)
            .map(|seed| {
                let all = normals(700 + seed, 1000).into_shape_with_order((500, 2)).unwrap();
                let (real, fake) = all.view().split_at(Axis(0), 250);
                c2st(real, fake, u64::from(seed)).map(|found| found.value)
            })
            .collect::<Result<_>>()?;
        assert_mean(&values, 0.5);
        Ok(())
    }

    #[test]
    fn a_shifted_normal_has_its_closed_form() -> Result<()> {
        // Two standard deviations apart the best plane is right with chance Phi(1), and the fitted
        // one loses next to nothing.
        let (real, fake) = (normals(81, 6000), normals(82, 6000) + 2.0);
        let found = c2st(real.view(), fake.view(), 4)?;
        assert!((found.value - 0.841_344_746).abs() < 3.0 * found.std_error, "{found:?}");
        assert!(found.interval.0 < 0.841 && found.interval.1 > 0.842);
        Ok(())
    }

    #[test]
    fn scale_shift_and_precision_do_not_matter() -> Result<()> {
        let (real, fake) = (real(), fake());
        let found = c2st(real.view(), fake.view(), 5)?;
        assert!(found.value > 0.6);
        let moved = |rows: &Array2<f64>| rows * &golden(3, 1, 8) * 64.0 + 1000.0;
        assert_eq!(c2st(moved(&real).view(), moved(&fake).view(), 5)?, found);
        let narrow = |rows: &Array2<f64>| rows.mapv(|x| x as f32);
        assert_eq!(c2st(narrow(&real).view(), narrow(&fake).view(), 5)?, found);
        Ok(())
    }

    #[test]
    fn seed_and_threads() -> Result<()> {
        let (real, fake) = (normals(83, 1500), normals(84, 1500) + 0.5);
        let run = |threads, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| c2st(real.view(), fake.view(), seed))
        };
        assert_eq!(run(1, 1)?, run(3, 1)?);
        assert!((run(1, 1)?.value - run(1, 2)?.value).abs() > 0.0);
        Ok(())
    }

    #[test]
    fn halves_are_disjoint_and_whole() {
        let (real, fake) = (golden(1, 7, 3), golden(2, 7, 3));
        let mut stream = Stream::new(6, 0);
        let orders = [stream.shuffled(7), stream.shuffled(7)];
        let half = |part| Half::gather([real.view(), fake.view()], &orders, part);
        let (train, test) = (half(0..3), half(3..7));
        assert_eq!((train.labels.len(), test.labels.len()), (6, 8));
        assert_eq!(test.labels, [true, true, true, true, false, false, false, false]);
        for (set, label) in [(&real, true), (&fake, false)] {
            for row in set.outer_iter() {
                let holds = |half: &Half| {
                    let rows = half.rows.outer_iter().zip(&half.labels);
                    rows.filter(|(other, of)| *other == row && **of == label).count()
                };
                assert_eq!(holds(&train) + holds(&test), 1);
            }
        }
        let last = with_constant(test.rows);
        assert!(last.column(3).iter().all(|one| one.to_bits() == 1_f64.to_bits()));
    }

    #[test]
    fn constant_and_many_columns_are_no_trouble() -> Result<()> {
        let constant = Array2::from_elem((20, 3), 0.1);
        assert_close(c2st(constant.view(), constant.view(), 1)?.value, 0.5, 0.0);
        let (real, fake) = (golden(1, 10, 50), golden(2, 10, 50) + 3.0);
        assert_close(c2st(real.view(), fake.view(), 1)?.value, 1.0, 0.0);
        assert_eq!(c2st(real.slice(s![..2, ..]), fake.slice(s![..2, ..]), 1)?.n_train, 2);
        Ok(())
    }

    #[test]
    fn unusable_input_is_named() {
        let good = golden(1, 6, 2);
        let text = |real: &Array2<f64>, fake: &Array2<f64>| {
            c2st(real.view(), fake.view(), 1).unwrap_err().to_string()
        };
        assert!(text(&good, &golden(2, 5, 2)).contains("fake: expected 6 rows, got 5"));
        assert!(text(&good, &golden(2, 6, 3)).contains("fake: expected 2 columns, got 3"));
        assert!(text(&golden(1, 1, 2), &golden(2, 1, 2)).contains("real: 1 rows, at least 2"));
        assert!(text(&good, &Array2::zeros((0, 2))).contains("fake: 0 rows"));
        assert!(text(&good, &(&good * f64::NAN)).contains("fake: row 0, column 0"));
        assert!(text(&(&good * f64::INFINITY), &good).contains("real: row 0, column 0"));
        assert!(text(&(&good * 1e200), &good).contains("overflow"));
    }
}
