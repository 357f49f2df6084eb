//! Experiments 4, 5 and 10 to 14 of the method: MNIST.

pub(super) mod bound;
mod inpainting;
mod long_chains;
pub(super) mod pictures;
mod reversibility;
mod samples;
mod scatter;

use crate::registry::Experiment;

/// Figure 2: samples.
pub(super) const SAMPLES: Experiment = Experiment {
    id: "mnist-samples",
    anchor: "Figures 2 and 8",
    title: "MNIST samples, chains from noise, and the digit networks' view",
    headline: true,
    data: "MNIST",
    time: ["2 s", "7 min", "months"],
    settings: samples::settings,
    ready: samples::ready,
    run: samples::run,
};

/// Samples with the noise of the published code.
pub(super) const PUBLISHED_NOISE: Experiment = Experiment {
    id: "mnist-published-noise",
    anchor: "Figure 2, with the noise of the published code",
    title: "MNIST samples where walks end far from where sampling starts",
    headline: false,
    data: "MNIST",
    time: ["2 s", "7 min", "months"],
    settings: samples::settings_published,
    ready: samples::ready,
    run: samples::run_published,
};

/// Section 5.1: bounds.
pub(super) const BOUND: Experiment = Experiment {
    id: "mnist-bound",
    anchor: "Section 5.1",
    title: "Lower bound and importance-sampling estimate on MNIST",
    headline: true,
    data: "MNIST",
    time: ["2 s", "5 min", "months"],
    settings: bound::settings,
    ready: bound::ready,
    run: bound::run,
};

/// Figure 1, on digits.
pub(super) const INPAINTING: Experiment = Experiment {
    id: "mnist-inpainting",
    anchor: "Figure 1, on MNIST",
    title: "Completing digits whose upper half is known",
    headline: false,
    data: "MNIST",
    time: ["2 s", "5 min", "months"],
    settings: inpainting::settings,
    ready: inpainting::ready,
    run: inpainting::run,
};

/// Figures 9 to 14: long chains.
pub(super) const LONG_CHAINS: Experiment = Experiment {
    id: "mnist-long-chains",
    anchor: "Figures 9 to 14",
    title: "Thousands of steps at temperature 1",
    headline: false,
    data: "MNIST",
    time: ["2 s", "9 min", "months"],
    settings: long_chains::settings,
    ready: long_chains::ready,
    run: long_chains::run,
};

/// Section 8: reversibility.
pub(super) const REVERSIBILITY: Experiment = Experiment {
    id: "reversibility",
    anchor: "Section 8",
    title: "How far the chain at temperature 1 is from its own reverse",
    headline: false,
    data: "MNIST",
    time: ["2 s", "5 min", "months"],
    settings: reversibility::settings,
    ready: reversibility::ready,
    run: reversibility::run,
};

/// Section 7: bounds and samples.
pub(super) const BOUNDS_AND_SAMPLES: Experiment = Experiment {
    id: "bounds-and-samples",
    anchor: "Section 7, Figure 15",
    title: "Bound against classifier score over temperature ladders",
    headline: false,
    data: "MNIST",
    time: ["2 s", "6 min", "months"],
    settings: scatter::settings,
    ready: scatter::ready,
    run: scatter::run,
};
