//! Scores of generative models, from Frechet and kernel distances to calibration and sample sizes.
//!
//! The crate knows no model and no data set. A score takes rows on the host, `(n, d)` arrays of
//! `f32` or `f64`, and gives a small struct that carries its uncertainty and its settings, ready to
//! be written beside a published number.
//!
//! | function | answers |
//! | --- | --- |
//! | [`parzen`](parzen::parzen), [`select_bandwidth`], [`refine_bandwidth`] | mean log density of test rows under a Gaussian window on samples |
//! | [`nearest`](nearest::nearest) | the nearest reference row of every query |
//! | [`nearest_distances`] | mean distances to the nearest row of the other set, either way |
//! | [`nearest_accuracy`] | one-nearest-neighbour two-sample accuracy |
//! | [`memorisation`] | are samples closer to the training set than held-out data? |
//! | [`classifier_score`] | the inception-score formula on any classifier's probabilities |
//! | [`inception_score`] | the same from logits, with splits and an optional shuffle |
//! | [`prdc`](prdc::prdc) | precision, recall, density and coverage by balls around nearest neighbours |
//! | [`accuracy`](accuracy::accuracy) | top-1 accuracy with its interval |
//! | [`transfer_accuracy`] | train on generated rows, test on real ones |
//! | [`calibration`](calibration::calibration) | calibration errors, log loss and Brier score of a classifier |
//! | [`auroc`](auroc::auroc) | how well a score separates two classes |
//! | [`Moments`], [`MomentAccumulator`] | mean and covariance of rows, streamed |
//! | [`frechet_distance`], [`frechet_distance_of_rows`] | Frechet distance of two fitted Gaussians, FID on the 2015 features |
//! | [`frechet_extrapolated`] | the same for infinitely many rows |
//! | [`kid`](kid::kid) | unbiased kernel distance with a cubic kernel, KID on the 2015 features |
//! | [`ksd`](ksd::ksd) | kernel Stein discrepancy of points from a density known by its score |
//! | [`weight_ess`], [`chain_ess`] | effective sample size of importance weights and of a chain |
//! | [`convergence`] | split R-hat and pooled effective sample size of several chains |
//! | [`mode_coverage`], [`mode_hits`] | modes reached and divergence over cells or known centres |
//! | [`c2st`](c2st::c2st), [`c2st_with`] | can a logistic regression, or a network, tell generated rows from real ones? |
//! | [`importance_bound`], [`bits_per_dim`] | lower bounds on the log likelihood from log weights |
//! | [`ais`](ais::ais()), [`bdmc`] | log likelihood of a decoder-based model by annealed importance sampling, from below and above |
//! | [`mmd`](mmd::mmd), [`median_distance`] | maximum mean discrepancy with Gaussian kernels, permutation test |
//! | [`energy_distance`] | energy distance, free of a bandwidth |
//!
//! # What is promised
//!
//! * Sums, means and exponentials are taken in f64, whatever the input.
//! * The blocks of a computation are fixed and reduced in order: the number of threads never
//!   changes a bit of the result.
//! * Empty input, rows of unequal width and non-finite numbers are errors, never NaN.
//!
//! # Example
//! ```
//! use eval_metrics::parzen;
//! use ndarray::array;
//!
//! let samples = array![[0.0, 0.0], [1.0, 1.0]];
//! let test = array![[0.0, 0.1], [0.9, 1.0], [0.5, 0.5]];
//! let score = parzen(samples.view(), test.view(), 0.2)?;
//! println!("{:.2} nats, standard error {:.2}", score.mean, score.std_error);
//! # Ok::<(), eval_metrics::Error>(())
//! ```

pub mod accuracy;
pub mod ais;
pub mod auroc;
pub mod c2st;
pub mod calibration;
pub mod classifier;
mod distances;
pub mod energy;
mod error;
pub mod ess;
pub mod frechet;
pub mod importance;
pub mod kid;
pub mod kolmogorov;
pub mod ksd;
mod linear_algebra;
pub mod log_sum_exp;
mod mlp;
pub mod mmd;
pub mod modes;
pub mod moments;
pub mod nearest;
pub mod networks;
mod pairs;
pub mod parzen;
pub mod prdc;
mod probabilities;
mod product;
mod real;
mod sampling;
mod scale;
mod summary;
pub mod transfer;

#[cfg(test)]
mod golden;

pub use accuracy::{Accuracy, accuracy};
pub use ais::{
    Ais, AisAdaptation, AisBound, AisPoint, AisSchedule, AisSettings, Bdmc, Decoder, DecoderModel,
    Observation, Simulated, ais, bdmc,
};
pub use auroc::{Auroc, auroc};
pub use c2st::{C2st, C2stClassifier, c2st, c2st_with};
pub use calibration::{Bootstrap, Calibration, calibration, calibration_from_logits};
pub use classifier::{
    ClassifierScore, classifier_score, classifier_score_from_logits, inception_score,
};
pub use energy::{EnergyDistance, energy_distance};
pub use error::{Error, Result};
pub use ess::{ChainEss, Convergence, WeightEss, chain_ess, convergence, weight_ess};
pub use frechet::{
    Frechet, FrechetExtrapolation, FrechetOptions, FrechetRoute, frechet_distance,
    frechet_distance_of_rows, frechet_extrapolated, subset_sizes,
};
pub use importance::{
    ImportanceBound, RepeatedBound, bits_per_dim, importance_bound, repeated_bound,
};
pub use kid::{Kid, KidBlocks, kid};
pub use kolmogorov::{KolmogorovSmirnov, kolmogorov_smirnov};
pub use ksd::{Ksd, SteinKernel, ksd};
pub use log_sum_exp::{LogSumExp, log_mean_exp, log_sum_exp};
pub use mlp::MlpConfig;
pub use mmd::{Bandwidth, Mmd, MmdOptions, median_distance, mmd};
pub use modes::{
    ModeCoverage, ModeHits, ModeReference, PerfectSampler, mode_coverage, mode_coverage_against,
    mode_hits, stacked_classes,
};
pub use moments::{MomentAccumulator, Moments};
pub use nearest::{
    Memorisation, NearestAccuracy, NearestDistances, Neighbours, memorisation, nearest,
    nearest_accuracy, nearest_distances,
};
pub use parzen::{
    BandwidthChoice, Parzen, log_grid, parzen, parzen_log_density, refine_bandwidth,
    select_bandwidth,
};
pub use prdc::{Boundary, Prdc, expected_coverage, prdc};
pub use real::Real;
pub use transfer::{Labelled, TransferAccuracy, transfer_accuracy};
