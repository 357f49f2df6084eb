//! Scores of what a classifier says: of samples by a network's logits, of logits with their labels,
//! and of the scores of an outlier detector.

use std::time::Instant;

use candle_core::{Device, Tensor};
use chains_core::train::{Event, Observer};
use eval_metrics::{
    Bootstrap, accuracy, auroc, calibration_from_logits, inception_score, mode_coverage,
    networks::{FeatureExtractor, stacked_digits},
};
use ndarray::Array2;

use super::extractors::Features;
use super::{
    images::Images,
    input::Predictions,
    plan::Score,
    scored::Scored,
    scores::{Context, timed},
    side::refused,
};
use crate::{error::Result, report::format_number};

/// Triples of digits.
const CELLS: usize = 1000;
/// Images below which an inception score is far too low.
const USUAL_IMAGES: usize = 5000;

/// The inception-score formula on the logits of the samples.
pub(super) fn diversity(context: &Context<'_>, logits: &Array2<f32>) -> Result<Scored> {
    let started = Instant::now();
    let settings = context.settings;
    let inception = context.features == Features::Inception;
    let splits = settings.splits.unwrap_or(if inception { 10 } else { 1 });
    let shuffle = settings.shuffle.then_some(context.seed);
    let found = inception_score(logits.view(), splits, shuffle)
        .map_err(|error| context.refuse(Score::Classifier, &error))?;
    let metric = context
        .metric(Score::Classifier, found.mean, "")
        .setting("splits", splits)
        .setting("shuffled", settings.shuffle)
        .setting("ceiling", logits.ncols());
    let metric = if inception {
        metric.setting("logits", "without the bias of the last layer")
    } else {
        metric
    };
    let mut scored = Scored::new(metric).remark(format!("{splits} split"));
    if let Some(std_error) = found.std_error {
        scored.metric = scored.metric.std_error(std_error);
        scored = scored
            .spread(found.std_dev, "population standard deviation over splits")
            .remark(format!("± over {splits} splits, as papers print it"));
    }
    if logits.nrows() < USUAL_IMAGES {
        let name = context.name(Score::Classifier);
        scored = scored.note(Some(format!(
            "{name}: {} images, at least {USUAL_IMAGES} are useful; few images lower it",
            logits.nrows()
        )));
    }
    timed(std::slice::from_mut(&mut scored), started);
    Ok(scored)
}

/// Modes that stacked digits reach, and the divergence of their frequencies.
pub(super) fn modes(
    context: &Context<'_>,
    images: &Images,
    network: (&dyn FeatureExtractor, &Device),
    batch: usize,
    observer: &mut dyn Observer,
) -> Result<Vec<Scored>> {
    let started = Instant::now();
    let cells = cells(images, network, batch, observer)?;
    let found =
        mode_coverage(&cells, CELLS).map_err(|error| context.refuse(Score::Modes, &error))?;
    let modes = context
        .metric(Score::Modes, found.modes as f64, "")
        .setting("of", CELLS)
        .setting("with_2_hits", found.modes_with_2_hits)
        .setting("with_5_hits", found.modes_with_5_hits)
        .setting("perfect_sampler", found.perfect.modes);
    let kl = context
        .named("modes-kl", found.kl, "nats")
        .setting("against", "uniform")
        .setting("perfect_sampler", found.perfect.kl)
        .setting("perfect_sampler_std_dev", found.perfect.kl_std_dev);
    let [perfect, perfect_kl] = [found.perfect.modes, found.perfect.kl].map(format_number);
    let mut scored = vec![
        Scored::new(modes).remark(format!(
            "of {CELLS}; {} with 2 hits, {} with 5; a perfect sampler reaches {perfect}",
            found.modes_with_2_hits, found.modes_with_5_hits
        )),
        Scored::new(kl).remark(format!("against uniform; a perfect sampler has {perfect_kl}")),
    ];
    timed(&mut scored, started);
    Ok(scored)
}

/// The cell `100 a + 10 b + c` of every image, its planes being digits.
fn cells(
    images: &Images,
    (extractor, device): (&dyn FeatureExtractor, &Device),
    batch: usize,
    observer: &mut dyn Observer,
) -> Result<Vec<usize>> {
    let [c, h, w] = images.shape;
    let (mut batches, mut cells) = (images.batches()?, Vec::with_capacity(images.n));
    observer.observe(&Event::Started { stage: "modes", step: 0, total: Some(images.n) })?;
    loop {
        let pixels = batches.next(batch)?;
        if pixels.is_empty() {
            break;
        }
        let b = pixels.len() / images.pixels();
        let planes = Tensor::from_vec(pixels, (b, c, h, w), device)?;
        cells.extend(stacked_digits(extractor, &planes).map_err(|e| refused(extractor, e))?);
        observer.observe(&Event::Scalars { step: cells.len(), values: &[] })?;
    }
    observer.observe(&Event::Finished { step: cells.len() })?;
    Ok(cells)
}

/// Accuracy of logits against their labels.
pub(super) fn right(context: &Context<'_>, given: &Predictions) -> Result<Scored> {
    let found = accuracy(given.logits.view(), &given.labels)
        .map_err(|error| context.refuse(Score::Accuracy, &error))?;
    let (low, high) = found.wilson_interval(1.96);
    let metric = context
        .metric(Score::Accuracy, found.value, "")
        .std_error(found.std_error)
        .setting("correct", found.correct)
        .setting("interval_95", vec![low, high]);
    let [low, high] = [low, high].map(format_number);
    Ok(Scored::new(metric).remark(format!("± binomial; 95 % from {low} to {high} (Wilson)")))
}

/// Calibration of logits against their labels.
pub(super) fn calibrated(context: &Context<'_>, given: &Predictions) -> Result<Scored> {
    let settings = context.settings;
    let bootstrap = Bootstrap { resamples: settings.resamples, level: 0.95, seed: context.seed };
    let found =
        calibration_from_logits(given.logits.view(), &given.labels, settings.bins, bootstrap)
            .map_err(|error| context.refuse(Score::Ece, &error))?;
    let (low, high) = found.ece_interval;
    let metric = context
        .metric(Score::Ece, found.ece, "")
        .setting("bins", found.bins)
        .setting("interval_95", vec![low, high])
        .setting("resamples", settings.resamples)
        .setting("mce", found.mce)
        .setting("adaptive_ece", found.adaptive_ece)
        .setting("nll", found.nll)
        .setting("brier", found.brier);
    let [low, high] = [low, high].map(format_number);
    let bins = found.bins;
    Ok(Scored::new(metric).remark(format!("{bins} bins; 95 % from {low} to {high} (bootstrap)")))
}

/// Separation of the reference, which is positive, from the samples.
pub(super) fn separation(
    context: &Context<'_>,
    reference: &[f64],
    samples: &[f64],
) -> Result<Scored> {
    let found = auroc(reference, samples).map_err(|error| context.refuse(Score::Auroc, &error))?;
    let metric = context
        .metric(Score::Auroc, found.value, "")
        .setting("positive", "reference: in-distribution, larger scores")
        .setting("aupr", found.aupr)
        .setting("fpr_at_95_tpr", found.fpr_at_95_tpr);
    let metric = match found.std_error {
        Some(std_error) => metric.std_error(std_error),
        None => metric,
    };
    let [aupr, fpr] = [found.aupr, found.fpr_at_95_tpr].map(format_number);
    Ok(Scored::new(metric).remark(format!(
        "the reference is in-distribution and should score higher; AUPR {aupr}, FPR at 95 % TPR {fpr}"
    )))
}
