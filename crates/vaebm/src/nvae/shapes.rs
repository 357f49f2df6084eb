//! Names and shapes of a network without its values.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder, var_builder::SimpleBackend};
use chains_core::Result;

use super::Nvae;
use crate::config::NvaeConfig;

/// Shapes by tensor name.
pub type TensorShapes = BTreeMap<String, Vec<usize>>;

/// Names and shapes of all tensors of the network, running moments included. Nothing of their size is
/// allocated.
///
/// # Errors
/// If the configuration is invalid.
pub fn tensor_shapes(config: &NvaeConfig) -> Result<TensorShapes> {
    let seen = Arc::new(Mutex::new(TensorShapes::new()));
    let backend = Recorder(seen.clone());
    let vb = VarBuilder::from_backend(Box::new(backend), DType::F32, Device::Cpu);
    Nvae::new(config, vb)?;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(seen.clone())
}

/// Gives zeros that share one number, and remembers what was asked.
struct Recorder(Arc<Mutex<TensorShapes>>);

impl SimpleBackend for Recorder {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(name.to_owned(), shape.dims().to_vec());
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("{name}: its shape was not asked for")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        // So no layer computes initial values.
        true
    }
}
