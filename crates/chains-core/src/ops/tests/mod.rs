//! The fused kernels against the composed path in f64, and that path against central differences.

mod activation;
mod affine;
mod autoregressive;
mod conv;
mod conv_contract;
mod deviation;
mod draw;
mod fields;
mod gaussian;
mod heads;
mod importance;
mod join;
mod layer_norm;
mod norm;
mod pointwise;
mod pool;
mod resize;
mod update;
mod upsampled;
