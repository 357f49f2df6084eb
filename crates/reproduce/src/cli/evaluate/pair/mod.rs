//! Samples against a reference: images, features, scores of a detector, predictions of a classifier.

mod classes;
mod compare;
mod extractors;
mod frechet;
mod images;
mod input;
mod origin;
mod plan;
mod scored;
mod scores;
mod settings;
mod side;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::Path};

use candle_core::Device;
use chains_core::train::Observer;

pub(in crate::cli) use self::extractors::Features;
use self::{
    extractors::{Extractors, Repository},
    input::{Data, Input},
    plan::{Given, Score},
    scored::{Scored, table},
    scores::Context,
    settings::Settings,
};
use super::{Args, device, print, root, writable};
use crate::{
    error::{Error, Result},
    observers::Progress,
    results::{Metric, save_metrics},
};

/// What a command asks for.
struct Job<'a> {
    reference: Option<&'a Path>,
    samples: Option<&'a Path>,
    metrics: &'a [String],
    features: Option<Features>,
    /// Where the statistics of the reference go.
    save: Option<&'a Path>,
    seed: u64,
    settings: &'a Settings,
    /// Where networks run.
    device: &'a Device,
}

/// What it found.
struct Found {
    metrics: Vec<Metric>,
    /// For people.
    table: String,
}

/// Scores samples, or stores statistics of a reference.
pub(super) fn run(args: &Args) -> Result<u8> {
    if args.data.is_some() {
        return Err(Error::Usage(
            "--data goes with a model; data to compare are --reference and --samples".into(),
        ));
    }
    if let Some(path) = &args.save_statistics {
        writable("--save-statistics", path)?;
    }
    let (settings, device, root) = (Settings::of(&args.overrides)?, device(&args.device)?, root());
    let job = Job {
        reference: args.reference.as_deref(),
        samples: args.samples.as_deref(),
        metrics: &args.metrics,
        features: args.features,
        save: args.save_statistics.as_deref(),
        seed: args.seed,
        settings: &settings,
        device: &device,
    };
    let networks = Repository { root: &root, device: &device, classifier: settings.classifier };
    let found = evaluate(&job, &networks, &mut Progress::stderr())?;
    found.metrics.iter().try_for_each(Metric::validate)?;
    if let Some(path) = &args.json {
        save_metrics(path, &found.metrics)?;
    }
    print(&found.table);
    if let Some(path) = job.save {
        print(&path.display().to_string());
    }
    Ok(0)
}

/// Opens both sides, decides what to measure, and measures it.
fn evaluate(
    job: &Job<'_>,
    networks: &dyn Extractors,
    observer: &mut dyn Observer,
) -> Result<Found> {
    let open = |path: &Path| Input::open(path, job.settings);
    let reference = job.reference.map(open).transpose()?;
    let samples = job.samples.map(open).transpose()?;
    let sides = [("reference", reference.as_ref()), ("samples", samples.as_ref())];
    check_settings(job.settings, &sides)?;
    let features = origin::features(job.features, &sides)?;
    let given = Given { reference: reference.as_ref(), samples: samples.as_ref(), features };
    let scores = given.scores(job.metrics)?;
    if scores.is_empty() && job.save.is_none() {
        return Err(Error::Usage(
            "--reference alone is nothing to compare; give --samples, or --save-statistics FILE"
                .into(),
        ));
    }
    match (given.reference.map(|input| &input.data), given.samples.map(|input| &input.data)) {
        (Some(Data::Scores(_) | Data::Predictions(_)), None) | (None, Some(Data::Scores(_))) => {
            Err(Error::Usage(
                "scores of a detector come in two lists: --reference for data of the training \
                 distribution, --samples for others"
                    .into(),
            ))
        }
        (Some(Data::Scores(reference)), Some(Data::Scores(samples))) => {
            let context = plain_context(job, &given);
            let scored = classes::separation(&context, reference, samples)?;
            Ok(report(&sides, "none: scores as they are", vec![scored], &[]))
        }
        (None, Some(Data::Predictions(predictions))) => {
            let context = plain_context(job, &given);
            let one = |score: &Score| match score {
                Score::Accuracy => classes::right(&context, predictions),
                _ => classes::calibrated(&context, predictions),
            };
            let scored = scores.iter().map(one).collect::<Result<_>>()?;
            Ok(report(&sides, "none: logits as they are", scored, &[]))
        }
        (Some(_), Some(Data::Predictions(_))) => Err(Error::Usage(
            "logits with their labels are scored on their own: give them as --samples, without \
             --reference"
                .into(),
        )),
        _ => compare::run(job, &given, &scores, networks, observer),
    }
}

/// Cutting and resizing is for folders.
fn check_settings(settings: &Settings, sides: &[(&str, Option<&Input>)]) -> Result<()> {
    let folder = |input: &&Input| matches!(&input.data, Data::Images(images) if images.is_folder());
    if settings.resizing() != "none" && !sides.iter().filter_map(|side| side.1).any(|i| folder(&i))
    {
        return Err(Error::Usage(
            "--set resize, crop and square change the images of a folder, and none was given"
                .into(),
        ));
    }
    Ok(())
}

/// For scores that need no features.
fn plain_context<'a>(job: &Job<'a>, given: &Given<'_>) -> Context<'a> {
    let mut common = BTreeMap::new();
    for (side, input) in [("reference", given.reference), ("samples", given.samples)] {
        if let Some(input) = input {
            common.insert(side.to_owned(), input.name.as_str().into());
        }
    }
    if let Some(n) = given.reference.and_then(Input::n) {
        common.insert("n_real".into(), n.into());
    }
    common.insert("seed".into(), job.seed.into());
    common.insert("version".into(), version().into());
    let n = given.samples.and_then(Input::n);
    Context { features: given.features, settings: job.settings, seed: job.seed, n, common }
}

fn version() -> &'static str {
    concat!("reproduce ", env!("CARGO_PKG_VERSION"))
}

fn report(
    sides: &[(&str, Option<&Input>)],
    features: &str,
    scored: Vec<Scored>,
    notes: &[String],
) -> Found {
    let scored: Vec<Scored> = scored.into_iter().map(Scored::named_by_weights).collect();
    let table = table(sides, features, &scored, notes);
    Found { metrics: scored.into_iter().map(Scored::into_metric).collect(), table }
}
