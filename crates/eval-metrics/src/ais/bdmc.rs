//! Bidirectional Monte Carlo: bounds from both sides on simulated data.

use chains_core::{Result, dist::DiagGaussian};
use serde::Serialize;

use super::{
    Ais, AisSettings, DecoderModel, Simulated,
    chains::{Direction, Problem},
};
use crate::summary::mean_and_error;

/// A lower and an upper bound on the mean log likelihood of the same simulated rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bdmc {
    /// Chains from the start to the posterior.
    pub lower: Ais,
    /// Chains from the latents that the data were drawn from to the start.
    pub upper: Ais,
    /// Mean over rows of the upper bound minus the lower, nats. Its expectation bounds the error of
    /// either from above.
    pub gap: f64,
    /// Standard error of the gap over rows; none for one row.
    pub gap_std_error: Option<f64>,
}

/// Annealed importance sampling both ways on data that the model itself has drawn.
///
/// The latents of a simulated row are an exact sample of its posterior. Chains that start there and
/// go from `b = 1` to `b = 0` have inverse weights with mean `1 / p(x)`, so that the negative log of
/// their average bounds `log p(x)` from above in expectation (Grosse, Ghahramani and Adams 2015). Only
/// for simulated data: there the gap bounds the error, and lets hope that it is no larger for real data.
///
/// Both ways have the same frozen step sizes, from a pilot run forward; they adapt on each way where
/// the settings say so.
///
/// # Errors
/// As [`ais`](super::ais()), also for latents that are not the shape of the simulated data.
pub fn bdmc(
    model: &DecoderModel<'_>,
    simulated: &Simulated,
    proposal: Option<&DiagGaussian>,
    settings: &AisSettings,
) -> Result<Bdmc> {
    let betas = settings.betas()?;
    let Simulated { latents, data } = simulated;
    let problem = Problem::new(model, data, proposal, settings)?;
    problem.check_latents("latents", latents, data.dim(0)?)?;
    let sizes = problem.step_sizes(&betas)?;
    let lower = problem.run(Direction::Forward, &betas, &sizes)?;
    let upper = problem.run(Direction::Reverse(latents), &betas, &sizes)?;
    let gaps: Vec<f64> = lower
        .points
        .iter()
        .zip(&upper.points)
        .map(|(lower, upper)| upper.log_likelihood - lower.log_likelihood)
        .collect();
    let (gap, gap_std_error) = mean_and_error(&gaps);
    Ok(Bdmc { lower, upper, gap, gap_std_error })
}
