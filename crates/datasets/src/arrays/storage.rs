//! Where the bytes of an array file are: on disk, or in memory.

use std::{
    fs::File,
    io::{BufReader, Cursor, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::{Error, Result},
    source::Source,
};

/// Bytes with a name, which can be opened many times.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    path: PathBuf,
    len: u64,
    /// None: the file of that path.
    bytes: Option<Arc<[u8]>>,
}

/// A stream that can go to any byte.
pub(super) trait Input: Read + Seek {}
impl<T: Read + Seek> Input for T {}

impl Storage {
    pub(super) fn file(path: &Path) -> Result<Self> {
        let facts = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
        if !facts.is_file() {
            return Err(Error::format(path, 0, "is not a file"));
        }
        Ok(Self { path: path.to_owned(), len: facts.len(), bytes: None })
    }

    pub(super) fn memory(name: &Path, bytes: Vec<u8>) -> Self {
        Self { path: name.to_owned(), len: bytes.len() as u64, bytes: Some(bytes.into()) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn open(&self) -> Result<Box<dyn Input>> {
        match &self.bytes {
            Some(bytes) => Ok(Box::new(Cursor::new(Arc::clone(bytes)))),
            None => {
                let file = File::open(&self.path).map_err(|e| Error::io(&self.path, e))?;
                Ok(Box::new(BufReader::with_capacity(1 << 18, file)))
            }
        }
    }

    /// At most `len` bytes from number `start` on.
    pub(super) fn section(&self, start: u64, len: u64) -> Result<std::io::Take<Box<dyn Input>>> {
        let mut input = self.open()?;
        input.seek(SeekFrom::Start(start)).map_err(|e| Error::io(&self.path, e))?;
        Ok(input.take(len))
    }

    /// The same with a name and a position.
    pub(super) fn source(&self, start: u64, len: u64) -> Result<Source> {
        Ok(Source::plain(&self.path, self.section(start, len)?, start))
    }
}
