//! Points of a plane: likelihoods and partition functions that are known exactly.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "helpers of tests, exact values")]

mod likelihood;
mod partition;
mod product;
mod vae;

use candle_core::{DType, Device, Tensor};
use chains_core::{Noise, Result, Seed, density::Energy};

pub(crate) fn tensor<const N: usize, const M: usize>(rows: [[f64; M]; N]) -> Tensor {
    Tensor::new(&rows, &Device::Cpu).unwrap()
}

pub(crate) fn normal(noise: &mut dyn Noise, shape: &[usize]) -> Tensor {
    noise.normal(&shape.into(), DType::F64, &Device::Cpu).unwrap()
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

pub(crate) fn noise(label: &str) -> chains_core::HostNoise {
    Seed::new(0).child(label).host_noise()
}

/// `(x - m)^T A (x - m) / 2` with `A = [[2, 0.3], [0.3, 0.5]]`, `m = (0.5, -1)`.
pub(crate) struct Quadratic;

impl Energy for Quadratic {
    fn energy(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&tensor([[0.5, -1.0]]))?;
        let pulled = centred.matmul(&tensor([[2.0, 0.3], [0.3, 0.5]]))?;
        Ok((centred.mul(&pulled)?.sum(1)? * 0.5)?)
    }
}
