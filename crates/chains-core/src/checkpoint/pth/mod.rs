//! State dictionaries in PyTorch's own files.
//!
//! `torch.save` writes a pickle, a program for a small machine that may name any function of Python.
//! The machine here knows dictionaries, lists, texts, numbers and tensors, and refuses all else.
//! Nothing is called, nothing is read beyond the file, and memory grows with the file alone.

mod file;
mod pickle;
mod reader;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};

use self::{
    file::Archive,
    pickle::{Element, Entry},
};
use super::tensors::refuse;
use crate::error::Result;

/// The tensors of a state dictionary that `torch.save` wrote, in either layout: the archive of
/// PyTorch 1.6 and later, or the single stream of earlier versions.
///
/// Opening reads names, types and shapes, so that a wrong file is found out before its values are
/// read.
///
/// # Example
/// ```no_run
/// use std::path::Path;
/// use chains_core::checkpoint::PthFile;
/// let file = PthFile::open(Path::new("weights.pth"))?;
/// for (name, shape) in file.shapes() {
///     println!("{name} {shape:?}");
/// }
/// # Ok::<(), chains_core::Error>(())
/// ```
#[derive(Debug)]
pub struct PthFile {
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
    archive: Archive,
}

impl PthFile {
    /// Opens a file whose object is a dictionary of tensors; what a module adds to it for itself
    /// (`_metadata`) is left out.
    ///
    /// # Errors
    /// [`Error::Checkpoint`](crate::Error::Checkpoint) with the byte of the pickle for anything else,
    /// [`Error::Io`](crate::Error::Io) if the file cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        Self::opened(path, false)
    }

    /// Opens a file whose object holds tensors in dictionaries and lists within each other, as a
    /// training saves its whole state. Names are the keys joined by dots, places in lists count from 0;
    /// whatever is no tensor is passed over.
    ///
    /// # Errors
    /// As [`PthFile::open`]; [`Error::Checkpoint`](crate::Error::Checkpoint) for two tensors of one
    /// name, and for dictionaries too deep or too many.
    pub fn open_nested(path: &Path) -> Result<Self> {
        Self::opened(path, true)
    }

    fn opened(path: &Path, nested: bool) -> Result<Self> {
        let (archive, entries) = Archive::open(path, nested)?;
        for (name, entry) in &entries {
            entry.check().map_err(|reason| refuse(path, format!("tensor `{name}`: {reason}")))?;
        }
        Ok(Self { path: path.to_path_buf(), entries, archive })
    }

    /// Names and shapes, by name.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry.shape.as_slice()))
    }

    /// Reads the values of a tensor onto a device; none if the file has no tensor of this name.
    ///
    /// # Errors
    /// [`Error::Checkpoint`](crate::Error::Checkpoint) if its values are not there in full,
    /// [`Error::Io`](crate::Error::Io), and of the tensor library.
    pub fn read(&self, name: &str, device: &Device) -> Result<Option<Tensor>> {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        let bytes = self.archive.read(&self.path, &entry.storage)?;
        let bytes = entry.gather(&bytes);
        Ok(Some(Tensor::from_raw_buffer(
            &bytes,
            entry.storage.element.dtype(),
            &entry.shape,
            device,
        )?))
    }
}

impl Element {
    fn dtype(self) -> DType {
        match self {
            Self::F64 => DType::F64,
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
            Self::I64 => DType::I64,
            Self::I32 => DType::I32,
            Self::U8 => DType::U8,
        }
    }

    fn size(self) -> usize {
        self.dtype().size_in_bytes()
    }
}

impl Entry {
    /// Does the tensor lie inside its storage?
    fn check(&self) -> Result<(), String> {
        let len = self.storage.len;
        let Self { shape, stride, offset, .. } = self;
        if shape.len() != stride.len() {
            return Err(format!("{} sides and {} strides", shape.len(), stride.len()));
        }
        // An expanded tensor repeats values; a state dictionary has none that is larger than its
        // storage.
        let values = shape.iter().try_fold(1_usize, |n, side| n.checked_mul((*side).max(1)));
        if values.is_none_or(|values| values > len.max(1)) {
            return Err(format!("shape {shape:?} in a storage of {len} values"));
        }
        let last = shape.iter().zip(stride).try_fold(*offset, |at, (side, stride)| {
            side.saturating_sub(1).checked_mul(*stride)?.checked_add(at)
        });
        if !shape.contains(&0) && last.is_none_or(|last| last >= len) {
            let place = format!("from {offset}, strides {stride:?}");
            return Err(format!("shape {shape:?} {place}, in a storage of {len} values"));
        }
        Ok(())
    }

    /// The bytes of the values in row-major order.
    fn gather(&self, storage: &[u8]) -> Vec<u8> {
        let size = self.storage.element.size();
        let values: usize = self.shape.iter().product();
        let mut dense = 1;
        let is_dense = self.shape.iter().zip(&self.stride).rev().all(|(side, stride)| {
            let fits = *side == 1 || *stride == dense;
            dense *= side;
            fits
        });
        if is_dense || values == 0 {
            let start = if values == 0 { 0 } else { self.offset * size };
            return storage[start..start + values * size].to_vec();
        }
        let mut out = Vec::with_capacity(values * size);
        let mut place = vec![0; self.shape.len()];
        for _ in 0..values {
            let at: usize = place.iter().zip(&self.stride).map(|(i, stride)| i * stride).sum();
            let at = (self.offset + at) * size;
            out.extend_from_slice(&storage[at..at + size]);
            // The next place: the last side counts fastest.
            for (i, side) in place.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < *side {
                    break;
                }
                *i = 0;
            }
        }
        out
    }
}
