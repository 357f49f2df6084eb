//! MNIST: the small autoencoder, its energy, samples of both.

pub(crate) mod autoencoder;
pub(crate) mod base;
pub(crate) mod data;
pub(crate) mod energy;
pub(crate) mod health;
mod mnist;
pub(crate) mod samples;
pub(crate) mod settings;
mod stopping;
pub(crate) mod stored;
#[cfg(test)]
mod tests;

use self::settings::DigitSettings;
use crate::{registry::Experiment, run_dir::settings_table};

/// Table 1, on MNIST.
pub(super) const MNIST: Experiment = Experiment {
    id: "mnist",
    anchor: "Table 1, on MNIST",
    title: "Samples of an autoencoder and of its product with an energy",
    headline: true,
    data: "MNIST (part of the repository)",
    time: ["3 s", "9 min", "30 min"],
    settings: |request| settings_table(&DigitSettings::resolve(request)?),
    ready: |request| DigitSettings::resolve(request)?.ready(request),
    run: mnist::run,
};

/// Table 1's rows with and without a buffer, on MNIST.
pub(super) const MNIST_BUFFER: Experiment = Experiment {
    id: "mnist-buffer",
    anchor: "Table 1, persistent chains, on MNIST",
    title: "Chains from fresh noise and from a replay buffer",
    headline: false,
    data: "MNIST (part of the repository)",
    time: ["3 s", "9 min", "30 min"],
    settings: |request| settings_table(&DigitSettings::resolve_buffer(request)?),
    ready: |request| DigitSettings::resolve_buffer(request)?.ready(request),
    run: mnist::run_buffer,
};
