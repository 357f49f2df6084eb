//! What training follows and when it steps (experiments 15 and 16 of our list), and how the
//! temperature enters: on the spiral, and on digits averaged to 14x14.

mod compare;
mod effects;
mod settings;
mod targets;
#[cfg(test)]
mod tests;
mod updates;

use crate::registry::Experiment;

/// Section 9: online against accumulated updates, normalisation of every step against shared.
pub(super) const UPDATES_AND_NORMS: Experiment = Experiment {
    id: "updates-and-norms",
    anchor: "Section 9",
    title: "Online and accumulated updates, normalisation of every step and shared",
    headline: false,
    data: "MNIST",
    time: ["1 s", "4 min", "4 weeks"],
    settings: updates::settings,
    ready: updates::ready,
    run: updates::run,
};

/// The loss of the method, that of the published code, and the bound itself.
pub(super) const TARGETS: Experiment = Experiment {
    id: "targets",
    anchor: "Algorithm 1",
    title: "Walking back, self-reconstruction as in the published code, and the bound itself",
    headline: false,
    data: "MNIST",
    time: ["1 s", "4 min", "4 weeks"],
    settings: targets::settings,
    ready: targets::ready,
    run: targets::run,
};

/// What the temperature multiplies, and why the printed schedule is read as a geometric one.
pub(super) const TEMPERATURE_EFFECTS: Experiment = Experiment {
    id: "temperature-effects",
    anchor: "Section 6",
    title: "Temperature on the variance, its root and the deviation; the printed schedule",
    headline: false,
    data: "none",
    time: ["1 s", "2 min", "1 day"],
    settings: effects::settings,
    ready: |_| Ok(()),
    run: effects::run,
};
