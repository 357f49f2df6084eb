//! What the oracles share: linear-Gaussian operators whose marginals are known, small models,
//! statistics.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use candle_core::{DType, Device, Tensor, Var};
use chains_core::{
    Noise, ParamStore, Result, Seed,
    chain::{Schedule, Step, TransitionOperator},
    dist::{DiagGaussian, FactorialGaussian},
    nn::Gains,
    schedule::{Heating, Temperatures},
};
use walkback::{
    ChainConfig, DenseNorm, ModelConfig, NetworkConfig, NormEps, OperatorConfig, Start,
    StartConfig, WalkbackChain, WalkbackModel,
};

/// Every Monte-Carlo estimate is held against its truth for these.
pub(crate) const SEEDS: [u64; 3] = [0, 1, 2];

/// `s' ~ N(a s + b, T w)` in every dimension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear {
    pub(crate) a: f64,
    pub(crate) b: f64,
    pub(crate) w: f64,
}

impl TransitionOperator for Linear {
    type Dist = DiagGaussian;

    fn conditional(&self, s: &Tensor, at: Step) -> Result<DiagGaussian> {
        let variance = s.zeros_like()?.affine(1.0, at.temperature * self.w)?;
        DiagGaussian::new(s.affine(self.a, self.b)?, variance)
    }
}

/// The same with parameters a, b and ln w of a store.
pub(crate) struct Free {
    pub(crate) store: ParamStore,
    vars: [Var; 3],
    /// Least variance.
    pub(crate) floor: f64,
}

impl Free {
    pub(crate) fn new(at: Linear, dtype: DType) -> Result<Self> {
        let store = ParamStore::new(Seed::new(0), dtype, &Device::Cpu);
        for (name, value) in [("a", at.a), ("b", at.b), ("ln_w", at.w.ln())] {
            store.builder().get_with_hints((1, 1), name, candle_nn::Init::Const(value))?;
        }
        let vars = ["a", "b", "ln_w"].map(|name| store.get(name).expect("a variable of the store"));
        Ok(Self { store, vars, floor: 0.0 })
    }

    /// a, b and w now.
    pub(crate) fn values(&self) -> Result<Linear> {
        let [a, b, ln_w] = [0, 1, 2].map(|i: usize| values(&self.vars[i]));
        Ok(Linear { a: a?[0], b: b?[0], w: ln_w?[0].exp() + self.floor })
    }
}

impl TransitionOperator for Free {
    type Dist = DiagGaussian;

    fn conditional(&self, s: &Tensor, at: Step) -> Result<DiagGaussian> {
        let [a, b, ln_w] = self.vars.each_ref().map(|var| var.as_tensor());
        let mean = s.broadcast_mul(a)?.broadcast_add(b)?;
        let w = ln_w.exp()?.affine(at.temperature, at.temperature * self.floor)?;
        DiagGaussian::new(mean, w.broadcast_as(s.shape())?.contiguous()?)
    }
}

/// Temperatures from a list, as a heated chain with factor and steps where it is geometric.
pub(crate) fn ladder(factor: f64, steps: usize) -> Heating {
    Heating { temperatures: Temperatures::Geometric { factor }, steps, extra: 0 }
}

/// `N(m, v)` in `d` dimensions.
pub(crate) fn gaussian_start(m: f64, v: f64, d: usize, dtype: DType) -> Result<Start> {
    let row = |value: f64| Tensor::full(value, d, &Device::Cpu)?.to_dtype(dtype);
    Ok(Start::Gaussian(FactorialGaussian::new(row(m)?, row(v)?)?))
}

pub(crate) fn walk_of<'a, O>(
    operator: &'a O,
    start: &'a Start,
    heating: Heating,
) -> WalkbackChain<'a, O> {
    WalkbackChain { heat: operator, cool: operator, start, heating }
}

/// The value `x` in `(n, d)`.
pub(crate) fn filled(x: f64, n: usize, d: usize, dtype: DType) -> Result<Tensor> {
    Ok(Tensor::full(x, (n, d), &Device::Cpu)?.to_dtype(dtype)?)
}

/// Mean and variance of `s_0` of the cooled chain.
pub(crate) fn marginal(op: Linear, [m, v]: [f64; 2], heating: Heating) -> [f64; 2] {
    (0..heating.steps).rev().fold([m, v], |[m, v], index| {
        let t = heating.at(index + heating.extra).temperature;
        [op.a * m + op.b, op.a * op.a * v + t * op.w]
    })
}

/// The lower bound in closed form.
pub(crate) fn exact_bound(op: Linear, [m, v]: [f64; 2], heating: Heating, x: f64) -> f64 {
    let Linear { a, b, w } = op;
    let (mut mean, mut variance, mut bound) = (x, 0.0, 0.0);
    let rest = 1.0 - a * a;
    for index in 0..heating.steps {
        let e = heating.at(index).temperature * w;
        let drift = rest * mean - (1.0 + a) * b;
        bound += 0.5 - (drift * drift + rest * rest * variance + a * a * e) / (2.0 * e);
        (mean, variance) = (a * mean + b, a * a * variance + e);
    }
    bound - 0.5 * ((2.0 * std::f64::consts::PI * v).ln() + ((mean - m).powi(2) + variance) / v)
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
pub(crate) fn model_bits(model: &WalkbackModel) -> Result<Vec<(String, Vec<u32>)>> {
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

/// The kinds of network: dense without norms, dense with batch norm, convolutions with batch norm,
/// convolutions with layer norm in between.
pub(crate) fn networks(steps: usize) -> [NetworkConfig; 4] {
    let conv = NetworkConfig::conv([2, 8, 8], vec![3, 4], vec![10, 10], steps);
    [
        NetworkConfig::mlp([1, 2, 3], vec![12, 9], steps),
        NetworkConfig::normalised_mlp([1, 2, 3], vec![12, 12], steps),
        conv.clone(),
        NetworkConfig { dense_norm: DenseNorm::Layer, dense_slope: 0.02, ..conv },
    ]
}

/// The variants of normalisation of a network.
pub(crate) fn norm_variants(network: &NetworkConfig) -> Vec<NetworkConfig> {
    let mut all = Vec::new();
    for norm_eps in [NormEps::AddedToStd, NormEps::InVariance] {
        for gains in [Gains::PerStep, Gains::Shared, Gains::None] {
            let gains = NetworkConfig {
                norm_eps,
                dense_gains: gains,
                conv_gains: gains,
                ..network.clone()
            };
            all.push(gains);
        }
    }
    all
}

/// A Gaussian operator with a network, temperatures growing by 1.5.
pub(crate) fn gaussian(network: NetworkConfig) -> ModelConfig {
    ModelConfig::gaussian(network, [0.05, 1e-4], 1.5)
}

/// A reconstructing operator, temperatures doubling.
pub(crate) fn reconstruction(network: NetworkConfig) -> ModelConfig {
    let chain = ChainConfig::with(2.0, StartConfig::clipped(), 2);
    ModelConfig { network, operator: OperatorConfig::reconstruction(), chain }
}

/// An operator on bits.
pub(crate) fn bernoulli(network: NetworkConfig) -> ModelConfig {
    let chain = ChainConfig::with(1.5, StartConfig::Bernoulli { probability: 0.5 }, 1);
    ModelConfig { network, operator: OperatorConfig::Bernoulli, chain }
}

/// A model whose weights are of a size at which every layer matters.
pub(crate) fn model(config: ModelConfig) -> Result<WalkbackModel> {
    let model = WalkbackModel::new(config, Seed::new(5), &Device::Cpu)?;
    for (name, var) in model.store().trainable() {
        let mut noise = Seed::new(7).child(&name).host_noise();
        let normal = noise.normal(var.shape(), DType::F32, &Device::Cpu)?;
        if name.ends_with("weight") && !name.contains("norm") {
            let inputs = var.elem_count() / var.dims()[0];
            var.set(&normal.affine(1.0 / (inputs as f64).sqrt(), 0.0)?)?;
        } else {
            var.set(&(var.as_detached_tensor() + normal.affine(0.2, 0.0)?)?)?;
        }
    }
    Ok(model)
}

/// Examples in [0, 1) that fit the model, `(n, D)`: a common level for each row, and noise.
pub(crate) fn rows(model: &WalkbackModel, n: usize, seed: u64) -> Result<Tensor> {
    let mut noise = Seed::new(seed).child("data").host_noise();
    let d = model.config().network.dim();
    let level = noise.uniform(&(n, 1).into(), DType::F32, model.device())?;
    let rest = noise.uniform(&(n, d).into(), DType::F32, model.device())?;
    Ok((rest * 0.5)?.broadcast_add(&(level * 0.5)?)?)
}
