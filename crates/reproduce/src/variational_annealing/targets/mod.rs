//! Appendix J.2: generators for two densities of the plane, without samples of them.

mod fit;
mod report;
mod settings;
mod strip;
mod truth;

use crate::registry::Experiment;

use self::truth::Plane;

/// Two wings of a ring, one of which is lost without annealing.
pub(super) const KIDNEY: Experiment = Experiment {
    id: "kidney",
    anchor: "Appendix J.2",
    title: "U-GAN on the kidney: what annealing is for",
    headline: true,
    data: "none",
    time: ["3 s", "1 min", "5 hours"],
    settings: settings::settings,
    ready: |_| Ok(()),
    run: |run| report::run(run, Plane::Kidney),
};

/// A parabola of Gaussians.
pub(super) const BANANA: Experiment = Experiment {
    id: "banana",
    anchor: "Appendix J.2",
    title: "U-GAN on the banana",
    headline: true,
    data: "none",
    time: ["3 s", "1 min", "5 hours"],
    settings: settings::settings,
    ready: |_| Ok(()),
    run: |run| report::run(run, Plane::Banana),
};
