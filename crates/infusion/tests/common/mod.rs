//! What the oracles share: a linear-Gaussian operator whose marginals are known, quadrature, small
//! models, statistics.
#![allow(dead_code, reason = "every test binary uses a part of it")]

pub(crate) mod quadrature;

use candle_core::{DType, Device, Tensor, Var};
use chains_core::{
    Noise, Result, Seed,
    chain::{Step, TransitionOperator},
    dist::DiagGaussian,
    schedule::InfusionRate,
};
use infusion::{
    Architecture, ChainConfig, InfusionChain, InfusionModel, ModelConfig, Moments, NetworkConfig,
    Prior,
};

/// Every Monte-Carlo estimate is held against its truth for these.
pub(crate) const SEEDS: [u64; 3] = [0, 1, 2];

/// `z' ~ N(a z + b, s2)` in every dimension.
pub(crate) struct LinearGaussian {
    pub(crate) a: Tensor,
    pub(crate) b: Tensor,
    pub(crate) ln_s2: Tensor,
}

impl LinearGaussian {
    /// With free parameters a, b, ln s2, in this order.
    pub(crate) fn free(values: [f64; 3]) -> Result<(Self, [Var; 3])> {
        let var = |value: f64| Var::new(&[[value]], &Device::Cpu);
        let vars = [var(values[0])?, var(values[1])?, var(values[2])?];
        let [a, b, ln_s2] = [0, 1, 2].map(|i: usize| vars[i].as_tensor().clone());
        Ok((Self { a, b, ln_s2 }, vars))
    }
}

impl TransitionOperator for LinearGaussian {
    type Dist = DiagGaussian;

    fn conditional(&self, z: &Tensor, _: Step) -> Result<DiagGaussian> {
        let mean = z.broadcast_mul(&self.a)?.broadcast_add(&self.b)?;
        let variance = self.ln_s2.exp()?.broadcast_as(z.shape())?.contiguous()?;
        DiagGaussian::new(mean, variance)
    }
}

/// Prior N(m0, v0), operator (a, b, s2), narrow Gaussian of variance sd2, target x.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scalars {
    pub(crate) m0: f64,
    pub(crate) v0: f64,
    pub(crate) a: f64,
    pub(crate) b: f64,
    pub(crate) s2: f64,
    pub(crate) sd2: f64,
    pub(crate) x: f64,
}

/// The set for which the golden numbers were computed.
pub(crate) const REFERENCE: Scalars =
    Scalars { m0: 0.0, v0: 1.0, a: 0.5, b: 0.3, s2: 0.2, sd2: 0.01, x: 1.0 };

impl Scalars {
    /// Mean and variance of `z_steps`.
    pub(crate) fn marginal(&self, steps: usize) -> (f64, f64) {
        (0..steps).fold((self.m0, self.v0), |(m, v), _| {
            (self.a * m + self.b, self.a * self.a * v + self.s2)
        })
    }

    /// ln p(x) after that many steps.
    pub(crate) fn exact(&self, steps: usize) -> f64 {
        let (m, v) = self.marginal(steps);
        log_normal(self.x, m, v)
    }

    /// The chain over a state of D dimensions.
    pub(crate) fn setting(
        &self,
        rate: InfusionRate,
        steps: usize,
        d: usize,
        dtype: DType,
    ) -> Result<Setting> {
        let scalar = |value: f64| Tensor::full(value, (1, 1), &Device::Cpu)?.to_dtype(dtype);
        let row = |value: f64| Tensor::full(value, d, &Device::Cpu)?.to_dtype(dtype);
        let operator =
            LinearGaussian { a: scalar(self.a)?, b: scalar(self.b)?, ln_s2: scalar(self.s2.ln())? };
        let config = ChainConfig { target_variance: self.sd2, ..ChainConfig::with(rate) };
        let prior = Prior::new(row(self.m0)?, row(self.v0)?)?;
        let target = Tensor::full(self.x, (1, d), &Device::Cpu)?.to_dtype(dtype)?;
        Ok(Setting { operator, prior, config, steps, target })
    }
}

/// Everything that an [`InfusionChain`] borrows.
pub(crate) struct Setting<O = LinearGaussian> {
    pub(crate) operator: O,
    pub(crate) prior: Prior,
    pub(crate) config: ChainConfig,
    pub(crate) steps: usize,
    pub(crate) target: Tensor,
}

impl<O: TransitionOperator<Dist = DiagGaussian>> Setting<O> {
    pub(crate) fn chain(&self) -> InfusionChain<'_, O> {
        let Self { operator, prior, config, steps, .. } = self;
        InfusionChain { operator, prior, config, steps: *steps }
    }

    /// The target `n` times, `(n, D)`.
    pub(crate) fn targets(&self, n: usize) -> Result<Tensor> {
        Ok(self.target.broadcast_as((n, self.target.dim(1)?))?.contiguous()?)
    }

    /// Log weights of `n` chains.
    pub(crate) fn log_weights(&self, n: usize, seed: Seed) -> Result<Vec<f64>> {
        let found = self.chain().log_weights(&self.targets(n)?, &[None], &mut seed.host_noise())?;
        Ok(found.weights[0].clone())
    }
}

/// The log density of N(m, v).
pub(crate) fn log_normal(y: f64, m: f64, v: f64) -> f64 {
    -0.5 * ((2.0 * std::f64::consts::PI * v).ln() + (y - m).powi(2) / v)
}

/// Mean and its standard error.
pub(crate) fn mean_se(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let scatter = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    (mean, (scatter / (n - 1.0) / n).sqrt())
}

/// Within five standard errors.
#[track_caller]
pub(crate) fn assert_within((mean, se): (f64, f64), truth: f64, what: &str) {
    assert!((mean - truth).abs() < 5.0 * se, "{what}: {mean} +- {se}, expected {truth}");
}

/// Closer than `tolerance`.
#[track_caller]
pub(crate) fn assert_close(got: f64, want: f64, tolerance: f64, what: &str) {
    assert!((got - want).abs() <= tolerance, "{what}: {got}, expected {want} within {tolerance}");
}

/// The numbers of a tensor, in f64.
pub(crate) fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.detach().flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}

/// The bits of an f32 tensor.
pub(crate) fn bits(tensor: &Tensor) -> Result<Vec<u32>> {
    let values: Vec<f32> = tensor.detach().flatten_all()?.to_vec1()?;
    Ok(values.into_iter().map(f32::to_bits).collect())
}

/// The bits of every tensor of a model.
pub(crate) fn model_bits(model: &InfusionModel) -> Result<Vec<(String, Vec<u32>)>> {
    model.store().tensors().into_iter().map(|(name, t)| Ok((name, bits(&t)?))).collect()
}

/// All tensors of two models, or of one at two times, are equal; names those that are not.
#[track_caller]
pub(crate) fn assert_same_bits(a: &[(String, Vec<u32>)], b: &[(String, Vec<u32>)]) {
    let names = |m: &[(String, Vec<u32>)]| m.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    assert_eq!(names(a), names(b));
    let differ: Vec<_> = a.iter().zip(b).filter(|(a, b)| a != b).map(|(a, _)| &a.0).collect();
    assert!(differ.is_empty(), "{differ:?}");
}

/// Dense, for 3 x 2 x 2 events.
pub(crate) fn mlp(steps: usize) -> NetworkConfig {
    NetworkConfig::with([3, 2, 2], Architecture::Mlp { hidden: vec![16, 12] }, steps)
}

/// Transposed convolutions, for 2 x 16 x 16 events.
pub(crate) fn deconv(steps: usize) -> NetworkConfig {
    NetworkConfig::with([2, 16, 16], Architecture::Deconv { widths: vec![6, 4] }, steps)
}

/// A model with initial parameters and the prior of [`rows`].
pub(crate) fn model(network: NetworkConfig, rate: InfusionRate) -> Result<InfusionModel> {
    let config = ModelConfig { network, chain: ChainConfig::with(rate) };
    let model = InfusionModel::new(config, Seed::new(5), &Device::Cpu)?;
    let mut moments = Moments::default();
    moments.push(&rows(&model, 64, 0)?)?;
    model.set_prior(&moments.mean(), &moments.variance())?;
    Ok(model)
}

/// Examples in [0, 1) that fit the model, `(n, D)`: a common level for each row, and noise.
pub(crate) fn rows(model: &InfusionModel, n: usize, seed: u64) -> Result<Tensor> {
    let mut noise = Seed::new(seed).child("data").host_noise();
    let d = model.config().network.dim();
    let level = noise.uniform(&(n, 1).into(), DType::F32, model.device())?;
    let rest = noise.uniform(&(n, d).into(), DType::F32, model.device())?;
    Ok((rest * 0.5)?.broadcast_add(&(level * 0.5)?)?)
}
