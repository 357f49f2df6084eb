//! W01 to W03: infusion training on MNIST, sampling, the bound.

use candle_core::Tensor;
use chains_core::{
    Seed,
    nn::Statistics,
    optim::{Adam, AdamConfig},
};
use datasets::{ImageSet, Mnist, find_mnist};
use infusion::{
    EstimateOptions, InfusionModel, ModelConfig, Moments, SampleOptions, TrainConfig, estimate,
    generate, update,
};

use super::{Bed, Unit, Workload};
use crate::{data::usage, error::Result};

/// Multiply-adds of a row in the network 784-1200-1200-(784, 784).
const FORWARD: f64 = (784 * 1200 + 1200 * 1200 + 1200 * 1568) as f64;
/// Of the first layer, whose input needs no gradient.
const FIRST: f64 = (784 * 1200) as f64;
const STEPS: usize = 15;
const BATCH: usize = 128;

pub(super) fn workloads() -> Vec<Workload> {
    let train = |id, title, [batch, steps]: [usize; 2], build| {
        let gflop = Some(2e-9 * (batch * steps) as f64 * (3.0 * FORWARD - FIRST));
        Workload { id, title, gflop, repeats: 15, host: false, build }
    };
    vec![
        train("W01", "infusion-mnist-train: 1 update, batch 128", [BATCH, STEPS], |bed| {
            self::train(bed, [BATCH, STEPS])
        }),
        train("W01b", "the same, batch 256", [2 * BATCH, STEPS], |bed| {
            self::train(bed, [2 * BATCH, STEPS])
        }),
        train("W01t", "the same, batch 128, 30 steps", [BATCH, 2 * STEPS], |bed| {
            self::train(bed, [BATCH, 2 * STEPS])
        }),
        Workload {
            id: "W02",
            title: "infusion-mnist-sample: 30 steps, 1,000 images",
            gflop: Some(2e-9 * (1_000 * 30) as f64 * FORWARD),
            repeats: 7,
            host: false,
            build: sample,
        },
        Workload {
            id: "W03",
            title: "infusion-mnist-bound: 100 images x 100 chains",
            gflop: Some(2e-9 * (10_000 * STEPS) as f64 * FORWARD),
            repeats: 3,
            host: false,
            build: bound,
        },
    ]
}

/// The MNIST model with initial weights, and the prior of the first 10,000 training images.
fn model(bed: &Bed, files: &Mnist, steps: usize) -> Result<InfusionModel> {
    let mut config = ModelConfig::mnist();
    config.network.steps = steps;
    let model = InfusionModel::new(config, Seed::new(0), &bed.device)?;
    let mut moments = Moments::default();
    moments.push(&images(bed, &files.train, 10_000)?)?;
    let variance: Vec<f64> = moments.variance().iter().map(|v| v + 1e-5).collect();
    model.set_prior(&moments.mean(), &variance)?;
    Ok(model)
}

/// The first `n` images, dequantised, `(n, 784)`.
fn images(bed: &Bed, set: &ImageSet, n: usize) -> Result<Tensor> {
    let indices: Vec<usize> = (0..n).collect();
    let mut noise = Seed::new(0).child("bench").child("dequantise").host_noise();
    let values = datasets::dequantise(&set.gather(&indices), &mut noise);
    Ok(Tensor::from_vec(values, (n, 784), &bed.device)?)
}

fn files(bed: &Bed) -> Result<Mnist> {
    Ok(Mnist::load(&find_mnist(None, &bed.root).map_err(usage)?)?)
}

/// An update of so many images and steps with its loss, for the check that training goes on.
pub(super) fn updates(
    bed: &Bed,
    [batch, steps]: [usize; 2],
) -> Result<impl FnMut() -> Result<f64> + use<>> {
    let files = files(bed)?;
    let (model, x) = (model(bed, &files, steps)?, images(bed, &files.train, batch)?);
    let mut adam = Adam::new(AdamConfig::standard());
    let config = TrainConfig { batch_size: batch, ..TrainConfig::published() };
    let mut noise = bed.noise("train");
    Ok(move || Ok(update(&model, &mut adam, &config, 1e-3, &x, &mut *noise)?))
}

fn train(bed: &Bed, size: [usize; 2]) -> Result<Unit> {
    let mut update = updates(bed, size)?;
    Ok(Box::new(move || update().map(drop)))
}

fn sample(bed: &Bed) -> Result<Unit> {
    let model = model(bed, &files(bed)?, STEPS)?;
    let mut noise = bed.noise("sample");
    Ok(Box::new(move || {
        generate(&model, 1_000, &SampleOptions::new(30), &mut *noise, |_, _| Ok(()))?;
        Ok(())
    }))
}

fn bound(bed: &Bed) -> Result<Unit> {
    let files = files(bed)?;
    let (model, x) = (model(bed, &files, STEPS)?, images(bed, &files.test, 100)?);
    let mut noise = bed.noise("bound");
    Ok(Box::new(move || {
        let (operator, prior) = (model.operator(Statistics::Running), model.prior()?);
        let chain = model.infusion_chain(&operator, &prior);
        estimate(&chain, &x, &EstimateOptions::new(100), &mut *noise, &mut |_| Ok(()))?;
        Ok(())
    }))
}
