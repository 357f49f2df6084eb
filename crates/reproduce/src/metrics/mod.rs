//! Experiments behind our own scores: the digit networks, and what real images score with them.

mod accuracy;
mod anchors;
mod classifier;
mod floors;
mod learner;
mod settings;
pub(crate) mod stacked;
#[cfg(test)]
mod tests;

use crate::registry::{Experiment, Paper};

/// No paper: what scores of digits are measured with.
pub static PAPER: Paper = Paper {
    id: "metrics",
    citation: "Our own scores of digits: the networks behind mnist-fid and classifier-score, and what \
               real images score",
    experiments: &[
        Experiment {
            id: "mnist-classifier",
            anchor: "no table",
            title: "The digit networks: training and accuracy",
            headline: true,
            data: "MNIST",
            time: ["5 s", "10 min", "25 min"],
            settings: classifier::settings,
            ready: classifier::ready,
            run: classifier::run,
        },
        Experiment {
            id: "mnist-floors",
            anchor: "no table",
            title: "What real digits score, and images that are none",
            headline: true,
            data: "MNIST",
            time: ["5 s", "3 min", "3 min"],
            settings: floors::settings,
            ready: floors::ready,
            run: floors::run,
        },
    ],
};
