//! Conversion of published weight files.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use candle_core::{DType, Device, Tensor, pickle::PthTensors};
use chains_core::{
    Error, Result,
    checkpoint::{check_names, check_shapes, load_tensors, save_model},
};
use sha2::{Digest, Sha256};

use super::{INCEPTION_METHOD, InceptionConfig, layout::tensors};

/// Names of the published conversions of the TensorFlow graph, one file.
pub const INCEPTION_FILES: [&str; 2] = [
    "weights-inception-2015-12-05-6726825d.pth (torch-fidelity, release v0.2.0)",
    "pt_inception-2015-12-05-6726825d.pth (pytorch-fid, release fid_weights)",
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
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { sha256 })
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

/// Reads a state dictionary, a PyTorch pickle or safetensors by its ending, as f32.
///
/// Counters of batches, which nothing uses, are left out. No tensor is read before all names and
/// shapes have been found right.
///
/// # Errors
/// [`Error::Checkpoint`] for a file that is neither, or one that lists all tensors that are missing,
/// extra or misshapen; [`Error::Io`].
pub fn read_inception_weights(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let refuse = |reason: String| Error::Checkpoint { path: path.to_owned(), reason };
    // Opened here, so that a missing file is not called a bad one.
    File::open(path).map_err(|error| Error::io(path, error))?;
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let mut found = match ending {
        "safetensors" => load_tensors(path, &Device::Cpu)?,
        "pth" | "pt" => read_pickle(path)?,
        _ => return Err(refuse("expected a .pth or .safetensors file".into())),
    };
    found.retain(|name, _| !name.ends_with(COUNTER));
    check_names(path, &tensors(), &found)?;
    found.into_iter().map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F32)?))).collect()
}

fn read_pickle(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let refuse = |error: candle_core::Error| Error::Checkpoint {
        path: path.to_owned(),
        reason: format!("not a state dictionary of PyTorch: {error}"),
    };
    let file = PthTensors::new(path, None).map_err(refuse)?;
    let counts = |name: &str| name.ends_with(COUNTER);
    let infos = file.tensor_infos().iter().filter(|(name, _)| !counts(name));
    let shapes: BTreeMap<String, Vec<usize>> =
        infos.map(|(name, info)| (name.clone(), info.layout.shape().dims().to_vec())).collect();
    check_shapes(path, &tensors(), &shapes)?;
    let mut found = BTreeMap::new();
    for name in shapes.into_keys() {
        let tensor = file.get(&name).map_err(refuse)?;
        let tensor =
            tensor.ok_or_else(|| refuse(candle_core::Error::Msg(format!("no `{name}`"))))?;
        found.insert(name, tensor);
    }
    Ok(found)
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
    let weights: Vec<_> = read_inception_weights(from)?.into_iter().collect();
    let config = InceptionConfig { source_sha256: source.sha256.clone() };
    save_model(to, INCEPTION_METHOD, env!("CARGO_PKG_VERSION"), &config, &weights)?;
    Ok(source)
}
