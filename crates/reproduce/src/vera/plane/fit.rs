//! Trains a density on a toy and looks at it on the way.

use std::time::Instant;

use candle_core::{Device, Tensor};
use chains_core::{Noise, Seed, nn::BatchNormMoments, noise};
use datasets::toys::toy;
use serde::{Deserialize, Serialize};
use vera::{EnergyNetwork, ModelConfig, VeraModel};

use super::{
    super::methods::Method,
    grid::{Grid, GridLaw},
};
use crate::{
    error::{Error, Result},
    training::{Cell, Ticker, json},
};

/// Updates between two signs of life.
const TICK: usize = 100;

/// One training.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fit {
    /// Name of the toy.
    pub(super) set: String,
    /// What the row is called.
    pub(super) name: String,
    pub(super) model: ModelConfig,
    pub(super) method: Method,
    pub(super) seed: u64,
    pub(super) updates: usize,
    pub(super) batch_size: usize,
    /// Test points, generated afresh.
    pub(super) test_points: usize,
    /// Looks at the density, evenly spaced over the updates.
    pub(super) looks: usize,
    /// Where the energy is normalised.
    pub(super) grid: Grid,
    /// Points of a picture.
    pub(super) shown: usize,
}

/// A look at a density.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Look {
    pub(super) update: usize,
    /// Mean log density of test points, nats.
    pub(super) log_prob: f64,
}

/// What a training gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Fitted {
    pub(super) looks: Vec<Look>,
    /// The update whose loss was no number, if one was.
    pub(super) diverged: Option<usize>,
    pub(super) seconds: f64,
    /// `sigma` of the generator at the end.
    pub(super) sigma: f64,
    /// What the grid says at the end.
    pub(super) law: GridLaw,
    /// Share of the mass within 0.3 of a test point.
    pub(super) near: f64,
    /// Samples of the generator.
    pub(super) samples: Vec<[f32; 2]>,
    /// The density on [-4, 4]^2, 100 cells a side.
    pub(super) picture: Vec<f32>,
}

impl Fitted {
    /// Mean of the last five looks: single ones swing under Adam without a first moment.
    pub(super) fn tail(&self) -> f64 {
        let last = &self.looks[self.looks.len().saturating_sub(5)..];
        last.iter().map(|look| look.log_prob).sum::<f64>() / last.len().max(1) as f64
    }
}

/// Points of a toy on the host.
fn points(x: &Tensor) -> Result<Vec<[f32; 2]>> {
    Ok(x.to_device(&Device::Cpu)?.to_vec2::<f32>()?.iter().map(|row| [row[0], row[1]]).collect())
}

impl Fit {
    /// The training as one of many.
    pub(super) fn cell(self, device: Device) -> Result<Cell<'static, Fitted>> {
        let (key, updates) = (json(&self)?, self.updates);
        Ok(Cell { key, updates, work: Box::new(move |ticker| self.run(&device, ticker)) })
    }

    fn run(&self, device: &Device, ticker: &Ticker) -> Result<Fitted> {
        let seed = Seed::new(self.seed).child("vera").child(&self.set);
        let source = toy(&self.set)
            .ok_or_else(|| Error::Usage(format!("--set sets: `{}` is no toy", self.set)))?;
        let test = source.sample(self.test_points, &mut seed.child("test").host_noise())?;
        let model = VeraModel::new(self.model.clone(), seed.child("model"), device)?;
        let mut step = self.method.begin(&model, seed.child("method"))?;
        let mut data = seed.child("data").host_noise();
        let mut noise = noise::of_device(seed.child("noise"), device);
        let every = (self.updates / self.looks.max(1)).max(1);
        let (mut looks, mut diverged, mut seconds) = (Vec::new(), None, 0.0);
        for update in 1..=self.updates {
            let started = Instant::now();
            let x = source.sample(self.batch_size, &mut data)?.to_device(device)?;
            match step(&x, &mut *noise) {
                Ok(loss) => {
                    if update.is_multiple_of(TICK) {
                        ticker.at(update, &[("loss", loss)]);
                    }
                }
                Err(chains_core::Error::NonFinite { .. }) => {
                    diverged = Some(update);
                    break;
                }
                Err(error) => return Err(error.into()),
            }
            seconds += started.elapsed().as_secs_f64();
            if update.is_multiple_of(every) {
                looks.push(Look { update, log_prob: self.log_prob(&model, &test)? });
            }
        }
        drop(step);
        self.finish(&model, &test, (looks, diverged, seconds), &mut *noise)
    }

    /// Mean log density of points.
    fn log_prob(&self, model: &VeraModel, test: &Tensor) -> Result<f64> {
        let f = model.energy().log_density(&test.to_device(model.store().device())?, &[])?;
        let mean = f64::from(f.mean_all()?.to_scalar::<f32>()?);
        if model.config().energy.is_normalised() {
            return Ok(mean);
        }
        Ok(mean - self.grid.law(&self.grid.values(model)?).log_z)
    }

    fn finish(
        &self,
        model: &VeraModel,
        test: &Tensor,
        (mut looks, diverged, seconds): (Vec<Look>, Option<usize>, f64),
        noise: &mut dyn Noise,
    ) -> Result<Fitted> {
        if looks.is_empty() {
            looks.push(Look { update: 0, log_prob: self.log_prob(model, test)? });
        }
        let values = self.grid.values(model)?;
        let shown = Grid { half: 4.0, cells: 100 };
        let drawn = model.generator().draw(self.shown, BatchNormMoments::batch(), noise)?;
        let near = points(test)?;
        let near = self.grid.near(&values, &near[..near.len().min(1_000)], 0.3);
        Ok(Fitted {
            looks,
            diverged,
            seconds,
            sigma: model.generator().sigma()?,
            law: self.grid.law(&values),
            near,
            samples: points(&drawn.x)?,
            picture: Grid::picture(&shown.values(model)?),
        })
    }
}

/// Is it a toy of the plane?
pub(super) fn known(set: &str) -> Result<()> {
    if toy(set).is_some() {
        return Ok(());
    }
    let known = datasets::toys::TOYS.join(", ");
    Err(Error::Usage(format!("--set sets: `{set}` is none of {known}")))
}
