//! Archives of `.npy` members, as `numpy.savez` and `numpy.savez_compressed` write them.
//!
//! The `zip` crate finds the members; their bytes are read here, so that none is inflated beyond
//! what its entry promises and the offsets of errors are known.

use std::{
    io::{self, BufRead, BufReader, Read},
    path::PathBuf,
};

use flate2::{Crc, bufread::DeflateDecoder};
use zip::{CompressionMethod, ZipArchive, result::ZipError};

use super::{Entries, Entry, Layout, Place, Refusal, check_length, npy, storage::Storage};
use crate::{
    error::{Error, Result},
    source::Source,
};

/// Archives of arrays have a handful of members.
const MOST_MEMBERS: usize = 10_000;
/// Deflate makes at most 1,032 bytes of one (RFC 1951: 258 bytes for two bits).
const LARGEST_RATIO: u64 = 1032;

/// A member of an archive.
#[derive(Clone, Debug)]
pub(super) struct Member {
    name: String,
    /// First byte of its data in the file.
    start: u64,
    /// Bytes in the file.
    stored: u64,
    /// Bytes that they become.
    size: u64,
    crc: u32,
    deflated: bool,
}

/// All members: arrays, and why others are none.
pub(super) fn entries(storage: &Storage) -> Result<Entries> {
    let path = storage.path();
    let broken = |error: ZipError| Error::format(path, 0, format!("is no whole archive: {error}"));
    let mut archive = ZipArchive::new(storage.open()?).map_err(broken)?;
    if archive.has_duplicate_names() {
        return Err(Error::format(path, 0, "two members of the archive have one name"));
    }
    if archive.len() > MOST_MEMBERS {
        let reason = format!("{} members, at most {MOST_MEMBERS} are read", archive.len());
        return Err(Error::format(path, 0, reason));
    }
    let mut entries = Vec::with_capacity(archive.len());
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index).map_err(broken)?;
        let name = file.name().map_err(broken)?.into_owned();
        let name = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        let start = file.data_start().unwrap_or(0);
        let (stored, size) = (file.compressed_size(), file.size());
        let member = Member {
            name: name.clone(),
            start,
            stored,
            size,
            crc: file.crc32(),
            deflated: file.compression() == CompressionMethod::DEFLATE,
        };
        let known = member.deflated || file.compression() == CompressionMethod::STORE;
        let layout = if file.encrypted() {
            Err(member.refuse(storage, "is encrypted".into()))
        } else if !known {
            let reason = format!("is compressed by {:?}; store or deflate it", file.compression());
            Err(member.refuse(storage, reason))
        } else {
            member.layout(storage)
        };
        let entry = match layout {
            Ok((layout, header)) => Entry::Array(layout, Place::Member(member, header)),
            Err(Error::Format { path, offset, reason }) => {
                Entry::Refused(Refusal { path, offset, reason })
            }
            Err(error) => return Err(error),
        };
        entries.push((name, entry));
    }
    // Names that differ by their ending only.
    let mut names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let reason = format!("two members of the archive are called `{}`", pair[0]);
        return Err(Error::format(path, 0, reason));
    }
    Ok(entries)
}

impl Member {
    /// The header of the array, and where the elements begin.
    fn layout(&self, storage: &Storage) -> Result<(Layout, u64)> {
        let rest = storage.len().saturating_sub(self.start);
        if self.stored > rest {
            let reason = format!("promises {} bytes, the file has {rest}", self.stored);
            return Err(self.refuse(storage, reason));
        }
        let most =
            if self.deflated { self.stored.saturating_mul(LARGEST_RATIO) } else { self.stored };
        if self.size > most || !self.deflated && self.size != self.stored {
            let reason = format!(
                "promises {} bytes of the {} that it takes in the file, which is not possible",
                self.size, self.stored
            );
            return Err(self.refuse(storage, reason));
        }
        let mut source = self.open(storage)?;
        let layout = npy::read_header(&mut source)?;
        check_length(&source, &layout, self.size)?;
        Ok((layout, source.offset()))
    }

    /// The member's bytes, inflated; offsets count from its first.
    pub(super) fn open(&self, storage: &Storage) -> Result<Source> {
        let section = BufReader::with_capacity(1 << 16, storage.section(self.start, self.stored)?);
        let bytes: Box<dyn Read> =
            if self.deflated { Box::new(Deflated::new(section)) } else { Box::new(section) };
        let checked = Checked { bytes, left: self.size, crc: Crc::new(), expected: self.crc };
        Ok(Source::plain(&self.display(storage), checked, 0))
    }

    /// `file.npz:name`, as a command line selects it.
    fn display(&self, storage: &Storage) -> PathBuf {
        let mut name = storage.path().as_os_str().to_owned();
        name.push(":");
        name.push(&self.name);
        name.into()
    }

    fn refuse(&self, storage: &Storage, reason: String) -> Error {
        Error::format(&self.display(storage), 0, format!("the member {reason}"))
    }
}

/// A deflate stream that must end where its section ends.
struct Deflated<R: BufRead>(DeflateDecoder<R>);

impl<R: BufRead> Deflated<R> {
    fn new(section: R) -> Self {
        Self(DeflateDecoder::new(section))
    }
}

impl<R: BufRead> Read for Deflated<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(buffer)?;
        if n == 0 && !buffer.is_empty() && !self.0.get_mut().fill_buf()?.is_empty() {
            return Err(io::Error::other("bytes follow the compressed data"));
        }
        Ok(n)
    }
}

/// Exactly so many bytes with that checksum.
struct Checked {
    bytes: Box<dyn Read>,
    left: u64,
    crc: Crc,
    expected: u32,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            if self.bytes.read(&mut [0])? > 0 {
                return Err(io::Error::other("the member is longer than its entry says"));
            }
            if self.crc.sum() != self.expected {
                return Err(io::Error::other("the checksum is another than its entry says"));
            }
            return Ok(0);
        }
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let n = self.bytes.read(&mut buffer[..most])?;
        self.crc.update(&buffer[..n]);
        self.left -= n as u64;
        Ok(n)
    }
}
