//! Tables 3 to 5 on digits: alpha, persistent chains, a classifier; outliers; refined samples.

use std::path::PathBuf;

use candle_core::{Device, Tensor};
use chains_core::{optim::AdamConfig, schedule::MultiStep};
use datasets::ImageSet;
use serde::{Deserialize, Serialize};
use vera::{
    Entropy, LatentPrior, TrainConfig, VeraModel,
    baselines::{EnergyLoss, Optimisation, PcdConfig},
};

use super::{
    super::seeds::seeds,
    digits_report::report,
    evaluate::{Look, Separation},
    fit::{Fit, Outcome, networks},
    methods::Method,
    refine::{Refinement, refine},
    stability::HALVED,
};
use crate::{
    data::usage,
    digits::{self, View, mnist_fid},
    error::Result,
    images::{Cut, Images},
    limits::{at_least, bad},
    request::Request,
    run::Run,
    run_dir::settings_table,
    training::{Cell, Ticker, cells, json},
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DigitSettings {
    pub(super) train_images: usize,
    pub(super) test_images: usize,
    /// Hidden layers of the energy: those of tables, halved.
    pub(super) hidden: Vec<usize>,
    /// Weight normalisation of the hidden layers, as published for MNIST as a table.
    pub(super) weight_norm: bool,
    pub(super) generator_width: usize,
    /// d.
    pub(super) latent: usize,
    /// alpha.
    pub(super) class_weights: Vec<f64>,
    /// Rate of the energy for alpha up to 1; a third of it above. Generator and posterior have twice
    /// the energy's.
    pub(super) rate: f64,
    /// k.
    pub(super) proposals: usize,
    /// lambda.
    pub(super) entropy_weight: f64,
    /// gamma.
    pub(super) gradient_penalty: f64,
    /// Steps of persistent chains.
    pub(super) chain_steps: usize,
    /// Noise on the data of persistent chains.
    pub(super) data_noise: Vec<f64>,
    pub(super) epochs: usize,
    pub(super) batch_size: usize,
    /// Seeds, from the root seed on.
    pub(super) seeds: usize,
    /// Images of every set of outliers, and as many test digits.
    pub(super) outliers: usize,
    /// Pairs on the sheet.
    pub(super) shown: usize,
    pub(super) refinement: Refinement,
}

fn resolve(request: &Request) -> Result<DigitSettings> {
    let scale = request.scale;
    let settings = request.settings(&DigitSettings {
        train_images: scale.pick(64, 8_000, 50_000),
        test_images: scale.pick(40, 1_000, 10_000),
        hidden: scale.pick(vec![16], HALVED.to_vec(), vec![1_000, 500, 500, 250, 250, 250]),
        weight_norm: scale.pick(false, false, true),
        generator_width: scale.pick(8, 200, 500),
        latent: scale.pick(4, 64, 128),
        class_weights: scale.pick(vec![100.0], vec![1.0, 30.0, 100.0], vec![1.0, 30.0, 100.0]),
        rate: 3e-4,
        proposals: scale.pick(2, 20, 20),
        entropy_weight: 1e-4,
        gradient_penalty: 0.1,
        chain_steps: scale.pick(2, 20, 20),
        data_noise: vec![0.0, 0.03],
        epochs: scale.pick(1, 20, 200),
        batch_size: scale.pick(16, 64, 64),
        seeds: scale.pick(1, 2, 3),
        outliers: scale.pick(20, 1_000, 10_000),
        shown: scale.pick(4, 40, 40),
        refinement: Refinement {
            samples: scale.pick(8, 400, 2_000),
            burn_in: scale.pick(2, 100, 500),
            adaptation_rate: scale.pick(0.1, 0.1, 0.02),
            steps: scale.pick(2, 100, 100),
        },
    })?;
    at_least(&[
        ("generator_width", settings.generator_width, 1),
        ("latent", settings.latent, 1),
        ("proposals", settings.proposals, 1),
        ("chain_steps", settings.chain_steps, 1),
        ("class_weights", settings.class_weights.len(), 1),
        ("epochs", settings.epochs, 1),
        ("batch_size", settings.batch_size, 2),
        ("train_images", settings.train_images, settings.batch_size),
        ("test_images", settings.test_images, 2),
        ("seeds", settings.seeds, 1),
        ("outliers", settings.outliers, 2),
        ("shown", settings.shown, 1),
        ("refinement.samples", settings.refinement.samples, settings.shown.max(2)),
    ])?;
    let rate = settings.refinement.adaptation_rate;
    if !(rate > 0.0 && rate < 1.0) {
        return bad("refinement.adaptation_rate", "must be between 0 and 1");
    }
    if settings.class_weights.iter().any(|alpha| !(*alpha > 0.0 && alpha.is_finite())) {
        return bad("class_weights", "must be positive");
    }
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

impl DigitSettings {
    pub(super) fn methods(&self) -> Vec<(String, Method)> {
        let mut all = Vec::new();
        for alpha in &self.class_weights {
            let rate = if *alpha > 1.0 { self.rate / 3.0 } else { self.rate };
            let config = TrainConfig {
                entropy: Entropy::ImportanceSampling { samples: self.proposals },
                gradient_penalty: self.gradient_penalty,
                class_weight: *alpha,
                batch_size: self.batch_size,
                ..TrainConfig::density(self.entropy_weight, [rate, 2.0 * rate, 2.0 * rate])
            };
            all.push((format!("VERA, alpha {alpha}"), Method::Vera(config)));
        }
        for data_noise in &self.data_noise {
            let optimisation = Optimisation {
                rate: MultiStep::constant(1e-4),
                adam: AdamConfig::standard(),
                batch_size: self.batch_size,
            };
            let config = PcdConfig {
                step_size: 1.0,
                data_noise: *data_noise,
                loss: EnergyLoss::classes(1.0, 0.0),
                ..PcdConfig::matched(0.01, self.chain_steps, optimisation)
            };
            let words = if *data_noise > 0.0 { data_noise.to_string() } else { "no".into() };
            all.push((format!("PCD, {words} noise on data"), Method::Pcd(config)));
        }
        let optimisation = Optimisation {
            rate: MultiStep::constant(self.rate),
            adam: AdamConfig::standard(),
            batch_size: self.batch_size,
        };
        all.push(("classifier".into(), Method::Classifier(optimisation)));
        all
    }
}

/// What a training gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) outcome: Outcome,
    /// Of a training that did not diverge.
    pub(super) evaluated: Option<Evaluated>,
    /// Of a game that did not diverge.
    pub(super) refined: Option<RefinedDigits>,
}

/// What a network says of test digits and others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Evaluated {
    /// Share of test digits, and its standard error.
    pub(super) accuracy: [f64; 2],
    /// Expected calibration error over fifteen bins.
    pub(super) calibration: f64,
    pub(super) separations: Vec<Separation>,
}

/// Chains from samples of digits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RefinedDigits {
    /// Mean `f` over steps: without prior, as in the paper, and with it.
    pub(super) densities: [Vec<f64>; 2],
    pub(super) acceptances: [f64; 2],
    pub(super) step_sizes: [f64; 2],
    /// Feature distance by network `a`: real digits, raw and refined samples, without prior and with.
    pub(super) distances: [f64; 4],
    /// Samples, raw and refined without prior, `(2, shown, 784)`.
    pub(super) sheet: Vec<f32>,
}

/// What all trainings share.
struct Shared<'a> {
    images: &'a Images,
    outliers: Vec<(String, ImageSet)>,
    settings: &'a DigitSettings,
    root: PathBuf,
    device: Device,
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let cut = Cut {
        train: settings.train_images,
        validation: 0,
        test: settings.test_images,
        pooled: false,
    };
    let images = Images::mnist(run.request, &cut)?;
    let shared = Shared {
        outliers: outliers(run.request, &images.test, settings.outliers)?,
        images: &images,
        settings: &settings,
        root: run.request.root.clone(),
        device: run.request.device.clone(),
    };
    let (methods, seeds) = (settings.methods(), seeds(run.request.seed, settings.seeds));
    let mut all = Vec::new();
    for (name, method) in &methods {
        for seed in &seeds {
            let fit = Fit {
                name: name.clone(),
                model: networks(
                    &settings.hidden,
                    settings.weight_norm,
                    [settings.latent, settings.generator_width],
                ),
                method: method.clone(),
                updates: settings.epochs * (settings.train_images / settings.batch_size),
                seed: *seed,
            };
            let evaluated = (settings.outliers, settings.shown, &settings.refinement);
            let key = json(&("jem-mnist", &fit, images.digest(), evaluated))?;
            let (shared, updates) = (&shared, fit.updates);
            let work = Box::new(move |ticker: &_| shared.fit(&fit, ticker));
            all.push(Cell { key, updates, work });
        }
    }
    let found = cells(run, "train", all)?;
    report(run, &settings, &methods, &found)
}

/// Images that are no digits, or no whole ones.
fn outliers(request: &Request, test: &ImageSet, n: usize) -> Result<Vec<(String, ImageSet)>> {
    let n = n.min(test.len());
    let test = test.range(0..n);
    let mut noise = request.stream().child("outliers").host_noise();
    let shape = [1, 28, 28];
    let sets = [
        ("uniform noise", ImageSet::uniform_noise(n, shape, &mut noise).map_err(usage)?),
        ("one level", ImageSet::constant(n, shape, &mut noise).map_err(usage)?),
        ("rotated by 90 degrees", test.rotated90()),
        ("permuted pixels", test.permuted(request.stream().child("permutation"))),
        ("averages of two", test.interpolated()),
    ];
    Ok(sets.into_iter().map(|(name, set)| (name.to_owned(), set)).collect())
}

impl Shared<'_> {
    fn fit(&self, fit: &Fit, ticker: &Ticker) -> Result<Found> {
        let (model, outcome) = fit.train(&self.images.train, &self.device, ticker)?;
        if outcome.diverged.is_some() {
            return Ok(Found { outcome, evaluated: None, refined: None });
        }
        let game = matches!(fit.method, Method::Vera(_));
        let refined = game.then(|| self.refined(&model, fit)).transpose()?;
        Ok(Found { outcome, evaluated: Some(self.evaluated(&model)?), refined })
    }

    fn evaluated(&self, model: &VeraModel) -> Result<Evaluated> {
        let test = &self.images.test;
        let (accuracy, calibration) = Look::of(model, test, false)?.classes(&test.labels)?;
        let own = test.range(0..self.settings.outliers.min(test.len()));
        let own = Look::of(model, &own, true)?;
        let separation = |(name, set): &(String, ImageSet)| {
            Separation::of(name, &own, &Look::of(model, set, true)?)
        };
        Ok(Evaluated {
            accuracy: [accuracy.value, accuracy.std_error],
            calibration: calibration.ece,
            separations: self.outliers.iter().map(separation).collect::<Result<_>>()?,
        })
    }

    fn refined(&self, model: &VeraModel, fit: &Fit) -> Result<RefinedDigits> {
        let settings = &self.settings.refinement;
        let chains = |prior| {
            // The same stream: both kinds of chains begin at the same samples.
            let mut noise = fit.seed().child("refine").host_noise();
            refine(model, settings, prior, &mut noise, &mut |_| Ok(()))
        };
        let (plain, prior) = (chains(LatentPrior::None)?, chains(LatentPrior::Gaussian)?);
        let judges = digits::open(&self.root, &self.device)?;
        let n = settings.samples.min(self.images.test.len() / 2);
        let [reference, floor] = digits::halves(&self.images.test, n)?;
        let reference = View::of_set(&judges[0], &reference, &mut ())?;
        let distance = |view: View| Ok::<_, crate::Error>(mnist_fid(&view, &reference)?.value);
        let of = |x: &Tensor| {
            // From [-1, 1] to [0, 1).
            let x = x.narrow(0, 0, n)?.affine(0.5, 0.5)?.affine(255.0 / 256.0, 0.0)?;
            distance(View::of_floats(&judges[0], &x, &mut ())?)
        };
        let shown = |x: &Tensor| -> Result<Vec<f32>> {
            Ok(x.narrow(0, 0, self.settings.shown)?.flatten_all()?.to_vec1()?)
        };
        Ok(RefinedDigits {
            distances: [
                distance(View::of_set(&judges[0], &floor, &mut ())?)?,
                of(&plain.raw)?,
                of(&plain.refined)?,
                of(&prior.refined)?,
            ],
            sheet: [shown(&plain.raw)?, shown(&plain.refined)?].concat(),
            acceptances: [plain.acceptance, prior.acceptance],
            step_sizes: [plain.step_size, prior.step_size],
            densities: [plain.densities, prior.densities],
        })
    }
}

#[cfg(test)]
mod tests;
