//! The experiments of infusion training.

mod colour;
pub mod estimates;
mod figures;
mod grid;
mod likelihood;
mod limits;
mod mnist;
mod parzen;
mod pictures;
pub mod settings;
pub mod training;
mod variants;

pub(crate) use pictures::shipped_means;

use crate::registry::{Experiment, Paper};

/// Bordes, Honari, Vincent 2017.
pub static PAPER: Paper = Paper {
    id: "infusion",
    citation: "Bordes, Honari, Vincent: Learning to Generate Samples from Noise through Infusion \
               Training, ICLR 2017",
    experiments: &[
        Experiment {
            id: "mnist-likelihood",
            anchor: "Tables 1 and 2",
            title: "Likelihood, Parzen estimate and samples of the MNIST model",
            headline: true,
            data: "MNIST",
            time: ["1 s", "12 min", "4 days"],
            settings: mnist::settings,
            ready: mnist::ready,
            run: mnist::run,
        },
        Experiment {
            id: "mnist-chains",
            anchor: "Figure 1",
            title: "Generated chains on MNIST",
            headline: false,
            data: "MNIST",
            time: ["1 s", "5 min", "4 days"],
            settings: figures::settings,
            ready: figures::ready,
            run: figures::chains,
        },
        Experiment {
            id: "mnist-infusion-chains",
            anchor: "Figure 2",
            title: "The infusion chain of one digit during training",
            headline: false,
            data: "MNIST",
            time: ["1 s", "5 min", "4 days"],
            settings: figures::settings,
            ready: figures::ready,
            run: figures::infusion_chains,
        },
        Experiment {
            id: "mnist-curves",
            anchor: "Figure 3",
            title: "Bounds during training on MNIST",
            headline: false,
            data: "MNIST",
            time: ["1 s", "5 min", "4 days"],
            settings: figures::settings_curves,
            ready: figures::ready,
            run: figures::curves,
        },
        Experiment {
            id: "mnist-parzen",
            anchor: "Table 1",
            title: "Parzen estimate on MNIST",
            headline: false,
            data: "MNIST",
            time: ["1 s", "5 min", "4 days"],
            settings: figures::settings,
            ready: figures::ready,
            run: figures::parzen,
        },
        Experiment {
            id: "mnist-samples",
            anchor: "Figure 4",
            title: "MNIST samples, their neighbours and the digit networks' view",
            headline: false,
            data: "MNIST",
            time: ["2 s", "5 min", "4 days"],
            settings: figures::settings_samples,
            ready: figures::ready_samples,
            run: figures::samples,
        },
        Experiment {
            id: "mnist-inpainting",
            anchor: "Figure 5, on MNIST",
            title: "Completing digits whose upper half is known",
            headline: false,
            data: "MNIST",
            time: ["1 s", "5 min", "4 days"],
            settings: figures::settings,
            ready: figures::ready,
            run: figures::inpainting,
        },
        Experiment {
            id: "rate-grid",
            anchor: "Table 4, Figure 6a-d",
            title: "Lower bound over infusion rate and number of steps",
            headline: false,
            data: "MNIST",
            time: ["1 s", "10 min", "months"],
            settings: grid::settings,
            ready: grid::ready,
            run: grid::run,
        },
        Experiment {
            id: "rate-grid-constant",
            anchor: "Figure 6e-f",
            title: "Lower bound over constant infusion rates",
            headline: false,
            data: "MNIST",
            time: ["1 s", "20 min", "months"],
            settings: grid::settings_constant,
            ready: grid::ready_constant,
            run: grid::run_constant,
        },
        Experiment {
            id: "rate-schedule",
            anchor: "Figure 7",
            title: "Constant against increasing infusion rate",
            headline: false,
            data: "MNIST",
            time: ["1 s", "5 min", "2 weeks"],
            settings: variants::schedule_settings,
            ready: variants::schedule_ready,
            run: variants::schedule,
        },
        Experiment {
            id: "lower-bound-training",
            anchor: "Section 2.4.1",
            title: "Denoising against lower-bound training",
            headline: false,
            data: "MNIST",
            time: ["1 s", "5 min", "3 weeks"],
            settings: variants::objective_settings,
            ready: variants::objective_ready,
            run: variants::objectives,
        },
        Experiment {
            id: "target-variance",
            anchor: "Section 2.3.1",
            title: "Sensitivity to the variance of the Gaussian at the target",
            headline: false,
            data: "MNIST",
            time: ["1 s", "5 min", "2 weeks"],
            settings: variants::variance_settings,
            ready: variants::variance_ready,
            run: variants::target_variance,
        },
        colour::CIFAR10_INCEPTION,
        colour::CIFAR10_CHAINS,
        colour::CIFAR10_SAMPLES,
        colour::CELEBA_CHAINS,
        colour::CELEBA_SAMPLES,
        colour::CELEBA_INPAINTING,
        colour::TFD_SAMPLES,
    ],
};
