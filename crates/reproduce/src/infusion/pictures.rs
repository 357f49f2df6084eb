//! What there is to look at: samples, chains, curves, and the rows that scores take.

use candle_core::Tensor;
use chains_core::checkpoint::WEIGHTS_FILE;
use infusion::{InfusionModel, SampleOptions, generate, generate_from};

use super::training::{EpochBounds, Trained};
use crate::{
    error::Result,
    images::{Images, blocks},
    limits::compares,
    neighbours::{neighbours, samples_sheet},
    plots::{Plot, Series},
    run::Run,
};

/// How much the model has seen and how long it took.
pub(super) fn training_sentence(images: &Images, trained: &Trained) -> String {
    let (n, [_, h, w]) = (images.train.len(), images.event());
    format!("The model saw {n} training images of {h}x{w}. {}", trained.sentence())
}

/// Means of `n` generated chains: after the first step and after the last, `(n, D)` each.
pub(super) fn generated_means(
    run: &Run<'_>,
    model: &InfusionModel,
    n: usize,
    options: &SampleOptions,
) -> Result<[Tensor; 2]> {
    let seed = run.request.stream().child("generate");
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for (index, block) in blocks(n, 500).enumerate() {
        let mut noise = seed.indexed(index as u64).host_noise();
        let found = generate(model, block.len(), options, &mut noise, |t, generated| {
            if t == 0 {
                first.push(generated.mean.clone());
            }
            Ok(())
        })?;
        last.push(found.mean);
    }
    Ok([Tensor::cat(&first, 0)?, Tensor::cat(&last, 0)?])
}

/// Means of `n` chains of the model in `checkpoints/infusion-mnist`, of twice its steps, if it is
/// there.
///
/// # Errors
/// Of a damaged model.
pub(crate) fn shipped_means(run: &Run<'_>, n: usize) -> Result<Option<Tensor>> {
    let dir = run.request.root.join("checkpoints/infusion-mnist");
    if !dir.join(WEIGHTS_FILE).is_file() {
        return Ok(None);
    }
    let model = InfusionModel::load(&dir, &run.request.device)?;
    let options = SampleOptions::new(2 * model.config().network.steps);
    let [_, means] = generated_means(run, &model, n, &options)?;
    Ok(Some(means))
}

/// Generated means and what they begin from, `(n, D)` each.
pub(super) struct Means {
    /// Means of the last step.
    pub(super) samples: Tensor,
    /// Means of the first step of the same chains.
    pub(super) one_step: Tensor,
    /// Draws of the prior, the start of other chains.
    pub(super) prior: Tensor,
}

impl Means {
    /// Of `n` chains, the first ones that this run generates.
    pub(super) fn generate(
        run: &Run<'_>,
        model: &InfusionModel,
        n: usize,
        options: &SampleOptions,
    ) -> Result<Self> {
        let [one_step, samples] = generated_means(run, model, n, options)?;
        let mut noise = run.request.stream().child("prior-samples").host_noise();
        let prior = model.prior()?.sample(n, &mut noise)?;
        Ok(Self { samples, one_step, prior })
    }
}

/// Figure 4: a sheet of generated means with the nearest training images of its last but one column.
pub(super) fn samples(
    run: &mut Run<'_>,
    images: &Images,
    model: &InfusionModel,
    options: &SampleOptions,
) -> Result<()> {
    let [_, mean] = generated_means(run, model, 100, options)?;
    samples_sheet(run, images, &mean, options.steps)?;
    neighbours(run, images, &mean)
}

/// Figure 1: rows of generated chains, one column a step.
pub(super) fn generated_chains(
    run: &mut Run<'_>,
    images: &Images,
    model: &InfusionModel,
    options: &SampleOptions,
) -> Result<()> {
    run.heading("Generated chains (Figure 1)");
    generated_chains_named(run, images, model, options, "chains")
}

/// The same under another file name.
pub(super) fn generated_chains_named(
    run: &mut Run<'_>,
    images: &Images,
    model: &InfusionModel,
    options: &SampleOptions,
    name: &str,
) -> Result<()> {
    let mut noise = run.request.stream().child("chains").host_noise();
    let start = model.prior()?.sample(10, &mut noise)?;
    let (mut states, mut means) = (vec![start.clone()], Vec::new());
    generate_from(model, start, options, &mut noise, |_, generated| {
        states.push(generated.position.clone());
        means.push(generated.mean.clone());
        Ok(())
    })?;
    let caption = "Each row a generated chain: the drawn states z_0, z_1, ..; z_0 is of the prior.";
    run.chains(name, images.event(), &states, caption)?;
    let caption = "The same chains: the means that z_1, z_2, .. were drawn around.";
    run.chains(&format!("{name}-means"), images.event(), &means, caption)
}

/// Figure 3: bounds over epochs.
pub(super) fn curves(run: &mut Run<'_>, images: &Images, curve: &[EpochBounds]) -> Result<()> {
    if curve.is_empty() {
        return Ok(());
    }
    let mut plot = Plot::new("Lower bound over training", "epoch", "nats");
    let line = |name: &str, f: fn(&EpochBounds) -> f64| {
        Series::line(name, curve.iter().map(|b| (b.epoch as f64, f(b))))
    };
    plot.series(line("train", |b| b.train));
    plot.series(line("validation", |b| b.validation));
    plot.series(line("test", |b| b.test));
    if compares(run, images) {
        plot.reference("published, test", 1350.598);
    }
    run.heading("Training curves (Figure 3)");
    run.plot(
        "curves",
        &plot,
        "Bounds with batch statistics, one chain an image: examples interact, so these are not \
         strict bounds.",
    )
}
