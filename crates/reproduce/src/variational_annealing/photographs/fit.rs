//! A training on CIFAR-10 and what comes out of it.

use candle_core::{DType, Tensor};
use chains_core::schedule::LearningRate;
use variational_annealing::{GanModel, anneal::SIGN_CONVENTION, quantise};

use super::{
    learner::{Game, Point},
    settings::PhotographSettings,
};
use crate::{
    colour_sets::Collection,
    error::Result,
    images::Cut,
    limits::finite_check,
    plots::{Plot, Series},
    report::format_number,
    request::Scale,
    results::{Check, Metric, write_json},
    run::Run,
    sheet::Sheet,
    training::{self, Plan, json, took},
};

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = PhotographSettings::resolve(run.request)?;
    let cut = Cut { train: settings.train_images, validation: 0, test: 0, pooled: false };
    let images = Collection::Cifar10.images(run.request, &cut, "images")?.train;
    describe(run, &settings)?;
    let request = run.request;
    let seed = request.stream().child("photographs");
    let name = training::name(request, &[json(&settings)?, json(&images.digest())?])?;
    let mut game = Game::new(&images, &settings, seed, &request.device)?;
    let train = &settings.training;
    let plan = Plan {
        // The loop's examples are places only: an epoch of it is a stretch of iterations.
        examples: settings.follow_every * train.batch_size,
        batch_size: train.batch_size,
        epochs: train.iterations / settings.follow_every,
        learning_rate: LearningRate::Constant { value: train.critic_rate() },
        adam: train.adam,
        weight_average: 0.0,
        order: seed.child("places"),
    };
    let trained = training::train(run, "train", name, &plan, &mut game)?;
    run.paragraph(took(trained.updates, trained.seconds));
    let model = GanModel::load(&trained.dir.join("model"), &request.device)?;
    model.save(&run.dir().checkpoints().join("model"))?;
    curves(run, &settings, &trained.curve)?;
    samples(run, &settings, &model)?;
    judge(run, &settings, &model, &trained.curve)
}

fn describe(run: &mut Run<'_>, settings: &PhotographSettings) -> Result<()> {
    let train = &settings.training;
    let resolved = train.resolved(settings.networks.denoiser.features);
    write_json(&run.dir().root().join("annealing.json"), &resolved)?;
    if run.request.scale == Scale::Smoke {
        run.paragraph("Synthetic images and a few updates of tiny networks: no number is claimed.");
    }
    run.paragraph(format!(
        "{} images of CIFAR-10, {} iterations of {} (150,000 in the paper). Objective, term and the course \
         of its weight, which begins at {}, are in the settings below. {} hidden layers in the denoiser \
         (nine in released code, six in Table S1). Signs: {SIGN_CONVENTION}; weights per element. Weights \
         and temperatures in time are in `annealing.json`.",
        settings.train_images,
        train.iterations,
        train.batch_size,
        format_number(train.schedule.initial),
        settings.networks.denoiser.hidden.len(),
    ));
    run.paragraph(
        "The paper's table of scores was not recoverable, and its scores come from a port of Inception \
         that gives real data 12.0 where the official network gives 11.24: ours are not to be compared \
         with any of them. Published baselines of that port: DFM 7.3 / FID 30.1, WGAN-GP 6.8 / 28.2, \
         DCGAN 6.7 / 34.3. Take scores of a finished model with `sample` and `evaluate`.",
    );
    Ok(())
}

fn curves(run: &mut Run<'_>, settings: &PhotographSettings, curve: &[Point]) -> Result<()> {
    let at = |point: &Point| (point.epoch * settings.follow_every) as f64;
    let line = |label: &str, of: &dyn Fn(&Point) -> f64| {
        Series::line(label, curve.iter().map(|point| (at(point), of(point))))
    };
    let mut plot = Plot::new("Losses", "iteration", "nats");
    plot.series(line("critic", &|point| point.loss));
    plot.series(line("generator", &|point| point.mean("generator")));
    plot.series(line("denoiser", &|point| point.mean("denoiser")));
    run.plot("losses", &plot, "Means over stretches of iterations.")?;
    let mut plot = Plot::new("The term", "iteration", "");
    plot.series(line("weight", &|point| point.mean("lambda")));
    plot.series(line("what it adds", &|point| point.mean("annealing")));
    run.plot("annealing", &plot, "The weight, and what the term adds to the generator's loss.")
}

fn samples(run: &mut Run<'_>, settings: &PhotographSettings, model: &GanModel) -> Result<()> {
    let mut noise = run.request.stream().child("samples").host_noise();
    let bytes = quantise(&model.sample(settings.shown, &mut noise)?)?;
    let x: Tensor = (bytes.to_dtype(DType::F32)? / 255.0)?;
    let sheet = Sheet { columns: 10.min(settings.shown), ..Sheet::of(&x)? };
    let caption = format!(
        "Samples after {} iterations: the generator with its running moments, cut to bytes.",
        settings.training.iterations
    );
    run.sheet("samples", &sheet, &x, &caption)
}

fn judge(
    run: &mut Run<'_>,
    settings: &PhotographSettings,
    model: &GanModel,
    curve: &[Point],
) -> Result<()> {
    let losses: Vec<f64> =
        curve.iter().flat_map(|p| [p.loss, p.mean("generator"), p.mean("denoiser")]).collect();
    finite_check(run, "losses", &losses);
    let finite = model.store().is_finite()?;
    run.check(Check::new("parameters are finite", finite, ""));
    let last = curve.last();
    for name in ["generator", "denoiser"] {
        let value = last.map_or(f64::NAN, |point| point.mean(name));
        run.metric(Metric::new(format!("{name}_loss"), value, "").n(settings.follow_every));
    }
    if run.request.scale != Scale::Smoke
        && let [first, .., last] = curve
        && last.mean("denoiser") > 0.0
    {
        let [first, last] = [first, last].map(|point| point.mean("denoiser"));
        let detail = format!("{} after {}", format_number(last), format_number(first));
        run.check(Check::new("the denoiser's loss falls", last < first, detail));
    }
    Ok(())
}
