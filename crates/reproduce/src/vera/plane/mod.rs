//! Figure 1, Table 10 and the equilibrium of Gaussians: densities in the plane.

mod densities;
mod fit;
mod grid;
mod mixture;
mod settings;
mod tempering;

use crate::registry::Experiment;

/// Figure 1: toy densities by a dense network.
pub(super) const TOY_DENSITIES: Experiment = Experiment {
    id: "toy-densities",
    anchor: "Figure 1",
    title: "Energies of toys in the plane: weights of the entropy, and chains",
    headline: true,
    data: "none",
    time: ["3 s", "8 min", "10 hours"],
    settings: densities::settings,
    ready: |_| Ok(()),
    run: densities::run,
};

/// Table 10: mixtures of 100 Gaussians, whose likelihood is exact.
pub(super) const MIXTURE: Experiment = Experiment {
    id: "mixture",
    anchor: "Table 10",
    title: "Mixtures of 100 Gaussians with exact likelihood",
    headline: true,
    data: "none",
    time: ["3 s", "6 min", "15 hours"],
    settings: mixture::settings,
    ready: |_| Ok(()),
    run: mixture::run,
};

/// Section 2.1: what a weight of the entropy other than one converges to.
pub(super) const TEMPERING: Experiment = Experiment {
    id: "tempering",
    anchor: "Section 3, weighted entropy",
    title: "Gaussian energies beside the closed form of the game's equilibrium",
    headline: false,
    data: "none",
    time: ["1 s", "1 min", "5 min"],
    settings: tempering::settings,
    ready: |_| Ok(()),
    run: tempering::run,
};
