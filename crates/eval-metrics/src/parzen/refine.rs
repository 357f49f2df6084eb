//! The bandwidth between the points of a grid.

use ndarray::ArrayView2;

use super::{BandwidthChoice, Parzen, parzen};
use crate::{
    error::{Error, Result},
    real::Real,
};

/// Refines a choice from a grid on the same validation set: golden-section search between the grid's
/// neighbours of the chosen bandwidth.
///
/// Gives the score at a bandwidth that is within the relative `tolerance` of the best, if the mean log
/// density has one maximum there, and no worse than the grid's. Costs a pass over the distances for
/// every evaluation, some fifteen for a tolerance of `1e-3`.
///
/// # Shapes
/// As [`select_bandwidth`](super::select_bandwidth).
///
/// # Errors
/// As [`parzen`]; [`Error::Argument`] also for a choice at the edge of its grid, or a tolerance that is
/// not between 0 and 1.
///
/// # Example
/// ```
/// use eval_metrics::{log_grid, refine_bandwidth, select_bandwidth};
/// use ndarray::array;
///
/// // Under one sample the best window has the mean square distance of the validation rows.
/// let (sample, validation) = (array![[0.0]], array![[0.1], [0.3]]);
/// let choice = select_bandwidth(sample.view(), validation.view(), &log_grid(0.01, 1.0, 5)?)?;
/// let best = refine_bandwidth(sample.view(), validation.view(), &choice, 1e-4)?;
/// assert!((best.bandwidth / 0.05_f64.sqrt() - 1.0).abs() < 1e-4);
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn refine_bandwidth<T: Real>(
    centres: ArrayView2<'_, T>,
    validation: ArrayView2<'_, T>,
    choice: &BandwidthChoice,
    tolerance: f64,
) -> Result<Parzen> {
    if !(tolerance > 0.0 && tolerance < 1.0) {
        let reason = format!("{tolerance} is not between 0 and 1");
        return Err(Error::Argument { name: "tolerance", reason });
    }
    let grid = || choice.scores.iter().map(|score| score.bandwidth);
    let below = grid().filter(|h| *h < choice.bandwidth).fold(0.0, f64::max);
    let above = grid().filter(|h| *h > choice.bandwidth).fold(f64::INFINITY, f64::min);
    if below <= 0.0 || above.is_infinite() {
        let reason = format!("{} is at the edge of its grid; widen the grid", choice.bandwidth);
        return Err(Error::Argument { name: "choice", reason });
    }
    let score = |log: f64| parzen(centres, validation, log.exp());
    let (mut low, mut high) = (below.ln(), above.ln());
    // The golden section: what remains is cut by one of the old points in the same proportion.
    let step = 0.5 * (3.0 - 5_f64.sqrt());
    let mut left = score(low + step * (high - low))?;
    let mut right = score(high - step * (high - low))?;
    while high - low > tolerance {
        if left.mean >= right.mean {
            high = right.bandwidth.ln();
            right = left;
            left = score(low + step * (high - low))?;
        } else {
            low = left.bandwidth.ln();
            left = right;
            right = score(high - step * (high - low))?;
        }
    }
    let better = |a: Parzen, b: Parzen| if b.mean > a.mean { b } else { a };
    Ok(better(score(choice.bandwidth)?, better(left, right)))
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;
    use crate::{
        golden::{assert_close, fake, normals, real},
        log_grid, select_bandwidth,
    };

    fn refined(centres: &Array2<f64>, validation: &Array2<f64>, count: usize) -> Result<Parzen> {
        let grid = log_grid(0.02, 4.0, count)?;
        let choice = select_bandwidth(centres.view(), validation.view(), &grid)?;
        let found = refine_bandwidth(centres.view(), validation.view(), &choice, 1e-5)?;
        assert!(choice.scores.iter().all(|score| score.mean <= found.mean));
        assert_eq!(found, parzen(centres.view(), validation.view(), found.bandwidth)?);
        Ok(found)
    }

    #[test]
    fn one_centre_has_the_mean_square_as_its_best_variance() -> Result<()> {
        let (centre, validation) =
            (array![[0.3, -0.2, 0.5]], real().slice_move(ndarray::s![.., ..3]));
        let squares: f64 = (&validation - &centre).iter().map(|d| d * d).sum();
        for count in [4, 9] {
            let found = refined(&centre, &validation, count)?;
            assert_close(found.bandwidth, (squares / 600.0).sqrt(), 1e-5);
        }
        Ok(())
    }

    #[test]
    fn coarse_and_fine_grids_lead_to_the_same_bandwidth() -> Result<()> {
        for (centres, validation) in [(fake(), real()), (normals(21, 400), normals(22, 300))] {
            let (coarse, fine) =
                (refined(&centres, &validation, 6)?, refined(&centres, &validation, 23)?);
            assert_close(coarse.bandwidth, fine.bandwidth, 2e-5);
        }
        Ok(())
    }

    #[test]
    fn a_choice_at_the_edge_and_a_bad_tolerance_are_named() -> Result<()> {
        let (x, y) = (fake(), real());
        let run = |grid: &[f64], tolerance| {
            let choice = select_bandwidth(x.view(), y.view(), grid)?;
            refine_bandwidth(x.view(), y.view(), &choice, tolerance)
        };
        for grid in [&[0.01, 0.02][..], &[2.0, 3.0], &[0.3]] {
            assert!(run(grid, 1e-3).unwrap_err().to_string().contains("widen the grid"));
        }
        for tolerance in [0.0, 1.0, f64::NAN] {
            let text = run(&[0.1, 0.3, 1.0], tolerance).unwrap_err().to_string();
            assert!(text.contains("`tolerance`"), "{text}");
        }
        Ok(())
    }
}
