//! The accuracy of a one-nearest-neighbour classifier between two sets.

use ndarray::ArrayView2;
use serde::Serialize;

use super::{kth_nearest_other, nearest_named};
use crate::{
    error::{Error, Result},
    real::Real,
};

/// How well the nearest other row tells real rows from generated ones.
///
/// There is no standard error: the answers of neighbouring rows depend on each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NearestAccuracy {
    /// Share of all rows whose nearest other row is of their own set: one half for a perfect model,
    /// one for separable sets, less than one half for a model that copies.
    pub value: f64,
    /// The same among the real rows; small when a generated row sits beside most of them.
    pub real: f64,
    /// The same among the generated rows; large when they huddle together.
    pub fake: f64,
    /// Rows of each set.
    pub n: usize,
}

/// Leave-one-out accuracy of the one-nearest-neighbour classifier on the two sets pooled.
///
/// The two-sample test of Lopez-Paz and Oquab (2017), recommended for generators by Xu and others
/// (2018). Of equally near rows the one that comes first counts, real rows coming before generated
/// ones, so a generated copy of a real row is called real.
///
/// # Shapes
/// `real` and `fake`: `(n, d)`, `n >= 2`; the sets are equally large, or one half is not the value
/// of a perfect model.
///
/// # Errors
/// [`Error::TooFew`], [`Error::Mismatch`], [`Error::NonFinite`] for unusable rows.
///
/// # Example
/// ```
/// use ndarray::array;
/// let (real, fake) = (array![[0.0], [0.2], [3.0]], array![[5.0], [5.1], [3.1]]);
/// let score = eval_metrics::nearest_accuracy(real.view(), fake.view())?;
/// assert_eq!((score.real, score.fake), (2.0 / 3.0, 2.0 / 3.0));
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn nearest_accuracy<T: Real>(
    real: ArrayView2<'_, T>,
    fake: ArrayView2<'_, T>,
) -> Result<NearestAccuracy> {
    let n = real.nrows();
    if fake.nrows() != n {
        return Err(Error::Mismatch { what: "fake", unit: "rows", expected: n, got: fake.nrows() });
    }
    let among_real = kth_nearest_other("real", real, 1)?;
    let among_fake = kth_nearest_other("fake", fake, 1)?;
    let sets = (("real", real), ("fake", fake));
    let real_to_fake = nearest_named(sets.0, sets.1)?.squared_distances;
    let fake_to_real = nearest_named(sets.1, sets.0)?.squared_distances;
    let count = |own: &[f64], other: &[f64], right: fn(f64, f64) -> bool| {
        own.iter().zip(other).filter(|(own, other)| right(**own, **other)).count()
    };
    let reals = count(&among_real, &real_to_fake, |own, other| own <= other);
    let fakes = count(&among_fake, &fake_to_real, |own, other| own < other);
    Ok(NearestAccuracy {
        value: (reals + fakes) as f64 / (2 * n) as f64,
        real: reals as f64 / n as f64,
        fake: fakes as f64 / n as f64,
        n,
    })
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, concatenate, prelude::*};

    use super::*;
    use crate::golden::{array as golden, assert_close, assert_mean, fake, normals, real};

    #[test]
    fn golden_values_are_met() -> Result<()> {
        let score = nearest_accuracy(real().view(), fake().view())?;
        assert_close(score.value, 0.795, 1e-12);
        assert_close(score.real, 0.76, 1e-12);
        assert_close(score.fake, 0.83, 1e-12);
        assert_eq!(score.n, 200);
        Ok(())
    }

    #[test]
    fn it_is_the_search_in_the_pooled_set() -> Result<()> {
        // Integers, so that ties are many.
        let draw = |seed| golden(seed, 120, 2).mapv(|x| (9.0 * x).floor());
        let (real, fake) = (draw(31), draw(32));
        let pooled = concatenate![Axis(0), real, fake];
        let right = |row: usize| {
            let others = (0..240).filter(|&at| at != row).map(|at| {
                let squares = (&pooled.row(row) - &pooled.row(at)).mapv(|d: f64| d * d).sum();
                (at, squares)
            });
            let best = others.fold((0, f64::INFINITY), |a, b| if b.1 < a.1 { b } else { a });
            usize::from((best.0 < 120) == (row < 120))
        };
        let score = nearest_accuracy(real.view(), fake.view())?;
        assert_close(score.real, (0..120).map(right).sum::<usize>() as f64 / 120.0, 1e-15);
        assert_close(score.fake, (120..240).map(right).sum::<usize>() as f64 / 120.0, 1e-15);
        Ok(())
    }

    #[test]
    fn copies_score_zero_and_separable_sets_one() -> Result<()> {
        let copies = nearest_accuracy(real().view(), real().view())?;
        assert_eq!((copies.value, copies.real, copies.fake), (0.0, 0.0, 0.0));
        let far = nearest_accuracy(real().view(), (fake() + 50.0).view())?;
        assert_eq!((far.value, far.real, far.fake), (1.0, 1.0, 1.0));
        Ok(())
    }

    #[test]
    fn equal_distributions_score_one_half() -> Result<()> {
        let repeats = 30;
        let mut values = Vec::new();
        for seed in 0..repeats {
            let (real, fake) = (normals(40 + seed, 300), normals(140 + seed, 300));
            values.push(nearest_accuracy(real.view(), fake.view())?.value);
        }
        // A row's nearest is another of its own 299 or one of 300.
        assert_mean(&values, 299.0 / 599.0);
        Ok(())
    }

    #[test]
    fn order_and_precision_do_not_matter() -> Result<()> {
        let (real, fake) = (real(), fake());
        let score = nearest_accuracy(real.view(), fake.view())?;
        let reversed = nearest_accuracy(real.slice(s![..;-1, ..]), fake.slice(s![..;-1, ..]));
        assert_eq!(reversed?, score);
        let narrow = |rows: &Array2<f64>| rows.mapv(|x| x as f32);
        assert_eq!(nearest_accuracy(narrow(&real).view(), narrow(&fake).view())?, score);
        Ok(())
    }

    #[test]
    fn unusable_input_is_named() {
        let good = || Array2::<f64>::zeros((4, 2));
        let text = |real: Array2<f64>, fake: Array2<f64>| {
            nearest_accuracy(real.view(), fake.view()).unwrap_err().to_string()
        };
        assert!(text(good(), Array2::zeros((3, 2))).contains("fake: expected 4 rows, got 3"));
        assert!(text(good(), Array2::zeros((4, 1))).contains("columns"));
        assert!(text(Array2::zeros((1, 2)), Array2::zeros((1, 2))).contains("real: 1 rows"));
        assert!(text(Array2::zeros((0, 2)), Array2::zeros((0, 2))).contains("real: 0 rows"));
        assert!(text(good(), good() * f64::NAN).contains("fake: row 0, column 0"));
    }
}
