//! What people do with a trained model of digits: outliers, likelihoods, step sizes, speed, chains, copies,
//! low temperatures.

mod copies;
mod histogram;
mod long_chains;
mod model;
mod outliers;
mod scores;
mod speed;
mod step_sizes;
mod temperature;
#[cfg(test)]
mod tests;

use crate::{digits, error::Result, registry::Experiment, request::Request};

const DATA: &str = "MNIST and checkpoints/vaebm-mnist (parts of the repository)";

/// Table 6.
pub(super) const OUTLIERS: Experiment = Experiment {
    id: "outliers",
    anchor: "Table 6, on MNIST",
    title: "Which images the model, its autoencoder and its energy find unlikely",
    headline: false,
    data: DATA,
    time: ["3 s", "4 min", "30 min"],
    settings: outliers::settings,
    ready: |request| model::ready(request, &outliers::resolve(request)?.model),
    run: outliers::run,
};

/// Figure 6.
pub(super) const HISTOGRAM: Experiment = Experiment {
    id: "histogram",
    anchor: "Figure 6, Appendix D, on MNIST",
    title: "Unnormalised likelihoods of digits that were trained on and of others",
    headline: false,
    data: DATA,
    time: ["3 s", "2 min", "20 min"],
    settings: histogram::settings,
    ready: |request| model::ready(request, &histogram::resolve(request)?.model),
    run: histogram::run,
};

/// Figure 5.
pub(super) const STEP_SIZES: Experiment = Experiment {
    id: "step-sizes",
    anchor: "Figure 5, Appendix B.1, on MNIST",
    title: "Chains on images and latent variables with one step size, beside chains on noise",
    headline: false,
    data: DATA,
    time: ["3 s", "4 min", "40 min"],
    settings: step_sizes::settings,
    ready: |request| both(request, &step_sizes::resolve(request)?.model),
    run: step_sizes::run,
};

/// The comparison of sampling speed.
pub(super) const SPEED: Experiment = Experiment {
    id: "sampling-speed",
    anchor: "Section 5.4, Appendix J, on MNIST",
    title: "Seconds of 50 samples by the number of steps",
    headline: false,
    data: DATA,
    time: ["2 s", "1 min", "1 min"],
    settings: speed::settings,
    ready: |request| model::ready(request, &speed::resolve(request)?.model),
    run: speed::run,
};

/// Figure 2b and what longer chains do.
pub(super) const LONG_CHAINS: Experiment = Experiment {
    id: "chains",
    anchor: "Figure 2b, on MNIST",
    title: "Chains of samples, and whether long ones leave their digit",
    headline: false,
    data: DATA,
    time: ["3 s", "3 min", "20 min"],
    settings: long_chains::settings,
    ready: |request| both(request, &long_chains::resolve(request)?.model),
    run: long_chains::run,
};

/// Figures 16 to 19.
pub(super) const COPIES: Experiment = Experiment {
    id: "neighbours",
    anchor: "Figures 16 and 17, Appendix I, on MNIST",
    title: "Nearest training digits of samples, by pixels and by features",
    headline: false,
    data: DATA,
    time: ["3 s", "2 min", "10 min"],
    settings: copies::settings,
    ready: |request| both(request, &copies::resolve(request)?.model),
    run: copies::run,
};

/// Chains that begin at low temperature.
pub(super) const LOW_TEMPERATURE: Experiment = Experiment {
    id: "low-temperature",
    anchor: "Figures 3 and 13, Appendix E, on MNIST",
    title: "Samples at a low temperature, as noise at temperature 1, and chains from there",
    headline: false,
    data: DATA,
    time: ["3 s", "3 min", "10 min"],
    settings: temperature::settings,
    ready: |request| model::ready(request, &temperature::resolve(request)?.model),
    run: temperature::run,
};

/// With the digit networks.
fn both(request: &Request, model: &str) -> Result<()> {
    digits::ready(&request.root)?;
    model::ready(request, model)
}
