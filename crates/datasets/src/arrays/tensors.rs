//! Safetensors files: a length, a header in JSON, and the elements of all arrays.

use std::{collections::BTreeMap, path::Path};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::{Element, Entries, Entry, Layout, Place, Refusal, storage::Storage};
use crate::error::{Error, Result};

/// The format's own limit on the header.
const LONGEST_HEADER: u64 = 100_000_000;

/// All arrays and the metadata.
pub(super) fn entries(storage: &Storage) -> Result<(Entries, BTreeMap<String, String>)> {
    let path = storage.path();
    let mut source = storage.source(0, storage.len())?;
    let length = source.take(8, "header length")?;
    let promised = length.iter().rev().fold(0_u64, |length, &byte| length << 8 | u64::from(byte));
    if promised > LONGEST_HEADER.min(storage.len() - 8) {
        let reason = format!(
            "header length {promised}, but the file has {} bytes in all: not a safetensors file, or \
             cut short",
            storage.len()
        );
        return Err(Error::format(path, 0, reason));
    }
    let json = source.take(promised, "header")?;
    let header: Metadata = serde_json::from_slice(&json)
        .map_err(|error| Error::format(path, 8, format!("header: {error}")))?;
    let start = source.offset();
    if start.checked_add(header.data_len() as u64) != Some(storage.len()) {
        let reason = format!(
            "the header promises {} bytes of data, but {} follow: cut short, or something was \
             appended",
            header.data_len(),
            storage.len() - start
        );
        return Err(Error::format(path, start, reason));
    }
    let mut entries = Vec::new();
    for name in header.offset_keys() {
        if let Some(info) = header.info(&name) {
            let entry = entry(path, &name, info, start);
            entries.push((name, entry));
        }
    }
    let metadata = header.metadata().iter().flatten();
    Ok((entries, metadata.map(|(key, value)| (key.clone(), value.clone())).collect()))
}

fn entry(path: &Path, name: &str, info: &TensorInfo, start: u64) -> Entry {
    let at = start + info.data_offsets.0 as u64;
    let refuse = |reason: String| {
        let reason = format!("array `{name}`: {reason}");
        Entry::Refused(Refusal { path: path.to_owned(), offset: at, reason })
    };
    let element = match info.dtype {
        Dtype::U8 => Element::U8,
        Dtype::I32 => Element::I32,
        Dtype::I64 => Element::I64,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        other => {
            let known = "U8, I32, I64, F16, BF16, F32 or F64";
            return refuse(format!("field `dtype`: {other} is not read; save {known}"));
        }
    };
    let layout = Layout { dims: info.shape.clone(), element, big_endian: false, fortran: false };
    if layout.bytes().is_none() {
        return refuse(format!("field `shape`: {:?} is more than can be counted", info.shape));
    }
    Entry::Array(layout, Place::File(at))
}
