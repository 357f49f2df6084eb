//! Noise that a device computes by itself.

use std::f64::consts::TAU;

use candle_core::{DType, Device, Shape, Tensor};

use super::{Noise, NoiseState, philox, uniform_as};
use crate::{error::Result, seed::Seed};

/// Counter-based noise, Philox4x32-10, that CUDA computes where it is needed: no copy, and no wait for the
/// host. Other devices get copies from the host.
///
/// It is a stream of its own, not that of [`super::HostNoise`] with the same seed. Number `i` of a draw is a
/// function of seed, draw and `i`: a draw of shape `(2, n)` begins with the numbers of a draw of `(n,)`.
/// The elementary functions behind normal numbers are written out, every rounding in a fixed place, so
/// that f32 numbers have the same bits on every device and for any number of threads; `DType::F64` is
/// drawn on the host with its library's functions, half precision is rounded from f32, but no
/// uniform number up to one.
///
/// # Example
/// ```
/// use candle_core::{DType, Device};
/// use chains_core::{Noise, Seed, noise::DeviceNoise};
/// # fn main() -> chains_core::Result<()> {
/// let mut noise = DeviceNoise::new(Seed::new(0).child("chain"));
/// let x = noise.normal(&(2, 3).into(), DType::F32, &Device::Cpu)?;
/// assert_eq!(x.dims(), [2, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNoise {
    state: NoiseState,
}

/// What a draw is of.
#[derive(Clone, Copy, Debug)]
enum Law {
    Normal,
    Uniform,
}

impl DeviceNoise {
    /// Noise at the beginning of the stream of `seed`.
    pub fn new(seed: Seed) -> Self {
        Self { state: NoiseState { seed, draws: 0 } }
    }

    /// The position, to be saved.
    pub fn state(&self) -> NoiseState {
        self.state
    }

    /// Noise that goes on where `state` was taken.
    pub fn restore(state: &NoiseState) -> Self {
        Self { state: *state }
    }

    fn draw(&mut self, law: Law, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        let NoiseState { seed, draws } = self.state;
        let (n, key) = (shape.elem_count(), seed.value());
        let drawn = match (dtype, device) {
            (DType::F64, _) => Tensor::from_vec(wide(law, n, key, draws), shape, device)?,
            #[cfg(feature = "cuda")]
            (_, Device::Cuda(_)) => cuda::drawn(law, shape, (key, draws), device)?,
            _ => {
                let mut values = vec![0_f32; n];
                match law {
                    Law::Normal => philox::normal(&mut values, key, draws),
                    Law::Uniform => philox::uniform(&mut values, key, draws),
                }
                Tensor::from_vec(values, shape, device)?
            }
        };
        let drawn = match law {
            Law::Normal => drawn.to_dtype(dtype)?,
            Law::Uniform => uniform_as(&drawn, dtype)?,
        };
        self.state.draws += 1;
        Ok(drawn)
    }
}

/// The numbers of a draw in f64.
fn wide(law: Law, n: usize, key: u64, draw: u64) -> Vec<f64> {
    // Normal numbers come in pairs.
    let mut values = vec![0.0; n.next_multiple_of(2)];
    philox::wide(&mut values, key, draw);
    if matches!(law, Law::Normal) {
        for pair in values.chunks_exact_mut(2) {
            // One minus a number below one is never 0.
            let r = (-2.0 * (1.0 - pair[0]).ln()).sqrt();
            let (sine, cosine) = (TAU * pair[1]).sin_cos();
            pair.copy_from_slice(&[r * cosine, r * sine]);
        }
    }
    values.truncate(n);
    values
}

impl Noise for DeviceNoise {
    fn normal(&mut self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        self.draw(Law::Normal, shape, dtype, device)
    }

    fn uniform(&mut self, shape: &Shape, dtype: DType, device: &Device) -> Result<Tensor> {
        self.draw(Law::Uniform, shape, dtype, device)
    }

    fn in_place(&mut self, draws: u64) -> Option<NoiseState> {
        let at = self.state;
        self.state.draws += draws;
        Some(at)
    }
}

#[cfg(feature = "cuda")]
pub(crate) mod cuda {
    //! The kernels of `philox.cu`.

    use std::sync::OnceLock;

    use candle_core::{
        Device, Shape, Tensor,
        cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts},
    };

    use super::Law;
    use crate::{
        cuda::{self, Arg, Grid, Module, fresh, launch_of, tensor},
        noise::NoiseState,
    };

    static MODULE: Module = Module {
        name: "philox",
        compile: || {
            // Contractions would round where the host does not.
            let options = CompileOptions { fmad: Some(false), ..CompileOptions::default() };
            compile_ptx_with_opts(include_str!("philox.cu"), options)
                .map(|ptx| ptx.to_src())
                .map_err(|error| error.to_string())
        },
        compiled: OnceLock::new(),
    };

    /// Blocks that stride over what one pass of them leaves.
    const BLOCKS: usize = 2048;
    /// Numbers of a block's pass: four of each of its threads.
    const PASS: usize = 4 * 256;

    pub(super) fn drawn(
        law: Law,
        shape: &Shape,
        (key, draw): (u64, u64),
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let n = shape.elem_count();
        let cuda = match device {
            Device::Cuda(cuda) if n > 0 => cuda,
            _ => return Tensor::zeros(shape, candle_core::DType::F32, device),
        };
        let name = match law {
            Law::Normal => "philox_normal",
            Law::Uniform => "philox_uniform",
        };
        let out = fresh(cuda, n)?;
        let args = [(&out).into(), Arg::Word(n as u64), Arg::Word(key), Arg::Word(draw)];
        launch_of(&MODULE, cuda, name, grid(n), &args)?;
        Ok(tensor(out, cuda, shape))
    }

    fn grid(n: usize) -> Grid {
        Grid::Rows(n.div_ceil(PASS).min(BLOCKS))
    }

    /// See [`crate::ops::squashed_mixture_draw`]: raw mean and variance and the target; scale, floor, rate
    /// and the spike's deviation. The first draw of `at` is uniform if the rate is positive.
    pub(crate) fn squashed_mixture(
        operands: [&Tensor; 3],
        numbers: [f64; 4],
        at: NoiseState,
    ) -> candle_core::Result<Tensor> {
        let operands = operands.iter().map(|x| x.contiguous());
        let operands = operands.collect::<candle_core::Result<Vec<_>>>()?;
        let (device, n) = (cuda::device(&operands[0])?, operands[0].elem_count());
        let out = fresh(device, n)?;
        let mut args: Vec<Arg<'_>> = vec![(&out).into()];
        args.extend(operands.iter().map(Arg::from));
        args.extend(numbers.map(|number| Arg::from(number as f32)));
        args.extend([n as u64, at.seed.value(), at.draws].map(Arg::Word));
        launch_of(&MODULE, device, "philox_squashed_mixture", grid(n), &args)?;
        Ok(tensor(out, device, operands[0].shape()))
    }
}

#[cfg(test)]
mod tests;
