//! Figures 6 and 7 and section 9: operators in the plane.

mod curve;
mod geometry;
mod mixture;
mod pictures;
mod scores;
mod settings;
#[cfg(test)]
pub(super) mod tests;

use crate::registry::Experiment;

pub(super) use geometry::{Curve, median};
pub(super) use pictures::cloud;
pub(super) use scores::{bound_metrics, frozen_bound, head, step_deviation, test_points, walk_gap};
pub(super) use settings::{EVENT, PlaneSettings};

/// Figure 6: the spiral.
pub(super) const SPIRAL: Experiment = Experiment {
    id: "spiral",
    anchor: "Figure 6",
    title: "Heating and cooling chains on the spiral",
    headline: true,
    data: "none",
    time: ["1 s", "1 min", "8 hours"],
    settings: |request| curve::settings(request, Curve::Spiral),
    ready: |_| Ok(()),
    run: |run| curve::run(run, Curve::Spiral),
};

/// Figure 7: the circle.
pub(super) const CIRCLE: Experiment = Experiment {
    id: "circle",
    anchor: "Figure 7",
    title: "Heating and cooling chains on the circle",
    headline: true,
    data: "none",
    time: ["1 s", "1 min", "8 hours"],
    settings: |request| curve::settings(request, Curve::Circle),
    ready: |_| Ok(()),
    run: |run| curve::run(run, Curve::Circle),
};

/// Section 9: nine Gaussians, with normalisation of every step, shared, and without.
pub(super) const MIXTURE: Experiment = Experiment {
    id: "mixture",
    anchor: "Section 9",
    title: "Nine Gaussians with normalisation of every step, shared normalisation and none",
    headline: true,
    data: "none",
    time: ["2 s", "5 min", "20 min"],
    settings: mixture::settings,
    ready: |_| Ok(()),
    run: mixture::run,
};
