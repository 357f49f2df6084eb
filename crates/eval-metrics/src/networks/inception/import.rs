//! Conversion of published weight files.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    io::{self, Read},
    path::Path,
};

use candle_core::{DType, Device, Tensor};
use chains_core::{
    Error, Result,
    checkpoint::{PthFile, check_names, check_shapes, load_tensors, save_model},
};
use sha2::{Digest, Sha256};

use super::{INCEPTION_METHOD, InceptionConfig, layout::tensors};

/// Names of the published conversions of the TensorFlow graph, one file.
pub const INCEPTION_FILES: [&str; 2] = [
    "weights-inception-2015-12-05-6726825d.pth (torch-fidelity on GitHub, release v0.2.0)",
    "pt_inception-2015-12-05-6726825d.pth (pytorch-fid on GitHub, release fid_weights)",
];
/// How the SHA-256 of that file begins.
pub const INCEPTION_SHA256: &str = "6726825d";

/// A counter of batches that PyTorch's layer keeps.
const COUNTER: &str = "num_batches_tracked";

/// Which file weights came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InceptionSource {
    /// SHA-256, in hexadecimal digits.
    pub sha256: String,
}

impl InceptionSource {
    /// Digests a file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read.
    pub fn of(path: &Path) -> Result<Self> {
        let fail = |error| Error::io(path, error);
        let mut file = File::open(path).map_err(fail)?;
        let (mut hash, mut block) = (Sha256::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut block) {
                Ok(0) => break,
                Ok(n) => hash.update(&block[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fail(error)),
            }
        }
        Ok(Self { sha256: hex(hash) })
    }

    /// Is it the published file?
    pub fn is_verified(&self) -> bool {
        self.sha256.starts_with(INCEPTION_SHA256)
    }

    /// The name of the weights in reports: scores by weights of another file are no FID.
    pub fn id(&self) -> String {
        let digits = self.sha256.get(..8).unwrap_or(&self.sha256);
        let doubt = if self.is_verified() { "" } else { "unverified-" };
        format!("inception-2015-12-05:{doubt}{digits}")
    }
}

/// Reads a state dictionary, a file of PyTorch or safetensors by its ending, as f32.
///
/// Counters of batches, which nothing uses, are left out. The values of a file of PyTorch are read
/// once all names and shapes have been found right.
///
/// # Errors
/// [`Error::Checkpoint`] for a file that is neither, one that lists all tensors that are missing,
/// extra or misshapen, or one with values that no network has; [`Error::Io`].
pub fn read_inception_weights(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let found = match ending {
        "safetensors" => {
            let mut found = load_tensors(path, &Device::Cpu)?;
            found.retain(|name, _| !name.ends_with(COUNTER));
            check_names(path, &tensors(), &found)?;
            found
        }
        "pth" | "pt" => read_pth(path)?,
        _ => {
            let reason = "expected a file that ends in .pth or .safetensors".into();
            return Err(Error::Checkpoint { path: path.to_owned(), reason });
        }
    };
    let narrow = |(name, tensor): (String, Tensor)| Ok((name, tensor.to_dtype(DType::F32)?));
    let found = found.into_iter().map(narrow).collect::<Result<_>>()?;
    check_values(path, &found)?;
    Ok(found)
}

fn read_pth(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let file = PthFile::open(path)?;
    let shapes = file.shapes().filter(|(name, _)| !name.ends_with(COUNTER));
    let shapes: BTreeMap<_, _> =
        shapes.map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
    check_shapes(path, &tensors(), &shapes)?;
    let mut found = BTreeMap::new();
    for name in shapes.into_keys() {
        if let Some(tensor) = file.read(&name, &Device::Cpu)? {
            found.insert(name, tensor);
        }
    }
    Ok(found)
}

/// Finite numbers, and variances that are not negative.
fn check_values(path: &Path, found: &BTreeMap<String, Tensor>) -> Result<()> {
    for (name, tensor) in found {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        let least = if name.ends_with("running_var") { 0.0 } else { f32::MIN };
        if let Some(at) = values.iter().position(|value| !value.is_finite() || *value < least) {
            let reason = format!("tensor `{name}`: value {at} is {}", values[at]);
            return Err(Error::Checkpoint { path: path.to_owned(), reason });
        }
    }
    Ok(())
}

/// Converts a weight file to a model directory.
///
/// # Errors
/// As [`read_inception_weights`]; [`Error::Checkpoint`] for a file of another digest than the
/// published one, unless `unverified` asks for it; [`Error::Io`] if the directory cannot be written.
pub fn import_inception(from: &Path, to: &Path, unverified: bool) -> Result<InceptionSource> {
    let source = InceptionSource::of(from)?;
    if !unverified && !source.is_verified() {
        let reason = format!(
            "its SHA-256 begins with {}, that of the published file with {INCEPTION_SHA256}; \
             scores by other weights are not FID: give --unverified to use them all the same",
            &source.sha256[..8]
        );
        return Err(Error::Checkpoint { path: from.to_owned(), reason });
    }
    let weights = read_inception_weights(from)?;
    let tensors_sha256 = digest(&weights)?;
    let config = InceptionConfig { source_sha256: source.sha256.clone(), tensors_sha256 };
    let weights: Vec<_> = weights.into_iter().collect();
    save_model(to, INCEPTION_METHOD, env!("CARGO_PKG_VERSION"), &config, &weights)?;
    Ok(source)
}

/// SHA-256 of names, shapes and values, by name.
pub(super) fn digest(weights: &BTreeMap<String, Tensor>) -> Result<String> {
    let mut hash = Sha256::new();
    let mut bytes = Vec::new();
    for (name, tensor) in weights {
        hash.update(format!("{name} {:?}\n", tensor.dims()));
        bytes.clear();
        tensor.write_bytes(&mut bytes)?;
        hash.update(&bytes);
    }
    Ok(hex(hash))
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
