//! One GAN of the grid: trained, drawn from, scored.

use std::{sync::Arc, time::Instant};

use candle_core::{Device, Tensor};
use chains_core::{Seed, noise, train::Observer};
use datasets::{ImageSet, Mnist, Shuffle};
use serde::{Deserialize, Serialize};
use variational_annealing::{
    GanConfig, GanModel, Objective, TrainConfig, TrainState, quantise, update,
};

use super::settings::GridSettings;
use crate::{
    data::usage,
    digits::{self, Judge, View, classifier_score, mnist_fid, prdc},
    error::Result,
    images::blocks,
    request::Request,
    results::Metric,
    run::Run,
    training::{Cell, Ticker, json},
};

/// Iterations between two signs of life, and whose means are a point of a curve.
const LOOK: usize = 50;
/// Images that are drawn at a time.
const BLOCK: usize = 250;

/// One training.
#[derive(Clone, Debug, Serialize)]
pub(super) struct GanCell {
    /// Name of the column.
    pub(super) term: String,
    pub(super) networks: GanConfig,
    pub(super) train: TrainConfig,
    pub(super) seed: u64,
    /// As many as the schedule is of, or none.
    pub(super) iterations: usize,
    pub(super) samples: usize,
    pub(super) shown: usize,
}

/// Means over some iterations.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Look {
    pub(super) iteration: usize,
    pub(super) critic: f64,
    pub(super) generator: f64,
    pub(super) denoiser: f64,
}

/// What a training gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) looks: Vec<Look>,
    pub(super) seconds: f64,
    /// `mnist-fid`, `classifier-score`, `precision`, `recall`, `density`, `coverage`.
    pub(super) metrics: Vec<Metric>,
    /// Bytes of the first samples.
    pub(super) pictures: Vec<u8>,
}

impl Outcome {
    /// The number of that name.
    pub(super) fn value(&self, name: &str) -> f64 {
        self.metrics.iter().find(|m| m.name == name).map_or(f64::NAN, |m| m.value)
    }
}

/// What all trainings read.
pub(super) struct Shared {
    train: ImageSet,
    judge: Judge,
    reference: View,
    /// Other real digits against the reference.
    pub(super) floor: View,
}

impl Shared {
    pub(super) fn new(
        files: &Mnist,
        judge: Judge,
        settings: &GridSettings,
        run: &mut Run<'_>,
    ) -> Result<Self> {
        let [reference, floor] = digits::halves(&files.test, settings.samples)?;
        let observer = run.observer()?;
        let reference = View::of_set(&judge, &reference, observer)?;
        let floor = View::of_set(&judge, &floor, observer)?;
        let n = settings.train_images;
        if n > files.train.len() {
            return crate::limits::bad("train_images", "there are not as many");
        }
        Ok(Self { train: files.train.range(0..n), judge, reference, floor })
    }

    /// The scores of a view against the reference.
    pub(super) fn scores(&self, view: &View) -> Result<Vec<Metric>> {
        let mut all = vec![mnist_fid(view, &self.reference)?, classifier_score(view)?];
        all.extend(prdc(view, &self.reference)?);
        Ok(all)
    }
}

impl GanCell {
    /// Objective, term and seed.
    pub(super) fn label(&self) -> String {
        format!("{}, {}, seed {}", name(self.train.objective), self.term, self.seed)
    }

    /// Numbers of a feature.
    pub(super) fn features(&self) -> usize {
        self.networks.denoiser.features
    }

    /// The training as one of many.
    pub(super) fn work(
        self,
        shared: Arc<Shared>,
        request: &Request,
    ) -> Result<Cell<'static, Outcome>> {
        let key = json(&(&self, shared.train.digest(), digits::SHIPPED))?;
        let (updates, device) = (self.iterations, request.device.clone());
        let work = move |ticker: &Ticker| self.run(&shared, &device, ticker);
        Ok(Cell { key, updates, work: Box::new(work) })
    }

    fn run(&self, shared: &Shared, device: &Device, ticker: &Ticker) -> Result<Outcome> {
        // Cells of one seed begin with the same weights and see the same images.
        let seed = Seed::new(self.seed).child("mnist-gan");
        let model = GanModel::new(self.networks.clone(), seed.child("model"), device)?;
        let (looks, seconds) = self.train(&model, shared, seed, ticker)?;
        let mut noise = noise::of_device(seed.child("samples"), device);
        let mut drawn = Vec::new();
        for block in blocks(self.samples, BLOCK) {
            drawn.push(quantise(&model.sample(block.len(), &mut *noise)?)?);
        }
        let drawn = Tensor::cat(&drawn, 0)?;
        // Nobody listens in a cell.
        let mut silent: Vec<Box<dyn Observer>> = Vec::new();
        let view = View::of_bytes(&shared.judge, &drawn, &mut silent)?;
        let pictures = drawn.narrow(0, 0, self.shown)?.flatten_all()?.to_vec1::<u8>()?;
        Ok(Outcome { looks, seconds, metrics: shared.scores(&view)?, pictures })
    }

    fn train(
        &self,
        model: &GanModel,
        shared: &Shared,
        seed: Seed,
        ticker: &Ticker,
    ) -> Result<(Vec<Look>, f64)> {
        let mut state = TrainState::new(&self.train);
        let batch_size = self.train.batch_size * self.train.critic_steps;
        let (n, order) = (shared.train.len(), seed.child("order"));
        let mut batches =
            Shuffle { n, batch_size, seed: order, drop_last: true }.batches().map_err(usage)?;
        let mut noise = noise::of_device(seed.child("noise"), model.store().device());
        let (mut looks, mut sums) = (Vec::new(), [0.0; 3]);
        let started = Instant::now();
        for iteration in 1..=self.iterations {
            let indices = batches.next_batch();
            let [c, h, w] = self.networks.discriminator.event;
            let x = shared.train.symmetric(indices).map_err(usage)?;
            let x = x.reshape((batch_size, c, h, w))?.to_device(model.store().device())?;
            let terms = update(model, &mut state, &self.train, &x, &mut *noise)?;
            let found = [terms.critic, terms.generator, terms.denoiser];
            sums.iter_mut().zip(found).for_each(|(sum, value)| *sum += value / LOOK as f64);
            if iteration.is_multiple_of(LOOK) {
                let [critic, generator, denoiser] = std::mem::take(&mut sums);
                looks.push(Look { iteration, critic, generator, denoiser });
                ticker.at(iteration, &[("critic_loss", critic), ("generator_loss", generator)]);
            }
        }
        Ok((looks, started.elapsed().as_secs_f64()))
    }
}

/// An objective in a table.
pub(super) fn name(objective: Objective) -> &'static str {
    match objective {
        Objective::Jsd => "JSD",
        Objective::Rkl => "RKL",
        Objective::RklDual => "RKL (dual)",
        Objective::WGanGp => "W-GP",
    }
}
