//! Table 4 on MNIST: what the autoencoder, the energy and their product each give.

mod game;
mod learning;
mod pixels;
mod report;
mod rows;
mod settings;
#[cfg(test)]
mod tests;

use self::{
    report::report,
    rows::{Parts, make},
    settings::AblationSettings,
};
use super::digits::{
    base::base,
    data::{Digits, SIDE},
};
use crate::{error::Result, limits::bad, registry::Experiment, run::Run, run_dir::settings_table};

/// Table 4 and appendix C, on MNIST.
pub(super) const ABLATION: Experiment = Experiment {
    id: "ablation",
    anchor: "Table 4 and appendix C, on MNIST",
    title: "Energies on pixels, a Wasserstein game and VAEBM beside each other",
    headline: false,
    data: "MNIST (part of the repository)",
    time: ["5 s", "8 min", "80 min"],
    settings: |request| settings_table(&AblationSettings::resolve(request)?),
    ready: |request| AblationSettings::resolve(request)?.ready(request),
    run,
};

fn run(run: &mut Run<'_>) -> Result<()> {
    let settings = AblationSettings::resolve(run.request)?;
    let digits = Digits::load(run.request, settings.train_images, settings.validation_images)?;
    report::describe(run, &settings);
    let base = base(run, &digits, &settings.model, &settings.autoencoder())?;
    if base.model.network().config().event() != [1, SIDE, SIDE] {
        return bad("model", "must be of grey images of side 32");
    }
    let parts = Parts { settings: &settings, digits: &digits, base: &base };
    let mut outcomes = Vec::with_capacity(settings.rows.len());
    for row in &settings.rows {
        let outcome = make(run, &parts, *row)?;
        report::sheet(run, &settings, &outcome)?;
        outcomes.push(outcome);
    }
    report(run, &outcomes)
}
