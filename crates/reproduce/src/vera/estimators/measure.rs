//! Estimates of the score beside the exact one.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use chains_core::{HostNoise, Seed, host, nn::BatchNormMoments};
use serde::{Deserialize, Serialize};
use vera::{
    Drawn, HmcConfig, ScoreEstimate, TrainConfig, TrainState, config::HmcGradient, hmc_score,
    importance_score, posterior_step,
};

use super::ppca::Ppca;
use crate::error::Result;

/// Generated rows at a time.
const ROWS: usize = 4_096;
/// Fewest estimates of a sample: a variance needs some.
const FEWEST: usize = 20;

/// A way to estimate the score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Estimator {
    /// With so many proposals.
    Importance(usize),
    /// Two kept transitions behind so many.
    Hmc(usize, HmcGradient),
}

impl Estimator {
    /// In a table.
    pub(super) fn words(self) -> String {
        match self {
            Self::Importance(k) => format!("importance sampling, k = {k}"),
            Self::Hmc(burn_in, HmcGradient::Exact) => format!("HMC, burn-in {burn_in}"),
            Self::Hmc(burn_in, HmcGradient::Reference) => {
                format!("HMC, burn-in {burn_in}, gradient of the code")
            }
        }
    }

    /// Passes of the generator for an estimate; a gradient counts as two more.
    fn passes(self) -> usize {
        let config = HmcConfig::published();
        match self {
            Self::Importance(k) => k,
            Self::Hmc(burn_in, gradient) => {
                let each = if gradient == HmcGradient::Exact { 3 } else { 1 };
                (burn_in + config.samples) * config.leapfrog_steps * each + config.samples
            }
        }
    }

    /// Rows that an estimate holds in memory.
    fn rows(self) -> usize {
        match self {
            Self::Importance(k) => k,
            Self::Hmc(..) => 4,
        }
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Effort {
    /// Samples of the generator at which estimates are repeated.
    pub(super) samples: usize,
    /// Estimates of each.
    pub(super) estimates: usize,
    /// Samples with one estimate each, for `r` and the effective number.
    pub(super) pairs: usize,
    /// Most passes of the generator that either may take; expensive estimators are repeated less.
    pub(super) passes: usize,
}

impl Effort {
    /// Estimates of a sample, and samples with one estimate.
    fn of(&self, estimator: Estimator) -> [usize; 2] {
        let cost = estimator.passes().max(1);
        let most = self.passes / cost;
        let estimates =
            (most / self.samples.max(1)).clamp(FEWEST.min(self.estimates), self.estimates);
        [estimates, most.clamp((10 * FEWEST).min(self.pairs), self.pairs)]
    }
}

/// What an estimator gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Found {
    /// Estimates of a sample.
    pub(super) estimates: usize,
    /// Mean over samples and dimensions of the exact score minus the mean estimate.
    pub(super) bias: f64,
    /// Root mean square of the same, without the part that the noise of the mean explains.
    pub(super) rmse: f64,
    /// Root of the mean variance of an estimate.
    pub(super) deviation: f64,
    /// Share of the entropy's gradient, and its standard error.
    pub(super) share: [f64; 2],
    /// Effective number of proposals, and its standard error.
    pub(super) effective: Option<[f64; 2]>,
    /// Samples behind the last two.
    pub(super) pairs: usize,
    pub(super) seconds: f64,
}

/// Learns the posterior's width; gives the largest distance of `ln eta` from its optimum.
pub(super) fn learn_width(
    ppca: &Ppca,
    (steps, batch_size): (usize, usize),
    noise: &mut HostNoise,
) -> Result<f64> {
    let config = TrainConfig { posterior_rate: 1e-2, ..TrainConfig::density(1.0, [0.0; 3]) };
    let mut state = TrainState::new(&config);
    for _ in 0..steps {
        let drawn = ppca.model.generator().draw(batch_size, BatchNormMoments::batch(), noise)?;
        let moments = BatchNormMoments::batch();
        posterior_step(&ppca.model, &mut state, &config, &drawn, moments, noise)?;
    }
    let learned = host::values(ppca.model.log_eta())?;
    let gaps = learned.iter().zip(ppca.posterior_deviations()).map(|(a, b)| (a - b.ln()).abs());
    Ok(gaps.fold(0.0, f64::max))
}

/// The step size of chains at which they accept as they should, after `transitions`.
pub(super) fn adapt(
    ppca: &Ppca,
    gradient: HmcGradient,
    (transitions, chains): (usize, usize),
    noise: &mut HostNoise,
) -> Result<f64> {
    let drawn = ppca.model.generator().draw(chains, BatchNormMoments::batch(), noise)?;
    // Faster than in training, where it never ends.
    let config = HmcConfig {
        burn_in: transitions,
        samples: 1,
        adaptation_rate: 0.05,
        gradient,
        ..HmcConfig::published()
    };
    let begin = 1.0 / drawn.latent.dims()[1] as f64;
    let moments = drawn.moments.clone();
    Ok(hmc_score(ppca.model.generator(), &drawn, &config, moments, begin, noise)?.1)
}

fn estimate(
    ppca: &Ppca,
    drawn: &Drawn,
    (estimator, step_size): (Estimator, f64),
    noise: &mut HostNoise,
) -> Result<ScoreEstimate> {
    let generator = ppca.model.generator();
    Ok(match estimator {
        Estimator::Importance(k) => {
            let moments = &mut BatchNormMoments::batch();
            importance_score(generator, drawn, ppca.model.log_eta(), k, moments, noise)?
        }
        Estimator::Hmc(burn_in, gradient) => {
            let published = HmcConfig::published();
            let config = HmcConfig { burn_in, gradient, adaptation_rate: 0.0, ..published };
            hmc_score(generator, drawn, &config, drawn.moments.clone(), step_size, noise)?.0
        }
    })
}

/// All numbers of an estimator; `step_size` is that of its chains.
pub(super) fn measure(
    ppca: &Ppca,
    (estimator, step_size): (Estimator, f64),
    effort: &Effort,
    seed: Seed,
) -> Result<Found> {
    let [estimates, pairs] = effort.of(estimator);
    // The same samples for every estimator.
    let mut draws = seed.child("samples").host_noise();
    let mut noise = seed.child("estimates").host_noise();
    let drawn =
        ppca.model.generator().draw(effort.samples, BatchNormMoments::batch(), &mut draws)?;
    let started = Instant::now();
    let moments = repeated(ppca, &drawn, (estimator, step_size), estimates, &mut noise)?;
    let seconds = started.elapsed().as_secs_f64() / (estimates * effort.samples.max(1)) as f64;
    let [bias, rmse, deviation] = moments;
    let (share, effective) = shares(ppca, (estimator, step_size), pairs, (&mut draws, &mut noise))?;
    Ok(Found { estimates, bias, rmse, deviation, share, effective, pairs, seconds })
}

/// Signed bias, root mean square of the bias, deviation of an estimate.
fn repeated(
    ppca: &Ppca,
    drawn: &Drawn,
    estimator: (Estimator, f64),
    estimates: usize,
    noise: &mut HostNoise,
) -> Result<[f64; 3]> {
    let samples = drawn.latent.dims()[0];
    let [_, exact] = ppca.exact(&drawn.x)?;
    let dim = exact.dims()[1];
    let mut sums = [Tensor::zeros((samples, dim), DType::F64, &Device::Cpu)?, exact.zeros_like()?];
    let block = (ROWS / (estimator.0.rows() * samples).max(1)).clamp(1, estimates);
    let mut done = 0;
    while done < estimates {
        let n = block.min(estimates - done);
        let again = Drawn {
            latent: drawn.latent.repeat((n, 1))?,
            x: drawn.x.repeat((n, 1))?,
            moments: drawn.moments.clone(),
        };
        let c = estimate(ppca, &again, estimator, noise)?.minus_score;
        // Relative to the exact value, so that squares do not cancel.
        let error = host::tensor(&c)?.reshape((n, samples, dim))?.broadcast_sub(&exact)?;
        sums[0] = (&sums[0] + error.sum(0)?)?;
        sums[1] = (&sums[1] + error.sqr()?.sum(0)?)?;
        done += n;
    }
    let n = estimates as f64;
    let mean = (&sums[0] * (1.0 / n))?;
    let value = |x: Tensor| -> Result<f64> { Ok(x.mean_all()?.to_scalar::<f64>()?) };
    let bias = value(mean.clone())?;
    let square = value(mean.sqr()?)?;
    let all = value((&sums[1] * (1.0 / n))?)?;
    let variance = (all - square) * n / (n - 1.0).max(1.0);
    // The score is minus the estimate: exact score - mean estimate = mean of c - exact c.
    Ok([bias, (square - variance / n).max(0.0).sqrt(), variance.max(0.0).sqrt()])
}

/// The share of the entropy's gradient that is found, and the effective number of proposals.
type Shares = ([f64; 2], Option<[f64; 2]>);

fn shares(
    ppca: &Ppca,
    estimator: (Estimator, f64),
    pairs: usize,
    (draws, noise): (&mut HostNoise, &mut HostNoise),
) -> Result<Shares> {
    let block = (ROWS / estimator.0.rows().max(1)).max(1);
    let (mut products, mut squares, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    while products.len() < pairs {
        let n = block.min(pairs - products.len());
        let drawn = ppca.model.generator().draw(n, BatchNormMoments::batch(), draws)?;
        let found = estimate(ppca, &drawn, estimator, noise)?;
        let [posterior, exact] = ppca.exact(&drawn.x)?;
        let offset = ppca.offset(&drawn.latent, &posterior)?;
        let error = ppca.whitened(&(host::tensor(&found.minus_score)? - exact)?)?;
        // How far the proposals' mean has come from the latent back to the posterior's.
        let back = (&offset - error)?;
        products.extend((&offset * back)?.sum(1)?.to_vec1::<f64>()?);
        squares.extend(offset.sqr()?.sum(1)?.to_vec1::<f64>()?);
        if matches!(estimator.0, Estimator::Importance(_)) {
            sizes.extend(host::tensor(&found.weights)?.sqr()?.sum(0)?.recip()?.to_vec1::<f64>()?);
        }
    }
    let effective = (!sizes.is_empty()).then(|| mean_and_error(&sizes));
    Ok((ratio_and_error(&products, &squares), effective))
}

/// Mean and its standard error.
pub(super) fn mean_and_error(values: &[f64]) -> [f64; 2] {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let scatter = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    [mean, (scatter / (n - 1.0).max(1.0) / n).sqrt()]
}

/// Ratio of two sums and its standard error.
fn ratio_and_error(products: &[f64], squares: &[f64]) -> [f64; 2] {
    let total = squares.iter().sum::<f64>();
    let ratio = products.iter().sum::<f64>() / total;
    let rest = products.iter().zip(squares).map(|(p, s)| (p - ratio * s).powi(2)).sum::<f64>();
    [ratio, rest.sqrt() / total]
}

#[cfg(test)]
mod tests {
    use super::{
        super::ppca::{Convention, tests::small},
        *,
    };

    fn ppca() -> Ppca {
        let ppca = Ppca::new(&small(), 2, Convention::Deviation, &Device::Cpu).unwrap();
        let eta: Vec<f32> = ppca.posterior_deviations().iter().map(|e| e.ln() as f32).collect();
        let eta = Tensor::new(eta, &Device::Cpu).unwrap();
        ppca.model.store().get("post_logsigma").unwrap().set(&eta).unwrap();
        ppca
    }

    #[test]
    fn twenty_proposals_in_the_plane_find_the_share_of_the_closed_prediction() {
        let effort = Effort { samples: 4, estimates: 50, pairs: 20_000, passes: 1_000_000 };
        let found =
            measure(&ppca(), (Estimator::Importance(20), 0.0), &effort, Seed::new(1)).unwrap();
        // Section 7.3 of the derivation: r(2, 20) = 0.738, effective number 9.4.
        let [share, error] = found.share;
        assert!(error < 0.01 && (share - 0.738).abs() < 0.001 + 5.0 * error, "{share} {error}");
        let [size, error] = found.effective.unwrap();
        assert!((size - 9.4).abs() < 0.05 + 5.0 * error, "{size} {error}");
    }

    #[test]
    fn chains_of_the_exact_gradient_come_to_the_posterior_and_others_do_not_move_at_once() {
        let effort = Effort { samples: 4, estimates: 100, pairs: 2_000, passes: 10_000_000 };
        let run = |burn_in, gradient, size| {
            let estimator = Estimator::Hmc(burn_in, gradient);
            measure(&ppca(), (estimator, size), &effort, Seed::new(2)).unwrap()
        };
        let far = run(30, HmcGradient::Exact, 0.2);
        // Mean of independent draws: nothing of the offset is left.
        assert!((far.share[0] - 1.0).abs() < 0.02 + 5.0 * far.share[1], "{:?}", far.share);
        assert!(far.effective.is_none());
        let stuck = run(0, HmcGradient::Reference, 1e-4);
        assert!(stuck.share[0].abs() < 0.01, "{:?}", stuck.share);
    }

    #[test]
    fn expensive_estimators_are_repeated_less() {
        let effort = Effort { samples: 10, estimates: 2_000, pairs: 2_000, passes: 400_000 };
        assert_eq!(effort.of(Estimator::Importance(20)), [2_000, 2_000]);
        assert_eq!(effort.of(Estimator::Importance(500)), [80, 800]);
        assert_eq!(effort.of(Estimator::Hmc(200, HmcGradient::Exact)), [20, 200]);
        let few = Effort { estimates: 3, pairs: 7, ..effort };
        assert_eq!(few.of(Estimator::Importance(500)), [3, 7]);
    }

    #[test]
    fn ratios_have_the_error_of_their_rest() {
        let [ratio, error] = ratio_and_error(&[1.0, 3.0], &[2.0, 2.0]);
        assert!((ratio - 1.0).abs() < 1e-12);
        assert!((error - 2.0_f64.sqrt() / 4.0).abs() < 1e-12);
        let [mean, error] = mean_and_error(&[1.0, 3.0]);
        assert!((mean - 2.0).abs() < 1e-12 && (error - 1.0).abs() < 1e-12);
    }
}
