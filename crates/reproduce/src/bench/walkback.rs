//! W04 and W05: walkback training of convolutional operators on images.

use candle_core::{DType, Tensor};
use chains_core::{Seed, chain::Step};
use datasets::{Mnist, find_mnist};
use walkback::{
    Learner, ModelConfig, NormEps, Statistics, TrainConfig, TrainState, WalkbackModel, update,
};

use super::{Bed, Workload};
use crate::{data::usage, error::Result};

const BATCH: usize = 64;
/// K of the MNIST operator, whose walk is one unit.
const STEPS: usize = 30;

/// Multiply-adds of a row of the MNIST operator: encoder, dense layers, one branch.
const MNIST: [f64; 3] = [705_600.0, 6_356_992.0, 705_600.0];
/// Of the first layer, whose input needs no gradient.
const MNIST_FIRST: f64 = 78_400.0;
/// Multiply-adds of a row of the CIFAR-10 operator without its variance branch.
const CIFAR: f64 = 84_246_528.0;
const CIFAR_FIRST: f64 = 1_228_800.0;

pub(super) fn workloads() -> Vec<Workload> {
    let [encoder, dense, branch] = MNIST;
    // The draw runs both branches, the loss one.
    let learnt = encoder + dense + branch;
    let walk = learnt + branch + 3.0 * learnt - MNIST_FIRST;
    vec![
        Workload {
            id: "W04",
            title: "walkback-mnist-conv-train: 30 updates, batch 64",
            gflop: Some(2e-9 * (BATCH * STEPS) as f64 * walk),
            repeats: 15,
            host: false,
            build: |bed| {
                let mut update = updates(bed)?;
                Ok(Box::new(move || update().map(drop)))
            },
        },
        Workload {
            id: "W05",
            title: "walkback-cifar-conv-step: 1 update, batch 64",
            gflop: Some(2e-9 * BATCH as f64 * (3.0 * CIFAR - CIFAR_FIRST)),
            repeats: 15,
            host: false,
            build: |bed| {
                let mut step = step(bed)?;
                Ok(Box::new(move || step().map(drop)))
            },
        },
    ]
}

/// The operator of a preset with initial weights and the small numbers of the definition.
fn model(bed: &Bed, mut config: ModelConfig, steps: usize) -> Result<WalkbackModel> {
    config.network.steps = steps;
    config.network.norm_eps = NormEps::InVariance;
    Ok(WalkbackModel::new(config, Seed::new(0), &bed.device)?)
}

/// A walk of 30 online updates from 64 images, with its mean loss.
pub(super) fn updates(bed: &Bed) -> Result<impl FnMut() -> Result<f64> + use<>> {
    let files = Mnist::load(&find_mnist(None, &bed.root).map_err(usage)?)?;
    let mut noise = Seed::new(0).child("bench").child("dequantise").host_noise();
    let indices: Vec<usize> = (0..BATCH).collect();
    let x = datasets::dequantise(&files.train.gather(&indices), &mut noise);
    let x = Tensor::from_vec(x, (BATCH, 784), &bed.device)?;
    let (model, config) = (model(bed, ModelConfig::mnist(), STEPS)?, TrainConfig::images());
    let mut state = TrainState::new(config.adam);
    let mut noise = bed.noise("train");
    Ok(move || {
        let walked = update(&model, &mut state, &config, 1e-4, &x, &mut *noise)?;
        Ok(walked.losses.iter().sum::<f64>() / STEPS as f64)
    })
}

/// One online update on given states `s` and `clip(0.5 s + 0.5 u)`, with its loss.
pub(super) fn step(bed: &Bed) -> Result<impl FnMut() -> Result<f64> + use<>> {
    let (model, config) = (model(bed, ModelConfig::cifar10(), 1)?, TrainConfig::images());
    let shape = (BATCH, model.config().network.dim());
    // Smooth images stand for the photographs, which do not influence the time.
    let level = bed.values("level", &[BATCH, 1])?.affine(0.2, 0.5)?;
    let before = (bed.values("pixels", &[shape.0, shape.1])? * 0.1)?.broadcast_add(&level)?;
    let before = before.clamp(0.0, 1.0)?;
    let mut noise = bed.noise("step");
    let u = noise.uniform(&shape.into(), DType::F32, &bed.device)?;
    let after = ((&before * 0.5)? + (u * 0.5)?)?.clamp(0.0, 1.0)?;
    let mut state = TrainState::new(config.adam);
    Ok(move || {
        let learner = Learner {
            drawing: &model.operator(Statistics::Batch),
            learning: &model.live_operator().learning(),
            store: model.store(),
            heating: model.heating(0),
        };
        let states = [&before, &after];
        Ok(learner.step(&mut state.adam, &config, 1e-4, states, Step::at(0))?)
    })
}
