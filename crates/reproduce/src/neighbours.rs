//! Figure 4: sheets of samples, and the training images that are nearest to some of them.

use candle_core::{Device, Tensor};
use eval_metrics::nearest;
use ndarray::ArrayView2;

use crate::{
    arrays::{rows, score},
    error::Result,
    images::{Images, blocks},
    request::Scale,
    results::{Check, Metric},
    run::Run,
    sheet::Sheet,
};

/// Columns of the sheet.
const COLUMNS: usize = 10;
/// Training images that are compared at a time: 250 MB of CelebA.
const BLOCK: usize = 5_000;

fn layout(images: &Images) -> Sheet {
    let [channels, height, width] = images.event();
    Sheet { columns: COLUMNS, ..Sheet::new(channels, height, width) }
}

/// The means of the last step of generated chains, `(n, D)`, ten a row.
pub(crate) fn samples_sheet(
    run: &mut Run<'_>,
    images: &Images,
    mean: &Tensor,
    steps: usize,
) -> Result<()> {
    run.heading(format!("Samples after {steps} steps"));
    let caption = "Means of the last step, as the paper shows them.";
    run.sheet("samples", &layout(images), mean, caption)
}

/// The nearest training images of the last but one column, and how near samples are to the training
/// images, beside test images: are they copies?
pub(crate) fn neighbours(run: &mut Run<'_>, images: &Images, mean: &Tensor) -> Result<()> {
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
    run.metric(Metric::new("nearest_training_distance_samples", samples, "L2").n(n));
    run.metric(Metric::new("nearest_training_distance_test", real, "L2").n(size));
    if run.request.scale != Scale::Smoke {
        run.check(Check::new(
            "samples are no copies of training images",
            samples > 0.25 * real,
            format!("distance {samples:.2}, test images {real:.2}"),
        ));
    }
    Ok(())
}

/// For every query its nearest training image, integer / 256, and the squared distance; of equally
/// near ones the first. Not all training images are in memory as numbers at a time.
pub(crate) fn nearest_training(
    images: &Images,
    queries: ArrayView2<'_, f32>,
) -> Result<Vec<(usize, f64)>> {
    let mut best = vec![(0, f64::INFINITY); queries.nrows()];
    for block in blocks(images.train.len(), BLOCK) {
        let training = images.scaled_at(&images.train, &block, &Device::Cpu)?;
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
