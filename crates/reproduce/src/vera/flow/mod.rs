//! Table 2: flows on digits, whose likelihood is exact.

pub(super) mod data;
mod fit;
mod nice;
mod outcome;
mod settings;

use crate::registry::Experiment;

/// Table 2.
pub(super) const NICE: Experiment = Experiment {
    id: "nice",
    anchor: "Table 2",
    title: "NICE on digits: exact likelihood of flows trained as if unnormalised",
    headline: true,
    data: "optdigits (quick), MNIST (size mnist14 and paper)",
    time: ["5 s", "10 min", "weeks"],
    settings: nice::settings,
    ready: nice::ready,
    run: nice::run,
};
