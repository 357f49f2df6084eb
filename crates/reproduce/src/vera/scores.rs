//! What a model says of examples: classes, log density, and how steep that is.

use candle_core::Tensor;
use chains_core::{density::value_and_grad, host};
use ndarray::Array2;
use vera::{EnergyNetwork, VeraModel, log_density};

use crate::{arrays::rows, error::Result};

/// Examples that pass the network together.
const TOGETHER: usize = 500;

/// Scores of examples, in their order.
pub(crate) struct Scores {
    /// `(n, K)`.
    pub(crate) logits: Array2<f32>,
    /// `(n, K)`.
    pub(crate) probabilities: Array2<f64>,
    /// `f`: log density up to a constant, with it where the model is normalised; nats.
    pub(crate) log_density: Vec<f64>,
    /// `|grad_x f|`.
    pub(crate) steepness: Vec<f64>,
}

impl Scores {
    /// Of examples `(n, ..event)`, in evaluation.
    ///
    /// # Errors
    /// If the examples do not fit the model.
    pub(crate) fn of(model: &VeraModel, x: &Tensor) -> Result<Self> {
        let (n, classes) = (x.dims()[0], model.config().energy.outputs());
        let (mut values, mut log_densities) = (Vec::with_capacity(n * classes), Vec::new());
        let mut steepness = Vec::new();
        for start in (0..n).step_by(TOGETHER) {
            let x = x.narrow(0, start, TOGETHER.min(n - start))?;
            // A view would take the whole set to the device.
            let x = x.force_contiguous()?.to_device(model.store().device())?;
            let logits = std::cell::RefCell::new(None);
            let (f, slope) = value_and_grad(&x, |x| {
                let found = model.energy().logits(x, &[])?;
                let f = log_density(&found)?;
                logits.replace(Some(found.detach()));
                Ok(f)
            })?;
            if let Some(logits) = logits.take() {
                values.extend(rows(&logits)?);
            }
            log_densities.extend(host::values(&f)?);
            steepness.extend(host::values(&slope.flatten_from(1)?.sqr()?.sum(1)?.sqrt()?)?);
        }
        let logits = Array2::from_shape_vec((n, classes), values)
            .map_err(|error| crate::error::Error::Usage(error.to_string()))?;
        let probabilities = softmax(&logits);
        Ok(Self { logits, probabilities, log_density: log_densities, steepness })
    }

    /// The most probable class of every example, of equal ones the first, and its probability.
    pub(crate) fn answers(&self) -> Vec<(usize, f64)> {
        let best = |row: ndarray::ArrayView1<'_, f64>| {
            let first = (0, f64::NEG_INFINITY);
            row.indexed_iter().fold(first, |best, (k, p)| if *p > best.1 { (k, *p) } else { best })
        };
        self.probabilities.outer_iter().map(best).collect()
    }
}

fn softmax(logits: &Array2<f32>) -> Array2<f64> {
    let mut all = logits.mapv(f64::from);
    for mut row in all.outer_iter_mut() {
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.mapv_inplace(|v| (v - top).exp());
        let sum = row.sum();
        row.mapv_inplace(|v| v / sum);
    }
    all
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use chains_core::{Noise, Seed};
    use vera::{EnergyConfig, GeneratorConfig, ModelConfig};

    use super::*;

    #[test]
    fn scores_of_many_rows_are_those_of_each() {
        let energy = EnergyConfig::Mlp { dim: 3, hidden: vec![5], outputs: 4, weight_norm: false };
        let config = ModelConfig::of(energy, GeneratorConfig::softplus(2, 4, 3));
        let model = VeraModel::new(config, Seed::new(1), &Device::Cpu).unwrap();
        let n = TOGETHER + 7;
        let mut noise = Seed::new(2).host_noise();
        let x = noise.normal(&(n, 3).into(), candle_core::DType::F32, &Device::Cpu).unwrap();
        let all = Scores::of(&model, &x).unwrap();
        assert_eq!((all.logits.dim(), all.log_density.len()), ((n, 4), n));
        for at in [0, TOGETHER - 1, TOGETHER, n - 1] {
            let one = Scores::of(&model, &x.narrow(0, at, 1).unwrap()).unwrap();
            assert!((one.log_density[0] - all.log_density[at]).abs() < 1e-5);
            let sum: f64 = all.logits.row(at).iter().map(|v| f64::from(*v).exp()).sum();
            assert!((sum.ln() - all.log_density[at]).abs() < 1e-5);
            assert!((all.probabilities.row(at).sum() - 1.0).abs() < 1e-12);
            // The slope of f along its own gradient, by a difference quotient.
            let h = 1e-3_f32;
            let shifted = |j: usize, by: f32| {
                let mut row = x.narrow(0, at, 1).unwrap().to_vec2::<f32>().unwrap();
                row[0][j] += by;
                let x = Tensor::new(row, &Device::Cpu).unwrap();
                Scores::of(&model, &x).unwrap().log_density[0]
            };
            let slope = |j| (shifted(j, h) - shifted(j, -h)) / (2.0 * f64::from(h));
            let norm = (0..3).map(|j| slope(j).powi(2)).sum::<f64>().sqrt();
            assert!((norm - all.steepness[at]).abs() < 2e-3, "{norm} {}", all.steepness[at]);
        }
    }
}
