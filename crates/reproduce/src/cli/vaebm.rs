//! Models of VAEBM in `sample` and `evaluate`.

use candle_core::{Device, Tensor};
use chains_core::{
    Seed,
    train::{Event, Observer},
};
use vaebm::{ChainConfig, JointNoise, NoiseDecoder, VaebmModel, run_chains};

use crate::{
    error::{Error, Result},
    images::blocks,
    vaebm::digits::{
        data::{SIDE, unframed},
        samples::BATCH,
    },
};

/// Columns of a sheet of chains beside the start, at most about so many.
const COLUMNS: usize = 8;

/// Channels, height and width of a model's images.
pub(super) fn event(model: &VaebmModel) -> [usize; 3] {
    model.config().autoencoder.event()
}

/// Are its images digits in a frame?
pub(super) fn is_of_digits(model: &VaebmModel) -> bool {
    event(model) == [1, SIDE, SIDE]
}

/// Chains of so many steps, those of the model where nothing else is asked for.
pub(super) fn chains(model: &VaebmModel, steps: Option<usize>) -> ChainConfig {
    let own = model.config().chains;
    ChainConfig { steps: steps.unwrap_or(own.steps), ..own }
}

/// Draws `n` samples batch by batch; `see` takes the clamped means `(b, c, h, w)` of each. Only one batch
/// is in memory.
///
/// # Errors
/// Of the networks; [`Error::Usage`] if a chain has run away.
pub(super) fn samples(
    model: &VaebmModel,
    n: usize,
    chains: ChainConfig,
    seed: Seed,
    observer: &mut dyn Observer,
    mut see: impl FnMut(Tensor) -> Result<()>,
) -> Result<()> {
    observer.observe(&Event::Started { stage: "sample", step: 0, total: Some(n) })?;
    let mut done = 0;
    for ended in model.sample_stream(n, BATCH, chains, seed)? {
        let ended = ended?;
        if ended.health.non_finite > 0 {
            return Err(lost(ended.health.non_finite, chains));
        }
        done += ended.noise.batch();
        see(ended.decoded.mean_image()?.clamp(0.0, 1.0)?)?;
        observer.observe(&Event::Scalars { step: done, values: &[] })?;
    }
    Ok(observer.observe(&Event::Finished { step: n })?)
}

fn lost(count: usize, chains: ChainConfig) -> Error {
    let ChainConfig { steps, step_size } = chains;
    Error::Usage(format!(
        "--steps {steps}: {count} chains ran away from all numbers with steps of {step_size}; take fewer"
    ))
}

/// Chains from the noise of [`samples`], `(n, c, h, w)` after every few steps, the start and the end.
///
/// # Errors
/// As there.
pub(super) fn watched(
    model: &VaebmModel,
    n: usize,
    chains: ChainConfig,
    seed: Seed,
) -> Result<Vec<Tensor>> {
    let space = model.space();
    let every = chains.steps.div_ceil(COLUMNS).max(1);
    let is_shown = |step: usize| step.is_multiple_of(every) || step == chains.steps;
    let columns = (0..=chains.steps).filter(|step| is_shown(*step)).count();
    let mut shown = vec![Vec::new(); columns];
    let picture = |at: &JointNoise| -> chains_core::Result<Tensor> {
        Ok(space.decoder().decode(at)?.mean_image()?.clamp(0.0, 1.0)?)
    };
    for (index, block) in blocks(n, BATCH).enumerate() {
        let mut noise = seed.indexed(index as u64).host_noise();
        let start = space.decoder().draw_noise(block.len(), &mut noise)?;
        shown[0].push(picture(&start)?);
        let mut column = 1;
        let ended = run_chains(space, &chains, &start, &mut noise, |step, at| {
            if is_shown(step) {
                shown[column].push(picture(at)?);
                column += 1;
            }
            Ok(())
        })?;
        if ended.health.non_finite > 0 {
            return Err(lost(ended.health.non_finite, chains));
        }
    }
    Ok(shown.iter().map(|blocks| Tensor::cat(blocks, 0)).collect::<candle_core::Result<_>>()?)
}

/// Bytes `(n, 1, 28, 28)` of digits, as the digit networks take them.
///
/// # Errors
/// As [`samples`].
pub(super) fn digits(
    model: &VaebmModel,
    n: usize,
    chains: ChainConfig,
    seed: Seed,
    observer: &mut dyn Observer,
) -> Result<Tensor> {
    let mut all = Vec::new();
    samples(model, n, chains, seed, observer, |x| {
        let bytes = crate::digits::quantise(&unframed(&x)?)?;
        all.push(bytes.to_device(&Device::Cpu)?);
        Ok(())
    })?;
    Ok(Tensor::cat(&all, 0)?)
}
