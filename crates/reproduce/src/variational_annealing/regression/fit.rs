//! All methods on one split.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Noise, Seed,
    chain::{Kernel, StepSchedule, chain},
    host,
    mcmc::{Adapted, Hmc, StepSizeRule},
    noise,
};
use datasets::Table;
use serde::{Deserialize, Serialize};
use variational_annealing::{
    logistic::{LogisticPosterior, map_estimate, predict},
    svgd::{Svgd, SvgdConfig},
    ugan::{Target, TrainState, Ugan, update},
};

use super::{
    data::{Half, Set, split},
    settings::RegressionSettings,
};
use crate::{
    error::Result,
    training::{Cell, Ticker, json},
};

/// Updates between two signs of life.
const TICK: usize = 50;

/// The methods, in the order of the tables.
pub(super) const METHODS: [&str; 4] = ["HMC", "U-GAN", "SVGD", "MAP, alpha = 1"];
/// Places of two of them.
pub(super) const UGAN: usize = 1;
pub(super) const SVGD: usize = 2;

/// What a method gave on a split.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) accuracy: f64,
    /// Mean log predictive probability of a test row, nats.
    pub(super) log_likelihood: f64,
    /// Mean and standard deviation of every coordinate, `eta` last; a point has no deviation.
    pub(super) mean: Vec<f64>,
    pub(super) deviation: Vec<f64>,
    pub(super) seconds: f64,
}

impl Outcome {
    /// `E[log alpha]`.
    pub(super) fn eta(&self) -> f64 {
        self.mean.last().copied().unwrap_or(f64::NAN)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Fitted {
    /// One for each of [`METHODS`].
    pub(super) outcomes: Vec<Outcome>,
    /// Share of the proposals that the chains accepted.
    pub(super) acceptance: f64,
}

/// The methods on a split as one of many cells.
pub(super) fn cell<'a>(
    settings: &'a RegressionSettings,
    (table, set): (&'a Table, Set),
    index: u64,
    device: &'a Device,
) -> Result<Cell<'a, Fitted>> {
    let updates = settings.warm_up + settings.updates;
    let work = move |ticker: &Ticker| {
        let [train, test] = split(table, set, index)?;
        let seed = Seed::new(index).child("regression").child(set.name);
        let job = Job { settings, train, test, seed, device };
        let posterior = LogisticPosterior::new(&job.train.inputs, &job.train.labels)?;
        let exact = job.train.inputs.to_dtype(DType::F64)?;
        let (hmc, acceptance) = job.hmc(&LogisticPosterior::new(&exact, &job.train.labels)?)?;
        let there =
            LogisticPosterior::new(&job.train.inputs.to_device(device)?, &job.train.labels)?;
        let outcomes = vec![hmc, job.ugan(&there, ticker)?, job.svgd(&posterior)?, job.map()?];
        Ok(Fitted { outcomes, acceptance })
    };
    // Other sets and other numbers of splits do not change the result.
    let settings = RegressionSettings { sets: Vec::new(), splits: 0, ..settings.clone() };
    Ok(Cell { key: json(&(settings, set.name, index))?, updates, work: Box::new(work) })
}

struct Job<'a> {
    settings: &'a RegressionSettings,
    train: Half,
    test: Half,
    seed: Seed,
    device: &'a Device,
}

impl Job<'_> {
    fn outcome(&self, theta: &Tensor, started: Instant) -> Result<Outcome> {
        let seconds = started.elapsed().as_secs_f64();
        let theta = host::tensor(theta)?;
        let found = predict(&theta, &self.test.inputs, &self.test.labels)?;
        let mean = theta.mean(0)?;
        let variance = theta.broadcast_sub(&mean)?.sqr()?.mean(0)?;
        Ok(Outcome {
            accuracy: found.accuracy,
            log_likelihood: found.log_likelihood,
            mean: mean.to_vec1()?,
            deviation: variance.sqrt()?.to_vec1()?,
            seconds,
        })
    }

    /// `w ~ N(0, 0.1^2)`, `eta = 0`.
    fn start(&self, n: usize, dim: usize, label: &str) -> Result<Tensor> {
        let mut noise = self.seed.child(label).host_noise();
        let w = noise.normal(&(n, dim - 1).into(), DType::F32, &Device::Cpu)?;
        let eta = Tensor::zeros((n, 1), DType::F32, &Device::Cpu)?;
        Ok(Tensor::cat(&[(w * 0.1)?, eta], 1)?)
    }

    fn hmc(&self, posterior: &LogisticPosterior) -> Result<(Outcome, f64)> {
        let RegressionSettings { chains, burn_in, kept, leapfrog, .. } = *self.settings;
        let started = Instant::now();
        let mut noise = self.seed.child("hmc").host_noise();
        let rule = StepSizeRule { target: 0.8, ..StepSizeRule::decoder_models() };
        let adapted = Adapted::new(Hmc::new(posterior, leapfrog, 0.02)?, rule)?;
        let start = self.start(chains, posterior.dim(), "hmc start")?.to_dtype(DType::F64)?;
        let schedule = StepSchedule { len: burn_in };
        let mut state = adapted.kernel().init(start.clone())?;
        if let Some(last) = chain(&adapted, start, &schedule, &mut noise)?.last() {
            state = last?.state.state;
        }
        let (mut samples, mut acceptance) = (Vec::new(), 0.0);
        for index in 0..kept {
            let at = chains_core::chain::Step::at(index);
            let (next, info) = adapted.kernel().step(&state, at, &mut noise)?;
            acceptance += info.acceptance()? / kept as f64;
            samples.push(next.position.clone());
            state = next;
        }
        Ok((self.outcome(&Tensor::cat(&samples, 0)?, started)?, acceptance))
    }

    fn ugan(&self, posterior: &LogisticPosterior, ticker: &Ticker) -> Result<Outcome> {
        let (training, started) = (self.settings.training()?, Instant::now());
        let networks = self.settings.networks(posterior.dim());
        let model = Ugan::new(&networks, self.seed.child("model"), self.device)?;
        let mut state = TrainState::new(&model, &training)?;
        let mut noise = noise::of_device(self.seed.child("ugan"), self.device);
        while !state.finished(&training) {
            let target = (posterior as &dyn Target, None);
            let terms = update(&model, &mut state, &training, target, &mut *noise)?;
            if state.iteration.is_multiple_of(TICK) {
                ticker.at(state.iteration, &[("objective", terms.objective)]);
            }
        }
        let n = self.settings.samples;
        let draw = || model.generator().sample(None, n, &mut *noise);
        let theta = state.averaged(&model, draw)?;
        self.outcome(&theta, started)
    }

    fn svgd(&self, posterior: &LogisticPosterior) -> Result<Outcome> {
        let started = Instant::now();
        let start = self.start(self.settings.particles, posterior.dim(), "particles")?;
        let mut svgd = Svgd::new(SvgdConfig::published(), &start)?;
        for _ in 0..self.settings.svgd_steps {
            svgd.step(posterior)?;
        }
        self.outcome(svgd.particles(), started)
    }

    fn map(&self) -> Result<Outcome> {
        let started = Instant::now();
        let w = map_estimate(&self.train.inputs, &self.train.labels, 1.0)?;
        // The precision that was fixed: eta = 0.
        let eta = Tensor::zeros((1, 1), DType::F32, &Device::Cpu)?;
        self.outcome(&Tensor::cat(&[w, eta], 1)?, started)
    }
}
