//! The networks: sizes, names, gradients, densities, and the outputs of PyTorch.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "helpers of tests, exact values")]

#[path = "../common/mod.rs"]
mod common;
mod densities;
mod pytorch;
mod sizes;

use candle_core::{DType, Device};
use chains_core::{ParamStore, Result, Seed};
use vera::{EnergyConfig, EnergyNet, GeneratorConfig, GeneratorNet, config::Output};

pub(crate) fn empty(dtype: DType) -> ParamStore {
    ParamStore::new(Seed::new(2), dtype, &Device::Cpu)
}

pub(crate) fn energy(config: &EnergyConfig, dtype: DType) -> Result<(ParamStore, EnergyNet)> {
    let store = empty(dtype);
    let net = EnergyNet::new(config, store.builder())?;
    Ok((store, net))
}

pub(crate) fn generator(
    config: &GeneratorConfig,
    dtype: DType,
) -> Result<(ParamStore, GeneratorNet)> {
    let store = empty(dtype);
    let net = GeneratorNet::new(config, store.builder())?;
    Ok((store, net))
}

pub(crate) fn wide(depth: usize, widening: usize, outputs: usize) -> EnergyConfig {
    EnergyConfig::WideResNet { depth, widening, channels: 3, outputs, dropout: 0.0 }
}

pub(crate) fn residual(latent: usize, width: usize) -> GeneratorConfig {
    GeneratorConfig::ResNet { latent, channels: 3, width, output: Output::Tanh }
}
