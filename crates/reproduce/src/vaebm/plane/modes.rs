//! Which of the Gaussians samples reach.

use candle_core::{Device, Tensor};
use datasets::toys::Gaussians;
use eval_metrics::mode_hits;
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Samples that a picture shows.
const SHOWN: usize = 2_000;
/// Samples that make a Gaussian covered, of 10,000.
const LEAST: f64 = 20.0 / 10_000.0;
/// Standard deviation of the Gaussians, see [`Gaussians::twenty_five`].
pub(super) const SIGMA: f64 = 0.0839;

/// Samples near the centres.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Hits {
    pub(super) n: usize,
    /// Within three deviations of each centre.
    pub(super) hits: Vec<usize>,
    /// The first of them.
    pub(super) shown: Vec<[f32; 2]>,
}

impl Hits {
    /// Counts samples, `(n, 2)`; those that are not finite are near no centre.
    ///
    /// # Errors
    /// [`Error::Usage`] if none is finite.
    pub(super) fn of(samples: &Tensor) -> Result<Self> {
        let mut rows = rows(samples)?;
        let n = rows.len();
        rows.retain(|row| row.iter().all(|v| v.is_finite()));
        let flat: Vec<f32> = rows.iter().flatten().copied().collect();
        let samples = ArrayView2::from_shape((rows.len(), 2), &flat)
            .map_err(|error| Error::Usage(format!("samples: {error}")))?;
        let centres: Vec<[f32; 2]> = Gaussians::twenty_five()
            .components()
            .iter()
            .map(|component| component.mean.map(|v| v as f32))
            .collect();
        let centres = Array2::from_shape_fn((centres.len(), 2), |(i, axis)| centres[i][axis]);
        let found = mode_hits(samples, centres.view(), SIGMA)
            .map_err(|error| Error::Usage(format!("samples: {error}")))?;
        let shown = rows.iter().take(SHOWN).copied().collect();
        Ok(Self { n, hits: found.hits, shown })
    }

    /// Gaussians with at least 20 of 10,000 samples.
    pub(super) fn modes(&self) -> usize {
        let least = LEAST * self.n as f64;
        self.hits.iter().filter(|hits| **hits as f64 >= least).count()
    }

    /// The share of samples within three deviations of a centre, and its standard error.
    pub(super) fn share(&self) -> (f64, f64) {
        let share = self.hits.iter().sum::<usize>() as f64 / self.n.max(1) as f64;
        (share, (share * (1.0 - share) / self.n.max(1) as f64).sqrt())
    }

    /// Smallest and largest share of a Gaussian.
    pub(super) fn extremes(&self) -> [f64; 2] {
        let n = self.n.max(1) as f64;
        let shares = || self.hits.iter().map(|hits| *hits as f64 / n);
        [shares().fold(f64::INFINITY, f64::min), shares().fold(0.0, f64::max)]
    }
}

/// Points on the host.
pub(super) fn rows(samples: &Tensor) -> Result<Vec<[f32; 2]>> {
    let rows = samples.to_device(&Device::Cpu)?.to_vec2::<f32>()?;
    Ok(rows.iter().map(|row| [row[0], row[1]]).collect())
}

#[cfg(test)]
mod tests {
    use chains_core::{Seed, density::Sample};

    use super::*;

    /// O18: exact samples reach every Gaussian, 98.89 % of them within three deviations.
    #[test]
    fn samples_of_the_truth_have_the_closed_form() {
        let mut noise = Seed::new(0).child("modes").host_noise();
        let x = Gaussians::twenty_five().sample(10_000, &mut noise).unwrap();
        let found = Hits::of(&x).unwrap();
        let (share, error) = found.share();
        assert_eq!(found.modes(), 25);
        assert!((share - 0.9889).abs() < 0.003, "{share}");
        assert!((error - 0.00105).abs() < 2e-4, "{error}");
        let [low, high] = found.extremes();
        assert!(low > 0.03 && high < 0.05, "{low} {high}");
        // A sample that is lost counts as one that is nowhere.
        let lost = Tensor::new(&[[f32::NAN, 0.0], [1.0, -1.0]], &Device::Cpu).unwrap();
        assert!((Hits::of(&lost).unwrap().share().0 - 0.5).abs() < 1e-12);
        // One point many times.
        let left = x.narrow(0, 0, 1).unwrap().broadcast_as((100, 2)).unwrap().contiguous().unwrap();
        assert!(Hits::of(&left).unwrap().modes() <= 1);
    }
}
