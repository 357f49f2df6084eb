//! What a joint energy model says of images: classes, densities, how steep the density is.

use std::cell::RefCell;

use candle_core::Tensor;
use chains_core::density::value_and_grad;
use datasets::ImageSet;
use eval_metrics::{Accuracy, Bootstrap, Calibration, accuracy, auroc, calibration_from_logits};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use vera::{EnergyNetwork, VeraModel, log_density};

use crate::{
    arrays::{rows, score},
    error::Result,
    images::blocks,
};

/// Images in a call of the network.
const ROWS: usize = 50;
/// Bins of the calibration error.
const BINS: usize = 15;

/// The scores that tell a model's own images from others.
pub(super) const SCORES: [&str; 3] = ["f", "max p", "-|grad f|"];

/// What a network in evaluation says of a set.
pub(super) struct Look {
    /// `(n, K)`.
    logits: Array2<f32>,
    /// Length of the gradient of `f`, where it was asked for.
    steepness: Option<Vec<f64>>,
}

impl Look {
    /// Of images scaled to `[-1, 1]`.
    ///
    /// # Errors
    /// Of the network.
    pub(super) fn of(model: &VeraModel, set: &ImageSet, gradients: bool) -> Result<Self> {
        let (network, device) = (model.energy(), model.store().device());
        let event = model.config().energy.event();
        let (mut logits, mut steepness) = (Vec::new(), Vec::new());
        for block in blocks(set.len(), ROWS) {
            let shape = [&[block.len()], event.as_slice()].concat();
            let x = set.symmetric(&block)?.reshape(shape)?.to_device(device)?;
            if !gradients {
                logits.push(network.logits(&x, &[])?.detach());
                continue;
            }
            let found = RefCell::new(None);
            let (_, grad) = value_and_grad(&x, |x| {
                let logits = network.logits(x, &[])?;
                found.replace(Some(logits.detach()));
                log_density(&logits)
            })?;
            logits.extend(found.into_inner());
            let norms = grad.flatten_from(1)?.sqr()?.sum(1)?.sqrt()?;
            steepness.extend(norms.to_vec1::<f32>()?.into_iter().map(f64::from));
        }
        let logits = rows(&Tensor::cat(&logits, 0)?)?;
        Ok(Self { logits, steepness: gradients.then_some(steepness) })
    }

    /// `f`, of every image.
    pub(super) fn densities(&self) -> Vec<f64> {
        self.logits.outer_iter().map(|row| shifted(row.iter().copied()).0).collect()
    }

    /// One of [`SCORES`], of every image: larger for the model's own.
    pub(super) fn scores(&self, name: &str) -> Option<Vec<f64>> {
        match name {
            "f" => Some(self.densities()),
            "max p" => {
                let one = |(f, largest): (f64, f64)| (largest - f).exp();
                Some(
                    self.logits.outer_iter().map(|row| one(shifted(row.iter().copied()))).collect(),
                )
            }
            _ => Some(self.steepness.as_ref()?.iter().map(|length| -length).collect()),
        }
    }

    /// Accuracy and calibration over fifteen bins.
    ///
    /// # Errors
    /// For labels that do not fit.
    pub(super) fn classes(&self, labels: &[u8]) -> Result<(Accuracy, Calibration)> {
        let bootstrap = Bootstrap { resamples: 200, level: 0.95, seed: 1 };
        let logits = self.logits.view();
        Ok((
            score(accuracy(logits, labels))?,
            score(calibration_from_logits(logits, labels, BINS, bootstrap))?,
        ))
    }
}

/// Logarithm of the sum of exponentials, and the largest.
fn shifted(row: impl Iterator<Item = f32> + Clone) -> (f64, f64) {
    let largest = f64::from(row.clone().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = row.map(|value| (f64::from(value) - largest).exp()).sum();
    (largest + sum.ln(), largest)
}

/// Areas under the curves of all scores, of one set of outliers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Separation {
    /// Name of the outliers.
    pub(super) set: String,
    /// By [`SCORES`]; none where no gradient was asked for.
    pub(super) areas: Vec<Option<f64>>,
    /// Outliers.
    pub(super) n: usize,
}

impl Separation {
    /// Of the model's own images, positive, and others.
    ///
    /// # Errors
    /// If a score is not a number.
    pub(super) fn of(set: &str, own: &Look, others: &Look) -> Result<Self> {
        let area = |name: &&str| match (own.scores(name), others.scores(name)) {
            (Some(own), Some(others)) => Ok(Some(score(auroc(&own, &others))?.value)),
            _ => Ok(None),
        };
        let areas = SCORES.iter().map(area).collect::<Result<_>>()?;
        Ok(Self { set: set.into(), areas, n: others.logits.nrows() })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use chains_core::Seed;
    use vera::{EnergyConfig, GeneratorConfig, ModelConfig};

    use super::*;

    fn model() -> VeraModel {
        // Without hidden layers f has no kinks, over which differences would reach.
        let hidden = Vec::new();
        let energy = EnergyConfig::Mlp { dim: 4, hidden, outputs: 3, weight_norm: false };
        let generator = GeneratorConfig::softplus(2, 5, 4);
        VeraModel::new(ModelConfig::of(energy, generator), Seed::new(1), &Device::Cpu).unwrap()
    }

    fn set() -> ImageSet {
        let pixels = (0..240).map(|i| (i * 71 % 256) as u8).collect();
        ImageSet::new("t", pixels, (0..60).map(|i| i % 3).collect(), [1, 2, 2]).unwrap()
    }

    #[test]
    fn scores_agree_with_their_definitions_over_blocks() {
        let (model, set) = (model(), set());
        let look = Look::of(&model, &set, true).unwrap();
        let x = set.symmetric(&(0..60).collect::<Vec<_>>()).unwrap();
        let logits = model.energy().logits(&x, &[]).unwrap().to_vec2::<f32>().unwrap();
        let densities = look.scores("f").unwrap();
        let confidences = look.scores("max p").unwrap();
        let steepness = look.scores("-|grad f|").unwrap();
        assert_eq!([densities.len(), confidences.len(), steepness.len()], [60; 3]);
        let f = |x: &[f32]| {
            let x = Tensor::from_slice(x, (1, 4), &Device::Cpu).unwrap();
            let f = model.energy().log_density(&x, &[]).unwrap();
            f64::from(f.to_vec1::<f32>().unwrap()[0])
        };
        for (i, row) in logits.iter().enumerate() {
            let sum: f64 = row.iter().map(|v| f64::from(*v).exp()).sum();
            let largest = row.iter().copied().fold(f32::MIN, f32::max);
            assert!((densities[i] - sum.ln()).abs() < 1e-5);
            assert!((confidences[i] - f64::from(largest).exp() / sum).abs() < 1e-5);
            let point = x.get(i).unwrap().to_vec1::<f32>().unwrap();
            let square: f64 = (0..4)
                .map(|at| {
                    let moved = |by: f32| {
                        let mut point = point.clone();
                        point[at] += by;
                        f(&point)
                    };
                    ((moved(1e-2) - moved(-1e-2)) / 2e-2).powi(2)
                })
                .sum();
            // Differences of f32 values near 1 over 2e-2.
            assert!((steepness[i] + square.sqrt()).abs() < 1e-3, "{} {}", steepness[i], square);
        }
        let plain = Look::of(&model, &set, false).unwrap();
        assert_eq!(plain.logits, look.logits);
        assert!(plain.scores("-|grad f|").is_none());
    }

    #[test]
    fn a_set_does_not_separate_from_itself() {
        let look = Look::of(&model(), &set(), true).unwrap();
        let found = Separation::of("itself", &look, &look).unwrap();
        assert_eq!((found.areas, found.n), (vec![Some(0.5); 3], 60));
        let (accuracy, calibration) = look.classes(&set().labels).unwrap();
        assert!((accuracy.value - calibration.accuracy).abs() < 1e-12);
    }
}
