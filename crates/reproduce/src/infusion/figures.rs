//! The MNIST figures one by one, all from one small model that a command trains once.

use candle_core::Tensor;
use chains_core::nn::Statistics;
use eval_metrics::{accuracy, classifier_score};
use serde::{Deserialize, Serialize};

use super::{
    data::Images,
    limits::at_least,
    parzen::parzen_rows,
    pictures::{self, generated_means, rows, score},
    settings::{SampleSettings, TrainSettings},
    training::{Trained, train},
};
use crate::{
    classifier::DigitClassifier,
    error::Result,
    request::{Request, Scale},
    results::{Check, Metric},
    run::Run,
    run_dir::settings_table,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct FigureSettings {
    #[serde(flatten)]
    train: TrainSettings,
    #[serde(flatten)]
    samples: SampleSettings,
    /// Chains and test images that the classifier judges.
    classifier_samples: usize,
}

fn resolve(request: &Request) -> Result<FigureSettings> {
    let settings: FigureSettings = request.settings(&FigureSettings {
        train: TrainSettings::of_scale(request.scale),
        samples: SampleSettings::of_scale(request.scale),
        classifier_samples: request.scale.pick(50, 1_000, 10_000),
    })?;
    settings.train.validate_mnist()?;
    settings.samples.validate()?;
    at_least(&[("classifier_samples", settings.classifier_samples, 20)])?;
    Ok(settings)
}

/// The curves are of the followed bounds, so there must be some.
fn resolve_curves(request: &Request) -> Result<FigureSettings> {
    let settings = resolve(request)?;
    at_least(&[("followed", settings.train.followed, 1)])?;
    Ok(settings)
}

pub(super) fn settings_curves(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve_curves(request)?)
}

pub(super) fn settings(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve(request)?)
}

pub(super) fn ready(request: &Request) -> Result<()> {
    Images::mnist(request, &resolve(request)?.train.cut()?).map(drop)
}

/// The shared model; its recipe is the same for every figure.
fn shared(run: &mut Run<'_>) -> Result<(FigureSettings, Images, Trained)> {
    let settings = resolve(run.request)?;
    let images = Images::mnist(run.request, &settings.train.cut()?)?;
    let mut recipe = settings.train.recipe(images.event());
    recipe.snapshots = true;
    let trained = train(run, &images, &recipe, "train")?;
    trained.model.save(&run.dir().checkpoints().join("model"))?;
    run.paragraph(pictures::training_sentence(&images, &trained));
    Ok((settings, images, trained))
}

/// Figure 1.
pub(super) fn chains(run: &mut Run<'_>) -> Result<()> {
    let (settings, images, trained) = shared(run)?;
    pictures::generated_chains(run, &images, &trained.model, settings.train.steps)?;
    let [first, last] = generated_means(run, &trained.model, 200, settings.train.steps)?;
    // Uncertain early, decided late: the means sharpen towards black and white.
    let contrast = |x: &Tensor| -> Result<f64> {
        let x = rows(x)?;
        Ok(x.iter().map(|v| f64::from(v * (1.0 - v))).sum::<f64>() / x.len() as f64)
    };
    let (early, late) = (contrast(&first)?, contrast(&last)?);
    run.metric(Metric::new("mean_pixel_uncertainty_first_step", early, "x(1-x)").n(200));
    run.metric(Metric::new("mean_pixel_uncertainty_last_step", late, "x(1-x)").n(200));
    if run.request.scale != Scale::Smoke {
        run.check(Check::new(
            "means are sharper after the last step than after the first",
            late < early,
            format!("{late:.4} against {early:.4}"),
        ));
    }
    Ok(())
}

/// Figure 2.
pub(super) fn infusion_chains(run: &mut Run<'_>) -> Result<()> {
    let (_, images, trained) = shared(run)?;
    let epochs = trained.snapshots.len();
    let every = epochs.div_ceil(12).max(1);
    let chosen: Vec<&Tensor> = trained.snapshots.iter().step_by(every).collect();
    let steps = chosen[0].dim(0)?;
    let columns = (0..steps)
        .map(|t| {
            let column: Vec<Tensor> =
                chosen.iter().map(|row| row.get(t)).collect::<candle_core::Result<_>>()?;
            Ok(Tensor::stack(&column, 0)?)
        })
        .collect::<Result<Vec<_>>>()?;
    run.heading("The infusion chain of one target as training goes on (Figure 2)");
    run.chains(
        "infusion-chains",
        images.event(),
        &columns,
        &format!(
            "Top row: before training; then every {every} epoch(s). Columns: z_0, z_1, .. of the \
             chain infused with one training image of the digit 3."
        ),
    )?;
    let labels = &images.train.labels;
    let target = labels.iter().position(|label| *label == 3).unwrap_or(0);
    let target = images.scaled(&images.train.select(&[target]), 1, trained.model.device())?;
    let distance = |row: &Tensor| -> Result<f64> {
        let last = row.get(steps - 1)?.unsqueeze(0)?;
        Ok(f64::from((last - &target)?.sqr()?.mean_all()?.to_scalar::<f32>()?))
    };
    let before = distance(&trained.snapshots[0])?;
    let after = distance(&trained.snapshots[epochs - 1])?;
    run.metric(Metric::new("last_state_to_target_before", before, "mean squared distance"));
    run.metric(Metric::new("last_state_to_target_after", after, "mean squared distance"));
    if run.request.scale != Scale::Smoke {
        run.check(Check::new(
            "training brings the end of the chain nearer to its target",
            after < before,
            format!("{after:.4} against {before:.4}"),
        ));
    }
    Ok(())
}

/// Figure 3.
pub(super) fn curves(run: &mut Run<'_>) -> Result<()> {
    let (_, images, trained) = shared(run)?;
    pictures::curves(run, &images, &trained.curve)?;
    let (Some(first), Some(last)) = (trained.curve.first(), trained.curve.last()) else {
        return Ok(());
    };
    for (name, value) in [
        ("bound_train_last_epoch", last.train),
        ("bound_validation_last_epoch", last.validation),
        ("bound_test_last_epoch", last.test),
    ] {
        let metric = Metric::new(name, value, "nats").setting("statistics", "batch");
        run.metric(metric.setting("training_images", images.train.len()));
    }
    if run.request.scale != Scale::Smoke {
        for (name, a, b) in [
            ("training", first.train, last.train),
            ("validation", first.validation, last.validation),
        ] {
            run.check(Check::new(
                format!("the {name} bound rises"),
                b > a,
                format!("from {a:.1} to {b:.1}"),
            ));
        }
    }
    Ok(())
}

/// Table 1.
pub(super) fn parzen(run: &mut Run<'_>) -> Result<()> {
    let (settings, images, trained) = shared(run)?;
    parzen_rows(run, &images, &trained.model, &settings.samples)
}

/// Figure 4, the MNIST panel, with a classifier's view of the samples.
pub(super) fn samples(run: &mut Run<'_>) -> Result<()> {
    let (settings, images, trained) = shared(run)?;
    let model = &trained.model;
    pictures::samples(run, &images, model, settings.samples.sample_steps)?;
    let device = model.device();
    let training = images.scaled(&images.train, images.train.len(), device)?;
    let (hidden, epochs) = run.request.scale.pick((16, 1), (256, 8), (256, 8));
    let seed = run.request.stream().child("classifier");
    let judge = DigitClassifier::train(&training, &images.train.labels, hidden, epochs, seed)?;
    let test = images.scaled(&images.test, images.test.len(), device)?;
    let found = score(accuracy(rows(&judge.probabilities(&test)?)?.view(), &images.test.labels))?;
    run.metric(Metric::new("classifier_accuracy_test", found.value, "share").n(found.n));
    let n = settings.classifier_samples.min(images.test.len());
    let [first, last] = generated_means(run, model, n, settings.samples.sample_steps)?;
    let mut noise = run.request.stream().child("prior-samples").host_noise();
    let prior = model.prior()?.sample(n, &mut noise)?;
    let mut values = [0.0; 4];
    let kinds = [
        ("real", &test.narrow(0, 0, n)?),
        ("samples", &last),
        ("one_step", &first),
        ("noise", &prior),
    ];
    for (value, (name, x)) in values.iter_mut().zip(kinds) {
        let probabilities = rows(&judge.probabilities(x)?)?;
        let confidence = probabilities
            .rows()
            .into_iter()
            .map(|row| f64::from(row.iter().copied().fold(0.0, f32::max)))
            .sum::<f64>()
            / n as f64;
        let splits = 10.min(n / 10).max(1);
        let found = score(classifier_score(probabilities.view(), splits))?;
        let mut metric =
            Metric::new(format!("classifier_score_{name}"), found.mean, "exp nats").n(n);
        if let Some(error) = found.std_error {
            metric = metric.std_error(error);
        }
        run.metric(metric.setting("splits", splits));
        run.metric(Metric::new(format!("classifier_confidence_{name}"), confidence, "share").n(n));
        *value = found.mean;
    }
    run.paragraph(
        "The classifier is a small network trained on the same training images; its score on real \
         test images is the ceiling. Where the rate begins at 0 the first step has seen nothing of any \
         target, so its best mean is the same for all chains and scores 1, below noise.",
    );
    if run.request.scale != Scale::Smoke {
        let [real, samples, one_step, noise] = values;
        run.check(Check::new(
            "classifier score: samples above one step and above noise, real above all",
            real > samples && samples > one_step.max(noise),
            format!(
                "real {real:.2}, samples {samples:.2}, one step {one_step:.2}, noise {noise:.2}"
            ),
        ));
    }
    Ok(())
}

/// Figure 5 on MNIST: the upper half known.
pub(super) fn inpainting(run: &mut Run<'_>) -> Result<()> {
    let (settings, images, trained) = shared(run)?;
    let (n, completions) = run.request.scale.pick((10, 3), (100, 8), (100, 8));
    let extent = super::inpaint::Extent {
        images: n.min(images.test.len()),
        completions,
        steps: settings.train.steps,
    };
    super::inpaint::completions(run, &images, &trained, extent)
}

/// The infused chains of test images, states `z_0 .. z_{T-1}`, each `(n, D)`, with frozen statistics.
pub(super) fn infused_states(
    run: &Run<'_>,
    images: &Images,
    trained: &Trained,
    n: usize,
) -> Result<(Tensor, Vec<Tensor>)> {
    let seed = run.request.stream().child("infused");
    let model = &trained.model;
    let x = images.first(&images.test, n, seed, model.device())?;
    let (operator, prior) = (model.operator(Statistics::Running), model.prior()?);
    let chain = model.infusion_chain(&operator, &prior);
    let states = chain.states(&x, &mut seed.child("chain").host_noise())?;
    Ok((x, states))
}
