//! Tensors by name in one safetensors file.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read, Write},
    path::Path,
};

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype as FileDtype, Metadata, TensorInfo};
use serde::Serialize;

use super::atomic::Staged;
use crate::error::{Error, Result};

/// The bytes before the header: its length, little-endian.
const PREFIX: u64 = 8;
/// The format's own limit on the header.
const MAX_HEADER: u64 = 100_000_000;
/// The reserved key of the free metadata.
const METADATA_KEY: &str = "__metadata__";

/// Writes tensors and string metadata to a safetensors file, atomically.
///
/// The bytes depend on the contents alone, not on the order given: wider types first, as the format
/// asks for alignment, then by name; keys sorted. Tensors may be on any device and need not be
/// contiguous.
///
/// # Errors
/// [`Error::Checkpoint`] for a name given twice, the reserved name `__metadata__`, or a type that
/// cannot be stored; [`Error::Io`] if the file cannot be written.
pub fn save_tensors(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: Option<BTreeMap<String, String>>,
) -> Result<()> {
    stage_tensors(path, tensors, metadata.as_ref())?.commit()
}

pub(super) fn stage_tensors(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: Option<&BTreeMap<String, String>>,
) -> Result<Staged> {
    let mut order: Vec<(FileDtype, &str, &Tensor)> = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        if !storable(tensor.dtype()) {
            let dtype = tensor.dtype();
            return Err(refuse(path, format!("tensor `{name}` of type {dtype:?} has no values")));
        }
        order.push((tensor.dtype().into(), name, tensor));
    }
    order.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let header = header_bytes(path, &order, metadata)?;
    Staged::write(path, |writer| {
        writer.write_all(&(header.len() as u64).to_le_bytes())?;
        writer.write_all(&header)?;
        let mut writer = writer as &mut dyn Write;
        order.iter().try_for_each(|(_, _, tensor)| {
            // Little-endian values in row-major order, copied to the host first.
            tensor.write_bytes(&mut writer).map_err(io::Error::other)
        })
    })
}

/// An entry of the header, in the words of the format.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Tensor { dtype: FileDtype, shape: &'a [usize], data_offsets: (usize, usize) },
    Metadata(&'a BTreeMap<String, String>),
}

fn header_bytes(
    path: &Path,
    order: &[(FileDtype, &str, &Tensor)],
    metadata: Option<&BTreeMap<String, String>>,
) -> Result<Vec<u8>> {
    let mut entries = BTreeMap::new();
    if let Some(metadata) = metadata {
        entries.insert(METADATA_KEY, Entry::Metadata(metadata));
    }
    let mut offset = 0;
    for (dtype, name, tensor) in order {
        let end = offset + tensor.elem_count() * tensor.dtype().size_in_bytes();
        let entry =
            Entry::Tensor { dtype: *dtype, shape: tensor.dims(), data_offsets: (offset, end) };
        if *name == METADATA_KEY || entries.insert(name, entry).is_some() {
            return Err(refuse(path, format!("tensor name `{name}` is reserved or given twice")));
        }
        offset = end;
    }
    let mut header =
        serde_json::to_vec(&entries).map_err(|error| refuse(path, error.to_string()))?;
    // Padded with spaces, so that the data is aligned.
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() as u64 > MAX_HEADER {
        return Err(refuse(path, format!("a header of {} bytes is too long", header.len())));
    }
    Ok(header)
}

/// Reads every tensor of a safetensors file onto `device`.
///
/// Never more is read or allocated than both the header and the length of the file warrant.
///
/// # Errors
/// [`Error::Checkpoint`] for anything but a well-formed file, with the byte offset;
/// [`Error::Io`] if it cannot be read; [`Error::Tensor`] if the device cannot hold a tensor.
pub fn load_tensors(path: &Path, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    let (mut reader, header) = open(path)?;
    let mut tensors = BTreeMap::new();
    for name in header.metadata.offset_keys() {
        let Some(info) = header.metadata.info(&name) else {
            continue;
        };
        let (begin, end) = info.data_offsets;
        let dtype = checked_dtype(info).map_err(|reason| {
            let at = header.start + begin as u64;
            refuse(path, format!("tensor `{name}`, data at byte {at}: {reason}"))
        })?;
        let mut bytes = vec![0; end - begin];
        reader.read_exact(&mut bytes).map_err(|error| Error::io(path, error))?;
        let tensor = Tensor::from_raw_buffer(&bytes, dtype, &info.shape, device)?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// Reads only the string metadata of a safetensors file; empty if it has none.
///
/// # Errors
/// As [`load_tensors`].
pub fn load_metadata(path: &Path) -> Result<BTreeMap<String, String>> {
    let (_, header) = open(path)?;
    Ok(header.metadata.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect())
}

struct Header {
    metadata: Metadata,
    /// Where the data begins, in bytes from the start of the file.
    start: u64,
}

/// Opens a file, reads its header and leaves the reader at the first byte of data.
fn open(path: &Path) -> Result<(BufReader<File>, Header)> {
    let fail = |error| Error::io(path, error);
    let file = File::open(path).map_err(fail)?;
    let facts = file.metadata().map_err(fail)?;
    if !facts.is_file() {
        return Err(refuse(path, "not a file".to_owned()));
    }
    let length = facts.len();
    if length < PREFIX {
        let reason = format!("{length} bytes; a safetensors file begins with 8 bytes of length");
        return Err(refuse(path, reason));
    }
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut prefix = [0; PREFIX as usize];
    reader.read_exact(&mut prefix).map_err(fail)?;
    let promised = u64::from_le_bytes(prefix);
    if promised > MAX_HEADER.min(length - PREFIX) {
        let reason = format!(
            "bytes 0 to 8 promise a header of {promised} bytes, but the file has {length} in all: \
             not a safetensors file, or cut short"
        );
        return Err(refuse(path, reason));
    }
    let mut json = vec![0; promised as usize];
    reader.read_exact(&mut json).map_err(fail)?;
    let metadata: Metadata = serde_json::from_slice(&json)
        .map_err(|error| refuse(path, format!("header at byte 8: {error}")))?;
    let start = PREFIX + promised;
    if start.checked_add(metadata.data_len() as u64) != Some(length) {
        let reason = format!(
            "the header promises {} bytes of data from byte {start}, but {} follow: cut short, or \
             something was appended",
            metadata.data_len(),
            length - start
        );
        return Err(refuse(path, reason));
    }
    Ok((reader, Header { metadata, start }))
}

fn checked_dtype(info: &TensorInfo) -> Result<DType, String> {
    // The product over the positive lengths bounds every stride, also of an empty tensor.
    let extent = info.shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d.max(1)));
    if extent.and_then(|n| n.checked_mul(8)).is_none() {
        return Err(format!("shape {:?} is too large", info.shape));
    }
    match DType::try_from(info.dtype) {
        Ok(dtype) if storable(dtype) => Ok(dtype),
        _ => Err(format!("type {} is not supported; convert the file", info.dtype)),
    }
}

/// The types that have values on the host; the others are bytes without arithmetic.
fn storable(dtype: DType) -> bool {
    !matches!(dtype, DType::F4 | DType::F6E2M3 | DType::F6E3M2 | DType::F8E8M0)
}

/// Compares the tensors of the file at `path` with what a network expects, name by name.
///
/// # Errors
/// One [`Error::Checkpoint`] that lists every missing, extra and misshapen tensor with its shapes.
pub fn check_names(
    path: &Path,
    expected: &[(String, Vec<usize>)],
    found: &BTreeMap<String, Tensor>,
) -> Result<()> {
    let found = found.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect();
    check_shapes(path, expected, &found)
}

/// [`check_names`] for tensors that have not been read yet.
///
/// # Errors
/// As [`check_names`].
pub fn check_shapes(
    path: &Path,
    expected: &[(String, Vec<usize>)],
    found: &BTreeMap<String, Vec<usize>>,
) -> Result<()> {
    let expected: BTreeMap<&str, &[usize]> =
        expected.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    let mut problems = Vec::new();
    for (name, shape) in &expected {
        match found.get(*name) {
            None => problems.push(format!("missing `{name}` {shape:?}")),
            Some(got) if got != shape => {
                problems.push(format!("misshapen `{name}`: expected {shape:?}, got {got:?}"));
            }
            Some(_) => {}
        }
    }
    for (name, shape) in found {
        if !expected.contains_key(name.as_str()) {
            problems.push(format!("extra `{name}` {shape:?}"));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let reason = format!(
        "{} tensor(s) do not fit the network (is `config.json` that of these weights?): {}",
        problems.len(),
        problems.join("; ")
    );
    Err(refuse(path, reason))
}

pub(super) fn refuse(path: &Path, reason: String) -> Error {
    Error::Checkpoint { path: path.to_path_buf(), reason }
}

#[cfg(test)]
#[path = "tensors_tests.rs"]
mod tests;
