//! Tables 1 and 2, Figures 1, 3 and 4: the MNIST model and what it is worth.

use infusion::InfusionModel;
use serde::{Deserialize, Serialize};

use super::{
    likelihood::likelihood,
    parzen::parzen_rows,
    pictures::{self, Means},
    settings::{LikelihoodSettings, SampleSettings, TrainSettings},
    training::train,
};
use crate::{
    digit_scores::{self, digit_scores},
    error::Result,
    images::Images,
    request::{Request, Scale},
    run::Run,
    run_dir::settings_table,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct MnistSettings {
    #[serde(flatten)]
    train: TrainSettings,
    #[serde(flatten)]
    likelihood: LikelihoodSettings,
    #[serde(flatten)]
    samples: SampleSettings,
    /// Round the trained parameters to f16 before they are scored and saved.
    half_precision: bool,
}

fn resolve(request: &Request) -> Result<MnistSettings> {
    let defaults = MnistSettings {
        train: match request.scale {
            Scale::Quick => TrainSettings::headline(),
            scale => TrainSettings::of_scale(scale),
        },
        likelihood: request.scale.pick(
            LikelihoodSettings::smoke(),
            LikelihoodSettings::quick(),
            LikelihoodSettings::paper(),
        ),
        samples: SampleSettings::of_scale(request.scale),
        half_precision: false,
    };
    let settings: MnistSettings = request.settings(&defaults)?;
    settings.train.validate_mnist()?;
    settings.likelihood.validate()?;
    settings.samples.validate()?;
    Ok(settings)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn ready(request: &Request) -> Result<()> {
    let images = Images::mnist(request, &resolve(request)?.train.cut()?)?;
    digit_scores::ready(request, images.event())
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve(run.request)?;
    let images = Images::mnist(run.request, &settings.train.cut()?)?;
    let recipe = settings.train.recipe(images.event());
    let mut trained = train(run, &images, &recipe, "train")?;
    let saved = run.dir().checkpoints().join("model");
    if settings.half_precision {
        trained.model.save_half(&saved)?;
        trained.model = InfusionModel::load(&saved, &run.request.device)?;
    } else {
        trained.model.save(&saved)?;
    }
    run.paragraph(pictures::training_sentence(&images, &trained));
    likelihood(run, &images, &trained, &settings.likelihood)?;
    let (model, n) = (&trained.model, settings.samples.parzen_samples);
    let options = settings.train.sampling(settings.train.steps);
    let means = Means::generate(run, model, n, &options)?;
    parzen_rows(run, &images, model, &means, &settings.samples)?;
    digit_scores(run, &images, &[("samples", &means.samples)], &[])?;
    let longer = settings.train.sampling(settings.samples.sample_steps);
    pictures::samples(run, &images, &trained.model, &longer)?;
    pictures::curves(run, &images, &trained.curve)?;
    pictures::generated_chains(run, &images, &trained.model, &options)
}
