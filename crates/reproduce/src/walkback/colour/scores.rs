//! Table 5 of the supplement: inception scores of CIFAR-10.

use candle_core::Tensor;
use eval_metrics::{ClassifierScore, networks::FeatureExtractor};
use serde::{Deserialize, Serialize};

use super::{
    Model, Settings, at_most_test,
    samples::{draw, sheet},
    trained,
};
use crate::{
    error::{Error, Result},
    inception,
    limits::at_least,
    report::{Align, Table},
    request::{Request, Scale},
    results::Metric,
    run::Run,
};

/// Samples behind every published score.
const PUBLISHED_SAMPLES: usize = 50_000;

/// What is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Scored {
    /// Samples.
    samples: usize,
    /// Test images that are scored beside them.
    scored_test_examples: usize,
}

fn resolve(request: &Request) -> Result<Settings<Scored>> {
    let scale = request.scale;
    let scored = Scored {
        samples: scale.pick(10, 500, PUBLISHED_SAMPLES),
        scored_test_examples: scale.pick(8, 500, 10_000),
    };
    let settings = Settings::resolve(request, Model::Cifar10, scored)?;
    let Scored { samples, scored_test_examples } = settings.shown;
    // Every split needs an image.
    at_least(&[("samples", samples, 10)])?;
    if scale != Scale::Smoke {
        at_least(&[("scored_test_examples", scored_test_examples, 10)])?;
    }
    at_most_test(&settings.train, "scored_test_examples", scored_test_examples)?;
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    resolve(request)?.table()
}

/// Beyond `smoke` there must be a network to score with: training takes long.
pub(super) fn ready(request: &Request) -> Result<()> {
    Model::Cifar10.collection().ready(request)?;
    match inception::missing(&request.root).filter(|_| request.scale != Scale::Smoke) {
        None => Ok(()),
        Some(missing) => Err(Error::Missing(format!(
            "needs the Inception network of the FID papers: {missing}; `cifar10-samples` trains and \
             shows the same model without it"
        ))),
    }
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let (images, trained) = trained(run, Model::Cifar10, &settings.train)?;
    let Scored { samples, scored_test_examples } = settings.shown;
    let drawn = draw(run, &trained.model, samples, 1)?;
    sheet(run, &images, &trained.model, &drawn.states)?;
    run.heading("Inception score (Table 5)");
    run.paragraph("Published scores are of 50,000 samples; fewer lower a score.");
    let mut ours = Vec::new();
    if run.request.scale == Scale::Smoke {
        let why = inception::missing(&run.request.root).unwrap_or_else(|| "it is there".into());
        run.paragraph(format!(
            "No number is claimed at this scale: the samples are drawn and shown, the Inception \
             network is not run ({why})."
        ));
        ours.push(["ours".to_owned(), "not computed".to_owned()]);
    } else {
        let network = inception::open(&run.request.root, &run.request.device)?;
        let test = images.scaled(&images.test, scored_test_examples, trained.model.device())?;
        for (name, rows) in [("samples", &drawn.states), ("test", &test)] {
            let found = inception::samples_score(&network, rows, images.event(), run.observer()?)?;
            ours.push(report(run, &network, name, rows, &found)?);
        }
    }
    table(run, ours);
    if run.request.scale != Scale::Smoke {
        run.paragraph("Ours: ± is the standard deviation over ten splits.");
    }
    Ok(())
}

/// The metric, and its row of the table.
fn report(
    run: &mut Run<'_>,
    network: &dyn FeatureExtractor,
    name: &str,
    rows: &Tensor,
    found: &ClassifierScore,
) -> Result<[String; 2]> {
    let n = rows.dim(0)?;
    // The score is defined by the published weights.
    let score =
        if network.id().contains(":unverified-") { "classifier_score" } else { "inception_score" };
    let mut metric = Metric::new(format!("{score}_{name}"), found.mean, "").n(n);
    if let Some(std_error) = found.std_error {
        metric = metric.std_error(std_error);
    }
    metric = metric.setting("std_dev_over_splits", found.std_dev);
    metric = metric.setting("extractor", network.id());
    if name == "samples" && n >= PUBLISHED_SAMPLES && score == "inception_score" {
        metric = metric.published(4.39);
    }
    run.metric(metric);
    let what = if name == "samples" { "samples" } else { "test images" };
    let value = format!("{:.2} ± {:.2}", found.mean, found.std_dev);
    Ok([format!("ours, {n} {what} ({})", score.replace('_', " ")), value])
}

fn table(run: &mut Run<'_>, ours: Vec<[String; 2]>) {
    let mut table = Table::new([("Model", Align::Left), ("score", Align::Right)]);
    for row in [
        ["Real data, published", "11.24"],
        ["Salimans et al., semi-supervised, published", "8.09"],
        ["Salimans et al., unsupervised, published", "4.36"],
        ["Salimans et al., supervised without minibatch features, published", "3.87"],
        ["Variational Walkback, 20 steps, published", "3.72"],
        ["Variational Walkback, 30 steps, published", "4.39 ± 0.2"],
    ] {
        table.row(row);
    }
    for row in ours {
        table.row(row);
    }
    run.table(table);
}
