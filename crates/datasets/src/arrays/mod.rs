//! Arrays in files: `.npy`, `.npz` (stored or deflated) and `.safetensors`.
//!
//! One [`ArrayFile`] stands for all three. Opening it reads headers only; [`ArrayFile::stream`] then
//! gives rows a few at a time, so that an array may be larger than memory. Nothing is allocated that
//! the length of the file does not warrant.

mod element;
mod npy;
mod npz;
mod statistics;
mod storage;
mod stream;
mod tensors;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub use self::{
    element::{Element, Values},
    statistics::{ExtractorNote, FeatureStatistics},
    stream::ArrayStream,
};
use self::{npz::Member, storage::Storage};
use crate::{
    error::{Error, Result},
    source::Source,
};

/// What an array is, as its header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayInfo {
    /// Name within the file; for an `.npy` file the name of the file without its ending.
    pub name: String,
    /// Dimensions, none for a single number.
    pub dims: Vec<usize>,
    /// Type of the elements as stored.
    pub element: Element,
}

impl ArrayInfo {
    /// Length of the first dimension; a single number is one row.
    pub fn rows(&self) -> usize {
        self.dims.first().copied().unwrap_or(1)
    }

    /// Elements of a row: the product of all dimensions but the first.
    pub fn row_len(&self) -> usize {
        self.dims.iter().skip(1).product()
    }
}

/// A whole array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Name, dimensions and stored type.
    pub info: ArrayInfo,
    /// The elements in row-major order.
    pub values: Values,
}

/// Dimensions, type and order of stored elements.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Layout {
    dims: Vec<usize>,
    element: Element,
    big_endian: bool,
    /// Column-major.
    fortran: bool,
}

impl Layout {
    /// Bytes of all elements, if the dimensions can be counted at all.
    fn bytes(&self) -> Option<u64> {
        // Over the positive lengths, so that the strides of an empty array are bounded too.
        let extent = self.dims.iter().try_fold(1_usize, |n, &dim| n.checked_mul(dim.max(1)))?;
        let extent = extent.checked_mul(self.element.size())?;
        if self.dims.contains(&0) { Some(0) } else { u64::try_from(extent).ok() }
    }
}

/// Where the elements of an array are.
#[derive(Clone, Debug)]
enum Place {
    /// From this byte of the file.
    File(u64),
    /// In a member of an archive, whose elements begin at this byte of it.
    Member(Member, u64),
}

/// An array, or why what stands under its name is none.
#[derive(Debug)]
enum Entry {
    Array(Layout, Place),
    Refused(Refusal),
}

/// All arrays of a file by name, in its order.
type Entries = Vec<(String, Entry)>;

/// What becomes [`Error::Format`] once somebody asks for the array.
#[derive(Clone, Debug)]
struct Refusal {
    path: PathBuf,
    offset: u64,
    reason: String,
}

/// A file of named arrays, its headers read and checked.
///
/// # Example
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("x.npy");
/// # let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }";
/// # let bytes = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(),
/// #     &1_f32.to_le_bytes(), &2_f32.to_le_bytes()].concat();
/// # std::fs::write(&path, bytes)?;
/// use datasets::arrays::{ArrayFile, Values};
/// let array = ArrayFile::open(&path)?.read("x")?;
/// assert_eq!((array.info.dims, array.values), (vec![1, 2], Values::F32(vec![1.0, 2.0])));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ArrayFile {
    storage: Storage,
    entries: Entries,
    metadata: BTreeMap<String, String>,
}

/// The file name endings that [`ArrayFile::open`] knows.
pub const ARRAY_ENDINGS: [&str; 3] = ["npy", "npz", "safetensors"];

impl ArrayFile {
    /// Reads the headers of a file; its name ends in one of [`ARRAY_ENDINGS`].
    ///
    /// An array of a type that is not read does not keep others from being read.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] with byte and field for anything but a whole file of the
    /// format, among it a header that promises more than the file holds and an archive member that
    /// would grow more than deflate can make it; [`Error::Argument`] for another ending.
    pub fn open(path: &Path) -> Result<Self> {
        Self::parse(Storage::file(path)?)
    }

    /// The same for bytes in memory; the name stands for the path.
    ///
    /// # Errors
    /// As [`ArrayFile::open`].
    pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<Self> {
        Self::parse(Storage::memory(name, bytes))
    }

    fn parse(storage: Storage) -> Result<Self> {
        let path = storage.path();
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let (entries, metadata) = match ending.as_str() {
            "npy" => (vec![npy_entry(&storage)?], BTreeMap::new()),
            "npz" => (npz::entries(&storage)?, BTreeMap::new()),
            "safetensors" => tensors::entries(&storage)?,
            _ => {
                let endings = ARRAY_ENDINGS.join(", .");
                let reason = format!("{}: the name must end in .{endings}", path.display());
                return Err(Error::argument("array file", reason));
            }
        };
        Ok(Self { storage, entries, metadata })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.storage.path()
    }

    /// Names of all arrays, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    /// Text that a safetensors file carries beside its arrays.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Is there something of that name?
    pub fn contains(&self, name: &str) -> bool {
        self.names().any(|other| other == name)
    }

    /// What an array is.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that is not there, with those that are; [`Error::Format`] for
    /// something that is no array or of a type that is not read.
    pub fn info(&self, name: &str) -> Result<ArrayInfo> {
        let (layout, _) = self.find(name)?;
        let (dims, element) = (layout.dims.clone(), layout.element);
        Ok(ArrayInfo { name: name.to_owned(), dims, element })
    }

    /// The rows of an array, from the first.
    ///
    /// # Errors
    /// As [`ArrayFile::info`]; [`Error::Io`] if the file cannot be opened again.
    pub fn stream(&self, name: &str) -> Result<ArrayStream> {
        let info = self.info(name)?;
        let (layout, place) = self.find(name)?;
        let source = match place {
            Place::File(start) => self.storage.source(*start, layout.bytes().unwrap_or(0))?,
            Place::Member(member, header) => {
                let mut source = member.open(&self.storage)?;
                source.take(*header, "header")?;
                source
            }
        };
        Ok(ArrayStream::new(info, layout.clone(), source))
    }

    /// A whole array.
    ///
    /// # Errors
    /// As [`ArrayFile::stream`] and [`ArrayStream::next_rows`].
    pub fn read(&self, name: &str) -> Result<Array> {
        let mut stream = self.stream(name)?;
        let info = stream.info().clone();
        let values = stream.next_rows(info.rows())?;
        Ok(Array { info, values })
    }

    fn find(&self, name: &str) -> Result<(&Layout, &Place)> {
        let Some((_, entry)) = self.entries.iter().find(|(other, _)| other == name) else {
            let names: Vec<_> = self.names().map(|name| format!("`{name}`")).collect();
            let reason = format!(
                "{} has no array `{name}`; it has {}",
                self.path().display(),
                if names.is_empty() { "none at all".to_owned() } else { names.join(", ") }
            );
            return Err(Error::argument("array", reason));
        };
        match entry {
            Entry::Array(layout, place) => Ok((layout, place)),
            Entry::Refused(Refusal { path, offset, reason }) => {
                Err(Error::format(path, *offset, reason))
            }
        }
    }
}

/// The one array of an `.npy` file.
fn npy_entry(storage: &Storage) -> Result<(String, Entry)> {
    let mut source = storage.source(0, storage.len())?;
    let layout = npy::read_header(&mut source)?;
    let start = source.offset();
    check_length(&source, &layout, storage.len())?;
    let name = storage.path().file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok((name, Entry::Array(layout, Place::File(start))))
}

/// Do the elements end where the file or the member of `length` bytes ends?
fn check_length(source: &Source, layout: &Layout, length: u64) -> Result<()> {
    let start = source.offset();
    let (dims, element) = (&layout.dims, layout.element);
    let fail = |reason: String| Err(Error::format(source.path(), start, reason));
    let Some(promised) = layout.bytes() else {
        return fail(format!("field `shape`: {dims:?} of {element} is more than can be counted"));
    };
    let rest = length.saturating_sub(start);
    if promised != rest {
        let end = if promised > rest { "cut short" } else { "something was appended" };
        return fail(format!(
            "field `shape`: {dims:?} of {element} takes {promised} bytes, but {rest} follow: {end}"
        ));
    }
    Ok(())
}

/// A file and the name after its last colon, if the path as a whole is not there and what stands
/// before the colon is: `samples.npz:images`.
pub fn split_member(path: &Path) -> (PathBuf, Option<String>) {
    let text = path.to_string_lossy();
    match text.rsplit_once(':') {
        Some((file, name)) if !path.exists() && !name.is_empty() && Path::new(file).exists() => {
            (PathBuf::from(file), Some(name.to_owned()))
        }
        _ => (path.to_owned(), None),
    }
}
