//! The experiments of VERA.

mod estimators;
mod flow;
mod game;
mod joint;
mod methods;
mod plane;
mod scores;
mod stacked;
mod tables;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    scores::Scores,
    tables::{TableCard, csv_line, listed},
};
use crate::{registry::Paper, seeds};

/// Grathwohl, Kelly, Hashemi, Norouzi, Swersky, Duvenaud 2021.
pub static PAPER: Paper = Paper {
    id: "vera",
    citation: "Grathwohl, Kelly, Hashemi, Norouzi, Swersky, Duvenaud: No MCMC for me: Amortized sampling \
               for fast and stable training of energy-based models, ICLR 2021",
    experiments: &[
        plane::TOY_DENSITIES,
        flow::NICE,
        estimators::SCORE_BIAS,
        estimators::EFFECTIVE_SAMPLES,
        stacked::STACKED_MNIST,
        joint::JEM_CIFAR10,
        joint::JEM_CIFAR100,
        joint::JEM_SVHN,
        joint::JEM_MNIST,
        tables::TABULAR,
        plane::MIXTURE,
        plane::TEMPERING,
        joint::stability::STABILITY,
    ],
};
