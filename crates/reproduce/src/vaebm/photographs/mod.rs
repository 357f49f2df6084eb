//! Table 1 to 3: photographs. Both stages, samples and chains; the networks without any data.

mod fit;
mod set;
mod settings;
mod structures;

use self::{
    set::Photographs::{CelebA64, CelebAHq256, Cifar10, LsunChurch64},
    settings::PhotographSettings,
};
use crate::{registry::Experiment, run_dir::settings_table};

/// Table 1: CIFAR-10.
pub(super) const CIFAR10: Experiment = Experiment {
    id: "cifar10",
    anchor: "Table 1, Figure 2",
    title: "CIFAR-10: samples of an autoencoder and of its product with an energy",
    headline: false,
    data: "CIFAR-10 (none at smoke)",
    time: ["3 s", "9 min", "years"],
    settings: |request| settings_table(&PhotographSettings::resolve(request, Cifar10)?),
    ready: |request| Cifar10.ready(request),
    run: |run| fit::run(run, Cifar10),
};

/// Table 2: CelebA at 64 pixels.
pub(super) const CELEBA64: Experiment = Experiment {
    id: "celeba64",
    anchor: "Table 2, CelebA-64",
    title: "CelebA at 64 pixels: samples of an autoencoder and of its product with an energy",
    headline: false,
    data: "CelebA (none at smoke)",
    time: ["6 s", "9 min", "years"],
    settings: |request| settings_table(&PhotographSettings::resolve(request, CelebA64)?),
    ready: |request| CelebA64.ready(request),
    run: |run| fit::run(run, CelebA64),
};

/// Table 3: LSUN churches at 64 pixels.
pub(super) const LSUN64: Experiment = Experiment {
    id: "lsun64",
    anchor: "Table 3, LSUN church",
    title: "LSUN churches at 64 pixels: samples of an autoencoder and of its product with an energy",
    headline: false,
    data: "LSUN church_outdoor (none at smoke)",
    time: ["6 s", "9 min", "years"],
    settings: |request| settings_table(&PhotographSettings::resolve(request, LsunChurch64)?),
    ready: |request| LsunChurch64.ready(request),
    run: |run| fit::run(run, LsunChurch64),
};

/// Table 3: CelebA-HQ at 256 pixels.
pub(super) const CELEBAHQ256: Experiment = Experiment {
    id: "celebahq256",
    anchor: "Table 3, CelebA-HQ-256",
    title: "CelebA-HQ at 256 pixels: samples of an autoencoder and of its product with an energy",
    headline: false,
    data: "CelebA-HQ (none at smoke)",
    time: ["9 s", "9 min", "years"],
    settings: |request| settings_table(&PhotographSettings::resolve(request, CelebAHq256)?),
    ready: |request| CelebAHq256.ready(request),
    run: |run| fit::run(run, CelebAHq256),
};

/// The networks of Tables 6 and 7.
pub(super) const STRUCTURES: Experiment = Experiment {
    id: "structures",
    anchor: "Tables 6 and 7",
    title: "The published networks: parameters, tensors, an update of both stages at 64 pixels",
    headline: false,
    data: "none",
    time: ["1 s", "2 min", "2 min"],
    settings: |request| settings_table(&structures::StructureSettings::resolve(request)?),
    ready: |_| Ok(()),
    run: structures::run,
};
