//! Figures 1, 3, 4 and 5 and Table 5 of the supplement, and bits per dimension: CIFAR-10, SVHN and
//! CelebA.
//!
//! At `smoke` the images are synthetic and the networks an eighth as wide; see [`Model::training`].

mod bits;
mod chains;
mod faces;
mod model;
mod samples;
mod scores;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::model::Model;
use super::{
    settings::{TrainSettings, at_most_test},
    training::{Trained, train},
};
use crate::{
    error::Result,
    images::Images,
    limits::at_least,
    plots::{Plot, Series},
    registry::Experiment,
    request::Request,
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
};

/// Figure 4: samples of CIFAR-10.
pub(super) const CIFAR10_SAMPLES: Experiment = Experiment {
    id: "cifar10-samples",
    anchor: "Figure 4",
    title: "Samples and chains of the CIFAR-10 model",
    headline: false,
    data: "CIFAR-10 (none at smoke)",
    time: ["3 s", "9 min", "months"],
    settings: |request| samples::settings(request, Model::Cifar10),
    ready: |request| Model::Cifar10.collection().ready(request),
    run: |run| samples::run(run, Model::Cifar10),
};

/// Bits per dimension on CIFAR-10.
pub(super) const CIFAR10_BITS: Experiment = Experiment {
    id: "cifar10-bits",
    anchor: "Main text, bits per dimension",
    title: "Bound on CIFAR-10 in bits per dimension",
    headline: false,
    data: "CIFAR-10 (none at smoke)",
    time: ["3 s", "9 min", "months"],
    settings: bits::settings,
    ready: |request| Model::Cifar10Bound.collection().ready(request),
    run: bits::run,
};

/// Table 5: inception scores.
pub(super) const CIFAR10_SCORES: Experiment = Experiment {
    id: "cifar10-scores",
    anchor: "Supplement, Table 5",
    title: "Inception score of the CIFAR-10 model",
    headline: false,
    data: "CIFAR-10, Inception weights (none at smoke)",
    time: ["3 s", "10 min", "months"],
    settings: scores::settings,
    ready: scores::ready,
    run: scores::run,
};

/// Figure 5: samples of SVHN.
pub(super) const SVHN_SAMPLES: Experiment = Experiment {
    id: "svhn-samples",
    anchor: "Figure 5",
    title: "Samples and chains of the SVHN model",
    headline: false,
    data: "SVHN as images (none at smoke)",
    time: ["3 s", "8 min", "months"],
    settings: |request| samples::settings(request, Model::Svhn),
    ready: |request| Model::Svhn.collection().ready(request),
    run: |run| samples::run(run, Model::Svhn),
};

/// Figure 3: samples of CelebA.
pub(super) const CELEBA_SAMPLES: Experiment = Experiment {
    id: "celeba-samples",
    anchor: "Figure 3",
    title: "Samples and chains of the CelebA model",
    headline: false,
    data: "CelebA (none at smoke)",
    time: ["6 s", "9 min", "years"],
    settings: |request| samples::settings(request, Model::CelebA),
    ready: |request| Model::CelebA.collection().ready(request),
    run: |run| samples::run(run, Model::CelebA),
};

/// Figure 1: completed faces.
pub(super) const CELEBA_INPAINTING: Experiment = Experiment {
    id: "celeba-inpainting",
    anchor: "Figure 1",
    title: "Completions of faces whose top half is known",
    headline: false,
    data: "CelebA (none at smoke)",
    time: ["6 s", "9 min", "years"],
    settings: faces::settings,
    ready: |request| Model::CelebA.collection().ready(request),
    run: faces::run,
};

/// Training of the model, and what is shown of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Settings<P> {
    #[serde(flatten)]
    train: TrainSettings,
    #[serde(flatten)]
    shown: P,
}

impl<P: Serialize + DeserializeOwned> Settings<P> {
    /// The defaults of the scale with the overrides.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) or [`chains_core::Error::Config`] for what no experiment can run with, before
    /// any file is touched.
    fn resolve(request: &Request, model: Model, shown: P) -> Result<Self> {
        let defaults = Self { train: model.training(request.scale)?, shown };
        let settings = request.settings(&defaults)?;
        let (train, event) = (&settings.train, model.event(&settings.train));
        train.validate(&model.preset()?, &model.training_preset(), event)?;
        // The curve of the loss.
        at_least(&[("followed", train.followed, 2)])?;
        Ok(settings)
    }

    fn table(&self) -> Result<toml::Table> {
        settings_table(self)
    }
}

/// Loads the images, trains the model or takes the one that this command has trained already, says in
/// the report what both are, and whether the loss falls.
fn trained(run: &mut Run<'_>, model: Model, settings: &TrainSettings) -> Result<(Images, Trained)> {
    let images = model.collection().images(run.request, &settings.cut(), "examples")?;
    let event = images.event();
    let recipe = settings.recipe(&model.preset()?, &model.training_preset(), event);
    let trained = train(run, &images, &recipe, "train")?;
    trained.model.save(&run.dir().checkpoints().join("model"))?;
    run.heading("Model");
    run.paragraph(model.description(run.request.scale));
    run.paragraph(settings.sentence(event));
    run.paragraph(trained.sentence());
    loss(run, &trained)?;
    Ok((images, trained))
}

/// The loss by epoch: a curve, and the check that it falls.
fn loss(run: &mut Run<'_>, trained: &Trained) -> Result<()> {
    let (Some(first), Some(last)) = (trained.curve.first(), trained.curve.last()) else {
        return Ok(());
    };
    let unit = if last.bound_train.is_some() { "nats" } else { "summed error" };
    for (name, value) in [("first", first.loss), ("last", last.loss)] {
        run.metric(Metric::new(format!("loss_{name}_epoch"), value, unit));
    }
    if trained.curve.len() > 1 {
        let detail = format!("{:.1} after {:.1}", last.loss, first.loss);
        let falls = last.loss < first.loss;
        run.check(Check::new("the loss of the last epoch is below the first's", falls, detail));
    }
    let mut plot = Plot::new("Loss of a walk", "epoch", unit);
    let points = trained.curve.iter().map(|epoch| (epoch.epoch as f64, epoch.loss));
    plot.series(Series::line("training images", points));
    let caption = "Mean over the epoch of the losses of a walk, summed over its transitions, each \
                   before the update that it led to.";
    run.plot("loss", &plot, caption)
}
