//! Figure 4: sheets of colour samples and of faces.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{super::pictures::generated_means, Set, Settings, trained};
use crate::{
    arrays::{ROUNDING, extremes, spread},
    error::Result,
    images::Images,
    neighbours::{neighbours, samples_sheet},
    request::Request,
    results::{Check, Metric},
    run::Run,
};

/// What is shown of the samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Shown {
    /// Samples on the sheet, ten a row.
    samples: usize,
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
    let (n, options) = (settings.shown.samples, settings.sampling());
    let [_, mean] = generated_means(run, &trained.model, n, &options)?;
    sheet(run, &images, &mean, n, options.steps)?;
    neighbours(run, &images, &mean)
}

/// Says whether means of the last of so many steps, `(n, D)`, are pixels and differ, and shows the
/// first `shown` of them.
pub(super) fn sheet(
    run: &mut Run<'_>,
    images: &Images,
    mean: &Tensor,
    shown: usize,
    steps: usize,
) -> Result<()> {
    let n = mean.dim(0)?;
    let (low, high) = extremes(mean)?;
    run.check(Check::new(
        "samples are pixels",
        low >= 0.0 && high <= 1.0,
        format!("from {low:.3} to {high:.3}"),
    ));
    let deviation = spread(mean)?;
    run.check(Check::new(
        "samples differ from each other",
        deviation > ROUNDING,
        format!("standard deviation {deviation:.4} of a pixel over samples"),
    ));
    let size = images.test.len().min(500);
    let test = images.scaled(&images.test, size, mean.device())?;
    run.metric(Metric::new("pixel_deviation_samples", deviation, "of [0, 1]").n(n));
    run.metric(Metric::new("pixel_deviation_test", spread(&test)?, "of [0, 1]").n(size));
    samples_sheet(run, images, &mean.narrow(0, 0, n.min(shown))?, steps)
}
