//! The operations that the five papers spend their time in.
//!
//! Layers call these functions, never candle's layers directly. On a CPU with f32 tensors they run
//! fused kernels, as candle custom ops or on the tape of [`crate::autograd`], and on CUDA most of them do;
//! on any other device or type the same function composes candle's operations, with results equal to
//! rounding. Backward passes return no gradient for an operand that does not track one, so a frozen
//! network costs nothing extra.

mod activation;
mod add;
mod autoregressive;
mod bilinear;
mod conv;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod divergence;
mod draw;
mod gate;
mod gaussian;
mod heads;
mod importance;
mod join;
mod kernel;
mod layer_norm;
mod linear;
mod log_add_exp;
pub(crate) mod math;
mod mixture;
mod norm;
mod part;
mod pool;
mod resize;
mod scalars;
mod simd;
mod stacked;
#[cfg(test)]
mod tests;
mod update;
mod upsampled;
mod weight_norm;

use std::cell::Cell;

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Storage, Tensor, Var};
use rayon::prelude::*;

pub use activation::{
    elu, exp, leaky_relu, relu, scaled_sigmoid, sigmoid, silu, soft_clamp, soft_clamped_exp,
    softplus, square, tanh,
};
pub(crate) use add::sum_of_two;
pub use add::{add, add_product, reshape, stack};
pub use autoregressive::{
    PrefixLayer, Prefixes, autoregressive_affine, autoregressive_inverse, prefix_linear,
};
pub use bilinear::bilinear2;
pub(crate) use conv::conv2d_rows;
pub use conv::{Padding, conv_transpose2d, conv2d, conv2d_relu, depthwise_conv2d};
pub use divergence::gaussian_divergence;
pub use draw::{gaussian_draw, mixture_draw, mixture_log_ratio, squashed_mixture_draw};
pub use gate::{add_gated, channel_means};
pub use gaussian::{gaussian_log_density, gaussian_log_prob};
pub use heads::sigmoid_gaussian_log_prob;
pub use importance::self_normalised_mean;
pub use join::join_channels;
pub use kernel::inner_products;
pub use layer_norm::layer_norm;
pub(crate) use linear::linear_rows;
pub use linear::{linear, linear_known};
pub use log_add_exp::log_add_exp;
pub(crate) use mixture::gaussian_mixture;
pub use norm::{
    BatchMoments, Eps, NormActivation, NormOptions, batch_moments, batch_normalise, normalise,
};
pub use part::{Span, part};
pub use pool::{avg_pool2d, max_pool2d};
pub use resize::{avg_pool2, max_pool2, upsample2};
pub use scalars::{max_abs, total};
pub use simd::vectorised;
pub(crate) use stacked::{StackedActivation, stacked_activation};
pub(crate) use update::follow;
pub use update::{
    AdamStep, AdamaxStep, adam_step, adam_steps, adamax_step, adamax_steps, running_average,
};
pub use upsampled::upsample2_conv2d;
pub(crate) use weight_norm::{lengths, of_length};

/// Do the fused kernels apply?
fn fused(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| t.device().is_cpu() && t.dtype() == DType::F32)
}

/// Returns from the function with a fused operation of ours on CUDA, if the operands are there.
macro_rules! on_cuda {
    ($operands:expr => $value:expr) => {
        on_cuda!($operands, true => $value)
    };
    ($operands:expr, $when:expr => $value:expr) => {
        #[cfg(feature = "cuda")]
        {
            if $when && $crate::ops::cuda::applies(&$operands) {
                return $value;
            }
        }
    };
}
use on_cuda;

/// The values of a contiguous f32 operand on the host.
pub(crate) fn slice<'a>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a [f32]> {
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
        *value = host(storage, layout)?;
    }
    f(values)
}

/// The values of a contiguous f32 host tensor.
pub(crate) fn host<'a>(storage: &'a Storage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match storage {
        Storage::Cpu(storage) => slice(storage, layout),
        _ => candle_core::bail!("fused op: operand is not on the host"),
    }
}

/// Elements that make a parallel task worth its start.
const GRAIN: usize = 16_384;

/// Elements that stay in the first-level cache between two passes over them.
const STEP: usize = 2048;

/// Fills a new vector of `n` elements in parallel, [`STEP`] elements at a time, compiled as
/// [`simd::vectorised`] does; `f` gets the index of the first element of a step, which is zeroed.
#[inline(always)]
fn build(n: usize, f: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    build_rows(
        n,
        1,
        #[inline(always)]
        |start, block| f(start, block),
    )
}

/// [`build`] in steps of whole rows of `row` elements.
#[inline(always)]
fn build_rows(n: usize, row: usize, f: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let row = row.max(1);
    let [size, step] = [GRAIN, STEP].map(|len| (len / row).max(1) * row);
    // A task is whole steps.
    kernel::fresh(n, [size.next_multiple_of(step), step], |start, block| {
        simd::vectorised(
            #[inline(always)]
            || f(start, block),
        );
    })
}

/// `n` zeros, written in parallel.
fn zeros(n: usize) -> Vec<f32> {
    kernel::fresh(n, [GRAIN; 2], |_, _| ())
}

/// As [`build`], on a slice that exists.
#[inline(always)]
fn for_blocks(out: &mut [f32], f: impl Fn(usize, &mut [f32]) + Sync) {
    let one = |(index, block): (usize, &mut [f32])| {
        simd::vectorised(
            #[inline(always)]
            || f(index * GRAIN, block),
        );
    };
    if out.len() <= GRAIN {
        one((0, out));
    } else {
        out.par_chunks_mut(GRAIN).enumerate().for_each(one);
    }
}

/// Calls `f` with the values of a contiguous f32 host variable, to be changed.
fn with_values_mut<R>(
    var: &Var,
    f: impl FnOnce(&mut [f32]) -> candle_core::Result<R>,
) -> candle_core::Result<R> {
    let visit = Visit { f: Cell::new(Some(f)), result: Cell::new(None) };
    var.inplace_op1(&visit)?;
    match visit.result.into_inner() {
        Some(result) => Ok(result),
        None => candle_core::bail!("in-place op: not run"),
    }
}

/// An in-place op that is a closure, called once.
struct Visit<F, R> {
    f: Cell<Option<F>>,
    result: Cell<Option<R>>,
}

impl<F: FnOnce(&mut [f32]) -> candle_core::Result<R>, R> InplaceOp1 for Visit<F, R> {
    fn name(&self) -> &'static str {
        "visit"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let values = match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(values), Some((start, end))) => &mut values[start..end],
            _ => candle_core::bail!("in-place op: the target must be contiguous f32"),
        };
        if let Some(f) = self.f.take() {
            self.result.set(Some(f(values)?));
        }
        Ok(())
    }
}
