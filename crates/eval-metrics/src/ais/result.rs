//! What the weights of annealed chains say.

use chains_core::{Error, Result};
use serde::Serialize;

use super::{AisSettings, Observation};
use crate::{ess::weight_ess, summary::mean_and_error};

/// On which side of the log likelihood an estimate lies, in expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AisBound {
    /// Below: chains from the start to the posterior.
    Lower,
    /// Above: chains from exact posterior samples of simulated data.
    Upper,
}

/// The estimate of one row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AisPoint {
    /// Log mean weight of the chains; of chains the other way the negative log mean inverse weight.
    /// Nats.
    pub log_likelihood: f64,
    /// Its standard error over chains to first order, `sqrt((k / ess - 1) / (k - 1))` of `k` chains; none
    /// for one chain, and too small where `ess` is.
    pub std_error: Option<f64>,
    /// Effective sample size of the chains, from one to their number; see [`weight_ess`].
    pub ess: f64,
    /// The largest normalised weight: near one, a single chain carries the estimate.
    pub largest_weight: f64,
    /// Share of accepted transitions; none where there are none, for one step.
    pub acceptance: Option<f64>,
}

/// Estimates of the log likelihood over rows, nats per row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ais {
    /// Mean over rows.
    pub mean: f64,
    /// Its standard error over rows; none for one row.
    pub std_error: Option<f64>,
    /// The part of it that comes from the chains: the error of the mean for these rows; none for
    /// one chain.
    pub chain_std_error: Option<f64>,
    /// Lower or upper.
    pub bound: AisBound,
    /// Every row, in order.
    pub points: Vec<AisPoint>,
    /// Effective sample size of a row's chains, on average.
    pub mean_ess: f64,
    /// The smallest of any row.
    pub smallest_ess: f64,
    /// Share of accepted transitions; none for one step.
    pub acceptance: Option<f64>,
    /// Transitions that were rejected because the proposal is not finite.
    pub non_finite: u64,
    /// Rows.
    pub n: usize,
    /// Columns of the latents.
    pub latent_width: usize,
    /// The observation model.
    pub observation: Observation,
    /// Did chains start at a proposal rather than at the prior?
    pub proposal: bool,
    /// The settings.
    pub settings: AisSettings,
}

/// One chain.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) log_weight: f64,
    /// Transitions accepted.
    pub(super) accepted: f64,
    /// Transitions whose proposal is not finite.
    pub(super) non_finite: f64,
}

/// Every point's chains, `chains` rows each.
pub(super) fn summary(
    rows: &[Row],
    chains: usize,
    transitions: usize,
    bound: AisBound,
) -> Result<Vec<AisPoint>> {
    let sign = match bound {
        AisBound::Lower => 1.0,
        AisBound::Upper => -1.0,
    };
    let point = |rows: &[Row]| {
        let logs: Vec<f64> = rows.iter().map(|row| sign * row.log_weight).collect();
        let found = weight_ess(&logs)
            .map_err(|error| Error::Config { field: "log weights", reason: error.to_string() })?;
        let k = chains as f64;
        // Rounding may leave the size just above the number of chains.
        let excess = (k / found.ess - 1.0).max(0.0);
        let accepted: f64 = rows.iter().map(|row| row.accepted).sum();
        Ok(AisPoint {
            log_likelihood: sign * found.log_mean_weight,
            std_error: (chains > 1).then(|| (excess / (k - 1.0)).sqrt()),
            ess: found.ess,
            largest_weight: found.largest_weight,
            acceptance: (transitions > 0).then(|| accepted / (k * transitions as f64)),
        })
    };
    rows.chunks(chains).map(point).collect()
}

impl Ais {
    pub(super) fn new(
        points: Vec<AisPoint>,
        rows: &[Row],
        (bound, observation): (AisBound, Observation),
        latent_width: usize,
        settings: &AisSettings,
    ) -> Self {
        let n = points.len();
        let column = |value: fn(&AisPoint) -> f64| points.iter().map(value).collect::<Vec<f64>>();
        let (mean, std_error) = mean_and_error(&column(|point| point.log_likelihood));
        let sizes = column(|point| point.ess);
        let squares: Option<f64> =
            points.iter().map(|point| point.std_error.map(|error| error * error)).sum();
        let accepted: Option<f64> = points.iter().map(|point| point.acceptance).sum();
        Self {
            mean,
            std_error,
            chain_std_error: squares.map(|sum| sum.sqrt() / n as f64),
            bound,
            mean_ess: mean_and_error(&sizes).0,
            smallest_ess: sizes.iter().fold(f64::INFINITY, |a, &b| a.min(b)),
            acceptance: accepted.map(|sum| sum / n as f64),
            non_finite: rows.iter().map(|row| row.non_finite as u64).sum(),
            points,
            n,
            latent_width,
            observation,
            proposal: false,
            settings: *settings,
        }
    }

    pub(super) fn with_proposal(self, proposal: bool) -> Self {
        Self { proposal, ..self }
    }
}
