//! What there is to look at: samples with their neighbours, chains, curves, Parzen rows.

use candle_core::Tensor;
use eval_metrics::{log_grid, nearest, parzen, select_bandwidth};
use infusion::{InfusionModel, SampleOptions, generate, generate_from};
use ndarray::Array2;

use super::{
    data::Images,
    estimates::blocks,
    limits::beside,
    settings::SampleSettings,
    training::{EpochBounds, Trained},
};
use crate::{
    error::{Error, Result},
    plots::{Plot, Series},
    report::{Align, Table, format_with_error},
    request::Scale,
    results::{Check, Metric},
    run::Run,
    sheet::Sheet,
};

/// Rows of a tensor `(n, D)` for the scores.
pub(super) fn rows(x: &Tensor) -> Result<Array2<f32>> {
    let (n, d) = x.dims2()?;
    let values = x.flatten_all()?.to_vec1::<f32>()?;
    Array2::from_shape_vec((n, d), values).map_err(|e| Error::Usage(e.to_string()))
}

pub(super) fn score<T>(found: eval_metrics::Result<T>) -> Result<T> {
    found.map_err(|e| Error::Usage(format!("score: {e}")))
}

/// How much the model has seen and how long it took.
pub(super) fn training_sentence(images: &Images, trained: &Trained) -> String {
    let (n, [_, h, w]) = (images.train.len(), images.event());
    format!("The model saw {n} training images of {h}x{w}. {}", trained.sentence())
}

/// May the paper's numbers of MNIST stand beside those of these images?
fn compares(run: &Run<'_>, images: &Images) -> bool {
    run.request.scale != Scale::Smoke && !images.pooled
}

/// Means of `n` generated chains: after the first step and after the last, `(n, D)` each.
pub(super) fn generated_means(
    run: &Run<'_>,
    model: &InfusionModel,
    n: usize,
    steps: usize,
) -> Result<[Tensor; 2]> {
    let seed = run.request.stream().child("generate");
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for (index, block) in blocks(n, 500).enumerate() {
        let mut noise = seed.indexed(index as u64).host_noise();
        let options = SampleOptions::new(steps);
        let found = generate(model, block.len(), &options, &mut noise, |t, generated| {
            if t == 0 {
                first.push(generated.mean.clone());
            }
            Ok(())
        })?;
        last.push(found.mean);
    }
    Ok([Tensor::cat(&first, 0)?, Tensor::cat(&last, 0)?])
}

/// Table 1: the Parzen estimate of final means, of one-step means, and of the prior.
pub(super) fn parzen_rows(
    run: &mut Run<'_>,
    images: &Images,
    model: &InfusionModel,
    settings: &SampleSettings,
) -> Result<()> {
    let steps = model.config().network.steps;
    let n = settings.parzen_samples;
    let [first, last] = generated_means(run, model, n, steps)?;
    let mut noise = run.request.stream().child("prior-samples").host_noise();
    let prior = model.prior()?.sample(n, &mut noise)?;
    let test = rows(&images.scaled(&images.test, settings.parzen_images, model.device())?)?;
    let validation = rows(&images.scaled(
        &images.validation,
        settings.parzen_images.min(1000),
        model.device(),
    )?)?;
    let published = settings.parzen_bandwidth;
    run.heading("Parzen estimate (Table 1)");
    run.paragraph(
        "Gaussian windows on generated means; test pixels are integer / 256 without noise, as \
         published. The published column has 10,000 samples of a model trained on 50,000 images. A \
         window chosen on validation images stands beside the published one.",
    );
    let mut table =
        Table::new([("Centres", Align::Left), ("window", Align::Right), ("nats", Align::Right)]);
    for (name, value) in [
        ("DBM, published", "138 ± 2"),
        ("Stacked CAE, published", "121 ± 1.6"),
        ("Deep GSN, published", "214 ± 1.1"),
        ("Diffusion, published", "220 ± 1.9"),
        ("GAN, published", "225 ± 2"),
        ("GMMN + AE, published", "282 ± 2"),
        ("Infusion, published", "312 ± 1.7"),
    ] {
        table.row([name, "", value]);
    }
    let mut scores = Vec::new();
    for (name, centres) in [("samples", &last), ("one_step", &first), ("prior", &prior)] {
        let centres = rows(centres)?;
        let grid = score(log_grid(0.02, 1.0, 17))?;
        let chosen = score(select_bandwidth(centres.view(), validation.view(), &grid))?;
        for (suffix, bandwidth) in [("", published), ("_chosen_window", chosen.bandwidth)] {
            let found = score(parzen(centres.view(), test.view(), bandwidth))?;
            let mut metric = Metric::new(format!("parzen_{name}{suffix}"), found.mean, "nats")
                .std_error(found.std_error)
                .n(found.n)
                .setting("window", bandwidth)
                .setting("centres", found.centres);
            if name == "samples" && suffix.is_empty() {
                // Another window is another score.
                let same = (bandwidth - 0.17).abs() < 1e-9;
                metric = beside(metric, 312.0, same && compares(run, images));
            }
            if !suffix.is_empty() {
                metric = metric.setting("window_at_edge_of_grid", chosen.at_edge);
            }
            metric = metric.setting("training_images", images.train.len());
            run.metric(metric);
            let value = format_with_error(found.mean, found.std_error);
            table.row([
                format!("ours, {}", name.replace('_', " ")),
                format!("{bandwidth:.3}"),
                value,
            ]);
            if suffix.is_empty() {
                scores.push(found.mean);
            }
        }
    }
    run.table(table);
    if run.request.scale != Scale::Smoke {
        run.check(Check::new(
            "Parzen: samples above one-step means above the prior",
            scores[0] > scores[1] && scores[1] > scores[2],
            format!("{:.1}, {:.1}, {:.1}", scores[0], scores[1], scores[2]),
        ));
    }
    Ok(())
}

/// Figure 4: a sheet of generated means with the nearest training images of its last but one column.
pub(super) fn samples(
    run: &mut Run<'_>,
    images: &Images,
    model: &InfusionModel,
    steps: usize,
) -> Result<()> {
    let [channels, height, width] = images.event();
    let sheet = Sheet { columns: 10, ..Sheet::new(channels, height, width) };
    let [_, mean] = generated_means(run, model, 100, steps)?;
    run.heading(format!("Samples after {steps} steps"));
    run.sheet("samples", &sheet, &mean, "Means of the last step, as the paper shows them.")?;
    let shown: Vec<u32> = (0..10).map(|row| row * 10 + 8).collect();
    let shown = mean.index_select(&Tensor::new(shown.as_slice(), mean.device())?, 0)?;
    let training = images.scaled(&images.train, images.train.len(), model.device())?;
    let found = score(nearest(rows(&shown)?.view(), rows(&training)?.view()))?;
    let indices: Vec<u32> = found.indices.iter().map(|i| *i as u32).collect();
    let near = training.index_select(&Tensor::new(indices.as_slice(), mean.device())?, 0)?;
    run.sheet(
        "neighbours",
        &sheet,
        &Tensor::cat(&[&shown, &near], 0)?,
        "Above: the last but one column. Below: the nearest training image of each.",
    )?;
    neighbour_distance(run, images, model, &mean, &training)
}

/// Are samples copies? Their distance to the training set beside that of test images.
fn neighbour_distance(
    run: &mut Run<'_>,
    images: &Images,
    model: &InfusionModel,
    mean: &Tensor,
    training: &Tensor,
) -> Result<()> {
    let test = images.scaled(&images.test, 200, model.device())?;
    let training = rows(training)?;
    let average = |x: &Tensor| -> Result<f64> {
        let found = score(nearest(rows(x)?.view(), training.view()))?;
        let n = found.squared_distances.len() as f64;
        Ok(found.squared_distances.iter().map(|d| d.sqrt()).sum::<f64>() / n)
    };
    let (samples, real) = (average(mean)?, average(&test)?);
    report_neighbours(run, (samples, mean.dim(0)?), (real, test.dim(0)?));
    Ok(())
}

/// Mean distance to the nearest training image, and over how many images: samples beside test images.
pub(super) fn report_neighbours(
    run: &mut Run<'_>,
    (samples, n): (f64, usize),
    (real, size): (f64, usize),
) {
    run.metric(Metric::new("nearest_training_distance_samples", samples, "L2").n(n));
    run.metric(Metric::new("nearest_training_distance_test", real, "L2").n(size));
    if run.request.scale != Scale::Smoke {
        run.check(Check::new(
            "samples are no copies of training images",
            samples > 0.25 * real,
            format!("distance {samples:.2}, test images {real:.2}"),
        ));
    }
}

/// Figure 1: rows of generated chains, one column a step.
pub(super) fn generated_chains(
    run: &mut Run<'_>,
    images: &Images,
    model: &InfusionModel,
    steps: usize,
) -> Result<()> {
    run.heading("Generated chains (Figure 1)");
    generated_chains_named(run, images, model, steps, "chains")
}

/// The same under another file name.
pub(super) fn generated_chains_named(
    run: &mut Run<'_>,
    images: &Images,
    model: &InfusionModel,
    steps: usize,
    name: &str,
) -> Result<()> {
    let mut noise = run.request.stream().child("chains").host_noise();
    let start = model.prior()?.sample(10, &mut noise)?;
    let (mut states, mut means) = (vec![start.clone()], Vec::new());
    generate_from(model, start, &SampleOptions::new(steps), &mut noise, |_, generated| {
        states.push(generated.position.clone());
        means.push(generated.mean.clone());
        Ok(())
    })?;
    let caption = "Each row a generated chain: the drawn states z_0, z_1, ..; z_0 is of the prior.";
    run.chains(name, images.event(), &states, caption)?;
    let caption = "The same chains: the means that z_1, z_2, .. were drawn around.";
    run.chains(&format!("{name}-means"), images.event(), &means, caption)
}

/// Figure 3: bounds over epochs.
pub(super) fn curves(run: &mut Run<'_>, images: &Images, curve: &[EpochBounds]) -> Result<()> {
    if curve.is_empty() {
        return Ok(());
    }
    let mut plot = Plot::new("Lower bound over training", "epoch", "nats");
    let line = |name: &str, f: fn(&EpochBounds) -> f64| {
        Series::line(name, curve.iter().map(|b| (b.epoch as f64, f(b))))
    };
    plot.series(line("train", |b| b.train));
    plot.series(line("validation", |b| b.validation));
    plot.series(line("test", |b| b.test));
    if compares(run, images) {
        plot.reference("published, test", 1350.598);
    }
    run.heading("Training curves (Figure 3)");
    run.plot(
        "curves",
        &plot,
        "Bounds with batch statistics, one chain an image: examples interact, so these are not \
         strict bounds.",
    )
}
