//! Trains a flow on digits and looks at its exact likelihood on the way.

use std::{sync::Arc, time::Instant};

use candle_core::{Device, Tensor};
use chains_core::{Noise, Seed, density::Sample, nn::BatchNormMoments, noise, ops};
use datasets::{ImageSet, Shuffle};
use serde::{Deserialize, Serialize};
use vera::{EnergyNetwork, GeneratorNetwork, ModelConfig, VeraModel};

use super::{super::methods::Method, data::FlowData};
use crate::{
    data::usage,
    error::Result,
    images::blocks,
    training::{Cell, Ticker, json},
};

/// Updates between two signs of life.
const TICK: usize = 100;
/// Looks that a tail averages: single ones swing under Adam without a first moment.
const TAIL: usize = 5;
/// What stands for a likelihood below it, or one that is no number.
pub(super) const FLOOR: f64 = -1e9;
/// Examples of a likelihood at a time.
const BLOCK: usize = 1_000;

/// One training.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fit {
    /// What the row is called.
    pub(super) name: String,
    pub(super) model: ModelConfig,
    pub(super) method: Method,
    pub(super) seed: u64,
    pub(super) updates: usize,
    pub(super) batch_size: usize,
    /// Looks at the likelihood, evenly spaced over the updates.
    pub(super) looks: usize,
    /// Samples of a picture.
    pub(super) shown: usize,
    /// Samples of the generator whose `f` is taken.
    pub(super) generated: usize,
    /// Identifies the data.
    pub(super) digest: [String; 3],
}

/// A look at a flow: mean log density, nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Look {
    pub(super) update: usize,
    pub(super) validation: f64,
    pub(super) test: f64,
}

/// What a training gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Fitted {
    /// The first before the first update.
    pub(super) looks: Vec<Look>,
    /// The update whose loss was no number or too large, if one was.
    pub(super) diverged: Option<usize>,
    /// Updates done.
    pub(super) updates: usize,
    pub(super) seconds: f64,
    /// Mean `f` of samples of the generator at the end, for methods with one.
    pub(super) generated: Option<f64>,
    /// Exact samples of the flow as pixels, `shown * D`.
    pub(super) flow_samples: Vec<f32>,
    /// Samples of the generator as pixels.
    pub(super) generator_samples: Option<Vec<f32>>,
}

impl Fitted {
    /// Mean test value of the last five looks.
    pub(super) fn tail(&self) -> f64 {
        tail(&self.looks)
    }

    /// Test value of the look with the best validation.
    pub(super) fn selected(&self) -> Look {
        selected(&self.looks)
    }

    /// `E_data f - E_q f` at the end.
    pub(super) fn gap(&self) -> Option<f64> {
        let last = self.looks.last()?;
        self.generated.map(|generated| last.test - generated)
    }
}

fn tail(looks: &[Look]) -> f64 {
    // The look before the first update is none of a training that went on.
    let last = &looks[looks.len().saturating_sub(TAIL).max(usize::from(looks.len() > 1))..];
    last.iter().map(|look| look.test).sum::<f64>() / last.len().max(1) as f64
}

fn selected(looks: &[Look]) -> Look {
    let none = Look { update: 0, validation: f64::NEG_INFINITY, test: FLOOR };
    looks
        .iter()
        .fold(none, |best, look| if look.validation > best.validation { *look } else { best })
}

impl Fit {
    /// The training as one of many.
    pub(super) fn cell(self, data: Arc<FlowData>, device: Device) -> Result<Cell<'static, Fitted>> {
        let (key, updates) = (json(&self)?, self.updates);
        Ok(Cell { key, updates, work: Box::new(move |ticker| self.run(&data, &device, ticker)) })
    }

    fn run(&self, data: &FlowData, device: &Device, ticker: &Ticker) -> Result<Fitted> {
        let seed = Seed::new(self.seed).child("nice");
        let model = VeraModel::new(self.model.clone(), seed.child("model"), device)?;
        let held = |set: &ImageSet, name| data.all(set, seed.child(name), device);
        let held = [held(&data.validation, "validation")?, held(&data.test, "test")?];
        let mut step = self.method.begin(&model, seed.child("method"))?;
        let (n, batch_size) = (data.train.len(), self.batch_size);
        let shuffle = Shuffle { n, batch_size, seed: seed.child("shuffle"), drop_last: true };
        let mut batches = shuffle.batches().map_err(usage)?;
        let mut dequantise = seed.child("dequantise").host_noise();
        let mut noise = noise::of_device(seed.child("noise"), device);
        let every = (self.updates / self.looks.max(1)).max(1);
        let mut looks = vec![look(&model, 0, &held)?];
        let (mut diverged, mut seconds, mut updates) = (None, 0.0, 0);
        for update in 1..=self.updates {
            let started = Instant::now();
            let x = data.logits(&data.train, batches.next_batch(), &mut dequantise, device)?;
            match step(&x, &mut *noise) {
                Ok(loss) if update.is_multiple_of(TICK) => ticker.at(update, &[("loss", loss)]),
                Ok(_) => {}
                Err(chains_core::Error::NonFinite { .. }) => {
                    diverged = Some(update);
                    break;
                }
                Err(error) => return Err(error.into()),
            }
            (seconds, updates) = (seconds + started.elapsed().as_secs_f64(), update);
            if update.is_multiple_of(every) {
                looks.push(look(&model, update, &held)?);
            }
        }
        drop(step);
        let fitted = Fitted {
            looks,
            diverged,
            updates,
            seconds,
            generated: None,
            flow_samples: Vec::new(),
            generator_samples: None,
        };
        self.finish(&model, fitted, &mut *noise)
    }

    fn finish(
        &self,
        model: &VeraModel,
        mut fitted: Fitted,
        noise: &mut dyn Noise,
    ) -> Result<Fitted> {
        if let Some(nice) = model.energy().as_nice() {
            fitted.flow_samples = pixels(&nice.sample(self.shown, noise)?)?;
        }
        if let Some(x) = self.generate(model, noise)? {
            fitted.generated = Some(log_prob(model, &x)?);
            fitted.generator_samples =
                Some(pixels(&x.narrow(0, 0, self.shown.min(x.dims()[0]))?)?);
        }
        Ok(fitted)
    }

    /// Samples as the method draws them: the game adds noise, the others do not.
    fn generate(&self, model: &VeraModel, noise: &mut dyn Noise) -> Result<Option<Tensor>> {
        let generator = model.generator();
        let n = self.generated.max(self.shown).max(2);
        let moments = BatchNormMoments::batch();
        Ok(match self.method {
            Method::Vera(_) => Some(generator.draw(n, moments, noise)?.x),
            Method::Meg(_) | Method::Coop(_) => {
                let shape = (n, generator.network.latent()).into();
                let (dtype, device) = (generator.log_sigma.dtype(), generator.log_sigma.device());
                let z = noise.normal(&shape, dtype, device)?;
                Some(generator.network.mean(&z, &mut moments.clone())?)
            }
            _ => None,
        })
    }
}

fn look(model: &VeraModel, update: usize, [validation, test]: &[Tensor; 2]) -> Result<Look> {
    let [validation, test] = [log_prob(model, validation)?, log_prob(model, test)?];
    Ok(Look { update, validation, test })
}

/// Mean log density, at least [`FLOOR`].
fn log_prob(model: &VeraModel, x: &Tensor) -> Result<f64> {
    let n = x.dims()[0];
    let mut sum = 0.0;
    for block in blocks(n, BLOCK) {
        let x = x.narrow(0, block[0], block.len())?;
        let f = model.energy().log_density(&x, &[])?.to_device(&Device::Cpu)?;
        sum += f.to_vec1::<f32>()?.iter().map(|f| f64::from(*f)).sum::<f64>();
    }
    let mean = sum / n.max(1) as f64;
    // Also where it is no number.
    Ok(if mean > FLOOR { mean } else { FLOOR })
}

/// Logits as pixels on the host.
fn pixels(x: &Tensor) -> Result<Vec<f32>> {
    Ok(ops::sigmoid(&x.detach())?.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_a_mean_of_tests_and_the_choice_is_by_validation() {
        let look = |update: usize, validation: f64, test: f64| Look { update, validation, test };
        let looks: Vec<Look> =
            (0..8).map(|i| look(i, -f64::from(i as u8), f64::from(i as u8))).collect();
        // Looks 3 to 7.
        assert!((tail(&looks) - 5.0).abs() < 1e-12);
        // The untrained model is not in the tail, but may be chosen.
        assert!((tail(&looks[..3]) - 1.5).abs() < 1e-12);
        assert!((tail(&looks[..1]) - 0.0).abs() < 1e-12);
        let looks = [look(0, -9.0, 1.0), look(1, -2.0, 2.0), look(2, -3.0, 3.0)];
        assert_eq!(selected(&looks), looks[1]);
        assert_eq!(selected(&[]).update, 0);
    }
}
