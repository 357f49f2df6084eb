//! Tables 3 to 5: joint energy models, classifiers whose log-sum-exp is a log density.

mod colour;
mod digits;
mod digits_report;
mod evaluate;
mod fit;
mod methods;
mod refine;
mod sets;
mod settings;
pub(super) mod stability;

use self::sets::Photographs;
use crate::registry::Experiment;

/// Tables 3 to 5 on digits.
pub(super) const JEM_MNIST: Experiment = Experiment {
    id: "jem-mnist",
    anchor: "Tables 3 to 5, on digits",
    title: "Joint energy models of digits beside persistent chains and a classifier",
    headline: false,
    data: "MNIST (part of the repository)",
    time: ["2 s", "8 min", "6 hours"],
    settings: digits::settings,
    ready: |request| crate::digits::ready(&request.root),
    run: digits::run,
};

/// Table 3, CIFAR-10.
pub(super) const JEM_CIFAR10: Experiment = Experiment {
    id: "jem-cifar10",
    anchor: "Table 3",
    title: "A joint energy model of CIFAR-10: classes, outliers, refined samples",
    headline: false,
    data: "CIFAR-10 (none at smoke)",
    time: ["5 s", "8 min", "months"],
    settings: |request| colour::settings(request, Photographs::Cifar10),
    ready: |request| Photographs::Cifar10.ready(request),
    run: |run| colour::run(run, Photographs::Cifar10),
};

/// Table 3, CIFAR-100.
pub(super) const JEM_CIFAR100: Experiment = Experiment {
    id: "jem-cifar100",
    anchor: "Table 3",
    title: "A joint energy model of CIFAR-100: classes, outliers, refined samples",
    headline: false,
    data: "CIFAR-100 (none at smoke)",
    time: ["5 s", "10 min", "months"],
    settings: |request| colour::settings(request, Photographs::Cifar100),
    ready: |request| Photographs::Cifar100.ready(request),
    run: |run| colour::run(run, Photographs::Cifar100),
};

/// Table 3, SVHN.
pub(super) const JEM_SVHN: Experiment = Experiment {
    id: "jem-svhn",
    anchor: "Table 3",
    title: "A joint energy model of house numbers: classes, outliers, refined samples",
    headline: false,
    data: "SVHN (none at smoke)",
    time: ["5 s", "10 min", "months"],
    settings: |request| colour::settings(request, Photographs::Svhn),
    ready: |request| Photographs::Svhn.ready(request),
    run: |run| colour::run(run, Photographs::Svhn),
};
