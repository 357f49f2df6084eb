//! Figure 4: sheets of samples, and the training images that are nearest to some of them.

use candle_core::Tensor;
use eval_metrics::nearest;
use infusion::InfusionModel;
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        data::Images,
        estimates::blocks,
        pictures::{generated_means, report_neighbours, rows, score},
    },
    ROUNDING, Set, Settings, extremes, trained,
};
use crate::{
    error::Result,
    request::Request,
    results::{Check, Metric},
    run::Run,
    sheet::Sheet,
};

/// Columns of the sheet.
const COLUMNS: usize = 10;
/// Training images that are compared at a time: 250 MB of CelebA.
const BLOCK: usize = 5_000;

/// What is shown of the samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Shown {
    /// Samples on the sheet, ten a row.
    pub(super) samples: usize,
}

fn resolve(request: &Request, set: Set) -> Result<Settings<Shown>> {
    Settings::resolve(request, set, Shown { samples: request.scale.pick(10, 100, 100) })
}

pub(super) fn settings(request: &Request, set: Set) -> Result<toml::Table> {
    resolve(request, set)?.table()
}

pub(super) fn run(run: &mut Run<'_>, set: Set) -> Result<()> {
    let settings = resolve(run.request, set)?;
    let (images, trained) = trained(run, set, &settings.train)?;
    let mean = sheet(run, &images, &trained.model, &settings)?;
    neighbours(run, &images, &mean)
}

/// Draws the samples and shows the means of their last step, `(n, D)`.
pub(super) fn sheet(
    run: &mut Run<'_>,
    images: &Images,
    model: &InfusionModel,
    settings: &Settings<Shown>,
) -> Result<Tensor> {
    let (n, steps) = (settings.shown.samples, settings.sample_steps);
    let [_, mean] = generated_means(run, model, n, steps)?;
    let (low, high) = extremes(&mean)?;
    run.check(Check::new(
        "samples are pixels",
        low >= 0.0 && high <= 1.0,
        format!("from {low:.3} to {high:.3}"),
    ));
    let spread = spread(&mean)?;
    run.check(Check::new(
        "samples differ from each other",
        spread > ROUNDING,
        format!("standard deviation {spread:.4} of a pixel over samples"),
    ));
    let size = images.test.len().min(500);
    let test = images.scaled(&images.test, size, model.device())?;
    run.metric(Metric::new("pixel_deviation_samples", spread, "of [0, 1]").n(n));
    run.metric(Metric::new("pixel_deviation_test", self::spread(&test)?, "of [0, 1]").n(size));
    run.heading(format!("Samples after {steps} steps"));
    let caption = "Means of the last step, as the paper shows them.";
    run.sheet("samples", &layout(images), &mean, caption)?;
    Ok(mean)
}

fn layout(images: &Images) -> Sheet {
    let [channels, height, width] = images.event();
    Sheet { columns: COLUMNS, ..Sheet::new(channels, height, width) }
}

/// Root of the variance of a pixel over rows, averaged over pixels.
fn spread(x: &Tensor) -> Result<f64> {
    let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
    Ok(f64::from(centred.sqr()?.mean_all()?.to_scalar::<f32>()?).sqrt())
}

/// The nearest training images of the last but one column, and of all samples beside test images.
fn neighbours(run: &mut Run<'_>, images: &Images, mean: &Tensor) -> Result<()> {
    let n = mean.dim(0)?;
    let near = nearest_training(images, rows(mean)?.view())?;
    let shown: Vec<usize> = (COLUMNS.min(n).saturating_sub(2)..n).step_by(COLUMNS).collect();
    let index: Vec<u32> = shown.iter().map(|at| *at as u32).collect();
    let above = mean.index_select(&Tensor::new(index.as_slice(), mean.device())?, 0)?;
    let indices: Vec<usize> = shown.iter().map(|at| near[*at].0).collect();
    let below = images.scaled_at(&images.train, &indices, mean.device())?;
    let sheet = Sheet { columns: shown.len(), ..layout(images) };
    run.sheet(
        "neighbours",
        &sheet,
        &Tensor::cat(&[&above, &below], 0)?,
        "Above: the last but one column. Below: the nearest training image of each.",
    )?;
    let size = images.test.len().min(200);
    let test = images.scaled(&images.test, size, mean.device())?;
    let near_test = nearest_training(images, rows(&test)?.view())?;
    let average = |found: &[(usize, f64)]| {
        found.iter().map(|(_, square)| square.sqrt()).sum::<f64>() / found.len() as f64
    };
    let (samples, real) = (average(&near), average(&near_test));
    report_neighbours(run, (samples, n), (real, size));
    Ok(())
}

/// For every query its nearest training image, integer / 256, and the squared distance; of equally
/// near ones the first. Not all training images are in memory as numbers at a time.
pub(super) fn nearest_training(
    images: &Images,
    queries: ArrayView2<'_, f32>,
) -> Result<Vec<(usize, f64)>> {
    let mut best = vec![(0, f64::INFINITY); queries.nrows()];
    for block in blocks(images.train.len(), BLOCK) {
        let training = images.scaled_at(&images.train, &block, &candle_core::Device::Cpu)?;
        let found = score(nearest(queries, rows(&training)?.view()))?;
        for (best, (index, square)) in
            best.iter_mut().zip(found.indices.into_iter().zip(found.squared_distances))
        {
            if square < best.1 {
                *best = (block[index], square);
            }
        }
    }
    Ok(best)
}
