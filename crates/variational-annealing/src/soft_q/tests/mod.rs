//! Closed forms, quadrature, gradients of every tensor, exact resumes.

mod actors;
mod learner;
mod policies;
mod pool;
mod values;

use candle_core::{Device, Tensor};
use chains_core::{HostNoise, Seed};

/// A stream of a name.
fn noise(label: &str) -> HostNoise {
    Seed::new(0).child("soft-q-tests").child(label).host_noise()
}

/// A vector on the host, f32.
fn vector(values: &[f64]) -> Tensor {
    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    Tensor::new(values, &Device::Cpu).unwrap()
}

/// All values, f64.
fn values(x: &Tensor) -> Vec<f64> {
    let x = x.flatten_all().unwrap().to_dtype(candle_core::DType::F64).unwrap();
    x.to_vec1().unwrap()
}
