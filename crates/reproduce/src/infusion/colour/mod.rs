//! Table 3, Figures 4, 5, 8 and 9: CIFAR-10, CelebA and the Toronto Face Database.
//!
//! At `smoke` the images are synthetic and the networks an eighth as wide; see [`Set::training`].

mod chains;
mod faces;
mod inception;
mod samples;
mod set;
#[cfg(test)]
mod tests;

use infusion::{Architecture, SampleOptions};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    settings::TrainSettings,
    training::{Recipe, Trained, train},
};
use crate::{
    error::{Error, Result},
    images::Images,
    registry::Experiment,
    request::Request,
    run::Run,
    run_dir::settings_table,
};
use set::Set;

/// Table 3: the Inception score.
pub(super) const CIFAR10_INCEPTION: Experiment = Experiment {
    id: "cifar10-inception",
    anchor: "Table 3",
    title: "Inception score of the CIFAR-10 model",
    headline: false,
    data: "CIFAR-10, Inception weights (none at smoke)",
    time: ["2 s", "9 min", "months"],
    settings: inception::settings,
    ready: inception::ready,
    run: inception::run,
};

/// Figure 8: chains on CIFAR-10.
pub(super) const CIFAR10_CHAINS: Experiment = Experiment {
    id: "cifar10-chains",
    anchor: "Figure 8",
    title: "Infused and generated chains of the CIFAR-10 model",
    headline: false,
    data: "CIFAR-10 (none at smoke)",
    time: ["2 s", "8 min", "months"],
    settings: |request| chains::settings(request, Set::Cifar10),
    ready: |request| Set::Cifar10.ready(request),
    run: |run| chains::run(run, Set::Cifar10),
};

/// Figure 4: samples of CIFAR-10.
pub(super) const CIFAR10_SAMPLES: Experiment = Experiment {
    id: "cifar10-samples",
    anchor: "Figure 4",
    title: "Samples of the CIFAR-10 model with their nearest training images",
    headline: false,
    data: "CIFAR-10 (none at smoke)",
    time: ["2 s", "8 min", "months"],
    settings: |request| samples::settings(request, Set::Cifar10),
    ready: |request| Set::Cifar10.ready(request),
    run: |run| samples::run(run, Set::Cifar10),
};

/// Figure 9: chains on CelebA.
pub(super) const CELEBA_CHAINS: Experiment = Experiment {
    id: "celeba-chains",
    anchor: "Figure 9",
    title: "Infused and generated chains of the CelebA model",
    headline: false,
    data: "CelebA (none at smoke)",
    time: ["3 s", "8 min", "years"],
    settings: |request| chains::settings(request, Set::CelebA),
    ready: |request| Set::CelebA.ready(request),
    run: |run| chains::run(run, Set::CelebA),
};

/// Figure 4: samples of CelebA.
pub(super) const CELEBA_SAMPLES: Experiment = Experiment {
    id: "celeba-samples",
    anchor: "Figure 4",
    title: "Samples of the CelebA model with their nearest training images",
    headline: false,
    data: "CelebA (none at smoke)",
    time: ["3 s", "8 min", "years"],
    settings: |request| samples::settings(request, Set::CelebA),
    ready: |request| Set::CelebA.ready(request),
    run: |run| samples::run(run, Set::CelebA),
};

/// Figure 5: completed faces.
pub(super) const CELEBA_INPAINTING: Experiment = Experiment {
    id: "celeba-inpainting",
    anchor: "Figure 5",
    title: "Completions of faces whose top half is known",
    headline: false,
    data: "CelebA (none at smoke)",
    time: ["3 s", "8 min", "years"],
    settings: faces::settings,
    ready: |request| Set::CelebA.ready(request),
    run: faces::run,
};

/// Figure 4: samples of the Toronto Face Database.
pub(super) const TFD_SAMPLES: Experiment = Experiment {
    id: "tfd-samples",
    anchor: "Figure 4",
    title: "Samples of the Toronto Face Database model with their nearest training images",
    headline: false,
    data: "TFD (none at smoke)",
    time: ["1 s", "6 min", "6 days"],
    settings: |request| samples::settings(request, Set::Tfd),
    ready: |request| Set::Tfd.ready(request),
    run: |run| samples::run(run, Set::Tfd),
};

/// Training of the model, and what is shown of it.
///
/// Of the training settings `hidden` holds the channels of the maps for the two colour sets and the
/// units of the layers for the Toronto Face Database; the images of each split follow each other in
/// the order of the files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Settings<P> {
    #[serde(flatten)]
    train: TrainSettings,
    /// Steps of a generated chain; the T of the scale unless set.
    sample_steps: usize,
    #[serde(flatten)]
    shown: P,
}

impl<P: Serialize + DeserializeOwned> Settings<P> {
    /// The defaults of the scale with the overrides.
    ///
    /// # Errors
    /// [`Error::Usage`] or [`chains_core::Error::Config`] for what no experiment can run with, before
    /// any file is touched.
    fn resolve(request: &Request, set: Set, shown: P) -> Result<Self> {
        let train = set.training(request.scale);
        let defaults = Self { sample_steps: train.steps, train, shown };
        let settings = request.settings(&defaults)?;
        settings.train.cut()?;
        settings.check_counts()?;
        let recipe = recipe(set, &settings.train, set.event(&settings.train));
        recipe.model.validate()?;
        recipe.train.validate()?;
        Ok(settings)
    }

    /// How chains are generated.
    fn sampling(&self) -> SampleOptions {
        self.train.sampling(self.sample_steps)
    }

    /// The numbers of images that are shown, scored or averaged over.
    fn check_counts(&self) -> Result<()> {
        let table = self.table()?;
        let count = |key: &str| table.get(key).and_then(toml::Value::as_integer);
        let bad = |key: &str, value: i64, reason: String| {
            Err(Error::Usage(format!("--set {key}={value}: {reason}")))
        };
        // A deviation and the statistics of a batch need two.
        for (key, least) in [
            ("chains", 1),
            ("faces", 1),
            ("completions", 1),
            ("sample_steps", 1),
            ("samples", 2),
            ("statistics_images", 2),
            ("validation_images", 2),
        ] {
            if let Some(value) = count(key).filter(|value| *value < least) {
                return bad(key, value, format!("must be at least {least}"));
            }
        }
        let images = self.train.test_images as i64;
        for key in ["chains", "faces"] {
            if let Some(value) = count(key).filter(|value| *value > images) {
                let reason = format!("must be at most `test_images`, {images}");
                return bad(key, value, reason);
            }
        }
        Ok(())
    }

    fn table(&self) -> Result<toml::Table> {
        settings_table(self)
    }
}

/// The recipe for a set: [`TrainSettings::recipe`] with the set's kind of network.
fn recipe(set: Set, settings: &TrainSettings, event: [usize; 3]) -> Recipe {
    let mut recipe = settings.recipe(event);
    if set.is_convolutional() {
        let widths = settings.hidden.clone();
        recipe.model.network.architecture = Architecture::Deconv { widths };
    }
    recipe
}

/// Loads the images, trains the model or takes the one that this command has trained already, and
/// says in the report what both are.
fn trained(run: &mut Run<'_>, set: Set, settings: &TrainSettings) -> Result<(Images, Trained)> {
    let images = set.images(run.request, settings)?;
    let trained = train(run, &images, &recipe(set, settings, images.event()), "train")?;
    trained.model.save(&run.dir().checkpoints().join("model"))?;
    run.heading("Model");
    run.paragraph(set.description(run.request.scale));
    run.paragraph(trained.sentence());
    Ok((images, trained))
}
