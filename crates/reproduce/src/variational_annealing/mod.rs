//! The experiments of variational annealing.

mod digits;
mod photographs;
mod regression;
mod scores;
mod swimmer;
mod targets;
#[cfg(test)]
mod tests;

use crate::registry::Paper;

/// Tao, Dai, Chen, Bai, Chen, Liu, Zhang, Bobashev, Carin 2019.
pub static PAPER: Paper = Paper {
    id: "variational-annealing",
    citation: "Tao, Dai, Chen, Bai, Chen, Liu, Zhang, Bobashev, Carin: Variational Annealing of GANs: A Langevin \
               Perspective, ICML 2019",
    experiments: &[
        scores::SCORE_ESTIMATORS,
        targets::KIDNEY,
        targets::BANANA,
        regression::LOGISTIC_REGRESSION,
        digits::MNIST_GAN,
        photographs::CIFAR10,
        photographs::STRUCTURES,
        swimmer::SWIMMER,
    ],
};
