//! The loss of stage 1, and the schedules of its parts (NVAE, section 3 and its published code).

use candle_core::{DType, Tensor};
use chains_core::{Result, host, nn::SpectralNorms, noise::Noise, ops};

use crate::{
    config::{NvaeConfig, NvaeTrainConfig, SpectralWeight},
    nvae::{Inferred, Pass},
};

/// Least weight of the divergences.
const LEAST_WEIGHT: f64 = 1e-4;
/// Added to the mean divergence of a group before groups are balanced.
const LEAST_KL: f64 = 0.01;

/// `beta`, the weight of the divergences at an update, from 0: `max(min((i - c) / (anneal I), 1), 1e-4)`
/// with `c = constant I` of `I` updates in all.
pub fn kl_weight(update: usize, total: usize, [constant, anneal]: [f64; 2]) -> f64 {
    let (at, total) = (update as f64, total.max(1) as f64);
    ((at - constant * total) / (anneal * total)).clamp(LEAST_WEIGHT, 1.0)
}

/// `alpha` of every group in the order of generation: `(2^i)^2 / groups` in the scale `i` counted from the
/// lowest resolution, divided by the least of all.
pub fn group_sizes(config: &NvaeConfig) -> Vec<f64> {
    let mut all = Vec::new();
    for (i, groups) in config.groups.iter().rev().enumerate() {
        let size = 4_f64.powi(i32::try_from(i).unwrap_or(i32::MAX)) / *groups as f64;
        all.extend(std::iter::repeat_n(size, *groups));
    }
    let least = all.iter().copied().fold(f64::INFINITY, f64::min);
    all.iter().map(|size| size / least).collect()
}

/// `gamma` of every group from the mean over the batch of `|KL_l|` and the sizes `alpha`: with
/// `k_l = |KL_l| + 0.01`, `k_l / alpha_l` divided by its mean over groups.
///
/// The weights have mean one, so the weighted sum of divergences is not their sum.
pub fn balance(kl: &[f64], sizes: &[f64]) -> Vec<f64> {
    let raw: Vec<f64> = kl.iter().zip(sizes).map(|(kl, size)| (kl + LEAST_KL) / size).collect();
    let mean = raw.iter().sum::<f64>() / raw.len().max(1) as f64;
    raw.iter().map(|weight| weight / mean).collect()
}

impl SpectralWeight {
    /// `lambda` at the weight `beta` of the divergences.
    pub fn at(&self, beta: f64) -> f64 {
        match *self {
            Self::Constant { value } => value,
            Self::Annealed { first, last } => ((1.0 - beta) * first.ln() + beta * last.ln()).exp(),
        }
    }
}

impl NvaeTrainConfig {
    /// The learning rate of an update, from 0: `rate i / warm-up updates`, then from epoch to epoch half a
    /// cosine down to the last rate, which the last epoch has.
    pub fn rate(&self, update: usize, per_epoch: usize) -> f64 {
        let per_epoch = per_epoch.max(1);
        let warmup = self.warmup_epochs * per_epoch;
        if update < warmup {
            return self.learning_rate * update as f64 / warmup as f64;
        }
        let span = self.epochs.saturating_sub(self.warmup_epochs + 1).max(1);
        let share = ((update / per_epoch - self.warmup_epochs) as f64 / span as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
        self.last_rate + (self.learning_rate - self.last_rate) * cosine
    }
}

/// The parts of the loss, which are functions of the parameters.
#[derive(Clone, Debug)]
pub struct LossParts {
    /// `-ln p(x|z)`, `(b,)`.
    pub reconstruction: Tensor,
    /// `KL_l` of every group and image, `(L, b)`.
    pub kl: Tensor,
    /// The sum of the spectral norms of all convolutions, a scalar.
    pub spectral: Tensor,
    /// The sum of the greatest gains of all batch norms, a scalar.
    pub gains: Tensor,
}

/// The weights of [`LossParts::total`].
#[derive(Clone, Debug, PartialEq)]
pub struct LossWeights {
    /// `beta`.
    pub kl: f64,
    /// `gamma` of every group.
    pub groups: Vec<f64>,
    /// `lambda`.
    pub spectral: f64,
}

impl LossParts {
    /// Of a pass of training with images `x` in `[0, 1]`.
    ///
    /// # Errors
    /// If shapes do not fit, or `norms` are of another network.
    pub fn new(
        inferred: &Inferred,
        x: &Tensor,
        margin: usize,
        pass: &Pass,
        norms: &mut SpectralNorms,
        noise: &mut dyn Noise,
    ) -> Result<Self> {
        let kl: Vec<_> = inferred.groups.iter().map(|group| group.kl.clone()).collect();
        Ok(Self {
            reconstruction: inferred.pixels.log_prob(x, margin)?.neg()?,
            kl: Tensor::stack(&kl, 0)?,
            spectral: norms.total(pass.kernels(), noise)?,
            gains: greatest_gains(pass.gains())?,
        })
    }

    /// The mean over the batch of `|KL_l|`, of every group.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn mean_sizes(&self) -> Result<Vec<f64>> {
        host::vector(&self.kl.abs()?.mean(1)?)
    }

    /// `mean_b(recon + beta sum_l gamma_l KL_l) + lambda (spectral + gains)`, a scalar in nats.
    ///
    /// # Errors
    /// Of the tensor library.
    pub fn total(&self, weights: &LossWeights) -> Result<Tensor> {
        let groups: Vec<f64> = weights.groups.iter().map(|gamma| gamma * weights.kl).collect();
        let n = groups.len();
        let groups = host::tensor_like(groups, n, &self.kl)?;
        let kl = self.kl.mean(1)?.mul(&groups)?.sum_all()?;
        let regularised = ((&self.spectral + &self.gains)? * weights.spectral)?;
        Ok(((self.reconstruction.mean_all()? + kl)? + regularised)?)
    }
}

/// `sum max_c |gain_c|` over layers; equal gains share the gradient.
fn greatest_gains(gains: &[Tensor]) -> Result<Tensor> {
    if gains.is_empty() {
        return Ok(Tensor::zeros((), DType::F32, &candle_core::Device::Cpu)?);
    }
    let all: Vec<_> = gains.iter().map(ops::max_abs).collect::<Result<_>>()?;
    ops::total(&all)
}

#[cfg(test)]
mod tests;
