//! The experiments of VAEBM.

mod ablation;
pub(crate) mod digits;
mod linear;
mod photographs;
mod plane;
mod stacked;
mod study;
#[cfg(test)]
mod tests;

use crate::registry::Paper;

/// Xiao, Kreis, Kautz, Vahdat 2021.
pub static PAPER: Paper = Paper {
    id: "vaebm",
    citation: "Xiao, Kreis, Kautz, Vahdat: VAEBM: A Symbiosis between Variational Autoencoders and \
               Energy-based Models, ICLR 2021",
    experiments: &[
        digits::MNIST,
        digits::MNIST_BUFFER,
        ablation::ABLATION,
        stacked::STACKED_MNIST,
        plane::GAUSSIANS_25,
        linear::STEP_SIZE_LINEAR,
        study::STEP_SIZES,
        study::OUTLIERS,
        study::HISTOGRAM,
        study::SPEED,
        study::LONG_CHAINS,
        study::COPIES,
        study::LOW_TEMPERATURE,
        photographs::CIFAR10,
        photographs::CELEBA64,
        photographs::LSUN64,
        photographs::CELEBAHQ256,
        photographs::STRUCTURES,
    ],
};
