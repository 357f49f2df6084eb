//! Modes of known place: rings and grids of Gaussians.

use ndarray::ArrayView2;
use serde::Serialize;

use crate::{
    error::{Error, Result},
    nearest::nearest_named,
    real::Real,
};

/// A sample farther than this many standard deviations from every centre is of no mode.
const RADIUS: f64 = 3.0;

/// Samples near known centres.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModeHits {
    /// Centres with a sample within three standard deviations.
    pub modes: usize,
    /// Share of the samples within three standard deviations of a centre; of exact samples of
    /// Gaussians in the plane it is `1 - exp(-4.5)`, 0.989.
    pub high_quality: f64,
    /// Binomial standard error of the share.
    pub std_error: f64,
    /// Samples within three standard deviations of every centre, each counted for its nearest.
    pub hits: Vec<usize>,
    /// The standard deviation of a mode.
    pub std_dev: f64,
    /// Samples.
    pub n: usize,
}

impl ModeHits {
    /// Centres with at least `hits` samples; 20 of 2,500 is a stricter count in use.
    pub fn modes_with(&self, hits: usize) -> usize {
        self.hits.iter().filter(|count| **count >= hits).count()
    }
}

/// Counts the samples within `3 std_dev` of their nearest centre.
///
/// Used with rings and grids in the plane since Metz and others (2017) and Srivastava and others
/// (2017).
///
/// # Shapes
/// `samples`: `(n, d)`; `centres`: `(modes, d)`.
///
/// # Errors
/// [`Error::TooFew`], [`Error::Mismatch`], [`Error::NonFinite`] for unusable rows,
/// [`Error::Argument`] for a standard deviation that is not a positive number.
///
/// # Example
/// ```
/// use ndarray::array;
/// let centres = array![[0.0, 0.0], [4.0, 0.0]];
/// let samples = array![[0.1, 0.2], [0.0, -0.1], [2.0, 2.0]];
/// let found = eval_metrics::mode_hits(samples.view(), centres.view(), 0.1)?;
/// assert_eq!((found.modes, found.hits.as_slice()), (1, &[2, 0][..]));
/// # Ok::<(), eval_metrics::Error>(())
/// ```
pub fn mode_hits<T: Real>(
    samples: ArrayView2<'_, T>,
    centres: ArrayView2<'_, T>,
    std_dev: f64,
) -> Result<ModeHits> {
    if !(std_dev > 0.0 && std_dev.is_finite()) {
        let reason = format!("{std_dev} is not a positive number");
        return Err(Error::Argument { name: "std_dev", reason });
    }
    let found = nearest_named(("samples", samples), ("centres", centres))?;
    let mut hits = vec![0; centres.nrows()];
    for (&centre, squared) in found.indices.iter().zip(&found.squared_distances) {
        if squared.sqrt() <= RADIUS * std_dev {
            hits[centre] += 1;
        }
    }
    let n = samples.nrows();
    let high_quality = hits.iter().sum::<usize>() as f64 / n as f64;
    Ok(ModeHits {
        modes: hits.iter().filter(|count| **count > 0).count(),
        high_quality,
        std_error: (high_quality * (1.0 - high_quality) / n as f64).sqrt(),
        hits,
        std_dev,
        n,
    })
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array, s};

    use super::*;
    use crate::golden::{assert_close, normals};

    fn ring() -> Array2<f64> {
        Array2::from_shape_fn((8, 2), |(mode, axis)| {
            let angle = std::f64::consts::TAU * mode as f64 / 8.0;
            if axis == 0 { angle.cos() } else { angle.sin() }
        })
    }

    /// Exact samples of the first `modes` of the ring, in turn.
    fn samples(modes: usize, n: usize) -> Array2<f64> {
        let noise = normals(61, 2 * n);
        Array2::from_shape_fn((n, 2), |(row, axis)| {
            ring()[(row % modes, axis)] + 0.05 * noise[(2 * row + axis, 0)]
        })
    }

    #[test]
    fn exact_samples_have_their_closed_form() -> Result<()> {
        let found = mode_hits(samples(8, 4000).view(), ring().view(), 0.05)?;
        assert_eq!((found.modes, found.n), (8, 4000));
        let expected = 1.0 - (-4.5_f64).exp();
        assert!((found.high_quality - expected).abs() < 3.0 * found.std_error, "{found:?}");
        assert_eq!(found.modes_with(480), 8);
        assert_eq!(found.modes_with(501), 0);
        Ok(())
    }

    #[test]
    fn missing_modes_are_missed() -> Result<()> {
        let found = mode_hits(samples(5, 1000).view(), ring().view(), 0.05)?;
        assert_eq!((found.modes, found.modes_with(1), found.hits[6]), (5, 5, 0));
        let far = mode_hits((samples(8, 50) + 9.0).view(), ring().view(), 0.05)?;
        assert_eq!((far.modes, far.high_quality, far.std_error), (0, 0.0, 0.0));
        Ok(())
    }

    #[test]
    fn the_edge_of_three_deviations_is_inside() -> Result<()> {
        let line = array![[0.75], [-0.75], [0.76], [10.0]];
        let found = mode_hits(line.view(), array![[0.0], [10.0]].view(), 0.25)?;
        assert_eq!(found.hits, [2, 1]);
        assert_close(found.high_quality, 0.75, 1e-15);
        Ok(())
    }

    #[test]
    fn order_and_precision_do_not_matter() -> Result<()> {
        let samples = samples(8, 500);
        let found = mode_hits(samples.view(), ring().view(), 0.05)?;
        assert_eq!(mode_hits(samples.slice(s![..;-1, ..]), ring().view(), 0.05)?, found);
        let narrow = |rows: &Array2<f64>| rows.mapv(|x| x as f32);
        assert_eq!(mode_hits(narrow(&samples).view(), narrow(&ring()).view(), 0.05)?, found);
        Ok(())
    }

    #[test]
    fn unusable_input_is_named() {
        let text = |samples: Array2<f64>, centres: Array2<f64>, std_dev| {
            mode_hits(samples.view(), centres.view(), std_dev).unwrap_err().to_string()
        };
        assert!(text(ring(), ring(), 0.0).contains("`std_dev`"));
        assert!(text(ring(), ring(), f64::NAN).contains("`std_dev`"));
        assert!(text(Array2::zeros((0, 2)), ring(), 0.1).contains("samples: 0 rows"));
        assert!(text(ring(), Array2::zeros((0, 2)), 0.1).contains("centres: 0 rows"));
        assert!(
            text(Array2::zeros((3, 1)), ring(), 0.1).contains("samples: expected 2 columns, got 1")
        );
        assert!(text(ring() * f64::NAN, ring(), 0.1).contains("samples: row 0, column 0"));
    }
}
