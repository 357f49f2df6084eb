//! The training methods that the paper compares with (its section 5 and appendix B).
//!
//! Each is a function of one update, as [`update`](crate::update) is of the method itself: a plain
//! config with presets, a state that saves, and terms that come back. A loss that is no number, or
//! beyond [`DIVERGED`](crate::DIVERGED), is an error before anything moves by it.
//!
//! | method | update | of |
//! | --- | --- | --- |
//! | maximum likelihood | [`likelihood_update`] | a normalised network |
//! | persistent contrastive divergence, joint energy models | [`pcd_update`] | any network |
//! | maximum entropy generators | [`meg_update`] | both players and a statistics network |
//! | cooperative networks | [`coop_update`] | both players |
//! | sliced and denoising score matching | [`score_matching_update`] | any network |
//! | score matching by curvature propagation | [`curvature_update`] | NICE |
//! | virtual adversarial training | [`vat_update`] | a classifier |
//! | supervised, of few labels or all | [`supervised_update`] | a classifier |
//!
//! As everywhere in this crate `f = -energy` is the log density up to a constant.

mod coopnets;
mod curvature;
mod likelihood;
mod meg;
mod pcd;
mod score_matching;
mod shared;
mod statistics;
mod supervised;
mod vat;

pub use self::{
    coopnets::{CoopConfig, CoopState, CoopTerms, coop_update},
    curvature::{Curvature, curvature_gradients, curvature_update, propagate_curvature},
    likelihood::likelihood_update,
    meg::{MegConfig, MegState, MegTerms, meg_update},
    pcd::{PcdConfig, PcdState, PcdTerms, pcd_update},
    score_matching::{
        Directions, ScoreMatching, ScoreMatchingConfig, denoising_gradients, score_matching_update,
        sliced_gradients,
    },
    shared::{EnergyLoss, EnergyPlayer, EnergyState, EnergyTerms, Optimisation},
    statistics::{StatisticsNet, information_loss, permutation},
    supervised::supervised_update,
    vat::{VatConfig, VatTerms, adversarial_direction, divergence, vat_gradients, vat_update},
};
