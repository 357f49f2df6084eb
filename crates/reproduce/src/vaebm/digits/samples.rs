//! Samples of a model of framed digits, in batches.

use candle_core::Tensor;
use chains_core::{
    HostNoise, Seed,
    train::{Event, Observer},
};
use vaebm::{ChainConfig, Health, NoiseDecoder, VaebmModel, nvae::NvaeDecoder, run_chains};

use super::data::unframed;
use crate::{error::Result, images::blocks};

/// Samples that run together; memory depends on this, and so do the draws.
pub(crate) const BATCH: usize = 50;

/// Samples, and how their chains went.
pub(crate) struct Drawn {
    /// The decoder's means, clamped, `(n, c, h, w)`, 28x28 of framed digits.
    pub(crate) images: Tensor,
    /// Means over batches.
    pub(crate) health: Health,
}

/// What is kept of images: [`unframed`] digits, or [`whole`](super::data::whole) photographs.
pub(crate) type Kept = fn(&Tensor) -> Result<Tensor>;

/// `n` samples of framed digits by chains of `chains`. The same seed begins at the same noise, whatever the
/// chains.
///
/// # Errors
/// Of the networks and of the observer.
pub(crate) fn draw(
    model: &VaebmModel,
    n: usize,
    chains: ChainConfig,
    seed: Seed,
    observer: &mut dyn Observer,
) -> Result<Drawn> {
    draw_kept(model, n, (chains, unframed), seed, observer)
}

/// [`draw`] of any images.
///
/// # Errors
/// As there.
pub(crate) fn draw_kept(
    model: &VaebmModel,
    n: usize,
    (chains, kept): (ChainConfig, Kept),
    seed: Seed,
    observer: &mut dyn Observer,
) -> Result<Drawn> {
    observer.observe(&Event::Started { stage: "sample", step: 0, total: Some(n) })?;
    let (mut images, mut all) = (Vec::new(), Vec::new());
    let mut done = 0;
    for ended in model.sample_stream(n, BATCH, chains, seed)? {
        let ended = ended?;
        done += ended.noise.batch();
        images.push(kept(&ended.decoded.mean_image()?)?);
        all.push(ended.health);
        observer.observe(&Event::Scalars { step: done, values: &[] })?;
    }
    observer.observe(&Event::Finished { step: n })?;
    Ok(Drawn { images: Tensor::cat(&images, 0)?, health: mean(&all) })
}

/// `n` means of a decoder, `(n, c, 28, 28)`, from the noise that [`draw`] begins at.
///
/// # Errors
/// Of the network and of the observer.
pub(crate) fn means(
    decoder: &NvaeDecoder,
    n: usize,
    seed: Seed,
    observer: &mut dyn Observer,
) -> Result<Tensor> {
    in_blocks(n, seed, observer, |b, noise| {
        let start = decoder.draw_noise(b, noise)?;
        Ok(decoder.decode(&start)?.mean_image()?)
    })
}

/// `n` framed images without their frames, [`BATCH`] at a time, made by `make` of a number of images and
/// the noise of their batch.
///
/// # Errors
/// Of `make` and of the observer.
pub(crate) fn in_blocks(
    n: usize,
    seed: Seed,
    observer: &mut dyn Observer,
    mut make: impl FnMut(usize, &mut HostNoise) -> Result<Tensor>,
) -> Result<Tensor> {
    observer.observe(&Event::Started { stage: "sample", step: 0, total: Some(n) })?;
    let mut images = Vec::new();
    for (index, block) in blocks(n, BATCH).enumerate() {
        let mut noise = seed.indexed(index as u64).host_noise();
        images.push(unframed(&make(block.len(), &mut noise)?)?);
        let step = (index * BATCH) + block.len();
        observer.observe(&Event::Scalars { step, values: &[] })?;
    }
    observer.observe(&Event::Finished { step: n })?;
    Ok(Tensor::cat(&images, 0)?)
}

fn mean(all: &[Health]) -> Health {
    let count = all.len().max(1) as f64;
    let of = |value: fn(&Health) -> f64| all.iter().map(value).sum::<f64>() / count;
    Health {
        energy_start: of(|health| health.energy_start),
        energy_end: of(|health| health.energy_end),
        drift_to_noise: of(|health| health.drift_to_noise),
        latent_rms: of(|health| health.latent_rms),
        clamped_share: of(|health| health.clamped_share),
        non_finite: all.iter().map(|health| health.non_finite).sum(),
    }
}

/// Chains at every so many steps.
pub(crate) struct Watched {
    /// The steps that are shown; the start is 0.
    pub(crate) steps: Vec<usize>,
    /// The means there, `(n, c, h, w)` each, 28x28 of framed digits.
    pub(crate) images: Vec<Tensor>,
    /// Mean energies there.
    pub(crate) energies: Vec<f64>,
}

/// `n` chains of framed digits, at the start, after every `every` steps and at the end.
///
/// # Errors
/// Of the networks.
pub(crate) fn watch(
    model: &VaebmModel,
    n: usize,
    chains: ChainConfig,
    every: usize,
    seed: Seed,
) -> Result<Watched> {
    watch_kept(model, n, (chains, unframed), every, seed)
}

/// [`watch`] of any images.
///
/// # Errors
/// Of the networks.
pub(crate) fn watch_kept(
    model: &VaebmModel,
    n: usize,
    (chains, kept): (ChainConfig, Kept),
    every: usize,
    seed: Seed,
) -> Result<Watched> {
    let space = model.space();
    // The first batch of [`draw`], if n is at most [`BATCH`] and has as many samples.
    let mut noise = seed.indexed(0).host_noise();
    let start = space.decoder().draw_noise(n, &mut noise)?;
    let mut watched = Watched { steps: Vec::new(), images: Vec::new(), energies: Vec::new() };
    let mut see = |step: usize, at: &vaebm::JointNoise| -> chains_core::Result<()> {
        let (decoded, energy) = space.decode(at)?;
        watched.steps.push(step);
        watched.images.push(decoded.mean_image()?);
        watched.energies.push(f64::from(energy.mean_all()?.to_scalar::<f32>()?));
        Ok(())
    };
    see(0, &start)?;
    run_chains(space, &chains, &start, &mut noise, |step, at| {
        if step.is_multiple_of(every.max(1)) || step == chains.steps {
            see(step, at)
        } else {
            Ok(())
        }
    })?;
    watched.images = watched.images.iter().map(kept).collect::<Result<_>>()?;
    Ok(watched)
}
