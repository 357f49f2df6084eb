//! The experiments of variational annealing.

mod swimmer;

use crate::registry::Paper;

/// Tao, Dai, Chen, Bai, Chen, Liu, Zhang, Bobashev, Carin 2019.
pub static PAPER: Paper = Paper {
    id: "variational-annealing",
    citation: "Tao, Dai, Chen, Bai, Chen, Liu, Zhang, Bobashev, Carin: Variational Annealing of GANs: A Langevin \
               Perspective, ICML 2019",
    experiments: &[swimmer::SWIMMER],
};
