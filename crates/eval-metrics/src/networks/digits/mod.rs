//! The network behind scores of digits: features and classes of 28x28 grey images.
//!
//! Two 3x3 convolutions with 32 channels, halving by maxima, two with 64, halving, 128 features, ten
//! logits; ReLU throughout. The weights are trained outside of this crate, on MNIST. Scores with its
//! features bear names of their own, such as `mnist-fid`, and compare only with scores of the same
//! weights, which the [id](DigitClassifier) tells.

mod network;
mod stacked;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    fs,
    path::Path,
};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use chains_core::{
    Error, ParamStore, Result,
    checkpoint::{self, WEIGHTS_FILE},
};
use sha2::{Digest, Sha256};

use super::{Activations, FeatureExtractor};
pub use network::{DigitConfig, DigitNetwork, scaled_digits};
pub use stacked::stacked_digits;

/// What `config.json` of a model directory says.
pub const DIGIT_METHOD: &str = "digit-classifier";

/// Images that go through the network together, which bounds the memory.
const BLOCK: usize = 250;

/// A trained [`DigitNetwork`], frozen.
///
/// Its id is `mnist-classifier:` and the first eight hexadecimal digits of the SHA-256 of
/// `model.safetensors`.
#[derive(Clone, Debug)]
pub struct DigitClassifier {
    network: DigitNetwork,
    config: DigitConfig,
    device: Device,
    id: String,
}

impl DigitClassifier {
    /// Reads a model directory written by [`save_digits`].
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a model of another method or format, tensors that are missing, extra
    /// or misshapen (all are listed), or weights that are not finite numbers; [`Error::Config`] for a
    /// network of an unusable size; [`Error::Io`] if a file cannot be read.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let path = dir.join(WEIGHTS_FILE);
        let config: DigitConfig = checkpoint::read_config(dir, DIGIT_METHOD)?;
        // Before anything of that size is made.
        config.validate()?;
        let found = checkpoint::load_tensors(&path, &Device::Cpu)?;
        checkpoint::check_names(&path, &config.shapes(), &found)?;
        let mut weights = HashMap::with_capacity(found.len());
        for (name, tensor) in check_finite(&path, found)? {
            weights.insert(name, tensor.to_device(device)?);
        }
        let vb = VarBuilder::from_tensors(weights, DType::F32, device);
        let network = DigitNetwork::new(&config, vb)?;
        let id = format!("mnist-classifier:{}", &digest(&path)?[..8]);
        Ok(Self { network, config, device: device.clone(), id })
    }

    /// What the network is built from.
    pub fn config(&self) -> &DigitConfig {
        &self.config
    }

    fn block(&self, images: &Tensor) -> Result<Activations> {
        let n = images.dims()[0];
        // A single row would be multiplied in another order, and rounded differently.
        let images = if n == 1 { Tensor::cat(&[images, images], 0)? } else { images.clone() };
        let x = scaled_digits(&images.to_device(&self.device)?)?;
        let features = self.network.features(&x)?;
        let logits = self.network.logits(&features)?;
        Ok(Activations { features: features.narrow(0, 0, n)?, logits: logits.narrow(0, 0, n)? })
    }
}

impl FeatureExtractor for DigitClassifier {
    fn id(&self) -> &str {
        &self.id
    }

    fn dim(&self) -> usize {
        self.config.features
    }

    fn classes(&self) -> usize {
        self.config.classes
    }

    fn preprocessing(&self) -> &'static str {
        "grey bytes / 255; 28x28 as they are, 32x32 cropped to the central 28x28, never resized"
    }

    /// `images`: `(b, 1, 28, 28)` or `(b, 1, 32, 32)`, u8, at least one. Blocks of 250 go through the
    /// network together; an image's values do not depend on its company.
    ///
    /// # Errors
    /// [`Error::Shape`] for other images; for three digits as three channels see [`stacked_digits`].
    fn activations(&self, images: &Tensor) -> Result<Activations> {
        let n = check_images(images, 1, "(b, 1, 28, 28) or (b, 1, 32, 32) of u8, b > 0")?;
        let (mut features, mut logits) = (Vec::new(), Vec::new());
        for start in (0..n).step_by(BLOCK) {
            let found = self.block(&images.narrow(0, start, BLOCK.min(n - start))?)?;
            features.push(found.features);
            logits.push(found.logits);
        }
        Ok(Activations { features: Tensor::cat(&features, 0)?, logits: Tensor::cat(&logits, 0)? })
    }
}

/// The number of images, if they are bytes with that many channels and a known size.
fn check_images(images: &Tensor, channels: usize, expected: &str) -> Result<usize> {
    let fits = matches!(*images.dims(), [n, c, h, w]
        if n > 0 && c == channels && h == w && [28, 32].contains(&h));
    if fits && images.dtype() == DType::U8 {
        return Ok(images.dims()[0]);
    }
    let what = if images.dtype() == DType::U8 { "digits" } else { "digits that are not bytes" };
    Err(Error::Shape { what, expected: expected.into(), got: images.dims().to_vec() })
}

/// Writes a trained network as a model directory, its weights rounded to f16: what is shipped is what
/// [`DigitClassifier::load`] gives and what has to be measured.
///
/// # Errors
/// [`Error::Checkpoint`] if `store` does not hold exactly the tensors of `config`, or a weight is not
/// finite in f16; [`Error::Io`] if a file cannot be written.
pub fn save_digits(dir: &Path, config: &DigitConfig, store: &ParamStore) -> Result<()> {
    config.validate()?;
    let path = dir.join(WEIGHTS_FILE);
    let half: BTreeMap<String, Tensor> = store.half_tensors()?.into_iter().collect();
    checkpoint::check_names(&path, &config.shapes(), &half)?;
    let half: Vec<_> = check_finite(&path, half)?.into_iter().collect();
    checkpoint::save_model(dir, DIGIT_METHOD, env!("CARGO_PKG_VERSION"), config, &half)
}

fn check_finite(
    path: &Path,
    tensors: BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, Tensor>> {
    for (name, tensor) in &tensors {
        let values = tensor.to_device(&Device::Cpu)?.flatten_all()?.to_dtype(DType::F32)?;
        if values.to_vec1::<f32>()?.iter().any(|value| !value.is_finite()) {
            let reason = format!("tensor `{name}` has weights that are not finite numbers");
            return Err(Error::Checkpoint { path: path.to_owned(), reason });
        }
    }
    Ok(tensors)
}

/// SHA-256 of a file in lower-case hexadecimal.
fn digest(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|source| Error::io(path, source))?;
    Ok(Sha256::digest(&bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
