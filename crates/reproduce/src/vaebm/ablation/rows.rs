//! The rows: each is trained and sampled for itself.

use std::time::Instant;

use candle_core::{DType, Tensor};
use chains_core::{ParamStore, host};
use vaebm::{
    EnergyModel, VaebmModel,
    energy::{EnergyNet, EnergyPair},
};

use super::{
    super::digits::{
        base::{Base, product},
        data::Digits,
        energy::train_energy,
        health::curves,
        samples::{draw, means},
    },
    game::{GameRecipe, Played, play},
    learning::{Learnt, plot},
    pixels,
    settings::{AblationSettings, Row},
};
use crate::{
    error::{Error, Result},
    run::Run,
};

/// What a row came to.
pub(super) struct Outcome {
    pub(super) row: Row,
    /// `(n, 1, 28, 28)`; none if there are no samples that are numbers.
    pub(super) images: Option<Tensor>,
    /// Updates made, until the last saved state of a training that broke.
    pub(super) updates: usize,
    /// Seconds of training, and of samples.
    pub(super) seconds: [f64; 2],
    /// Everything that was followed.
    pub(super) followed: Vec<f64>,
    /// What broke, and when.
    pub(super) broken: Option<String>,
}

/// What rows are made of.
pub(super) struct Parts<'a> {
    pub(super) settings: &'a AblationSettings,
    pub(super) digits: &'a Digits,
    pub(super) base: &'a Base,
}

/// Trains and samples a row. One that diverges is reported and stops nothing.
///
/// # Errors
/// Every other error.
pub(super) fn make(run: &mut Run<'_>, parts: &Parts<'_>, row: Row) -> Result<Outcome> {
    run.heading(row.title());
    let found = match row {
        Row::Nvae => autoencoder(run, parts),
        Row::Pixels => on_pixels(run, parts, row, false),
        Row::PixelsNvae => on_pixels(run, parts, row, true),
        Row::Wgan => wgan(run, parts),
        Row::Vaebm => vaebm(run, parts),
        Row::VaebmDecoder => extension(run, parts),
    };
    let mut outcome = match found {
        // Before its first saved state.
        Err(Error::Diverged { source, .. }) => Outcome {
            row,
            images: None,
            updates: 0,
            seconds: [0.0; 2],
            followed: Vec::new(),
            broken: Some(source.to_string()),
        },
        other => other?,
    };
    if let Some(images) = &outcome.images
        && !host::scalar(&images.sum_all()?)?.is_finite()
    {
        outcome.images = None;
        outcome.broken.get_or_insert("samples are not finite".into());
    }
    Ok(outcome)
}

/// An outcome of a training in this module; `started` is when samples were begun.
fn outcome(row: Row, learnt: Learnt, images: Tensor, started: Instant) -> Outcome {
    Outcome {
        row,
        images: Some(images),
        updates: learnt.updates,
        seconds: [learnt.seconds, started.elapsed().as_secs_f64()],
        followed: learnt.curve.iter().flat_map(|point| point.means.clone()).collect(),
        broken: learnt.broken,
    }
}

fn autoencoder(run: &mut Run<'_>, parts: &Parts<'_>) -> Result<Outcome> {
    let started = Instant::now();
    let seed = run.request.stream().child("generate");
    let decoder = parts.base.model.decoder()?;
    let images = means(&decoder, parts.settings.samples, seed, run.observer()?)?;
    Ok(Outcome {
        row: Row::Nvae,
        images: Some(images),
        updates: 0,
        seconds: [0.0, started.elapsed().as_secs_f64()],
        followed: Vec::new(),
        broken: None,
    })
}

fn on_pixels(
    run: &mut Run<'_>,
    parts: &Parts<'_>,
    row: Row,
    from_samples: bool,
) -> Result<Outcome> {
    let recipe = parts.settings.pixels(from_samples);
    let stage = format!("train-{}", row.name());
    let (pair, learnt) = pixels::train(run, parts.digits, parts.base, &recipe, &stage)?;
    plot(run, row.name(), &learnt.curve)?;
    let started = Instant::now();
    let images = pixels::samples(run, &pair, parts.base, &recipe, parts.settings.samples)?;
    Ok(outcome(row, learnt, images, started))
}

fn wgan(run: &mut Run<'_>, parts: &Parts<'_>) -> Result<Outcome> {
    let recipe = parts.settings.wgan();
    let seed = run.request.stream().child("vaebm").child("critic");
    let (pair, norms) = pixels::critic(recipe.width, seed, run)?;
    let networks = (parts.digits, parts.base);
    let energy = (pair, Some(norms));
    let Played { autoencoder, learnt, .. } = play(run, networks, energy, &recipe, "train-wgan")?;
    plot(run, Row::Wgan.name(), &learnt.curve)?;
    let started = Instant::now();
    let seed = run.request.stream().child("generate");
    let decoder = autoencoder.decoder()?;
    let images = means(&decoder, parts.settings.samples, seed, run.observer()?)?;
    Ok(outcome(Row::Wgan, learnt, images, started))
}

/// Samples of a product, and seconds; the model is kept.
fn samples(
    run: &mut Run<'_>,
    parts: &Parts<'_>,
    row: Row,
    model: &VaebmModel,
) -> Result<(Tensor, Instant)> {
    model.save(&run.dir().checkpoints().join(row.name().replace('_', "-")))?;
    let started = Instant::now();
    let seed = run.request.stream().child("generate");
    let chains = model.config().chains;
    let drawn = draw(model, parts.settings.samples, chains, seed, run.observer()?)?;
    Ok((drawn.images, started))
}

fn vaebm(run: &mut Run<'_>, parts: &Parts<'_>) -> Result<Outcome> {
    let recipe = parts.settings.vaebm();
    let Parts { digits, base, .. } = parts;
    let trained = train_energy(run, digits, (&base.model, &base.name), &recipe, "train-vaebm")?;
    curves(run, Row::Vaebm.name(), &trained.curve)?;
    let model = product(run, base, trained.last(&run.request.device)?, &recipe)?;
    let (images, started) = samples(run, parts, Row::Vaebm, &model)?;
    let followed = trained.curve.iter().flat_map(|point| point.means.iter().copied());
    Ok(Outcome {
        row: Row::Vaebm,
        images: Some(images),
        updates: trained.end,
        seconds: [trained.seconds, started.elapsed().as_secs_f64()],
        followed: followed.collect(),
        broken: None,
    })
}

fn extension(run: &mut Run<'_>, parts: &Parts<'_>) -> Result<Outcome> {
    let recipe: GameRecipe = parts.settings.extension();
    let config = parts.settings.network();
    // The beginning of row e.
    let seed = run.request.stream().child("vaebm").child("energy").child("model");
    let device = &run.request.device;
    let store = ParamStore::new(seed, DType::F32, device);
    let pair = EnergyPair::new(store, |vb| EnergyNet::new(&config, vb))?;
    let networks = (parts.digits, parts.base);
    let stage = "train-vaebm-decoder";
    let Played { pair, autoencoder, learnt } = play(run, networks, (pair, None), &recipe, stage)?;
    plot(run, Row::VaebmDecoder.name(), &learnt.curve)?;
    let energy = EnergyModel::new(config, seed, device)?;
    for (name, var) in energy.store().all() {
        if let Some(own) = pair.store().get(&name) {
            var.set(&own.as_detached_tensor())?;
        }
    }
    let chains = recipe.train.test_chains();
    let model = VaebmModel::new(autoencoder, energy, chains, recipe.train.potential)?;
    let (images, started) = samples(run, parts, Row::VaebmDecoder, &model)?;
    Ok(outcome(Row::VaebmDecoder, learnt, images, started))
}
