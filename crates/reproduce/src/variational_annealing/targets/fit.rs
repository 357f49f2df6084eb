//! One training of a generator on a target, looked at on the way.

use std::time::Instant;

use candle_core::{Device, Tensor};
use chains_core::{Seed, density::Sample, host, noise};
use eval_metrics::{Bandwidth, MmdOptions, SteinKernel, ksd, mmd};
use serde::{Deserialize, Serialize};
use variational_annealing::ugan::{
    LogPartition, Target, TrainState, Ugan, UganConfig, UganTraining, log_partition, update,
};

use super::truth::Plane;
use crate::{
    arrays::{rows, score},
    error::Result,
    training::{Cell, Ticker, json},
};

/// Updates between two signs of life.
const TICK: usize = 100;
/// Points of a picture.
const SHOWN: usize = 600;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Fit {
    pub(super) plane: Plane,
    pub(super) networks: UganConfig,
    pub(super) training: UganTraining,
    pub(super) seed: u64,
    pub(super) samples: usize,
    pub(super) looks: usize,
}

/// A look at the averaged generator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Look {
    pub(super) update: usize,
    /// The temperature of the update before.
    pub(super) beta: f64,
    /// Unbiased squared discrepancy from exact samples, Gaussian kernel of width 1.
    pub(super) mmd: f64,
    /// Share of the samples with `x1 > 0`.
    pub(super) right: f64,
    pub(super) mean: [f64; 2],
    pub(super) variance: [f64; 2],
    /// Mean of `|x|`.
    pub(super) norm: f64,
    /// A few samples.
    pub(super) points: Vec<[f32; 2]>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Fitted {
    /// The first is that of the initial generator, the last of the trained one.
    pub(super) looks: Vec<Look>,
    /// Squared kernel Stein discrepancy, inverse multiquadric of offset 1, unbiased.
    pub(super) ksd: f64,
    /// The discrepancy of samples of the proposal.
    pub(super) proposal_mmd: f64,
    pub(super) log_z: f64,
    pub(super) log_z_error: f64,
    /// Effective share of the proposal's samples.
    pub(super) effective: f64,
    /// Seconds of updates.
    pub(super) seconds: f64,
    pub(super) updates: usize,
}

impl Fitted {
    pub(super) fn last(&self) -> &Look {
        // There are two at least.
        &self.looks[self.looks.len() - 1]
    }
}

impl Fit {
    /// The training as one of many.
    pub(super) fn cell(self, device: Device) -> Result<Cell<'static, Fitted>> {
        let updates = self.training.warm_up + self.training.updates;
        Ok(Cell {
            key: json(&self)?,
            updates,
            work: Box::new(move |ticker| self.run(&device, ticker)),
        })
    }

    fn run(&self, device: &Device, ticker: &Ticker) -> Result<Fitted> {
        // The same noise for every schedule: they are compared.
        let seed = Seed::new(self.seed).child("ugan").child(self.plane.name());
        let energy = self.plane.energy();
        let target = &*energy;
        let model = Ugan::new(&self.networks, seed.child("model"), device)?;
        let mut state = TrainState::new(&model, &self.training)?;
        let mut noise = noise::of_device(seed.child("train"), device);
        let exact = self.plane.sample(self.samples, &mut seed.child("exact").host_noise())?;
        let first = self.training.annealing.beta(0, self.training.updates)?;
        let mut looks = vec![self.look(&model, &state, &exact, first)?];
        let mut seconds = 0.0;
        while !state.finished(&self.training) {
            let started = Instant::now();
            let goal = (&target as &dyn Target, None);
            let terms = update(&model, &mut state, &self.training, goal, &mut *noise)?;
            seconds += started.elapsed().as_secs_f64();
            if state.iteration.is_multiple_of(TICK) {
                ticker.at(state.iteration, &[("objective", terms.objective)]);
            }
            let done = state.iteration.saturating_sub(self.training.warm_up);
            if done > 0 && looks.len() * self.training.updates / self.looks == done {
                looks.push(self.look(&model, &state, &exact, terms.beta)?);
            }
        }
        self.finish(&model, &state, (looks, seconds), &exact)
    }

    fn samples(&self, model: &Ugan, state: &TrainState, label: &str) -> Result<Tensor> {
        let mut noise = Seed::new(self.seed).child("look").child(label).host_noise();
        let n = self.samples;
        let draw = || model.generator().sample(None, n, &mut noise);
        Ok(state.averaged(model, draw)?.to_device(&Device::Cpu)?)
    }

    fn look(&self, model: &Ugan, state: &TrainState, exact: &Tensor, beta: f64) -> Result<Look> {
        let update = state.iteration.saturating_sub(self.training.warm_up);
        let x = self.samples(model, state, &format!("{update}"))?;
        let points: Vec<[f32; 2]> =
            x.to_vec2::<f32>()?.iter().map(|row| [row[0], row[1]]).collect();
        let n = points.len() as f64;
        let mean_of = |f: &dyn Fn([f64; 2]) -> f64| {
            points.iter().map(|p| f(p.map(f64::from))).sum::<f64>() / n
        };
        let mean = [0, 1].map(|axis| mean_of(&|p| p[axis]));
        let variance = [0, 1].map(|axis| mean_of(&|p| (p[axis] - mean[axis]).powi(2)));
        Ok(Look {
            update,
            beta,
            mmd: discrepancy(exact, &x)?,
            right: mean_of(&|p| f64::from(u8::from(p[0] > 0.0))),
            mean,
            variance,
            norm: mean_of(&|p| p[0].hypot(p[1])),
            points: points.into_iter().take(SHOWN).collect(),
        })
    }

    fn finish(
        &self,
        model: &Ugan,
        state: &TrainState,
        (looks, seconds): (Vec<Look>, f64),
        exact: &Tensor,
    ) -> Result<Fitted> {
        let mut noise = Seed::new(self.seed).child("finish").host_noise();
        let energy = self.plane.energy();
        let target = &*energy;
        let x = self.samples(model, state, "last")?;
        let scores = target.energy_and_grad(&host::tensor(&x)?)?.1.neg()?;
        let kernel = SteinKernel::Imq { offset: 1.0 };
        let ksd = score(ksd(rows(&x)?.view(), rows(&scores)?.view(), kernel))?.unbiased;
        let y = model.flow().sample(self.samples, &mut noise)?.to_device(&Device::Cpu)?;
        let LogPartition { log_z, std_error, effective_share } =
            log_partition(model.flow(), &target, self.samples, &mut noise)?;
        Ok(Fitted {
            looks,
            ksd,
            proposal_mmd: discrepancy(exact, &y)?,
            log_z,
            log_z_error: std_error,
            effective: effective_share,
            seconds,
            updates: self.training.warm_up + self.training.updates,
        })
    }
}

/// The unbiased squared discrepancy with a Gaussian kernel of width 1.
fn discrepancy(exact: &Tensor, x: &Tensor) -> Result<f64> {
    let options = MmdOptions { bandwidth: Bandwidth::Fixed(1.0), permutations: 0, seed: 0 };
    Ok(score(mmd(rows(exact)?.view(), rows(x)?.view(), &options))?.value)
}
