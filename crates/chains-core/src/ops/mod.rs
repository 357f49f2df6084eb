//! The operations that the five papers spend their time in.
//!
//! Layers call these functions, never candle's layers directly. On a CPU with f32 tensors they run
//! fused kernels as candle custom ops; on any other device or type the same function composes
//! candle's operations, with results equal to rounding. Backward passes return no gradient for an
//! operand that does not track one, so a frozen network costs nothing extra.

mod activation;
mod conv;
mod draw;
mod gaussian;
mod kernel;
mod layer_norm;
mod linear;
mod math;
mod norm;
mod pointwise;
mod resize;
mod simd;
#[cfg(test)]
mod tests;
mod update;

use candle_core::{CpuStorage, DType, Layout, Storage, Tensor};

pub use activation::{elu, leaky_relu, silu, softplus, tanh};
pub use conv::{conv_transpose2d, conv2d, depthwise_conv2d};
pub use draw::mixture_draw;
pub use gaussian::{gaussian_log_density, gaussian_log_prob};
pub use layer_norm::layer_norm;
pub use linear::{linear, linear_known};
pub use norm::{BatchMoments, NormOptions, batch_moments, normalise};
pub use pointwise::{log_add_exp, relu, scaled_sigmoid, sigmoid};
pub use resize::{avg_pool2, max_pool2, upsample2};
pub use update::{AdamStep, adam_step, running_average};

/// Do the fused kernels apply?
fn fused(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| t.device().is_cpu() && t.dtype() == DType::F32)
}

/// The values of a contiguous f32 operand on the host.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        (CpuStorage::F32(_), None) => candle_core::bail!("fused op: operand is not contiguous"),
        _ => candle_core::bail!("fused op: operand is not f32"),
    }
}

/// Calls `f` with the values of contiguous f32 host tensors, for use in backward passes.
fn with_values<const N: usize, R>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[f32]; N]) -> candle_core::Result<R>,
) -> candle_core::Result<R> {
    let tensors = tensors.map(Tensor::contiguous);
    let mut held = Vec::with_capacity(N);
    for tensor in tensors {
        held.push(tensor?);
    }
    let guards: Vec<_> = held.iter().map(Tensor::storage_and_layout).collect();
    let mut values: [&[f32]; N] = [&[]; N];
    for (value, (storage, layout)) in values.iter_mut().zip(&guards) {
        *value = match &**storage {
            Storage::Cpu(storage) => slice(storage, layout)?,
            _ => candle_core::bail!("fused op: operand is not on the host"),
        };
    }
    f(values)
}

/// Elements that make a parallel task worth its start.
const GRAIN: usize = 16_384;
