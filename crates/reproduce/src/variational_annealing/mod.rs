//! The experiments of variational annealing.

mod regression;
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
        targets::KIDNEY,
        targets::BANANA,
        regression::LOGISTIC_REGRESSION,
        swimmer::SWIMMER,
    ],
};
