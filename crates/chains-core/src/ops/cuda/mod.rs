//! The fused operations on CUDA, by our kernels.

mod conv;
mod gaussian;
mod linear;
mod maps;
mod norm;
mod optim;
mod pointwise;
pub(crate) mod scalars;

use candle_core::{
    CudaDevice, CudaStorage, Result, Shape, Storage, Tensor,
    cuda_backend::cudarc::driver::CudaSlice, op::BackpropOp,
};

pub(super) use self::{
    conv::{average_squares, convolution, double},
    gaussian::{
        divergence, gaussian_density, gaussian_draw, heads, mixture_draw, mixture_log_ratio,
    },
    linear::{linear, linear_known, stackable},
    maps::{bilinear2, join, part},
    norm::{batch_moments, batch_norm, batch_normalise, layer_norm},
    optim::{adam, adamax},
    pointwise::{Activation, activation, add_gated, channel_means, of_length, stacked},
    scalars::{largest_size, total},
};
pub(crate) use crate::cuda::{applies, counts, reaches};
use crate::cuda::{fresh, tensor};

/// Rows that a block of threads adds up.
const BLOCK: usize = 256;

/// The tensor of a storage, without a graph.
fn of_storage(values: CudaStorage, shape: impl Into<Shape>) -> Tensor {
    Tensor::from_storage(Storage::Cuda(values), shape, BackpropOp::none(), false)
}

/// A gradient that may not be wanted: memory for as many numbers as `of` has.
fn wanted(of: &Tensor, device: &CudaDevice) -> Result<Option<CudaSlice<f32>>> {
    of.track_op().then(|| fresh(device, of.elem_count())).transpose()
}

/// The tensor of a gradient in the shape of its operand.
fn made(values: Option<CudaSlice<f32>>, of: &Tensor, device: &CudaDevice) -> Option<Tensor> {
    values.map(|values| tensor(values, device, of.shape()))
}
