//! CIFAR-10 and faces: the networks of Tables S1 and S2.

mod fit;
mod learner;
mod settings;
mod structures;

use self::{settings::PhotographSettings, structures::StructureSettings};
use crate::{colour_sets::Collection, registry::Experiment, run_dir::settings_table};

/// Appendix J.1: CIFAR-10.
pub(super) const CIFAR10: Experiment = Experiment {
    id: "cifar10",
    anchor: "Appendix J.1, Table S1",
    title: "CIFAR-10: an image GAN with a score of features",
    headline: false,
    data: "CIFAR-10 (none at smoke)",
    time: ["10 s", "10 min", "weeks"],
    settings: |request| settings_table(&PhotographSettings::resolve(request)?),
    ready: |request| Collection::Cifar10.ready(request),
    run: fit::run,
};

/// Tables S1 and S2: the networks.
pub(super) const STRUCTURES: Experiment = Experiment {
    id: "structures",
    anchor: "Tables S1 and S2",
    title: "The networks of CIFAR-10 and CelebA: parameters, shapes, an update",
    headline: false,
    data: "none",
    time: ["2 s", "1 min", "1 min"],
    settings: |request| settings_table(&StructureSettings::resolve(request)?),
    ready: |_| Ok(()),
    run: structures::run,
};
