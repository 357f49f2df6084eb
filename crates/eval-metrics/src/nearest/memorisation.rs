//! Do samples lie closer to the training set than data that the model has never seen?

use ndarray::ArrayView2;
use serde::Serialize;

use super::nearest_named;
use crate::{
    error::{Error, Result},
    real::Real,
    summary::median,
};

/// Distances to the nearest training row, of samples and of held-out data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Memorisation {
    /// `sample_median / held_out_median`: about one for a model that generalises, near zero for one
    /// that copies, and above one for samples far from all data.
    pub ratio: f64,
    /// Median distance from a sample to its nearest training row, in the unit of the rows.
    pub sample_median: f64,
    /// Median distance from a held-out row to its nearest training row.
    pub held_out_median: f64,
    /// Samples.
    pub n: usize,
    /// Held-out rows.
    pub n_held_out: usize,
    /// Training rows.
    pub n_train: usize,
}

/// The ratio of the samples' nearest-training distance to that of held-out data, by medians.
///
/// Of an even number the median is the mean of the middle two. Take pixels or features, but the
/// same for all three sets.
///
/// # Shapes
/// `samples`: `(n, d)`; `held_out`: `(m, d)`; `train`: `(r, d)`.
///
/// # Errors
/// [`Error::TooFew`], [`Error::Mismatch`], [`Error::NonFinite`] for unusable rows;
/// [`Error::Argument`] when half of the held-out rows are copies of training rows.
///
/// # Example
/// ```
/// use ndarray::array;
/// let (train, held_out) = (array![[0.0], [1.0], [2.0]], array![[0.5], [1.5]]);
/// let samples = array![[0.1], [1.9], [1.0]];
/// let score = eval_metrics::memorisation(samples.view(), held_out.view(), train.view())?;
/// assert!((score.ratio - 0.2).abs() < 1e-12);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn memorisation<T: Real>(
    samples: ArrayView2<'_, T>,
    held_out: ArrayView2<'_, T>,
    train: ArrayView2<'_, T>,
) -> Result<Memorisation> {
    let median_to_train = |what, rows| {
        let mut distances = nearest_named((what, rows), ("train", train))?.squared_distances;
        distances.iter_mut().for_each(|value| *value = value.sqrt());
        Ok(median(&mut distances))
    };
    let held_out_median = median_to_train("held_out", held_out)?;
    if held_out_median <= 0.0 {
        let reason = "half of the rows are copies of training rows; take other data".into();
        return Err(Error::Argument { name: "held_out", reason });
    }
    let sample_median = median_to_train("samples", samples)?;
    Ok(Memorisation {
        ratio: sample_median / held_out_median,
        sample_median,
        held_out_median,
        n: samples.nrows(),
        n_held_out: held_out.nrows(),
        n_train: train.nrows(),
    })
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, s};

    use super::*;
    use crate::{
        golden::{array as golden, assert_close, fake, real},
        nearest::nearest,
    };

    #[test]
    fn samples_like_held_out_data_have_ratio_one_and_copies_zero() -> Result<()> {
        let (train, held_out) = (real(), fake());
        let same = memorisation(held_out.view(), held_out.view(), train.view())?;
        assert_close(same.ratio, 1.0, 0.0);
        let copies = memorisation(train.slice(s![..50, ..]), held_out.view(), train.view())?;
        assert_close(copies.ratio, 0.0, 0.0);
        assert_eq!((copies.n, copies.n_held_out, copies.n_train), (50, 200, 200));
        Ok(())
    }

    #[test]
    fn medians_are_those_of_the_nearest_distances() -> Result<()> {
        let (train, held_out, samples) = (real(), golden(4, 101, 8), fake());
        let score = memorisation(samples.view(), held_out.view(), train.view())?;
        let sorted = |rows: &Array2<f64>| {
            let mut all = nearest(rows.view(), train.view()).unwrap().squared_distances;
            all.sort_by(f64::total_cmp);
            all.iter().map(|d| d.sqrt()).collect::<Vec<_>>()
        };
        let (odd, even) = (sorted(&held_out), sorted(&samples));
        assert_close(score.held_out_median, odd[50], 0.0);
        assert_close(score.sample_median, 0.5 * (even[99] + even[100]), 1e-15);
        assert_close(score.ratio, score.sample_median / odd[50], 1e-15);
        Ok(())
    }

    #[test]
    fn scaling_and_order_do_not_matter() -> Result<()> {
        let (train, held_out, samples) = (real(), golden(4, 101, 8), fake());
        let score = memorisation(samples.view(), held_out.view(), train.view())?;
        let reversed = memorisation(
            samples.slice(s![..;-1, ..]),
            held_out.slice(s![..;-1, ..]),
            train.slice(s![..;-1, ..]),
        )?;
        assert_eq!(reversed, score);
        let scaled = |rows: &Array2<f64>| rows.mapv(|x| (3.0 * x) as f32);
        let wide =
            memorisation(scaled(&samples).view(), scaled(&held_out).view(), scaled(&train).view())?;
        assert_close(wide.ratio, score.ratio, 1e-5);
        Ok(())
    }

    #[test]
    fn unusable_input_is_named() {
        let good = real();
        let text = |samples: &Array2<f64>, held_out: &Array2<f64>| {
            memorisation(samples.view(), held_out.view(), good.view()).unwrap_err().to_string()
        };
        assert!(text(&good, &good).contains("copies of training rows"));
        assert!(text(&Array2::zeros((0, 8)), &fake()).contains("samples: 0 rows"));
        assert!(
            text(&Array2::zeros((2, 7)), &fake()).contains("samples: expected 8 columns, got 7")
        );
        assert!(text(&fake(), &(fake() * f64::NAN)).contains("held_out: row 0, column 0"));
    }
}
