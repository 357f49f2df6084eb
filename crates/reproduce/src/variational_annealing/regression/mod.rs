//! Table S3: Bayesian logistic regression without samples of the posterior.

mod data;
mod fit;
mod report;
mod settings;

use crate::registry::Experiment;

/// U-GAN beside SVGD, Hamiltonian Monte Carlo and a point estimate on the same splits.
pub(super) const LOGISTIC_REGRESSION: Experiment = Experiment {
    id: "logistic-regression",
    anchor: "Table S3",
    title: "Bayesian logistic regression: U-GAN beside SVGD, HMC and a point estimate",
    headline: true,
    data: "heart, sonar, wdbc, german",
    time: ["5 s", "4 min", "2 days"],
    settings: settings::settings,
    ready: data::ready,
    run: report::run,
};
