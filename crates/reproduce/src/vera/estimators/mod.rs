//! Figures 3 and 6: the score of a generator as it is estimated, and the weights behind it.

mod ess;
mod measure;
mod outcome;
mod ppca;
mod score;
mod shifts;
#[cfg(test)]
mod tests;

use crate::registry::Experiment;

/// Figure 3: estimates of the score beside its closed form.
pub(super) const SCORE_BIAS: Experiment = Experiment {
    id: "score-bias",
    anchor: "Figure 3",
    title: "Estimates of a generator's score beside the exact one of principal components",
    headline: false,
    data: "MNIST",
    time: ["2 s", "2 min", "3 hours"],
    settings: score::settings,
    ready: score::ready,
    run: score::run,
};

/// Figure 6: effective numbers of proposals.
pub(super) const EFFECTIVE_SAMPLES: Experiment = Experiment {
    id: "effective-samples",
    anchor: "Figure 6",
    title: "How many proposals count: shifted Gaussians and trained generators",
    headline: false,
    data: "optdigits (quick), MNIST (paper)",
    time: ["2 s", "90 s", "hours"],
    settings: ess::settings,
    ready: ess::ready,
    run: ess::run,
};
