//! Noise that a device computes by itself.

use std::f64::consts::TAU;

use candle_core::{DType, Device, Shape, Tensor};

use super::{Noise, NoiseState, philox};
use crate::{error::Result, seed::Seed};

/// Counter-based noise, Philox4x32-10, that CUDA computes where it is needed: no copy, and no wait for the
/// host. Other devices get copies from the host.
///
/// It is a stream of its own, not that of [`super::HostNoise`] with the same seed. Number `i` of a draw is a
/// function of seed, draw and `i`: a draw of shape `(2, n)` begins with the numbers of a draw of `(n,)`.
/// The elementary functions behind normal numbers are written out, every rounding in a fixed place, so
/// that f32 numbers have the same bits on every device and for any number of threads; `DType::F64` is
/// drawn on the host with its library's functions, half precision is rounded from f32.
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
            (_, Device::Cuda(_)) => {
                cuda::drawn(law, shape, (key, draws), device)?.to_dtype(dtype)?
            }
            _ => {
                let mut values = vec![0_f32; n];
                match law {
                    Law::Normal => philox::normal(&mut values, key, draws),
                    Law::Uniform => philox::uniform(&mut values, key, draws),
                }
                Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?
            }
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
}

#[cfg(feature = "cuda")]
mod cuda {
    //! The kernels of `philox.cu`, compiled when they are first used.

    use std::sync::OnceLock;

    use candle_core::{
        CpuStorage, CudaStorage, DType, Device, Error, InplaceOp1, Layout, Shape, Tensor,
        backend::BackendStorage,
        cuda_backend::cudarc::{
            driver::{LaunchConfig, PushKernelArg},
            nvrtc::{CompileOptions, compile_ptx_with_opts},
        },
    };

    use super::Law;

    const SOURCE: &str = include_str!("philox.cu");
    /// Threads of a block; blocks stride over what is left.
    const THREADS: u32 = 256;
    const BLOCKS: u32 = 2048;

    pub(super) fn drawn(
        law: Law,
        shape: &Shape,
        (key, draw): (u64, u64),
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let out = Tensor::zeros(shape, DType::F32, device)?;
        if shape.elem_count() > 0 {
            out.inplace_op1(&Fill { law, key, draw })?;
        }
        Ok(out)
    }

    struct Fill {
        law: Law,
        key: u64,
        draw: u64,
    }

    /// The compiled kernels, or why there are none.
    fn compiled() -> candle_core::Result<&'static str> {
        static COMPILED: OnceLock<Result<String, String>> = OnceLock::new();
        let compile = || {
            // Contractions would round where the host does not.
            let options = CompileOptions { fmad: Some(false), ..CompileOptions::default() };
            compile_ptx_with_opts(SOURCE, options)
                .map(|ptx| ptx.to_src())
                .map_err(|error| error.to_string())
        };
        let found = COMPILED.get_or_init(compile);
        found.as_deref().map_err(|error| Error::Msg(format!("kernels of the noise: {error}")))
    }

    impl InplaceOp1 for Fill {
        fn name(&self) -> &'static str {
            "philox"
        }

        fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
            candle_core::bail!("the host fills slices")
        }

        #[allow(unsafe_code)]
        fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> candle_core::Result<()> {
            let device = storage.device().clone();
            let name = match self.law {
                Law::Normal => "philox_normal",
                Law::Uniform => "philox_uniform",
            };
            let kernel = device.get_or_load_custom_func(name, "philox", compiled()?)?;
            let len = layout.shape().elem_count() as u64;
            let quads = u32::try_from(len.div_ceil(4 * u64::from(THREADS))).unwrap_or(u32::MAX);
            let blocks = quads.clamp(1, BLOCKS);
            let launch = LaunchConfig {
                grid_dim: (blocks, 1, 1),
                block_dim: (THREADS, 1, 1),
                shared_mem_bytes: 0,
            };
            let out = storage.as_cuda_slice_mut::<f32>()?;
            let mut builder = kernel.builder();
            builder.arg(out).arg(&len).arg(&self.key).arg(&self.draw);
            // SAFETY: the tensor is fresh, contiguous and has `len` numbers; the kernel writes no others.
            unsafe { builder.launch(launch) }.map_err(Error::wrap)?;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
