//! Log likelihoods of decoder-based models by annealed importance sampling (Neal 2001; Wu, Burda,
//! Salakhutdinov and Grosse 2017).
//!
//! For a model `p(z) p(x | z)` with `z ~ N(0, I)`, chains go from the prior to the posterior of one
//! `x` through `f_b(z) = p(z) p(x | z)^b`, or with a recognition network's `q(z | x)` as start through
//! `q^(1 - b) (p(z) p(x | z))^b`, by Hamiltonian Monte Carlo. The mean weight of the chains is the
//! likelihood, so the logarithm of an average over chains is a lower bound in expectation.
//! On simulated data, where an exact posterior sample is known, chains the other way give an upper
//! bound ([`bdmc()`]; Grosse, Ghahramani and Adams 2015), and the gap tells how good both are.
//!
//! Everything here takes candle tensors and fails with the error of `chains-core`.

mod bdmc;
mod chains;
mod model;
mod noise;
mod path;
mod result;
mod settings;
#[cfg(test)]
mod tests;

use candle_core::Tensor;
use chains_core::{Result, dist::DiagGaussian};

pub use bdmc::{Bdmc, bdmc};
pub use model::{Decoder, DecoderModel, Observation, Simulated};
pub use result::{Ais, AisBound, AisPoint};
pub use settings::{AisAdaptation, AisSchedule, AisSettings};

use chains::{Direction, Problem};

/// A stochastic lower bound on the log likelihood of every row of `data`.
///
/// With inverse temperatures `0 = b_0 < .. < b_T = 1` a chain begins at `z ~ p(z)`, or at `z ~ q(z | x)`
/// where there is a `proposal`, and for `t = 0, 1, ..` first adds `(b_{t+1} - b_t) log (p(z) p(x | z) /
/// q(z | x))` to its log weight, `q` being the prior without a proposal, then makes a transition that
/// keeps `f_{b_{t+1}}`. The transition at `b = 1` would come after the last weight and is left out. The
/// estimate is the log mean weight over chains.
///
/// Every chain has a stream of noise of its own, from the seed and the numbers of its row and chain:
/// how rows are divided into blocks, and the number of threads, change estimates by no more than the
/// rounding of the decoder.
///
/// Time is that of `n chains T leapfrog_steps` gradients of the decoder, twice that for frozen step
/// sizes, which need a pilot run.
///
/// # Shapes
/// `data`: `(n, d)`, f32 or f64, on the device of the decoder; `proposal`: `(n, z)`, a diagonal Gaussian
/// for every row.
///
/// # Errors
/// [`chains_core::Error::Config`] for settings out of their range, an observation variance that is not
/// positive, or data that the observation model cannot have; [`chains_core::Error::Shape`] for tensors
/// that do not fit; [`chains_core::Error::NonFinite`] for a log likelihood that is no finite number
/// where chains start.
///
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use chains_core::Result;
/// use eval_metrics::{AisSettings, Decoder, DecoderModel, Observation, ais};
///
/// /// `x = 2 z + noise` of variance one: `x ~ N(0, 5)`.
/// struct Double;
/// impl Decoder for Double {
///     fn latent_width(&self) -> usize {
///         1
///     }
///     fn decode(&self, latents: &Tensor) -> Result<Tensor> {
///         Ok((latents * 2.0)?)
///     }
/// }
/// let model = DecoderModel { decoder: &Double, observation: Observation::Gaussian { variance: 1.0 } };
/// let settings = AisSettings { steps: 50, ..AisSettings::published() };
/// let found = ais(&model, &Tensor::new(&[[1.0_f64]], &Device::Cpu)?, None, &settings)?;
/// let exact = -0.5 * (1.0 / 5.0 + (std::f64::consts::TAU * 5.0).ln());
/// assert!((found.mean - exact).abs() < 4.0 * found.points[0].std_error.unwrap_or(0.0));
/// # Ok::<(), chains_core::Error>(())
/// ```
pub fn ais(
    model: &DecoderModel<'_>,
    data: &Tensor,
    proposal: Option<&DiagGaussian>,
    settings: &AisSettings,
) -> Result<Ais> {
    let betas = settings.betas()?;
    let problem = Problem::new(model, data, proposal, settings)?;
    let sizes = problem.step_sizes(&betas)?;
    problem.run(Direction::Forward, &betas, &sizes)
}
