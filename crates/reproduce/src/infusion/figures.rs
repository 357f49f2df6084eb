//! The MNIST figures one by one, all from one small model that a command trains once.

use candle_core::Tensor;
use chains_core::nn::Statistics;
use infusion::{SampleOptions, inpaint};
use serde::{Deserialize, Serialize};

use super::{
    parzen::parzen_rows,
    pictures::{self, Means, generated_means},
    settings::{SampleSettings, TrainSettings},
    training::{Trained, train},
};
use crate::{
    arrays::rows,
    completions::{Extent, completions},
    digit_scores::{self, digit_scores},
    error::Result,
    images::Images,
    limits::at_least,
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
}

impl FigureSettings {
    fn of_scale(scale: Scale) -> Self {
        let (train, samples) = (TrainSettings::of_scale(scale), SampleSettings::of_scale(scale));
        Self { train, samples }
    }
}

/// As [`FigureSettings`], with how much the digit networks see.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SampleFigureSettings {
    #[serde(flatten)]
    train: TrainSettings,
    #[serde(flatten)]
    samples: SampleSettings,
    /// Chains that the digit networks judge.
    classifier_samples: usize,
}

fn resolve(request: &Request) -> Result<FigureSettings> {
    let settings: FigureSettings = request.settings(&FigureSettings::of_scale(request.scale))?;
    settings.train.validate_mnist()?;
    settings.samples.validate()?;
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

/// The samples are shown to networks of 28x28 pixels, at every scale.
fn resolve_samples(request: &Request) -> Result<SampleFigureSettings> {
    let figure = FigureSettings::of_scale(request.scale);
    let settings: SampleFigureSettings = request.settings(&SampleFigureSettings {
        train: TrainSettings { pooled: false, ..figure.train },
        samples: figure.samples,
        classifier_samples: request.scale.pick(50, 1_000, 5_000),
    })?;
    settings.train.validate_mnist()?;
    settings.samples.validate()?;
    at_least(&[("classifier_samples", settings.classifier_samples, 20)])?;
    Ok(settings)
}

pub(super) fn settings_samples(request: &Request) -> Result<toml::Table> {
    settings_table(&resolve_samples(request)?)
}

pub(super) fn ready_samples(request: &Request) -> Result<()> {
    let settings = resolve_samples(request)?;
    digit_scores::ready(request, Images::mnist(request, &settings.train.cut()?)?.event())
}

/// The shared model; its recipe is the same for every figure.
fn shared(run: &mut Run<'_>) -> Result<(FigureSettings, Images, Trained)> {
    let settings = resolve(run.request)?;
    let (images, trained) = trained(run, &settings.train)?;
    Ok((settings, images, trained))
}

fn trained(run: &mut Run<'_>, settings: &TrainSettings) -> Result<(Images, Trained)> {
    let images = Images::mnist(run.request, &settings.cut()?)?;
    let mut recipe = settings.recipe(images.event());
    recipe.snapshots = true;
    let trained = train(run, &images, &recipe, "train")?;
    trained.model.save(&run.dir().checkpoints().join("model"))?;
    run.paragraph(pictures::training_sentence(&images, &trained));
    Ok((images, trained))
}

/// Figure 1.
pub(super) fn chains(run: &mut Run<'_>) -> Result<()> {
    let (settings, images, trained) = shared(run)?;
    let options = settings.train.sampling(settings.train.steps);
    pictures::generated_chains(run, &images, &trained.model, &options)?;
    let [first, last] = generated_means(run, &trained.model, 200, &options)?;
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
    let (model, n) = (&trained.model, settings.samples.parzen_samples);
    let options = settings.train.sampling(settings.train.steps);
    let means = Means::generate(run, model, n, &options)?;
    parzen_rows(run, &images, model, &means, &settings.samples)
}

/// Figure 4, the MNIST panel, with the digit networks' view of the samples.
pub(super) fn samples(run: &mut Run<'_>) -> Result<()> {
    let settings = resolve_samples(run.request)?;
    let (images, trained) = trained(run, &settings.train)?;
    let (model, options) = (&trained.model, settings.train.sampling(settings.samples.sample_steps));
    pictures::samples(run, &images, model, &options)?;
    let Means { samples, one_step, prior } =
        Means::generate(run, model, settings.classifier_samples, &options)?;
    let sets = [("samples", &samples), ("one_step", &one_step), ("noise", &prior)];
    digit_scores(run, &images, &sets, &[])?;
    run.paragraph(
        "Where the rate begins at 0 the first step has seen nothing of any target, so its best mean \
         is the same for all chains: its classifier score is 1, below noise.",
    );
    Ok(())
}

/// Figure 5 on MNIST: the upper half known.
pub(super) fn inpainting(run: &mut Run<'_>) -> Result<()> {
    let (settings, images, trained) = shared(run)?;
    let (n, completions) = run.request.scale.pick((10, 3), (100, 8), (100, 8));
    let extent = Extent { name: "", bounded: true, images: n.min(images.test.len()), completions };
    complete(run, &images, &trained, extent, &settings.train.sampling(settings.train.steps))
}

/// Completes test images.
pub(super) fn complete(
    run: &mut Run<'_>,
    images: &Images,
    trained: &Trained,
    extent: Extent,
    options: &SampleOptions,
) -> Result<()> {
    let mean = trained.moments.mean();
    run.heading("Completions (Figure 5)");
    completions(run, images, &mean, extent, |[x, mask], noise, visit| {
        inpaint(&trained.model, x, mask, options, noise, |_, generated| visit(generated))
    })
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
