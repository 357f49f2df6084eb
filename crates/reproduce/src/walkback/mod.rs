//! The experiments of Variational Walkback.

mod ablations;
mod colour;
mod examples;
mod generation;
mod mnist;
mod plane;
mod settings;
mod training;

pub(crate) use mnist::bound::likelihood::frozen_estimate;

use crate::registry::Paper;

/// Goyal, Ke, Ganguli, Bengio 2017.
pub static PAPER: Paper = Paper {
    id: "walkback",
    citation: "Goyal, Ke, Ganguli, Bengio: Variational Walkback: Learning a Transition Operator as a \
               Stochastic Recurrent Net, NIPS 2017",
    experiments: &[
        plane::SPIRAL,
        plane::CIRCLE,
        plane::MIXTURE,
        mnist::SAMPLES,
        mnist::PUBLISHED_NOISE,
        mnist::BOUND,
        mnist::INPAINTING,
        mnist::LONG_CHAINS,
        mnist::REVERSIBILITY,
        mnist::BOUNDS_AND_SAMPLES,
        ablations::UPDATES_AND_NORMS,
        ablations::TARGETS,
        ablations::TEMPERATURE_EFFECTS,
        colour::CIFAR10_SAMPLES,
        colour::CIFAR10_BITS,
        colour::CIFAR10_SCORES,
        colour::SVHN_SAMPLES,
        colour::CELEBA_SAMPLES,
        colour::CELEBA_INPAINTING,
    ],
};
