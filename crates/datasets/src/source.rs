//! A file read in bounded pieces, decompressed on the way if it is gzip, that knows where it is.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};

/// The first two bytes of a gzip member (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// No header is trusted with more than this before the bytes have arrived.
const TRUSTED_CAPACITY: u64 = 1 << 20;

/// A byte stream with a name and a position.
pub(crate) struct Source {
    path: PathBuf,
    reader: Box<dyn Read>,
    offset: u64,
}

impl Source {
    /// Opens a file; gzip is recognised by its first two bytes, not by its name.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        Self::new(path, BufReader::new(file))
    }

    fn new(path: &Path, mut reader: impl BufRead + 'static) -> Result<Self> {
        let head = reader.fill_buf().map_err(|e| Error::io(path, e))?;
        let reader: Box<dyn Read> = if head.starts_with(&GZIP) {
            Box::new(MultiGzDecoder::new(reader))
        } else {
            Box::new(reader)
        };
        Ok(Self { path: path.to_owned(), reader, offset: 0 })
    }

    /// A stream over bytes in memory; the name stands for a path in errors.
    pub(crate) fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<Self> {
        Self::new(name, io::Cursor::new(bytes))
    }

    /// A stream as it is, whose first byte is number `offset` of what `name` names.
    pub(crate) fn plain(name: &Path, reader: impl Read + 'static, offset: u64) -> Self {
        Self { path: name.to_owned(), reader: Box::new(reader), offset }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next byte is.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Exactly `n` bytes; memory grows with what arrives, not with what was promised.
    pub(crate) fn take(&mut self, n: u64, what: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(n.min(TRUSTED_CAPACITY) as usize);
        let begin = self.offset;
        let outcome = (&mut self.reader).take(n).read_to_end(&mut bytes);
        self.offset += bytes.len() as u64;
        outcome.map_err(|e| self.broken(&e))?;
        if (bytes.len() as u64) < n {
            let got = bytes.len();
            let reason =
                format!("{what}: {n} bytes expected from byte {begin}, the file has {got}");
            return Err(Error::format(&self.path, self.offset, reason));
        }
        Ok(bytes)
    }

    /// A big-endian 32-bit number.
    pub(crate) fn take_u32(&mut self, what: &str) -> Result<u32> {
        let bytes = self.take(4, what)?;
        Ok(bytes.iter().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    }

    /// Checks that nothing follows, which also verifies the checksum of a gzip file.
    pub(crate) fn finish(mut self) -> Result<()> {
        let mut one = [0];
        match self.reader.read(&mut one) {
            Ok(0) => Ok(()),
            Ok(_) => {
                let reason = "bytes follow the data that the header promised";
                Err(Error::format(&self.path, self.offset, reason))
            }
            Err(e) => Err(self.broken(&e)),
        }
    }

    fn broken(&self, error: &io::Error) -> Error {
        Error::format(&self.path, self.offset, format!("cannot read on: {error}"))
    }
}

/// For the table parser, which pulls what it needs.
impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.offset += n as u64;
        Ok(n)
    }
}
