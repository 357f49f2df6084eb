//! The hierarchical autoencoder.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "helpers of tests, exact values")]

mod data_space;
mod generator;
mod gradients;
mod maps;
mod published;
mod shapes;
mod training;

use candle_core::{DType, Device, Shape, Tensor};
use chains_core::{Noise, Result, Seed};
use vaebm::{NvaeConfig, NvaeModel};

/// All values as f64.
fn values(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.detach().flatten_all().unwrap();
    flat.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// Standard normal f64 numbers; the same for the same label.
fn normal(label: &str, shape: impl Into<Shape>) -> Tensor {
    let mut noise = Seed::new(0).child(label).host_noise();
    noise.normal(&shape.into(), DType::F64, &Device::Cpu).unwrap()
}

/// Uniform f64 numbers in `[0, 1)`.
fn uniform(label: &str, shape: impl Into<Shape>) -> Tensor {
    let mut noise = Seed::new(0).child(label).host_noise();
    noise.uniform(&shape.into(), DType::F64, &Device::Cpu).unwrap()
}

fn model(config: &NvaeConfig, dtype: DType) -> Result<NvaeModel> {
    let model = NvaeModel::of_type(config, Seed::new(7), dtype, &Device::Cpu)?;
    // Running moments away from those of the beginning.
    for (name, var) in model.store().all() {
        if name.ends_with("running_mean") || name.ends_with("running_var") {
            let moved = (normal(&name, var.shape()) * 0.1)?.to_dtype(dtype)?;
            let moved = if name.ends_with("running_var") { (moved.abs()? + 0.5)? } else { moved };
            var.set(&moved)?;
        }
    }
    Ok(model)
}

/// Asserts that two lists agree to `tolerance`, relative to the largest expected value.
fn assert_close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: number of values");
    let scale = want.iter().fold(1e-12_f64, |scale, value| scale.max(value.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let near = (got - want).abs() <= tolerance * scale;
        assert!(near, "{what}, element {i}: {got}, expected {want} (scale {scale})");
    }
}
