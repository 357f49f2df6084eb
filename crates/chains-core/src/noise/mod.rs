//! Randomness as an argument: reproducible noise, the same for any number of threads.
//!
//! [`HostNoise`] draws on the host and copies: every device sees the same numbers. [`DeviceNoise`] is
//! another stream, a function of a counter, that CUDA computes in place.

mod device;
mod host;
pub(crate) mod philox;

use candle_core::{DType, Device, Shape, Tensor};
use serde::{Deserialize, Serialize};

#[cfg(feature = "cuda")]
pub(crate) use self::device::cuda;
pub use self::{device::DeviceNoise, host::HostNoise};
use crate::{error::Result, seed::Seed};

/// The noise of a stream that a device draws fastest: [`DeviceNoise`] on CUDA, else [`HostNoise`].
pub fn of_device(seed: Seed, device: &Device) -> Box<dyn Noise> {
    if device.is_cuda() { Box::new(DeviceNoise::new(seed)) } else { Box::new(seed.host_noise()) }
}

/// A source of random tensors.
pub trait Noise {
    /// Independent standard normal numbers.
    ///
    /// # Errors
    /// If the device cannot hold the tensor.
    fn normal(&mut self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor>;

    /// Independent uniform numbers in `[0, 1)`.
    ///
    /// # Errors
    /// If the device cannot hold the tensor.
    fn uniform(&mut self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor>;

    /// Makes so many draws in f32 whose numbers an operation of this crate computes in place on CUDA, as
    /// [`DeviceNoise`] would have: the position of the first. `None`, the default, draws nothing: the
    /// operation then asks for tensors.
    fn in_place(&mut self, draws: u64) -> Option<NoiseState> {
        let _ = draws;
        None
    }
}

/// Uniform numbers in a type that has fewer of them, none rounded up to one.
fn uniform_as(x: &Tensor, dtype: DType) -> Result<Tensor> {
    // The largest number below one.
    let most = match dtype {
        DType::BF16 => 1.0 - 2_f64.powi(-8),
        DType::F16 => 1.0 - 2_f64.powi(-11),
        _ => return Ok(x.to_dtype(dtype)?),
    };
    Ok(x.minimum(most)?.to_dtype(dtype)?)
}

/// The position of a noise in its stream: all that a checkpoint needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseState {
    /// The stream.
    pub seed: Seed,
    /// Draws made so far.
    pub draws: u64,
}
