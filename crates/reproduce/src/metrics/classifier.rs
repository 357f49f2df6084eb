//! Trains the two digit networks and measures what is kept of them: weights rounded to f16.

use eval_metrics::networks::DigitClassifier;

use super::{
    accuracy::{self, accuracies},
    learner::{Digits, EpochAccuracy, MODEL},
    settings::TrainSettings,
};
use crate::{
    digits::{Judge, SHIPPED},
    error::{Error, Result},
    plots::{Plot, Series},
    request::{Request, Scale},
    run::Run,
    run_dir::settings_table,
    training::{self, Finished, json},
};

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&TrainSettings::resolve(request)?)
}

pub(super) fn ready(request: &Request) -> Result<()> {
    TrainSettings::resolve(request)?.data(request).map(drop)
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let request = run.request;
    let settings = TrainSettings::resolve(request)?;
    let data = settings.data(request)?;
    let digests = [data.train.digest(), data.test.digest()];
    let (mut judges, mut finished) = (Vec::new(), Vec::new());
    for (index, (label, folder)) in SHIPPED.iter().enumerate() {
        let seed = request.stream().child("digits").indexed(index as u64);
        let parts = [json(&"digits")?, json(&settings)?, json(&digests)?, json(&index)?];
        let name = training::name(request, &parts)?;
        let mut learner = Digits::new(&data, &settings, seed, &request.device)?;
        let stage = format!("train-{label}");
        let done = training::train(run, &stage, name, &settings.plan(seed), &mut learner)?;
        let kept = run.dir().root().join(folder);
        copy_model(&done.dir.join(MODEL), &kept)?;
        // What is kept is what is measured.
        let classifier = DigitClassifier::load(&kept, &request.device)?;
        judges.push(Judge { label: (*label).to_owned(), classifier });
        finished.push(done);
    }
    describe(run, &settings, &finished);
    curves(run, &finished)?;
    let found = accuracies(run, &judges, &data.test)?;
    accuracy::report(run, &data.test, &found)?;
    if request.scale != Scale::Smoke {
        accuracy::checks(run, &found);
    }
    Ok(())
}

/// Into the run directory, under the name that it has in the repository.
fn copy_model(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    use chains_core::checkpoint::{CONFIG_FILE, WEIGHTS_FILE};
    std::fs::create_dir_all(to).map_err(|e| Error::io(to, e))?;
    for file in [WEIGHTS_FILE, CONFIG_FILE] {
        let path = from.join(file);
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        chains_core::checkpoint::write_bytes_atomic(&to.join(file), &bytes)?;
    }
    Ok(())
}

fn describe(run: &mut Run<'_>, settings: &TrainSettings, finished: &[Finished<EpochAccuracy>]) {
    let TrainSettings { train_images, epochs, batch_size, shift, dropout, .. } = settings;
    run.paragraph(format!(
        "Two networks of the same shape and two seeds: {train_images} training digits, {epochs} \
         epochs in batches of {batch_size}, Adam from {:.0e} along half a cosine to {:.0e}, every \
         digit moved by up to {shift} pixels along both axes, a share of {dropout} of the features \
         dropped. Nothing is chosen by the test digits: the last weights count, rounded to f16, and \
         everything below is of the rounded weights but for the curves.",
        settings.learning_rate, settings.last_learning_rate
    ));
    for ((label, _), done) in SHIPPED.iter().zip(finished) {
        run.paragraph(format!("Network {label}. {}", done.sentence()));
    }
}

fn curves(run: &mut Run<'_>, finished: &[Finished<EpochAccuracy>]) -> Result<()> {
    if finished.iter().all(|done| done.curve.is_empty()) {
        return Ok(());
    }
    let mut plot = Plot::new("Errors of the test digits over training", "epoch", "per cent");
    for ((label, _), done) in SHIPPED.iter().zip(finished) {
        let points = done.curve.iter().map(|at| (at.epoch as f64, 100.0 * (1.0 - at.test)));
        plot.series(Series::line(format!("network {label}"), points));
    }
    run.heading("Training curves");
    run.plot("errors", &plot, "Of the followed test digits, unrounded weights.")
}
