//! Tables 3 to 5: joint energy models of photographs.

use candle_core::Device;
use chains_core::{nn::BatchNormMoments, train::Event};
use datasets::ImageSet;
use vera::{LatentPrior, VeraModel};

use super::{
    super::game::{Trained, train},
    evaluate::{Look, SCORES, Separation},
    refine::{Refined, pairs, refine},
    sets::{Labelled, Photographs, outliers, published_area},
    settings::JointSettings,
};
use crate::{
    error::Result,
    images::Images,
    limits::{beside, finite_check},
    plots::{Plot, Series},
    report::{Align, Table, format_number, scientific},
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
    sheet::Sheet,
};

pub(super) fn settings(request: &Request, set: Photographs) -> Result<toml::Table> {
    settings_table(&JointSettings::resolve(request, set)?)
}

pub(super) fn run(run: &mut Run<'_>, set: Photographs) -> Result<()> {
    let settings = JointSettings::resolve(run.request, set)?;
    let images = set.images(run.request, &settings.cut())?;
    let recipe = settings.recipe(set);
    let data = Labelled {
        images: &images,
        augmentation: settings.augment.then(|| set.augmentation()),
        followed: settings.validation_images,
    };
    let trained = train(run, &data, &recipe, "train")?;
    trained.model.save(&run.dir().checkpoints().join("model"))?;
    describe(run, set, &settings, &trained);
    classes(run, set, &images, &trained)?;
    separation(run, set, &settings, &images, &trained.model)?;
    samples(run, &settings, &trained.model)?;
    refinement(run, &settings, &trained.model)?;
    let losses: Vec<f64> = trained.curve.iter().map(|epoch| epoch.loss).collect();
    finite_check(run, "losses", &losses);
    Ok(())
}

fn describe(run: &mut Run<'_>, set: Photographs, settings: &JointSettings, trained: &Trained) {
    let JointSettings { depth, widening, generator_width, train_images, batch_size, .. } = settings;
    let words = match run.request.scale {
        Scale::Smoke => {
            "Synthetic images and two updates: this shows that the path works. No number is claimed \
             at this scale."
                .to_owned()
        }
        _ => format!(
            "{}: {train_images} training images in [-1, 1], of 32x32 pixels, in batches of \
             {batch_size}; a wide residual network {depth}-{widening} without normalisation and a \
             generator of width {generator_width} (28-10 and 256 in the paper), alpha {}, lambda {}, \
             gamma {}, k = {}. The last epoch counts; test images are seen by the network in \
             evaluation, without augmentation.",
            set.name(),
            settings.class_weight,
            scientific(settings.entropy_weight, 1),
            settings.gradient_penalty,
            settings.proposals,
        ),
    };
    run.paragraph(words);
    run.paragraph(trained.sentence());
}

/// Accuracy and calibration on test images.
fn classes(run: &mut Run<'_>, set: Photographs, images: &Images, trained: &Trained) -> Result<()> {
    run.heading("Classes");
    let look = Look::of(&trained.model, &images.test, false)?;
    let (accuracy, calibration) = look.classes(&images.test.labels)?;
    let [classifier, chains, game] = set.published();
    let right = |name: &str| (name.to_owned(), Align::Right);
    let mut table = Table::new([
        right("accuracy, %"),
        right("calibration error (15 bins)"),
        right("95 % interval"),
        right("negative log-likelihood, nats"),
        right("Brier score"),
        right("test images"),
    ]);
    let (low, high) = calibration.ece_interval;
    table.row([
        format!("{:.1} ± {:.1}", 100.0 * accuracy.value, 100.0 * accuracy.std_error),
        format!("{:.4}", calibration.ece),
        format!("{low:.4} to {high:.4}"),
        format!("{:.3}", calibration.nll),
        format!("{:.3}", calibration.brier),
        accuracy.n.to_string(),
    ]);
    run.table(table);
    run.paragraph(format!(
        "Published, the full network on all training images: a classifier {classifier} %, a joint \
         energy model by chains {chains} %, VERA {game} %."
    ));
    // A part of the images and a small network are another model.
    let may = run.request.scale == Scale::Paper;
    let metric = Metric::new("accuracy", 100.0 * accuracy.value, "%")
        .std_error(100.0 * accuracy.std_error)
        .n(accuracy.n);
    run.metric(beside(metric, game, may));
    run.metric(Metric::new("calibration_error", calibration.ece, "").n(accuracy.n));
    run.metric(Metric::new("negative_log_likelihood", calibration.nll, "nats").n(accuracy.n));
    if run.request.scale != Scale::Smoke {
        let chance = 1.0 / set.classes() as f64;
        run.check(Check::at_most(
            "accuracy is above chance by five standard errors",
            chance + 5.0 * accuracy.std_error,
            accuracy.value,
        ));
        followed(run, trained)?;
    }
    trained.plot(run, "densities", "Mean f of an epoch")
}

/// Accuracy on validation images over epochs.
fn followed(run: &mut Run<'_>, trained: &Trained) -> Result<()> {
    let points: Vec<(f64, f64)> = trained
        .curve
        .iter()
        .filter_map(|epoch| Some((epoch.epoch as f64, 100.0 * epoch.accuracy?)))
        .collect();
    if points.is_empty() {
        return Ok(());
    }
    let mut plot = Plot::new("Accuracy on validation images", "epoch", "%");
    plot.series(Series::line("validation", points));
    run.plot("accuracy", &plot, "In evaluation, without augmentation.")
}

/// Areas under the curves that tell test images from others.
fn separation(
    run: &mut Run<'_>,
    set: Photographs,
    settings: &JointSettings,
    images: &Images,
    model: &VeraModel,
) -> Result<()> {
    run.heading("Outliers");
    let test: ImageSet = images.test.range(0..settings.outliers.min(images.test.len()));
    let own = Look::of(model, &test, settings.gradient_score)?;
    let sets = outliers(run.request, set, &test, settings.outliers)?;
    let names = ["outliers", "n", SCORES[0], "published (f)", SCORES[1], SCORES[2]];
    let align = |at: usize| if at == 0 { Align::Left } else { Align::Right };
    let mut table = Table::new(names.iter().enumerate().map(|(at, name)| (*name, align(at))));
    let total = Some(sets.len());
    run.observer()?.observe(&Event::Started { stage: "outliers", step: 0, total })?;
    for (at, (name, others)) in sets.iter().enumerate() {
        let found = Separation::of(name, &own, &Look::of(model, others, settings.gradient_score)?)?;
        let area = |at: usize| found.areas[at].map_or("-".into(), |area| format!("{area:.3}"));
        let theirs = published_area(set, name);
        table.row([
            name.clone(),
            found.n.to_string(),
            area(0),
            theirs.map(|v| v.to_string()).unwrap_or_default(),
            area(1),
            area(2),
        ]);
        for (score, area) in SCORES.iter().zip(&found.areas) {
            let Some(area) = area else { continue };
            let name = format!("auroc_{}_{}", name.replace(' ', "_"), key(score));
            let metric = Metric::new(name, *area, "").n(found.n);
            let may = run.request.scale == Scale::Paper && *score == "f";
            run.metric(theirs.map_or(metric.clone(), |theirs| beside(metric, theirs, may)));
        }
        run.observer()?.observe(&Event::Scalars { step: at + 1, values: &[] })?;
    }
    run.observer()?.observe(&Event::Finished { step: sets.len() })?;
    run.paragraph(format!(
        "Area under the receiver operating characteristic, {} test images being the positives: by \
         the log density f, by the largest class probability, and by minus the length of the gradient \
         of f. One half is chance; below it outliers score higher.",
        test.len()
    ));
    run.table(table);
    Ok(())
}

/// A score in the name of a metric.
pub(super) fn key(score: &str) -> &'static str {
    match score {
        "f" => "density",
        "max p" => "confidence",
        _ => "gradient",
    }
}

/// Samples of the generator beside their own batch's norms.
fn samples(run: &mut Run<'_>, settings: &JointSettings, model: &VeraModel) -> Result<()> {
    run.heading("Samples");
    let mut noise = run.request.stream().child("samples").host_noise();
    let drawn = model.generator().draw(settings.shown, BatchNormMoments::batch(), &mut noise)?;
    let x = drawn.x.to_device(&Device::Cpu)?.affine(0.5, 0.5)?;
    let sheet = Sheet { columns: 20, ..Sheet::new(3, 32, 32) };
    run.sheet("samples", &sheet, &x, "Samples of the generator, not chosen.")
}

/// Chains over latents and noise.
fn refinement(run: &mut Run<'_>, settings: &JointSettings, model: &VeraModel) -> Result<()> {
    run.heading("Refinement");
    let total = settings.refinement.burn_in + settings.refinement.steps;
    let mut noise = run.request.stream().child("refine").host_noise();
    let observer = run.observer()?;
    observer.observe(&Event::Started { stage: "refine", step: 0, total: Some(total) })?;
    let mut tick = |step| Ok(observer.observe(&Event::Scalars { step, values: &[] })?);
    let found = refine(model, &settings.refinement, LatentPrior::None, &mut noise, &mut tick)?;
    observer.observe(&Event::Finished { step: total })?;
    report_refined(run, &[("no prior (paper)", &found)])?;
    let columns = settings.refinement.samples.min(10);
    let shown = pairs(&found.raw, &found.refined, columns)?;
    let sheet = Sheet { columns, ..Sheet::new(3, 32, 32) };
    run.sheet(
        "refined",
        &sheet,
        &shown.to_device(&Device::Cpu)?,
        "Samples, and below each row the same after the chains.",
    )
}

/// Mean `f` over steps, acceptance, step sizes.
pub(super) fn report_refined(run: &mut Run<'_>, all: &[(&str, &Refined)]) -> Result<()> {
    let mut plot = Plot::new("Chains over latents and output noise", "step", "mean f, nats");
    let names = ["target", "steps", "f before", "f after", "acceptance", "step size"];
    let align = |at: usize| if at == 0 { Align::Left } else { Align::Right };
    let mut table = Table::new(names.iter().enumerate().map(|(at, name)| (*name, align(at))));
    for (name, found) in all {
        let steps = found.densities.len() - 1;
        let points = found.densities.iter().enumerate();
        plot.series(Series::line(*name, points.map(|(step, f)| (step as f64, *f))));
        let [before, after] = [found.densities[0], found.densities[steps]];
        table.row([
            (*name).to_owned(),
            steps.to_string(),
            format_number(before),
            format_number(after),
            format!("{:.3}", found.acceptance),
            format_number(found.step_size),
        ]);
        let key = if name.starts_with("no") { "" } else { "_with_prior" };
        run.metric(Metric::new(format!("refined_gain{key}"), after - before, "nats"));
        run.metric(Metric::new(format!("refined_acceptance{key}"), found.acceptance, ""));
    }
    run.paragraph(
        "Metropolis-adjusted Langevin chains over (z, e) on f(g(z) + sigma e): not a sampler of the \
         model, as the paper says. The step size adapts to an acceptance of 0.57 (the published aim) \
         on other chains and is then frozen; chains begin at fresh samples, and batch norms use the \
         moments of one batch of samples, so that chains do not interact.",
    );
    run.table(table);
    run.plot("refinement", &plot, "Mean over the chains, by the network in evaluation.")
}

#[cfg(test)]
mod tests;
