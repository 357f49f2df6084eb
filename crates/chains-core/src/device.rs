//! The device a user asks for.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The precision of matrix products on an accelerator; operands, results and all else stay f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Products {
    /// f32.
    #[default]
    F32,
    /// Factors rounded to 10 bits behind the point, sums in f32.
    Tf32,
}

impl Products {
    const ALL: [(Self, &str); 2] = [(Self::F32, "f32"), (Self::Tf32, "tf32")];
}

impl std::fmt::Display for Products {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = Self::ALL.iter().find(|(products, _)| products == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

impl std::str::FromStr for Products {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(products, _)| *products).ok_or_else(|| Error::Config {
            field: "products",
            reason: format!("`{name}`; expected `f32` or `tf32`"),
        })
    }
}

static TF32: AtomicBool = AtomicBool::new(false);

/// Chooses the precision of all later products of f32 matrices of this process on CUDA, candle's too. The
/// processor and Metal compute in f32.
pub fn set_products(products: Products) {
    let reduced = products == Products::Tf32;
    TF32.store(reduced, Ordering::Relaxed);
    candle_core::cuda::set_gemm_reduced_precision_f32(reduced);
}

/// The precision that was chosen.
pub fn products() -> Products {
    if TF32.load(Ordering::Relaxed) { Products::Tf32 } else { Products::F32 }
}

/// Parses `cpu`, `cuda`, `cuda:N` or `metal` and opens the device.
///
/// # Errors
/// [`Error::Device`] for an unknown name, for a device whose feature this build lacks (the message
/// names the feature to add), and for one that cannot be opened.
pub fn parse(name: &str) -> Result<Device> {
    let error = |reason: String| Error::Device { name: name.to_owned(), reason };
    let (kind, ordinal) = match name.split_once(':') {
        Some((kind, number)) => {
            let number = number
                .parse::<usize>()
                .map_err(|_| error("write the number as in `cuda:0`".into()))?;
            (kind, Some(number))
        }
        None => (name, None),
    };
    let open = |feature: &str, built: bool, open: fn(usize) -> candle_core::Result<Device>| {
        if !built {
            return Err(error(format!(
                "built without `{feature}`; rebuild with `--features {feature}`"
            )));
        }
        open(ordinal.unwrap_or(0)).map_err(|e| error(format!("cannot be opened: {e}")))
    };
    match (kind, ordinal) {
        ("cpu", None) => Ok(Device::Cpu),
        ("cuda", _) => open("cuda", cfg!(feature = "cuda"), cuda),
        ("metal", _) => open("metal", cfg!(feature = "metal"), Device::new_metal),
        _ => Err(error("expected `cpu`, `cuda:N` or `metal`".into())),
    }
}

/// A CUDA device whose work is in the order of one stream, for all threads.
///
/// candle's own has a stream for each thread, between which nothing waits, and gives memory back to the
/// system whenever the host waits for a result.
#[cfg(feature = "cuda")]
#[allow(unsafe_code)]
fn cuda(ordinal: usize) -> candle_core::Result<Device> {
    use candle_core::cuda_backend::{
        WrapErr,
        cudarc::driver::{
            result, sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
        },
    };

    let device = candle_core::CudaDevice::new_with_stream(ordinal)?;
    // SAFETY: events would order streams, and there is one. The pool is that of the device, which is
    // open; the attribute is the number of bytes, of 64 bits, that it keeps.
    unsafe {
        device.disable_event_tracking();
        // Devices without pools allocate as they can.
        let ordinal = device.cuda_stream().context().cu_device();
        if let Ok(pool) = result::device::get_default_mem_pool(ordinal) {
            let mut bytes = u64::MAX;
            let keep = CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            result::mem_pool::set_attribute(pool, keep, (&raw mut bytes).cast()).w()?;
        }
    }
    Ok(Device::Cuda(device))
}

#[cfg(not(feature = "cuda"))]
fn cuda(ordinal: usize) -> candle_core::Result<Device> {
    Device::new_cuda(ordinal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_there() {
        assert!(parse("cpu").unwrap().is_cpu());
    }

    #[test]
    fn precisions_have_names() {
        for (products, name) in Products::ALL {
            assert_eq!(
                (products.to_string(), name.parse::<Products>().unwrap()),
                (name.into(), products)
            );
        }
        let message = "f16".parse::<Products>().unwrap_err().to_string();
        assert!(message.contains("tf32"), "{message}");
        assert_eq!(Products::default(), products());
    }

    #[test]
    fn errors_say_what_to_do() {
        for name in ["gpu", "cpu:1", "", "cuda:x"] {
            let message = parse(name).unwrap_err().to_string();
            assert!(message.contains("cuda:"), "{message}");
        }
        if !cfg!(feature = "cuda") {
            let message = parse("cuda:0").unwrap_err().to_string();
            assert!(message.contains("--features cuda"), "{message}");
        }
        if !cfg!(feature = "metal") {
            let message = parse("metal").unwrap_err().to_string();
            assert!(message.contains("--features metal"), "{message}");
        }
    }
}
