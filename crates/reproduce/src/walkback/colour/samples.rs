//! Figures 3, 4 and 5: sheets of samples, their nearest training images, and chains.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use walkback::{SampleOptions, WalkbackModel};

use super::{
    super::generation::{BLOCK, Ends, in_blocks},
    Model, Settings, at_most_test,
    chains::{self, Columns},
    trained,
};
use crate::{
    arrays::{ROUNDING, extremes, finite, spread},
    error::Result,
    images::Images,
    limits::{at_least, bad},
    neighbours::neighbours,
    request::Request,
    results::{Check, Metric},
    run::Run,
    sheet::Sheet,
};

/// What is shown of the samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Shown {
    /// Samples on the sheet, ten a row.
    samples: usize,
    /// Heating chains of test images, and cooling chains, one a row.
    chains: usize,
}

fn resolve(request: &Request, model: Model) -> Result<Settings<Shown>> {
    let scale = request.scale;
    let shown = Shown { samples: scale.pick(10, 100, 100), chains: scale.pick(4, 8, 8) };
    let settings = Settings::resolve(request, model, shown)?;
    let Shown { samples, chains } = settings.shown;
    at_least(&[("samples", samples, 2), ("chains", chains, 1)])?;
    at_most_test(&settings.train, "chains", chains)?;
    if chains > samples.min(BLOCK) {
        return bad("chains", &format!("must be at most {}", samples.min(BLOCK)));
    }
    Ok(settings)
}

pub(super) fn settings(request: &Request, model: Model) -> Result<toml::Table> {
    resolve(request, model)?.table()
}

pub(super) fn run(run: &mut Run<'_>, model: Model) -> Result<()> {
    let settings = resolve(run.request, model)?;
    let (images, trained) = trained(run, model, &settings.train)?;
    let Shown { samples, chains } = settings.shown;
    let drawn = draw(run, &trained.model, samples, chains)?;
    sheet(run, &images, &trained.model, &drawn.states)?;
    neighbours(run, &images, &drawn.states)?;
    chains::heating(run, &images, &trained.model, chains)?;
    chains::cooling(run, &images, &trained.model, &drawn)
}

/// Generated chains.
pub(super) struct Drawn {
    /// Their last states, `(n, D)`.
    pub(super) states: Tensor,
    /// Their starts, `(n, D)`.
    pub(super) starts: Tensor,
    /// Some states of the first ones.
    pub(super) columns: Columns,
}

/// `n` chains of K cooling steps and the further ones, and what is shown of the first `chains`.
pub(super) fn draw(run: &Run<'_>, model: &WalkbackModel, n: usize, chains: usize) -> Result<Drawn> {
    let seed = run.request.stream().child("generate");
    let options = SampleOptions::of(model);
    let mut columns = Columns::new(options.steps + options.extra + 1, chains);
    let Ends { starts, states, .. } = in_blocks(model, n, &options, seed, |block, step, found| {
        if block == 0 {
            columns.push(step, &found.position)?;
        }
        Ok(())
    })?;
    Ok(Drawn { states, starts, columns })
}

/// Shows samples, `(n, D)`, and says whether they are pixels and differ.
pub(super) fn sheet(
    run: &mut Run<'_>,
    images: &Images,
    model: &WalkbackModel,
    states: &Tensor,
) -> Result<()> {
    let (low, high) = extremes(states)?;
    let numbers = finite(states)?;
    run.check(Check::new(
        "samples are pixels",
        numbers && low >= 0.0 && high <= 1.0,
        format!("from {low:.3} to {high:.3}"),
    ));
    let deviation = spread(states)?;
    run.check(Check::new(
        "samples differ from each other",
        deviation > ROUNDING,
        format!("standard deviation {deviation:.4} of a pixel over samples"),
    ));
    let (n, size) = (states.dim(0)?, images.test.len().min(500));
    let test = images.scaled(&images.test, size, model.device())?;
    run.metric(Metric::new("pixel_deviation_samples", deviation, "of [0, 1]").n(n));
    run.metric(Metric::new("pixel_deviation_test", spread(&test)?, "of [0, 1]").n(size));
    let SampleOptions { steps, extra, .. } = SampleOptions::of(model);
    run.heading(format!("Samples after {steps} cooling steps and {extra} at temperature 1"));
    let [channels, height, width] = images.event();
    let shown = states.narrow(0, 0, n.min(BLOCK))?;
    let caption = "States after the last step; chains of a sheet share the moments of their batch.";
    run.sheet("samples", &Sheet::new(channels, height, width), &shown, caption)
}
