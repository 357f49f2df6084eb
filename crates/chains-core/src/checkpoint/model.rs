//! The model directory: `config.json` and `model.safetensors`.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::Path};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    atomic::Staged,
    tensors::{load_tensors, refuse, stage_tensors},
};
use crate::error::{Error, Result};

/// The newest layout of a model directory that this crate reads, and the one it writes.
pub const FORMAT_VERSION: u32 = 1;
/// The file that says what a model is.
pub const CONFIG_FILE: &str = "config.json";
/// The file with the weights that the published number was measured on.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// The contents of `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelHeader<C> {
    /// Layout of the directory, [`FORMAT_VERSION`] when written.
    pub format_version: u32,
    /// The method's crate, such as `infusion`.
    pub method: String,
    /// Version of that crate when the model was written; for people, not checked.
    pub crate_version: String,
    /// What builds the network.
    pub network: C,
}

/// Writes a model directory, creating it if need be. Other files in it are left alone.
///
/// Saving over a model: both new files are whole on the disk before either gets its name. The
/// weights are named first and `config.json` last, so a directory without `config.json` is not a
/// model (yet). If the config changes, the old one is removed before the weights are replaced: at
/// no moment does an old config stand beside new weights, and after a crash in between the
/// directory is refused, not misread. If the config is the same, there is always a whole model.
///
/// # Errors
/// [`Error::Io`] if a file cannot be written; [`Error::Checkpoint`] for tensors that cannot be
/// stored, as [`save_tensors`](super::save_tensors), or a config that is not JSON.
pub fn save_model<C: Serialize>(
    dir: &Path,
    method: &str,
    crate_version: &str,
    network: &C,
    tensors: &[(String, Tensor)],
) -> Result<()> {
    let config = dir.join(CONFIG_FILE);
    let header = ModelHeader {
        format_version: FORMAT_VERSION,
        method: method.to_owned(),
        crate_version: crate_version.to_owned(),
        network,
    };
    let mut json = serde_json::to_vec_pretty(&header)
        .map_err(|error| refuse(&config, format!("the config cannot be written: {error}")))?;
    json.push(b'\n');

    fs::create_dir_all(dir).map_err(|error| Error::io(dir, error))?;
    let format = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let weights = stage_tensors(&dir.join(WEIGHTS_FILE), tensors, Some(&format))?;
    let staged = Staged::write(&config, |writer| writer.write_all(&json))?;
    match fs::read(&config) {
        Ok(old) if old != json => {
            fs::remove_file(&config).map_err(|error| Error::io(&config, error))?;
        }
        _ => {}
    }
    weights.commit()?;
    staged.commit()
}

/// Reads `config.json` without knowing the method's own config.
///
/// # Errors
/// [`Error::Checkpoint`] that names the field, if the directory has no `config.json`, or one that
/// is not a header of this format version; [`Error::Io`] if it cannot be read.
pub fn read_header(dir: &Path) -> Result<ModelHeader<Value>> {
    let path = dir.join(CONFIG_FILE);
    let bytes = fs::read(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => refuse(
            dir,
            format!("no `{CONFIG_FILE}`: not a model directory, or the model was not saved whole"),
        ),
        _ => Error::io(&path, error),
    })?;
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| refuse(&path, format!("not JSON: {error}")))?;
    // Before the other fields, of which a newer format may have more.
    check_version(&path, &value)?;
    serde_path_to_error::deserialize(value).map_err(|error| field_error(&path, "", &error))
}

/// Reads the network config of a model of `method`.
///
/// # Errors
/// As [`read_header`]; [`Error::Checkpoint`] for a model of another method, and for a network
/// field that is unknown, missing or of the wrong type.
pub fn read_config<C: DeserializeOwned>(dir: &Path, method: &str) -> Result<C> {
    let header = read_header(dir)?;
    let path = dir.join(CONFIG_FILE);
    if header.method != method {
        let reason = format!(
            "field `method`: this is a model of `{}`; `{method}` cannot load it",
            header.method
        );
        return Err(refuse(&path, reason));
    }
    serde_path_to_error::deserialize(header.network)
        .map_err(|error| field_error(&path, "network", &error))
}

/// Reads the network config and the tensors of a model of `method`. The caller builds the network
/// and compares the names, see [`check_names`](super::check_names).
///
/// # Errors
/// As [`read_config`] and [`load_tensors`](super::load_tensors).
pub fn load_model<C: DeserializeOwned>(
    dir: &Path,
    method: &str,
    device: &Device,
) -> Result<(C, BTreeMap<String, Tensor>)> {
    let config = read_config(dir, method)?;
    Ok((config, load_tensors(&dir.join(WEIGHTS_FILE), device)?))
}

fn check_version(path: &Path, value: &Value) -> Result<()> {
    let reason = match value.get("format_version") {
        None => "missing; not a `config.json` of this workspace".to_owned(),
        Some(version) => match version.as_u64() {
            Some(version) if version == u64::from(FORMAT_VERSION) => return Ok(()),
            Some(version) if version > u64::from(FORMAT_VERSION) => format!(
                "version {version} is newer than {FORMAT_VERSION}, the newest that this build \
                 reads; update chains-core"
            ),
            _ => format!("expected {FORMAT_VERSION}, got {version}"),
        },
    };
    Err(refuse(path, format!("field `format_version`: {reason}")))
}

fn field_error(
    path: &Path,
    prefix: &str,
    error: &serde_path_to_error::Error<serde_json::Error>,
) -> Error {
    let inner = error.path().to_string();
    let reason = error.inner();
    let field = match (prefix, inner.as_str()) {
        ("", ".") => return refuse(path, reason.to_string()),
        (prefix, ".") => prefix.to_owned(),
        ("", inner) => inner.to_owned(),
        (prefix, inner) => format!("{prefix}.{inner}"),
    };
    refuse(path, format!("field `{field}`: {reason}"))
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
