//! Digits: objectives with and without annealing in a grid of small GANs.

mod cell;
mod report;
mod settings;

use std::sync::Arc;

use self::{
    cell::{GanCell, Outcome},
    settings::GridSettings,
};
use crate::{
    data, digits,
    error::{Error, Result},
    registry::Experiment,
    request::Scale,
    results::write_json,
    run::Run,
    run_dir::settings_table,
    training::cells,
};

/// Section 5 of the supplement, scaled down: objectives with and without annealing.
pub(super) const MNIST_GAN: Experiment = Experiment {
    id: "mnist-gan",
    anchor: "Appendix J.1, scaled down",
    title: "Digits: three objectives with and without annealing",
    headline: true,
    data: "MNIST (part of the repository)",
    time: ["10 s", "13 min", "90 min"],
    settings: |request| settings_table(&GridSettings::resolve(request)?),
    ready: |request| digits::ready(&request.root),
    run,
};

/// The shipped network that scores.
const NETWORK: &str = "a";

fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = GridSettings::resolve(run.request)?;
    let judges = digits::open(&run.request.root, &run.request.device)?;
    let Some(judge) = judges.into_iter().find(|judge| judge.label == NETWORK) else {
        return Err(Error::Missing(format!("there is no digit network `{NETWORK}`")));
    };
    let files = data::mnist(run.request)?;
    let shared = Arc::new(cell::Shared::new(&files, judge, &settings, run)?);
    report::describe(run, &settings);
    let plan: Vec<GanCell> = settings.cells(run.request);
    let resolved: Vec<_> =
        plan.iter().map(|cell| (cell.label(), cell.train.resolved(cell.features()))).collect();
    write_json(&run.dir().root().join("annealing.json"), &resolved)?;
    let work = plan.iter().map(|cell| cell.clone().work(Arc::clone(&shared), run.request));
    let work = work.collect::<Result<Vec<_>>>()?;
    let found: Vec<Outcome> = cells(run, "train", work)?;
    let all: Vec<(&GanCell, &Outcome)> = plan.iter().zip(&found).collect();
    report::sheets(run, &all)?;
    report::table(run, &settings, &shared, &all)?;
    if run.request.scale != Scale::Smoke {
        report::checks(run, &settings, &all);
    }
    Ok(())
}
